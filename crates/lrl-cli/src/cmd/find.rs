//! `lrl find`: which snapshots hold an upload, and in which versions.

use lrl_store::ops::find::{self, Pattern, Version, What};
use serde_json::{Map, Value, json};

use super::shared::open;
use crate::args::FindArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::hint;
use crate::render::{entry, json, units};

/// Searches the snapshots of the source.
pub fn run(context: &Context<'_>, args: &FindArgs) -> Result {
    let pattern = Pattern::new(&args.pattern, units::typed_path(args.pattern.as_bytes()))?;
    let store = open::open_default(context)?;
    let (term, source) = (context.term, &context.cli.global.source);
    json::list(term, json!({ "pattern": args.pattern, "source": source }), "versions", |list| {
        let mut last: Option<Vec<u8>> = None;
        let searched = find::find(&store, source, &pattern, term, &mut |version| {
            list.item(|| to_json(version))?;
            if term.is_json() {
                return Ok(());
            }
            if last.as_ref() != Some(&version.path) {
                last = Some(version.path.clone());
                term.line(units::path(&version.path))?;
            }
            term.line(format!("  {}", line(version)))
        })?;
        if searched.versions == 0 {
            let among = units::count(searched.snapshots, "snapshot");
            term.note(format!("nothing matches in {among} of source {source}"));
        }
        let exit = if searched.problems.is_empty() { Exit::Done } else { Exit::Incomplete };
        Ok((json!({ "searched_snapshots": searched.snapshots, "problems": hint::problems(&searched.problems) }), exit))
    })
}

fn line(version: &Version) -> String {
    let row = match &version.what {
        What::Upload(upload) => entry::facts(upload),
        What::Database { size_bytes, sha256 } => {
            format!("{size_bytes} bytes, SHA-256 {}", &sha256[..sha256.len().min(16)])
        }
    };
    let (newest, oldest) = (&version.newest, &version.oldest);
    let held = if newest == oldest {
        format!("in {} ({})", newest.timestamp, newest.name.id.short())
    } else {
        let count = units::count(version.snapshots, "snapshot");
        format!(
            "in {count}, {} ({}) to {} ({})",
            oldest.timestamp,
            oldest.name.id.short(),
            newest.timestamp,
            newest.name.id.short()
        )
    };
    format!("{row}  {held}")
}

fn to_json(version: &Version) -> Value {
    let mut object = match &version.what {
        What::Upload(upload) => match entry::to_json(upload) {
            Value::Object(object) => object,
            _ => Map::new(),
        },
        What::Database { size_bytes, sha256 } => {
            let mut object = Map::new();
            object.insert("path".into(), "lrl.db".into());
            object.insert("type".into(), "database".into());
            object.insert("size_bytes".into(), (*size_bytes).into());
            object.insert("sha256".into(), sha256.clone().into());
            object
        }
    };
    for (key, held) in [("newest", &version.newest), ("oldest", &version.oldest)] {
        object.insert(key.into(), json!({ "id": held.name.id, "timestamp": held.timestamp }));
    }
    object.insert("snapshots".into(), version.snapshots.into());
    Value::Object(object)
}
