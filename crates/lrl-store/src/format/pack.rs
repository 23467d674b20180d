//! Pack files: many encoded chunks, then their directory, then a footer. Named by the BLAKE3 of the whole file.

use super::bytes::Reader;
use crate::compression::{Encoding, MAX_BASES, MAX_CHUNK};
use crate::crypt::{self, Key, Keys, SEALED_KEY_LEN, TAG_LEN};
use crate::error::{Error, Result};
use crate::id::{ChunkId, Hasher};

/// The first bytes of a pack: magic, kind, version, zeros.
pub const HEADER: [u8; 8] = *b"LRLP\x01\0\0\0";
/// The first bytes of a pack in an encrypted store; the sealed key of its chunks follows.
pub(crate) const SEALED_HEADER: [u8; 8] = *b"LRLP\x01\x01\0\0";
/// Directory offset (u32), record count (u32), BLAKE3 of header, directory and these two numbers.
pub(crate) const FOOTER_LEN: usize = 4 + 4 + 32;

/// The record of one chunk in a pack or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The chunk.
    pub id: ChunkId,
    /// Bytes in the pack.
    pub encoded_len: u32,
    /// Bytes of the chunk itself.
    pub plain_len: u32,
    /// How they were encoded.
    pub encoding: Encoding,
    /// Length of the longest chain of bases below this chunk; 0 without bases.
    pub depth: u8,
    /// The bases of a delta, in order; empty otherwise.
    pub bases: Vec<ChunkId>,
}

/// Deltas form chains of at most this length.
pub(crate) const MAX_DEPTH: u8 = 8;

impl Record {
    /// Appends everything but the id.
    pub fn encode_tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encoded_len.to_le_bytes());
        out.extend_from_slice(&self.plain_len.to_le_bytes());
        out.extend_from_slice(&[self.encoding.code(), self.depth, self.bases.len() as u8]);
        self.bases.iter().for_each(|base| out.extend_from_slice(base.as_bytes()));
    }

    /// Reads what [`Record::encode_tail`] wrote.
    pub(crate) fn decode_tail(id: ChunkId, reader: &mut Reader<'_>) -> Result<Self> {
        let (encoded_len, plain_len) = (reader.u32()?, reader.u32()?);
        let encoding = Encoding::from_code(reader.u8()?)
            .ok_or_else(|| reader.malformed("holds a chunk of an unknown encoding"))?;
        let (depth, count) = (reader.u8()?, usize::from(reader.u8()?));
        let fits = match encoding {
            Encoding::Delta => (1..=MAX_BASES).contains(&count) && (1..=MAX_DEPTH).contains(&depth),
            Encoding::Zstd => count == 0 && depth == 0,
            // Sealed ones are longer by a tag.
            Encoding::Stored => {
                count == 0
                    && depth == 0
                    && [Some(0), Some(TAG_LEN as u32)].contains(&encoded_len.checked_sub(plain_len))
            }
        };
        if !fits || plain_len as usize > MAX_CHUNK || encoded_len > plain_len + TAG_LEN as u32 {
            return Err(reader.malformed("holds an impossible chunk record"));
        }
        let mut bases = Vec::with_capacity(count);
        for _ in 0..count {
            bases.push(ChunkId::from_bytes(reader.array()?));
        }
        Ok(Self { id, encoded_len, plain_len, encoding, depth, bases })
    }

    /// Passes what [`Record::encode_tail`] wrote.
    pub(crate) fn skip_tail(reader: &mut Reader<'_>) -> Result<()> {
        reader.take(4 + 4 + 1 + 1)?;
        let count = usize::from(reader.u8()?);
        reader.take(count * 32).map(|_| ())
    }
}

/// Where the first chunk of a pack begins.
pub(crate) fn head_len(keys: Option<&Keys>) -> usize {
    HEADER.len() + keys.map_or(0, |_| SEALED_KEY_LEN)
}

/// Makes the head of a pack in an encrypted store.
pub fn sealed_head(keys: &Keys, chunks: &Key) -> Result<Vec<u8>> {
    Ok([&SEALED_HEADER[..], &keys.seal_key(chunks)?].concat())
}

/// Opens the key of a pack's chunks.
pub(crate) fn open_head(keys: &Keys, head: &[u8], object: &str) -> Result<Key> {
    match head.strip_prefix(&SEALED_HEADER) {
        Some(sealed) => keys.open_key(sealed, object),
        None => Err(Error::corrupt(object, "does not begin like a pack of an encrypted store")),
    }
}

/// The offset tells the chunks of a pack apart; should two packs ever have one key, the id does.
fn chunk_nonce(offset: u64, id: &ChunkId) -> [u8; 24] {
    let mut nonce = crypt::numbered(offset);
    nonce[8..].copy_from_slice(&id.as_bytes()[..16]);
    nonce
}

/// What a chunk is sealed with: the store, and all that its record says.
fn chunk_context(keys: &Keys, record: &Record) -> Vec<u8> {
    let mut what = record.id.as_bytes().to_vec();
    record.encode_tail(&mut what);
    keys.context("chunk", &what)
}

/// Seals a chunk's encoded bytes for `offset` in a pack; the record's length grows by what that adds.
pub(crate) fn seal_chunk(keys: &Keys, key: &Key, offset: u64, record: &mut Record, bytes: &mut Vec<u8>) -> Result<()> {
    record.encoded_len += TAG_LEN as u32;
    key.seal(&chunk_nonce(offset, &record.id), &chunk_context(keys, record), bytes)
}

/// Opens a chunk's encoded bytes.
pub(crate) fn open_chunk(
    keys: &Keys,
    key: &Key,
    offset: u64,
    record: &Record,
    bytes: Vec<u8>,
    object: &str,
) -> Result<Vec<u8>> {
    let plain = key.open(&chunk_nonce(offset, &record.id), &chunk_context(keys, record), bytes);
    plain.ok_or_else(|| {
        Error::corrupt(object, "its bytes do not open: they, or what the index says of them, were changed")
    })
}

fn directory(records: &[Record]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() * 60 + FOOTER_LEN);
    for record in records {
        out.extend_from_slice(record.id.as_bytes());
        record.encode_tail(&mut out);
    }
    out
}

fn numbers(records: usize, directory_offset: u32) -> [u8; 8] {
    let mut numbers = [0; 8];
    numbers[..4].copy_from_slice(&directory_offset.to_le_bytes());
    numbers[4..].copy_from_slice(&(records as u32).to_le_bytes());
    numbers
}

/// Encodes the directory and the footer of a pack whose encoded chunks end at `directory_offset`.
pub fn encode_tail(records: &[Record], directory_offset: u32) -> Vec<u8> {
    let mut out = directory(records);
    out.extend_from_slice(&numbers(records.len(), directory_offset));
    let digest = Hasher::new().update(&HEADER).update(&out).finish();
    out.extend_from_slice(&digest);
    out
}

/// The directory's key is the pack's alone: its head has a random public key of 32 bytes, which is used once.
fn directory_key(keys: &Keys, head: &[u8]) -> Key {
    let mut salt = [0; 32];
    salt.copy_from_slice(&head[HEADER.len()..][..32]);
    keys.structure().for_object(&salt)
}

/// As [`encode_tail`], sealed: with a tag and zeros in the digest's place.
pub(crate) fn seal_tail(keys: &Keys, head: &[u8], records: &[Record], directory_offset: u32) -> Result<Vec<u8>> {
    let numbers = numbers(records.len(), directory_offset);
    let mut out = directory(records);
    let context = keys.context("directory", &[head, &numbers].concat());
    let tag = directory_key(keys, head).seal_in_place(&crypt::numbered(0), &context, &mut out)?;
    out.extend_from_slice(&numbers);
    out.extend_from_slice(&tag);
    out.extend_from_slice(&[0; 32 - TAG_LEN]);
    Ok(out)
}

/// Reads where the directory begins from a pack's last `FOOTER_LEN` bytes; `pack_len` is the file's length.
pub fn directory_offset(footer: &[u8], pack_len: u64, object: &str) -> Result<u64> {
    let offset = u64::from(Reader::new(footer, object).u32()?);
    if footer.len() != FOOTER_LEN || offset < HEADER.len() as u64 || offset + FOOTER_LEN as u64 > pack_len {
        return Err(Error::corrupt(object, "has an impossible footer"));
    }
    Ok(offset)
}

/// Decodes `tail` (a pack's bytes from its directory to its end) into records with their offsets in the pack.
pub fn decode_tail(header: &[u8], tail: &[u8], directory_offset: u64, object: &str) -> Result<Vec<(u64, Record)>> {
    let Some((signed, digest)) = tail.split_last_chunk::<32>() else {
        return Err(Error::corrupt(object, "ends too early"));
    };
    if !header.starts_with(b"LRLP") {
        return Err(Error::corrupt(object, "does not begin like a pack"));
    }
    if Hasher::new().update(header).update(signed).finish() != *digest {
        return Err(Error::corrupt(object, "its directory does not match its digest"));
    }
    if header != HEADER {
        return Err(Error::Unsupported { what: format!("the format of {object}").into() });
    }
    let (directory, numbers) =
        signed.split_last_chunk::<8>().ok_or_else(|| Error::corrupt(object, "ends too early"))?;
    records(directory, numbers, HEADER.len(), directory_offset, object)
}

/// As [`decode_tail`], of a pack in an encrypted store.
pub fn open_tail(
    keys: &Keys,
    head: &[u8],
    tail: &[u8],
    directory_offset: u64,
    object: &str,
) -> Result<Vec<(u64, Record)>> {
    let short = || Error::corrupt(object, "ends too early");
    if !head.starts_with(&SEALED_HEADER) || head.len() != HEADER.len() + SEALED_KEY_LEN {
        return Err(Error::corrupt(object, "does not begin like a pack of an encrypted store"));
    }
    let (rest, closing) = tail.split_last_chunk::<32>().ok_or_else(short)?;
    let (sealed, numbers) = rest.split_last_chunk::<8>().ok_or_else(short)?;
    let (tag, zeros) = closing.split_first_chunk::<TAG_LEN>().ok_or_else(short)?;
    let mut directory = sealed.to_vec();
    let context = keys.context("directory", &[head, numbers].concat());
    let opened = directory_key(keys, head).open_in_place(&crypt::numbered(0), &context, &mut directory, tag);
    if !opened || zeros.iter().any(|byte| *byte != 0) {
        return Err(Error::corrupt(object, "its directory does not open"));
    }
    records(&directory, numbers, head.len(), directory_offset, object)
}

fn records(
    directory: &[u8],
    numbers: &[u8],
    head_len: usize,
    directory_offset: u64,
    object: &str,
) -> Result<Vec<(u64, Record)>> {
    let mut numbers = Reader::new(numbers, object);
    let (stated_offset, count) = (u64::from(numbers.u32()?), numbers.u32()?);
    let mut reader = Reader::new(directory, object);
    let mut at = head_len as u64;
    let mut records = Vec::with_capacity((count as usize).min(directory.len() / 43));
    for _ in 0..count {
        let id = ChunkId::from_bytes(reader.array()?);
        let record = Record::decode_tail(id, &mut reader)?;
        let offset = at;
        at += u64::from(record.encoded_len);
        records.push((offset, record));
    }
    reader.finish()?;
    if at != directory_offset || stated_offset != directory_offset {
        return Err(Error::corrupt(object, "its chunks do not fill it"));
    }
    Ok(records)
}

/// Decodes as many records of a damaged `tail` as there are in a row, with their offsets; the chunk alone can prove one.
pub(crate) fn decode_damaged(tail: &[u8], directory_offset: u64) -> Vec<(u64, Record)> {
    let directory = &tail[..tail.len().saturating_sub(FOOTER_LEN)];
    let mut reader = Reader::new(directory, "a damaged directory");
    let mut at = HEADER.len() as u64;
    let mut next = || Record::decode_tail(ChunkId::from_bytes(reader.array()?), &mut reader);
    let mut records = Vec::new();
    while let Ok(record) = next() {
        let offset = at;
        at += u64::from(record.encoded_len);
        if at > directory_offset {
            break;
        }
        records.push((offset, record));
    }
    records
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{FOOTER_LEN, HEADER, Record, decode_damaged, decode_tail, directory_offset, encode_tail};
    use crate::compression::Encoding;
    use crate::id::ChunkId;
    use proptest::prelude::*;

    pub(crate) fn records() -> impl Strategy<Value = Vec<Record>> {
        let record = (
            any::<[u8; 32]>(),
            0u32..5000,
            0u32..5000,
            0u8..3,
            1u8..9,
            proptest::collection::vec(any::<[u8; 32]>(), 1..5),
        );
        proptest::collection::vec(record, 0..300).prop_map(|list| {
            list.into_iter()
                .map(|(id, a, b, kind, depth, bases)| {
                    let (encoded_len, plain_len) = (a.min(b), if kind == 0 { a.min(b) } else { a.max(b) });
                    let encoding = Encoding::from_code(kind).unwrap();
                    let delta = encoding == Encoding::Delta;
                    Record {
                        id: ChunkId::from_bytes(id),
                        encoded_len,
                        plain_len,
                        encoding,
                        depth: if delta { depth } else { 0 },
                        bases: if delta { bases.into_iter().map(ChunkId::from_bytes).collect() } else { Vec::new() },
                    }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn directories_round_trip_and_every_flip_is_seen(records in records(), at: usize, bit in 0u8..8) {
            let offset = HEADER.len() as u64 + records.iter().map(|r| u64::from(r.encoded_len)).sum::<u64>();
            let mut tail = encode_tail(&records, offset as u32);
            let len = offset + tail.len() as u64;
            prop_assert_eq!(directory_offset(&tail[tail.len() - FOOTER_LEN..], len, "t").unwrap(), offset);
            let back = decode_tail(&HEADER, &tail, offset, "t").unwrap();
            prop_assert_eq!(back.into_iter().map(|(_, r)| r).collect::<Vec<_>>(), records);
            prop_assert_eq!(decode_damaged(&tail, offset), decode_tail(&HEADER, &tail, offset, "t").unwrap());
            let at = at % tail.len();
            tail[at] ^= 1 << bit;
            prop_assert!(decode_tail(&HEADER, &tail, offset, "t").is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = directory_offset(&bytes, bytes.len() as u64, "t");
            let _ = decode_tail(&HEADER, &bytes, 8, "t");
            let _ = decode_damaged(&bytes, 8);
        }
    }
}
