//! One file, read for storing: its bytes in pieces ready to become chunks, its holes, and whether to trust them.
//!
//! Holds one chunk at a time; never follows a link, never waits for a pipe, never runs after a file that grows.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Advice, FileType, OFlags, SeekFrom, fadvise, fstat, seek};
use rustix::io::{Errno, pread};

use super::found::{Found, Stat};
use super::open::{open_any_length, unreadable};
use crate::budget::READ_BYTES;
use crate::chunk::{Cutter, Gear, UPLOADS, WHOLE_FILE_BYTES};
use crate::error::Result;
use crate::fs::xattrs::{FoundXattrs, read_xattrs};
use crate::progress::Problem;
use crate::source::database::source;

/// How often a file that changes under the reader is read again.
const RETRIES: u32 = 2;

/// What [`read_file`] delivers, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// The bytes of one chunk.
    Data(&'a [u8]),
    /// Zero bytes that take no space on disk.
    Hole(u64),
    /// Its extended attributes, after its bytes; not delivered if there are none.
    Xattrs(FoundXattrs),
    /// The file changed: everything delivered for it so far is void, it follows once more from its start.
    Again,
}

/// How reading ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// The parts are the file as it was at one moment; its metadata from that moment.
    Whole(Stat),
    /// It changed during every attempt: the parts are the last one, `stat.size` the number of bytes delivered.
    Changing(Stat),
    /// The parts are void; the reason in words.
    Unreadable(String),
}

impl ReadOutcome {
    /// Returns what the report has to say about the file.
    pub(crate) fn problem(&self, found: &Found) -> Option<Problem> {
        let reason = match self {
            Self::Whole(_) => return None,
            Self::Changing(_) => "changed while it was read; the stored copy may be a mixture".to_owned(),
            Self::Unreadable(reason) => reason.clone(),
        };
        Some(Problem { path: found.source.to_string_lossy().into_owned(), reason: reason.into(), lost: true })
    }
}

/// Opens a regular file that the walk found, if it is still that one; else the reason in words.
fn open_found(found: &Found) -> Result<(OwnedFd, rustix::fs::Stat), String> {
    // NONBLOCK: a pipe that took the file's place must not hold us up before the check below.
    let opened = open_any_length(&found.source, OFlags::NOFOLLOW | OFlags::NONBLOCK);
    let (fd, stat) = match opened.and_then(|fd| fstat(&fd).map(|stat| (fd, stat))) {
        Err(Errno::LOOP) => return Err(REPLACED.to_owned()),
        Err(errno) => return Err(unreadable(errno)),
        Ok(opened) => opened,
    };
    // The same inode as in the walk, whatever links lie on the way to it now.
    if !FileType::from_raw_mode(stat.st_mode).is_file() || Stat::of(&stat).id() != found.stat.id() {
        return Err(REPLACED.to_owned());
    }
    Ok((fd, stat))
}

/// Reads the extended attributes of a regular file that the walk found, for a caller that did not keep those of [`read_file`].
pub(crate) fn read_xattrs_of(found: &Found) -> FoundXattrs {
    match open_found(found) {
        Ok((fd, _)) => read_xattrs(fd),
        Err(reason) => FoundXattrs { lost: Some(reason), ..FoundXattrs::default() },
    }
}

/// Reads a regular file that the walk found; `scratch` is working memory to pass along from file to file.
///
/// Fails only where `sink` does. Files up to 1 MiB, and data between holes up to that length, are one piece; longer data
/// is cut by content, as `gear` says.
pub(crate) fn read_file(
    found: &Found,
    gear: &Gear,
    scratch: &mut Vec<u8>,
    sink: &mut dyn FnMut(Part<'_>) -> Result<()>,
) -> Result<ReadOutcome> {
    let (fd, mut before) = match open_found(found) {
        Ok(opened) => opened,
        Err(reason) => return Ok(ReadOutcome::Unreadable(reason)),
    };
    let mut attempt = 0;
    loop {
        let stat = Stat::of(&before);
        let mut reading = Reading { fd: fd.as_fd(), gear, scratch, sink, delivered: 0 };
        match reading.file(&stat) {
            Ok(()) => {}
            Err(Stop::Sink(error)) => return Err(error),
            Err(Stop::Disk(errno)) => return Ok(ReadOutcome::Unreadable(unreadable(errno))),
        }
        let delivered = reading.delivered;
        let xattrs = read_xattrs(&fd);
        if !xattrs.is_none() {
            sink(Part::Xattrs(xattrs))?;
        }
        let after = match fstat(&fd) {
            Ok(raw) => raw,
            Err(errno) => return Ok(ReadOutcome::Unreadable(unreadable(errno))),
        };
        let now = Stat::of(&after);
        if delivered == stat.size && (now.size, now.mtime, now.ctime) == (stat.size, stat.mtime, stat.ctime) {
            return Ok(ReadOutcome::Whole(now));
        }
        if attempt == RETRIES {
            return Ok(ReadOutcome::Changing(Stat { size: delivered, ..stat }));
        }
        attempt += 1;
        sink(Part::Again)?;
        before = after;
    }
}

/// Returns whether a file that the walk found is a SQLite database. One that cannot be opened is none: reading it tells why.
pub(crate) fn is_database(found: &Found) -> bool {
    look_for_header(found).unwrap_or_default()
}

/// Returns whether a file that the walk found is a SQLite database; the reason in words if it cannot be opened.
pub(crate) fn look_for_header(found: &Found) -> Result<bool, String> {
    let (fd, _) = open_found(found)?;
    let mut first = [0; 18];
    let read = pread(&fd, &mut first, 0).map_err(unreadable)?;
    Ok(source::is_database(&first[..read], found.stat.size))
}

const REPLACED: &str = "was replaced while the backup ran";

/// Why reading ended early.
enum Stop {
    Disk(Errno),
    Sink(crate::error::Error),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Disk(errno)
    }
}

/// One attempt at one file.
struct Reading<'a> {
    fd: BorrowedFd<'a>,
    gear: &'a Gear,
    scratch: &'a mut Vec<u8>,
    sink: &'a mut dyn FnMut(Part<'_>) -> Result<()>,
    delivered: u64,
}

impl Reading<'_> {
    /// Delivers the first `stat.size` bytes, or fewer if the file ends earlier now.
    fn file(&mut self, stat: &Stat) -> Result<(), Stop> {
        if stat.size > WHOLE_FILE_BYTES {
            // Only advice: where it is not taken, reading works as well.
            let _ = fadvise(self.fd, 0, None, Advice::Sequential);
        }
        if stat.blocks.saturating_mul(512) >= stat.size {
            return self.data(0, stat.size).map(|_| ());
        }
        let mut at = 0;
        while at < stat.size {
            let start = match seek(self.fd, SeekFrom::Data(at)) {
                Ok(start) => start.min(stat.size),
                Err(Errno::NXIO) => stat.size,
                // A file system without holes.
                Err(Errno::INVAL) => at,
                Err(errno) => return Err(errno.into()),
            };
            if start > at {
                self.deliver(Part::Hole(start - at), start - at)?;
            }
            if start >= stat.size {
                break;
            }
            let end = match seek(self.fd, SeekFrom::Hole(start)) {
                Ok(end) if end > start => end.min(stat.size),
                // Shortened meanwhile: `data` finds out where it ends now.
                Ok(_) | Err(Errno::NXIO | Errno::INVAL) => stat.size,
                Err(errno) => return Err(errno.into()),
            };
            if !self.data(start, end)? {
                break;
            }
            at = end;
        }
        Ok(())
    }

    /// Delivers the bytes from `start` to `end`; false if the file ends before.
    fn data(&mut self, start: u64, end: u64) -> Result<bool, Stop> {
        let mut cutter = (end - start > WHOLE_FILE_BYTES).then(|| Cutter::new(UPLOADS, self.gear));
        let (mut at, mut filled) = (start, 0);
        let mut whole = true;
        while at < end && whole {
            let left = end - at;
            let step = match cutter {
                Some(_) => READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES)),
                None => left as usize,
            };
            let got = self.read(at, filled, step)?;
            whole = got == step;
            at += got as u64;
            filled += got;
            while let Some(len) = cutter.as_mut().and_then(|cutter| cutter.cut(&self.scratch[..filled])) {
                self.chunk(len)?;
                self.scratch.copy_within(len..filled, 0);
                filled -= len;
            }
        }
        if filled > 0 {
            self.chunk(filled)?;
        }
        Ok(whole)
    }

    /// Reads `len` bytes at `at` to `scratch[offset..]`; fewer only at the end of the file.
    fn read(&mut self, at: u64, offset: usize, len: usize) -> Result<usize, Errno> {
        let need = offset + len;
        if self.scratch.len() < need {
            self.scratch.resize(need, 0);
        }
        let mut got = 0;
        while got < len {
            match pread(self.fd, &mut self.scratch[offset + got..need], at + got as u64) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(got)
    }

    fn chunk(&mut self, len: usize) -> Result<(), Stop> {
        (self.sink)(Part::Data(&self.scratch[..len])).map_err(Stop::Sink)?;
        self.delivered += len as u64;
        Ok(())
    }

    fn deliver(&mut self, part: Part<'_>, bytes: u64) -> Result<(), Stop> {
        (self.sink)(part).map_err(Stop::Sink)?;
        self.delivered += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
