//! Writes the `.tar.gz` by splicing: one gzip member whose deflate stream is a chain of independent segments, made in parallel or reused
//! from an earlier archive, joined in order. The bytes depend on the entries and their contents alone: not on threads, reuse or the
//! clock. Does not sync.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use super::deflate::{FINAL_BLOCK, GZIP_HEADER, JoinedCrc, gzip_trailer};
use super::model::{Contents, Record, Segments};
use super::segment_builder::{CompressedSegment, SegmentBuilder};
use super::segments::{Planner, Segment};
use crate::budget::{SEGMENTS_BYTES, WAITING_SEGMENTS, WORKERS};
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::fs::space::SpaceGuard;
use crate::progress::{Observer, Problem, Problems, checkpoint};
use crate::set::sha256::Sha256Thread;

/// How an archive is written.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    /// Names the output in errors.
    pub path: &'a Path,
    /// Threads that compress, 1 to 4.
    pub workers: usize,
    /// Guards the free space of the output's disk.
    pub space: &'a SpaceGuard,
    /// Watches; its phase is the caller's to announce.
    pub observer: &'a dyn Observer,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// Length of the archive in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the archive, lower-case hex.
    pub sha256: String,
    /// Regular members; hard links count.
    pub files: u64,
    /// Plain bytes of those members.
    pub bytes: u64,
    /// Bytes of the archive that were reused from an earlier one.
    pub reused_bytes: u64,
    /// Entries that stay out of the archive, and why: the first thousand.
    pub notes: Vec<Problem>,
}

/// Writes the archive of `entries`, which come in list order, to `out`.
pub(crate) fn write(
    entries: impl Iterator<Item = Result<Entry>>,
    contents: &dyn Contents,
    segments: &mut dyn Segments,
    out: &mut dyn Write,
    options: &Options<'_>,
) -> Result<Written> {
    let workers = options.workers.clamp(1, WORKERS);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|i| format!("archive-{i}"))
        .build()
        .map_err(|e| Error::refused(format!("cannot start {workers} threads to write the archive: {e}")))?;
    let builder = SegmentBuilder::new(contents);
    pool.in_place_scope(|scope| {
        let mut joiner = Joiner::new(segments, out, options);
        let done = join_all(entries, contents, &builder, scope, &mut joiner);
        if done.is_err() {
            builder.stop();
        }
        done.and_then(|()| joiner.finish())
    })
}

/// Plans segments, keeps the workers busy with them, and joins what they made in order.
fn join_all<'s>(
    entries: impl Iterator<Item = Result<Entry>>,
    contents: &dyn Contents,
    builder: &'s SegmentBuilder<'_>,
    scope: &rayon::Scope<'s>,
    joiner: &mut Joiner<'_>,
) -> Result<()> {
    joiner.put(GZIP_HEADER.to_vec())?;
    let mut waiting = VecDeque::new();
    let mut in_flight = 0;
    let mut notes = Problems::new(joiner.options.observer);
    let mut submit = |segment: Segment| {
        while waiting.len() >= WAITING_SEGMENTS || in_flight > 0 && in_flight + segment.weight > SEGMENTS_BYTES {
            in_flight -= join_next(&mut waiting, joiner)?;
        }
        let found = joiner.segments.find(&segment.key);
        let (sender, receiver) = sync_channel(1);
        in_flight += segment.weight;
        let Segment { key, plan, weight, files, bytes } = segment;
        waiting.push_back(Waiting { key, weight, files, bytes, receiver });
        scope.spawn(move |_| {
            // The receiver is gone only when the run has failed.
            let _ = sender.send(builder.produce(&key, &plan, found));
        });
        Ok(())
    };
    let mut planner = Planner::new(contents);
    for entry in entries {
        planner.add(entry?, &mut submit)?.into_iter().for_each(|note| notes.push(note));
    }
    planner.finish(&mut submit)?;
    while !waiting.is_empty() {
        join_next(&mut waiting, joiner)?;
    }
    joiner.written.notes = notes.into_report();
    Ok(())
}

/// A segment that a worker makes, in its place in the queue.
struct Waiting {
    key: [u8; 32],
    weight: u64,
    files: u64,
    bytes: u64,
    receiver: Receiver<Result<CompressedSegment>>,
}

fn join_next(waiting: &mut VecDeque<Waiting>, joiner: &mut Joiner<'_>) -> Result<u64> {
    let Some(next) = waiting.pop_front() else { return Ok(0) };
    checkpoint(joiner.options.observer)?;
    let made =
        next.receiver.recv().map_err(|_| Error::Refused("a thread that writes the archive stopped".into()))??;
    joiner.add(&next, made)?;
    Ok(next.weight)
}

/// Writes segments one after the other, and keeps the sums.
struct Joiner<'a> {
    segments: &'a mut dyn Segments,
    out: &'a mut dyn Write,
    options: &'a Options<'a>,
    sha256: Sha256Thread,
    crc: JoinedCrc,
    plain_len: u64,
    written: Written,
}

impl<'a> Joiner<'a> {
    fn new(segments: &'a mut dyn Segments, out: &'a mut dyn Write, options: &'a Options<'a>) -> Self {
        let (sha256, notes) = (String::new(), Vec::new());
        let written = Written { size_bytes: 0, sha256, files: 0, bytes: 0, reused_bytes: 0, notes };
        Self { segments, out, options, sha256: Sha256Thread::start(), crc: JoinedCrc::default(), plain_len: 0, written }
    }

    fn put(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.options.space.charge(bytes.len() as u64)?;
        self.out.write_all(&bytes).map_err(Error::io("write", self.options.path))?;
        self.written.size_bytes += bytes.len() as u64;
        self.sha256.add(bytes)
    }

    fn add(&mut self, place: &Waiting, made: CompressedSegment) -> Result<()> {
        let CompressedSegment { bytes, crc32, plain_len, digest, reused } = made;
        let (offset, len) = (self.written.size_bytes, bytes.len() as u64);
        self.put(bytes)?;
        self.crc.add(crc32, plain_len);
        self.plain_len += plain_len;
        self.written.files += place.files;
        self.written.bytes += place.bytes;
        self.written.reused_bytes += if reused { len } else { 0 };
        self.options.observer.advance(place.bytes, place.files);
        let key = place.key;
        self.segments.record(&Record { key, offset, len, digest, crc32, plain_len })
    }

    fn finish(mut self) -> Result<Written> {
        self.put(FINAL_BLOCK.to_vec())?;
        self.put(gzip_trailer(self.crc.value(), self.plain_len).to_vec())?;
        self.out.flush().map_err(Error::io("write", self.options.path))?;
        Ok(Written { sha256: self.sha256.finish()?, ..self.written })
    }
}
