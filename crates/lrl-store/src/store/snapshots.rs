//! The snapshots of an open store: listing, reading, publishing and forgetting them.

use std::collections::VecDeque;

use super::handle::Store;
use super::names::{FARTHEST, SnapshotName};
use crate::backend::{MOST_WHOLE_BYTES, Payload, collect};
use crate::budget::AHEAD_SNAPSHOTS;
use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};

impl Store {
    /// Lists the names of snapshots, by source and sequence.
    ///
    /// # Errors
    ///
    /// [`Error::Remote`] or [`Error::Io`] where they cannot be listed.
    pub fn snapshot_names(&self, source: Option<&str>) -> Result<Vec<SnapshotName>> {
        let prefix = source.map_or_else(|| "snapshots".into(), |source| format!("snapshots/{source}"));
        let mut names = collect(&*self.backend, &prefix, SnapshotName::parse)?;
        names.sort();
        Ok(names)
    }

    /// Lists the sources that have snapshots, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Remote`] or [`Error::Io`] where they cannot be listed.
    pub fn sources(&self) -> Result<Vec<String>> {
        let mut sources: Vec<String> = self.snapshot_names(None)?.into_iter().map(|name| name.source).collect();
        sources.dedup();
        Ok(sources)
    }

    /// Lists the newest snapshots of a source: all of them, or from one that an earlier run saw.
    pub(crate) fn newest_snapshot_names(&self, source: &str) -> Result<Vec<SnapshotName>> {
        let mut names = Vec::new();
        self.backend.list_newest(&format!("snapshots/{source}"), &mut |name| {
            names.extend(SnapshotName::parse(name));
            Ok(())
        })?;
        names.sort();
        // From a number that nobody counts up to the listing shows nothing of the history before it.
        match names.first() {
            Some(first) if first.sequence > FARTHEST => self.snapshot_names(Some(source)),
            _ => Ok(names),
        }
    }

    /// Passes the names of snapshots on that the caller reads one after the other, and announces those to come to the backend: more of them the
    /// further the caller gets.
    #[doc(hidden)]
    pub fn reading<'n>(
        &'n self,
        mut names: impl Iterator<Item = &'n SnapshotName> + 'n,
    ) -> impl Iterator<Item = &'n SnapshotName> + 'n {
        let (mut ahead, mut waiting) = (1, VecDeque::new());
        std::iter::from_fn(move || {
            if waiting.is_empty() {
                waiting.extend(names.by_ref().take(ahead));
                ahead = (ahead * 4).min(AHEAD_SNAPSHOTS);
                if waiting.len() > 1 && self.backend.capabilities().cost_per_request {
                    let objects: Vec<String> = waiting.iter().map(|name| name.object()).collect();
                    self.backend.fetch_whole(&objects);
                }
            }
            waiting.pop_front()
        })
    }

    /// Reads one snapshot, verified against its name.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where it is gone, [`Error::Corrupt`] where it is damaged, [`Error::WriteOnly`] for a key that cannot read it.
    pub fn snapshot(&self, name: &SnapshotName) -> Result<Snapshot> {
        let object = name.object();
        let read = || {
            snapshot::decode(&self.backend.read(&object)?, &name.id, &self.ids, &self.backend.object_location(&object))
        };
        let found = match read() {
            Err(Error::Corrupt { .. }) if self.backend.cache_clear() => read()?,
            // A write-only key has cached its own.
            Err(error @ Error::WriteOnly { .. }) => {
                let kept = self.backend.cache_get(&name.id.to_string()).ok_or(error)?;
                snapshot::decode(&kept, &name.id, &self.ids, &self.backend.object_location(&object))?
            }
            found => found?,
        };
        if found.source != name.source || found.sequence != name.sequence {
            return Err(Error::corrupt(self.backend.object_location(&object), "stands under another snapshot's name"));
        }
        Ok(found)
    }

    /// Removes a snapshot's document; what it alone reaches is garbage from here on.
    #[doc(hidden)]
    pub fn forget(&self, name: &SnapshotName) -> Result<()> {
        self.forget_all(&[name])
    }

    /// Removes the documents of snapshots, in any order.
    pub(crate) fn forget_all(&self, names: &[&SnapshotName]) -> Result<()> {
        self.check_writable()?;
        self.check_readable()?;
        let objects: Vec<String> = names.iter().map(|name| name.object()).collect();
        self.backend.remove_all(&objects)
    }

    /// Writes a snapshot: from here on it is listed, and all that it names must be durable already. It records which pending deletions it does not depend on.
    #[doc(hidden)]
    pub fn publish(&self, snapshot: &Snapshot) -> Result<(SnapshotName, u64)> {
        self.check_writable()?;
        self.refuse_late(snapshot)?;
        let avoids = self.pending_deletions()?.documents.iter().map(|(id, _)| *id).collect();
        let snapshot = &Snapshot { avoids, ..snapshot.clone() };
        let (id, bytes) = snapshot::encode(snapshot, &self.ids)?;
        if bytes.len() as u64 > MOST_WHOLE_BYTES {
            return Err(Error::refused(format!(
                "the snapshot's document would have {} bytes: too many to be read again",
                bytes.len()
            )));
        }
        let name = SnapshotName { source: snapshot.source.clone(), sequence: snapshot.sequence, id };
        self.backend.put(&name.object(), Payload::Bytes(&bytes))?;
        // The machine may have slept between the look and the write.
        if let Err(error) = self.refuse_late(snapshot) {
            // A write-only key removes nothing: then a check says what the snapshot lacks, if anything.
            if self.can_read() {
                self.backend.remove(&name.object())?;
            }
            return Err(error);
        }
        if !self.can_read() {
            self.backend.cache_put(&name.id.to_string(), &bytes);
        }
        Ok((name, bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{FARTHEST, SnapshotName};
    use crate::backend::cache::CachedBackend;
    use crate::backend::{Backend, Payload};
    use crate::fs::lock::LockMode;
    use crate::fs::space::Reserve;
    use crate::id::SnapshotId;
    use crate::progress::Silent;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::memory;

    #[test]
    fn the_newest_are_listed_from_the_last_that_is_cached_unless_its_number_is_out_of_reach() {
        let id = SnapshotId::from_hex(&"7".repeat(64)).unwrap();
        let object = |sequence| SnapshotName { source: "lab".into(), sequence, id }.object();
        for (cached, later, listed) in
            [(2, 3, vec![2, 3]), (FARTHEST, 3, vec![FARTHEST]), (FARTHEST + 1, 3, vec![1, 2, 3, FARTHEST + 1])]
        {
            let backend = Arc::new(memory());
            create(&*backend, [1; 32]).unwrap();
            let put = |sequence| backend.put(&object(sequence), Payload::Bytes(b"document")).unwrap();
            [1, 2, cached].into_iter().for_each(put);
            let dir = tempfile::tempdir().unwrap();
            let below = Arc::clone(&backend) as Arc<dyn Backend>;
            let near = Arc::new(CachedBackend::new(below, dir.path().into(), Reserve::NONE).unwrap());
            near.read(&object(cached)).unwrap();
            put(later);
            let store = Store::open(near, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
            let found = store.newest_snapshot_names("lab").unwrap();
            assert_eq!(found.iter().map(|name| name.sequence).collect::<Vec<_>>(), listed);
        }
    }
}
