//! Makes one segment's compressed bytes, on any of several threads: from contents, or from an earlier archive if the digest matches.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::deflate::{Coder, crc32, store};
use super::segments::{Item, Plan, SEGMENT_MAX};
use super::tar::{self, Header, Type};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::id::Hasher;
use crate::set::archive::model::{Contents, Record};
use crate::set::flush::replaced;

/// A segment's compressed bytes.
pub(crate) struct CompressedSegment {
    pub bytes: Vec<u8>,
    pub crc32: u32,
    pub plain_len: u64,
    pub digest: [u8; 32],
    pub reused: bool,
}

/// Digest of a segment and the fields of its record: a record whose fields were mixed up does not match either.
fn digest_of(bytes: &[u8], key: &[u8; 32], crc32: u32, plain_len: u64) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(bytes).update(key).update(&crc32.to_le_bytes()).update(&plain_len.to_le_bytes());
    hasher.finish()
}

/// Makes segments; shared by the workers.
pub(crate) struct SegmentBuilder<'a> {
    contents: &'a dyn Contents,
    stop: AtomicBool,
    scratches: Mutex<Vec<Scratch>>,
}

/// Buffers of one worker.
#[derive(Default)]
struct Scratch {
    coder: Coder,
    plain: Vec<u8>,
    out: Vec<u8>,
    /// How much of `plain` is in `out`.
    done: usize,
}

impl<'a> SegmentBuilder<'a> {
    pub(crate) fn new(contents: &'a dyn Contents) -> Self {
        Self { contents, stop: AtomicBool::new(false), scratches: Mutex::default() }
    }

    /// Makes every segment fail that is not yet begun.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Makes or reuses one segment.
    pub(crate) fn produce(
        &self,
        key: &[u8; 32],
        plan: &Plan,
        found: Option<(Arc<File>, Record)>,
    ) -> Result<CompressedSegment> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if let Some(made) = found.and_then(|(archive, record)| reuse(key, &archive, &record)) {
            return Ok(made);
        }
        let mut scratch = self.scratches.lock().ok().and_then(|mut scratches| scratches.pop()).unwrap_or_default();
        let built = scratch.build(plan, self.contents);
        let (crc32, plain_len) = (crc32(&scratch.plain), scratch.plain.len() as u64);
        // A copy of the exact length: a segment that waits for its turn must not hold on to the largest buffer.
        let bytes = scratch.out.as_slice().to_vec();
        if let Ok(mut scratches) = self.scratches.lock() {
            scratches.push(scratch);
        }
        built?;
        let digest = digest_of(&bytes, key, crc32, plain_len);
        Ok(CompressedSegment { bytes, crc32, plain_len, digest, reused: false })
    }
}

/// Reads a segment from an earlier archive; `None` if it is not there as recorded.
fn reuse(key: &[u8; 32], archive: &File, record: &Record) -> Option<CompressedSegment> {
    let len = usize::try_from(record.len).ok().filter(|_| record.len <= 2 * SEGMENT_MAX)?;
    let mut bytes = vec![0; len];
    archive.read_exact_at(&mut bytes, record.offset).ok()?;
    replaced(archive, record.offset, record.len);
    let (crc32, plain_len) = (record.crc32, record.plain_len);
    let digest = digest_of(&bytes, key, crc32, plain_len);
    (digest == record.digest).then_some(CompressedSegment { bytes, crc32, plain_len, digest, reused: true })
}

impl Scratch {
    /// Leaves the segment's plain bytes in `plain` and its compressed bytes in `out`.
    fn build(&mut self, plan: &Plan, contents: &dyn Contents) -> Result<()> {
        self.plain.clear();
        self.out.clear();
        self.done = 0;
        match plan {
            Plan::End => self.plain.extend_from_slice(&tar::END),
            Plan::Part { len, hole: true, padding, .. } => self.plain.resize(*len as usize + padding, 0),
            Plan::Part { entry, offset, len, padding, hole: false } => {
                self.contents(entry, *offset, *len, contents)?;
                self.plain.resize(self.plain.len() + padding, 0);
            }
            Plan::Bundle(items) => {
                for Item { entry, with_contents } in items {
                    tar::encode(&header(entry), &mut self.plain);
                    if *with_contents && entry.size() > 0 {
                        self.contents(entry, 0, entry.size(), contents)?;
                        self.plain.resize(self.plain.len() + tar::padding(entry.size()), 0);
                    }
                }
            }
        }
        self.deflate_to(self.plain.len())
    }

    /// Appends a run of a file's bytes to `plain`; what does not compress goes to `out` at once, as stored blocks.
    fn contents(&mut self, entry: &Entry, offset: u64, len: u64, contents: &dyn Contents) -> Result<()> {
        let start = self.plain.len();
        let end = start + len as usize;
        let plain = &mut self.plain;
        plain.reserve(len as usize + tar::BLOCK);
        let wrong =
            || Error::corrupt(String::from_utf8_lossy(&entry.path), "its contents do not have the listed length");
        contents.read(entry, offset, len, &mut |run| {
            if plain.len() + run.len() > end {
                return Err(wrong());
            }
            plain.extend_from_slice(run);
            Ok(())
        })?;
        if self.plain.len() != end {
            return Err(wrong());
        }
        if !self.coder.is_compressible(&self.plain[start..end]).map_err(coder_failed)? {
            self.deflate_to(start)?;
            store(&self.plain[start..end], &mut self.out);
            self.done = end;
        }
        Ok(())
    }

    /// Deflates what is not yet in `out`, up to `end`.
    fn deflate_to(&mut self, end: usize) -> Result<()> {
        let run = &self.plain[self.done..end];
        self.done = end;
        self.coder.deflate(run, &mut self.out).map_err(coder_failed)
    }
}

fn coder_failed(source: io::Error) -> Error {
    Error::Io { op: "compress a segment of", path: "the archive".into(), source }
}

/// Returns an entry's tar header; the planner has made regular files of hard links.
fn header(entry: &Entry) -> Header<'_> {
    let (kind, link) = match &entry.kind {
        Kind::Dir => (Type::Dir, &b""[..]),
        Kind::Symlink { target } => (Type::Symlink, target.as_slice()),
        Kind::File { .. } | Kind::Hardlink { .. } => (Type::File, &b""[..]),
    };
    let Entry { path, mode, uid, gid, mtime, xattrs, .. } = entry;
    Header { path, kind, size: entry.size(), mode: *mode, uid: *uid, gid: *gid, mtime: *mtime, link, xattrs }
}
