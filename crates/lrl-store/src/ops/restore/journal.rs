//! The journal of a change in the data directory. As `.lrl-restore.json` it names renames that may be unfinished: it is durable before
//! the first of them, and locked by the run that makes them. Renamed to `.lrl-undo.json`, it is what `--undo` goes by.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs2::FileExt;
use rustix::fs::{AtFlags, Mode, OFlags, fsync, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::journal_record::{FORMAT, Record};
use super::rename::step;
use crate::error::{Error, Result};
use crate::fs::dir::{create_file, to_path};
use crate::fs::missing_features::sync_dir;
use crate::fs::resolve::OpenDirs;
use crate::source::files::kept_copies;

/// The name of the record of an unfinished change.
const PENDING: &[u8] = kept_copies::PENDING.as_bytes();
/// The name of the record of the last finished change.
const LAST: &[u8] = kept_copies::RECORD.as_bytes();
/// A record takes a kilobyte for each target; somebody else may have put anything there.
const MAX_BYTES: u64 = 32 << 20;

/// The data directory, where the records are.
pub(super) struct Journal {
    dir: Arc<OwnedFd>,
    path: PathBuf,
}

/// A change that has been recorded and not finished; locked by this process until it is dropped.
pub(super) struct PendingSwap<'a> {
    journal: &'a Journal,
    _lock: File,
}

impl Journal {
    /// Opens the data directory, if it exists.
    pub(crate) fn open(dirs: &OpenDirs, data_dir: &Path) -> Result<Option<Self>> {
        Ok(dirs.open(data_dir)?.map(|dir| Self { dir, path: data_dir.to_path_buf() }))
    }

    /// Opens the data directory, which exists.
    pub(crate) fn of(dirs: &OpenDirs, data_dir: &Path) -> Result<Self> {
        Self::open(dirs, data_dir)?.ok_or_else(|| Error::io("open", data_dir)(Errno::NOENT.into()))
    }

    /// Returns the directory.
    pub(crate) fn dir(&self) -> &Arc<OwnedFd> {
        &self.dir
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(to_path(name))
    }

    fn locked(&self) -> Error {
        Error::Locked { what: format!("{} (another lrl is putting things in place there)", self.path.display()) }
    }

    /// Takes the change that a dead run left unfinished; none also where it had not begun with anything.
    pub(crate) fn pending(&self) -> Result<Option<(PendingSwap<'_>, Record)>> {
        let Some((file, record)) = self.read(PENDING, true)? else { return Ok(None) };
        let pending = PendingSwap { journal: self, _lock: file };
        match record {
            Some(record) => Ok(Some((pending, record))),
            None => pending.withdraw().map(|()| None),
        }
    }

    /// Returns the record of an unfinished change, and changes nothing.
    pub(crate) fn peek(&self) -> Result<Option<Record>> {
        Ok(self.read(PENDING, true)?.and_then(|(_, record)| record))
    }

    /// Returns the record of the last finished change.
    pub(crate) fn last(&self) -> Result<Option<Record>> {
        Ok(self.read(LAST, false)?.and_then(|(_, record)| record))
    }

    /// Removes the record of the last finished change: what it kept is about to be removed.
    pub(crate) fn drop_last(&self) -> Result<()> {
        match unlinkat(&self.dir, LAST, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(Error::io("remove", self.path_of(LAST))(e.into())),
        }
        fsync(&self.dir).map_err(|e| Error::io("sync", &self.path)(e.into()))
    }

    /// Reads a record. One whose end is missing was not durable when its run ended, which had not begun with anything then.
    fn read(&self, name: &[u8], lock: bool) -> Result<Option<(File, Option<Record>)>> {
        let path = self.path_of(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::io("open", path)(e.into())),
        };
        if lock && !is_free(&file) {
            return Err(self.locked());
        }
        let meta = file.metadata().map_err(Error::io("look at", &path))?;
        let damaged = |detail: String| Error::corrupt(path.display(), format!("{detail}; it tells of a restore"));
        if !meta.is_file() || meta.len() > MAX_BYTES {
            return Err(damaged("it is not a file that lrl wrote".into()));
        }
        let mut text = Vec::new();
        (&file).take(MAX_BYTES).read_to_end(&mut text).map_err(Error::io("read", &path))?;
        if !text.ends_with(b"}\n") {
            return Ok(Some((file, None)));
        }
        let record: Record = serde_json::from_slice(&text).map_err(|e| damaged(format!("it cannot be read ({e})")))?;
        if record.format != FORMAT {
            return Err(Error::Unsupported { what: format!("{} of format {}", path.display(), record.format).into() });
        }
        Ok(Some((file, Some(record))))
    }

    /// Records a change, durably.
    pub(crate) fn begin(&self, record: &Record) -> Result<PendingSwap<'_>> {
        let path = self.path_of(PENDING);
        let mut file = step(|| create_file(&self.dir, PENDING)).map_err(|e| match e {
            Errno::EXIST => self.locked(),
            e => Error::io("create", &path)(e.into()),
        })?;
        // Whoever opened it in between took it for that of a dead run and removes it.
        let _ = file.try_lock_exclusive();
        let is_ours = file.metadata().is_ok_and(|meta| {
            statat(&self.dir, PENDING, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_ino == meta.ino())
        });
        if !is_ours {
            return Err(self.locked());
        }
        let text = serde_json::to_vec_pretty(record).map(|text| [text.as_slice(), b"\n"].concat());
        let written = text.map_err(Into::into).and_then(|text| file.write_all(&text));
        let written = written.and_then(|()| step(|| fsync(&file)).map_err(Into::into));
        let written = written.and_then(|()| step(|| sync_dir(&self.dir)).map_err(Into::into));
        let pending = PendingSwap { journal: self, _lock: file };
        match written {
            Ok(()) => Ok(pending),
            Err(e) => {
                let _ = pending.withdraw();
                Err(Error::io("write", path)(e))
            }
        }
    }
}

/// Waits a moment for a lock: renames take milliseconds, and a child that is just being started shares its parent's locks.
fn is_free(file: &File) -> bool {
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        match file.try_lock_exclusive() {
            Err(e) if e.kind() == fs2::lock_contended_error().kind() && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(e) => return e.kind() != fs2::lock_contended_error().kind(),
            // Where nothing can be locked, two runs at once cannot be told from one after the other.
            Ok(()) => return true,
        }
    }
}

impl PendingSwap<'_> {
    /// Everything is in place and durable: from now on this is what `--undo` goes by.
    pub(crate) fn finish(&self) -> Result<()> {
        let journal = self.journal;
        let renamed = step(|| renameat(&journal.dir, PENDING, &journal.dir, LAST));
        renamed.map_err(|e| Error::io("rename", journal.path_of(PENDING))(e.into()))?;
        // Without this the record may be back after a power cut, and is found to be done then.
        let _ = sync_dir(&journal.dir);
        Ok(())
    }

    /// Everything is as it was.
    pub(crate) fn withdraw(&self) -> Result<()> {
        let journal = self.journal;
        let removed = unlinkat(&journal.dir, PENDING, AtFlags::empty());
        removed.map_err(|e| Error::io("remove", journal.path_of(PENDING))(e.into()))?;
        let _ = sync_dir(&journal.dir);
        Ok(())
    }
}
