//! Writes the archive of a snapshot's list, with contents read from the store and verified on the way.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::link_targets::LinkTargets;
use super::write;
use crate::budget::ARCHIVE_BUFFER_BYTES;
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, Piece, compare_paths};
use crate::format::snapshot::Files;
use crate::fs::durable::SyncedFile;
use crate::fs::space::SpaceGuard;
use crate::progress::Observer;
use crate::set::archive::model::{Contents, NoSegments, Segments};
use crate::set::flush::BackgroundSync;
use crate::store::Store;
use crate::store::prefetch::Prefetched;
use crate::store::tree::TreeItems;

/// Writes the archive beside `name`, under a temporary name.
pub(crate) fn write_archive(
    store: &Store,
    uploads: &Files,
    segments: &mut dyn Segments,
    name: &Path,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<(SyncedFile, write::Written)> {
    let entries = Prefetched::new(store, segments.is_none(), TreeItems::<Entry>::new(store, &uploads.list)?);
    let contents = StoredContents { store, list: uploads, with_gaps: false, lookups: Mutex::default() };
    write_to(entries, &contents, segments, name, space, observer)
}

/// As [`write_archive`], with these entries of the list alone; the list may have gaps.
pub(crate) fn write_entries(
    store: &Store,
    uploads: &Files,
    entries: impl Iterator<Item = Result<Entry>>,
    name: &Path,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<(SyncedFile, write::Written)> {
    let contents = StoredContents { store, list: uploads, with_gaps: true, lookups: Mutex::default() };
    write_to(entries, &contents, &mut NoSegments, name, space, observer)
}

fn write_to(
    entries: impl Iterator<Item = Result<Entry>>,
    contents: &dyn Contents,
    segments: &mut dyn Segments,
    name: &Path,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<(SyncedFile, write::Written)> {
    let file = BackgroundSync::create(name.parent().unwrap_or(Path::new(".")))?;
    let options = write::Options { path: name, workers: rayon::current_num_threads(), space, observer };
    let mut writer = std::io::BufWriter::with_capacity(ARCHIVE_BUFFER_BYTES, file);
    let written = write::write(entries, contents, segments, &mut writer, &options)?;
    let file = writer.into_inner().map_err(|e| Error::io("write", name)(e.into_error()))?;
    Ok((file.finish()?, written))
}

/// The contents of a snapshot's list, from the store.
pub(crate) struct StoredContents<'a> {
    /// The store.
    pub store: &'a Store,
    /// The uploads whose list it is.
    pub list: &'a Files,
    /// Parts of the list may be damaged: what cannot be looked up there is not there.
    with_gaps: bool,
    lookups: Mutex<Lookups>,
}

/// After this many look-ups that each read a leaf, all targets of hard links are gathered.
const MANY_LEAVES: u32 = 64;

/// What look-ups have read.
#[derive(Default)]
struct Lookups {
    /// The leaf of the list that the last one read: targets of hard links are mostly in the same one.
    leaf: Vec<Entry>,
    leaves: u32,
    /// The targets of all hard links, once there were many.
    targets: Option<LinkTargets>,
}

impl StoredContents<'_> {
    fn content<'e>(&self, entry: &'e Entry) -> Result<&'e Content> {
        match &entry.kind {
            Kind::File { content, .. } => Ok(content),
            _ => Err(Error::corrupt(String::from_utf8_lossy(&entry.path), "is not a regular file")),
        }
    }

    /// Reads a file's contents where the store's cannot be read: from the file that they came from, each piece checked against its id.
    fn read_upload(
        &self,
        entry: &Entry,
        content: &Content,
        offset: u64,
        len: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let slash = entry.path.iter().position(|b| *b == b'/').unwrap_or(entry.path.len());
        let (root, below) = entry.path.split_at(if self.list.is_site() { 0 } else { slash });
        let root = std::str::from_utf8(root).ok().and_then(|root| self.list.roots.get(root));
        let below = OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below));
        let path = Path::new(root.map_or("", String::as_str)).join(below);
        let file = File::open(&path).ok();
        self.store.read_content_with(content, offset, len, sink, &mut |at, id, len| {
            let mut bytes = vec![0; len];
            let same = file.as_ref().is_some_and(|file| file.read_exact_at(&mut bytes, at).is_ok())
                && self.store.ids().chunk(&bytes) == *id;
            match same {
                true => Ok(bytes),
                // What this run stored can be read back.
                false => self.store.read(id).map_err(|error| match error {
                    Error::WriteOnly { .. } => Error::Source {
                        path: path.clone(),
                        detail: "has changed since it was stored, and the key only writes: where the store can be read, an export makes its archive".into(),
                    },
                    other => other,
                }),
            }
        })
    }
}

impl Contents for StoredContents<'_> {
    fn read(&self, entry: &Entry, offset: u64, len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let content = self.content(entry)?;
        if self.store.can_read() {
            return self.store.read_content(content, offset, len, sink);
        }
        self.read_upload(entry, content, offset, len, sink)
    }

    fn pieces(&self, entry: &Entry, sink: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        self.store.each_piece(self.content(entry)?, 0, &mut |_, piece| sink(piece).map(|()| true))
    }

    fn find(&self, path: &[u8]) -> Result<Option<Entry>> {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let Lookups { leaf, leaves, targets } = &mut *lookups;
        let reaches = leaf.first().zip(leaf.last()).is_some_and(|(first, last)| {
            compare_paths(&first.path, path).is_le() && compare_paths(path, &last.path).is_le()
        });
        if !reaches {
            *leaves = leaves.saturating_add(1);
            // A list with gaps cannot be read as a whole.
            if *leaves == MANY_LEAVES && !self.with_gaps {
                // Without room for them each is looked up as before.
                *targets = match LinkTargets::of_list(self.store, &self.list.list) {
                    Err(Error::Refused(_)) => None,
                    gathered => Some(gathered?),
                };
            }
            if let Some(targets) = targets
                && let Some(found) = targets.find(path)?
            {
                return Ok(Some(found));
            }
            *leaf = match TreeItems::from_path(self.store, &self.list.list, path) {
                Err(error) if self.with_gaps && error.is_damage() => return Ok(None),
                found => found?.into_leaf(),
            };
        }
        let at = leaf.binary_search_by(|entry| compare_paths(&entry.path, path));
        Ok(at.ok().and_then(|at| leaf.get(at).cloned()))
    }

    fn is_site(&self) -> bool {
        self.list.is_site()
    }
}
