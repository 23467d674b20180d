//! Selects a snapshot by `good`, `latest`, `latest~2`, a timestamp, the beginning of an id, or a time.

use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::hint::{AddHint, Hint};
use crate::ops::judgement::{Judge, Judgement, State};
pub use crate::ops::parts::Need;
use crate::progress::{Observer, checkpoint};
use crate::store::{SnapshotName, Store};
use crate::time::Time;

/// A snapshot that was found.
#[derive(Debug, Clone)]
pub struct Selected {
    /// Its name.
    pub name: SnapshotName,
    /// Its document.
    pub snapshot: Snapshot,
    /// The newer ones that `good` passed over because they are not good, the newest first.
    pub passed_over: Vec<PassedOver>,
    /// The newest newer one that was passed over because it is of what was there before rows were restored, and its timestamp.
    pub before_restore: Option<(SnapshotName, String)>,
}

impl Selected {
    fn new(name: &SnapshotName, snapshot: Snapshot) -> Self {
        Self { name: name.clone(), snapshot, passed_over: Vec::new(), before_restore: None }
    }
}

/// Snapshots of what was there before rows were restored, newest first. They are used only where there is nothing else.
struct Aside {
    /// Which of them would be used, counted from the newest.
    back: usize,
    seen: usize,
    newest: Option<(SnapshotName, String)>,
    last_resort: Option<Selected>,
}

impl Aside {
    fn new(back: usize) -> Self {
        Self { back, seen: 0, newest: None, last_resort: None }
    }

    fn add(&mut self, name: &SnapshotName, snapshot: Snapshot) {
        self.newest.get_or_insert_with(|| (name.clone(), snapshot.timestamp.clone()));
        if self.seen == self.back {
            self.last_resort = Some(Selected::new(name, snapshot));
        }
        self.seen += 1;
    }

    /// Returns what was found in their place.
    fn passed_for(self, found: Selected) -> Selected {
        Selected { before_restore: self.newest, ..found }
    }
}

/// A snapshot that is newer than the one that was found, but not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its name.
    pub name: SnapshotName,
    /// Its timestamp; `None` if it cannot be read.
    pub timestamp: Option<String>,
    /// Its state.
    pub state: State,
    /// Why it is not good.
    pub reason: String,
    /// Which of its parts are good all the same.
    pub good: Need,
}

/// What `wanted` asks for.
enum Wanted {
    /// The N-th newest that holds what is needed.
    Latest(usize),
    /// The N-th newest that is good.
    Good(usize),
    /// The one with this timestamp.
    Stamp,
    /// The one whose id begins so.
    Id,
}

/// Finds the newest good snapshot with all parts, in one source or (`None`) in all of them.
///
/// # Errors
/// [`Error::NotFound`] if there is none.
pub fn newest_good(store: &Store, source: Option<&str>, now: Time, observer: &dyn Observer) -> Result<Selected> {
    select(store, source, "good", Need::default(), &mut Judge::new(store, now), observer)
}

/// Finds the one snapshot that `wanted` means, in one source or (`None`) in all of them.
///
/// `latest` is the newest that meets `need`, `latest~N` the N-th such before it; `good` and `good~N` are the same among those that are good.
/// Other names are looked up as they are: the caller checks whether the snapshot holds what is needed. `good` counts parts: where only the
/// database is needed, a snapshot whose files were missing serves. Snapshots of what was there before rows were restored are found by their
/// id or timestamp only, unless there are no others.
///
/// # Errors
///
/// [`Error::NotFound`] if there is no such snapshot, or several; [`Error::Corrupt`] if the one that is meant, or that decides which one is
/// meant, cannot be read.
pub fn select(
    store: &Store,
    source: Option<&str>,
    wanted: &str,
    need: Need,
    judge: &mut Judge<'_>,
    observer: &dyn Observer,
) -> Result<Selected> {
    let names = store.snapshot_names(source)?;
    let place = store.storage().location();
    if names.is_empty() {
        return Err(none_at_all(store, source)?);
    }
    let (name, snapshot) = match parse(wanted)? {
        Wanted::Latest(back) => return latest(store, &names, wanted, need, back),
        Wanted::Good(back) => return good(store, &names, need, back, judge, observer),
        Wanted::Stamp => by_stamp(store, &names, wanted, &place)?,
        Wanted::Id => {
            let found: Vec<_> =
                names.iter().filter(|name| wanted.len() >= 4 && name.id.to_string().starts_with(wanted)).collect();
            let name = only(&found, wanted, &place)?.clone();
            let snapshot = store.snapshot(&name)?;
            (name, snapshot)
        }
    };
    Ok(Selected::new(&name, snapshot))
}

/// Finds the newest snapshot that was made at or before a time and holds what is needed, in one source or (`None`) in all of them. `wanted` is
/// that time as the user wrote it.
///
/// # Errors
///
/// [`Error::NotFound`] if all are newer; [`Error::Corrupt`] if one cannot be read that may be the one that is meant.
pub fn at(
    store: &Store,
    source: Option<&str>,
    (wanted, time): (&str, Time),
    need: Need,
    observer: &dyn Observer,
) -> Result<Selected> {
    let names = store.snapshot_names(source)?;
    if names.is_empty() {
        return Err(none_at_all(store, source)?);
    }
    let mut oldest = None;
    let mut aside = Aside::new(0);
    for name in store.reading(names.iter().rev()) {
        checkpoint(observer)?;
        let snapshot = store.snapshot(name).map_err(|error| newest_readable(store, &names, wanted, need, error))?;
        oldest = Some(snapshot.timestamp.clone());
        match snapshot.created <= time && need.is_met(&snapshot) {
            true if snapshot.is_before_restore() => aside.add(name, snapshot),
            true => return Ok(aside.passed_for(Selected::new(name, snapshot))),
            false => {}
        }
    }
    if let Some(found) = aside.last_resort {
        return Ok(found);
    }
    let place = store.storage().location();
    let (with, oldest) = (need.with(), oldest.unwrap_or_default());
    let text =
        format!("no snapshot{with} in {place} was made at or before `{wanted}`: the oldest is of {oldest} (UTC)");
    Err(Error::not_found(text.hint(Hint::ListSnapshots)))
}

fn none_at_all(store: &Store, source: Option<&str>) -> Result<Error> {
    let place = store.storage().location();
    let whose = source.map(|s| format!(" of source `{s}`")).unwrap_or_default();
    let others = store.sources()?;
    let text = format!("there is no snapshot{whose} in {place}");
    Ok(Error::not_found(match others.is_empty() {
        true => text.hint(Hint::Backup),
        false => format!("{text}, but there are some of {}", others.join(", ")).hint(Hint::NameSource),
    }))
}

fn latest(store: &Store, names: &[SnapshotName], wanted: &str, need: Need, back: usize) -> Result<Selected> {
    let mut seen = 0;
    let mut aside = Aside::new(back);
    for name in store.reading(names.iter().rev()) {
        let snapshot = store.snapshot(name).map_err(|error| newest_readable(store, names, wanted, need, error))?;
        match need.is_met(&snapshot) {
            true if snapshot.is_before_restore() => aside.add(name, snapshot),
            true if seen == back => return Ok(aside.passed_for(Selected::new(name, snapshot))),
            true => seen += 1,
            false => {}
        }
    }
    if let (0, Some(found)) = (seen, aside.last_resort) {
        return Ok(found);
    }
    let seen = if seen == 0 { aside.seen } else { seen };
    let place = store.storage().location();
    let text = format!("`{wanted}` is not there: {place} holds {seen} snapshots{}", need.with());
    Err(Error::not_found(text.hint(Hint::ListSnapshots)))
}

fn good(
    store: &Store,
    names: &[SnapshotName],
    need: Need,
    back: usize,
    judge: &mut Judge<'_>,
    observer: &dyn Observer,
) -> Result<Selected> {
    let mut seen = 0;
    let mut passed_over = Vec::new();
    let mut aside = Aside::new(back);
    for name in store.reading(names.iter().rev()) {
        checkpoint(observer)?;
        let mut pass = |timestamp: Option<String>, judgement: Judgement| {
            let Judgement { state, reason, good } = judgement;
            passed_over.push(PassedOver { name: name.clone(), timestamp, state, reason, good });
        };
        let snapshot = match store.snapshot(name) {
            Err(error @ (Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. })) => {
                pass(None, Judgement::damaged(&error));
                continue;
            }
            read => read?,
        };
        let judgement = judge.of(name, &snapshot, observer)?;
        if !need.is_met(&snapshot) || !judgement.serves(need) {
            // One that was not asked to hold what is needed is not bad.
            if !judgement.is_good() {
                pass(Some(snapshot.timestamp), judgement);
            }
            continue;
        }
        if snapshot.is_before_restore() {
            aside.add(name, snapshot);
            continue;
        }
        if seen == back {
            return Ok(aside.passed_for(Selected { passed_over, ..Selected::new(name, snapshot) }));
        }
        seen += 1;
    }
    if let (0, Some(found)) = (seen, aside.last_resort) {
        passed_over.retain(|newer| newer.name > found.name);
        return Ok(Selected { passed_over, ..found });
    }
    let seen = if seen == 0 { aside.seen } else { seen };
    let (place, with) = (store.storage().location(), need.with());
    Err(Error::NotFound(match passed_over.first() {
        Some(PassedOver { name, state, reason, .. }) if seen == 0 => {
            let (id, count) = (name.id.short(), names.len());
            let text = format!(
                "there is no good snapshot{with} in {place}: the newest of {count} is {id} ({state}: {reason})"
            );
            let text = match state {
                State::Failed => text.hint(Hint::Drill(id)),
                _ => text.into(),
            };
            text.hint(Hint::ListSnapshots).hint(Hint::ForceNamed)
        }
        _ => {
            let snapshots = if seen == 1 { "snapshot" } else { "snapshots" };
            format!("{place} holds {seen} good {snapshots}{with}, no more").hint(Hint::ListSnapshots)
        }
    }))
}

fn by_stamp(store: &Store, names: &[SnapshotName], wanted: &str, place: &str) -> Result<(SnapshotName, Snapshot)> {
    let mut found = Vec::new();
    let mut damaged = None;
    for name in store.reading(names.iter()) {
        match store.snapshot(name) {
            Ok(snapshot) if snapshot.timestamp == wanted => found.push((name, snapshot)),
            Ok(_) => {}
            // A damaged snapshot hides no other.
            Err(e @ (Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. })) => {
                damaged = damaged.or(Some(e));
            }
            Err(e) => return Err(e),
        }
    }
    if let (true, Some(damaged)) = (found.is_empty(), damaged) {
        return Err(damaged);
    }
    let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
    let name = only(&names, wanted, place)?.clone();
    Ok((name, found.remove(0).1))
}

fn only<'n>(found: &[&'n SnapshotName], wanted: &str, place: &str) -> Result<&'n SnapshotName> {
    match found {
        [] => {
            let text = format!(
                "no snapshot in {place} is called `{wanted}` (`good`, `latest`, `latest~2`, `20260114_120000`, a time as in `2026-01-14T12:00` or `2h`, \
                 or at least four digits of an id)"
            );
            Err(Error::not_found(text.hint(Hint::ListSnapshots)))
        }
        [name] => Ok(name),
        several => {
            let text = format!(
                "`{wanted}` means {} snapshots of {place}; give more digits of the id, or the source",
                several.len()
            );
            Err(Error::not_found(text.hint(Hint::NameSource)))
        }
    }
}

/// Adds to the error of a snapshot that cannot be read which one can be named in its place. It is not chosen silently: that would bring back
/// older data than was asked for.
fn newest_readable(store: &Store, names: &[SnapshotName], wanted: &str, need: Need, error: Error) -> Error {
    let Error::Corrupt { object, detail } = error else { return error };
    let readable =
        |name: &SnapshotName| store.snapshot(name).ok().filter(|found| need.is_met(found)).map(|s| (name.id, s));
    let (next, hint) = match names.iter().rev().find_map(readable) {
        Some((id, found)) => {
            let (id, of) = (id.short(), found.timestamp);
            (format!("the newest that can be read is `{id}` (of {of}): name that one to use it"), Hint::Repair)
        }
        None => ("no other can be used in its place".into(), Hint::Check),
    };
    Error::corrupt(object, format!("{detail}; so `{wanted}` is not certain: {next}").hint(hint))
}

fn parse(wanted: &str) -> Result<Wanted> {
    for (word, kind) in [("latest", Wanted::Latest as fn(usize) -> Wanted), ("good", Wanted::Good)] {
        match wanted.strip_prefix(word).map(|rest| (rest, rest.strip_prefix('~'))) {
            Some(("", _)) => return Ok(kind(0)),
            Some((_, Some(number))) => {
                let number = number.parse();
                return number
                    .map(kind)
                    .map_err(|_| Error::not_found(format!("`{wanted}`: `~` wants a number after it")));
            }
            _ => {}
        }
    }
    if wanted.len() == 15 && wanted.as_bytes().get(8) == Some(&b'_') {
        return Ok(Wanted::Stamp);
    }
    Ok(Wanted::Id)
}
