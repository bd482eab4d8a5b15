//! One file a command, or a few that belong together.

mod apply;
mod confirm;
mod demo;
mod discard_writes;
mod drive;
#[cfg(feature = "emulate")]
mod emulate;
mod ending;
mod events;
pub mod finalize;
pub mod gc;
mod iam;
mod interrupt;
mod keep_writes;
mod look;
mod simple;
#[cfg(test)]
mod staged;
mod verify;

use anyhow::Result;

use crate::args::{Args, Command};
use crate::exit::Exit;

/// Carries out a command.
pub fn run(args: Args) -> Result<Exit> {
    match args.command {
        Command::Explain { code } => simple::explain(code.as_deref()),
        Command::Init(init) => simple::init(&init),
        Command::Rbac { namespace } => simple::rbac(&namespace),
        Command::Iam { file, partition } => iam::iam(file.as_deref(), partition),
        Command::Schema => simple::schema(),
        Command::Completions { shell } => simple::completions(shell),
        Command::Man => simple::man(),
        // Virtual time: one thread, and a clock that is paused before anything looks at it.
        Command::Demo(demo) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
            runtime.block_on(demo::demo(&demo))
        }
        command => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(real(command))
        }
    }
}

async fn real(command: Command) -> Result<Exit> {
    match command {
        Command::Check(from) => look::check(&from).await,
        Command::Plan(plan) => look::plan(&plan).await,
        Command::Render(from) => look::render(&from).await,
        Command::Verify(from) => verify::verify(&from).await,
        Command::Status(target) => look::status(&target).await,
        Command::Apply(apply) => apply::apply(&apply).await,
        Command::Rollback(rollback) => drive::rollback(&rollback).await,
        Command::Finalize(args) => finalize::finalize(&args).await,
        Command::Gc(args) => gc::gc(&args).await,
        #[cfg(feature = "emulate")]
        Command::Emulate(crate::args::Emulate::Ec2(options)) => emulate::ec2(&options).await,
        // All others were carried out without a runtime of their own.
        _ => Ok(Exit::Usage),
    }
}
