//! What can be read of a damaged store: the entries of a list whose contents are all there. The rest is collected, with the reasons.

use std::collections::VecDeque;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, compare_paths, is_clean_path};
use crate::format::node::Child;
use crate::format::snapshot::Files;
use crate::ops::skipped::Skips;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::store::tree::TreeItems;

/// Entries whose contents are read at once, and the bytes from which on no more are added.
const BATCH: (usize, u64) = (64, 16 << 20);

/// The readable entries of a list, in order. Every content is read once before its entry comes.
pub(super) struct Readable<'a> {
    store: &'a Store,
    part: &'a Files,
    skips: &'a Skips,
    observer: &'a dyn Observer,
    /// `None` at the end, and after an error.
    items: Option<TreeItems<'a, Entry>>,
    ready: VecDeque<Entry>,
    last: Option<Vec<u8>>,
}

impl<'a> Readable<'a> {
    /// Starts at the beginning of a list.
    pub(crate) fn new(store: &'a Store, part: &'a Files, skips: &'a Skips, observer: &'a dyn Observer) -> Result<Self> {
        let mut gap = |child: &Child, error: &Error| skip(skips, part, child, error);
        let items = TreeItems::from_path_around(store, &part.list, b"", &mut gap)?;
        Ok(Self { store, part, skips, observer, items: Some(items), ready: VecDeque::new(), last: None })
    }

    /// Reads the next entries with their contents, and keeps those that are whole.
    fn fill(&mut self) -> Result<()> {
        let (skips, part) = (self.skips, self.part);
        while self.ready.is_empty() {
            let Some(items) = &mut self.items else { return Ok(()) };
            let (mut batch, mut bytes) = (Vec::new(), 0u64);
            while batch.len() < BATCH.0 && bytes < BATCH.1 {
                checkpoint(self.observer)?;
                let Some(entry) = items.next_around(&mut |child, error| skip(skips, part, child, error))? else {
                    break;
                };
                let in_order = self.last.as_ref().is_none_or(|last| compare_paths(last, &entry.path).is_lt());
                if !in_order || !is_clean_path(&entry.path) {
                    let name = String::from_utf8_lossy(&entry.path).into_owned();
                    return Err(Error::corrupt(name, "stands in the wrong place of the snapshot's list"));
                }
                self.last = Some(entry.path.clone());
                bytes = bytes.saturating_add(entry.size());
                batch.push(entry);
            }
            if batch.is_empty() {
                self.items = None;
                return Ok(());
            }
            let this = &*self;
            let whole: Vec<bool> = batch.par_iter().map(|entry| this.is_whole(entry)).collect::<Result<_>>()?;
            self.ready.extend(batch.into_iter().zip(whole).filter_map(|(entry, is_whole)| is_whole.then_some(entry)));
        }
        Ok(())
    }

    /// Reads what an entry needs; returns whether all of it is there. What is not is collected.
    fn is_whole(&self, entry: &Entry) -> Result<bool> {
        let read = match &entry.kind {
            Kind::Dir | Kind::Symlink { .. } => return Ok(true),
            Kind::File { size, content } => self.read(&entry.path, content, *size),
            // In the archive it is a file of its own.
            Kind::Hardlink { target } => self.read_target(entry, target),
        };
        match read {
            Ok(()) => Ok(true),
            Err(error) if error.is_damage() => {
                self.skips.add(&entry.path, 1, &error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn read_target(&self, entry: &Entry, target: &[u8]) -> Result<()> {
        let first = TreeItems::<Entry>::from_path(self.store, &self.part.list, target)?.next().transpose()?;
        match first {
            Some(Entry { path, kind: Kind::File { size, content }, .. }) if path == target => {
                self.read(&entry.path, &content, size)
            }
            _ => Err(Error::corrupt(shown(&entry.path), "is a hard link to a file that is not in the list")),
        }
    }

    fn read(&self, path: &[u8], content: &Content, size: u64) -> Result<()> {
        let mut len = 0u64;
        self.store.read_content(content, 0, size, &mut |bytes| {
            len += bytes.len() as u64;
            checkpoint(self.observer)
        })?;
        if len == size { Ok(()) } else { Err(Error::corrupt(shown(path), "has pieces that do not add up to its size")) }
    }
}

impl Iterator for Readable<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let Err(error) = self.fill() {
            self.items = None;
            self.ready.clear();
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Collects a part of the list that cannot be read; of its root the snapshot says how much that is.
fn skip(skips: &Skips, part: &Files, child: &Child, error: &Error) {
    let root = part.roots.keys().next().filter(|root| !root.is_empty()).map_or(".", String::as_str);
    let first = if child.first_key.is_empty() { root.as_bytes() } else { &child.first_key };
    let entries = if child.weight == 0 { part.entries } else { child.weight };
    skips.add(first, entries.max(1), error);
}
