//! `lrl snapshots`: what there is to restore, one line each, oldest first.

use std::time::SystemTime;

use lrl_store::format::drill::Drilled;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::ops::backup::time_of;
use lrl_store::ops::drill::evidence::Proof;
use lrl_store::ops::snapshots;
use lrl_store::store::SnapshotName;
use serde_json::{Value, json};

use super::books::Books;
use super::{Context, store};
use crate::exit::{Exit, Result};
use crate::render::document;
use crate::render::units;
use crate::term::Colour;

/// Lists the snapshots of the source that was named, else of all.
pub fn run(context: &Context<'_>) -> Result {
    let store = store::open_default(context)?;
    let term = context.term;
    let now = time_of(SystemTime::now());
    let (mut listed, mut damaged, mut proven) = (0u64, 0u64, 0u64);
    let mut books = Books::default();
    document::list(term, json!({}), "snapshots", |list| {
        for (name, read) in snapshots::snapshots(&store, store::named_source(context))? {
            match read {
                Ok(snapshot) => {
                    if listed == 0 {
                        term.line(term.paint(Colour::Dim, &heading()))?;
                    }
                    listed += 1;
                    let proof = books.of(context, &store, &name.source, now)?.of(&name.id);
                    proven += u64::from(proof.is_some_and(|proof| proof.passed));
                    list.item(|| to_json(&name, &snapshot, proof))?;
                    term.line(row(&name, &snapshot, proof, now.secs))?;
                }
                Err(error) => {
                    damaged += 1;
                    term.warn(&error);
                    list.item(|| {
                        json!({ "id": name.id, "source": name.source, "sequence": name.sequence, "error": error.to_string() })
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

/// Says whether it is proven that a snapshot can be restored, and since when; of a set, that its set can.
fn proven(proof: Option<Proof>, now: i64) -> String {
    match proof {
        None => "-".into(),
        Some(Proof { passed: false, finished, .. }) => format!("FAILED {}", units::age(finished.secs, now)),
        Some(Proof { drilled: Drilled::Set, finished, .. }) => format!("{}, set", units::age(finished.secs, now)),
        Some(Proof { finished, .. }) => units::age(finished.secs, now),
    }
}

fn heading() -> String {
    line(["id", "time (UTC)", "age", "number", "database", "files", "uploads", "proven", "source", "tags, host"])
}

fn row(name: &SnapshotName, snapshot: &Snapshot, proof: Option<Proof>, now: i64) -> String {
    let time = snapshot.created.secs;
    let database = snapshot.database.as_ref().map_or("-".into(), |half| units::size(half.size_bytes));
    let (files, uploads) = match &snapshot.uploads {
        Some(half) => (half.files.to_string(), units::size(half.bytes)),
        None => ("-".into(), "-".into()),
    };
    let mut more = snapshot.tags.clone();
    more.extend((!snapshot.host.is_empty()).then(|| format!("@{}", snapshot.host)));
    let lost = snapshot.problems.iter().filter(|problem| problem.lost).count() as u64;
    more.extend((lost > 0).then(|| format!("({} missing from it)", units::count(lost, "thing"))));
    line([
        &name.id.short(),
        &units::moment(time),
        &units::age(time, now),
        &snapshot.sequence.to_string(),
        &database,
        &files,
        &uploads,
        &proven(proof, now),
        &units::safe(&snapshot.source),
        &units::safe(&more.join(" ")),
    ])
}

/// Fixed widths: a row is written before the next is known.
fn line(cells: [&str; 10]) -> String {
    let [id, time, age, number, database, files, uploads, proven, source, more] = cells;
    let text = format!(
        "{id:<8}  {time:<19}  {age:<13}  {number:>6}  {database:>8}  {files:>8}  {uploads:>8}  {proven:<17}  {source:<8}  {more}"
    );
    text.trim_end().to_string()
}

/// Returns everything in the document, under the names that it has there, and the id.
fn to_json(name: &SnapshotName, snapshot: &Snapshot, proof: Option<Proof>) -> Value {
    let mut value = serde_json::to_value(snapshot).unwrap_or_default();
    crate::render::entry::plain(&mut value);
    if let Value::Object(members) = &mut value {
        members.insert("id".into(), name.id.to_string().into());
        members.insert("short_id".into(), name.id.short().into());
        members.insert("proven".into(), proof.is_some_and(|proof| proof.passed).into());
        let drill = proof.map(|Proof { finished, drilled, passed }| {
            json!({ "finished": crate::render::entry::iso(finished), "drilled": drilled, "passed": passed })
        });
        members.insert("last_drill".into(), drill.into());
        members.insert("time".into(), crate::render::entry::iso(snapshot.created).into());
    }
    value
}
