//! What goes over the connection: one command line, and the script on its standard input.

/// Said on standard error when the whole script has arrived and begins.
pub(crate) const BEGAN: &str = "rehome: the script begins";

/// How long a script that was asked to end may take to do so, in seconds; then it is killed.
const KILL_AFTER_S: u32 = 10;

/// The remote command: a shell as root that reads the script from its standard input and is ended at the limit.
///
/// In single quotes throughout, so that the login shell need not be a POSIX one.
pub(crate) fn remote_command(limit_s: u32) -> String {
    let shell = format!("timeout -k {KILL_AFTER_S} {} sh -s", limit_s.max(1));
    format!("exec sh -c 'if [ \"$(id -u)\" = 0 ]; then exec {shell}; else exec sudo -n {shell}; fi'")
}

/// The script as it is sent.
///
/// In parentheses the shell reads all of it before it runs any: a connection that breaks half-way runs nothing, and a
/// command in it that reads its standard input does not eat the rest. 255 is ssh's own exit code, so a script's 255
/// becomes 254.
pub(crate) fn standard_input(script: &str) -> String {
    format!(
        "(\necho '{BEGAN}' >&2\n{script}\n) </dev/null\ncode=$?\nif [ \"$code\" = 255 ]; then code=254; fi\nexit \"$code\"\n"
    )
}
