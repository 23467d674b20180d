//! Finding the snapshot that a person means: `latest`, `latest~2`, a timestamp, or the beginning of an id.

use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::store::{SnapshotName, Store};

/// What the snapshot must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// A database.
    pub database: bool,
    /// Uploads.
    pub uploads: bool,
}

impl Need {
    /// Says whether a snapshot holds what is needed.
    pub fn is_met(self, snapshot: &Snapshot) -> bool {
        (!self.database || snapshot.database.is_some()) && (!self.uploads || snapshot.uploads.is_some())
    }
}

/// Finds the one snapshot that `wanted` means, in one source or (`None`) in all of them.
///
/// `latest` is the newest that meets `need`, `latest~N` the N-th such before it. Other names are looked up as they are: whether the
/// snapshot holds what is needed is the caller's question.
pub fn select(store: &Store, source: Option<&str>, wanted: &str, need: Need) -> Result<(SnapshotName, Snapshot)> {
    let names = store.snapshot_names(source)?;
    let place = store.storage().describe();
    if names.is_empty() {
        let whose = source.map(|s| format!(" of source `{s}`")).unwrap_or_default();
        let mut others: Vec<String> = store.snapshot_names(None)?.into_iter().map(|name| name.source).collect();
        others.dedup();
        let hint = match others.is_empty() {
            true => "`lrl backup` makes one".to_string(),
            false => format!("there are some of {}: name one with --source", others.join(", ")),
        };
        return Err(Error::NotFound(format!("there is no snapshot{whose} in {place}; {hint}")));
    }
    if let Some(back) = steps_back(wanted)? {
        let mut seen = 0;
        for name in names.iter().rev() {
            let snapshot = store.snapshot(name).map_err(|error| newest_readable(store, &names, wanted, need, error))?;
            if need.is_met(&snapshot) {
                if seen == back {
                    return Ok((name.clone(), snapshot));
                }
                seen += 1;
            }
        }
        let what = match (need.database, need.uploads) {
            (true, true) => " with both halves",
            (true, false) => " with a database",
            (false, true) => " with uploads",
            (false, false) => "",
        };
        return Err(Error::NotFound(format!(
            "`{wanted}` is not there: {place} holds {seen} snapshots{what}; `lrl snapshots` lists them"
        )));
    }
    let is_stamp = wanted.len() == 15 && wanted.as_bytes().get(8) == Some(&b'_');
    let mut found = Vec::new();
    let mut damaged = None;
    for name in names {
        if is_stamp {
            match store.snapshot(&name) {
                Ok(snapshot) if snapshot.timestamp == wanted => found.push((name, Some(snapshot))),
                Ok(_) => {}
                // A damaged snapshot hides no other.
                Err(e @ (Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. })) => {
                    damaged = damaged.or(Some(e));
                }
                Err(e) => return Err(e),
            }
        } else if name.id.to_string().starts_with(wanted) && wanted.len() >= 4 {
            found.push((name, None));
        }
    }
    match (found.len(), damaged) {
        (0, Some(damaged)) => Err(damaged),
        (0, None) => Err(Error::NotFound(format!(
            "no snapshot in {place} is called `{wanted}` (`latest`, `latest~2`, `20260114_120000` or at least four digits of an id); `lrl snapshots` lists them"
        ))),
        (1, _) => {
            let (name, snapshot) = found.remove(0);
            let snapshot = snapshot.map_or_else(|| store.snapshot(&name), Ok)?;
            Ok((name, snapshot))
        }
        (n, _) => Err(Error::NotFound(format!(
            "`{wanted}` means {n} snapshots of {place}; give more digits of the id, or --source"
        ))),
    }
}

/// Says of a snapshot that cannot be read which one can be named in its place. It is not chosen silently: that would bring back older data
/// than was asked for.
fn newest_readable(store: &Store, names: &[SnapshotName], wanted: &str, need: Need, error: Error) -> Error {
    let Error::Corrupt { object, detail } = error else { return error };
    let readable =
        |name: &SnapshotName| store.snapshot(name).ok().filter(|found| need.is_met(found)).map(|s| (name.id, s));
    let next = match names.iter().rev().find_map(readable) {
        Some((id, found)) => format!(
            "the newest that can be read is `{}` (of {}): name that one to use it, or let `lrl check --repair` move the damaged \
             document out of the way",
            id.short(),
            found.timestamp
        ),
        None => "no other can be used in its place; `lrl check` tells more".into(),
    };
    Error::Corrupt { object, detail: format!("{detail}; so `{wanted}` is not certain: {next}") }
}

fn steps_back(wanted: &str) -> Result<Option<usize>> {
    match wanted.strip_prefix("latest").map(|rest| (rest, rest.strip_prefix('~'))) {
        Some(("", _)) => Ok(Some(0)),
        Some((_, Some(number))) => match number.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Error::NotFound(format!("`{wanted}`: `~` wants a number after it"))),
        },
        _ => Ok(None),
    }
}
