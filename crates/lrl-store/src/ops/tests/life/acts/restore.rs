//! Restores and drills, compared with the model.

use std::path::Path;

use rusqlite::Connection;

use super::{Place, Trouble};
use crate::ops::tests::life::lab::{Lab, logical, look};
use crate::ops::tests::life::world::{Change, Kept, World, assert_same};
use crate::ops::{drill, restore};
use crate::store::SnapshotName;
use crate::time::Time;

impl World {
    pub(super) fn restore(
        &mut self,
        name: &SnapshotName,
        lab: bool,
        part: u8,
        place: Place,
        trouble: Option<&Trouble>,
    ) {
        let kept = self.kept[name].clone();
        let files = || kept.tree.iter().flatten().filter(|(_, seen)| seen.kind == "file");
        let path = files().nth(usize::from(part) % files().count().max(1)).map(|(path, _)| path.clone());
        let what = match (part % 4, path) {
            (1, _) if kept.logical.is_some() => restore::What::DbOnly,
            (2, _) if kept.tree.is_some() => restore::What::AssetsOnly,
            (3, Some(path)) if place == Place::Fresh => restore::What::Paths(vec![path]),
            _ => restore::What::Whole,
        };
        let fresh = tempfile::tempdir_in(self.dir.path()).unwrap();
        self.lab(lab).close();
        let data_dir = if place == Place::Fresh { fresh.path().join("data") } else { self.lab(lab).data() };
        let before = (place != Place::Fresh).then(|| (self.lab(lab).logical(), self.lab(lab).tree()));
        let storage_dir = fresh.path().join("storage");
        let options = restore::Options {
            storage_dir: storage_dir.clone(),
            what: what.clone(),
            ..restore::Options::new(&data_dir)
        };
        let observer = self.observer(trouble);
        let done = self.open().and_then(|store| {
            let snapshot = store.snapshot(name)?;
            restore::restore(&store, name, &snapshot, &options, &*observer)
        });
        let whole = kept.is_readable && trouble.is_none() && !self.damaged.contains_key("config");
        assert!(!whole || done.is_ok(), "it can be read: {done:?}");
        match (self.explain(done, trouble, "restore"), &before) {
            (Some(_), _) => assert_restored(&data_dir, &kept, &what, name),
            (None, Some((rows, tree))) => {
                assert!(self.lab(lab).logical() == *rows, "a restore that failed changed the database");
                assert_same(Some(&self.lab(lab).tree()), Some(tree), "a restore that failed changed the uploads");
            }
            (None, None) => assert!(!data_dir.join("lrl.db").exists() && !data_dir.join("assets").exists()),
        }
        if let (Place::Undone, Some((rows, tree))) = (place, &before)
            && data_dir.join(".lrl-undo.json").exists()
        {
            let options = restore::UndoOptions {
                data_dir: data_dir.clone(),
                storage_dir,
                dry_run: false,
                force: false,
                locks: None,
            };
            restore::undo(&options).unwrap();
            assert!(self.lab(lab).logical() == *rows, "undo brought back another database");
            assert_same(Some(&self.lab(lab).tree()), Some(tree), "undo brought back other uploads");
            self.count("undo");
        }
        if place != Place::Fresh {
            tidy(self.lab(lab));
        }
    }

    pub(super) fn drill(&mut self, name: &SnapshotName, trouble: Option<&Trouble>) {
        let observer = self.observer(trouble);
        let options = self.drill_options();
        let secs = self.clock;
        let mut success = false;
        let done = self.open().and_then(|store| {
            let snapshot = store.snapshot(name)?;
            let report = drill::drill_snapshot(&store, name, &snapshot, &options, &*observer)?;
            success = report.success;
            store.add_drill(&report.record(&name.source, Time { secs, nanos: 0 }, "test"))?;
            Ok(report)
        });
        // A run that is stopped may have written it.
        for record in self.storage.names("drills") {
            self.drills.entry(record).or_insert_with(|| success.then(|| name.clone()));
        }
        if let Some(report) = self.explain(done, trouble, "drill") {
            let kept = &self.kept[name];
            assert!(trouble.is_some() || report.success || !kept.is_readable, "{report:#?}");
        }
        self.settle(Change::default());
    }
}

/// Takes away what a restore in place keeps.
fn tidy(lab: &Lab) {
    for entry in std::fs::read_dir(lab.data()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if !["lrl.db", "lrl.db-wal", "lrl.db-shm", "assets"].iter().any(|kept| name == *kept) {
            let path = entry.path();
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
    }
    // A snapshot of uploads alone restores into an empty directory; the next run wants both halves.
    std::fs::create_dir_all(lab.assets()).unwrap();
}

fn assert_restored(data: &Path, kept: &Kept, what: &restore::What, name: &SnapshotName) {
    let text = format!("{name:?} restored");
    if let (restore::What::Whole | restore::What::DbOnly, Some(right)) = (what, kept.logical) {
        let restored = Connection::open(data.join("lrl.db")).unwrap();
        assert!(logical(&restored) == right, "{text}: other rows");
    }
    match (what, &kept.tree) {
        (restore::What::Whole | restore::What::AssetsOnly, Some(tree)) => {
            assert_same(Some(&look(data)), Some(tree), &text)
        }
        (restore::What::Paths(paths), Some(tree)) => {
            assert_eq!(
                (look(data).get(&paths[0]), look(data).values().filter(|s| s.kind == "file").count()),
                (tree.get(&paths[0]), 1),
                "{text}"
            );
        }
        _ => {}
    }
}
