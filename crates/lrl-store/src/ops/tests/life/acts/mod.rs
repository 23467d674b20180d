//! What happens in the random life: the operations, each with its expected end.

mod damage;
mod restore;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use proptest::sample::Index;

use super::lab::{Step, is_excluded};
use super::world::{Change, Kept, SOURCES, World};
use crate::error::{Error, Result};
use crate::fs::space::SpaceGuard;
use crate::ops::tests::faulty::Fault;
use crate::ops::{backup, drill, forget, prune};
use crate::progress::{Observer, Silent};
use crate::source::files::exclude::Excludes;
use crate::store::SnapshotName;

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
}
