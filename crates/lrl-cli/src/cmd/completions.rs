//! `lrl completions`: a shell's completion script, made from the command line itself.

use clap_complete::Shell;
use serde_json::json;

use crate::args;
use crate::context::Context;
use crate::exit::{Exit, Result};

/// Writes the script to standard output.
pub fn run(context: &Context<'_>, shell: Shell) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "lrl", &mut script);
    if context.term.is_json() {
        let script = String::from_utf8_lossy(&script);
        context.term.json(&json!({ "success": true, "shell": shell.to_string(), "script": script }))?;
    } else {
        context.term.bytes(&script)?;
    }
    Ok(Exit::Done)
}
