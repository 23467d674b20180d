//! Follows the WALs of the databases between two rounds. A WAL that begins anew more than once in that time, or is written over up to the mark of
//! the last image, takes with it which pages have changed, and the next round would read all of the database.

use std::path::PathBuf;

use crate::backend::Backend;
use crate::fs::dir::to_path;
use crate::id::ChunkId;
use crate::ops::backup::Options;
use crate::source::database::{WalMark, follow_wal};
use crate::store::run_cache::RunCache;

/// The WALs of what a backup with these options reads.
pub struct WalFollower<'a> {
    options: &'a Options,
    /// Where the marks are kept, which the next round begins with.
    cache_dir: PathBuf,
    followed: Vec<Followed>,
}

struct Followed {
    /// The path of the database in the snapshot.
    path: Vec<u8>,
    /// The file itself, without links.
    db: PathBuf,
    /// The mark that the cache has.
    noted: WalMark,
    /// The same, moved on.
    mark: WalMark,
    /// The image whose mark it is.
    root: ChunkId,
}

impl<'a> WalFollower<'a> {
    /// Follows nothing yet.
    pub fn new(options: &'a Options) -> Self {
        Self { options, cache_dir: PathBuf::new(), followed: Vec::new() }
    }

    /// Follows from the marks on that a round with this backend has left.
    pub fn renew(&mut self, backend: &dyn Backend) {
        self.followed.clear();
        let Some(dir) = backend.cache_dir() else { return };
        let marks = RunCache::open(&dir).map(|cache| cache.wal_marks(&self.options.source)).unwrap_or_default();
        for (path, mark, root) in marks {
            let named = self.options.databases.iter().find(|database| database.path == path);
            let found = self.options.discover.as_ref().map(|discover| discover.root.join(to_path(&path)));
            let file = named.map(|database| database.file.clone()).or(found);
            let db = file.and_then(|file| file.canonicalize().ok());
            self.followed.extend(db.map(|db| Followed { path, db, noted: mark.clone(), mark, root }));
        }
        self.cache_dir = dir;
    }

    /// Moves the marks on, as far as what has changed is known. Reads the heads of frames that are new.
    pub fn look(&mut self) {
        self.followed.retain_mut(|Followed { db, mark, .. }| match follow_wal(db, mark) {
            Some(next) => {
                *mark = next;
                true
            }
            None => false,
        });
    }

    /// Gives the marks to the next round, where it could not begin with those that it left.
    pub fn hand_over(&mut self) {
        let begun_anew = |one: &&Followed| one.mark.is_of_other_round(&one.noted);
        let moved: Vec<_> = self.followed.iter().filter(begun_anew).collect();
        if moved.is_empty() {
            return;
        }
        let Some(cache) = RunCache::open(&self.cache_dir) else { return };
        for Followed { path, noted, mark, root, .. } in moved {
            // Another run may have left a mark of its own: that one counts.
            cache.move_wal_mark(&self.options.source, path, root, noted, mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rusqlite::Connection;

    use super::WalFollower;
    use crate::backend::Backend;
    use crate::backend::local::LocalBackend;
    use crate::fs::lock::LockMode;
    use crate::ops::backup::{DatabaseRead, backup, tests::options};
    use crate::progress::Silent;
    use crate::source::database::Method;
    use crate::store::{Store, create};

    /// A lab with a database whose WAL begins anew after a few commits, and its store.
    struct Watched {
        dir: tempfile::TempDir,
        app: Connection,
        backend: Arc<dyn Backend>,
        second: u64,
    }

    impl Watched {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("assets")).unwrap();
            let app = Connection::open(dir.path().join("lrl.db")).unwrap();
            app.execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=20; CREATE TABLE t(id INTEGER PRIMARY KEY, pad BLOB);
                 WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                 INSERT INTO t SELECT i, randomblob(700) FROM n;",
            )
            .unwrap();
            let backend = LocalBackend::new(dir.path().join("store"));
            backend.create().unwrap();
            create(&backend, [1; 32]).unwrap();
            let backend: Arc<dyn Backend> = Arc::new(backend);
            Self { dir, app, backend, second: 0 }
        }

        fn commit(&self, row: u32) {
            self.app.execute("UPDATE t SET pad = randomblob(700) WHERE id = ?1", [row % 3000 + 1]).unwrap();
        }

        fn round(&mut self, rescan: bool) -> DatabaseRead {
            self.second += 1;
            let store = Store::open(Arc::clone(&self.backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
            let mut options = options(self.dir.path(), self.second);
            options.rescan = rescan;
            backup(&store, &options, &Silent).unwrap().databases_read.remove(&b"lrl.db"[..]).unwrap()
        }
    }

    #[test]
    fn a_wal_that_begins_anew_many_times_between_two_rounds_is_followed() {
        for follows in [true, false] {
            let mut lab = Watched::new();
            let options = options(lab.dir.path(), 0);
            let mut follower = WalFollower::new(&options);
            lab.commit(1);
            lab.round(false);
            for round in 1..4 {
                follower.renew(&*lab.backend);
                for commit in 0..200 {
                    lab.commit(round * 1000 + commit * 13);
                    if follows {
                        follower.look();
                    }
                }
                follower.hand_over();
                let method = if follows { Method::ChangedPages } else { Method::Pages };
                assert_eq!(lab.round(false).method, method, "round {round}");
                assert!(!lab.round(true).changed_unseen, "round {round}");
            }
        }
    }

    #[test]
    fn the_mark_of_another_run_stays() {
        let mut lab = Watched::new();
        let options = options(lab.dir.path(), 0);
        let mut follower = WalFollower::new(&options);
        lab.commit(1);
        lab.round(false);
        follower.renew(&*lab.backend);
        for row in 0..30 {
            lab.commit(row);
            follower.look();
        }
        // It has a mark of its own, behind what the follower knows of.
        lab.round(false);
        follower.hand_over();
        lab.commit(100);
        assert_eq!(lab.round(false).method, Method::ChangedPages);
        assert!(!lab.round(true).changed_unseen);
    }
}
