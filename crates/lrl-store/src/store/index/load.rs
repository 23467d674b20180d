//! The set of index files of an open store: which there are, adding and merging them, and replacing them all.

use std::sync::{Arc, PoisonError};

use super::{ChunkCopy, IndexFile};
use crate::backend::collect;
use crate::budget::{INDEX_BLOCKS, MORE_DECODED_BYTES, MORE_INDEX_BLOCKS, SUMMARIZED_CHUNKS};
use crate::error::{Error, Result};
use crate::format::index::Located;
use crate::id::PackId;
use crate::progress::{Observer, checkpoint};
use crate::store::handle::{DamagedIndex, Store};
use crate::store::index;

/// For fewer chunks nothing is prepared.
pub(crate) const MIN_EXPECTED: u64 = 1024;

/// Shares out how many blocks are kept, by the files' lengths; returns how many chunks they list.
fn share_blocks(files: &[Arc<IndexFile>], blocks: usize) -> u64 {
    let records: u64 = files.iter().map(|file| file.records()).sum();
    files.iter().for_each(|file| file.keep_blocks((blocks as u64 * file.records() / records.max(1)) as usize));
    records
}

impl Store {
    /// Returns the open index files.
    #[doc(hidden)]
    pub fn indexes(&self) -> Vec<Arc<IndexFile>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the names of the open index files.
    pub(crate) fn open_index_names(&self) -> Vec<String> {
        self.indexes().iter().map(|file| file.name().to_string()).collect()
    }

    /// Returns the index files that are not trusted.
    #[doc(hidden)]
    pub fn damaged_indexes(&self) -> Vec<DamagedIndex> {
        self.damaged.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lists and opens the index files anew.
    pub(crate) fn reload_indexes(&self) -> Result<()> {
        // A merge in another process may replace files between the listing and the opening: list again.
        for attempt in 0.. {
            let names = self.index_names()?;
            let (mut files, mut damaged, mut vanished) = (Vec::new(), Vec::new(), None);
            for name in names {
                let opened = match IndexFile::open(&*self.backend, &name) {
                    // The damage may be in a locally cached copy.
                    Err(Error::Corrupt { .. }) if self.backend.cache_clear() => IndexFile::open(&*self.backend, &name),
                    opened => opened,
                };
                match opened {
                    Ok(file) => files.push(Arc::new(file)),
                    Err(e @ Error::Corrupt { .. }) => damaged.push(DamagedIndex { name, reason: e.to_string() }),
                    Err(e @ Error::Missing { .. }) => vanished = Some(e),
                    Err(e) => return Err(e),
                }
            }
            match vanished {
                Some(_) if attempt < 10 => continue,
                Some(e) => return Err(e),
                None => {}
            }
            share_blocks(&files, INDEX_BLOCKS);
            *self.indexes.write().unwrap_or_else(PoisonError::into_inner) = files;
            *self.damaged.write().unwrap_or_else(PoisonError::into_inner) = damaged;
            break;
        }
        Ok(())
    }

    /// Reads every index file whole; those that are damaged are not trusted from here on.
    pub(crate) fn verify_indexes(&self, observer: &dyn Observer) -> Result<()> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for file in self.indexes() {
            checkpoint(observer)?;
            match file.verify(&*self.backend) {
                Ok(()) => good.push(file),
                Err(e) if e.is_damage() && !matches!(e, Error::Missing { .. }) => {
                    bad.push(DamagedIndex { name: file.name().into(), reason: e.to_string() });
                }
                Err(e) => return Err(e),
            }
        }
        *self.indexes.write().unwrap_or_else(PoisonError::into_inner) = good;
        self.damaged.write().unwrap_or_else(PoisonError::into_inner).extend(bad);
        Ok(())
    }

    /// Prepares for look-ups of most chunks, in no order: keeps this many blocks, shared out by length, and summaries by which a look-up reads
    /// one block of the one file that has the chunk; with `new`, chunks that no file has are looked up, too.
    pub(crate) fn expect_look_ups(&self, blocks: usize, new: bool) -> Result<()> {
        let files = self.indexes();
        let with_filter = new || files.len() > 1;
        if share_blocks(&files, blocks) > SUMMARIZED_CHUNKS {
            return Ok(());
        }
        let mut files = files.iter().filter(|file| !file.was_summarized());
        files.try_for_each(|file| file.summarize(&*self.backend, with_filter))
    }

    /// Prepares for reading or looking up this many chunks: where those are a good part of all chunks, look-ups read the one file that has
    /// each. With `alone`, nothing else is done meanwhile, and more is kept in memory.
    pub(crate) fn expect_chunks(&self, chunks: u64, alone: bool) -> Result<()> {
        let records: u64 = self.indexes().iter().map(|file| file.records()).sum();
        if chunks < MIN_EXPECTED || chunks < records / 32 {
            return Ok(());
        }
        if alone {
            self.bases.hold_more(MORE_DECODED_BYTES);
        }
        self.expect_look_ups(if alone { MORE_INDEX_BLOCKS } else { INDEX_BLOCKS }, !alone)
    }

    /// Writes one index of what `keep` leaves of each chunk's copies, in `packs`; then removes all other index files, durably. A failure
    /// before that changes nothing. Where it is known how many records there must be, another number is a failure.
    pub(crate) fn replace_indexes(
        &self,
        packs: Vec<PackId>,
        records: Option<u64>,
        keep: &mut dyn FnMut(&mut Vec<ChunkCopy>) -> Result<()>,
    ) -> Result<()> {
        self.check_writable()?;
        let old = self.indexes();
        old.iter().for_each(|file| file.keep_blocks(0));
        let mut files = Vec::new();
        if !packs.is_empty() {
            let (new, _) = index::select(&*self.backend, &old, packs, keep)?;
            // The old ones are deleted: what replaces them is read back first.
            new.verify(&*self.backend)?;
            if records.is_some_and(|records| new.records() != records) {
                return Err(Error::corrupt(
                    self.backend.object_location(new.name()),
                    "does not list all that it should",
                ));
            }
            files.push(Arc::new(new));
        }
        *self.indexes.write().unwrap_or_else(PoisonError::into_inner) = files.clone();
        *self.pack_scan.write().unwrap_or_else(PoisonError::into_inner) = None;
        for file in old.iter().filter(|file| files.iter().all(|new| new.name() != file.name())) {
            self.backend.remove(file.name())?;
        }
        self.backend.sync("index")
    }

    /// Deletes the local cache: on a full disk its space costs only time.
    pub(crate) fn drop_cache(&self) {
        if let Some(dir) = self.backend.cache_dir() {
            let _ = std::fs::remove_dir_all(dir);
        }
    }

    /// Returns the packs that index files name, each once, in order.
    pub(crate) fn listed_packs(&self) -> Vec<PackId> {
        let mut listed: Vec<PackId> = self.indexes().iter().flat_map(|file| file.packs().to_vec()).collect();
        listed.sort_unstable();
        listed.dedup();
        listed
    }

    /// Lists the names of all index files, whether or not they can be read.
    pub(crate) fn index_names(&self) -> Result<Vec<String>> {
        collect(&*self.backend, "index", |name| index::is_object_name(name).then(|| name.to_string()))
    }

    /// Writes an index of these records, in any order; returns by how many bytes the store grew. Where there are too many index files, the small
    /// ones are merged into it.
    pub(crate) fn write_index(&self, packs: Vec<PackId>, mut records: Vec<Located>) -> Result<u64> {
        self.check_writable()?;
        records.sort_unstable_by_key(|located| located.record.id);
        let mut files = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_stale = false;
        // Merging removes what was merged, and a write-only key removes nothing.
        if files.len() >= index::MAX_FILES && self.can_read() {
            // Merging a file costs its length: take small ones, and a larger one only with as much of others. Total cost stays logarithmic.
            files.sort_by_key(|file| file.records());
            let mut sum = records.len() as u64;
            let count = files.iter().enumerate().take_while(|(i, file)| {
                let take = i + 1 < index::MAX_FILES / 2 || file.records() <= sum;
                sum += file.records();
                take
            });
            let count = count.count();
            match index::merge(&*self.backend, &files[..count], &packs, &records) {
                Ok((merged, len)) => {
                    let merged = Arc::new(merged);
                    let old: Vec<_> = files.drain(..count).filter(|file| file.name() != merged.name()).collect();
                    files.push(merged);
                    let replaced: u64 = old.iter().map(|file| file.file_len()).sum();
                    let old: Vec<String> = old.iter().map(|file| file.name().to_string()).collect();
                    self.backend.remove_all(&old)?;
                    return Ok(len.saturating_sub(replaced));
                }
                // A rewrite of a damaged index would lose what it still says.
                Err(Error::Corrupt { .. }) => {}
                // Another process has merged some of them meanwhile.
                Err(Error::Missing { .. }) => is_stale = true,
                Err(e) => return Err(e),
            }
        }
        let (file, len) = index::write(&*self.backend, &packs, records.into_iter().map(Ok))?;
        files.push(Arc::new(file));
        drop(files);
        if is_stale {
            self.reload_indexes()?;
        }
        Ok(len)
    }
}
