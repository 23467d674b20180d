//! The one table of exit codes, and what a failure says: what happened, and what to do next.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use lrl_store::backend::location::Location;
use lrl_store::error::{Error, Place};

use crate::hint;

/// Every way in which lrl ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// Nothing, or not what was asked for, is done.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Done, but one part, an upload or the database's verification is missing.
    Incomplete = 3,
    /// A drill or check found something wrong, or a snapshot that is not good was named.
    Wrong = 4,
    /// The snapshot is stored, its set or second store is not.
    SetFailed = 5,
    /// No such directory or store.
    NoStore = 10,
    /// Another process holds the store.
    Locked = 11,
    /// The key does not open the store.
    WrongKey = 12,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// Each code with its meaning, for the documents.
pub const TABLE: [(Exit, &str); 10] = [
    (Exit::Done, "done"),
    (Exit::Failed, "failed; nothing is published"),
    (Exit::Usage, "usage: the command line or lrl.toml is wrong"),
    (
        Exit::Incomplete,
        "done, but the backup is much smaller than before, one part is missing, an upload was unreadable, the database could not be verified, an old set could not be removed, a snapshot could not be copied, something was damaged and left out (--skip-damaged), or earlier snapshots have vanished from the store",
    ),
    (
        Exit::Wrong,
        "a drill or check found something wrong; `lrl status` has something to report; a snapshot or set that is not good was named without --force",
    ),
    (Exit::SetFailed, "the snapshot is stored, but its set or its second store could not be written"),
    (Exit::NoStore, "no such directory or store"),
    (Exit::Locked, "locked by another process"),
    (Exit::WrongKey, "wrong key: none, another one, or a write-only one"),
    (Exit::Interrupted, "interrupted"),
];

impl Exit {
    /// Returns the worse of two ends of one run: interrupted, then failed, damage, a lock (which passes by itself), what is missing from the
    /// backup, what is missing beside it.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        const ORDER: [Exit; 10] = [
            Exit::Interrupted,
            Exit::Failed,
            Exit::Usage,
            Exit::NoStore,
            Exit::WrongKey,
            Exit::Wrong,
            Exit::Locked,
            Exit::Incomplete,
            Exit::SetFailed,
            Exit::Done,
        ];
        ORDER.into_iter().find(|exit| *exit == self || *exit == other).unwrap_or(self)
    }

    /// Returns the number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// The exit code of the application that a watch ran; above 255: none.
static APPLICATION: AtomicU32 = AtomicU32::new(u32::MAX);

/// Ends the process with this code in place of lrl's own.
pub fn set_application(code: u8) {
    APPLICATION.store(code.into(), Ordering::Relaxed);
}

/// Returns the code that is to take the place of lrl's own, if there is one.
pub fn application() -> Option<u8> {
    u8::try_from(APPLICATION.load(Ordering::Relaxed)).ok()
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The command line or the configuration is wrong; the text names what.
    Usage(String),
    /// The engine failed.
    Engine(Error),
    /// The snapshot that was named is not good; the text says why.
    NotGood(String),
    /// A set's manifest and the snapshot that it names contradict each other; the text says how.
    Contradicted(String),
    /// A place where a store is known has none, or another one; the text names both.
    Gone(String),
    /// The engine failed, and the command knows better what to say and what to do next.
    Advised {
        /// What happened.
        error: Error,
        /// The same in words.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// Standard output could not be written.
    Output(io::Error),
}

/// A command's result: how it ended, or why it ended early.
pub type Result<T = Exit, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// What to do about a full disk.
pub const NO_ROOM: &str = "make room on that disk: `lrl forget` with `lrl prune`, fewer sets (--keep-sets, --snapshot-only), older *.pre-restore (`lrl restore --clean`); \
     or name another place with --backup or --store; --reserve sets how much a backup leaves free";

impl Failure {
    /// Returns the exit code; `proving` is true for a drill or check, for which damage is a finding (4), not a failure.
    pub fn exit(&self, proving: bool) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NotGood(_) => Exit::Wrong,
            Self::Gone(_) => Exit::NoStore,
            Self::Contradicted(_) => Exit::Wrong,
            // Who closes the pipe (`lrl ls | head`) has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) => Exit::Failed,
            Self::Engine(error) | Self::Advised { error, .. } => match error {
                Error::NoStore { .. } => Exit::NoStore,
                Error::Locked { .. } => Exit::Locked,
                Error::Interrupted => Exit::Interrupted,
                Error::WrongKey { .. } | Error::WriteOnly { .. } => Exit::WrongKey,
                Error::NotGood(_) => Exit::Wrong,
                Error::Corrupt { .. } | Error::Missing { .. } if proving => Exit::Wrong,
                _ => Exit::Failed,
            },
        }
    }

    /// Returns a word for automation: which kind of failure it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::NotGood(_) => "not_good",
            Self::Gone(_) => "store_gone",
            Self::Contradicted(_) => "contradicted",
            Self::Output(_) => "output",
            Self::Engine(error) | Self::Advised { error, .. } => match error {
                Error::Corrupt { .. } => "corrupt",
                Error::Missing { .. } => "missing",
                Error::Unsupported { .. } => "unsupported",
                Error::Locked { .. } => "locked",
                Error::NoStore { .. } => "no_store",
                Error::Source { .. } => "source",
                Error::NotFound(_) => "not_found",
                Error::Refused(_) => "refused",
                Error::NotGood(_) => "not_good",
                Error::Io { .. } => "io",
                Error::Remote { .. } => "remote",
                Error::NoRoom { .. } => "no_room",
                Error::WrongKey { .. } => "wrong_key",
                Error::WriteOnly { .. } => "write_only",
                Error::Interrupted => "interrupted",
            },
        }
    }

    /// Returns what happened, with the path that it happened to.
    pub fn message(&self) -> String {
        match self {
            Self::Usage(text) | Self::NotGood(text) | Self::Gone(text) | Self::Contradicted(text) => text.clone(),
            Self::Advised { message, .. } => message.clone(),
            // Its hint stands in place of the general one.
            Self::Engine(error @ Error::Unsupported { .. }) => error.to_string(),
            Self::Engine(error) => hint::error(error),
            Self::Output(error) => format!("cannot write to standard output: {error}"),
        }
    }

    /// Returns all that automation may want to know, with the exit code that follows.
    pub fn json(&self, exit: u8) -> serde_json::Value {
        serde_json::json!({
            "kind": self.kind(), "message": self.message(), "hint": self.hint(), "exit_code": exit,
        })
    }

    /// Returns what to do next, where there is something better than reading the message again.
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Engine(Error::Unsupported { what }) if !what.hints().is_empty() => {
                what.hints().first().map(hint::words)
            }
            other => other.advice().map(Cow::Borrowed),
        }
    }

    /// Returns what helps with failures of a kind.
    fn advice(&self) -> Option<&str> {
        let error = match self {
            Self::Engine(error) => error,
            Self::Advised { hint, .. } => return hint.as_deref(),
            Self::NotGood(_) => {
                return Some(
                    "without a name the newest good one is used; `lrl snapshots` lists them; --force uses this one all the same",
                );
            }
            Self::Contradicted(_) => {
                return Some(
                    "nothing was changed; `lrl export SNAPSHOT` makes the set again, --force restores it as it is",
                );
            }
            Self::Gone(_) => {
                return Some(
                    "is the disk mounted? If the store was moved or given up, `lrl init` begins anew at that place",
                );
            }
            Self::Usage(_) | Self::Output(_) => return None,
        };
        match error {
            Error::NoStore { what: Place::Bucket, .. } => {
                Some("make the bucket where its host lets you, or look at its name, ?endpoint= and ?region=")
            }
            Error::NoStore { what: Place::Store, path }
                if Location::parse(path).is_ok_and(|at| at.directory().is_none()) =>
            {
                Some("`lrl init --store URL` makes a store in a bucket; look at the bucket and the prefix")
            }
            Error::NoStore { what: Place::Config, .. } => {
                Some("all else of a store is there: `lrl check --repair` makes the config again")
            }
            Error::NoStore { what: Place::Store, .. } => {
                Some("`lrl backup` makes a store at its first run; --backup DIR or --store PATH names another place")
            }
            Error::NoStore { what: Place::SetsDir, .. } => {
                Some("check the path; relative paths start in the current directory")
            }
            Error::NoStore { what: Place::Root, .. } => Some("--root DIR names the directory that holds the site"),
            Error::NoStore { what: Place::DataDir, .. } => Some("--data-dir DIR or LAB_DATA_DIR names another place"),
            Error::NoStore { .. } => Some("--backup DIR names another place"),
            Error::Locked { .. } => Some("wait until the other lrl is done, or give it longer with --lock-wait 10m"),
            Error::Corrupt { .. } | Error::Missing { .. } => Some(
                "nothing was changed; `lrl check --read-data` tells what is damaged, `lrl check --read-data --repair` repairs \
                 what can be, `lrl snapshots` tells what else there is, `lrl restore --manifest FILE` restores a set without the store",
            ),
            Error::Unsupported { .. } => Some("a newer lrl may know it"),
            error if error.is_full() => Some(NO_ROOM),
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Some("run lrl as the owner of that path, or as root"),
                io::ErrorKind::ReadOnlyFilesystem => Some(
                    "name a place that can be written: with --target for a restore, --out for a set, else with --backup or --store",
                ),
                io::ErrorKind::NotADirectory => Some("name a directory: that path, or a part of it, is a file"),
                io::ErrorKind::NotFound => Some("check the path; relative paths start in the current directory"),
                _ => None,
            },
            Error::WrongKey { .. } => Some(
                "name the passphrase's file with LRL_PASSWORD_FILE, or the key file with LRL_KEY_FILE; the recovery sheet says which it was",
            ),
            Error::WriteOnly { .. } => Some(
                "restore, drill and look with the store's own key, on a machine that may read; this one only backs up",
            ),
            Error::NotGood(_) => {
                Some("another set, or a snapshot (`lrl snapshots`), may be good; --force restores this one as it is")
            }
            Error::Interrupted => Some("what had been published before is untouched; run the same command again"),
            Error::Source { .. }
            | Error::NotFound(_)
            | Error::Refused(_)
            | Error::Remote { .. }
            | Error::NoRoom { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure, TABLE};
    use lrl_store::error::{Error, Place};
    use std::io;

    #[test]
    fn the_codes_are_the_documented_ones() {
        assert_eq!(TABLE.map(|(exit, _)| exit.code()), [0, 1, 2, 3, 4, 5, 10, 11, 12, 130]);
    }

    #[test]
    fn the_worst_end_of_several_is_told() {
        for (one, other, worse) in [
            (Exit::Done, Exit::SetFailed, Exit::SetFailed),
            (Exit::SetFailed, Exit::Incomplete, Exit::Incomplete),
            (Exit::Incomplete, Exit::Locked, Exit::Locked),
            (Exit::Locked, Exit::Wrong, Exit::Wrong),
            (Exit::Wrong, Exit::Failed, Exit::Failed),
            (Exit::Failed, Exit::Interrupted, Exit::Interrupted),
        ] {
            assert_eq!((one.worse(other), other.worse(one)), (worse, worse));
        }
    }

    #[test]
    fn each_failure_has_its_code() {
        let no_store = Error::NoStore { what: Place::Store, path: "/x".into() };
        let damaged = || Failure::from(Error::corrupt("packs/ab", "too short"));
        assert_eq!(Failure::from(no_store).exit(false), Exit::NoStore);
        assert_eq!(Failure::from(Error::Locked { what: "store".into() }).exit(false), Exit::Locked);
        assert_eq!(Failure::from(Error::Interrupted).exit(true), Exit::Interrupted);
        assert_eq!(damaged().exit(false), Exit::Failed);
        assert_eq!(damaged().exit(true), Exit::Wrong);
        assert_eq!(Failure::from(Error::Refused("no".into())).exit(true), Exit::Failed);
        assert_eq!(Failure::from(Error::NotGood("no".into())).exit(false), Exit::Wrong);
        assert_eq!(Failure::Usage("no".into()).exit(true), Exit::Usage);
        assert_eq!(Failure::Output(io::ErrorKind::BrokenPipe.into()).exit(true), Exit::Done);
        assert_eq!(Failure::Output(io::ErrorKind::StorageFull.into()).exit(true), Exit::Failed);
    }
}
