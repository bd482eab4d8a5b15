//! What the end of an ssh process means.

use std::time::Duration;

use rehome_ports::{HostScript, ScriptError, ScriptOutput};

use crate::child::Ended;
use crate::payload::BEGAN;

/// ssh's own exit code: the connection failed, at any time.
const SSH_FAILED: i32 = 255;
/// `timeout`'s exit code when it ended the script, and the shell's when it had to kill it.
const ENDED_AT_LIMIT: i32 = 124;
const KILLED: i32 = 137;
/// What ssh says when it will not go on, however often it is asked to (OpenSSH: sshconnect.c, readconf.c).
const REFUSALS: [&str; 2] = ["Host key verification failed", "Bad owner or permissions"];
/// What ssh says when the server takes none of its keys (OpenSSH: sshconnect2.c, auth.c). A certificate that has run out is told
/// in no other way.
const KEYS_NOT_TAKEN: [&str; 2] = ["Permission denied (", "Too many authentication failures"];

/// The port's answer for an ended process that took `took`.
pub(crate) fn answer(
    target: String,
    script: &HostScript,
    took: Duration,
    ended: Ended,
) -> Result<ScriptOutput, ScriptError> {
    let (began, stderr) = without_marker(&ended.stderr);
    let timed_out =
        |target| ScriptError::TimedOut { target, task: script.task.name().to_owned(), limit_s: script.limit_s };
    let over_limit = took >= Duration::from_secs(script.limit_s.into());
    let broke = |target| {
        if over_limit {
            return timed_out(target);
        }
        ScriptError::EndUnknown { target, task: script.task.name().to_owned(), reason: reason(&stderr) }
    };
    // Killed at the deadline, or ended by a signal: nothing is known of the far side.
    let Some(code) = ended.status.and_then(|status| status.code()) else { return Err(broke(target)) };
    let says = |words: &[&str]| words.iter().any(|words| stderr.contains(words));
    match code {
        SSH_FAILED if began => Err(broke(target)),
        // Of a host whose key has changed it is the last word, whatever else was tried before.
        SSH_FAILED if says(&REFUSALS) => Err(ScriptError::Refused { target, reason: reason(&stderr) }),
        SSH_FAILED if says(&KEYS_NOT_TAKEN) => Err(ScriptError::NotLetIn { target, reason: reason(&stderr) }),
        SSH_FAILED => Err(ScriptError::Unreachable { target, reason: reason(&stderr) }),
        ENDED_AT_LIMIT | KILLED if began && over_limit => Err(timed_out(target)),
        _ if began => Ok(ScriptOutput { exit_code: code, stdout: ended.stdout, stderr }),
        // The way in is open, but no shell as root: sudo wants a password, or a tool is missing.
        _ => Err(ScriptError::NoRoot { target, reason: reason(&stderr) }),
    }
}

/// Whether the script began, and its standard error without our line.
fn without_marker(stderr: &str) -> (bool, String) {
    match stderr.split_once(&format!("{BEGAN}\n")) {
        // What stands before it is the server's banner, not the script's.
        Some((_, rest)) => (true, rest.to_owned()),
        None => (false, stderr.to_owned()),
    }
}

/// The last lines of what ssh or sudo said, as one.
fn reason(stderr: &str) -> String {
    const LINES: usize = 4;
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("; ");
    if last.is_empty() { "ssh ended without a word".to_owned() } else { last }
}
