//! Who else could have written, or can read, a file that decides what lrl does: settings that nobody named, and secrets.
//! As ssh and sudo have it: such a file belongs to the caller or to root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use zeroize::Zeroizing;

/// As many links as the system itself follows on one path.
const MOST_LINKS: usize = 40;
/// How long a pipe may stay silent.
const PIPE_WAIT: Duration = Duration::from_secs(60);
/// How soon an interruption is noticed.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Why a file is not read.
#[derive(Debug)]
pub enum Refusal {
    /// The system refuses.
    Io(io::Error),
    /// Somebody else can write or read it; the text says what, and whose it is.
    Untrusted(String),
    /// A signal came while a pipe was silent.
    Interrupted,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens a file only if nobody but the caller and root can have put it there or changed it: every directory and link on the way from
/// `/`, and the file, belong to one of them, and nobody else can write them. In a directory with the sticky bit others can make names, but
/// not replace these.
///
/// # Errors
/// [`Refusal::Untrusted`] names the first part of the path that somebody else can change. What was checked is what is opened: each part
/// is looked at through its handle.
pub fn open_unnamed(path: &Path) -> Result<File, Refusal> {
    const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let mut rest = VecDeque::new();
    prepend(&mut rest, &std::path::absolute(path)?);
    let (mut dir, mut at, mut links, mut shared) = (None::<OwnedFd>, PathBuf::new(), 0, false);
    while let Some(name) = rest.pop_front() {
        let open = |flags| match &dir {
            Some(dir) => openat(dir, &name, flags, Mode::empty()),
            None => openat(CWD, &name, flags, Mode::empty()),
        };
        let found = open(STEP)?;
        let stat = fstat(&found)?;
        let here = if name == ".." { at.parent().unwrap_or(&at).to_path_buf() } else { at.join(&name) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                own(&here, &stat)?;
                shared = is_written_by_others(&stat);
                if shared && stat.st_mode & 0o1000 == 0 {
                    return Err(written_by_others(&here, &stat));
                }
                (dir, at) = (Some(found), here);
            }
            FileType::Symlink => {
                own(&here, &stat)?;
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                prepend(&mut rest, Path::new(OsStr::from_bytes(readlinkat(&found, "", Vec::new())?.to_bytes())));
            }
            _ if !rest.is_empty() => return Err(Errno::NOTDIR.into()),
            _ => {
                // NONBLOCK: a pipe that takes the file's place does not hold us up.
                let file = open(OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC)?;
                let stat = fstat(&file)?;
                own(&here, &stat)?;
                if !FileType::from_raw_mode(stat.st_mode).is_file() {
                    return Err(Refusal::Untrusted(format!("{} is not a regular file", here.display())));
                }
                if is_written_by_others(&stat) {
                    return Err(written_by_others(&here, &stat));
                }
                // A hard link to another file of the caller's can be made by anyone who can make names there.
                if shared && stat.st_nlink > 1 {
                    return Err(Refusal::Untrusted(format!(
                        "{} has several names, and others can make names in its directory",
                        here.display()
                    )));
                }
                return Ok(file.into());
            }
        }
    }
    Err(Errno::ISDIR.into())
}

/// Puts the parts of `path` before those that are still to be followed.
fn prepend(rest: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        if part != Component::CurDir {
            rest.push_front(part.as_os_str().to_os_string());
        }
    }
}

fn own(path: &Path, stat: &Stat) -> Result<(), Refusal> {
    let me = geteuid().as_raw();
    if stat.st_uid == 0 || stat.st_uid == me {
        return Ok(());
    }
    let who = if me == 0 { "not to root".into() } else { format!("neither to the caller ({me}) nor to root") };
    Err(Refusal::Untrusted(format!("{} belongs to user {}, {who}", path.display(), stat.st_uid)))
}

fn is_written_by_others(stat: &Stat) -> bool {
    stat.st_mode & 0o022 != 0
}

fn written_by_others(path: &Path, stat: &Stat) -> Refusal {
    let mode = stat.st_mode & 0o7777;
    Refusal::Untrusted(format!(
        "others than its owner can write {} (mode {mode:04o}); `chmod go-w` takes that away",
        path.display()
    ))
}

/// Reads a secret of at most `most` bytes from a file that only the caller and root can read and write, or from a pipe.
///
/// # Errors
/// [`Refusal::Untrusted`] for a file of somebody else's, or one that others can read or write; for what is neither file nor pipe; and for a
/// pipe that nobody writes to for a minute. `interrupted` ends the wait for one.
pub fn read_secret(path: &Path, most: u64, into: &mut Vec<u8>, interrupted: &dyn Fn() -> bool) -> Result<(), Refusal> {
    // NONBLOCK: opening a pipe that nobody writes to would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = openat(CWD, path, flags, Mode::empty())?.into();
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            // The service manager lets the service's user in by an access list, which looks like a group that can read; nobody else can
            // enter the directory.
            if is_credential(path) {
                own(path, &stat)?
            } else {
                secret(path, &stat)?
            }
            file.take(most).read_to_end(into)?;
            Ok(())
        }
        FileType::Fifo => {
            // What a shell hands over by number has no name that others could open.
            if !["/dev/fd/", "/dev/stdin", "/proc/self/fd/"]
                .iter()
                .any(|start| path.as_os_str().as_bytes().starts_with(start.as_bytes()))
            {
                secret(path, &stat)?;
            }
            read_pipe(path, file, most, into, interrupted)
        }
        _ => Err(Refusal::Untrusted(format!("{} is neither a file nor a pipe", path.display()))),
    }
}

/// The variable with the directory in which a service manager gives a service its secrets.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Returns the secret of this name that the service manager gave this service (systemd's `LoadCredential=`), if it gave it one.
pub fn credential(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(CREDENTIALS)?).join(name);
    (path.is_absolute() && path.is_file()).then_some(path)
}

fn is_credential(path: &Path) -> bool {
    std::env::var_os(CREDENTIALS).is_some_and(|dir| path.is_absolute() && path.parent() == Some(Path::new(&dir)))
}

/// Fails for a file of secrets that another library reads, where [`read_secret`] would; what is not there is that one's to tell.
pub fn check_secret(path: &Path) -> Result<(), Refusal> {
    match openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => secret(path, &fstat(&file)?),
        Err(_) => Ok(()),
    }
}

fn secret(path: &Path, stat: &Stat) -> Result<(), Refusal> {
    own(path, stat)?;
    match stat.st_mode & 0o7777 {
        mode if mode & 0o077 != 0 => Err(Refusal::Untrusted(format!(
            "{} holds a secret, and others than its owner can read or write it (mode {mode:04o}): `chmod 600 {}`",
            path.display(),
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn read_pipe(
    path: &Path,
    mut pipe: File,
    most: u64,
    into: &mut Vec<u8>,
    interrupted: &dyn Fn() -> bool,
) -> Result<(), Refusal> {
    let mut heard = Instant::now();
    let mut buffer = Zeroizing::new([0; 4096]);
    loop {
        // A pipe that no writer has opened yet is silent, not at its end.
        let ready = poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&TICK)).or_else(|errno| match errno {
            Errno::INTR => Ok(0),
            errno => Err(errno),
        })?;
        if interrupted() {
            return Err(Refusal::Interrupted);
        }
        if ready == 0 && heard.elapsed() > PIPE_WAIT {
            let wait = PIPE_WAIT.as_secs();
            return Err(Refusal::Untrusted(format!("nobody wrote to the pipe {} for {wait} s", path.display())));
        }
        if ready > 0 {
            let room = usize::try_from(most.saturating_sub(into.len() as u64)).unwrap_or(usize::MAX);
            let end = buffer.len().min(room);
            match pipe.read(&mut buffer[..end]) {
                Ok(0) => break,
                Ok(len) => into.extend_from_slice(&buffer[..len]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e.into()),
            }
            heard = Instant::now();
        }
    }
    Ok(())
}
