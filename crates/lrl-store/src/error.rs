//! Errors, by what a caller can do about them. Every one names the object or path that it is about; [`Error::hints`] tells what helps.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::hint::{Hint, Message};
use crate::units::size;

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes are not what their name, digest or format promises.
    #[error("{object} is damaged: {detail}")]
    Corrupt {
        /// The object's name in its store, or the file's path.
        object: String,
        /// What exactly does not fit.
        detail: Message,
    },
    /// An object that something refers to is not there.
    #[error("{object} is missing")]
    Missing {
        /// The object's name in its store.
        object: String,
    },
    /// Written by a newer version, or with a feature that this build does not know.
    #[error("{what} is not supported by this version of lrl")]
    Unsupported {
        /// The format version or feature.
        what: Message,
    },
    /// Another process holds it, also after waiting.
    #[error("{what} is locked by another process")]
    Locked {
        /// What is locked, with its path.
        what: String,
    },
    /// The store is encrypted, and the key that was given does not open it, or none was given.
    #[error("{store} is encrypted, and {reason}")]
    WrongKey {
        /// Where the store is.
        store: String,
        /// What is wrong with the key, as in "no key was given".
        reason: String,
    },
    /// The key is write-only.
    #[error("{object} cannot be read: the key only writes")]
    WriteOnly {
        /// The object's name in its store.
        object: String,
    },
    /// No such directory, or no store in it.
    #[error("there is no {what} at {}", path.display())]
    NoStore {
        /// What was looked for.
        what: Place,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The data to protect cannot be read consistently.
    #[error("{}: {detail}", path.display())]
    Source {
        /// The database or upload.
        path: PathBuf,
        /// Why.
        detail: Message,
    },
    /// A name that the caller gave (snapshot, path inside one) matches nothing, or too much.
    #[error("{0}")]
    NotFound(Message),
    /// Refused because going on could lose or leak data.
    #[error("{0}")]
    Refused(Message),
    /// What was named is no good backup: only who insists on it gets it.
    #[error("{0}")]
    NotGood(Message),
    /// The operating system refused an operation.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// A verb: "read", "create", "rename" …
        op: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's own reason.
        source: io::Error,
    },
    /// A server refused an operation or could not be reached.
    #[error("cannot {op} {object}: {detail}")]
    Remote {
        /// A verb: "read", "write", "list" …
        op: &'static str,
        /// The object's name, with its bucket.
        object: String,
        /// Why.
        detail: Message,
    },
    /// The disk has no more free space beside what is kept free for the application.
    #[error("the disk of {} is nearly full: {} are free{}", path.display(), size(*free), claims(*reserve, *needed))]
    NoRoom {
        /// A directory on that disk.
        path: PathBuf,
        /// Bytes that are free, the reserve included.
        free: u64,
        /// Bytes that stay free.
        reserve: u64,
        /// Bytes that are needed at least; 0 where that is not known.
        needed: u64,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What was looked for and is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A store.
    Store,
    /// The config of a store of which all else is there.
    Config,
    /// A bucket.
    Bucket,
    /// The directory with the sets, and often the store.
    BackupDir,
    /// A directory with sets to import.
    SetsDir,
    /// A directory or prefix with stores in it.
    StoresDir,
    /// A store in such a directory.
    StoreBelow,
    /// The data directory of a lab.
    DataDir,
    /// The root of a site.
    Root,
    /// Any other directory.
    Directory,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Config => "config in the store",
            Self::Bucket => "bucket",
            Self::BackupDir => "backup directory",
            Self::SetsDir => "directory of sets",
            Self::StoresDir => "directory of stores",
            Self::StoreBelow => "store one level below",
            Self::DataDir => "data directory",
            Self::Root => "root",
            Self::Directory => "directory",
        })
    }
}

fn claims(reserve: u64, needed: u64) -> String {
    let reserve = (reserve > 0).then(|| format!(", {} of them are kept for the application", size(reserve)));
    let needed = (needed > 0).then(|| format!(", at least {} are needed", size(needed)));
    [reserve, needed].into_iter().flatten().collect()
}

/// Takes the system's own error out of one that repeats the path of a temporary file.
fn plain(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(std::error::Error::source).and_then(|e| e.downcast_ref::<io::Error>());
    inner.and_then(io::Error::raw_os_error).map_or(error, io::Error::from_raw_os_error)
}

impl Error {
    /// Makes an adapter for `map_err` that adds the operation and the path to an I/O error.
    pub fn io(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { op, path, source: plain(source) }
    }

    /// Makes a [`Error::Refused`].
    pub fn refused(text: impl Into<Message>) -> Self {
        Self::Refused(text.into())
    }

    /// Makes a [`Error::NotFound`].
    pub fn not_found(text: impl Into<Message>) -> Self {
        Self::NotFound(text.into())
    }

    /// Returns what helps, the best first.
    pub fn hints(&self) -> &[Hint] {
        match self {
            Self::NotFound(text) | Self::Refused(text) | Self::NotGood(text) => text.hints(),
            Self::Corrupt { detail, .. } | Self::Source { detail, .. } | Self::Remote { detail, .. } => detail.hints(),
            Self::Unsupported { what } => what.hints(),
            Self::Missing { .. }
            | Self::Locked { .. }
            | Self::WrongKey { .. }
            | Self::WriteOnly { .. }
            | Self::NoStore { .. }
            | Self::Io { .. }
            | Self::NoRoom { .. }
            | Self::Interrupted => &[],
        }
    }

    /// Makes a [`Error::Corrupt`].
    pub fn corrupt(object: impl ToString, detail: impl Into<Message>) -> Self {
        Self::Corrupt { object: object.to_string(), detail: detail.into() }
    }

    /// Adds which file a damaged or missing object was needed for.
    pub(crate) fn needed_for(self, path: &[u8]) -> Self {
        let path = String::from_utf8_lossy(path);
        match self {
            Self::Corrupt { object, detail } => {
                let text = Message::from(format!("{detail}; {path} needs it"));
                Self::Corrupt { object, detail: text.with_hints(detail.hints()) }
            }
            Self::Missing { object } => Self::Missing { object: format!("{object}, which {path} needs,") },
            other => other,
        }
    }

    /// Returns a copy of it, of the same kind, for a second caller that fails for the same reason.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Corrupt { object, detail } => Self::Corrupt { object: object.clone(), detail: detail.clone() },
            Self::Missing { object } => Self::Missing { object: object.clone() },
            Self::Unsupported { what } => Self::Unsupported { what: what.clone() },
            Self::Locked { what } => Self::Locked { what: what.clone() },
            Self::WrongKey { store, reason } => Self::WrongKey { store: store.clone(), reason: reason.clone() },
            Self::WriteOnly { object } => Self::WriteOnly { object: object.clone() },
            Self::NoStore { what, path } => Self::NoStore { what: *what, path: path.clone() },
            Self::Source { path, detail } => Self::Source { path: path.clone(), detail: detail.clone() },
            Self::NotFound(text) => Self::NotFound(text.clone()),
            Self::Refused(text) => Self::Refused(text.clone()),
            Self::NotGood(text) => Self::NotGood(text.clone()),
            Self::Io { op, path, source } => {
                let again = || io::Error::new(source.kind(), source.to_string());
                let source = source.raw_os_error().map_or_else(again, io::Error::from_raw_os_error);
                Self::Io { op, path: path.clone(), source }
            }
            Self::Remote { op, object, detail } => Self::Remote { op, object: object.clone(), detail: detail.clone() },
            Self::NoRoom { path, free, reserve, needed } => {
                Self::NoRoom { path: path.clone(), free: *free, reserve: *reserve, needed: *needed }
            }
            Self::Interrupted => Self::Interrupted,
        }
    }

    /// Returns whether trying another copy is pointless: the caller wants to stop, or the server does not answer.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Remote { .. })
    }

    /// Returns whether bytes are damaged, gone, or cannot be read from a bad disk; anything else may pass, and proves nothing about them.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Missing { .. } => true,
            Self::Io { source, .. } => source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
            _ => false,
        }
    }

    /// Returns whether an object cannot be read for a reason of its own: damaged, gone, or written by a newer version. Other errors may pass, and
    /// keep their kind.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.is_damage() || matches!(self, Self::Unsupported { .. })
    }

    /// Returns whether a document of the store is damaged, gone, of a later format, or not for this key: it tells nothing. Other errors may pass, and
    /// what it says still counts.
    pub(crate) fn is_unreadable_document(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Missing { .. } | Self::Unsupported { .. } | Self::WriteOnly { .. })
    }

    /// Checks whether it is the system's error on this very path.
    pub(crate) fn is_about(&self, path: &Path) -> bool {
        matches!(self, Self::Io { path: about, .. } if about == path)
    }

    /// Returns whether the disk (or quota) is full, or has no free space but the reserve.
    pub fn is_full(&self) -> bool {
        match self {
            Self::NoRoom { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Error, Place};
    use crate::hint::{Hint, Message};

    #[test]
    fn a_copy_of_an_error_has_its_kind_and_text() {
        let text = || "x".to_string();
        let message = || Message::from(text()).with_hints(&[Hint::Force]);
        let io = |source| Error::Io { op: "read", path: "/x".into(), source };
        let errors = [
            Error::Corrupt { object: text(), detail: message() },
            Error::Missing { object: text() },
            Error::Unsupported { what: message() },
            Error::Locked { what: text() },
            Error::WrongKey { store: text(), reason: text() },
            Error::WriteOnly { object: text() },
            Error::NoStore { what: Place::Store, path: "/x".into() },
            Error::Source { path: "/x".into(), detail: message() },
            Error::NotFound(message()),
            Error::Refused(message()),
            Error::NotGood(message()),
            io(io::Error::from_raw_os_error(28)),
            io(io::Error::new(io::ErrorKind::InvalidData, "garbled")),
            Error::Remote { op: "read", object: text(), detail: message() },
            Error::NoRoom { path: "/x".into(), free: 1, reserve: 2, needed: 3 },
            Error::Interrupted,
        ];
        for error in &errors {
            let again = error.again();
            assert_eq!(std::mem::discriminant(error), std::mem::discriminant(&again));
            assert_eq!((error.to_string(), error.hints()), (again.to_string(), again.hints()));
            let ends = |e: &Error| (e.is_final(), e.is_damage(), e.is_full());
            assert_eq!(ends(error), ends(&again));
        }
    }
}
