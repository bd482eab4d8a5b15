//! ssh's arguments.

use std::path::Path;

use rehome_model::migration::SshAccess;

/// How long a connection may take to open, in seconds.
pub(crate) const CONNECT_LIMIT_S: u32 = 15;
/// How long an unused connection is kept for the next script, in seconds.
const KEEP_S: u32 = 60;
/// How often a silent server is asked for a sign of life, in seconds, and how often in vain before it is given up.
const ALIVE_INTERVAL_S: u32 = 5;
const ALIVE_COUNT: u32 = 4;

/// Everything up to the address. Asks nobody anything, and shares one connection per instance.
pub(crate) fn options(access: &SshAccess, control_path: &Path) -> Vec<String> {
    let mut arguments = vec!["-T".to_owned()];
    for option in [
        "BatchMode=yes".to_owned(),
        format!("ConnectTimeout={CONNECT_LIMIT_S}"),
        format!("ServerAliveInterval={ALIVE_INTERVAL_S}"),
        format!("ServerAliveCountMax={ALIVE_COUNT}"),
        "ControlMaster=auto".to_owned(),
        format!("ControlPersist={KEEP_S}"),
        format!("ControlPath={}", control_path.display()),
    ] {
        arguments.extend(["-o".to_owned(), option]);
    }
    if let Some(file) = &access.config_file {
        arguments.extend(["-F".to_owned(), file.clone()]);
    }
    if let Some(port) = access.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &access.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_migration_says_is_passed_on_and_all_else_is_left_to_the_users_configuration() {
        let access =
            SshAccess { user: Some("admin".to_owned()), config_file: Some("lab/ssh".to_owned()), port: Some(2222) };
        let given = options(&access, Path::new("/c")).join(" ");
        assert!(given.ends_with("-F lab/ssh -p 2222 -l admin"), "{given}");
        let default = options(&SshAccess::default(), Path::new("/c")).join(" ");
        assert!(!default.contains("-F") && !default.contains("-p") && !default.contains("-l "), "{default}");
        assert!(default.contains("BatchMode=yes"), "{default}");
    }
}
