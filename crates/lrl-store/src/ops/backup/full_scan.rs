//! Full scans: when one is due, and what it shows. A scan reads all that "unchanged" was proved for without reading; where contents differ
//! though the proof held, something changed bytes that the file system does not know of.

use std::time::Duration;

use super::history::History;
use super::image_buffer::ChangedExtents;
use super::options::Options;
use crate::format::entry::{Content, Piece};
use crate::format::snapshot::{self, Snapshot};
use crate::store::Store;
use crate::store::run_cache::RunCache;
use crate::store::tree::TreeItems;
use crate::time::time_of;

/// What is said of a file or database whose contents differ though its state is the recorded one.
pub(super) const UNSEEN: &str = "has other contents than before, though its size, inode and times are the same: the disk, or something \
    that writes past the file system, changed them; this snapshot has them as they are now, earlier ones as they were";

/// Why a run reads everything, whatever looks unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullScan {
    /// The caller asked for it.
    Asked,
    /// The last one was so long ago.
    Due(Duration),
    /// When the last one was is not known, or is said to be in the future.
    Unknown,
}

const DATABASE: &str = "database";
const UPLOADS: &str = "uploads";

/// Says whether this run must read everything. Without a cache everything is read anyway, and what was never backed up has no proof yet.
pub(super) fn due(cache: Option<&RunCache>, history: &History, options: &Options) -> Option<FullScan> {
    if options.rescan {
        return Some(FullScan::Asked);
    }
    let (cache, every) = (cache?, options.rescan_every?);
    let now = time_of(options.now).secs;
    let age = |half| cache.scanned(&options.source, half).and_then(|at| u64::try_from(now.checked_sub(at)?).ok());
    let halves = [
        (DATABASE, options.database.is_some() && history.database.is_some()),
        (UPLOADS, options.uploads.is_some() && history.uploads.is_some()),
    ];
    let ages: Option<Vec<u64>> = halves.into_iter().filter(|(_, asked)| *asked).map(|(half, _)| age(half)).collect();
    let Some(ages) = ages else { return Some(FullScan::Unknown) };
    ages.into_iter().max().map(Duration::from_secs).filter(|age| *age >= every).map(FullScan::Due)
}

/// Says whether a full scan reads the store as well. Of a remote one that is a download of everything: only who asks for it gets it.
pub(super) fn reads_store(store: &Store, full_scan: Option<FullScan>) -> bool {
    full_scan.is_some_and(|scan| scan == FullScan::Asked || !store.storage().is_remote())
}

/// Says whether this run compares the index with the packs that are there. On a remote storage that takes a request for each thousand packs,
/// so it is done with a full scan, and where an index file that the run before saw is gone.
pub(super) fn looks_at_packs(store: &Store, cache: Option<&RunCache>, full_scan: Option<FullScan>) -> bool {
    let there = store.indexes();
    let all_there = |seen: Vec<String>| seen.iter().all(|name| there.iter().any(|file| file.name() == name));
    !store.storage().is_remote() || full_scan.is_some() || !cache.and_then(RunCache::indexes).is_some_and(all_there)
}

/// Notes which index files there are.
pub(super) fn note_indexes(store: &Store, cache: &RunCache) -> rusqlite::Result<()> {
    let names: Vec<String> = store.indexes().iter().map(|file| file.name().to_string()).collect();
    if store.storage().is_remote() { cache.put_indexes(&names) } else { Ok(()) }
}

/// Says whether this run must store again what the store has lost: no run has yet, for a half that this one is asked for.
pub(super) fn heals(cache: Option<&RunCache>, options: &Options, lost: &[u8; 32]) -> bool {
    let halves = [(DATABASE, options.database.is_some()), (UPLOADS, options.uploads.is_some())];
    let healed = |half| cache.is_some_and(|cache| cache.is_healed(&options.source, half, lost));
    halves.into_iter().any(|(half, asked)| asked && !healed(half))
}

/// Notes that what was lost is stored again, as far as it was in these halves of the source.
pub(super) fn note_healed(cache: &RunCache, snapshot: &Snapshot, lost: impl Iterator<Item = [u8; 32]>) {
    let halves = [(DATABASE, snapshot.database.is_some()), (UPLOADS, snapshot.uploads.is_some())];
    for id in lost {
        for (half, _) in halves.into_iter().filter(|(_, there)| *there) {
            let _ = cache.put_healed(&snapshot.source, half, &id);
        }
    }
}

/// Notes which halves were read whole, whatever the reason.
pub(super) fn note(
    cache: Option<&RunCache>,
    options: &Options,
    snapshot: &Snapshot,
    database_read: bool,
    files_proved: u64,
) {
    let now = time_of(options.now).secs;
    let read = [
        (DATABASE, snapshot.database.is_some() && database_read),
        (UPLOADS, snapshot.uploads.is_some() && files_proved == 0),
    ];
    for (half, _) in read.into_iter().filter(|(_, read)| *read) {
        // Without the note the next run reads everything once more.
        let _ = cache.map(|cache| cache.put_scanned(&options.source, half, now));
    }
}

/// Says whether a file's contents differ from those stored. Where there are holes the same bytes may be divided otherwise: nothing is said.
pub(super) fn content_differs(store: &Store, stored: &Content, read: &Content, read_has_holes: bool) -> bool {
    let is_hole = |piece: &Piece| matches!(piece, Piece::Hole { .. });
    let has_holes = || match stored {
        Content::Inline(pieces) => pieces.iter().any(is_hole),
        Content::Tree(root) => TreeItems::<Piece>::new(store, root)
            .is_ok_and(|mut pieces| pieces.any(|piece| piece.is_ok_and(|p| is_hole(&p)))),
    };
    stored != read && !read_has_holes && !has_holes()
}

/// The lock-byte page begins here; it holds nothing.
const LOCK_BYTE: u64 = 1 << 30;

/// Says whether an image, all of which was kept, differs from the parent's. Bytes that depend on how an image was read do not count.
pub(super) fn image_differs(store: &Store, parent: &snapshot::Database, kept: &ChangedExtents) -> bool {
    if kept.sha256 == parent.sha256 {
        return false;
    }
    let extent_bytes = u64::from(store.config().chunking.extent_bytes);
    let Ok(mut old) = TreeItems::<Piece>::new(store, &parent.root) else { return true };
    kept.len != parent.size_bytes
        || (0..kept.len.div_ceil(extent_bytes)).any(|n| {
            let at = n * extent_bytes;
            let mut new = vec![0; extent_bytes.min(kept.len - at) as usize];
            let Some(Ok(Piece::Data { id, .. })) = old.next() else { return true };
            if kept.read_at(at, &mut new).is_err() || store.ids().chunk(&new) == id {
                return false;
            }
            let Ok(mut old) = store.read(&id) else { return true };
            [&mut old, &mut new].into_iter().for_each(|extent| blank(extent, at, u64::from(parent.page_size)));
            old != new
        })
}

/// Clears what the backup API writes anew in page 1, the counters of commits and the number of SQLite's version, and the lock-byte page.
fn blank(extent: &mut [u8], at: u64, page: u64) {
    for (from, to) in [(24, 28), (40, 44), (92, 100), (LOCK_BYTE, LOCK_BYTE + page)] {
        let inside = |place: u64| (place.saturating_sub(at) as usize).min(extent.len());
        let (from, to) = (inside(from), inside(to));
        extent[from..to].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::blank;

    #[test]
    fn only_what_depends_on_the_reader_is_blanked() {
        let mut first = vec![1; 200];
        blank(&mut first, 0, 4096);
        let cleared: Vec<usize> = (0..200).filter(|at| first[*at] == 0).collect();
        assert_eq!(cleared, [24, 25, 26, 27, 40, 41, 42, 43, 92, 93, 94, 95, 96, 97, 98, 99]);
        let mut other = vec![1; 200];
        blank(&mut other, 65536, 4096);
        assert!(other.iter().all(|byte| *byte == 1));
        let mut lock = vec![1; 65536];
        blank(&mut lock, 1 << 30, 4096);
        assert_eq!(lock.iter().filter(|byte| **byte == 0).count(), 4096);
        assert!(lock[..4096].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_copy_by_the_backup_api_of_what_another_sqlite_wrote_is_no_other_image() {
        let dir = tempfile::tempdir().unwrap();
        let [live, copy] = ["live", "copy"].map(|name| dir.path().join(name));
        let database = rusqlite::Connection::open(&live).unwrap();
        database.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(1)").unwrap();
        drop(database);
        // The version that wrote last, as another program's SQLite has it.
        let mut by_pages = std::fs::read(&live).unwrap();
        by_pages[96..100].copy_from_slice(&3_034_001u32.to_be_bytes());
        std::fs::write(&live, &by_pages).unwrap();
        rusqlite::Connection::open(&live).unwrap().backup("main", &copy, None::<fn(_)>).unwrap();
        let mut by_backup = std::fs::read(&copy).unwrap();
        assert_ne!(by_pages[96..100], by_backup[96..100], "then nothing is shown");
        [&mut by_pages, &mut by_backup].into_iter().for_each(|image| blank(image, 0, 4096));
        assert!(by_pages == by_backup);
    }
}
