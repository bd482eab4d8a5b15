//! The user's word before anything is changed.

use std::io::{BufRead, Write};

use anyhow::Result;

use crate::args::Format;
use crate::exit::{Exit, problem};
use crate::output::eshow;

/// Nobody confirms what was not shown: with JSON, which is for programs, the answer must be given beforehand.
pub fn refuse_unseen(output: Format, yes: bool, instead: &str) -> Result<()> {
    if output != Format::Json || yes {
        return Ok(());
    }
    Err(problem(
        Exit::Usage,
        "what is to be confirmed is not shown with -o json",
        &format!("give {instead}, or leave -o json away. Nothing was changed"),
    ))
}

/// Asks for the migration's name.
pub fn by_name(yes: bool, name: &str, what: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    eshow!("Type the migration's name ({name}) to {what}: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() == name {
        return Ok(());
    }
    Err(problem(Exit::Usage, "that is not the migration's name", "nothing was changed; --yes answers for scripts"))
}
