//! Owns the document of a change in the data directory. As `.lrl-restore.json` it is the intent of renames that may be half done,
//! durable before the first of them and locked by the run that makes them; renamed to `.lrl-undo.json` it is what `--undo` goes by.

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
use super::stage_file::create;
use super::swap::step;
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::resolve::OpenDirs;
use crate::fs::unsupported::sync_dir;

const INTENT: &[u8] = b".lrl-restore.json";
const LAST: &[u8] = b".lrl-undo.json";
/// A record of a few targets takes a few kilobytes; somebody else may have put anything there.
const MAX_BYTES: u64 = 1 << 20;

/// The data directory as the place of these documents.
pub(super) struct Journal {
    dir: Arc<OwnedFd>,
    path: PathBuf,
}

/// An intent that is there, held by this process until it is dropped.
pub(super) struct PendingSwap<'a> {
    desk: &'a Journal,
    _lock: File,
}

impl Journal {
    /// Opens the data directory, if it is there.
    pub fn open(doors: &OpenDirs, data_dir: &Path) -> Result<Option<Self>> {
        Ok(doors.open(data_dir)?.map(|dir| Self { dir, path: data_dir.to_path_buf() }))
    }

    /// Opens the data directory, which is there.
    pub fn of(doors: &OpenDirs, data_dir: &Path) -> Result<Self> {
        Self::open(doors, data_dir)?.ok_or_else(|| Error::io("open", data_dir)(Errno::NOENT.into()))
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Arc<OwnedFd> {
        &self.dir
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(to_path(name))
    }

    fn locked(&self) -> Error {
        Error::Locked { what: format!("{} (another lrl is putting things in place there)", self.path.display()) }
    }

    /// Takes the intent that a dead run left; none also where it had not begun with anything.
    pub fn intent(&self) -> Result<Option<(PendingSwap<'_>, Record)>> {
        let Some((file, record)) = self.read(INTENT, true)? else { return Ok(None) };
        let intent = PendingSwap { desk: self, _lock: file };
        match record {
            Some(record) => Ok(Some((intent, record))),
            None => intent.withdraw().map(|()| None),
        }
    }

    /// Looks at the intent, takes nothing and changes nothing.
    pub fn look(&self) -> Result<Option<Record>> {
        Ok(self.read(INTENT, true)?.and_then(|(_, record)| record))
    }

    /// Returns the record of the last change that was finished.
    pub fn last(&self) -> Result<Option<Record>> {
        Ok(self.read(LAST, false)?.and_then(|(_, record)| record))
    }

    /// Forgets the last change that was finished: what it kept is about to go.
    pub fn drop_last(&self) -> Result<()> {
        match unlinkat(&self.dir, LAST, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(Error::io("remove", self.path_of(LAST))(e.into())),
        }
        fsync(&self.dir).map_err(|e| Error::io("sync", &self.path)(e.into()))
    }

    /// A document whose end is missing was never finished, and nothing was begun by it.
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
            return Err(Error::Unsupported { what: format!("{} of format {}", path.display(), record.format) });
        }
        Ok(Some((file, Some(record))))
    }

    /// Makes an intent durable.
    pub fn begin(&self, record: &Record) -> Result<PendingSwap<'_>> {
        let path = self.path_of(INTENT);
        let mut file = step(|| create(&self.dir, INTENT)).map_err(|e| match e {
            Errno::EXIST => self.locked(),
            e => Error::io("create", &path)(e.into()),
        })?;
        // Whoever opened it in between took it for that of a dead run, and removes it.
        let _ = file.try_lock_exclusive();
        let is_ours = file.metadata().is_ok_and(|meta| {
            statat(&self.dir, INTENT, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_ino == meta.ino())
        });
        if !is_ours {
            return Err(self.locked());
        }
        let text = serde_json::to_vec_pretty(record).map(|text| [text.as_slice(), b"\n"].concat());
        let written = text.map_err(Into::into).and_then(|text| file.write_all(&text));
        let written = written.and_then(|()| step(|| fsync(&file)).map_err(Into::into));
        let written = written.and_then(|()| step(|| sync_dir(&self.dir)).map_err(Into::into));
        let intent = PendingSwap { desk: self, _lock: file };
        match written {
            Ok(()) => Ok(intent),
            Err(e) => {
                let _ = intent.withdraw();
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
    pub fn finish(&self) -> Result<()> {
        let desk = self.desk;
        let renamed = step(|| renameat(&desk.dir, INTENT, &desk.dir, LAST));
        renamed.map_err(|e| Error::io("rename", desk.path_of(INTENT))(e.into()))?;
        // Without this the intent may be back after a power cut, and is found to be done then.
        let _ = sync_dir(&desk.dir);
        Ok(())
    }

    /// Everything is as it was.
    pub fn withdraw(&self) -> Result<()> {
        let desk = self.desk;
        let removed = unlinkat(&desk.dir, INTENT, AtFlags::empty());
        removed.map_err(|e| Error::io("remove", desk.path_of(INTENT))(e.into()))?;
        let _ = sync_dir(&desk.dir);
        Ok(())
    }
}
