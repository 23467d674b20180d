//! What happens in the random life: the operations, each with its expected end.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use proptest::sample::Index;
use rusqlite::Connection;

use super::lab::{Lab, Step, is_excluded, logical, look};
use super::world::{Change, Damage, Kept, SOURCES, World, assert_same};
use crate::error::{Error, Result};
use crate::fs::space::SpaceGuard;
use crate::ops::check::{self, ReadData};
use crate::ops::tests::faulty::Fault;
use crate::ops::{backup, drill, forget, prune, repair, restore};
use crate::progress::{Observer, Silent};
use crate::source::files::exclude::Excludes;
use crate::store::SnapshotName;
use crate::time::Time;

/// What cuts an operation short.
#[derive(Debug, Clone)]
pub enum Trouble {
    Storage(Fault, u32),
    Interrupt(u32),
}

/// How a backup is made.
#[derive(Debug, Clone)]
pub struct How {
    pub database: bool,
    pub uploads: bool,
    pub exclude: bool,
    pub tag: bool,
    pub rescan: bool,
    pub set: bool,
}

#[derive(Debug, Clone)]
pub enum Harm {
    Flip(Index, u8),
    Cut(Index),
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    Fresh,
    Over,
    /// In place, and back.
    Undone,
}

#[derive(Debug, Clone)]
pub enum Op {
    Step {
        lab: bool,
        step: Step,
    },
    Backup {
        lab: bool,
        how: How,
        trouble: Option<Trouble>,
    },
    Forget {
        policy: forget::Policy,
        trouble: Option<Trouble>,
    },
    ForgetOne {
        which: Index,
        force: bool,
    },
    Prune {
        all: bool,
        trouble: Option<Trouble>,
    },
    Restore {
        which: Index,
        lab: bool,
        part: u8,
        place: Place,
        trouble: Option<Trouble>,
    },
    Drill {
        which: Index,
        trouble: Option<Trouble>,
    },
    Damage {
        object: Index,
        harm: Harm,
    },
    /// The damaged objects come back from a copy.
    PutBack,
    /// `check --repair`; and, if it is to end the trouble, all that an operator does without a copy.
    Repair {
        all: bool,
    },
    Cache {
        garbled: bool,
    },
    Clock {
        secs: i64,
    },
}

/// Interrupts after this many questions.
struct Stop(AtomicU32);

impl Observer for Stop {
    fn interrupted(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err()
    }
}

impl World {
    pub fn act(&mut self, op: &Op) {
        match op {
            Op::Step { lab, step } => {
                self.count("change");
                self.lab(*lab).step(step);
            }
            Op::Clock { secs } => {
                self.count("clock");
                self.clock = (self.clock + secs).clamp(1, 5_000_000_000);
            }
            Op::Cache { garbled } => self.spoil_cache(*garbled),
            Op::Backup { lab, how, trouble } => self.back_up(*lab, how, trouble.as_ref()),
            Op::Forget { policy, trouble } => self.forget(policy, trouble.as_ref()),
            Op::ForgetOne { which, force } => drop(self.pick(which).map(|name| self.forget_one(&name, *force))),
            Op::Prune { all, trouble } => self.prune(*all, trouble.as_ref()),
            Op::Restore { which, lab, part, place, trouble } => {
                if let Some(name) = self.pick(which) {
                    self.restore(&name, *lab, *part, *place, trouble.as_ref());
                }
            }
            Op::Drill { which, trouble } => drop(self.pick(which).map(|name| self.drill(&name, trouble.as_ref()))),
            Op::Damage { object, harm } => self.damage(object, harm),
            Op::PutBack => self.put_back(),
            Op::Repair { all } => self.repair(*all),
        }
    }

    fn observer(&self, trouble: Option<&Trouble>) -> Box<dyn Observer> {
        match trouble {
            Some(Trouble::Interrupt(after)) => Box::new(Stop(AtomicU32::new(*after))),
            Some(Trouble::Storage(fault, after)) => {
                self.storage.arm(*fault, *after);
                Box::new(Silent)
            }
            None => Box::new(Silent),
        }
    }

    /// An error needs a reason: a fault that has begun, or damage.
    #[track_caller]
    fn explain<T>(&mut self, result: Result<T>, trouble: Option<&Trouble>, what: &'static str) -> Option<T> {
        let tripped = self.storage.disarm();
        self.count(what);
        match result {
            Ok(done) => Some(done),
            Err(Error::Interrupted) => {
                assert!(matches!(trouble, Some(Trouble::Interrupt(_))), "{what} was interrupted");
                self.count("interrupted");
                None
            }
            Err(error) => {
                assert!(tripped || !self.damaged.is_empty() || self.is_any_unreadable(), "{what}: {error}");
                self.count(if tripped { "cut short" } else { "stopped by damage" });
                None
            }
        }
    }

    pub fn is_any_unreadable(&self) -> bool {
        self.kept.values().any(|kept| !kept.is_readable)
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.clock as u64)
    }

    fn back_up(&mut self, lab: bool, how: &How, trouble: Option<&Trouble>) {
        if self.kept.len() >= 12 {
            self.forget(&forget::Policy { last: 3, ..forget::Policy::default() }, None);
        }
        let source = SOURCES[usize::from(lab)];
        let now = self.now();
        let lab = self.lab(lab);
        let tree = how.uploads.then(|| {
            let mut tree = lab.tree();
            tree.retain(|path, _| !how.exclude || !is_excluded(path));
            tree
        });
        let logical = how.database.then(|| lab.logical());
        let mut options = backup::Options {
            source: source.into(),
            tags: how.tag.then(|| "keep".to_string()).into_iter().collect(),
            rescan: how.rescan,
            out: how.set.then(|| lab.path().join("out")),
            keep_sets: std::num::NonZeroUsize::new(2),
            scratch: lab.path().into(),
            busy: Duration::from_secs(5),
            now,
            ..backup::tests::options(&lab.data(), 0)
        };
        options.out.iter().for_each(|out| std::fs::create_dir_all(out).unwrap());
        options.databases.retain(|_| how.database);
        options.uploads = options.uploads.filter(|_| how.uploads);
        if how.exclude {
            options.excludes = Excludes::new(&["*.tmp".into()], &[]).unwrap();
        }
        let observer = self.observer(trouble);
        let done = self.open().and_then(|store| backup::backup(&store, &options, &*observer));
        let done = self.explain(done, trouble, "backup");
        let heals = how.rescan || self.is_damage_plain_to_see();
        if trouble.is_none() && heals && !self.damaged.contains_key("config") {
            assert!(done.is_some(), "the source is whole, and everything was to be read: {:?}", self.damaged.keys());
        }
        if let Some(report) = &done {
            let is_calm = trouble.is_none() && self.damaged.is_empty();
            assert!(!is_calm || report.problems.iter().all(|problem| !problem.lost), "{:?}", report.problems);
            assert!(trouble.is_some() || report.set_error.is_none(), "{:?}", report.set_error);
        }
        let kept = Kept { logical, image: None, tree, is_readable: true };
        let must_be_whole = done.is_some() && heals;
        self.settle(Change { born: Some((source.into(), kept)), must_be_whole, ..Change::default() });
        if let Some(set) = done.and_then(|done| done.set) {
            let report = drill::drill_set(&set.manifest, &self.drill_options(), &Silent).unwrap();
            assert!(report.success, "{report:#?}");
            self.count("set drilled");
        }
    }

    fn drill_options(&self) -> drill::Options<'static> {
        drill::Options {
            required_tables: vec!["rows".into()],
            ..drill::Options::new(self.dir.path(), Err("not asked".into()))
        }
    }

    fn forget(&mut self, policy: &forget::Policy, trouble: Option<&Trouble>) {
        let options =
            forget::Options { source: None, names: Vec::new(), policy: policy.clone(), force: false, now: self.clock };
        let observer = self.observer(trouble);
        let mut planned = BTreeSet::new();
        let done = self.open().and_then(|store| {
            let plan = forget::plan(&store, &options, &*observer)?;
            let late =
                |decision: &&forget::Decision| decision.remove && decision.time.as_ref().unwrap().1 > options.now + 60;
            assert!(plan.decisions.iter().find(late).is_none(), "a time in the future is not believed");
            planned.extend(plan.removed().cloned());
            forget::apply(&store, &plan, &*observer)
        });
        if matches!(&done, Err(Error::Refused(text)) if text.text().contains("keeps none")) {
            assert!(planned.is_empty() && policy.last == 0);
            self.storage.disarm();
            return self.count("refused");
        }
        let proven: BTreeSet<_> = self.drills.values().flatten().collect();
        for source in SOURCES {
            let of_source = |(name, _): &(&SnapshotName, &Kept)| name.source == source;
            for protected in [
                self.kept.iter().filter(of_source).rfind(|(_, kept)| kept.logical.is_some()),
                self.kept.iter().filter(of_source).rfind(|(_, kept)| kept.tree.is_some()),
                self.kept.iter().filter(of_source).rfind(|(name, _)| proven.contains(name)),
            ] {
                let goes = protected.is_some_and(|(name, _)| planned.contains(name));
                assert!(!goes, "{protected:?} is the newest of its kind");
            }
        }
        let done = self.explain(done, trouble, "forget");
        self.settle(Change { may_go: planned.clone(), ..Change::default() });
        assert!(done.is_none() || self.kept.keys().all(|name| !planned.contains(name)), "what was forgotten is there");
    }

    fn forget_one(&mut self, name: &SnapshotName, force: bool) {
        let names = vec![name.id.to_string()];
        let policy = forget::Policy::default();
        let options = forget::Options { source: Some(name.source.clone()), names, policy, force, now: self.clock };
        let done = self.open().and_then(|store| {
            let plan = forget::plan(&store, &options, &Silent)?;
            forget::apply(&store, &plan, &Silent)
        });
        let refused = matches!(&done, Err(Error::Refused(_)));
        assert!(!(force && refused), "{done:?}");
        if !refused {
            self.explain(done, None, "forget one");
        }
        self.settle(Change { may_go: BTreeSet::from([name.clone()]), ..Change::default() });
        assert_eq!(self.kept.contains_key(name), refused || self.damaged.contains_key("config"));
    }

    fn prune(&mut self, all: bool, trouble: Option<&Trouble>) {
        let limit = if all { prune::MaxUnused::Bytes(0) } else { prune::MaxUnused::Percent(5.0) };
        let observer = self.observer(trouble);
        let run = |world: &Self, observer: &dyn Observer| {
            let store = world.open()?;
            let plan = prune::plan(&store, limit, &HashSet::new(), false, observer)?;
            prune::apply(&store, plan, &SpaceGuard::unlimited(), observer)
        };
        let done = run(self, &*observer).and_then(|report| report.failed.map_or(Ok(report.numbers), Err));
        let done = self.explain(done, trouble, "prune");
        self.settle(Change::default());
        if done.is_some() && self.damaged.is_empty() && !self.is_any_unreadable() {
            // What one prune writes may be merged by the next; then it comes to rest.
            let mut again = (0..4).map(|_| run(self, &Silent).unwrap().numbers);
            let at_rest = again.any(|numbers| (numbers.dead.count, numbers.repacked.count) == (0, 0));
            assert!(at_rest, "prunes go on and on");
            self.is_index_lost = false;
            self.settle(Change::default());
        }
    }

    fn restore(&mut self, name: &SnapshotName, lab: bool, part: u8, place: Place, trouble: Option<&Trouble>) {
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
            data_dir: data_dir.clone(),
            storage_dir: storage_dir.clone(),
            only_below: false,
            own: Vec::new(),
            what: what.clone(),
            owner: None,
            dry_run: false,
            force: false,
            skip_damaged: false,
            no_keep: false,
            locks: None,
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

    fn drill(&mut self, name: &SnapshotName, trouble: Option<&Trouble>) {
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

    fn damage(&mut self, object: &Index, harm: &Harm) {
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

    fn put_back(&mut self) {
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

    fn repair(&mut self, all: bool) {
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

    fn spoil_cache(&mut self, garbled: bool) {
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
