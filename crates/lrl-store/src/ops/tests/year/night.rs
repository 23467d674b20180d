//! One night after another: harm, the operator who mends it some days after a red status, the runs, and what must be true in the morning.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::lab::flip;
use super::model::BOTH;
use super::world::{Kill, World};
use crate::ops::select::Need;
use crate::ops::status::{self, Limits};
use crate::ops::tests::faulty::Fault;
use crate::set::manifest::read::FoundSet;
use crate::time::Time;

const DAY: i64 = 86_400;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Harm {
    /// The volume with the uploads is not mounted; its mount point is there, or not.
    Unmounted,
    /// The large table is empty.
    Emptied,
    /// The database is cut short.
    Truncated,
    /// Pages of the database are overwritten.
    Noise,
    /// The clock is wrong.
    Clock,
    /// A byte of a pack is flipped.
    Pack,
    /// A byte of the newest set is flipped.
    Set,
}

impl Harm {
    const ALL: [Self; 7] =
        [Self::Unmounted, Self::Emptied, Self::Truncated, Self::Noise, Self::Clock, Self::Pack, Self::Set];

    fn name(self) -> &'static str {
        match self {
            Self::Unmounted => "harm: uploads unmounted",
            Self::Emptied => "harm: table emptied",
            Self::Truncated => "harm: database truncated",
            Self::Noise => "harm: database noisy",
            Self::Clock => "harm: wrong clock",
            Self::Pack => "harm: pack flipped",
            Self::Set => "harm: set rotten",
        }
    }

    /// Whether a backup sees it.
    fn is_plain(self) -> bool {
        matches!(self, Self::Unmounted | Self::Emptied | Self::Truncated)
    }

    fn is_of_database(self) -> bool {
        matches!(self, Self::Emptied | Self::Truncated | Self::Noise)
    }
}

pub struct Year {
    pub world: World,
    /// What is wrong now.
    harms: Vec<Harm>,
    /// What has not gone wrong yet; every kind comes before one comes again.
    deck: Vec<Harm>,
    /// The night in which the operator mends it all.
    mends: Option<u64>,
    /// What happened, for a failure.
    pub log: Vec<String>,
}

impl Year {
    pub fn new(seed: u64) -> Self {
        Self { world: World::new(seed), harms: Vec::new(), deck: Vec::new(), mends: None, log: Vec::new() }
    }

    /// Lives a day and a night; returns false where the store has lost the last good database, and nobody could mend the site.
    pub fn night(&mut self, night: u64) -> bool {
        self.world.time = self.world.time.div_euclid(DAY) * DAY + DAY + 3 * 3600;
        let is_new = night > 3 && self.harm(night);
        let mends = self.mends == Some(night);
        if mends {
            self.mends = None;
            self.log.push(format!("{night}: mended"));
            if !self.mend_source() {
                self.log.push(format!("{night}: no good database is left"));
                self.world.count("years that end without a good database");
                return false;
            }
        }
        let has = |harms: &[Harm], of: fn(Harm) -> bool| harms.iter().any(|harm| of(*harm));
        let database = !has(&self.harms, Harm::is_of_database);
        let uploads = !self.harms.contains(&Harm::Unmounted);
        self.world.lab.day(&mut self.world.dice, database, uploads);
        if !uploads {
            self.world.lab.write_into_mount_point(&mut self.world.dice);
        }
        self.world.seen =
            Need { database: has(&self.harms, |harm| harm.is_plain() && harm.is_of_database()), uploads: !uploads };
        let kill = self.kill(night > 3 && !mends);
        let born = self.world.back_up(kill);
        if mends {
            self.mend_store();
        }
        if night.is_multiple_of(7) {
            self.drill();
        }
        if night.is_multiple_of(30) {
            let clean = self.world.check();
            self.log.push(format!("{night}: check {clean}"));
        }
        let kill = self.kill(night > 3);
        self.world.forget(kill);
        let is_red = self.status(night);
        assert!(is_red || !has(&self.harms, Harm::is_plain), "{:?} in the first night", self.harms);
        assert!(is_red || born.is_some(), "no snapshot was made");
        let is_calm = self.harms.is_empty() && born.is_some();
        assert!(!is_red || !is_calm, "all is well: {:?}", self.world.model.wrong(self.world.time));
        if is_red && self.mends.is_none() && !self.harms.is_empty() {
            self.mends = Some(night + 1 + self.world.dice.below(10));
        }
        if is_new || mends || night.is_multiple_of(3) {
            self.world.restore();
        } else {
            self.world.choose(BOTH);
        }
        if night % 30 == 29 && !self.world.is_flipped() {
            let store = self.world.open();
            for name in self.world.model.snaps.keys() {
                assert_eq!(self.world.lost(&store, name), Need::default(), "{name:?} was kept");
            }
        }
        true
    }

    /// Something goes wrong, or not.
    fn harm(&mut self, night: u64) -> bool {
        let newest_set = self.world.newest_set();
        let dice = &mut self.world.dice;
        if !dice.one_in(10) {
            return false;
        }
        if self.deck.is_empty() {
            self.deck.extend(Harm::ALL);
        }
        let drawn = dice.below(self.deck.len() as u64) as usize;
        let harm = self.deck[drawn];
        // Of one kind one at a time.
        let is_same = |other: &Harm| *other == harm || harm.is_of_database() && other.is_of_database();
        if self.harms.iter().any(is_same) {
            return false;
        }
        match harm {
            Harm::Unmounted => self.world.lab.unmount(dice.one_in(2)),
            Harm::Emptied => self.world.lab.empty_table(),
            Harm::Truncated => self.world.lab.truncate(dice),
            Harm::Noise => self.world.lab.make_noise(dice),
            Harm::Clock => {
                let days = [3, 40, 3650][dice.below(3) as usize];
                self.world.skew = if dice.one_in(2) { days * DAY } else { -days * DAY };
            }
            Harm::Pack => {
                let packs = files(self.world.dir.path().join("backups/store/packs"));
                let pack = packs[dice.below(packs.len() as u64) as usize].clone();
                flip(&pack, dice);
                let bytes = fs::read(&pack).unwrap();
                self.world.flipped.insert(pack, bytes);
            }
            Harm::Set => {
                let Some(newest) = &newest_set else {
                    return false;
                };
                let set = FoundSet::load(newest).unwrap();
                let file = &set.files[dice.below(set.files.len() as u64) as usize];
                flip(file.there().unwrap(), dice);
            }
        }
        self.log.push(format!("{night}: {harm:?} {}", self.world.skew / DAY));
        self.harms.push(harm);
        self.deck.swap_remove(drawn);
        self.world.count(harm.name());
        true
    }

    fn kill(&mut self, may: bool) -> Option<Kill> {
        let dice = &mut self.world.dice;
        if !may || !dice.one_in(20) {
            return None;
        }
        let after = dice.below(40) as u32;
        let kill = match dice.below(3) {
            0 => Kill::Interrupt(after),
            1 => Kill::Backend(Fault::Dies, after / 4),
            _ => Kill::Backend(Fault::DiesAfter, after / 4),
        };
        self.log.push(format!("{kill:?}"));
        Some(kill)
    }

    /// What the operator does before the run of that night: mounts the volume, sets the clock, restores the database from what a drill proves.
    fn mend_source(&mut self) -> bool {
        let harms = std::mem::take(&mut self.harms);
        if harms.contains(&Harm::Clock) {
            self.world.skew = 0;
        }
        if harms.contains(&Harm::Unmounted) {
            self.world.lab.remount();
        }
        if harms.iter().any(|harm| harm.is_of_database()) {
            // A check tells what a drill that could not read a list blames in vain.
            let is_found = self.drill_until_passed() || {
                self.world.check();
                self.drill_until_passed()
            };
            if !is_found {
                return false;
            }
            self.world.restore_database();
        }
        true
    }

    /// And after it: looks at the whole store and the sets, and proves the new backup.
    fn mend_store(&mut self) {
        if !self.world.check() {
            self.world.repair();
        }
        if self.world.has_set() {
            assert_eq!(self.world.drill_set(), Some(true));
        } else {
            let newest = self.world.model.snaps.keys().next_back().unwrap().clone();
            assert!(self.world.drill_snapshot(&newest));
        }
    }

    /// Drills what restore would take until the database of one passes: none that is older is needed. Returns false if none is left.
    fn drill_until_passed(&mut self) -> bool {
        while let Some(found) = self.world.choose(Need { database: true, uploads: false }) {
            let passed = self.world.drill_snapshot(&found.name);
            if passed || self.world.model.drills.last().is_some_and(|drill| !drill.failed.database) {
                return true;
            }
        }
        false
    }

    fn drill(&mut self) {
        let passed = self.world.drill_set();
        self.log.push(format!("drill {passed:?}"));
        if passed == Some(false) {
            self.drill_until_passed();
        }
    }

    /// `lrl status`; returns whether it is red.
    fn status(&mut self, night: u64) -> bool {
        let now = self.world.now();
        let limit = |secs: u64| Some(Duration::from_secs(secs));
        let limits = Limits {
            age: limit(super::model::MAX_AGE),
            drill: limit(super::model::MAX_DRILL_AGE),
            check: limit(super::model::MAX_CHECK_AGE),
        };
        let time = Time { secs: now, nanos: 0 };
        let found = status::status(&self.world.open(), "lab", time).unwrap().conditions(&limits, time);
        let wrong = self.world.model.wrong(now);
        assert_eq!(found.is_empty(), wrong.is_empty(), "night {night}: status says {found:#?}, and wrong is {wrong:?}");
        if !found.is_empty() {
            self.world.count("nights with a red status");
        }
        !found.is_empty()
    }
}

/// Lists the files below a directory.
fn files(dir: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.append(&mut files(path)) } else { found.push(path) }
    }
    found.sort();
    found
}
