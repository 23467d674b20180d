//! Checks, and what an operator does after them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{LOCK_WAIT, World, rotten_parts};
use crate::ops::check::{self, ReadData};
use crate::ops::forget;
use crate::ops::recover_chunks::{HealSources, Origin};
use crate::ops::select::Need;
use crate::ops::tests::year::model::Checked;
use crate::progress::Silent;
use crate::set::directory::manifests;
use crate::set::manifest::read::FoundSet;
use crate::time::Time;

impl World {
    fn check_options(&mut self) -> check::Options {
        let record = Some((Time { secs: self.now(), nanos: 0 }, "test"));
        check::Options { read_data: ReadData::All, seed: 1, lock_wait: LOCK_WAIT, record }
    }

    /// `lrl check --read-data`; returns whether nothing was wrong.
    pub fn check(&mut self) -> bool {
        let options = self.check_options();
        let out = self.out();
        let report = check::check_with_sets(Arc::clone(&self.storage), &options, Some(&out), &Silent).unwrap();
        self.count("checks");
        self.note_check(options.record.unwrap().0.secs, &report)
    }

    /// The sets of which a file is not as its manifest says.
    fn rotten_sets(&self) -> Vec<FoundSet> {
        let sets = manifests(&self.out()).unwrap().into_iter().map(|path| FoundSet::load(&path).unwrap());
        sets.filter(|set| rotten_parts(set) != Need::default()).collect()
    }

    /// The operator throws away what a check named.
    pub fn remove_rotten_sets(&mut self) {
        for set in self.rotten_sets() {
            set.files.iter().for_each(|file| fs::remove_file(file.there().unwrap()).unwrap());
            fs::remove_file(&set.manifest).unwrap();
            self.count("rotten sets removed");
        }
    }

    fn note_check(&mut self, time: i64, report: &check::Report) -> bool {
        assert_eq!(report.unrecorded, None);
        let is_flipped = self.is_flipped();
        let store = self.open();
        let said = report.damaged.0.iter();
        let said: BTreeMap<_, _> =
            said.map(|it| (it.snapshot, Need { database: it.database, uploads: it.files })).collect();
        let mut is_any_lost = false;
        for name in self.model.snaps.keys() {
            let lost = if is_flipped || !said.is_empty() { self.lost(&store, name) } else { Need::default() };
            let named = said.get(&name.id).copied().unwrap_or_default();
            is_any_lost |= lost != Need::default();
            // A delta over a damaged chunk may be lucky, and is rightly blamed.
            assert!(named.database >= lost.database && named.uploads >= lost.uploads, "{name:?} is not named");
        }
        assert!(!report.is_store_wrong || is_flipped || is_any_lost, "nothing is damaged: {:#?}", report.findings);
        assert!(report.is_store_wrong || !is_any_lost, "clean, and cannot be restored");
        let is_set_wrong = report.checked.sets > 0 && !self.rotten_sets().is_empty();
        assert_eq!(report.wrong, report.is_store_wrong || is_set_wrong, "{:#?}", report.findings);
        self.model.add_check(Checked { turn: 0, time, passed: !report.wrong, lost: said });
        !report.wrong
    }

    /// What the manual says for damage: repair, back up (which the night did), give up what stays lost, look again.
    pub fn repair(&mut self) {
        self.remove_rotten_sets();
        let options = self.check_options();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs((self.time + self.skew) as u64);
        let healing = HealSources {
            origins: manifests(&self.out()).unwrap().into_iter().rev().map(Origin::Set).collect(),
            scratch: self.out(),
            program: "test".into(),
            busy: Duration::from_secs(5),
            now,
        };
        let repaired =
            crate::ops::repair::repair_from(Arc::clone(&self.storage), &options, Some(&healing), &Silent).unwrap();
        assert!(repaired.failed.is_none(), "{:?}", repaired.failed);
        self.count("repairs");
        if !self.note_check(options.record.unwrap().0.secs, &repaired.left) {
            let store = self.open();
            let mut names: Vec<_> = self.model.snaps.keys().cloned().collect();
            names.retain(|name| self.lost(&store, name) != Need::default());
            for name in names {
                let options = self.forget_options(vec![name.id.to_string()], true);
                let plan = forget::plan(&store, &options, &Silent).unwrap();
                forget::apply(&store, &plan, &Silent).unwrap();
                self.model.snaps.remove(&name);
                self.count("snapshots given up");
            }
        }
        assert!(self.check(), "what was lost is given up");
    }
}
