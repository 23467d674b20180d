//! What is damaged is moved out of the way, never deleted: below `quarantine/`, under the name that it had, so that it can be moved back.
//! And the records of repairs.

use crate::backend::{Payload, collect, hash_start};
use crate::error::{Error, Result};
use crate::format::repair;
use crate::format::repair::Repair;
use crate::id::{RepairId, SnapshotId};
use crate::store::handle::Store;
use crate::store::names::{SnapshotName, highest_of};

/// The directory of what was moved.
pub(crate) const QUARANTINE: &str = "quarantine";
const REPAIRS: &str = "repairs";

/// What lies in quarantine.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantine {
    /// Objects.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Documents of snapshots among them, as `source number (short id)`.
    pub snapshots: Vec<String>,
}

impl SnapshotName {
    /// Takes the name of a document in quarantine apart, which may have a number at its end.
    fn parse_quarantined(object: &str) -> Option<Self> {
        let name = object.strip_prefix(QUARANTINE)?.strip_prefix('/')?;
        let plain = || name.rsplit_once('.').filter(|(_, n)| n.parse::<u32>().is_ok()).map(|(plain, _)| plain);
        Self::parse(name).or_else(|| Self::parse(plain()?))
    }
}

impl Store {
    /// Moves an object into quarantine; returns the name that it has there.
    pub(crate) fn move_to_quarantine(&self, name: &str) -> Result<String> {
        let (to, is_there) = self.quarantine_name(name)?;
        match is_there {
            // A run that was killed had copied it.
            true => self.backend.remove(name)?,
            false => self.backend.rename(name, &to)?,
        }
        Ok(to)
    }

    /// Copies a small object into quarantine, before something else gets its name.
    pub(crate) fn copy_to_quarantine(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let (to, is_there) = self.quarantine_name(name)?;
        if !is_there {
            self.backend.put(&to, Payload::Bytes(bytes))?;
        }
        Ok(to)
    }

    /// Finds a name in quarantine that is free, or that has the very same bytes.
    fn quarantine_name(&self, name: &str) -> Result<(String, bool)> {
        for n in 0u32.. {
            let ending = if n == 0 { String::new() } else { format!(".{n}") };
            let to = format!("{QUARANTINE}/{name}{ending}");
            match self.backend.len(&to) {
                Err(Error::Missing { .. }) => return Ok((to, false)),
                Err(e) => return Err(e),
                Ok(_) if self.are_same(name, &to) => return Ok((to, true)),
                Ok(_) => {}
            }
        }
        Err(Error::refused(format!("there are too many copies of {name} in quarantine")))
    }

    /// Returns whether two objects are known to have the same bytes.
    fn are_same(&self, one: &str, other: &str) -> bool {
        let (Ok(len), Ok(other_len)) = (self.backend.len(one), self.backend.len(other)) else { return false };
        let digest = |name: &str| hash_start(&*self.backend, name, len);
        len == other_len && matches!((digest(one), digest(other)), (Ok(a), Ok(b)) if a == b)
    }

    /// Counts what lies in quarantine.
    pub(crate) fn quarantine(&self) -> Result<Quarantine> {
        let mut found = Quarantine::default();
        self.backend.list(QUARANTINE, &mut |name, bytes| {
            found.count += 1;
            found.bytes += bytes;
            found.snapshots.extend(SnapshotName::parse_quarantined(name).map(|name| name.to_string()));
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns the highest number that a snapshot of the source has, or had before it was damaged; 0 where there was none.
    pub(crate) fn highest_sequence(&self, source: &str, listed: &[SnapshotName]) -> Result<u64> {
        let mut numbers: Vec<u64> = listed.iter().map(|name| name.sequence).collect();
        // In a bucket a look would be a request of every backup: there the number of a document in quarantine may be used again.
        if self.backend.capabilities().rename {
            self.backend.list(&format!("{QUARANTINE}/snapshots/{source}"), &mut |name, _| {
                numbers.extend(SnapshotName::parse_quarantined(name).map(|name| name.sequence));
                Ok(())
            })?;
        }
        numbers.sort_unstable();
        Ok(highest_of(numbers.into_iter()))
    }

    /// Returns whether the document of a snapshot lies in quarantine.
    pub(crate) fn is_in_quarantine(&self, source: &str, known: (u64, SnapshotId)) -> Result<bool> {
        let mut is_there = false;
        self.backend.list(&format!("{QUARANTINE}/snapshots/{source}"), &mut |name, _| {
            is_there |= SnapshotName::parse_quarantined(name).is_some_and(|name| (name.sequence, name.id) == known);
            Ok(())
        })?;
        Ok(is_there)
    }

    /// Writes the record of a repair that found something lost.
    pub(crate) fn add_repair(&self, repair: &Repair) -> Result<RepairId> {
        let (id, bytes) = repair::encode(repair, self.ids())?;
        self.backend.put(&repair_name(&id), Payload::Bytes(&bytes))?;
        Ok(id)
    }

    /// Lists the records of repairs.
    pub(crate) fn repairs(&self) -> Result<Vec<RepairId>> {
        collect(&*self.backend, REPAIRS, repair_id)
    }
}

/// Returns the object's name of a repair's record.
pub(crate) fn repair_name(id: &RepairId) -> String {
    format!("{REPAIRS}/{id}")
}

/// Takes the id out of the name of a repair's record; `None` for what is none.
pub(crate) fn repair_id(name: &str) -> Option<RepairId> {
    RepairId::from_hex(name.strip_prefix(REPAIRS)?.strip_prefix('/')?).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::backend::{Backend, Payload};
    use crate::fs::lock::LockMode;
    use crate::progress::Silent;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::memory;

    #[test]
    fn the_same_bytes_are_kept_once_and_what_differs_beside_them() {
        let storage = Arc::new(memory());
        create(&*storage, [1; 32]).unwrap();
        let store =
            Store::open(Arc::clone(&storage) as Arc<dyn Backend>, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let aside = |bytes: &[u8]| {
            storage.put("index/x", Payload::Bytes(bytes)).unwrap();
            let copied = store.copy_to_quarantine("index/x", bytes).unwrap();
            // As after a kill between the two: the copy is there already.
            assert_eq!(store.move_to_quarantine("index/x").unwrap(), copied);
            copied
        };
        assert_eq!(aside(b"whole"), "quarantine/index/x");
        assert_eq!(aside(b"whole"), "quarantine/index/x");
        assert_eq!(aside(b"who"), "quarantine/index/x.1", "the beginning of another is another");
        assert_eq!(aside(b"whole!"), "quarantine/index/x.2");
        assert_eq!(aside(b"whale"), "quarantine/index/x.3");
        assert_eq!(aside(b"who"), "quarantine/index/x.1");
        let found = store.quarantine().unwrap();
        assert_eq!((found.count, found.bytes), (4, 5 + 3 + 6 + 5));
        assert!(storage.len("index/x").is_err());
    }
}
