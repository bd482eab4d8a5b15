//! rehome on the command line: arguments in, ports connected, the library called, results printed.
//!
//! Data goes to standard output, all else to standard error. Exit codes are part of the interface: see [`exit`].

mod args;
mod commands;
mod connect;
mod exit;
mod input;
mod output;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// What is logged on stderr, as directives of `tracing_subscriber`.
const LOG: &str = "REHOME_LOG";

fn main() -> ExitCode {
    let args = args::Args::parse();
    let filter = if std::env::var_os(LOG).is_some() {
        // What of it is no directive is told of on stderr.
        EnvFilter::from_env(LOG)
    } else {
        // What a library calls an error, rehome tells in its own words or tries again.
        EnvFilter::new("error,kube_client=off")
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match commands::run(args) {
        Ok(code) => code.into(),
        Err(error) => {
            output::esay!("error: {error:#}");
            exit::of(&error).into()
        }
    }
}
