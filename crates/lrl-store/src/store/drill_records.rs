//! Records of drills in the store: small objects beside the snapshots, by source and time. Never deletes one.

use super::handle::Store;
use crate::backend::{Payload, collect};
use crate::error::{Error, Result};
use crate::format::drill::{self, Drill};
use crate::format::record_order::Latest;
use crate::id::DrillId;
use crate::time::{Time, is_future};

/// The name of a drill's record, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrillName {
    /// The source whose backup was drilled.
    pub source: String,
    /// When the drill ended, in seconds since 1970.
    pub finished: u64,
    /// The record's id.
    pub id: DrillId,
}

impl DrillName {
    /// Returns the object's name.
    pub(crate) fn object(&self) -> String {
        format!("drills/{}/{:016x}-{}", self.source, self.finished, self.id)
    }

    /// Takes an object's name apart; `None` for what is no record's name.
    pub(crate) fn parse(object: &str) -> Option<Self> {
        let mut parts = object.strip_prefix("drills/")?.split('/');
        let (source, file, None) = (parts.next()?, parts.next()?, parts.next()) else { return None };
        let (finished, id) = file.split_once('-')?;
        let finished = u64::from_str_radix(finished, 16).ok().filter(|_| finished.len() == 16)?;
        Some(Self { source: source.into(), finished, id: DrillId::from_hex(id).ok()? })
    }
}

impl Store {
    /// Writes a drill's record.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::NoRoom`] or [`Error::Remote`] where it cannot be written.
    pub fn add_drill(&self, drill: &Drill) -> Result<DrillName> {
        let (id, bytes) = drill::encode(drill, self.ids())?;
        let finished = u64::try_from(drill.finished.secs).unwrap_or_default();
        let name = DrillName { source: drill.source.clone(), finished, id };
        self.backend.put(&name.object(), Payload::Bytes(&bytes))?;
        Ok(name)
    }

    /// Lists the names of a source's drills, oldest first. Names tell the second: those of one second are ordered by what the records say.
    pub(crate) fn drill_names(&self, source: &str) -> Result<Vec<DrillName>> {
        let mut names = collect(&*self.backend, &format!("drills/{source}"), DrillName::parse)?;
        names.sort();
        for same in names.chunk_by_mut(|a, b| a.finished == b.finished).filter(|same| same.len() > 1) {
            let mut keyed = Vec::with_capacity(same.len());
            for name in &*same {
                let nanos = match self.drill(name) {
                    Ok(drill) => Some(drill.finished.nanos),
                    Err(error) if error.is_unreadable_document() => None,
                    Err(error) => return Err(error),
                };
                keyed.push((nanos, name.clone()));
            }
            keyed.sort();
            same.iter_mut().zip(keyed).for_each(|(place, (_, name))| *place = name);
        }
        Ok(names)
    }

    /// Reads the newest record of a source's drills that can be read; `None` where there is none. Reads no further than to the first, by name,
    /// that is of no time to come: one that a clock behind its time has put before that is not found.
    pub(crate) fn last_drill(&self, source: &str, now: Time) -> Result<Option<(DrillId, Drill)>> {
        let mut newest = Latest::default();
        for name in self.drill_names(source)?.into_iter().rev() {
            match self.drill(&name) {
                // Nobody knows when that was.
                Ok(drill) if is_future(drill.finished, now) && drill.number.is_none() => {}
                Ok(drill) => {
                    let is_last = !is_future(drill.finished, now);
                    newest.add(drill.rank(), || (name.id, drill));
                    if is_last {
                        break;
                    }
                }
                Err(error) if error.is_unreadable_document() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(newest.take())
    }

    /// Reads one record, verified against its name.
    pub(crate) fn drill(&self, name: &DrillName) -> Result<Drill> {
        let object = name.object();
        let found =
            drill::decode(&self.backend.read(&object)?, &name.id, self.ids(), &self.backend.object_location(&object))?;
        let finished = u64::try_from(found.finished.secs).unwrap_or_default();
        if found.source != name.source || finished != name.finished {
            return Err(Error::corrupt(self.backend.object_location(&object), "stands under another record's name"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::error::{Error, Result};
    use crate::format::check::{Check, Depth, VERSION};
    use crate::format::drill::Drill;
    use crate::fs::lock::LockMode;
    use crate::progress::Silent;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::{Fault, MemoryFs};
    use crate::time::Time;

    #[test]
    fn a_record_that_cannot_be_read_for_once_is_not_passed_over() {
        let disk = MemoryFs::new();
        create(&disk.storage(), [1; 32]).unwrap();
        let open = || Store::open(Arc::new(disk.storage()), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let time = |nanos| Time { secs: 100, nanos };
        for (nanos, number) in [(1, 4), (3, 6), (2, 5)] {
            open().add_drill(&Drill { number: Some(number), ..Drill::sample("lab", time(nanos)) }).unwrap();
        }
        let check = Check {
            format: VERSION,
            time: time(0),
            number: Some(7),
            depth: Depth::Structure,
            passed: true,
            damaged: Vec::new(),
            more_damaged: 0,
            program: "t".into(),
        };
        open().add_check(&check).unwrap();

        let now = Time { secs: 200, nanos: 0 };
        let check_number = |store: &Store| Ok(vec![store.last_check_number()?]);
        let last_drill =
            |store: &Store| Ok(store.last_drill("lab", now)?.and_then(|(_, drill)| drill.number).into_iter().collect());
        let drills_in_order = |store: &Store| {
            let names = store.drill_names("lab")?;
            names.iter().map(|name| Ok(store.drill(name)?.number.unwrap_or_default())).collect()
        };
        type Asked<'a> = (&'a dyn Fn(&Store) -> Result<Vec<u64>>, &'a [u64]);
        let asked: [Asked<'_>; 3] = [(&check_number, &[7]), (&last_drill, &[6]), (&drills_in_order, &[4, 5, 6])];
        for (ask, expected) in asked {
            for call in 0.. {
                let store = open();
                disk.arm(Fault::Fails, call);
                let answer = ask(&store);
                if !disk.disarm() {
                    assert!(call > 1 && answer.unwrap() == expected);
                    break;
                }
                match answer {
                    Ok(answer) => assert_eq!(answer, expected, "call {call}"),
                    Err(error) => assert!(matches!(error, Error::Io { .. }), "call {call}: {error}"),
                }
            }
        }
    }
}
