//! `lrl completions`: the script by which a shell asks lrl what fits.

use clap_complete::Shell;
use serde_json::json;

use crate::complete;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};

/// Writes the script to standard output.
pub fn run(context: &Context<'_>, shell: Shell) -> Result {
    let shell = shell.to_string();
    let script =
        complete::registration(&shell).ok_or_else(|| Failure::Usage(format!("there is no completion for {shell}")))?;
    if context.term.is_json() {
        let script = String::from_utf8_lossy(&script);
        context.term.json(&json!({ "success": true, "shell": shell, "script": script }))?;
    } else {
        context.term.bytes(&script)?;
    }
    Ok(Exit::Done)
}
