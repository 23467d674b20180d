//! Which pages changed since an earlier image, by the frames of the WAL: read in time that grows with the change, without a lock, without
//! SQLite's own files being opened, written or pinned. What it says is a hint where to look; what is there is read through SQLite.
//!
//! A mark is a frame of the WAL such that everything an image lacks is behind it. Why the pages that are named behind the mark, at a later
//! read transaction, hold all that changed (SQLite's file format, section 4; `walRestartHdr` in its source):
//!
//! - *The mark is the last but one commit frame that was seen before the transaction began.* A commit frame is in the file before its writer
//!   publishes it in the WAL index (with `synchronous=FULL` an fsync lies between), so a reader may begin without it. At most one commit can be
//!   unpublished, because the write lock is held until then.
//! - *Frames are only appended, until the WAL starts again.* A rolled-back frame, or one that a crash left without its commit, may be
//!   overwritten by the next writer; the mark is a commit that was published, and its running checksum covers all frames before it. If the salts and
//!   that checksum are still there, nothing up to the mark was written again.
//! - *A WAL that starts again gets its new header before its first frame.* Salt 1 grows by one each time, so it is seen how often that happened. Where it
//!   was once, and the new frames have not reached the mark, the older ones behind the mark are still in the file, up to the first frame of a still
//!   older round. Where the file ends instead, it may have been cut (`journal_size_limit`): then nothing is known.
//! - *A mark can be moved on.* To the last but one commit of a later moment, with the pages that are named up to there: so frames may be written over
//!   between two images (`ops/watch/wal_follower.rs`).
//! - *A reader does not keep the WAL from starting again while it is scanned*: so the header is read once more at the end.
//!
//! Anything odd means that nothing is known, and all of the database is read.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::shm::{self, Published};
use super::state::side_file;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The first four bytes, but for the lowest bit, which tells the order of bytes in the checksums.
const MAGIC: u32 = 0x377f_0682;

/// A frame of a database's WAL: what an image lacks is behind it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct WalMark {
    /// Device and inode of the database file.
    file: (u64, u64),
    salts: [u32; 2],
    page_size: u32,
    /// Frames up to the mark: 0 marks the beginning.
    frame: u64,
    /// The running checksum of the last of them.
    checksum: [u32; 2],
    /// Pages of the image.
    pages: u64,
    /// The count of commits of the WAL index at the mark, where it is known.
    #[serde(default)]
    commits: Option<u32>,
    /// Pages that may have changed between the image and the mark, where the mark was moved on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changed: Vec<u32>,
}

/// A mark that was moved on holds up to this many pages: a thousand or so are usual, which is where SQLite starts a WAL again by default.
const MOST_PAGES: usize = 1 << 16;

impl WalMark {
    /// Returns the mark of an image with this many pages.
    pub(super) fn of_image(self, pages: u64) -> Self {
        Self { pages, ..self }
    }

    /// Returns whether the WAL has begun anew between two marks.
    pub(crate) fn is_of_other_round(&self, other: &Self) -> bool {
        self.salts != other.salts
    }
}

/// Extents of an image, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExtentSet {
    words: Vec<u64>,
}

impl ExtentSet {
    /// Adds one. It takes the memory of all that come before it: an eighth of a byte each.
    pub(crate) fn add(&mut self, extent: u64) {
        let at = (extent / 64) as usize;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= 1 << (extent % 64);
    }

    /// Returns whether an extent is in the set.
    pub(crate) fn has(&self, extent: u64) -> bool {
        self.words.get((extent / 64) as usize).is_some_and(|word| word >> (extent % 64) & 1 == 1)
    }

    /// Returns whether any of these is in the set.
    pub(crate) fn has_any(&self, mut extents: Range<u64>) -> bool {
        extents.end = extents.end.min(self.words.len() as u64 * 64);
        while extents.start < extents.end {
            let (at, bit) = ((extents.start / 64) as usize, extents.start % 64);
            let count = (64 - bit).min(extents.end - extents.start);
            let mask = u64::MAX >> (64 - count) << bit;
            if self.words.get(at).is_some_and(|word| word & mask != 0) {
                return true;
            }
            extents.start += count;
        }
        false
    }

    /// Returns how many are in the set.
    pub(crate) fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// The rules that a mutant of a test leaves out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// How many of the last commit frames a mark leaves behind it.
    pub unpublished_commits: usize,
    /// Whether the header is compared at the end.
    pub looks_again: bool,
    /// Whether older frames that end with the file count only where none can have been cut off.
    pub needs_end: bool,
}

/// As they are needed.
pub(super) const RULES: Rules = Rules { unpublished_commits: 1, looks_again: true, needs_end: true };

/// The WAL of a database at one moment.
pub(super) struct Wal {
    file: File,
    /// Device and inode of the database file.
    of: (u64, u64),
    header: [u8; HEADER_BYTES],
    page_size: u32,
    salts: [u32; 2],
    rules: Rules,
}

/// The head of a frame.
struct Frame {
    page: u32,
    /// Pages of the database after the commit; 0 in a frame that is none.
    commit: u32,
    salts: [u32; 2],
    checksum: [u32; 2],
}

impl Wal {
    /// Opens the WAL beside a database whose links are resolved; `None` if there is none that can be used.
    pub(super) fn open(db: &Path, rules: Rules) -> Option<Self> {
        let meta = std::fs::metadata(db).ok()?;
        let file = File::open(side_file(db, "-wal")).ok()?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).ok()?;
        let page_size = number(&header, 8);
        let is_sound = number(&header, 0) | 1 == MAGIC | 1 && (512..=65536).contains(&page_size);
        let salts = [number(&header, 16), number(&header, 20)];
        is_sound.then_some(Self { file, of: (meta.dev(), meta.ino()), header, page_size, salts, rules })
    }

    /// Returns where a frame begins in the file.
    fn offset(&self, index: u64) -> u64 {
        HEADER_BYTES as u64 + index * (FRAME_HEADER_BYTES as u64 + u64::from(self.page_size))
    }

    fn frame(&self, index: u64) -> Option<Frame> {
        let mut head = [0; FRAME_HEADER_BYTES];
        self.file.read_exact_at(&mut head, self.offset(index)).ok()?;
        Some(Frame {
            page: number(&head, 0),
            commit: number(&head, 4),
            salts: [number(&head, 8), number(&head, 12)],
            checksum: [number(&head, 16), number(&head, 20)],
        })
    }

    /// Returns whether a frame is a commit like the one before it, of the same page with the same contents.
    fn is_repeated(&self, index: u64) -> bool {
        let Some(before) = index.checked_sub(1) else { return false };
        let commit = |index| self.frame(index).filter(|frame| frame.commit > 0).map(|frame| frame.page);
        let page = |index| {
            let mut bytes = vec![0; self.page_size as usize];
            self.file.read_exact_at(&mut bytes, self.offset(index) + FRAME_HEADER_BYTES as u64).ok().map(|()| bytes)
        };
        commit(index).is_some_and(|page| commit(before) == Some(page)) && page(before) == page(index)
    }

    /// Returns whether the frame of a mark is where it was.
    fn has(&self, mark: &WalMark) -> bool {
        mark.frame == 0
            || self
                .frame(mark.frame - 1)
                .is_some_and(|frame| frame.salts == mark.salts && frame.checksum == mark.checksum)
    }

    /// Returns the mark for an image whose read transaction begins after this call; `earlier` saves reading what is before it. `published` was
    /// read before this WAL was opened.
    pub(super) fn mark(&self, earlier: Option<&WalMark>, published: Option<&Published>) -> Option<WalMark> {
        let beginning = WalMark {
            file: self.of,
            salts: self.salts,
            page_size: self.page_size,
            frame: 0,
            checksum: [0; 2],
            pages: 0,
            commits: None,
            changed: Vec::new(),
        };
        let fits = |mark: &&WalMark| {
            mark.file == self.of && mark.salts == self.salts && mark.page_size == self.page_size && self.has(mark)
        };
        let start = earlier.filter(fits).map(|mark| WalMark { changed: Vec::new(), ..mark.clone() });
        let start = start.unwrap_or(beginning);
        let published = published.filter(|published| published.salts == self.salts);
        let is_published = |index| published.is_some_and(|published| published.frames == index);
        // The newest commits, the last one first, each with the number of commits since the start.
        let mut newest = vec![(0, start.clone())];
        let (mut index, mut commits) = (start.frame, 0u32);
        let mut commits_published = is_published(index).then_some(0);
        while let Some(frame) = self.frame(index).filter(|frame| frame.salts == self.salts) {
            index += 1;
            if frame.commit > 0 {
                commits = commits.wrapping_add(1);
                newest.insert(0, (commits, WalMark { frame: index, checksum: frame.checksum, ..start.clone() }));
                newest.truncate(self.rules.unpublished_commits + 1);
            }
            commits_published = commits_published.or_else(|| is_published(index).then_some(commits));
        }
        let (counted, mark) = newest.pop()?;
        let is_repeated = newest.iter().any(|(_, last)| self.is_repeated(last.frame.saturating_sub(1)));
        let commits = published
            .zip(commits_published)
            .filter(|_| !is_repeated)
            .map(|(published, to_there)| published.commits.wrapping_sub(to_there).wrapping_add(counted));
        self.is_same().then_some(WalMark { commits, ..mark })
    }

    /// Returns the extents of `extent_bytes` with pages that changed since the image of `mark`, in the image of a read transaction that began
    /// before this call and sees this many pages; `published` was read before that. `None` if that is not known.
    pub(super) fn changed_since(
        &self,
        mark: &WalMark,
        pages: u64,
        extent_bytes: u32,
        published: Option<&Published>,
    ) -> Option<ExtentSet> {
        let each = u64::from((extent_bytes / self.page_size.max(1)).max(1));
        let mut changed = ExtentSet::default();
        // What lies behind the image's end is not in it.
        let mut add = |page: u32| {
            if u64::from(page) <= pages {
                changed.add(u64::from(page.saturating_sub(1)) / each);
            }
        };
        mark.changed.iter().for_each(|page| add(*page));
        let mut has_length = pages == mark.pages;
        self.frames_since(mark, published, &mut |frame| {
            add(frame.page);
            has_length |= u64::from(frame.commit) == pages;
        })?;
        has_length.then_some(changed)
    }

    /// Moves a mark on to what is in the WAL now; `published` was read before this WAL was opened. `None` if what changed is not known.
    fn follow(&self, mark: &WalMark, published: Option<&Published>) -> Option<WalMark> {
        // Everything up to there is committed, and among the frames that are read afterwards.
        let next = self.mark(Some(mark), published)?;
        let Some(last) = next.frame.checked_sub(1) else {
            // There is no commit to move it to.
            return self.has(mark).then(|| mark.clone());
        };
        let pages = self.frame(last)?.commit.into();
        let mut changed = mark.changed.clone();
        self.frames_since(mark, published, &mut |frame| changed.push(frame.page))?;
        changed.sort_unstable();
        changed.dedup();
        (changed.len() <= MOST_PAGES).then_some(WalMark { pages, changed, ..next })
    }

    /// Calls `take` with all frames behind a mark, also those of a WAL that has begun anew since. `None` if others may be missing.
    fn frames_since(&self, mark: &WalMark, published: Option<&Published>, take: &mut dyn FnMut(&Frame)) -> Option<()> {
        if mark.file != self.of || mark.page_size != self.page_size || !self.has(mark) {
            return None;
        }
        let is_new = |frame: &Frame| frame.salts == self.salts;
        if mark.salts == self.salts {
            let mut index = mark.frame;
            while let Some(frame) = self.frame(index).filter(is_new) {
                take(&frame);
                index += 1;
            }
        } else if self.salts[0] == mark.salts[0].wrapping_add(1) {
            let mut index = 0;
            while let Some(frame) = self.frame(index).filter(is_new) {
                take(&frame);
                index += 1;
            }
            let mut older = mark.frame;
            loop {
                match self.frame(older) {
                    Some(frame) if frame.salts == mark.salts => take(&frame),
                    Some(_) => break,
                    None if self.rules.needs_end && !self.has_all_commits(mark, index, older, published) => {
                        return None;
                    }
                    None => break,
                }
                older += 1;
            }
            // Frames that came meanwhile may have reached the older ones.
            if mark.frame == 0 || index >= mark.frame || !self.has(mark) {
                return None;
            }
        } else {
            return None;
        }
        self.is_same().then_some(())
    }

    /// Returns whether the frames of a WAL that has begun anew, and the older ones from the mark to the file's end, hold all commits since the mark.
    fn has_all_commits(&self, mark: &WalMark, frames: u64, older_end: u64, published: Option<&Published>) -> bool {
        let published = published.filter(|published| published.salts == self.salts && published.frames <= frames);
        let Some((published, at_mark)) = published.zip(mark.commits) else { return false };
        let mut commits = 0u32;
        // Commits that came after the count are not in it.
        for index in (0..published.frames).chain(mark.frame..older_end) {
            if self.is_repeated(index) {
                return false;
            }
            commits += u32::from(self.frame(index).is_some_and(|frame| frame.commit > 0));
        }
        published.commits.wrapping_sub(at_mark) == commits
    }

    /// Returns whether the WAL has not started again since it was opened.
    fn is_same(&self) -> bool {
        let mut header = [0; HEADER_BYTES];
        !self.rules.looks_again || self.file.read_exact_at(&mut header, 0).is_ok() && header == self.header
    }
}

/// Moves a mark on to what is in the WAL now, so that its frames may be written over; `db` is without links. `None` if what changed is not known.
///
/// No connection to the database may be open in this process: SQLite's locks are on files that are read here.
pub(crate) fn follow_wal(db: &Path, mark: &WalMark) -> Option<WalMark> {
    let published = shm::published(db);
    Wal::open(db, RULES)?.follow(mark, published.as_ref())
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ExtentSet;

    proptest! {
        #[test]
        fn a_run_has_any_if_one_of_it_is_in_the_set(members in proptest::collection::btree_set(0u64..400, 0..8), from in 0u64..500, len in 0u64..200) {
            let mut set = ExtentSet::default();
            members.iter().for_each(|member| set.add(*member));
            prop_assert_eq!(set.has_any(from..from + len), (from..from + len).any(|extent| set.has(extent)));
            prop_assert_eq!(set.len(), members.len() as u64);
        }
    }
}
