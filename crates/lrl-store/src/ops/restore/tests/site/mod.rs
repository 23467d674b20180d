//! Sites: several databases, files beside them in any directory, and what is not in the snapshot.

mod all_or_nothing;
mod elsewhere;
mod hostile;
mod in_place;
mod mounts;
mod parts;

use std::time::SystemTime;

use rusqlite::Connection;

use super::*;
use crate::fs::space::Reserve;
use crate::ops::backup::{self, backup};
use crate::ops::restore::{UndoOptions, Undone, undo};
use crate::source::files::exclude::Excludes;
use crate::source::files::kept_copies::{is_record, kept_of};

pub(super) const DATABASES: [&str; 3] = ["app.db", "data/users/a.sqlite", "storage/main.sqlite"];

pub(super) struct Site {
    pub(super) lab: Lab,
    backups: std::cell::Cell<u64>,
}

pub(super) type Taken = (SnapshotName, Snapshot);

impl Site {
    pub(super) fn new() -> Self {
        let site = Self { lab: Lab::new(), backups: 0.into() };
        for path in DATABASES {
            site.write(path, b"");
            let db = site.open(path);
            db.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES('first')").unwrap();
        }
        site.write("rsa_key.pem", b"key");
        set_mode(&site.root().join("rsa_key.pem"), 0o600);
        site.write("data/files/x.txt", b"x");
        fs::hard_link(site.root().join("data/files/x.txt"), site.root().join("data/files/y.txt")).unwrap();
        site.write("data/cache/c", b"cache");
        site.write("storage/ab/blob", &[7; 5000]);
        site.write("icon_cache/i", b"icon");
        fs::create_dir(site.root().join("empty")).unwrap();
        symlink("data/files", site.root().join("current")).unwrap();
        set_mode(&site.root().join("data"), 0o750);
        set_mtime(&site.root().join("data/files"), 1_000, 5);
        site
    }

    pub(super) fn root(&self) -> PathBuf {
        self.lab.dir.path().join("site")
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }

    pub(super) fn open(&self, path: &str) -> Connection {
        Connection::open(self.root().join(path)).unwrap()
    }

    pub(super) fn options_of_backup(&self) -> backup::Options {
        let second = self.backups.replace(self.backups.get() + 1);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
        let excludes = Excludes::new(&["cache/".into(), "icon_cache/".into()], &[]).unwrap();
        let (settle, reserve) = (Duration::ZERO, Reserve::NONE);
        let site = backup::Options::site(&self.root(), self.lab.dir.path(), now);
        backup::Options { excludes, settle, reserve, max_shrink_percent: 0, ..site }
    }

    pub(super) fn backup(&self) -> Taken {
        let report = backup(&self.lab.store, &self.options_of_backup(), &Silent).unwrap();
        (report.name, report.snapshot)
    }

    pub(super) fn options(&self, what: What) -> Options {
        Options { what, ..Options::new(self.root()) }
    }

    pub(super) fn restore(&self, taken: &Taken, what: What) -> Report {
        self.restore_with(taken, &self.options(what)).unwrap()
    }

    pub(super) fn restore_with(&self, (name, snapshot): &Taken, options: &Options) -> Result<Report> {
        restore(&self.lab.store, name, snapshot, options, &Silent)
    }

    pub(super) fn undo(&self) -> Result<Undone> {
        let (data_dir, storage_dir) = (self.root(), self.root().join("storage"));
        undo(&UndoOptions { data_dir, storage_dir, dry_run: false, force: false, locks: None })
    }

    /// Changes each database and each file, and what is beside the databases.
    pub(super) fn change(&self) {
        for path in DATABASES {
            self.open(path).execute("UPDATE t SET x = 'second'", []).unwrap();
            self.write(&format!("{path}-wal"), b"");
        }
        fs::remove_file(self.root().join("rsa_key.pem")).unwrap();
        fs::remove_file(self.root().join("data/files/y.txt")).unwrap();
        self.write("data/files/x.txt", b"changed");
        self.write("data/files/later.txt", b"later");
        self.write("data/cache/c", b"cached again");
        self.write("storage/ab/blob", b"short");
        self.write("icon_cache/i", b"another icon");
        fs::remove_file(self.root().join("current")).unwrap();
        symlink("storage", self.root().join("current")).unwrap();
    }

    /// Copies the root away, with all metadata.
    pub(super) fn save(&self) {
        self.copy(&self.root(), &self.lab.dir.path().join("saved"));
    }

    /// Puts the root there again that was copied away.
    pub(super) fn reset(&self) {
        fs::remove_dir_all(self.root()).unwrap();
        self.copy(&self.lab.dir.path().join("saved"), &self.root());
    }

    pub(super) fn copy(&self, from: &Path, to: &Path) {
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }

    /// What is in place.
    pub(super) fn live(&self) -> Seen {
        live(&self.root())
    }

    /// What a snapshot has of it.
    pub(super) fn stored(&self) -> Seen {
        let mut seen = self.live();
        let is_cache = |path: &[u8]| path.starts_with(b"icon_cache") || path.starts_with(b"data/cache");
        seen.retain(|path, _| !is_cache(path) && !path.ends_with(b"-wal"));
        seen
    }
}

/// Without records, what is kept, and the root's own times.
pub(super) fn live(root: &Path) -> Seen {
    let mut seen = look_inside(root);
    let is_own = |part: &[u8]| is_record(part) || part.starts_with(b".lrl") || kept_of(part).is_some();
    seen.retain(|path, _| !path.split(|b| *b == b'/').any(is_own));
    seen
}

/// Every version that a restored thing can have in place, told by a byte of it.
pub(super) fn versions(site: &Site) -> Vec<Option<bool>> {
    let first = |path: &str| {
        let bytes = fs::read(site.root().join(path)).ok()?;
        Some(bytes.windows(5).any(|part| part == b"first"))
    };
    DATABASES.into_iter().map(first).collect()
}
