//! Drills of the newest set and of snapshots.

use std::path::PathBuf;

use super::{World, rotten_parts};
use crate::ops::drill;
use crate::ops::drill::past_drills::Evidence;
use crate::ops::select::Need;
use crate::ops::tests::year::model::Drilled;
use crate::progress::Silent;
use crate::set::directory::manifests;
use crate::set::manifest::read::FoundSet;
use crate::store::{SnapshotName, Store};
use crate::time::Time;

impl World {
    fn drill_options<'s>(&self, store: &'s Store) -> drill::Options<'s> {
        drill::Options { required_tables: vec!["rows".into()], ..drill::Options::new(self.dir.path(), Ok(store)) }
    }

    /// Records a drill; returns of which snapshot, and what failed of it by the record.
    fn record(&mut self, store: &Store, mut report: drill::Report) -> (SnapshotName, Need) {
        let finished = self.now();
        let time = Time { secs: finished, nanos: 0 };
        report.compare(store, &Evidence::read(store, "lab", time, &Silent).unwrap()).unwrap();
        store.add_drill(&report.record("lab", time, "test")).unwrap();
        let name = report.snapshot.unwrap();
        let said = Evidence::read(store, "lab", time, &Silent).unwrap().of(&name.id).unwrap().failed;
        (name, said)
    }

    pub fn newest_set(&self) -> Option<PathBuf> {
        let names = self.open().snapshot_names(None).unwrap();
        let of = |manifest: PathBuf| {
            let id = FoundSet::load(&manifest).unwrap().snapshot;
            (manifest, names.iter().find(|name| Some(name.id) == id).cloned())
        };
        let sets = manifests(&self.out()).unwrap().into_iter().map(of).collect();
        drill::newest_set(sets, Time { secs: self.time + self.skew, nanos: 0 })
    }

    /// Whether the newest set is that of the newest snapshot.
    pub fn has_set(&self) -> bool {
        let newest = self.newest_set().and_then(|path| FoundSet::load(&path).unwrap().snapshot);
        newest.is_some() && newest == self.model.snaps.keys().next_back().map(|name| name.id)
    }

    /// `lrl drill`: the newest set. `None` where there is none of a snapshot that is still there.
    pub fn drill_set(&mut self) -> Option<bool> {
        let manifest = self.newest_set()?;
        let store = self.open();
        let set = FoundSet::load(&manifest).unwrap();
        let name = store.snapshot_names(None).unwrap().into_iter().find(|name| Some(name.id) == set.snapshot)?;
        let snap = &self.model.snaps[&name];
        let rotten = rotten_parts(&set);
        let failed = Need { database: rotten.database || !snap.is_sound, uploads: rotten.uploads };
        let database = snap.database.filter(|_| !rotten.database).map(|bytes| (bytes, snap.is_sound));
        let report = drill::drill_set(&manifest, &self.drill_options(&store), &Silent).unwrap();
        assert_eq!(report.success, failed == Need::default(), "{report:#?}");
        self.count("sets drilled");
        let (of, _) = self.record(&store, report);
        self.said(Drilled { turn: 0, finished: 0, of: of.id, of_set: true, damaged: false, database, failed })
    }

    /// `lrl drill --snapshot`.
    pub fn drill_snapshot(&mut self, name: &SnapshotName) -> bool {
        let store = self.open();
        let lost = if self.is_flipped() { self.lost(&store, name) } else { Need::default() };
        let snap = &self.model.snaps[name];
        let failed = Need { database: !snap.is_sound || lost.database, uploads: lost.uploads };
        let database = snap.database.filter(|_| !lost.database).map(|bytes| (bytes, snap.is_sound));
        let snapshot = store.snapshot(name).unwrap();
        let report = drill::drill_snapshot(&store, name, &snapshot, &self.drill_options(&store), &Silent).unwrap();
        assert_eq!(report.success, failed == Need::default(), "{report:#?}");
        assert_eq!(report.damaged, lost != Need::default(), "{report:#?}");
        self.count("snapshots drilled");
        let (of, said) = self.record(&store, report);
        let damaged = lost != Need::default();
        // Where a list cannot be read, nobody can tell which part is lost: both are blamed, until a check has read everything.
        assert!(said.database >= failed.database && said.uploads >= failed.uploads && (damaged || said == failed));
        self.said(Drilled { turn: 0, finished: 0, of: of.id, of_set: false, damaged, database, failed: said }).unwrap()
    }

    fn said(&mut self, drill: Drilled) -> Option<bool> {
        let passed = drill.passed();
        self.model.add_drill(Drilled { finished: self.time + self.skew, ..drill });
        Some(passed)
    }
}
