//! The names in one directory, sorted by raw bytes, in bounded memory however many there are.
//!
//! Names lie back to back in one arena. When they outgrow their limit the names in the upper part are dropped and, after the lower
//! part has been used up, the directory is read once more for the names that follow.

use std::ffi::CStr;

use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, RawDir, SeekFrom, seek};
use rustix::io::Errno;

/// Bytes before a name in the arena: its type, then its length.
const HEAD: usize = 3;

/// A batch of sorted names.
#[derive(Default)]
pub(crate) struct Listing {
    arena: Vec<u8>,
    starts: Vec<u32>,
    next: usize,
    /// The directory holds names after the last one of this batch.
    more: bool,
}

impl Listing {
    /// Reads the first batch; on an error the names before it are there.
    pub(crate) fn fill(&mut self, dir: BorrowedFd<'_>, buffer: &mut Vec<u8>, limit: usize) -> Result<(), Errno> {
        self.clear();
        self.read(dir, buffer, limit, Vec::new())
    }

    /// Reads the batch after this one, if there is one and this one is used up.
    pub(crate) fn refill(&mut self, dir: BorrowedFd<'_>, buffer: &mut Vec<u8>, limit: usize) -> Result<(), Errno> {
        let last = self.starts.last().map(|start| name_at(&self.arena, *start).to_vec()).unwrap_or_default();
        self.clear();
        seek(dir, SeekFrom::Start(0))?;
        self.read(dir, buffer, limit, last)
    }

    /// Returns whether every name of the directory was taken.
    pub(crate) fn is_used_up(&self) -> bool {
        !self.more && self.next >= self.starts.len()
    }

    /// Returns whether `refill` will find names.
    pub(crate) fn has_more(&self) -> bool {
        self.more && self.next >= self.starts.len()
    }

    /// Takes the next name with the type that the directory gave it (a hint).
    pub(crate) fn next(&mut self) -> Option<(FileType, &CStr)> {
        let start = *self.starts.get(self.next)? as usize;
        self.next += 1;
        let kind = FileType::from_raw_mode(u32::from(self.arena[start]) << 12);
        let name = CStr::from_bytes_until_nul(&self.arena[start + HEAD..]).ok()?;
        Some((kind, name))
    }

    /// Forgets all names and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.starts.clear();
        (self.next, self.more) = (0, false);
    }

    /// Returns the bytes in use.
    pub(crate) fn size(&self) -> usize {
        self.arena.len() + self.starts.len() * size_of::<u32>()
    }

    /// Returns the bytes taken from the system.
    pub(crate) fn capacity(&self) -> usize {
        self.arena.capacity() + self.starts.capacity() * size_of::<u32>()
    }

    fn read(&mut self, dir: BorrowedFd<'_>, buffer: &mut Vec<u8>, limit: usize, after: Vec<u8>) -> Result<(), Errno> {
        let mut below: Option<Vec<u8>> = None;
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        let mut outcome = Ok(());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                // A directory that was removed after it was opened has no names.
                Err(Errno::NOENT) => break,
                Err(errno) => {
                    outcome = Err(errno);
                    break;
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || name.is_empty() || name <= after.as_slice() {
                continue;
            }
            if below.as_deref().is_some_and(|below| name > below) {
                continue;
            }
            self.push(entry.file_type(), name);
            if self.size() > limit && self.starts.len() > 1 {
                below = Some(self.keep_smaller_half());
                self.more = true;
            }
        }
        let arena = &self.arena;
        self.starts.sort_unstable_by(|a, b| name_at(arena, *a).cmp(name_at(arena, *b)));
        // A rename while the directory is read can show one name twice.
        self.starts.dedup_by(|a, b| name_at(arena, *a) == name_at(arena, *b));
        outcome
    }

    fn push(&mut self, kind: FileType, name: &[u8]) {
        // Limits keep the arena far below 4 GiB, and no file system has names of 64 KiB.
        let (Ok(start), Ok(len)) = (u32::try_from(self.arena.len()), u16::try_from(name.len())) else { return };
        self.starts.push(start);
        self.arena.push((kind.as_raw_mode() >> 12) as u8);
        self.arena.extend_from_slice(&len.to_le_bytes());
        self.arena.extend_from_slice(name);
        self.arena.push(0);
    }

    /// Drops the upper part in place and returns the largest name that stays.
    fn keep_smaller_half(&mut self) -> Vec<u8> {
        let half = self.starts.len() / 2;
        let arena = &self.arena;
        let (_, largest, _) =
            self.starts.select_nth_unstable_by(half - 1, |a, b| name_at(arena, *a).cmp(name_at(arena, *b)));
        let largest = name_at(arena, *largest).to_vec();
        self.starts.truncate(half);
        self.starts.sort_unstable();
        let mut end = 0;
        for start in &mut self.starts {
            let from = *start as usize;
            let len = HEAD + name_at(&self.arena, *start).len() + 1;
            self.arena.copy_within(from..from + len, end);
            *start = end as u32;
            end += len;
        }
        self.arena.truncate(end);
        largest
    }
}

fn name_at(arena: &[u8], start: u32) -> &[u8] {
    let start = start as usize;
    let len = usize::from(u16::from_le_bytes([arena[start + 1], arena[start + 2]]));
    &arena[start + HEAD..start + HEAD + len]
}

#[cfg(test)]
mod tests {
    use super::Listing;
    use rustix::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;

    fn names(limit: usize, dir: &std::path::Path) -> (Vec<Vec<u8>>, usize) {
        let fd = std::fs::File::open(dir).unwrap();
        let (mut listing, mut buffer) = (Listing::default(), Vec::with_capacity(1024));
        let (mut out, mut batches) = (Vec::new(), 1);
        listing.fill(fd.as_fd(), &mut buffer, limit).unwrap();
        loop {
            assert!(listing.size() <= limit.max(400));
            while let Some((_, name)) = listing.next() {
                out.push(name.to_bytes().to_vec());
            }
            if !listing.has_more() {
                return (out, batches);
            }
            listing.refill(fd.as_fd(), &mut buffer, limit).unwrap();
            batches += 1;
        }
    }

    #[test]
    fn small_memory_gives_the_same_names_in_more_batches() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected: Vec<Vec<u8>> =
            (0..500u32).map(|i| format!("{:x}-{i}", i.wrapping_mul(2_654_435_761)).into_bytes()).collect();
        expected.push(b"odd\xff\x01".to_vec());
        expected.push(vec![b'x'; 255]);
        for name in &expected {
            std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), b"").unwrap();
        }
        expected.sort();
        assert_eq!(names(1 << 20, dir.path()), (expected.clone(), 1));
        let (found, batches) = names(1000, dir.path());
        assert_eq!(found, expected);
        assert!(batches > 10, "{batches}");
        assert_eq!(names(1, dir.path()).0, expected);
    }
}
