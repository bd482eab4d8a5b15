//! Programs of the host, run to their end within a limit.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use crate::disks::DiskError;

/// How long one program may take, as `timeout` takes it: the emulator stands still meanwhile.
const LIMIT: &str = "60";

/// Runs a program. An error says what it printed.
pub(super) fn run<A: AsRef<OsStr>>(
    operation: &'static str,
    subject: &impl ToString,
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, DiskError> {
    let failed = |reason: String| DiskError { operation, subject: subject.to_string(), reason };
    let program = program.as_ref();
    let output = output(program, arguments).map_err(|error| failed(format!("{}: {error}", program.display())))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{} ended with {}: {}", program.display(), output.status, said.trim())))
}

/// Runs a program and hands back all of it.
pub(super) fn output<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> std::io::Result<Output> {
    Command::new("timeout").arg(LIMIT).arg(program).args(arguments).stdin(Stdio::null()).output()
}
