//! A clone of a database's file: it shares the file's blocks, so that it is there in milliseconds, and stays what it was when SQLite's lock is gone.
//! It has no name, so that nothing is left of it, whatever happens.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstatfs, ioctl_ficlone, open};

use super::model::{ImageSink, LOCK_BYTE};
use crate::budget::PIECE_BYTES;
use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};

/// Btrfs and XFS, by the numbers of `linux/magic.h`. Nothing proves a clone, so no other file system is trusted with one: OpenZFS 2.2.0 gave zeros
/// for blocks that were not written back yet.
const TRUSTED: [u32; 2] = [0x9123_683E, 0x5846_5342];

/// A clone of a database in rollback mode.
pub(super) struct DatabaseClone {
    file: File,
    /// Of the database, for messages.
    path: PathBuf,
    page_size: u32,
}

/// Returns whether the file system of a database can share blocks, and an unnamed file can be made beside it. What was not written back yet is
/// written for it, so that the clone that is made under the lock has less to wait for.
pub(super) fn can_clone(source: &File, db: &Path) -> bool {
    clone_file(source, db).is_some()
}

impl DatabaseClone {
    /// Clones the database `db`, whose file is open as `source`; `None` if it cannot be cloned, another file has its name, or it is shorter
    /// than `len` bytes.
    pub(super) fn new(source: &File, db: &Path, page_size: u32, len: u64) -> Option<Self> {
        let (ours, there) = (source.metadata().ok()?, fs::metadata(db).ok()?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return None;
        }
        let file = clone_file(source, db)?;
        (file.metadata().ok()?.len() >= len).then(|| Self { file, path: db.to_path_buf(), page_size })
    }

    /// Streams the pages up to the last and returns the first 100 bytes.
    pub(super) fn stream(&self, last: u64, sink: &mut dyn ImageSink, observer: &dyn Observer) -> Result<Vec<u8>> {
        let (mut piece, mut header, mut next) = (Vec::new(), Vec::new(), 1);
        while next <= last {
            checkpoint(observer)?;
            let to = last.min(next + (PIECE_BYTES / self.page_size as usize) as u64 - 1);
            self.read(next, to, &mut piece)?;
            if next == 1 {
                header = piece[..100].to_vec();
            }
            sink.bytes(&piece)?;
            next = to + 1;
        }
        Ok(header)
    }

    /// Reads pages, `from` and `to` included, into `bytes`, as SQLite would.
    pub(super) fn read(&self, from: u64, to: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let page = u64::from(self.page_size);
        bytes.resize(((to + 1).saturating_sub(from) * page) as usize, 0);
        self.file.read_exact_at(bytes, (from - 1) * page).map_err(Error::io("read the clone of", &self.path))?;
        let lock_page = LOCK_BYTE / page + 1;
        if (from..=to).contains(&lock_page) {
            let at = ((lock_page - from) * page) as usize;
            bytes[at..at + page as usize].fill(0);
        }
        Ok(())
    }
}

fn clone_file(source: &File, db: &Path) -> Option<File> {
    #[cfg(test)]
    if tests::is_pretended() {
        return Some(tests::copy(source));
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let clone = File::from(open(db.parent()?, flags, Mode::RUSR | Mode::WUSR).ok()?);
    let is_trusted = fstatfs(&clone).is_ok_and(|disk| TRUSTED.contains(&(disk.f_type as u32)));
    (is_trusted && ioctl_ficlone(&clone, source).is_ok()).then_some(clone)
}

#[cfg(test)]
pub(super) mod tests {
    //! A file system that can share blocks, pretended by copying.

    use std::cell::Cell;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    thread_local! {
        static PRETENDED: Cell<bool> = const { Cell::new(false) };
    }

    /// Sets whether databases that this thread reads can be cloned, whatever the file system says.
    pub(crate) fn pretend(can_clone: bool) {
        PRETENDED.set(can_clone);
    }

    pub(super) fn is_pretended() -> bool {
        PRETENDED.get()
    }

    pub(super) fn copy(source: &File) -> File {
        let copy = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            match source.read_at(&mut bytes, at).unwrap() {
                0 => return copy,
                len => copy.write_all_at(&bytes[..len], at).unwrap(),
            }
            at += bytes.len() as u64;
        }
    }
}
