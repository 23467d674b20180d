//! `lrl diff`: what changed from one snapshot to another.

mod row_lines;
mod rows;

use lrl_store::format::entry::Entry;
use lrl_store::ops::diff::{self, Change, DatabaseChange, DatabaseDiff};
use lrl_store::ops::select::Need;
use serde_json::{Map, Value, json};

use super::shared::{choose, open};
use crate::args::DiffArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::{entry, json, units};

/// Compares two snapshots: `+` added, `-` removed, `M` other contents, `m` other metadata.
pub fn run(context: &Context<'_>, args: &DiffArgs) -> Result {
    let store = open::open_default(context)?;
    if args.rows.is_some() {
        return rows::sides(context, args, &store);
    }
    if args.to == "live" {
        return Err(Failure::Usage("only rows are compared with the live data: add --rows".into()));
    }
    let (from_name, from) = choose::select(context, &store, &args.from, Need::default())?;
    let (to_name, to) = choose::select(context, &store, &args.to, Need::default())?;
    let term = context.term;
    let databases = diff::databases(&store, &from, &to)?;
    let head = json!({
        "from": { "id": from_name.id, "timestamp": from.timestamp }, "to": { "id": to_name.id, "timestamp": to.timestamp },
        "databases": databases,
    });
    json::list(term, head, "changes", |list| {
        for line in databases.iter().flat_map(database_lines) {
            term.line(line)?;
        }
        let counts = diff::uploads(&store, &from, &to, term, &mut |change| {
            list.item(|| to_json(change))?;
            if term.is_json() { Ok(()) } else { term.line(line(change)) }
        })?;
        for (snapshot, which) in [(&from, "older"), (&to, "newer")] {
            if snapshot.files.is_none() {
                term.note(format!("the {which} snapshot holds no uploads"));
            }
        }
        term.line(format!(
            "\n{} added, {} removed, {} with other contents, {} with other metadata; +{}, -{}",
            counts.added,
            counts.removed,
            counts.changed,
            counts.metadata,
            units::size(counts.added_bytes),
            units::size(counts.removed_bytes)
        ))?;
        Ok((json!({ "counts": counts }), Exit::Done))
    })
}

fn database_lines(DatabaseDiff { path, change }: &DatabaseDiff) -> Vec<String> {
    let path = units::safe(path);
    let size = |bytes: &u64| units::size(*bytes);
    match change {
        DatabaseChange::Same { size_bytes } => vec![format!("=  {path} ({}, the same)", size(size_bytes))],
        DatabaseChange::Added { size_bytes } => vec![format!("+  {path} ({})", size(size_bytes))],
        DatabaseChange::Removed { size_bytes } => vec![format!("-  {path} ({})", size(size_bytes))],
        DatabaseChange::Changed { from_bytes, to_bytes, extents_bytes, tables_added, tables_removed } => {
            let mut lines = vec![format!(
                "M  {path} ({} -> {}, {} in changed extents)",
                size(from_bytes),
                size(to_bytes),
                size(extents_bytes)
            )];
            let table = |sign: &'static str| move |name: &String| format!("   {sign} table {}", units::safe(name));
            lines.extend(tables_added.iter().map(table("+")));
            lines.extend(tables_removed.iter().map(table("-")));
            lines
        }
    }
}

fn line(change: &Change) -> String {
    let sized =
        |sign: &str, entry: &Entry| format!("{sign}  {} ({})", units::path(&entry.path), units::size(entry.size()));
    match change {
        Change::Added(entry) => sized("+", entry),
        Change::Removed(entry) => sized("-", entry),
        Change::Changed(old, new) if diff::aspects(old, new).content => {
            format!("M  {} ({} -> {})", units::path(&new.path), units::size(old.size()), units::size(new.size()))
        }
        Change::Changed(_, new) => format!("m  {}", units::path(&new.path)),
    }
}

fn to_json(change: &Change) -> Value {
    let mut object = Map::new();
    let (kind, path) = match change {
        Change::Added(entry) => ("added", &entry.path),
        Change::Removed(entry) => ("removed", &entry.path),
        Change::Changed(_, entry) => ("changed", &entry.path),
    };
    object.insert("change".into(), kind.into());
    entry::put_name(&mut object, "path", path);
    let (old, new) = match change {
        Change::Added(entry) => (None, Some(entry)),
        Change::Removed(entry) => (Some(entry), None),
        Change::Changed(old, new) => {
            let aspects = diff::aspects(old, new);
            object.insert("content".into(), aspects.content.into());
            object.insert("metadata".into(), aspects.metadata.into());
            (Some(old), Some(new))
        }
    };
    object.insert("from".into(), old.map(entry::to_json).into());
    object.insert("to".into(), new.map(entry::to_json).into());
    Value::Object(object)
}
