//! `lrl init`: an empty store, made in advance.

use lrl_store::error::Error;
use serde_json::json;

use super::{Context, store};
use crate::args::InitArgs;
use crate::exit::{Exit, Result};

/// Makes the store; one that is there already is an error.
pub fn run(context: &Context<'_>, args: &InitArgs) -> Result {
    let paths = context.paths()?;
    if paths.store.directory().is_none() && !args.no_encryption {
        let text = format!(
            "a store in a bucket should be encrypted, and this lrl cannot do that yet; with --no-encryption {} becomes a plain one: \
             whoever can read the bucket, its host included, reads the database and every upload",
            paths.store
        );
        return Err(Error::Refused(text).into());
    }
    if !store::create(context, &paths.store)? {
        return Err(Error::Refused(format!("there is a store at {} already", paths.store)).into());
    }
    let shown = paths.store.to_string();
    let mut document = json!({ "success": true, "store": shown });
    context.term.say(format!("Made an empty store at {shown}"));
    if paths.store.directory().is_none() {
        match store::keeps_first(context, &paths.store) {
            Ok(true) => document["conditional_writes"] = true.into(),
            Ok(false) => {
                document["conditional_writes"] = false.into();
                context.term.note(
                    "its server ignores If-None-Match, so it cannot keep two prunes apart: prune from one machine only, with --only-pruner",
                );
            }
            Err(error) => {
                context.term.note(format!("whether its server keeps two prunes apart could not be tried: {error}"))
            }
        }
    }
    if context.term.is_json() {
        context.term.json(&document)?;
    }
    Ok(Exit::Done)
}
