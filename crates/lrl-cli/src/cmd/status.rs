//! `lrl status`: the age of the last good backup and of the last passed drill; also what `--if-older-than` asks.

use std::time::{Duration, SystemTime};

use lrl_store::error::Error;
use lrl_store::format::entry::Time;
use lrl_store::ops::backup::time_of;
use lrl_store::ops::copy::second::{self, Second};
use lrl_store::ops::select::Need;
use lrl_store::ops::status::{self, Good, Half, Status};
use lrl_store::store::Store;
use serde_json::{Value, json};

use super::{Context, fleet, store};
use crate::args::StatusArgs;
use crate::exit::{Exit, Failure, Result};
use crate::render::units;
use crate::resolve::Paths;

/// Tells how the source stands.
pub fn run(context: &Context<'_>, args: &StatusArgs) -> Result {
    let paths = context.paths()?;
    if let Some(above) = paths.store.all_below() {
        return fleet::run(context, args, &above);
    }
    let store = store::open(context, &paths)?;
    let source = &context.cli.global.source;
    let now = time_of(SystemTime::now());
    let status = status::status(&store, source, now)?;
    let verdict = verdict(&status, args.max_age, now);
    let exit = if verdict.is_some() { Exit::Wrong } else { Exit::Done };
    let copies = copies(&store, source)?;
    if context.term.is_json() {
        let mut whole = document(&status, now.secs);
        whole["success"] = json!(exit == Exit::Done);
        whole["source"] = json!(source);
        whole["max_age_seconds"] = json!(args.max_age.map(|limit| limit.as_secs()));
        whole["copies"] = copies
            .iter()
            .map(|(copy, behind)| {
                json!({ "store": copy.place, "sequence": copy.sequence, "age_seconds": (now.secs - copy.at).max(0), "behind": behind })
            })
            .collect();
        whole["error"] = json!(verdict);
        context.term.json(&whole)?;
    } else {
        render(context, &status, now.secs)?;
        if copies.is_empty() && context.file.sets("copy-to") {
            context.term.line("Second store: lrl.toml names one (copy-to), and nothing has come there yet")?;
        }
        for (copy, behind) in copies {
            let behind = match behind {
                0 => String::new(),
                behind => format!("; {} behind", units::count(behind, "snapshot")),
            };
            context.term.line(format!(
                "Second store: {} has all up to number {}, {}{behind}",
                units::safe(&copy.place),
                copy.sequence,
                units::age(copy.at, now.secs)
            ))?;
        }
    }
    for name in &status.future {
        context.term.warn(format!("{name} has a time in the future: it does not count (is the clock right?)"));
    }
    for name in &status.unreadable {
        context.term.warn(format!("{name} cannot be read; `lrl check` tells more"));
    }
    if let Some(verdict) = verdict {
        context.term.warn(verdict);
    }
    Ok(exit)
}

/// Says what is wrong with a source, if something is: no good backup, or none that is young enough.
pub fn verdict(status: &Status, max_age: Option<Duration>, now: Time) -> Option<String> {
    let limit = max_age.map(|limit| i64::try_from(limit.as_secs()).unwrap_or(i64::MAX));
    match (status.age_secs(now), limit) {
        (None, _) => Some(none(status)),
        (Some(age), Some(limit)) if age > limit => {
            let [age, limit] = [age, limit].map(|secs| units::duration(Duration::from_secs(secs.unsigned_abs())));
            Some(format!("the last good backup is {age} old, more than {limit}"))
        }
        _ => None,
    }
}

/// Returns the stores that the source was copied to, as the cache has them, each with how many snapshots it lacks by now.
fn copies(store: &Store, source: &str) -> Result<Vec<(Second, u64)>> {
    let noted = second::noted(store, source);
    let names = if noted.is_empty() { Vec::new() } else { store.snapshot_names(Some(source))? };
    let behind = |copy: &Second| names.iter().filter(|name| name.sequence > copy.sequence).count() as u64;
    Ok(noted.into_iter().map(|copy| (behind(&copy), copy)).map(|(behind, copy)| (copy, behind)).collect())
}

/// Tells how a source stands.
pub fn document(status: &Status, now: i64) -> Value {
    json!({
        "snapshots": status.snapshots,
        "age_seconds": status.age_secs(Time { secs: now, nanos: 0 }),
        "last_good_backup": status.good.as_ref().map(|good| good_document(good, now)),
        "database": half(&status.database, now),
        "uploads": half(&status.uploads, now),
        "last_passed_drill": status.passed_drill.as_ref().map(|drill| record(drill, now)),
        "last_drill": status.drill.as_ref().map(|drill| record(drill, now)),
        "proven": status.proven,
        "oldest_unproven": status.oldest_unproven.as_ref().map(|name| name.id.to_string()),
        "from_the_future": status.future,
        "unreadable": status.unreadable,
    })
}

/// Names what no good backup holds: one of the other half alone is not enough.
fn none(status: &Status) -> String {
    let lacks = |half: &Half| status.good.is_some() && half.known && half.good.is_none();
    match (lacks(&status.database), lacks(&status.uploads)) {
        (true, false) => "there is no good backup of the database".into(),
        (false, true) => "there is no good backup of the uploads".into(),
        _ => "there is no good backup".into(),
    }
}

fn render(context: &Context<'_>, status: &Status, now: i64) -> Result<()> {
    let term = context.term;
    term.line(format!("Source: {} ({})", context.cli.global.source, units::count(status.snapshots, "snapshot")))?;
    term.line(format!("Last good backup: {}", status.good.as_ref().map_or("none".into(), |good| text(good, now))))?;
    // One line is enough where one snapshot has both halves.
    for (name, half) in [("database", &status.database), ("uploads", &status.uploads)] {
        if half.known && half.good != status.good {
            term.line(format!(
                "  of the {name}: {}",
                half.good.as_ref().map_or("none".into(), |good| text(good, now))
            ))?;
        }
    }
    let drilled = |drill: &lrl_store::format::drill::Drill| {
        format!(
            "{} ({}), of {}",
            units::age(drill.finished.secs, now),
            units::moment(drill.finished.secs),
            drill.timestamp
        )
    };
    term.line(format!("Last passed drill: {}", status.passed_drill.as_ref().map_or("none".into(), drilled)))?;
    let unproven =
        status.oldest_unproven.as_ref().map(|name| format!("; the oldest that is not is {}", name.id.short()));
    term.line(format!(
        "Proven: {} of {}{}",
        status.proven,
        units::count(status.snapshots, "snapshot"),
        unproven.unwrap_or_default()
    ))?;
    if let Some(failed) = status.drill.as_ref().filter(|drill| !drill.passed) {
        let what = failed.failed_checks.join(", ");
        term.line(format!("Last drill FAILED: {}: {}", drilled(failed), units::safe(&what)))?;
    }
    Ok(())
}

fn text(good: &Good, now: i64) -> String {
    let created = good.created.secs;
    let half = match good.halves {
        Need { database: true, uploads: true } => "",
        Need { database: true, uploads: false } => ", database only",
        Need { .. } => ", uploads only",
    };
    format!("{} ({}), snapshot {}{half}", units::age(created, now), units::moment(created), good.name.id.short())
}

fn good_document(good: &Good, now: i64) -> Value {
    json!({
        "snapshot": good.name.id.to_string(),
        "timestamp": good.timestamp,
        "created": units::moment(good.created.secs),
        "age_seconds": (now - good.created.secs).max(0),
        "database": good.halves.database,
        "uploads": good.halves.uploads,
    })
}

fn half(half: &Half, now: i64) -> Value {
    if half.known {
        half.good.as_ref().map_or(Value::Null, |good| good_document(good, now))
    } else {
        json!("not backed up")
    }
}

fn record(drill: &lrl_store::format::drill::Drill, now: i64) -> Value {
    json!({
        "finished": units::moment(drill.finished.secs),
        "age_seconds": (now - drill.finished.secs).max(0),
        "passed": drill.passed,
        "failed_checks": drill.failed_checks,
        "snapshot": drill.snapshot.map(|id| id.to_string()),
        "timestamp": drill.timestamp,
    })
}

/// Says which good snapshot with the halves that are needed is younger than `age`, if one is. No store is no snapshot.
pub fn younger_than(context: &Context<'_>, paths: &Paths, age: Duration, need: Need) -> Result<Option<String>> {
    let store = match store::open(context, paths) {
        Err(Failure::Engine(Error::NoStore { .. })) => return Ok(None),
        other => other?,
    };
    let now = time_of(SystemTime::now());
    let Some(good) = status::newest_good(&store, &context.cli.global.source, need, now)? else { return Ok(None) };
    let passed = Duration::from_secs(u64::try_from(now.secs - good.created.secs).unwrap_or_default());
    Ok((passed < age).then(|| format!("snapshot {} is {} old", good.name.id.short(), units::duration(passed))))
}
