//! The verb `ls`: what a snapshot holds below a path, in list order, one entry at a time.

use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::snapshot::{Database, Snapshot};
use crate::hint::{AddHint, Hint};
use crate::store::Store;
use crate::store::tree::TreeItems;

/// The path of the database in the manual's layout, as text.
pub const DATABASE: &str = "lrl.db";

/// A snapshot's contents below one path.
pub struct Listing<'s> {
    /// The databases that are asked for and there.
    pub databases: Vec<&'s Database>,
    /// The files that are asked for.
    pub entries: Entries<'s>,
}

/// Upload entries below one path.
pub struct Entries<'s> {
    items: Option<std::iter::Peekable<TreeItems<'s, Entry>>>,
    below: Vec<u8>,
}

/// Lists `path` (a file, a directory with all that it contains, or a database; empty: everything).
///
/// # Errors
///
/// [`Error::NotFound`](crate::error::Error::NotFound) if the snapshot has no such path.
pub fn ls<'s>(store: &'s Store, snapshot: &'s Snapshot, path: &[u8]) -> Result<Listing<'s>> {
    let below = clean(path);
    let is_database = snapshot.database(&below).is_some();
    let databases: Vec<&Database> = snapshot.databases.iter().filter(|part| is_below(&part.path, &below)).collect();
    let mut items = match &snapshot.files {
        Some(part) if !is_database => Some(TreeItems::from_path(store, &part.list, &below)?.peekable()),
        _ => None,
    };
    if !below.is_empty() && databases.is_empty() {
        let found = match items.as_mut().and_then(|items| items.peek()) {
            Some(Ok(entry)) => is_below(&entry.path, &below),
            // The iterator returns the error again.
            Some(Err(_)) => true,
            None => false,
        };
        if !found {
            return Err(not_there(snapshot, &below));
        }
    }
    Ok(Listing { databases, entries: Entries { items, below } })
}

/// Finds the entry of one path.
///
/// # Errors
///
/// [`Error::NotFound`](crate::error::Error::NotFound) if the snapshot has no such path.
pub fn find(store: &Store, snapshot: &Snapshot, path: &[u8]) -> Result<Entry> {
    let path = clean(path);
    let found = match &snapshot.files {
        Some(part) => TreeItems::from_path(store, &part.list, &path)?.next().transpose()?,
        None => None,
    };
    found.filter(|entry| entry.path == path).ok_or_else(|| not_there(snapshot, &path))
}

/// Strips what a shell's completion or a habit adds to a path: `./` before it, slashes after it.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let mut path = path;
    while let Some(rest) = path.strip_prefix(b"./").or_else(|| path.strip_suffix(b"/")) {
        path = rest;
    }
    if path == b"." { Vec::new() } else { path.to_vec() }
}

fn not_there(snapshot: &Snapshot, path: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(path);
    let stamp = &snapshot.timestamp;
    Error::NotFound(match &snapshot.files {
        None if path == DATABASE.as_bytes() => format!("the snapshot {stamp} holds no database").into(),
        Some(_) if path == DATABASE.as_bytes() => {
            format!("the snapshot {stamp} holds no database, only uploads").into()
        }
        None => format!("the snapshot {stamp} holds no uploads, so no `{shown}`").into(),
        Some(_) => format!("there is no `{shown}` in the snapshot {stamp}").hint(Hint::ListFiles(stamp.clone())),
    })
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        match self.items.as_mut()?.next() {
            // What a directory contains follows it directly.
            Some(Ok(entry)) if !is_below(&entry.path, &self.below) => {
                self.items = None;
                None
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{clean, is_below};

    #[test]
    fn paths_are_taken_as_people_write_them() {
        for (given, meant) in [("./assets/ab/", "assets/ab"), ("assets", "assets"), ("", ""), (".", ""), ("./", "")] {
            assert_eq!(clean(given.as_bytes()), meant.as_bytes(), "{given}");
        }
        assert!(is_below(b"assets/ab", b"assets/ab") && is_below(b"assets/ab/c", b"assets/ab"));
        assert!(!is_below(b"assets/abc", b"assets/ab") && is_below(b"x", b""));
    }
}
