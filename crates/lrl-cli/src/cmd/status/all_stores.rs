//! `lrl status --store '…/*'`: every store one level below, a line for each source. One that cannot be read is a line, not the end.

use std::time::SystemTime;

use lrl_store::backend::location::Location;
use lrl_store::error::{Error, Place};
use lrl_store::ops::status::Status;
use lrl_store::store::Store;
use lrl_store::time::time_of;
use serde_json::{Value, json};

use super::probe;
use super::source::{Listed, SourceStatus, is_empty, sources, status_document};
use crate::args::StatusArgs;
use crate::args::max_age::MaxAgeArgs;
use crate::cmd::shared::open;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::names::Names;
use crate::render::table::{Side, Table};
use crate::render::units;
use crate::term::Colour;

/// How one source of one store stands; without a source, why the store tells nothing.
struct Line {
    place: String,
    source: Option<String>,
    stand: Option<SourceStatus>,
    /// What is wrong, if something is.
    wrong: Vec<String>,
    /// What is worth a look.
    notes: Vec<String>,
}

/// Tells how every store stands.
pub fn run(context: &Context<'_>, args: &StatusArgs, above: &Location) -> Result {
    let now = time_of(SystemTime::now()).secs;
    let mut lines = Vec::new();
    for place in open::locations_below(context, above)? {
        match probe::store(context, &place) {
            Ok(None) => {}
            Ok(Some(store)) => match sources(context, &store) {
                Ok(sources) if is_empty(&store, &sources) => {
                    lines.push(Line::without(&place, "no snapshot"));
                }
                Ok(sources) => {
                    for source in sources {
                        lines.push(Line::of(context, &args.limits, &place, &store, &source)?);
                    }
                }
                Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
                Err(error) => lines.push(Line::without(&place, &probe::reason(&error))),
            },
            Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
            Err(error) => lines.push(Line::without(&place, &probe::reason(&error))),
        }
    }
    if lines.is_empty() {
        return Err(Error::NoStore { what: Place::StoreBelow, path: above.to_string().into() }.into());
    }
    let exit = if lines.iter().any(|line| !line.wrong.is_empty()) { Exit::Wrong } else { Exit::Done };
    if context.term.is_json() {
        context.term.json(&lines.iter().map(|line| line.document(now)).collect::<Vec<_>>())?;
    } else if context.cli.global.quiet {
        for line in &lines {
            let of = line.source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
            line.wrong.iter().for_each(|wrong| context.term.warn(format!("{}{of}: {wrong}", line.place)));
        }
    } else {
        render(context, &lines, now)?;
    }
    Ok(exit)
}

impl Line {
    fn without(place: &Location, reason: &str) -> Self {
        Self { place: place.to_string(), source: None, stand: None, wrong: vec![reason.into()], notes: Vec::new() }
    }

    fn of(
        context: &Context<'_>,
        limits: &MaxAgeArgs,
        place: &Location,
        store: &Store,
        source: &Listed,
    ) -> Result<Self> {
        let now = time_of(SystemTime::now());
        let stand = match SourceStatus::of(context, limits, store, source, false, (now, Names::Shown)) {
            Ok(stand) => stand,
            Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
            Err(error) => {
                return Ok(Self { source: Some(source.name.clone()), ..Self::without(place, &probe::reason(&error)) });
            }
        };
        let mut notes = Vec::new();
        let mut note = |count: usize, what: &str| {
            if count > 0 {
                notes.push(units::count(count as u64, what));
            }
        };
        note(stand.status.unreadable.len(), "unreadable document");
        note(stand.status.future.len(), "time in the future|times in the future");
        note(store.damaged_indexes().len(), "damaged index file");
        let wrong = stand.wrong.clone();
        Ok(Self { place: place.to_string(), source: Some(source.name.clone()), stand: Some(stand), wrong, notes })
    }

    fn status(&self) -> Option<&Status> {
        self.stand.as_ref().map(|stand| &stand.status)
    }

    fn age(&self, now: i64) -> Option<i64> {
        self.status()?.good.as_ref().map(|good| (now - good.created.secs).max(0))
    }

    fn document(&self, now: i64) -> Value {
        json!({
            "store": self.place,
            "source": self.source,
            "success": self.wrong.is_empty(),
            "error": self.wrong.first(),
            "wrong": self.wrong,
            "notes": self.notes,
            "status": self.status().map(|found| status_document(found, now)),
        })
    }
}

fn render(context: &Context<'_>, lines: &[Line], now: i64) -> Result<()> {
    let mut table = Table::new(&[
        ("STORE", Side::Left),
        ("SOURCE", Side::Left),
        ("SNAPSHOTS", Side::Right),
        ("LAST GOOD", Side::Left),
        ("PROVEN", Side::Left),
        ("STATE", Side::Left),
    ]);
    for line in lines {
        let status = line.status();
        let state: Vec<&str> = line.wrong.iter().chain(&line.notes).map(String::as_str).collect();
        let drilled = |status: &Status| match &status.passed_drill {
            Some(drill) => format!("{}, {}", status.proven, units::age(drill.finished.secs, now)),
            None => "no".into(),
        };
        table.row([
            line.place.clone(),
            line.source.clone().unwrap_or_default(),
            status.map(|status| status.snapshots.to_string()).unwrap_or_default(),
            line.age(now).map_or_else(|| "none".into(), |age| units::age(now - age, now)),
            status.map(drilled).unwrap_or_default(),
            if state.is_empty() { "ok".into() } else { state.join("; ") },
        ]);
    }
    context.term.table(&table)?;
    let wrong = lines.iter().filter(|line| !line.wrong.is_empty()).count();
    if wrong > 0 {
        let text = format!("{wrong} of {} need a look", units::count(lines.len() as u64, "line"));
        context.term.line(context.term.paint(Colour::Red, &text))?;
    }
    Ok(())
}
