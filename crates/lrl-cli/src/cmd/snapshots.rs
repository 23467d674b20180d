//! `lrl snapshots`: what there is to restore, one line each, oldest first.

use std::collections::HashMap;
use std::time::SystemTime;

use lrl_store::format::drill::Drilled;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::ops::drill::past_drills::LastDrill;
use lrl_store::ops::judgement::{Judge, Judgement, State};
use lrl_store::ops::snapshots;
use lrl_store::store::{SnapshotName, Store};
use lrl_store::time::time_of;
use serde_json::{Value, json};

use super::shared::{choose, open};
use crate::args::SnapshotsArgs;
use crate::args::values;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::{json, units};
use crate::term::{Colour, Term};
use crate::when;

/// Which snapshots are shown.
struct Wanted<'a> {
    args: &'a SnapshotsArgs,
    /// Not older than this.
    since: Option<i64>,
}

impl Wanted<'_> {
    /// Returns whether a snapshot is shown, however new it is.
    fn matches(&self, snapshot: &Snapshot, state: State) -> bool {
        let args = self.args;
        self.since.is_none_or(|since| snapshot.created.secs >= since)
            && (args.tag.is_empty() || snapshot.tags.iter().any(|tag| args.tag.contains(tag)))
            && (args.state.is_empty() || args.state.contains(&state))
    }

    fn is_all(&self) -> bool {
        self.since.is_none() && self.args.tag.is_empty() && self.args.state.is_empty()
    }

    /// Returns the oldest snapshot of each source that `--last` shows: of those that match, the last ones.
    fn first_of_each(
        &self,
        store: &Store,
        names: &[SnapshotName],
        judge: &mut Judge<'_>,
        term: &Term,
    ) -> Result<HashMap<String, SnapshotName>> {
        let mut first = HashMap::new();
        let Some(last) = self.args.last else { return Ok(first) };
        let mut left: HashMap<&str, u32> = HashMap::new();
        for name in store.reading(names.iter().rev()) {
            let left = left.entry(&name.source).or_insert(last);
            let counts = *left > 0
                && (self.is_all()
                    || match store.snapshot(name) {
                        Ok(snapshot) => self.matches(&snapshot, judge.of(name, &snapshot, term)?.state),
                        // It is shown in any case.
                        Err(_) => false,
                    });
            if counts {
                *left -= 1;
                first.insert(name.source.clone(), name.clone());
            }
        }
        Ok(first)
    }
}

/// What was shown.
#[derive(Default)]
struct Shown {
    listed: u64,
    good: u64,
    proven: u64,
    newest: Option<i64>,
    damaged: u64,
}

impl Shown {
    /// Returns the last line: how many there are, and how they are.
    fn footer(&self, total: u64, now: i64) -> String {
        let shown = self.listed + self.damaged;
        let many = match shown == total {
            true => units::count(total, "snapshot"),
            false => format!("{shown} of {} shown", units::count(total, "snapshot")),
        };
        let newest = self.newest.map(|newest| format!(", the newest {}", units::age(newest, now)));
        format!("{many}: {} good, {} proven{}", self.good, self.proven, newest.unwrap_or_default())
    }
}

/// Lists the snapshots of the source that was named, else of all.
pub fn run(context: &Context<'_>, args: &SnapshotsArgs) -> Result {
    let since = args.since.as_deref().map(|text| since(context, text)).transpose()?;
    let wanted = Wanted { args, since };
    let store = open::open_default(context)?;
    let term = context.term;
    let now = time_of(SystemTime::now());
    let mut shown = Shown::default();
    let mut judge = choose::judge(&store);
    let names = store.snapshot_names(choose::named_source(context))?;
    let total = names.len() as u64;
    let first = wanted.first_of_each(&store, &names, &mut judge, term)?;
    let several = names.first().map(|name| &name.source) != names.last().map(|name| &name.source);
    let mut shown_source: Option<String> = None;
    json::list(term, json!({}), "snapshots", |list| {
        let shows = |name: &&SnapshotName| first.get(&name.source).is_none_or(|first| *name >= first);
        for (name, read) in snapshots::snapshots(&store, names.iter().filter(shows)) {
            match read {
                Ok(snapshot) => {
                    let judgement = judge.of(name, &snapshot, term)?;
                    if !wanted.matches(&snapshot, judgement.state) {
                        continue;
                    }
                    if shown.listed == 0 {
                        term.line(term.paint(Colour::Dim, &heading()))?;
                    }
                    if several && shown_source.as_ref() != Some(&name.source) {
                        term.line(format!("{}:", units::safe(&name.source)))?;
                        shown_source = Some(name.source.clone());
                    }
                    shown.listed += 1;
                    shown.good += u64::from(judgement.is_good());
                    shown.newest = shown.newest.max(Some(snapshot.created.secs));
                    let proof = judge.evidence(&name.source, term)?.of(&name.id);
                    shown.proven += u64::from(proof.is_some_and(|proof| proof.passed));
                    list.item(|| to_json(name, &snapshot, proof, &judgement))?;
                    term.line(row(name, &snapshot, proof, judgement.state, now.secs))?;
                    tags(&snapshot.tags).iter().try_for_each(|line| term.line(line))?;
                }
                Err(error) => {
                    shown.damaged += 1;
                    term.warn(&error);
                    list.item(|| {
                        json!({ "id": name.id, "source": name.source, "sequence": name.sequence, "state": State::Damaged, "error": error.to_string() })
                    })?;
                }
            }
        }
        if total == 0 {
            term.note("there is no snapshot yet; `lrl backup` makes one");
        } else if shown.listed + shown.damaged == 0 {
            term.note(format!("none of {} matches", units::count(total, "snapshot")));
        } else if !context.cli.global.quiet {
            term.line(shown.footer(total, now.secs))?;
        }
        if shown.damaged > 0 {
            term.warn(format!("{} cannot be read; `lrl check` tells more", units::count(shown.damaged, "snapshot")));
        }
        let exit = if shown.damaged == 0 { Exit::Done } else { Exit::Incomplete };
        let tail = json!({ "damaged": shown.damaged, "proven": shown.proven, "good": shown.good, "total": total });
        Ok((tail, exit))
    })
}

/// Returns the moment that `--since` means: a length of time, or a time as snapshots are named by it, of whose day the beginning.
fn since(context: &Context<'_>, text: &str) -> Result<i64> {
    if let Ok(age) = values::age(text) {
        let now = time_of(SystemTime::now()).secs;
        return Ok(now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
    }
    let found = when::since(text, &when::now(context.cli.global.utc));
    found.map(|time| time.as_second()).ok_or_else(|| {
        let text =
            format!("--since {text}: no time; expected 36h, 30d, 8w, 1y, yesterday, 2026-11-28 or 2026-11-28T14:03");
        Failure::Usage(text)
    })
}

/// Returns the lines with the tags of a snapshot: below its own, which they would make too long.
fn tags(tags: &[String]) -> Vec<String> {
    const INDENT: &str = "          tags: ";
    let mut lines: Vec<String> = Vec::new();
    for tag in tags {
        let tag = units::safe(tag);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + tag.chars().count() < COLUMNS => {
                line.push_str(", ");
                line.push_str(&tag);
            }
            Some(line) => {
                line.push(',');
                lines.push(format!("{:width$}{tag}", "", width = INDENT.len()));
            }
            None => lines.push(format!("{INDENT}{tag}")),
        }
    }
    lines
}

/// A terminal's usual width.
const COLUMNS: usize = 80;

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
    line(["id", "time (UTC)", "state", "database", "files", "uploads", "proven"])
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
    ])
}

/// Fixed widths, as a row is written before the next is known; at most [`COLUMNS`].
fn line(cells: [&str; 7]) -> String {
    let [id, time, state, database, files, uploads, proven] = cells;
    let text = format!("{id:<8}  {time:<19}  {state:<10} {database:>9} {files:>7} {uploads:>9}  {proven:<9}");
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

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Shown, line, tags};

    #[test]
    fn the_widest_row_fits_the_terminal() {
        let widest =
            line(["01234567", "2026-01-14 12:00:00", "incomplete", "1023 MiB", "1234567", "1023 MiB", "FAILED 9w"]);
        assert!(widest.len() <= COLUMNS, "{widest}");
    }

    #[test]
    fn tags_are_broken_between_words() {
        assert_eq!(tags(&[]), Vec::<String>::new());
        assert_eq!(tags(&["a".into(), "b".into()]), ["          tags: a, b"]);
        let many: Vec<String> = (0..30).map(|n| format!("nightly-{n}")).collect();
        let lines = tags(&many);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= COLUMNS), "{lines:?}");
        assert_eq!(lines.concat().matches("nightly-").count(), 30);
    }

    #[test]
    fn the_footer_counts_what_is_shown_and_what_is_there() {
        let shown = Shown { listed: 2, good: 1, proven: 1, newest: Some(1000), damaged: 1 };
        assert_eq!(shown.footer(3, 8200), "3 snapshots: 1 good, 1 proven, the newest 2 h ago");
        assert_eq!(shown.footer(9, 8200), "3 of 9 snapshots shown: 1 good, 1 proven, the newest 2 h ago");
        assert_eq!(Shown::default().footer(1, 0), "0 of 1 snapshot shown: 0 good, 0 proven");
    }
}
