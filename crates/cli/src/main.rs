//! rehome on the command line: arguments in, ports connected, the library called, results printed.
//!
//! Data goes to standard output, all else to standard error. Exit codes are part of the interface: see [`exit`].

mod args;
mod commands;
mod connect;
mod exit;
mod input;
mod output;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("REHOME_LOG"))
        .with_writer(std::io::stderr)
        .init();
    match commands::run(args) {
        Ok(code) => code.into(),
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            exit::of(&error).into()
        }
    }
}
