//! `lrl snapshots`: what there is to restore, one line each, oldest first.

use std::collections::HashMap;
use std::time::SystemTime;

use lrl_store::format::drill::Drilled;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::ops::drill::past_drills::LastDrill;
use lrl_store::ops::judgement::{Judgement, State};
use lrl_store::ops::snapshots;
use lrl_store::store::SnapshotName;
use lrl_store::time::time_of;
use serde_json::{Value, json};

use super::shared::{choose, open};
use crate::args::SnapshotsArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::{json, units};
use crate::term::Colour;

/// Lists the snapshots of the source that was named, else of all.
pub fn run(context: &Context<'_>, args: &SnapshotsArgs) -> Result {
    let store = open::open_default(context)?;
    let term = context.term;
    let now = time_of(SystemTime::now());
    let (mut listed, mut damaged, mut proven) = (0u64, 0u64, 0u64);
    let mut judge = choose::judge(&store);
    let names = store.snapshot_names(choose::named_source(context))?;
    let first = first_of_each(&names, args.last);
    let since = args.since.map(|since| now.secs.saturating_sub(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)));
    let several = names.first().map(|name| &name.source) != names.last().map(|name| &name.source);
    let mut shown_source: Option<String> = None;
    let wanted = |snapshot: &Snapshot, state: State| {
        since.is_none_or(|since| snapshot.created.secs >= since)
            && (args.tag.is_empty() || snapshot.tags.iter().any(|tag| args.tag.contains(tag)))
            && (args.state.is_empty() || args.state.contains(&state))
    };
    json::list(term, json!({}), "snapshots", |list| {
        for (name, read) in snapshots::snapshots(&store, choose::named_source(context))? {
            if first.get(&name.source).is_some_and(|first| name < *first) {
                continue;
            }
            match read {
                Ok(snapshot) => {
                    let judgement = judge.of(&name, &snapshot, term)?;
                    if !wanted(&snapshot, judgement.state) {
                        continue;
                    }
                    if listed == 0 {
                        term.line(term.paint(Colour::Dim, &heading()))?;
                    }
                    if several && shown_source.as_ref() != Some(&name.source) {
                        term.line(format!("{}:", units::safe(&name.source)))?;
                        shown_source = Some(name.source.clone());
                    }
                    listed += 1;
                    let proof = judge.evidence(&name.source, term)?.of(&name.id);
                    proven += u64::from(proof.is_some_and(|proof| proof.passed));
                    list.item(|| to_json(&name, &snapshot, proof, &judgement))?;
                    term.line(row(&name, &snapshot, proof, judgement.state, now.secs))?;
                }
                Err(error) => {
                    damaged += 1;
                    term.warn(&error);
                    list.item(|| {
                        json!({ "id": name.id, "source": name.source, "sequence": name.sequence, "state": State::Damaged, "error": error.to_string() })
                    })?;
                }
            }
        }
        if listed + damaged == 0 {
            term.note("there is no snapshot yet; `lrl backup` makes one");
        }
        if damaged > 0 {
            term.warn(format!("{} cannot be read; `lrl check` tells more", units::count(damaged, "snapshot")));
        }
        let exit = if damaged == 0 { Exit::Done } else { Exit::Incomplete };
        Ok((json!({ "damaged": damaged, "proven": proven }), exit))
    })
}

/// Returns the oldest snapshot of each source that `--last` shows.
fn first_of_each(names: &[SnapshotName], last: Option<u32>) -> HashMap<String, SnapshotName> {
    let mut first = HashMap::new();
    let Some(last) = last else { return first };
    let mut left: HashMap<&str, u32> = HashMap::new();
    for name in names.iter().rev() {
        let left = left.entry(&name.source).or_insert(last);
        if *left > 0 {
            *left -= 1;
            first.insert(name.source.clone(), name.clone());
        }
    }
    first
}

/// Returns how long ago a drill proved that the snapshot can be restored, or that its set can.
fn proven(proof: Option<LastDrill>, now: i64) -> String {
    let Some(LastDrill { passed, drilled, finished, .. }) = proof else { return "-".into() };
    let age = units::short_age(finished.secs, now);
    match (passed, drilled) {
        (false, _) => format!("FAILED {age}"),
        (true, Drilled::Set) => format!("{age}, set"),
        (true, _) => age,
    }
}

fn heading() -> String {
    line(["id", "time (UTC)", "state", "database", "files", "uploads", "proven", ""])
}

fn row(name: &SnapshotName, snapshot: &Snapshot, proof: Option<LastDrill>, state: State, now: i64) -> String {
    let database = if snapshot.has_databases() { units::size(snapshot.database_bytes()) } else { "-".into() };
    let (files, uploads) = match &snapshot.files {
        Some(half) => (half.files.to_string(), units::size(half.bytes)),
        None => ("-".into(), "-".into()),
    };
    line([
        &name.id.short(),
        &units::moment(snapshot.created.secs),
        state.name(),
        &database,
        &files,
        &uploads,
        &proven(proof, now),
        &units::safe(&snapshot.tags.join(" ")),
    ])
}

/// Fixed widths, as a row is written before the next is known; without tags at most 80 columns.
fn line(cells: [&str; 8]) -> String {
    let [id, time, state, database, files, uploads, proven, tags] = cells;
    let text =
        format!("{id:<8}  {time:<19}  {state:<10}  {database:>8}  {files:>6}  {uploads:>8}  {proven:<9}  {tags}");
    text.trim_end().to_string()
}

/// Returns everything in the document, under the names that it has there, and the id.
fn to_json(name: &SnapshotName, snapshot: &Snapshot, proof: Option<LastDrill>, judgement: &Judgement) -> Value {
    let mut value = serde_json::to_value(snapshot).unwrap_or_default();
    crate::render::entry::plain(&mut value);
    if let Value::Object(members) = &mut value {
        members.insert("id".into(), name.id.to_string().into());
        members.insert("short_id".into(), name.id.short().into());
        members.insert("state".into(), judgement.state.name().into());
        members.insert("reason".into(), judgement.reason.clone().into());
        members.insert("proven".into(), proof.is_some_and(|proof| proof.passed).into());
        let drill = proof.map(|LastDrill { finished, drilled, passed, .. }| {
            json!({ "finished": crate::render::entry::iso(finished), "drilled": drilled, "passed": passed })
        });
        members.insert("last_drill".into(), drill.into());
        members.insert("time".into(), crate::render::entry::iso(snapshot.created).into());
    }
    value
}
