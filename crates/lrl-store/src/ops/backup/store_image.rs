//! Stores an image while it is read: other threads encode and pack its changed extents meanwhile, in bounded memory. Nothing of it is copied
//! to disk but what is stored, and the set's database where that is wanted at once.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rayon::prelude::*;

use super::extent_ids::ExtentIds;
use super::extents::{ExtentCutter, ParentExtents};
use super::full_scan;
use super::page_moves::PageMoves;
use super::set_image::SetImage;
use crate::budget::{BATCH_EXTENTS, BATCH_ITEMS, EXTENT_BATCHES};
use crate::error::{Error, Result};
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::set::sha256::Sha256Thread;
use crate::source::database::{ExtentSet, ImageSink, page_size};
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;

/// How an image is stored.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub session: &'a WriteSession<'a>,
    /// What it is compared with; its extents are delta bases.
    pub parent: Option<&'a snapshot::Database>,
    /// Whether an extent that the parent has in its place need not be looked up.
    pub reuses_parent: bool,
    /// Which extents must be the parent's.
    pub expected: Expected<'a>,
    /// Whether the image's SHA-256 is wanted, as by a full scan; a set wants it in any case.
    pub wants_sha256: bool,
    /// A directory for what does not fit into memory.
    pub scratch: &'a Path,
    pub observer: &'a dyn Observer,
}

impl<'a> Plan<'a> {
    fn old_extents(&self) -> ParentExtents<'a> {
        ParentExtents::new(self.parent.map(|parent| (self.session.store(), parent.root)))
    }
}

/// Which extents must be the parent's, whatever is read: where they are not, something changed them unseen.
#[derive(Clone, Copy)]
pub(super) enum Expected<'a> {
    Nothing,
    All,
    /// All but these.
    Others(&'a ExtentSet),
}

impl Expected<'_> {
    fn has(self, ordinal: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Others(changed) => !changed.has(ordinal),
        }
    }
}

/// An image whose extents are stored.
pub(super) struct StoredImage {
    pub ids: ExtentIds,
    /// The root of their list, if that is built already.
    pub root: Option<ChunkId>,
    /// Bytes of the image.
    pub len: u64,
    /// An extent that must be the parent's has other contents.
    pub changed_unseen: bool,
    /// SHA-256 of the image, lower-case hex; unknown where it was not wanted, or not all was read.
    pub sha256: Option<String>,
    /// All of it, for the set.
    pub set_image: Option<SetImage>,
}

impl StoredImage {
    /// An image of this many bytes whose list is stored.
    pub(crate) fn with_root(root: ChunkId, len: u64, scratch: &Path) -> Self {
        let ids = ExtentIds::new(scratch);
        Self { ids, root: Some(root), len, changed_unseen: false, sha256: None, set_image: None }
    }
}

/// Stores what `read` gives to the feed; returns that as well. With `set_image` all bytes are written there too.
pub(super) fn store_image<R>(
    plan: Plan<'_>,
    set_image: Option<SetImage>,
    read: impl FnOnce(&mut Feed<'_>) -> Result<R>,
) -> Result<(R, StoredImage)> {
    let (queue, batches) = sync_channel(0);
    let (give_back, spare) = sync_channel(EXTENT_BATCHES);
    thread::scope(|scope| {
        let storing = scope.spawn(move || Storer::new(plan).run(&batches, &give_back));
        let mut feed = Feed::new(plan, set_image, queue, spare);
        let done = read(&mut feed).and_then(|done| feed.finish().map(|()| done));
        let Feed { intake: Intake { queue, len, .. }, sha256, set_image, .. } = feed;
        drop(queue);
        let stored = storing.join().unwrap_or_else(|_| Err(died()));
        // Why the other thread ended says more than that it did.
        let (ids, changed_unseen) = stored?;
        let (done, sha256) = (done?, sha256.map(Sha256Thread::finish).transpose()?);
        Ok((done, StoredImage { ids, root: None, len, changed_unseen, sha256, set_image }))
    })
}

/// Builds the tree of an image's extents; returns its root.
pub(super) fn build_tree(
    session: &WriteSession<'_>,
    ids: &ExtentIds,
    len: u64,
    parent: Option<&snapshot::Database>,
) -> Result<ChunkId> {
    let extent_bytes = u64::from(session.store().config().chunking.extent_bytes);
    let mut builder = TreeBuilder::new(session, parent.map(|parent| parent.root));
    let mut left = len;
    for at in 0..ids.len() {
        let len = extent_bytes.min(left);
        left -= len;
        let id = ids.get(at)?.ok_or_else(died)?;
        builder.push(Piece::Data { id, len })?;
    }
    builder.finish()
}

fn died() -> Error {
    Error::Refused("the thread that stores the database died".into())
}

/// Extents on their way from the reader to the threads that store them.
#[derive(Default)]
struct Batch {
    extents: Vec<Extent>,
    /// The changed ones, end to end.
    bytes: Vec<u8>,
    changed: usize,
}

struct Extent {
    /// The parent's in its place.
    old: Option<ChunkId>,
    /// Its own, where that is known.
    id: Option<ChunkId>,
    /// Where its bytes are in the batch; `None` if it is stored already.
    bytes: Option<Range<usize>>,
    /// Where it begins in the image.
    offset: u64,
    /// It must be the parent's.
    is_expected: bool,
}

impl Batch {
    fn push_bytes(&mut self, bytes: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.changed += 1;
        from..self.bytes.len()
    }

    fn bytes_of(&self, extent: &Extent) -> Option<&[u8]> {
        self.bytes.get(extent.bytes.clone()?)
    }

    fn clear(&mut self) {
        self.extents.clear();
        self.bytes.clear();
        self.changed = 0;
    }
}

enum Message {
    Batch(Batch),
    /// What came so far is of no use.
    Restart,
}

/// Takes an image in, from its first byte to its last, and passes its extents on.
pub(super) struct Feed<'a> {
    cutter: ExtentCutter,
    intake: Intake<'a>,
    /// Of the bytes so far; none where it is not wanted, or extents come without those between them.
    sha256: Option<Sha256Thread>,
    wants_sha256: bool,
    set_image: Option<SetImage>,
}

impl<'a> Feed<'a> {
    fn new(plan: Plan<'a>, set_image: Option<SetImage>, queue: SyncSender<Message>, spare: Receiver<Batch>) -> Self {
        let cutter = ExtentCutter::new(plan.session.store().config().chunking.extent_bytes);
        let intake = Intake::new(plan, queue, spare);
        let wants_sha256 = plan.wants_sha256 || set_image.is_some();
        Self { cutter, intake, sha256: wants_sha256.then(Sha256Thread::start), wants_sha256, set_image }
    }

    /// Takes the next extent, which is whole.
    pub(crate) fn extent(&mut self, bytes: &[u8]) -> Result<()> {
        self.sha256 = None;
        self.intake.extent(bytes)
    }

    /// Takes the next extent as the parent has it; returns whether that is known.
    pub(crate) fn parents_extent(&mut self, len: u64) -> Result<bool> {
        self.sha256 = None;
        let Some(old) = self.intake.old.next() else { return Ok(false) };
        self.intake.add(Some(old), Some(old), len, None)?;
        Ok(true)
    }

    /// Takes the next extent, which is stored already.
    pub(crate) fn known_extent(&mut self, id: ChunkId, len: u64) -> Result<()> {
        self.sha256 = None;
        let old = self.intake.old.next();
        self.intake.add(old, Some(id), len, None)
    }

    /// Ends the image.
    fn finish(&mut self) -> Result<()> {
        let Self { cutter, intake, .. } = self;
        cutter.finish(&mut |extent| intake.extent(extent))?;
        if intake.batch.extents.is_empty() { Ok(()) } else { intake.pass_on() }
    }
}

impl ImageSink for Feed<'_> {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        let Self { cutter, intake, sha256, set_image, .. } = self;
        // A full disk ends no snapshot: the set is tried again from the store, and says so there.
        *set_image = set_image.take().and_then(|image| image.write(piece));
        if let Some(sha256) = sha256 {
            sha256.add(piece.to_vec())?;
        }
        cutter.add(piece, &mut |extent| intake.extent(extent))
    }

    fn restart(&mut self) -> Result<()> {
        self.set_image = self.set_image.take().and_then(SetImage::restart);
        self.sha256 = self.wants_sha256.then(Sha256Thread::start);
        self.cutter = ExtentCutter::new(self.intake.plan.session.store().config().chunking.extent_bytes);
        self.intake.restart()
    }
}

/// The extents so far.
struct Intake<'a> {
    plan: Plan<'a>,
    old: ParentExtents<'a>,
    batch: Batch,
    ordinal: u64,
    len: u64,
    queue: SyncSender<Message>,
    /// Batches whose memory is used again.
    spare: Receiver<Batch>,
}

impl<'a> Intake<'a> {
    fn new(plan: Plan<'a>, queue: SyncSender<Message>, spare: Receiver<Batch>) -> Self {
        Self { plan, old: plan.old_extents(), batch: Batch::default(), ordinal: 0, len: 0, queue, spare }
    }

    fn extent(&mut self, bytes: &[u8]) -> Result<()> {
        let Plan { session, reuses_parent, .. } = self.plan;
        let old = self.old.next();
        let id = old.map(|_| session.store().ids().chunk(bytes));
        let is_old = reuses_parent && id.is_some() && id == old;
        self.add(old, id, bytes.len() as u64, (!is_old).then_some(bytes))
    }

    fn add(&mut self, old: Option<ChunkId>, id: Option<ChunkId>, len: u64, changed: Option<&[u8]>) -> Result<()> {
        self.plan.observer.advance(len, 0);
        let extent = Extent {
            old,
            id,
            bytes: changed.map(|bytes| self.batch.push_bytes(bytes)),
            offset: self.len,
            is_expected: self.plan.expected.has(self.ordinal),
        };
        self.batch.extents.push(extent);
        self.ordinal += 1;
        self.len += len;
        let is_full = self.batch.changed >= BATCH_EXTENTS || self.batch.extents.len() >= BATCH_ITEMS;
        if is_full { self.pass_on() } else { Ok(()) }
    }

    fn pass_on(&mut self) -> Result<()> {
        checkpoint(self.plan.observer)?;
        // Once it is taken the one before is back.
        self.queue.send(Message::Batch(std::mem::take(&mut self.batch))).map_err(|_| died())?;
        self.batch = self.spare.try_recv().unwrap_or_default();
        self.batch.clear();
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.old = self.plan.old_extents();
        self.batch.clear();
        (self.ordinal, self.len) = (0, 0);
        self.queue.send(Message::Restart).map_err(|_| died())
    }
}

/// Stores batches in the order in which they come.
struct Storer<'a> {
    plan: Plan<'a>,
    ids: ExtentIds,
    /// Where the parent's pages are, once it shows that they have moved.
    moves: Option<PageMoves>,
    /// Whether pages can move at all: the parent has pages of the same size.
    may_move: Option<bool>,
    changed_unseen: AtomicBool,
}

impl<'a> Storer<'a> {
    fn new(plan: Plan<'a>) -> Self {
        let ids = ExtentIds::new(plan.scratch);
        let changed_unseen = AtomicBool::new(false);
        Self { plan, ids, moves: None, may_move: None, changed_unseen }
    }

    fn run(mut self, batches: &Receiver<Message>, give_back: &SyncSender<Batch>) -> Result<(ExtentIds, bool)> {
        for message in batches {
            match message {
                Message::Batch(batch) => {
                    self.store(&batch)?;
                    // Where the reader is done nobody wants it.
                    let _ = give_back.try_send(batch);
                }
                Message::Restart => self = Self { moves: self.moves, ..Self::new(self.plan) },
            }
        }
        Ok((self.ids, self.changed_unseen.into_inner()))
    }

    fn store(&mut self, batch: &Batch) -> Result<()> {
        let Plan { session, parent, scratch, observer, .. } = self.plan;
        checkpoint(observer)?;
        if let Some(parent) = parent.filter(|_| self.moves.is_none()) {
            let may_move = *self.may_move.get_or_insert_with(|| {
                // The first extent holds the header; one that was not read is the parent's.
                let first = batch.extents.first().and_then(|first| batch.bytes_of(first));
                parent.page_size > 0 && first.is_none_or(|first| page_size(first) == parent.page_size)
            });
            if may_move {
                // Where nothing is reused, what did not change has its bytes there too.
                let changed = batch.extents.iter().filter(|one| one.id != one.old);
                let changed: Vec<_> = changed.filter_map(|one| Some((one.old?, batch.bytes_of(one)?))).collect();
                // Without a map the deltas are larger, no more than that.
                self.moves = PageMoves::if_moved(session.store(), parent, &changed, scratch, observer)
                    .or_else(|error| if error.is_final() { Err(error) } else { Ok(None) })?;
            }
        }
        let moved = match &mut self.moves {
            Some(moves) => moves.bases(&batch.extents.iter().map(|extent| batch.bytes_of(extent)).collect::<Vec<_>>()),
            None => Vec::new(),
        };
        let store = |(n, extent)| self.store_extent(batch, extent, moved.get(n).and_then(Option::as_deref));
        let ids: Vec<ChunkId> = batch.extents.par_iter().enumerate().map(store).collect::<Result<_>>()?;
        ids.into_iter().try_for_each(|id| self.ids.push(id))
    }

    /// Stores an extent as a delta against those to which its contents have moved, or the parent's in its place.
    fn store_extent(&self, batch: &Batch, extent: &Extent, moved: Option<&[ChunkId]>) -> Result<ChunkId> {
        let Some(plain) = batch.bytes_of(extent) else {
            return extent.id.ok_or_else(|| Error::corrupt("the list of the parent's extents", "ends too early"));
        };
        let session = self.plan.session;
        let id = extent.id.unwrap_or_else(|| session.store().ids().chunk(plain));
        session.put_as(id, plain, moved.unwrap_or(extent.old.as_slice()))?;
        self.expect_old(extent, plain, id);
        Ok(id)
    }

    /// Notes an extent that must be the parent's, and is not.
    fn expect_old(&self, extent: &Extent, bytes: &[u8], id: ChunkId) {
        let Some(parent) = self.plan.parent.filter(|_| extent.is_expected && extent.old != Some(id)) else { return };
        let store = self.plan.session.store();
        let differs = |old| full_scan::extent_differs(store, parent.page_size, &old, bytes, extent.offset);
        if !self.changed_unseen.load(Ordering::Relaxed) && extent.old.is_none_or(differs) {
            self.changed_unseen.store(true, Ordering::Relaxed);
        }
    }
}
