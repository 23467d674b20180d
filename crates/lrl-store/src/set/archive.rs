//! Owns the writing of the `.tar.gz` by splicing: one gzip member whose deflate stream is a chain of independent segments,
//! made in parallel or taken from an earlier archive, joined in order. The bytes depend on the entries and their contents
//! alone: not on threads, on reuse or on the clock. Never decides where an archive lies, never syncs it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::deflate::{Coder, FINAL_BLOCK, GZIP_HEADER, JoinedCrc, PROBE_MIN, crc32, gzip_trailer, store};
use super::plan::{Plan, Planner, SEGMENT_MAX, Segment};
use super::tar::{self, Header, Type};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, Piece};
use crate::id::Hasher;
use crate::progress::{Observer, Problem, checkpoint};

/// Plain bytes of segments that are being made or wait for their turn.
const IN_FLIGHT: u64 = 16 << 20;
/// No more segments than this wait, however small they are.
const WAITING: usize = 64;
/// More workers than this would take more memory than the budget has.
const WORKERS_MAX: usize = 4;

/// Where the bytes of entries come from; called from several threads.
pub trait Contents: Sync {
    /// Passes `len` bytes from `offset` of a regular file to `sink`, verified, in runs of any length; holes are zeros.
    /// What to read is in `entry.kind`: its path may be a further name of the file.
    fn read(&self, entry: &Entry, offset: u64, len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
    /// Passes the pieces of a file whose content is a tree to `sink`, in order.
    fn pieces(&self, entry: &Entry, sink: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()>;
    /// Looks up an entry of the same list by its path.
    fn find(&self, path: &[u8]) -> Result<Option<Entry>>;
}

/// Where a segment stands in an archive, and what proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Names coder, headers and contents of the segment.
    pub key: [u8; 32],
    /// Where its compressed bytes start in the archive file.
    pub offset: u64,
    /// How many compressed bytes it has.
    pub len: u64,
    /// BLAKE3 over the compressed bytes and the other fields but `offset`.
    pub digest: [u8; 32],
    /// CRC-32 of its plain bytes.
    pub crc32: u32,
    /// How many plain bytes it has.
    pub plain_len: u64,
}

/// What is known of segments in earlier archives. A wrong or stale answer costs time only.
pub trait Segments {
    /// Returns an earlier archive and where in it this segment stands.
    fn find(&mut self, key: &[u8; 32]) -> Option<(Arc<File>, Record)>;
    /// Takes note of a segment of the archive that is being written, in order.
    fn record(&mut self, record: &Record) -> Result<()>;
}

/// Knows no earlier archive and keeps nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoSegments;

impl Segments for NoSegments {
    fn find(&mut self, _: &[u8; 32]) -> Option<(Arc<File>, Record)> {
        None
    }
    fn record(&mut self, _: &Record) -> Result<()> {
        Ok(())
    }
}

/// How an archive is written.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Names the output in errors.
    pub path: &'a Path,
    /// Threads that compress, 1 to 4.
    pub workers: usize,
    /// Watches; its phase is the caller's to announce.
    pub observer: &'a dyn Observer,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Length of the archive in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the archive, lower-case hex.
    pub sha256: String,
    /// Regular members; further names of a file count.
    pub files: u64,
    /// Plain bytes of those members.
    pub bytes: u64,
    /// Bytes of the archive that were taken from an earlier one.
    pub reused_bytes: u64,
    /// Entries that stay out of the archive, and why.
    pub notes: Vec<Problem>,
}

/// Writes the archive of `entries`, which come in list order, to `out`.
pub fn write(
    entries: impl Iterator<Item = Result<Entry>>,
    contents: &dyn Contents,
    segments: &mut dyn Segments,
    out: &mut dyn Write,
    options: &Options<'_>,
) -> Result<Written> {
    let workers = options.workers.clamp(1, WORKERS_MAX);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|i| format!("archive-{i}"))
        .build()
        .map_err(|e| Error::Refused(format!("cannot start {workers} threads to write the archive: {e}")))?;
    let shop = Workshop { contents, stop: AtomicBool::new(false), benches: Mutex::default(), spare: Mutex::default() };
    pool.in_place_scope(|scope| {
        let mut joiner = Joiner::new(segments, out, options);
        let done = join_all(entries, &shop, scope, &mut joiner);
        if done.is_err() {
            shop.stop.store(true, Ordering::Relaxed);
        }
        done.map(|()| joiner.written)
    })
}

/// Plans segments, keeps the workers busy with them, and joins what they made in order.
fn join_all<'s>(
    entries: impl Iterator<Item = Result<Entry>>,
    shop: &'s Workshop<'_>,
    scope: &rayon::Scope<'s>,
    joiner: &mut Joiner<'_>,
) -> Result<()> {
    joiner.put(&GZIP_HEADER)?;
    let mut waiting = VecDeque::new();
    let mut in_flight = 0;
    let mut notes = Vec::new();
    let mut submit = |segment: Segment| {
        while waiting.len() >= WAITING || in_flight > 0 && in_flight + segment.weight > IN_FLIGHT {
            in_flight -= join_next(&mut waiting, shop, joiner)?;
        }
        let found = joiner.segments.find(&segment.key);
        let (sender, receiver) = sync_channel(1);
        in_flight += segment.weight;
        let Segment { key, plan, weight, files, bytes } = segment;
        waiting.push_back(Waiting { key, weight, files, bytes, receiver });
        scope.spawn(move |_| {
            // The receiver is gone only when the run has failed.
            let _ = sender.send(shop.produce(&key, &plan, found));
        });
        // What is ready is written at once; the workers go on meanwhile.
        Ok(())
    };
    let mut planner = Planner::new(shop.contents);
    for entry in entries {
        notes.extend(planner.add(entry?, &mut submit)?);
    }
    planner.finish(&mut submit)?;
    while !waiting.is_empty() {
        join_next(&mut waiting, shop, joiner)?;
    }
    for note in &notes {
        joiner.options.observer.problem(note);
    }
    joiner.written.notes = notes;
    joiner.finish()
}

/// A segment that a worker makes, in its place in the queue.
struct Waiting {
    key: [u8; 32],
    weight: u64,
    files: u64,
    bytes: u64,
    receiver: Receiver<Result<Made>>,
}

fn join_next(waiting: &mut VecDeque<Waiting>, shop: &Workshop<'_>, joiner: &mut Joiner<'_>) -> Result<u64> {
    let Some(next) = waiting.pop_front() else { return Ok(0) };
    checkpoint(joiner.options.observer)?;
    let made =
        next.receiver.recv().map_err(|_| Error::Refused("a thread that writes the archive stopped".into()))??;
    joiner.add(&next, &made)?;
    if let Ok(mut spare) = shop.spare.lock() {
        spare.push(made.bytes);
    }
    Ok(next.weight)
}

/// A segment's compressed bytes.
struct Made {
    bytes: Vec<u8>,
    crc32: u32,
    plain_len: u64,
    digest: [u8; 32],
    reused: bool,
}

/// Digest of a segment as its record has it: a record whose fields were mixed up does not pass either.
fn digest_of(bytes: &[u8], key: &[u8; 32], crc32: u32, plain_len: u64) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(bytes).update(key).update(&crc32.to_le_bytes()).update(&plain_len.to_le_bytes());
    hasher.finish()
}

/// What the workers share.
struct Workshop<'a> {
    contents: &'a dyn Contents,
    stop: AtomicBool,
    benches: Mutex<Vec<Bench>>,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// What one worker needs at a time.
#[derive(Default)]
struct Bench {
    coder: Coder,
    plain: Vec<u8>,
}

impl Workshop<'_> {
    fn produce(&self, key: &[u8; 32], plan: &Plan, found: Option<(Arc<File>, Record)>) -> Result<Made> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let mut bytes = self.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default();
        bytes.clear();
        if let Some((archive, record)) = found
            && let Some(made) = reuse(key, &archive, &record, &mut bytes)
        {
            return Ok(Made { bytes, ..made });
        }
        bytes.clear();
        let mut bench = self.benches.lock().ok().and_then(|mut benches| benches.pop()).unwrap_or_default();
        let built = bench.build(plan, self.contents, &mut bytes);
        let (crc32, plain_len) = (crc32(&bench.plain), bench.plain.len() as u64);
        if let Ok(mut benches) = self.benches.lock() {
            benches.push(bench);
        }
        built?;
        let digest = digest_of(&bytes, key, crc32, plain_len);
        Ok(Made { bytes, crc32, plain_len, digest, reused: false })
    }
}

/// Reads a segment from an earlier archive; `None` if it is not there as recorded.
fn reuse(key: &[u8; 32], archive: &File, record: &Record, bytes: &mut Vec<u8>) -> Option<Made> {
    let len = usize::try_from(record.len).ok().filter(|_| record.len <= 2 * SEGMENT_MAX)?;
    bytes.resize(len, 0);
    archive.read_exact_at(bytes, record.offset).ok()?;
    let (crc32, plain_len) = (record.crc32, record.plain_len);
    let digest = digest_of(bytes, key, crc32, plain_len);
    (digest == record.digest).then_some(Made { bytes: Vec::new(), crc32, plain_len, digest, reused: true })
}

impl Bench {
    /// Leaves the segment's plain bytes in `self.plain` and appends its compressed bytes to `out`.
    fn build(&mut self, plan: &Plan, contents: &dyn Contents, out: &mut Vec<u8>) -> Result<()> {
        self.plain.clear();
        let mut done = 0;
        match plan {
            Plan::End => self.plain.extend_from_slice(&tar::END),
            Plan::Part { len, hole: true, padding, .. } => self.plain.resize(*len as usize + padding, 0),
            Plan::Part { entry, offset, len, padding, hole: false } => {
                self.contents(entry, *offset, *len, *padding, contents, &mut done, out)?;
            }
            Plan::Bundle(items) => {
                for item in items {
                    let entry = &item.entry;
                    tar::encode(&header(entry), &mut self.plain);
                    if item.with_contents && entry.size() > 0 {
                        let padding = tar::padding(entry.size());
                        self.contents(entry, 0, entry.size(), padding, contents, &mut done, out)?;
                    }
                }
            }
        }
        self.coder.deflate(&self.plain[done..], out).map_err(coder_failed)
    }

    /// Appends a run of a file's bytes to `plain`; what does not compress is flushed to `out` as stored blocks.
    #[allow(clippy::too_many_arguments)]
    fn contents(
        &mut self,
        entry: &Entry,
        offset: u64,
        len: u64,
        padding: usize,
        contents: &dyn Contents,
        done: &mut usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let start = self.plain.len();
        let end = start + len as usize;
        self.plain.reserve(len as usize + padding);
        let plain = &mut self.plain;
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
        if len as usize >= PROBE_MIN && !self.coder.squeezes(&self.plain[start..end]).map_err(coder_failed)? {
            self.coder.deflate(&self.plain[*done..start], out).map_err(coder_failed)?;
            store(&self.plain[start..end], out);
            *done = end;
        }
        self.plain.resize(end + padding, 0);
        Ok(())
    }
}

fn coder_failed(source: io::Error) -> Error {
    Error::Io { op: "compress a segment of", path: "the archive".into(), source }
}

/// An entry's tar header; a further name has become a regular file before it comes here.
fn header(entry: &Entry) -> Header<'_> {
    let (kind, link) = match &entry.kind {
        Kind::Dir => (Type::Dir, &b""[..]),
        Kind::Symlink { target } => (Type::Symlink, target.as_slice()),
        Kind::File { .. } | Kind::Hardlink { .. } => (Type::File, &b""[..]),
    };
    let Entry { path, mode, uid, gid, mtime, .. } = entry;
    Header { path, kind, size: entry.size(), mode: *mode, uid: *uid, gid: *gid, mtime: *mtime, link }
}

/// Writes segments one after the other, and keeps the sums.
struct Joiner<'a> {
    segments: &'a mut dyn Segments,
    out: &'a mut dyn Write,
    options: &'a Options<'a>,
    sha256: Sha256,
    crc: JoinedCrc,
    plain_len: u64,
    written: Written,
}

impl<'a> Joiner<'a> {
    fn new(segments: &'a mut dyn Segments, out: &'a mut dyn Write, options: &'a Options<'a>) -> Self {
        let (sha256, notes) = (String::new(), Vec::new());
        let written = Written { size_bytes: 0, sha256, files: 0, bytes: 0, reused_bytes: 0, notes };
        Self { segments, out, options, sha256: Sha256::new(), crc: JoinedCrc::default(), plain_len: 0, written }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(Error::io("write", self.options.path))?;
        self.sha256.update(bytes);
        self.written.size_bytes += bytes.len() as u64;
        Ok(())
    }

    fn add(&mut self, place: &Waiting, made: &Made) -> Result<()> {
        let Made { bytes, crc32, plain_len, digest, reused } = made;
        let (offset, len) = (self.written.size_bytes, bytes.len() as u64);
        self.put(bytes)?;
        self.crc.add(*crc32, *plain_len);
        self.plain_len += plain_len;
        self.written.files += place.files;
        self.written.bytes += place.bytes;
        self.written.reused_bytes += if *reused { len } else { 0 };
        self.options.observer.advance(place.bytes, place.files);
        let (key, digest, crc32, plain_len) = (place.key, *digest, *crc32, *plain_len);
        self.segments.record(&Record { key, offset, len, digest, crc32, plain_len })
    }

    fn finish(&mut self) -> Result<()> {
        self.put(&FINAL_BLOCK)?;
        self.put(&gzip_trailer(self.crc.value(), self.plain_len))?;
        self.out.flush().map_err(Error::io("write", self.options.path))?;
        let digest = std::mem::take(&mut self.sha256).finalize();
        self.written.sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(())
    }
}
