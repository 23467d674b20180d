//! Index files: which chunk is where, sorted by chunk id, in blocks that verify themselves, so that a look-up reads one or two
//! blocks and no command ever loads a whole index.

use super::bytes::Reader;
use super::pack::Record;
use crate::error::{Error, Result};
use crate::id::{self, ChunkId, Hasher, PackId};

/// The first bytes of an index: magic, kind, version, zeros.
pub const HEADER: [u8; 8] = *b"LRLI\x01\0\0\0";
/// Record count (u64), block count (u32), pack count (u32), BLAKE3 of everything before it in the file.
pub const TRAILER_LEN: usize = 8 + 4 + 4 + 32;
/// Every block but the last is this long, in bytes.
pub(crate) const BLOCK_LEN: usize = 4096;
const BLOCK_BODY: usize = BLOCK_LEN - 32;
const PACK_LEN: usize = 32;
const ID_LEN: usize = 32;
/// A record without bases.
const MIN_RECORD_LEN: usize = ID_LEN + 8 + 11;

/// One record of an index: a chunk and the pack (by its number in this index) and offset where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Position in the index's table of packs.
    pub pack: u32,
    /// Byte offset in the pack.
    pub offset: u32,
    /// The chunk.
    pub record: Record,
}

/// Sizes and positions in one index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Records in all blocks.
    pub records: u64,
    /// Blocks.
    pub blocks: u32,
    /// Entries of the table of packs, which follows the header.
    pub packs: u32,
    /// Length of the file in bytes.
    pub file_len: u64,
}

impl Layout {
    /// Decodes a file's last [`TRAILER_LEN`] bytes.
    pub fn decode(trailer: &[u8], file_len: u64, object: &str) -> Result<Self> {
        let mut reader = Reader::new(trailer, object);
        let layout = Self { records: reader.u64()?, blocks: reader.u32()?, packs: reader.u32()?, file_len };
        let blocks_end = file_len.checked_sub(TRAILER_LEN as u64);
        let last_block =
            blocks_end.and_then(|end| end.checked_sub(layout.block_offset(layout.blocks.saturating_sub(1))));
        let fits = match last_block {
            Some(len) if layout.blocks == 0 => len == 0 && layout.records == 0,
            Some(len) => (34..=BLOCK_LEN as u64).contains(&len),
            None => false,
        };
        if fits { Ok(layout) } else { Err(Error::corrupt(object, "has an impossible trailer")) }
    }

    /// Returns where the table of packs begins and how many bytes it has.
    pub(crate) fn pack_table(&self) -> (u64, usize) {
        (HEADER.len() as u64, self.packs as usize * PACK_LEN)
    }

    /// Returns where a block begins.
    pub fn block_offset(&self, block: u32) -> u64 {
        HEADER.len() as u64 + u64::from(self.packs) * PACK_LEN as u64 + u64::from(block) * BLOCK_LEN as u64
    }

    /// Returns how many bytes a block has.
    pub fn block_len(&self, block: u32) -> usize {
        let end = self.file_len - TRAILER_LEN as u64;
        (end - self.block_offset(block)).min(BLOCK_LEN as u64) as usize
    }
}

/// Decodes the table of packs.
pub(crate) fn decode_packs(bytes: &[u8]) -> Vec<PackId> {
    bytes.as_chunks::<PACK_LEN>().0.iter().map(|id| PackId::from_bytes(*id)).collect()
}

/// One block whose digest fits. Records are decoded when they are asked for: a look-up needs one of up to 80.
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// Where each record begins.
    starts: Vec<u16>,
}

impl Block {
    /// Checks a block's digest and finds its records.
    pub(crate) fn open(bytes: Vec<u8>, object: &str) -> Result<Self> {
        let Some((body, digest)) = bytes.split_last_chunk::<32>().filter(|_| bytes.len() <= BLOCK_LEN) else {
            return Err(Error::corrupt(object, "has a block of an impossible length"));
        };
        if id::digest(body) != *digest {
            return Err(Error::corrupt(object, "a block does not match its digest"));
        }
        let mut reader = Reader::new(body, object);
        let count = reader.u16()?;
        let mut starts = Vec::with_capacity(usize::from(count).min(body.len() / MIN_RECORD_LEN));
        for _ in 0..count {
            starts.push((body.len() - reader.remaining()) as u16);
            reader.take(ID_LEN + 8)?;
            Record::skip_tail(&mut reader)?;
        }
        Ok(Self { bytes, starts })
    }

    /// Returns how many records it has.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Returns the chunk of a record.
    pub(crate) fn id(&self, at: usize) -> Option<ChunkId> {
        self.bytes.get(usize::from(*self.starts.get(at)?)..)?.first_chunk().copied().map(ChunkId::from_bytes)
    }

    /// Returns the chunk of the first record.
    pub(crate) fn first_id(&self) -> Option<ChunkId> {
        self.id(0)
    }

    /// Returns the chunk of the last record.
    pub(crate) fn last_id(&self) -> Option<ChunkId> {
        self.id(self.starts.len().checked_sub(1)?)
    }

    /// Returns which record is the first of a chunk.
    pub(crate) fn find(&self, id: &ChunkId) -> Option<usize> {
        let is_before = |start: &u16| self.bytes[usize::from(*start)..][..ID_LEN] < id.as_bytes()[..];
        let at = self.starts.partition_point(is_before);
        (self.id(at)? == *id).then_some(at)
    }

    /// Decodes a record that is there.
    pub(crate) fn record(&self, at: usize, layout: &Layout, object: &str) -> Result<Located> {
        let start = self.starts.get(at).map_or(self.bytes.len(), |start| usize::from(*start));
        let mut reader = Reader::new(&self.bytes[start..], object);
        let id = ChunkId::from_bytes(reader.array()?);
        let (pack, offset) = (reader.u32()?, reader.u32()?);
        let record = Record::decode_tail(id, &mut reader)?;
        if pack >= layout.packs {
            return Err(Error::corrupt(object, "names a pack that it does not list"));
        }
        Ok(Located { pack, offset, record })
    }
}

/// Decodes one block after checking its digest.
pub fn decode_block(block: &[u8], layout: &Layout, object: &str) -> Result<Vec<Located>> {
    let block = Block::open(block.to_vec(), object)?;
    (0..block.len()).map(|at| block.record(at, layout, object)).collect()
}

/// Encodes an index piece by piece: header and packs at once, then records in order of their ids, then the trailer.
pub struct Encoder {
    hasher: Hasher,
    packs: u32,
    blocks: u32,
    records: u64,
    block: Vec<u8>,
    in_block: u16,
}

impl Encoder {
    /// Starts an index; the returned bytes are the first of the file.
    pub fn new(packs: &[PackId]) -> (Self, Vec<u8>) {
        let mut head = HEADER.to_vec();
        packs.iter().for_each(|id| head.extend_from_slice(id.as_bytes()));
        let mut hasher = Hasher::new();
        hasher.update(&head);
        let encoder = Self { hasher, packs: packs.len() as u32, blocks: 0, records: 0, block: vec![0; 2], in_block: 0 };
        (encoder, head)
    }

    /// Adds the next record; returns a block once one is full.
    pub fn push(&mut self, located: &Located) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(located.record.id.as_bytes());
        bytes.extend_from_slice(&located.pack.to_le_bytes());
        bytes.extend_from_slice(&located.offset.to_le_bytes());
        located.record.encode_tail(&mut bytes);
        let full = if self.block.len() + bytes.len() > BLOCK_BODY {
            self.block.resize(BLOCK_BODY, 0);
            Some(self.close_block())
        } else {
            None
        };
        self.block.extend_from_slice(&bytes);
        self.in_block += 1;
        self.records += 1;
        full
    }

    fn close_block(&mut self) -> Vec<u8> {
        self.block[..2].copy_from_slice(&self.in_block.to_le_bytes());
        let digest = id::digest(&self.block);
        self.block.extend_from_slice(&digest);
        self.hasher.update(&self.block);
        self.blocks += 1;
        self.in_block = 0;
        std::mem::replace(&mut self.block, vec![0; 2])
    }

    /// Returns the file's last bytes and its id.
    pub fn finish(mut self) -> (Vec<u8>, crate::id::IndexId) {
        let mut out = if self.in_block > 0 { self.close_block() } else { Vec::new() };
        let mut numbers = self.records.to_le_bytes().to_vec();
        numbers.extend_from_slice(&self.blocks.to_le_bytes());
        numbers.extend_from_slice(&self.packs.to_le_bytes());
        let digest = self.hasher.update(&numbers).finish();
        out.extend_from_slice(&numbers);
        out.extend_from_slice(&digest);
        (out, crate::id::IndexId::from_bytes(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, Encoder, HEADER, Layout, Located, TRAILER_LEN, decode_block, decode_packs};
    use crate::format::pack::tests::records;
    use crate::id::{ChunkId, IndexId, PackId};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn indexes_round_trip(mut records in records()) {
            records.sort_by_key(|r| r.id);
            let packs = [PackId::of(b"1"), PackId::of(b"2")];
            let list: Vec<_> = records.into_iter().enumerate().map(|(i, record)| Located { pack: i as u32 % 2, offset: i as u32, record }).collect();
            let (mut encoder, mut file) = Encoder::new(&packs);
            for located in &list {
                if let Some(block) = encoder.push(located) {
                    file.extend(block);
                }
            }
            let (tail, id) = encoder.finish();
            file.extend(tail);
            prop_assert!(file.starts_with(&HEADER));
            prop_assert_eq!(IndexId::of(&file[..file.len() - 32]), id);
            let layout = Layout::decode(&file[file.len() - TRAILER_LEN..], file.len() as u64, "t").unwrap();
            let (at, len) = layout.pack_table();
            prop_assert_eq!(decode_packs(&file[at as usize..at as usize + len]), packs);
            let mut back = Vec::new();
            for block in 0..layout.blocks {
                let at = layout.block_offset(block) as usize;
                let bytes = &file[at..at + layout.block_len(block)];
                let records = decode_block(bytes, &layout, "t").unwrap();
                let block = Block::open(bytes.to_vec(), "t").unwrap();
                prop_assert_eq!(block.first_id(), records.first().map(|located| located.record.id));
                prop_assert_eq!(block.last_id(), records.last().map(|located| located.record.id));
                for located in &records {
                    let first = records.iter().position(|other| other.record.id == located.record.id);
                    prop_assert_eq!(block.find(&located.record.id), first);
                    prop_assert_eq!(&block.record(first.unwrap(), &layout, "t").unwrap(), &records[first.unwrap()]);
                }
                prop_assert_eq!(block.find(&ChunkId::of(b"of none")), None);
                back.extend(records);
            }
            prop_assert_eq!(back, list);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let layout = Layout { records: 0, blocks: 1, packs: 1, file_len: 0 };
            let _ = decode_block(&bytes, &layout, "t");
            let _ = Layout::decode(&bytes, bytes.len() as u64, "t");
        }
    }
}
