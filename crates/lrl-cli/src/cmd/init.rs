//! `lrl init`: an empty store, made in advance.

use lrl_store::error::Error;
use serde_json::json;

use super::{Context, store};
use crate::exit::{Exit, Result};

/// Makes the store; one that is there already is an error.
pub fn run(context: &Context<'_>) -> Result {
    let paths = context.paths()?;
    if !store::create_if_missing(&paths.store, context.cli.global.lock_wait)? {
        return Err(Error::Refused(format!("there is a store at {} already", paths.store.display())).into());
    }
    let shown = paths.store.display().to_string();
    if context.term.is_json() {
        context.term.json(&json!({ "success": true, "store": shown }))?;
    }
    context.term.say(format!("Made an empty store at {shown}"));
    Ok(Exit::Done)
}
