//! Looking chunks up in index files, and merging those files by streaming. Never holds a whole index.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use self::summary::Summary;
use super::fifo::Fifo;
use crate::backend::{Backend, Payload, hash_start};
use crate::budget::{FILE_BLOCKS, INDEX_BUFFER_BYTES};
use crate::error::{Error, Result};
use crate::format::index::{self, Block, Encoder, Layout, Located};
use crate::id::{ChunkId, IndexId, PackId};

pub(crate) use self::load::MIN_EXPECTED;
pub use self::location::{ChunkCopy, IndexSlot, Location};

/// Index files that a store keeps, at most; one more and the small ones are merged.
pub const MAX_FILES: usize = 16;

/// A block of 4096 bytes holds 79 records at most.
const BLOCK_SLOTS: u64 = 128;

/// An open index file.
pub struct IndexFile {
    name: String,
    tag: u64,
    layout: Layout,
    packs: Vec<PackId>,
    cache: Mutex<Fifo<u32, Arc<Block>>>,
    cached_blocks: AtomicUsize,
    // `None` if a block of it could not be read.
    summary: OnceLock<Option<Summary>>,
}

/// Returns the object's name of an index.
pub(crate) fn object_name(id: &IndexId) -> String {
    format!("index/{id}")
}

/// Returns whether an object's name is one that an index can have.
pub(crate) fn is_object_name(name: &str) -> bool {
    name.strip_prefix("index/").is_some_and(|id| IndexId::from_hex(id).is_ok())
}

impl IndexFile {
    /// Returns its length in bytes.
    pub(crate) fn file_len(&self) -> u64 {
        self.layout.file_len
    }

    /// Reads an index's trailer and table of packs.
    pub fn open(backend: &dyn Backend, name: &str) -> Result<Self> {
        let object = backend.object_location(name);
        let len = backend.len(name)?;
        let short = || Error::corrupt(&object, "ends too early");
        let at = len.checked_sub((index::TRAILER_LEN + index::HEADER.len()) as u64).ok_or_else(short)?;
        let trailer = backend.read_range(name, at + index::HEADER.len() as u64, index::TRAILER_LEN)?;
        let header = backend.read_range(name, 0, index::HEADER.len())?;
        if header != index::HEADER {
            // A later version has a digest that fits; a damaged one has not.
            return Err(if header.starts_with(b"LRLI") && digest(backend, name, len - 32)? == *name {
                Error::Unsupported { what: format!("the format of {object}").into() }
            } else {
                Error::corrupt(&object, "does not begin like an index")
            });
        }
        let stated = name.rsplit('/').next().unwrap_or_default();
        let id = IndexId::from_hex(stated)?;
        if !trailer.ends_with(id.as_bytes()) {
            return Err(Error::corrupt(&object, "its digest does not match its name"));
        }
        let layout = Layout::decode(&trailer, len, &object)?;
        let (at, table_len) = layout.pack_table();
        let packs = index::decode_packs(&backend.read_range(name, at, table_len)?);
        let tag = u64::from_be_bytes(*id.as_bytes().first_chunk().unwrap_or(&[0; 8]));
        let cached_blocks = AtomicUsize::new(FILE_BLOCKS);
        Ok(Self {
            name: name.into(),
            tag,
            layout,
            packs,
            cache: Mutex::default(),
            cached_blocks,
            summary: OnceLock::new(),
        })
    }

    /// Returns the object's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps more blocks, of about 4 KiB each, for a caller that looks most chunks up; or fewer again.
    pub(crate) fn keep_blocks(&self, blocks: usize) {
        let blocks = blocks.max(FILE_BLOCKS);
        self.cached_blocks.store(blocks, Ordering::Relaxed);
        self.cached().keep(blocks);
    }

    fn cached(&self) -> MutexGuard<'_, Fifo<u32, Arc<Block>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads it once, so that a look-up reads one block, or with a filter mostly none of what it does not list: for a caller that looks most
    /// chunks up. A filter takes 10 bits for each chunk. If a block cannot be read, look-ups stay as they were, and find out what is wrong.
    ///
    /// # Errors
    /// Only those that end the run.
    pub(crate) fn summarize(&self, backend: &dyn Backend, with_filter: bool) -> Result<()> {
        let mut summary = Summary::new(with_filter.then_some(self.layout.records));
        let read = (0..self.layout.blocks).try_for_each(|number| {
            let block = self.read_block(backend, number)?;
            summary.add_block((0..block.len()).filter_map(|at| block.id(at)));
            Ok(())
        });
        if !read.as_ref().is_err_and(Error::is_final) {
            let _ = self.summary.set(read.is_ok().then_some(summary));
            return Ok(());
        }
        read
    }

    /// Returns whether [`IndexFile::summarize`] has read it, or tried to.
    pub(crate) fn was_summarized(&self) -> bool {
        self.summary.get().is_some()
    }

    /// Returns how many chunks it lists.
    pub fn records(&self) -> u64 {
        self.layout.records
    }

    /// Returns the packs that it lists.
    pub(crate) fn packs(&self) -> &[PackId] {
        &self.packs
    }

    /// Finds one copy of a chunk.
    pub fn find(&self, backend: &dyn Backend, id: &ChunkId) -> Result<Option<ChunkCopy>> {
        let Some((number, block)) = self.find_block(backend, id)? else { return Ok(None) };
        block.find(id).map(|at| self.copy(backend, number, &block, at)).transpose()
    }

    /// Finds every copy of a chunk.
    pub fn find_all(&self, backend: &dyn Backend, id: &ChunkId) -> Result<Vec<ChunkCopy>> {
        let mut copies = Vec::new();
        let Some((mut number, mut block)) = self.find_block(backend, id)? else { return Ok(copies) };
        while number > 0 && block.first_id() == Some(*id) {
            let before = self.block(backend, number - 1)?;
            if before.last_id() != Some(*id) {
                break;
            }
            (number, block) = (number - 1, before);
        }
        loop {
            let mut at = block.find(id).unwrap_or(block.len());
            while block.id(at) == Some(*id) {
                copies.push(self.copy(backend, number, &block, at)?);
                at += 1;
            }
            let goes_on = block.last_id() == Some(*id) && number + 1 < self.layout.blocks;
            if !goes_on {
                return Ok(copies);
            }
            number += 1;
            block = self.block(backend, number)?;
        }
    }

    fn copy(&self, backend: &dyn Backend, number: u32, block: &Block, at: usize) -> Result<ChunkCopy> {
        let located = block.record(at, &self.layout, &backend.object_location(&self.name))?;
        self.copy_of(number, at, located)
    }

    fn copy_of(&self, block: u32, at: usize, located: Located) -> Result<ChunkCopy> {
        let slot = IndexSlot { file: self.tag, at: u64::from(block) * BLOCK_SLOTS + at as u64 };
        Ok(ChunkCopy { slot, place: self.place(located)? })
    }

    /// Finds a block that holds the chunk.
    fn find_block(&self, backend: &dyn Backend, id: &ChunkId) -> Result<Option<(u32, Arc<Block>)>> {
        let target = id.leading_value();
        let (mut low, mut high) = (0i64, i64::from(self.layout.blocks) - 1);
        if let Some(Some(summary)) = self.summary.get() {
            let Some(range) = summary.blocks_of(id) else { return Ok(None) };
            (low, high) = (i64::from(*range.start()), i64::from(*range.end()));
        }
        // Ids are uniform, so their value tells where they are: interpolation needs two or three blocks where bisection needs twenty.
        let (mut low_value, mut high_value) = (0u64, u64::MAX);
        for step in 0.. {
            if low > high {
                return Ok(None);
            }
            let span = (high - low + 1) as u128;
            let share = u128::from(target.saturating_sub(low_value)) * span
                / (u128::from(high_value.saturating_sub(low_value)) + 1);
            let guess = if step < 8 { low + share.min(span - 1) as i64 } else { (low + high) / 2 };
            let block = self.block(backend, guess as u32)?;
            let (Some(first), Some(last)) = (block.first_id(), block.last_id()) else { return Ok(None) };
            if *id < first {
                (high, high_value) = (guess - 1, first.leading_value());
            } else if *id > last {
                (low, low_value) = (guess + 1, last.leading_value());
            } else {
                return Ok(block.find(id).map(|_| (guess as u32, block)));
            }
        }
        Ok(None)
    }

    fn place(&self, located: Located) -> Result<Location> {
        let pack = self
            .packs
            .get(located.pack as usize)
            .ok_or_else(|| Error::corrupt(&self.name, "names a pack that it does not list"))?;
        Ok(Location { pack: *pack, offset: u64::from(located.offset), record: located.record })
    }

    fn block(&self, backend: &dyn Backend, block: u32) -> Result<Arc<Block>> {
        if let Some(found) = self.cached().get(&block) {
            return Ok(Arc::clone(found));
        }
        let opened = Arc::new(self.read_block(backend, block)?);
        let mut cache = self.cached();
        cache.keep(self.cached_blocks.load(Ordering::Relaxed) - 1);
        cache.insert(block, Arc::clone(&opened));
        Ok(opened)
    }

    fn read_block(&self, backend: &dyn Backend, block: u32) -> Result<Block> {
        let bytes = backend.read_range(&self.name, self.layout.block_offset(block), self.layout.block_len(block))?;
        Block::open(bytes, &backend.object_location(&self.name))
    }

    /// Walks all records in order of their chunks' ids; a block that cannot be read is one error among them.
    pub(crate) fn stream<'a>(&'a self, backend: &'a dyn Backend) -> impl Iterator<Item = Result<ChunkCopy>> + 'a {
        (0..self.layout.blocks).flat_map(move |block| {
            let bytes = backend.read_range(&self.name, self.layout.block_offset(block), self.layout.block_len(block));
            let decoded =
                bytes.and_then(|bytes| index::decode_block(&bytes, &self.layout, &backend.object_location(&self.name)));
            match decoded {
                Ok(records) => records
                    .into_iter()
                    .enumerate()
                    .map(|(at, located)| self.copy_of(block, at, located))
                    .collect::<Vec<_>>(),
                Err(e) => vec![Err(e)],
            }
        })
    }

    /// Checks the whole file against its name.
    pub fn verify(&self, backend: &dyn Backend) -> Result<()> {
        if self.name == digest(backend, &self.name, self.layout.file_len - 32)? {
            Ok(())
        } else {
            Err(Error::corrupt(backend.object_location(&self.name), "does not match its digest"))
        }
    }
}

/// Returns the name that the first `end` bytes of an index give it.
fn digest(backend: &dyn Backend, name: &str, end: u64) -> Result<String> {
    Ok(object_name(&IndexId::from_bytes(hash_start(backend, name, end)?)))
}

/// Writes one index of records that come in order of their ids; returns it opened, and its length in bytes.
pub fn write(
    backend: &dyn Backend,
    packs: &[PackId],
    records: impl Iterator<Item = Result<Located>>,
) -> Result<(IndexFile, u64)> {
    let mut temp = backend.temp_document("index")?;
    let room = backend.space();
    let mut len = 0u64;
    let (mut encoder, head) = Encoder::new(packs);
    let mut out = std::io::BufWriter::with_capacity(INDEX_BUFFER_BYTES, &mut temp);
    let mut write = |bytes: &[u8]| {
        len += bytes.len() as u64;
        room.charge(bytes.len() as u64)?;
        out.write_all(bytes).map_err(Error::io("write a new index in", backend.location()))
    };
    write(&head)?;
    drop(head);
    for located in records {
        if let Some(block) = encoder.push(&located?) {
            write(&block)?;
        }
    }
    let (tail, id) = encoder.finish();
    write(&tail)?;
    out.flush().map_err(Error::io("write a new index in", backend.location()))?;
    drop(out);
    let name = object_name(&id);
    backend.put(&name, Payload::TempObject(temp))?;
    Ok((IndexFile::open(backend, &name)?, len))
}

/// Walks all chunks in order of their ids, each with all its copies by pack and offset; a copy that several files list comes once for
/// each of them.
pub(crate) fn groups<'a>(
    backend: &'a dyn Backend,
    files: &'a [Arc<IndexFile>],
) -> impl Iterator<Item = Result<Vec<ChunkCopy>>> + 'a {
    grouped(files.iter().map(|file| -> Copies<'a> { Box::new(file.stream(backend)) }).collect())
}

/// Copies of chunks in order of their ids.
type Copies<'a> = Box<dyn Iterator<Item = Result<ChunkCopy>> + 'a>;

fn grouped<'a>(streams: Vec<Copies<'a>>) -> impl Iterator<Item = Result<Vec<ChunkCopy>>> + 'a {
    let mut streams: Vec<_> = streams.into_iter().map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let mut least: Option<ChunkId> = None;
        for stream in &mut streams {
            match stream.peek() {
                Some(Ok(copy)) if least.is_none_or(|id| copy.place.record.id < id) => {
                    least = Some(copy.place.record.id)
                }
                Some(Err(_)) => return stream.next().map(|failed| failed.map(|copy| vec![copy])),
                _ => {}
            }
        }
        let least = least?;
        let mut group = Vec::new();
        for stream in &mut streams {
            while let Some(Ok(copy)) = stream.next_if(|next| next.as_ref().is_ok_and(|c| c.place.record.id == least)) {
                group.push(copy);
            }
        }
        group.sort_by_key(|copy| (copy.place.pack, copy.place.offset));
        Some(Ok(group))
    })
}

/// Writes one index that says what `files` say and what is new: `records` in order of their chunks' ids, in `packs`. A chunk that several list is
/// kept once for each different place.
pub(crate) fn merge(
    backend: &dyn Backend,
    files: &[Arc<IndexFile>],
    packs: &[PackId],
    records: &[Located],
) -> Result<(IndexFile, u64)> {
    let new = records.iter().map(|located| {
        let pack = packs.get(located.pack as usize);
        let pack = pack.ok_or_else(|| Error::corrupt("a new index", "names a pack that it does not list"))?;
        let place = Location { pack: *pack, offset: u64::from(located.offset), record: located.record.clone() };
        Ok(ChunkCopy { slot: IndexSlot { file: 0, at: 0 }, place })
    });
    let mut streams: Vec<Copies<'_>> = vec![Box::new(new)];
    streams.extend(files.iter().map(|file| -> Copies<'_> { Box::new(file.stream(backend)) }));
    let packs = files.iter().flat_map(|file| &file.packs).chain(packs).copied().collect();
    write_groups(backend, packs, grouped(streams), &mut |_| Ok(()))
}

/// Writes one index of what `keep` leaves of each chunk's copies; they must be in `packs`.
pub(crate) fn select(
    backend: &dyn Backend,
    files: &[Arc<IndexFile>],
    packs: Vec<PackId>,
    keep: &mut dyn FnMut(&mut Vec<ChunkCopy>) -> Result<()>,
) -> Result<(IndexFile, u64)> {
    write_groups(backend, packs, groups(backend, files), keep)
}

fn write_groups(
    backend: &dyn Backend,
    mut packs: Vec<PackId>,
    groups: impl Iterator<Item = Result<Vec<ChunkCopy>>>,
    keep: &mut dyn FnMut(&mut Vec<ChunkCopy>) -> Result<()>,
) -> Result<(IndexFile, u64)> {
    packs.sort_unstable();
    packs.dedup();
    let located = |copy: ChunkCopy| {
        let Location { pack, offset, record } = copy.place;
        let number = packs.binary_search(&pack).ok().and_then(|at| u32::try_from(at).ok());
        let numbers = number.zip(u32::try_from(offset).ok());
        let (pack, offset) = numbers.ok_or_else(|| Error::corrupt(pack, "cannot be named by an index"))?;
        Ok(Located { pack, offset, record })
    };
    let selected = groups.flat_map(|group| {
        let left = group.and_then(|mut copies| {
            keep(&mut copies)?;
            copies.dedup_by_key(|copy| (copy.place.pack, copy.place.offset));
            Ok(copies)
        });
        match left {
            Ok(copies) => copies.into_iter().map(located).collect(),
            Err(e) => vec![Err(e)],
        }
    });
    write(backend, &packs, selected)
}

mod load;
mod location;
mod summary;
#[cfg(test)]
mod tests;
