//! What the tests of the Cassandra profile share.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Stdio};

use rehome_profiles::{Profile, find};

pub const HOST_ID: &str = "8c081196-5efe-4239-b304-43d3f9c0d698";

pub fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cassandra-5.0.9").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn cassandra() -> &'static dyn Profile {
    find("cassandra").expect("the profile is built in")
}

/// The arguments of a Cassandra that runs, as the kernel has them, with a class path as long as those of packages are.
pub fn command_line(arguments: &[String]) -> String {
    let jars: Vec<String> =
        (0..150).map(|n| format!("/usr/share/cassandra/lib/a-library-of-others-{n}.1.2.jar")).collect();
    let mut all = vec!["java".to_owned()];
    all.extend(arguments.iter().map(|argument| argument.replace("JARS", &jars.join(":"))));
    all.push("org.apache.cassandra.service.CassandraDaemon\0".to_owned());
    all.join("\0")
}

/// Runs a script as a host does: on standard input of a shell. What runs on this machine is none of its processes, and it
/// has a directory of its own where the host's is root's.
pub fn run(script: &str) -> (i32, String, String) {
    use std::io::Write;
    let own = tempfile::tempdir().unwrap();
    let script = script.replace("\nOWN=/run/rehome\n", &format!("\nOWN='{}'\n", own.path().display()));
    let mut command = Command::new("sh");
    command.arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.replace("\"/proc/", "\"/nonexistent/").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}
