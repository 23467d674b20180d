//! The directories that are watched, and what of their events counts. lrl's own reading and writing does not: a watch would never sleep.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};

use super::places::{self, Tree};
use crate::fs::inotify::{Event, Inotify, Refused, What};
use crate::ops::backup::Options;

/// Up to this many directories are watched: the kernel takes about a kilobyte for each.
const MOST_WATCHES: usize = 65_536;
/// Up to this many bytes of their paths are held.
const MOST_BYTES: usize = 8 << 20;

/// Why events do not tell of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blind {
    /// There is no inotify; with the system's reason.
    NoInotify(String),
    /// The user's limit of watches is reached, at this many.
    Limit(usize),
    /// There are more directories than the watch holds: this many are watched.
    TooMany(usize),
}

/// What events have told since they were last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Something that belongs into a snapshot may have changed.
    pub changed: bool,
}

/// One directory.
#[derive(Debug, Default)]
struct Watched {
    /// The tree that it is in, where everything counts, and its path there.
    tree: Option<(usize, Box<[u8]>)>,
    /// The names that count where it is in none.
    names: Vec<Box<[u8]>>,
}

/// Watches what a backup with these options reads.
pub struct Watcher<'a> {
    options: &'a Options,
    inotify: Option<Inotify>,
    trees: Vec<Tree>,
    watched: HashMap<i32, Watched>,
    bytes: usize,
    blind: Option<Blind>,
    /// Watches are missing, or are of what is elsewhere now.
    is_stale: bool,
}

impl<'a> Watcher<'a> {
    /// Watches everything that is there, as far as the system lets it: see [`Watcher::blind`].
    pub fn new(options: &'a Options) -> Self {
        let mut watcher = Self {
            options,
            inotify: None,
            trees: Vec::new(),
            watched: HashMap::new(),
            bytes: 0,
            blind: None,
            is_stale: false,
        };
        watcher.renew();
        watcher
    }

    /// Returns what to wait for; `None` where there is no inotify.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Returns the number of directories that are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Returns whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Returns why events do not tell of everything, if they do not.
    pub fn blind(&self) -> Option<&Blind> {
        self.blind.as_ref()
    }

    /// Returns whether the watches should be made anew: events were lost, or directories were moved.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Makes all watches anew. What changes meanwhile may cause no event: look afterwards.
    pub fn renew(&mut self) {
        (self.trees, self.blind, self.bytes, self.is_stale) = (places::trees(self.options), None, 0, false);
        self.watched.clear();
        self.inotify = None;
        match Inotify::new() {
            Ok(inotify) => self.inotify = Some(inotify),
            Err(error) => {
                self.blind = Some(Blind::NoInotify(error.to_string()));
                return;
            }
        }
        // The databases first: they are few, and change most.
        for (dir, names) in places::names(self.options) {
            self.add(&dir, |watched| watched.names = names);
        }
        for tree in 0..self.trees.len() {
            self.add_tree(tree, Box::default());
        }
    }

    /// Reads the events that are there, and watches directories that are new.
    pub fn read(&mut self) -> Seen {
        let mut seen = Seen::default();
        let mut fresh = Vec::new();
        let mut ended = Vec::new();
        let Some(inotify) = &self.inotify else { return seen };
        let mut is_stale = false;
        let read = inotify.read(&mut |event| match event.what {
            What::Overflow => (seen.changed, is_stale) = (true, true),
            What::Ended => ended.push(event.watch),
            _ => {
                let Some(watched) = self.watched.get(&event.watch) else { return };
                seen.changed |= watched.counts(&event);
                is_stale |= watched.is_moved(&event);
                if let (Some((tree, below)), Some(name), What::Arrived, true) =
                    (&watched.tree, event.name, event.what, event.is_dir)
                {
                    fresh.push((*tree, join(below, name)));
                }
            }
        });
        // Without its events everything must be looked at, as after an overflow.
        if read.is_err() {
            (seen.changed, is_stale) = (true, true);
        }
        self.is_stale |= is_stale;
        for watch in ended {
            if let Some((_, below)) = self.watched.remove(&watch).and_then(|watched| watched.tree) {
                self.bytes = self.bytes.saturating_sub(below.len());
            }
        }
        fresh.into_iter().for_each(|(tree, below)| self.add_tree(tree, below));
        seen
    }

    /// Watches a directory of a tree and all below it.
    fn add_tree(&mut self, tree: usize, below: Box<[u8]>) {
        let skipped = places::skipped(self.options);
        let mut pending = vec![below];
        while let Some(below) = pending.pop() {
            let Tree { inside, .. } = self.trees[tree];
            let (list, place) = (self.trees[tree].list_path(&below), self.trees[tree].place(&below));
            let is_out = !below.is_empty() && self.options.excludes.leave_out(&list, inside, true);
            let meta = fs::symlink_metadata(&place).ok().filter(fs::Metadata::is_dir);
            if is_out || meta.is_none_or(|meta| skipped.contains(&(meta.dev(), meta.ino()))) {
                continue;
            }
            if self.watched.len() >= MOST_WATCHES || self.bytes + below.len() > MOST_BYTES {
                self.blind.get_or_insert(Blind::TooMany(self.watched.len()));
                return;
            }
            let bytes = below.len();
            if !self.add(&place, |watched| watched.tree = Some((tree, below.clone()))) {
                if self.blind.is_some() {
                    return;
                }
                continue;
            }
            self.bytes += bytes;
            // Listed after it is watched: what is made in between is in the list, or an event, or both.
            for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && pending.len() < MOST_WATCHES {
                    pending.push(join(&below, entry.file_name().as_bytes()));
                }
            }
        }
    }

    fn add(&mut self, dir: &Path, fill: impl FnOnce(&mut Watched)) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        match inotify.add(dir) {
            Ok(watch) => {
                fill(self.watched.entry(watch).or_default());
                true
            }
            Err(Refused::Limit) => {
                self.blind.get_or_insert(Blind::Limit(self.watched.len()));
                false
            }
            Err(Refused::Absent) => false,
        }
    }
}

fn join(below: &[u8], name: &[u8]) -> Box<[u8]> {
    let slash: &[u8] = if below.is_empty() { b"" } else { b"/" };
    [below, slash, name].concat().into()
}

impl Watched {
    /// Returns whether an event may be a change of what a snapshot holds.
    fn counts(&self, event: &Event<'_>) -> bool {
        let Some(name) = event.name else { return true };
        let is_named = || self.names.iter().any(|known| **known == *name);
        let is_ours = !event.is_dir && is_of_a_reader(name, event.what);
        !is_ours && (self.tree.is_some() || is_named())
    }

    /// Returns whether directories are elsewhere now, with their watches.
    fn is_moved(&self, event: &Event<'_>) -> bool {
        let is_top = self.tree.as_ref().is_none_or(|(_, below)| below.is_empty());
        match event.what {
            What::Gone => is_top,
            What::Left { moved } => moved && event.is_dir && self.tree.is_some(),
            // A root that was missing.
            What::Arrived => event.is_dir && self.tree.is_none() && self.counts(event),
            _ => false,
        }
    }
}

/// Returns whether the event may be of a program that only reads a database, as lrl does: SQLite makes and removes side files for that.
fn is_of_a_reader(name: &[u8], what: What) -> bool {
    // Bytes that are written to a WAL are somebody's commit; the index of a WAL is no part of an image.
    name.ends_with(b"-shm") || name.ends_with(b"-wal") && what != What::Written
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use super::Watcher;
    use crate::ops::backup::Options;
    use crate::source::files::exclude::Excludes;

    #[test]
    fn what_a_backup_reads_is_watched_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("assets/a")).unwrap();
        fs::create_dir_all(path("backups")).unwrap();
        let mut options = Options::new(dir.path(), path("backups"), SystemTime::UNIX_EPOCH);
        options.excludes = Excludes::new(&["cache/".into()], &[]).unwrap();
        let mut watcher = Watcher::new(&options);
        assert_eq!((watcher.len(), watcher.blind()), (3, None), "the data directory, the uploads and one below");
        let mut changes = |name: &str, is_change: bool| {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            watcher.read();
            fs::write(path(name), name).unwrap();
            assert_eq!(watcher.read().changed, is_change, "{name}");
        };
        for (name, is_change) in [
            ("lrl.db", true),
            ("lrl.db-wal", true),
            ("lrl.db-journal", true),
            ("lrl.db-shm", false),
            ("other", false),
            ("backups/set", false),
            ("assets/x", true),
            ("assets/a/x", true),
            ("assets/new/deep/x", true),
            ("assets/cache/x", false),
            ("assets/a/x-shm", false),
        ] {
            changes(name, is_change);
        }
        fs::read(path("assets/a/x")).unwrap();
        fs::remove_file(path("lrl.db-wal")).unwrap();
        assert!(!watcher.read().changed);
        assert!(!watcher.is_stale());
        fs::rename(path("assets/new"), path("elsewhere")).unwrap();
        assert!(watcher.read().changed && watcher.is_stale());
        watcher.renew();
        fs::write(path("elsewhere/deep/x"), "").unwrap();
        assert!(!watcher.read().changed);
    }

    #[test]
    fn a_site_is_watched_without_what_lrl_writes_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut options = Options::site(dir.path(), path("backups"), SystemTime::UNIX_EPOCH);
        options.skip.push(path("backups"));
        let mut watcher = Watcher::new(&options);
        // The directory is made after the watch began.
        fs::create_dir_all(path("backups/store")).unwrap();
        assert!(watcher.read().changed);
        fs::write(path("backups/store/x"), "").unwrap();
        assert!(!watcher.read().changed);
        fs::create_dir_all(path("users/7")).unwrap();
        watcher.read();
        fs::write(path("users/7/db.sqlite"), "").unwrap();
        assert!(watcher.read().changed);
    }

    #[test]
    fn roots_that_are_not_there_yet_are_found_when_they_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path(), dir.path().join("backups"), SystemTime::UNIX_EPOCH);
        let mut watcher = Watcher::new(&options);
        fs::create_dir(dir.path().join("assets")).unwrap();
        assert!(watcher.read().changed && watcher.is_stale());
        watcher.renew();
        fs::write(dir.path().join("assets/x"), "").unwrap();
        assert!(watcher.read().changed);
    }
}
