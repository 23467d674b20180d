//! Damage to the store and the cache, and what ends it.

use std::time::Duration;

use proptest::sample::Index;

use super::{Harm, How};
use crate::error::Error;
use crate::ops::check::{self, ReadData};
use crate::ops::repair;
use crate::ops::tests::life::world::{Change, Damage, World};
use crate::progress::Silent;
use crate::store::SnapshotName;

impl World {
    pub(super) fn damage(&mut self, object: &Index, harm: &Harm) {
        let mut names = self.storage.names_by_age();
        // What is in quarantine, and the records of repairs, nobody reads.
        names.retain(|name| {
            !self.damaged.contains_key(name) && !name.starts_with("quarantine/") && !name.starts_with("repairs/")
        });
        if names.is_empty() {
            return;
        }
        let name = &names[object.index(names.len())];
        let original = self.storage.get(name).unwrap();
        let now = match harm {
            Harm::Flip(at, bit) => {
                let mut bytes = original.clone();
                bytes[at.index(original.len())] ^= 1 << (bit % 8);
                Some(bytes)
            }
            Harm::Cut(at) => Some(original[..at.index(original.len())].to_vec()),
            Harm::Remove => None,
        };
        self.storage.put(name, now.as_deref());
        self.note_removal(name, now.is_none());
        self.count("damage");
        let snapshot = SnapshotName::parse(name).filter(|_| now.is_none());
        // A snapshot, an index or a record that is gone leaves no trace: that is no state to be healed.
        if now.is_some() || name.starts_with("packs/") || name == "config" {
            self.damaged.insert(name.clone(), Damage { original, now });
        }
        self.settle(Change { may_go: snapshot.into_iter().collect(), is_harm: true, ..Change::default() });
    }

    /// What the removal of an object means that is no damage.
    fn note_removal(&mut self, name: &str, is_removed: bool) {
        self.is_index_lost |= is_removed && name.starts_with("index/");
    }

    pub(super) fn put_back(&mut self) {
        if self.damaged.is_empty() {
            return;
        }
        for (name, damage) in std::mem::take(&mut self.damaged) {
            self.storage.put(&name, Some(&damage.original));
            // A repair may have left it out of the index meanwhile.
            self.is_index_lost |= name.starts_with("packs/");
        }
        self.count("put back");
        self.settle(Change::default());
        assert!(self.is_something_away || !self.is_any_unreadable(), "everything is as it was");
    }

    pub(super) fn repair(&mut self, all: bool) {
        if self.damaged.is_empty() && !self.is_any_unreadable() && !self.is_index_lost {
            return;
        }
        let options = check::Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };
        let mut repaired = repair::repair(self.storage.clone(), &options, &Silent);
        if let Err(Error::Refused(_) | Error::NoStore { .. }) = &repaired {
            // No snapshot is left that shows what it said.
            let config = self.damaged.remove("config").unwrap();
            self.storage.put("config", Some(&config.original));
            repaired = repair::repair(self.storage.clone(), &options, &Silent);
        }
        let repaired = repaired.unwrap();
        assert!(repaired.failed.is_none(), "{:?}", repaired.failed);
        let may_go = self.damaged.keys().filter_map(|name| SnapshotName::parse(name)).collect();
        for name in self.damaged.keys().cloned().collect::<Vec<_>>() {
            self.note_removal(&name, self.storage.get(&name).is_none());
        }
        self.is_index_lost = false;
        self.count("repair");
        // Nothing that was whole is lost by a repair.
        self.settle(Change { may_go, ..Change::default() });
        self.is_something_away |= self.is_any_unreadable();
        if !all {
            return;
        }
        let how = How { database: true, uploads: true, exclude: false, tag: false, rescan: true, set: false };
        [false, true].iter().for_each(|lab| self.back_up(*lab, &how, None));
        let broken: Vec<_> =
            self.kept.iter().filter(|(_, kept)| !kept.is_readable).map(|(name, _)| name.clone()).collect();
        broken.iter().for_each(|name| self.forget_one(name, true));
        self.prune(true, None);
        self.damaged.clear();
        self.is_something_away = false;
        self.count("end of all trouble");
        self.settle(Change::default());
        assert!(!self.is_any_unreadable());
    }

    pub(super) fn spoil_cache(&mut self, garbled: bool) {
        self.count("cache");
        let cache = self.dir.path().join("cache/cache.db");
        match std::fs::read(&cache) {
            Ok(mut bytes) if garbled => {
                bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x5a);
                std::fs::write(&cache, bytes).unwrap();
            }
            _ => drop(std::fs::remove_file(&cache)),
        }
    }
}
