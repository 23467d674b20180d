//! A sealed object: a head, and blocks of 4096 bytes, each with its tag, so that a part of it can be read alone. Bytes only: what names such
//! an object has, and where it lies, is not known here.

use std::io::{self, Write};
use std::path::Path;

use crate::crypt::{self, Key, Keys, SEALED_KEY_LEN, TAG_LEN};
use crate::error::{Error, Result};
use crate::fs::vfs::TempFile;

/// Bytes in a block, before they are sealed.
pub(crate) const BLOCK: usize = 4096;
pub(crate) const SEALED_BLOCK: usize = BLOCK + TAG_LEN;
/// The first bytes of a sealed object that writers read: magic, version, kind of key, zeros; a random salt follows.
const WRITERS: [u8; 8] = *b"LRLE\x01\x01\0\0";
/// The same of one that only the private key opens; a sealed key follows.
const READERS: [u8; 8] = *b"LRLE\x01\x02\0\0";

/// For whom an object is sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipient {
    Writers,
    Readers,
}

pub(crate) fn sealed_len(head: usize, len: u64) -> u64 {
    head as u64 + len + TAG_LEN as u64 * len.div_ceil(BLOCK as u64).max(1)
}

/// A number that a key sees once, as each object has its own.
fn nonce(block: u64, is_last: bool) -> [u8; 24] {
    let mut nonce = crypt::numbered(block);
    nonce[8] = u8::from(is_last);
    nonce
}

pub(crate) fn head_len(to: Recipient) -> usize {
    match to {
        Recipient::Writers => WRITERS.len() + 32,
        Recipient::Readers => READERS.len() + SEALED_KEY_LEN,
    }
}

/// Returns how many bytes are sealed in an object of this length; `None` where none has it.
pub(crate) fn plain_len(head: usize, sealed: u64) -> Option<u64> {
    let body = sealed.checked_sub(head as u64)?;
    let blocks = body.div_ceil(SEALED_BLOCK as u64).max(1);
    let plain = body.checked_sub(blocks * TAG_LEN as u64)?;
    (sealed_len(head, plain) == sealed).then_some(plain)
}

/// Seals a whole object.
pub(crate) fn seal(keys: &Keys, to: Recipient, kind: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut sealer, mut out) = Sealer::new(keys, to, kind)?;
    out.extend(sealer.push(bytes)?);
    out.extend(sealer.seal(true)?);
    Ok(out)
}

/// Finds an object's key by its head.
pub(crate) fn key(keys: &Keys, to: Recipient, head: &[u8], object: &str) -> Result<Key> {
    let other = || Error::corrupt(object, "does not begin like a sealed object of this store");
    match to {
        Recipient::Writers => {
            let salt = head.strip_prefix(&WRITERS).and_then(|salt| salt.try_into().ok()).ok_or_else(other)?;
            Ok(keys.structure().for_object(salt))
        }
        Recipient::Readers => keys.open_key(head.strip_prefix(&READERS).ok_or_else(other)?, object),
    }
}

/// Opens blocks in a row, the first of which has this number; `is_end`: the last of them is the object's.
pub(crate) fn open_blocks(
    keys: &Keys,
    key: &Key,
    kind: &str,
    first: u64,
    is_end: bool,
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let context = keys.context("object", kind.as_bytes());
    let mut plain = Vec::with_capacity(sealed.len());
    let mut blocks = sealed.chunks(SEALED_BLOCK).enumerate().peekable();
    while let Some((n, block)) = blocks.next() {
        let is_last = is_end && blocks.peek().is_none();
        plain.extend(key.open(&nonce(first + n as u64, is_last), &context, block.to_vec())?);
    }
    Some(plain)
}

/// Opens a whole object.
pub(crate) fn open(keys: &Keys, to: Recipient, kind: &str, sealed: &[u8], object: &str) -> Result<Vec<u8>> {
    let (head, blocks) =
        sealed.split_at_checked(head_len(to)).ok_or_else(|| Error::corrupt(object, "ends too early"))?;
    let key = self::key(keys, to, head, object)?;
    let plain = open_blocks(keys, &key, kind, 0, true, blocks).filter(|_| !blocks.is_empty());
    plain.ok_or_else(|| Error::corrupt(object, "its bytes do not open: they were changed"))
}

/// Seals a stream of bytes.
pub(crate) struct Sealer {
    key: Key,
    context: Vec<u8>,
    block: u64,
    waiting: Vec<u8>,
}

impl Sealer {
    /// Returns the head too.
    pub(crate) fn new(keys: &Keys, to: Recipient, kind: &str) -> Result<(Self, Vec<u8>)> {
        let (key, head) = match to {
            Recipient::Writers => {
                let salt = crypt::random()?;
                (keys.structure().for_object(&salt), [&WRITERS[..], &salt].concat())
            }
            Recipient::Readers => {
                let key = Key::new()?;
                let head = [&READERS[..], &keys.seal_key(&key)?].concat();
                (key, head)
            }
        };
        Ok((Self { key, context: keys.context("object", kind.as_bytes()), block: 0, waiting: Vec::new() }, head))
    }

    /// Takes bytes and returns the blocks that they complete; the last one only when it is known to be.
    fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            if self.waiting.len() == BLOCK {
                out.extend(self.seal(false)?);
            }
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = rest;
        }
        Ok(out)
    }

    fn seal(&mut self, is_last: bool) -> Result<Vec<u8>> {
        let mut block = std::mem::take(&mut self.waiting);
        self.key.seal(&nonce(self.block, is_last), &self.context, &mut block)?;
        self.block += 1;
        Ok(block)
    }
}

/// A temporary file whose bytes are sealed as they come.
pub(crate) struct SealedFile {
    pub below: Box<dyn TempFile>,
    pub sealer: Sealer,
}

impl Write for SealedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sealed = self.sealer.push(bytes).map_err(io::Error::other)?;
        self.below.write_all(&sealed)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.below.flush()
    }
}

impl TempFile for SealedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.below.sync()
    }

    fn rename(self: Box<Self>, path: &Path) -> io::Result<()> {
        self.below.rename(path)
    }

    fn is_sealed(&self) -> bool {
        true
    }

    fn finish(mut self: Box<Self>) -> Result<Box<dyn TempFile>> {
        let last = self.sealer.seal(true)?;
        self.below.write_all(&last).map_err(Error::io("write", "a temporary file of the store"))?;
        self.below.finish()
    }
}
