//! `lrl ls`: what a snapshot holds, as `ls -l` writes it.

use std::os::unix::ffi::OsStrExt;

use lrl_store::ops::ls;
use lrl_store::ops::select::Need;
use serde_json::json;

use super::shared::{choose, open};
use crate::args::LsArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::{entry, json, units};

/// Lists the whole snapshot, or what is below a path.
pub fn run(context: &Context<'_>, args: &LsArgs) -> Result {
    let store = open::open_default(context)?;
    let (name, snapshot) = choose::select(context, &store, &args.snapshot, Need::default())?;
    let term = context.term;
    let path = args.path.as_deref().map_or(&b""[..], |path| path.as_os_str().as_bytes());
    let path = choose::typed_path(&store, &snapshot, path);
    let listing = ls::ls(&store, &snapshot, &path)?;
    let head = json!({ "snapshot": name.id, "timestamp": snapshot.timestamp, "source": snapshot.source });
    json::list(term, head, "entries", |list| {
        for part in listing.databases {
            list.item(|| entry::database_json(part))?;
            term.line(entry::database_line(part))?;
        }
        for found in listing.entries {
            let found = found?;
            list.item(|| entry::to_json(&found))?;
            if !term.is_json() {
                term.line(entry::line(&found))?;
            }
        }
        for problem in snapshot.problems.iter().filter(|problem| problem.lost && path.is_empty()) {
            term.note(format!("missing from this snapshot: {}: {}", problem.path, units::safe(problem.reason.text())));
        }
        Ok((json!({}), Exit::Done))
    })
}
