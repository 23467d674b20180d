//! Reads small text files that a user names: at most a mebibyte, and no longer than somebody writes to a pipe.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

/// No list that anybody writes is longer.
const MOST_BYTES: u64 = 1 << 20;
/// How long a pipe may be silent.
const PIPE_WAIT: Duration = Duration::from_secs(10);

/// Reads a text from a file or a pipe, such as one that a shell makes.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`] if it is longer than a mebibyte, [`ErrorKind::TimedOut`] if nobody writes to the pipe for ten seconds,
/// [`ErrorKind::InvalidData`] if it is not UTF-8, and those of the system.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    read_within(path, PIPE_WAIT)
}

fn read_within(path: &Path, wait: Duration) -> io::Result<String> {
    // NONBLOCK: opening a pipe that nobody writes to would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: File = openat(CWD, path, flags, Mode::empty())?.into();
    let is_pipe = FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Fifo;
    let mut bytes = Vec::new();
    let mut rest = file.take(MOST_BYTES + 1);
    loop {
        if is_pipe {
            require_writer(rest.get_ref(), wait)?;
        }
        match rest.read_to_end(&mut bytes) {
            Ok(_) => break,
            Err(e) if is_pipe && e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is longer than 1 MiB, which no list of patterns is"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Waits until there is something to read, or the last writer is gone.
fn require_writer(pipe: &File, wait: Duration) -> io::Result<()> {
    let limit = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
    loop {
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return Err(io::Error::new(ErrorKind::TimedOut, "nobody writes to the pipe")),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::path::Path;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{MOST_BYTES, read, read_within};

    #[test]
    fn what_does_not_end_is_an_error() {
        let kind = |path: &Path| read_within(path, Duration::from_millis(50)).unwrap_err().kind();
        assert_eq!(kind(Path::new("/dev/zero")), ErrorKind::FileTooLarge);
        assert_eq!(kind(Path::new("/dev/urandom")), ErrorKind::FileTooLarge);
        assert_eq!(kind(Path::new("/no/such")), ErrorKind::NotFound);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kind(dir.path()), ErrorKind::IsADirectory);
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(kind(&pipe), ErrorKind::TimedOut);
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut out = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
                for _ in 0..2 {
                    out.write_all(b"*.tmp\n").unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        });
        assert_eq!(read(&pipe).unwrap(), "*.tmp\n*.tmp\n");
        writer.join().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, vec![b'a'; MOST_BYTES as usize]).unwrap();
        assert_eq!(read(&file).unwrap().len() as u64, MOST_BYTES);
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(kind(&file), ErrorKind::InvalidData);
    }
}
