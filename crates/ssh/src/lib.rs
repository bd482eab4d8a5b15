//! The host port through the user's own OpenSSH.
