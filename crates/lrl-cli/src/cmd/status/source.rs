//! One source of a store: how it is, in words and as a document.

use lrl_store::error::Error;
use lrl_store::ops::copy::last_copied::{self, LastCopied};
use lrl_store::ops::select::Need;
use lrl_store::ops::status::{self, Condition, Good, Newest, PartAge, Status};
use lrl_store::store::{SnapshotName, Store};
use lrl_store::time::Time;
use serde_json::{Value, json};

use super::{describe, watch};
use crate::args::max_age::MaxAgeArgs;
use crate::cmd::shared::choose;
use crate::cmd::shared::run_record::{self, RunRecord};
use crate::cmd::shared::watch_state;
use crate::context::Context;
use crate::exit::Result;
use crate::render::names::Names;
use crate::render::{entry, units};

/// One source of a store, with all that is known of it on this machine.
pub struct SourceStatus {
    /// The source.
    pub source: String,
    /// What the store says.
    pub status: Status,
    /// The stores that it was copied to, each with how many snapshots it lacks by now, and the age of the oldest of those in seconds.
    pub copies: Vec<(LastCopied, u64, Option<u64>)>,
    /// How the last backup ended.
    pub last_run: Option<RunRecord>,
    /// The watch of the source, if there ever was one.
    watch: Option<watch_state::Seen>,
    /// What is wrong in the store itself, in the order of the first lines of `wrong`.
    pub conditions: Vec<Condition>,
    /// Everything that is wrong, a line each.
    pub wrong: Vec<String>,
}

/// Names what does not count; many of one kind are one line.
pub(super) fn notes(context: &Context<'_>, status: &Status) {
    let group = |names: &[String], what: &str, advice: &str| match names {
        [] => {}
        [name] => context.term.warn(format!("{name} {what}; {advice}")),
        [name, others @ ..] => {
            context.term.warn(format!("{name} and {} {what}; {advice}", units::count(others.len() as u64, "more")));
        }
    };
    group(&status.future, "with a time in the future: not counted", "is the clock right?");
    group(&status.unreadable, "cannot be read", "`lrl check` tells more");
}

impl SourceStatus {
    /// Looks at one source.
    pub fn of(
        context: &Context<'_>,
        limits: &MaxAgeArgs,
        store: &Store,
        source: &Listed,
        is_in_force: bool,
        with: (Time, Names),
    ) -> Result<Self, Error> {
        let status = status::survey(store, &source.name, &source.snapshots, with.0, 0)?;
        Self::with(context, limits, (store, source), status, is_in_force, with)
    }

    /// As [`SourceStatus::of`], where it is known what the store says. What this machine alone knows (copies, the last run) counts for the store
    /// that is in force only.
    pub fn with(
        context: &Context<'_>,
        limits: &MaxAgeArgs,
        (store, source): (&Store, &Listed),
        status: Status,
        is_in_force: bool,
        (now, names): (Time, Names),
    ) -> Result<Self, Error> {
        let conditions = status.conditions(&limits.limits(), now);
        let mut wrong: Vec<String> =
            conditions.iter().map(|condition| describe::condition(condition, now, names)).collect();
        let copies = if is_in_force { copies(store, source, now) } else { Vec::new() };
        if let Some(limit) = limits.max_copy_age {
            for (copy, behind, age) in &copies {
                if let Some(age) = age.filter(|age| *age > limit.as_secs()) {
                    wrong.push(describe::copy(copy, *behind, age, limit, names));
                }
            }
            if copies.is_empty() && is_in_force && context.file.sets("copy-to") {
                wrong.push("lrl.toml names a second store (copy-to), and nothing was ever copied there".into());
            }
        }
        let last_run = if is_in_force { run_record::read(context, &source.name) } else { None };
        let watch = if is_in_force { watch_state::look(context, &source.name) } else { None };
        wrong.extend(watch.as_ref().and_then(|seen| watch::wrong(seen, now.secs)));
        Ok(Self { source: source.name.clone(), status, copies, last_run, watch, conditions, wrong })
    }

    pub(super) fn render(&self, context: &Context<'_>, now: i64) -> Result<()> {
        let (term, status) = (context.term, &self.status);
        term.line(format!("Source: {} ({})", units::safe(&self.source), units::count(status.snapshots, "snapshot")))?;
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
        if let Some(Newest { name, judgement, .. }) = status.newest.as_ref().filter(|it| !it.judgement.is_good()) {
            term.line(format!(
                "Newest snapshot: {}, {}: {}",
                name.id.short(),
                judgement.state,
                units::safe(&judgement.reason)
            ))?;
        }
        if let Some(run) = &self.last_run {
            let how = match run.exit {
                0 => "ended well".to_string(),
                exit => format!("ended with exit code {exit}"),
            };
            let error = run.error.as_ref().map(|error| format!(": {}", units::safe(error))).unwrap_or_default();
            term.line(format!("Last run: {} {}, {how}{error}", run.command, units::age(run.finished, now)))?;
        }
        if let Some(seen) = &self.watch {
            term.line(watch::line(seen, now))?;
        }
        let drilled = |drill: &lrl_store::format::drill::Drill| {
            format!(
                "{} ({}), of {}",
                units::age(drill.finished.secs, now),
                units::moment(drill.finished.secs),
                units::safe(&drill.timestamp)
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
        if let Some((time, passed)) = status.check {
            let how = if passed { "nothing wrong" } else { "found damage" };
            term.line(format!("Last check: {} ({}), {how}", units::age(time.secs, now), units::moment(time.secs)))?;
        }
        if self.copies.is_empty() && context.file.sets("copy-to") {
            term.line("Second store: lrl.toml names one (copy-to), and nothing has come there yet")?;
        }
        for (copy, behind, _) in &self.copies {
            let behind = match behind {
                0 => String::new(),
                behind => format!("; {} behind", units::count(*behind, "snapshot")),
            };
            term.line(format!(
                "Second store: {} has all up to number {}, {}{behind}",
                units::safe(&copy.place),
                copy.sequence,
                units::age(copy.at, now)
            ))?;
        }
        Ok(())
    }

    /// Returns all of it as a document.
    pub fn document(&self, now: i64) -> Value {
        let mut whole = status_document(&self.status, now);
        whole["source"] = json!(self.source);
        whole["success"] = json!(self.wrong.is_empty());
        whole["wrong"] = json!(self.wrong);
        whole["error"] = json!(self.wrong.first());
        whole["last_run"] = self.last_run.as_ref().map_or(Value::Null, |run| {
            json!({
                "command": run.command, "finished": entry::iso(Time { secs: run.finished, nanos: 0 }),
                "age_seconds": (now - run.finished).max(0), "exit_code": run.exit, "error": run.error,
            })
        });
        whole["watch"] = self.watch.as_ref().map_or(Value::Null, |seen| watch::document(seen, now));
        whole["copies"] = self
            .copies
            .iter()
            .map(|(copy, behind, lag)| {
                json!({
                    "store": copy.place, "sequence": copy.sequence, "age_seconds": (now - copy.at).max(0), "behind": behind,
                    "lag_seconds": lag.unwrap_or(0),
                })
            })
            .collect();
        whole
    }
}

/// Returns the stores that the source was copied to, as the cache has them, with what each lacks by now.
pub fn copies(store: &Store, source: &Listed, now: Time) -> Vec<(LastCopied, u64, Option<u64>)> {
    let lacks = |copy: LastCopied| {
        let missing = source.snapshots.iter().filter(|name| name.sequence > copy.sequence);
        let oldest = missing.clone().next().and_then(|name| store.snapshot(name).ok());
        let age = oldest.map(|snapshot| now.secs.saturating_sub(snapshot.created.secs).max(0).unsigned_abs());
        (copy.clone(), missing.count() as u64, age)
    };
    last_copied::noted(store, &source.name).into_iter().map(lacks).collect()
}

/// Returns how a source stands as a document.
pub fn status_document(status: &Status, now: i64) -> Value {
    json!({
        "snapshots": status.snapshots,
        "age_seconds": status.age_secs(Time { secs: now, nanos: 0 }),
        "last_good_backup": status.good.as_ref().map(|good| good_document(good, now)),
        "newest": status.newest.as_ref().map(|newest| json!({
            "snapshot": newest.name.id.to_string(), "sequence": newest.name.sequence,
            "timestamp": newest.time.as_ref().map(|(timestamp, _)| timestamp),
            "state": newest.judgement.state, "reason": newest.judgement.reason,
        })),
        "database": half(&status.database, now),
        "uploads": half(&status.uploads, now),
        "last_passed_drill": status.passed_drill.as_ref().map(|drill| record(drill, now)),
        "last_drill": status.drill.as_ref().map(|drill| record(drill, now)),
        "last_check": status.check.map(|(time, passed)| json!({
            "time": entry::iso(time), "age_seconds": (now - time.secs).max(0), "passed": passed,
        })),
        "proven": status.proven,
        "oldest_unproven": status.oldest_unproven.as_ref().map(|name| name.id.to_string()),
        "from_the_future": status.future,
        "unreadable": status.unreadable,
    })
}

pub(super) fn text(good: &Good, now: i64) -> String {
    let created = good.created.secs;
    let half = match good.parts {
        Need { database: true, uploads: true } => "",
        Need { database: true, uploads: false } => ", database only",
        Need { .. } => ", uploads only",
    };
    format!("{} ({}), snapshot {}{half}", units::age(created, now), units::moment(created), good.name.id.short())
}

pub(super) fn good_document(good: &Good, now: i64) -> Value {
    json!({
        "snapshot": good.name.id.to_string(),
        "timestamp": good.timestamp,
        "created": entry::iso(good.created),
        "age_seconds": (now - good.created.secs).max(0),
        "database": good.parts.database,
        "uploads": good.parts.uploads,
    })
}

pub(super) fn half(half: &PartAge, now: i64) -> Value {
    if half.known {
        half.good.as_ref().map_or(Value::Null, |good| good_document(good, now))
    } else {
        json!("not backed up")
    }
}

pub(super) fn record(drill: &lrl_store::format::drill::Drill, now: i64) -> Value {
    json!({
        "finished": entry::iso(drill.finished),
        "age_seconds": (now - drill.finished.secs).max(0),
        "passed": drill.passed,
        "failed_checks": drill.failed_checks,
        "snapshot": drill.snapshot.map(|id| id.to_string()),
        "timestamp": drill.timestamp,
    })
}

/// Returns whether a store has no snapshot at all, whichever source is asked for.
pub fn is_empty(store: &Store, sources: &[Listed]) -> bool {
    let none = sources.iter().all(|source| source.snapshots.is_empty());
    none && store.snapshot_names(None).is_ok_and(|names| names.is_empty())
}

/// A source, and the names of its snapshots, oldest first.
pub struct Listed {
    /// The source.
    pub name: String,
    /// Its snapshots.
    pub snapshots: Vec<SnapshotName>,
}

/// Lists the source that was named, else all that the store has, else the one by default.
pub fn sources(context: &Context<'_>, store: &Store) -> Result<Vec<Listed>, Error> {
    let named = choose::named_source(context);
    let mut sources: Vec<Listed> = Vec::new();
    for name in store.snapshot_names(named)? {
        match sources.last_mut().filter(|last| last.name == name.source) {
            Some(last) => last.snapshots.push(name),
            None => sources.push(Listed { name: name.source.clone(), snapshots: vec![name] }),
        }
    }
    if sources.is_empty() {
        let name = named.unwrap_or(&context.cli.global.source).to_string();
        sources.push(Listed { name, snapshots: Vec::new() });
    }
    Ok(sources)
}
