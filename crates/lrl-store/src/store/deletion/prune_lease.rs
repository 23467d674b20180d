//! The lease of a prune on a store without locks: an object that only one run can make. Leases are numbered, and the highest number holds the store; one
//! that its run left behind is outbid by the next number.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::backend::{Payload, collect, probe_put_if_absent};
use crate::error::{Error, Result};
use crate::fs::lock::{Guard, LockMode};
use crate::store::handle::Store;
use crate::time::Time;

/// The directory of leases.
pub(crate) const CLAIMS: &str = "claims";
/// A lease this old is dead: a run that takes this long notices that it was outbid, and stops.
const DEAD_AFTER: Duration = Duration::from_secs(24 * 3600);
/// No probe takes longer.
const OLD_PROBE: Duration = Duration::from_secs(3600);
/// The last lease of this machine, in its local cache of the store.
const OURS: &str = "prune-claim";

/// Who holds the lease, and since when.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Document {
    format: u32,
    /// For people.
    owner: String,
    /// Random, so that a run knows its own lease.
    token: String,
    written: Time,
}

/// A lease that is held; dropping it ends it.
pub(crate) struct PruneLease<'s> {
    store: &'s Store,
    number: u64,
    bytes: Vec<u8>,
    // Runs of one machine queue here, so that what it left behind is known to be dead.
    _queue: Option<Box<dyn Guard>>,
}

/// Now, by the clock of this machine, and of the one that keeps the objects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub here: Time,
    pub there: Option<SystemTime>,
}

impl Now {
    /// Returns how old an object is that says itself when it was written: the less of what both clocks say, so that no wrong one makes
    /// anything older than it is.
    pub(crate) fn age(&self, store: &Store, object: &str, written: Time) -> Result<Duration> {
        let here = Duration::from_secs(u64::try_from(self.here.secs.saturating_sub(written.secs)).unwrap_or_default());
        let Some(now) = self.there else { return Ok(here) };
        let there = store.backend.modified(object)?.map(|at| now.duration_since(at).unwrap_or_default());
        Ok(there.map_or(here, |there| there.min(here)))
    }
}

fn name(number: u64) -> String {
    format!("{CLAIMS}/prune-{number:016x}")
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(CLAIMS)?.strip_prefix("/prune-")?;
    u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)
}

/// Returns whether an object's name is that of a lease, or of a probe of `put_if_absent`.
pub(crate) fn is_object_name(object: &str) -> bool {
    number(object).is_some() || object.strip_prefix(CLAIMS).is_some_and(|rest| rest.starts_with("/probe-"))
}

/// Returns an unused name for a probe of `put_if_absent`.
pub(crate) fn probe_name(token: &str) -> String {
    format!("{CLAIMS}/probe-{token}")
}

impl Store {
    /// Probes whether the backend's `put_if_absent` is conditional; also returns its time.
    pub(crate) fn probe_lease(&self, token: &str) -> Result<(bool, Option<SystemTime>)> {
        let name = probe_name(token);
        let keeps_first = probe_put_if_absent(&*self.backend, &name)?;
        self.backend.put(&name, Payload::Bytes(b"time"))?;
        let there = self.backend.modified(&name);
        self.backend.remove(&name)?;
        Ok((keeps_first, there?))
    }

    /// Takes the lease; the backend's `put_if_absent` must be conditional.
    pub(crate) fn claim(
        &self,
        owner: &str,
        token: &str,
        now: &Now,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<PruneLease<'_>> {
        let queue = self.backend.lock("lock-prune", LockMode::Exclusive, wait, interrupted)?;
        let note = self.backend.cache_dir().filter(|_| queue.is_some()).map(|dir| dir.join(OURS));
        let last = self.lease_names()?.last().copied();
        if let Some(last) = last {
            self.refuse_living(last, note.as_ref(), now)?;
        }
        let document = Document { format: 1, owner: owner.into(), token: token.into(), written: now.here };
        let bytes = serde_json::to_vec(&document).map_err(|e| Error::corrupt("a new claim", e.to_string()))?;
        if let Some(note) = &note {
            // Before the lease: a note without one does no harm.
            std::fs::write(note, &bytes).map_err(Error::io("write", note))?;
        }
        let number = last.map_or(1, |last| last + 1);
        if !self.backend.put_if_absent(&name(number), &bytes)? {
            return Err(Error::Locked { what: format!("the pruning of {}", self.backend.location()) });
        }
        let claim = PruneLease { store: self, number, bytes, _queue: queue };
        for old in self.lease_names()?.into_iter().filter(|old| *old < number) {
            self.backend.remove(&name(old))?;
        }
        self.remove_old_probes(now)?;
        Ok(claim)
    }

    /// Removes the probes of runs that were killed.
    fn remove_old_probes(&self, now: &Now) -> Result<()> {
        for probe in collect(&*self.backend, CLAIMS, |name| number(name).is_none().then(|| name.to_string()))? {
            let at = match self.backend.modified(&probe) {
                Err(Error::Missing { .. }) => continue,
                at => at?,
            };
            let age = now.there.zip(at).map(|(now, at)| now.duration_since(at).unwrap_or_default());
            if is_object_name(&probe) && age.is_none_or(|age| age >= OLD_PROBE) {
                self.backend.remove(&probe)?;
            }
        }
        Ok(())
    }

    /// Fails where the run that holds the last lease may be alive.
    fn refuse_living(&self, last: u64, note: Option<&PathBuf>, now: &Now) -> Result<()> {
        let bytes = match self.backend.read(&name(last)) {
            // Its run has ended since.
            Err(Error::Missing { .. }) => return Ok(()),
            bytes => bytes?,
        };
        if note.is_some_and(|note| std::fs::read(note).is_ok_and(|ours| ours == bytes)) {
            return Ok(());
        }
        let object = self.backend.object_location(&name(last));
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|e| Error::corrupt(&object, format!("is no claim: {e}")))?;
        if now.age(self, &name(last), document.written)? >= DEAD_AFTER {
            return Ok(());
        }
        let since = document.written.stamp().unwrap_or_default();
        Err(Error::Locked {
            what: format!(
                "the pruning of {} (claimed by {} since {since} UTC; where that run is dead its claim {object} ends after 24 hours)",
                self.backend.location(),
                document.owner
            ),
        })
    }

    fn lease_names(&self) -> Result<Vec<u64>> {
        let mut numbers = collect(&*self.backend, CLAIMS, number)?;
        numbers.sort_unstable();
        Ok(numbers)
    }
}

impl PruneLease<'_> {
    /// Fails where another run has taken the store over, because this one took so long.
    pub(crate) fn check(&self) -> Result<()> {
        let backend = &self.store.backend;
        let is_last = self.store.lease_names()?.last() == Some(&self.number);
        match if is_last { backend.read(&name(self.number)) } else { Ok(Vec::new()) } {
            Ok(bytes) if bytes == self.bytes => Ok(()),
            Err(e) if e.is_final() => Err(e),
            _ => Err(Error::refused(format!(
                "{}: another run has taken this one for dead and goes on in its place; nothing more was removed",
                backend.location()
            ))),
        }
    }
}

impl Drop for PruneLease<'_> {
    fn drop(&mut self) {
        let _ = self.store.backend.remove(&name(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::{is_object_name, name, number, probe_name};

    #[test]
    fn names_of_claims_and_of_tries_are_known_and_no_others() {
        assert!([name(1), name(u64::MAX), probe_name("ab12")].iter().all(|name| is_object_name(name)));
        assert_eq!((number(&name(17)), number(&probe_name("0000000000000001"))), (Some(17), None));
        for other in ["prune-1", "prune-000000000000000g", "prune-00000000000000001", "probe", "x"] {
            let other = probe_name("").replace("probe-", other);
            assert!(!is_object_name(&other), "{other}");
        }
    }
}
