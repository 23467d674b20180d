//! Full scans: when one is due, and what it shows. A scan reads all that "unchanged" was proved for without reading; where contents differ
//! though the proof held, something changed bytes that the file system does not know of.

use std::time::Duration;

use super::history::History;
use super::options::{DATABASE, Options};
use crate::format::entry::{Content, Piece};
use crate::id::ChunkId;
use crate::source::database::LOCK_BYTE;
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
    /// The last one was this long ago.
    Due(Duration),
    /// When the last one was is not known, or is said to be in the future.
    Unknown,
}

/// Returns why this run must read everything, if it must. Without a cache everything is read anyway, and what was never backed up has no
/// proof yet.
pub(super) fn due(cache: Option<&RunCache>, history: &History, options: &Options) -> Option<FullScan> {
    if options.rescan {
        return Some(FullScan::Asked);
    }
    let (cache, every) = (cache?, options.rescan_every?);
    let now = time_of(options.now).secs;
    let age = |part| cache.scanned(&options.source, part).and_then(|at| u64::try_from(now.checked_sub(at)?).ok());
    // What was never backed up has no proof that could be wrong.
    let has_parent = |part: &str| match part {
        DATABASE => history.databases.is_some(),
        _ => history.uploads.is_some(),
    };
    let ages: Option<Vec<u64>> = options.parts().filter(|part| has_parent(part)).map(age).collect();
    let Some(ages) = ages else { return Some(FullScan::Unknown) };
    ages.into_iter().max().map(Duration::from_secs).filter(|age| *age >= every).map(FullScan::Due)
}

/// Returns whether a file's contents differ from those stored. With holes the same bytes may be cut differently: then it returns false.
pub(super) fn content_differs(store: &Store, stored: &Content, read: &Content, read_has_holes: bool) -> bool {
    let is_hole = |piece: &Piece| matches!(piece, Piece::Hole { .. });
    let has_holes = || match stored {
        Content::Inline(pieces) => pieces.iter().any(is_hole),
        Content::Tree(root) => TreeItems::<Piece>::new(store, root)
            .is_ok_and(|mut pieces| pieces.any(|piece| piece.is_ok_and(|p| is_hole(&p)))),
    };
    stored != read && !read_has_holes && !has_holes()
}

/// Returns whether an extent at an offset differs from the parent's. Bytes that depend on how an image was read do not count.
pub(super) fn extent_differs(store: &Store, page_size: u32, old: &ChunkId, new: &[u8], at: u64) -> bool {
    let Ok(mut old) = store.read(old) else { return true };
    let mut new = new.to_vec();
    [&mut old, &mut new].into_iter().for_each(|extent| blank(extent, at, u64::from(page_size)));
    old != new
}

/// Clears what the backup API rewrites: in page 1 the change counters and SQLite's version number (file format, section 1.3), and the
/// lock-byte page.
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
