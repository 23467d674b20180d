//! Where the parent's contents are now. After a `VACUUM` nearly all rows and pages have known bytes at new offsets: the extents that held them are
//! better delta bases than the extent at the same offset.
//!
//! They are found by anchors: places that a rolling hash of the 64 bytes before them chooses, so that the same bytes have the same anchors
//! wherever they are, also where rows have moved from one page to another.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use super::extent_ids::ExtentIds;
use crate::budget::{ANCHORED_EXTENTS, ANCHORS};
use crate::compression::MAX_BASES;
use crate::error::Result;
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::store::tree::TreeItems;

/// This many of the changed extents that are stored at once, evenly spread, tell whether pages have moved.
const SAMPLES: usize = 16;
/// With fewer changed extents a map of the parent costs more than it saves.
const MIN_CHANGED: usize = 32;
/// There is an anchor in about this many bytes; a larger database has as many as the map holds.
const MIN_DISTANCE: u64 = 1 << 10;
/// An anchor that more extents have tells nothing: those are bytes that repeat.
const MAX_HOLDERS: usize = 2;
/// An extent with less than one in this number of another's anchors is no base for it: it would cost more time than bytes.
const MIN_SHARE: u32 = 6;
/// Nor is one with a single anchor of this many: that may be chance.
const MANY: u32 = 4;

/// Anchors of the parent, each with the extent that holds it.
pub(super) struct PageMoves {
    extents: ExtentIds,
    anchors: AnchorMap,
    /// Bytes from one anchor to the next, on average.
    distance: u64,
    /// The extent that bases were last looked for.
    last: Found,
}

impl PageMoves {
    /// Maps the parent if a sample of these changed extents, each with the parent's in its place, says that pages have moved.
    pub(super) fn if_moved(
        store: &Store,
        parent: &snapshot::Database,
        changed: &[(ChunkId, &[u8])],
        scratch: &Path,
        observer: &dyn Observer,
    ) -> Result<Option<Self>> {
        let page_size = parent.page_size as usize;
        if page_size == 0 || !looks_moved(store, page_size, changed) {
            return Ok(None);
        }
        let extent_bytes = u64::from(store.config().chunking.extent_bytes);
        // A sixteenth more than there should be fit.
        let distance = MIN_DISTANCE.max(parent.size_bytes / (ANCHORS as u64 / 16 * 15));
        let extents = ExtentIds::new(scratch);
        let mut map = Self { extents, anchors: AnchorMap::default(), distance, last: Found::default() };
        let mut all = Vec::new();
        store.expect_chunks(parent.size_bytes.div_ceil(extent_bytes), false)?;
        // A crafted list may name more than the image holds.
        let most = usize::try_from(parent.size_bytes.div_ceil(extent_bytes)).unwrap_or(usize::MAX);
        let mut pieces = TreeItems::<Piece>::new(store, &parent.root)?.take(most);
        loop {
            checkpoint(observer)?;
            let batch: Vec<ChunkId> = pieces
                .by_ref()
                .take(ANCHORED_EXTENTS)
                .filter_map(|piece| match piece {
                    Ok(Piece::Data { id, .. }) => Some(id),
                    _ => None,
                })
                .collect();
            if batch.is_empty() {
                map.anchors = AnchorMap::new(all, map.extents.len() as usize);
                return Ok(Some(map));
            }
            // An extent that cannot be read is no base; one with other bytes than it should have is seen where it is to be one.
            let found: Vec<Vec<u32>> = batch
                .par_iter()
                .map(|id| store.read_unverified(id).map(|plain| anchors(&plain, distance)).unwrap_or_default())
                .collect();
            for (id, found) in batch.into_iter().zip(found) {
                let at = map.extents.len() as u32;
                map.extents.push(id)?;
                let room = ANCHORS.saturating_sub(all.len());
                all.extend(found.into_iter().take(room).map(|anchor| (anchor, at)));
            }
        }
    }

    /// Returns for each of these extents, which follow one another, those of the parent that hold its contents, best first; `None` where
    /// nothing tells. Of what is gathered from many extents none is a base.
    pub(super) fn bases(&mut self, extents: &[Option<&[u8]>]) -> Vec<Option<Vec<ChunkId>>> {
        let voted = extents.par_iter().map(|extent| extent.and_then(|extent| self.voted(extent)));
        let voted: Vec<Option<Vec<u32>>> = voted.collect();
        let mut bases = Vec::with_capacity(extents.len());
        for (at, extent) in extents.iter().enumerate() {
            let after = voted.get(at + 1).and_then(Option::as_deref).unwrap_or_default();
            let numbers = match &voted[at] {
                Some(own) => Some(self.last.with_neighbour(own, after)),
                None => extent.and_then(|_| self.last.next()),
            };
            // One that cannot be read is no base.
            let id = |number: &u32| self.extents.get(u64::from(*number)).unwrap_or_default();
            bases.push(numbers.as_ref().map(|numbers| numbers.iter().filter_map(id).collect()));
            self.last = Found { voted: voted[at].clone().unwrap_or_default(), bases: numbers.unwrap_or_default() };
        }
        bases
    }

    /// Returns the parent's extents that have most anchors of this one, best first; `None` if none of its anchors is known.
    fn voted(&self, extent: &[u8]) -> Option<Vec<u32>> {
        let mut votes: HashMap<u32, u32> = HashMap::new();
        let mut sum = 0;
        for anchor in anchors(extent, self.distance) {
            let mut is_known = false;
            for at in self.anchors.holders(anchor) {
                *votes.entry(at).or_default() += 1;
                is_known = true;
            }
            sum += u32::from(is_known);
        }
        let is_base = |(_, count): &(u32, u32)| count * MIN_SHARE >= sum && (*count > 1 || sum < MANY);
        let mut votes: Vec<(u32, u32)> = votes.into_iter().filter(is_base).collect();
        votes.sort_unstable_by_key(|(at, count)| (std::cmp::Reverse(*count), *at));
        (sum > 0).then(|| votes.iter().take(MAX_BASES).map(|(at, _)| *at).collect())
    }
}

/// The parent's extents that hold the contents of an extent, by their numbers.
#[derive(Default)]
struct Found {
    /// Those that have its anchors, best first.
    voted: Vec<u32>,
    /// Those, and what the order of contents adds.
    bases: Vec<u32>,
}

impl Found {
    /// Adds to the only extent that has anchors of the one after this the one before or after it: contents stay in order, so most are in two that
    /// follow each other, and of the one with less there may be no anchor. `after` are those that have anchors of the one after that.
    fn with_neighbour(&self, voted: &[u32], after: &[u32]) -> Vec<u32> {
        let [one] = voted else { return voted.to_vec() };
        let (previous, next) = (one.checked_sub(1), Some(one + 1));
        let neighbour = match (self.voted.contains(one), after.contains(one)) {
            // All of this is in it.
            (true, true) => None,
            (true, false) => next,
            (false, true) => previous,
            // As it was with the last.
            (false, false) if self.bases.contains(one) => next,
            (false, false) => previous,
        };
        [Some(*one), neighbour].into_iter().flatten().collect()
    }

    /// Returns those of the one after this if nothing else tells: it goes on where this one ends.
    fn next(&self) -> Option<Vec<u32>> {
        self.bases.iter().max().map(|end| vec![*end, end + 1])
    }
}

/// Which extents have an anchor: four bytes for each of them.
#[derive(Default)]
struct AnchorMap {
    /// In order: of an anchor's lowest 16 bits as many as fit, then the extent.
    entries: Vec<u32>,
    /// Where those begin whose highest 16 bits are the same, and a last one for the end.
    starts: Vec<u32>,
    /// Bits of an extent's number.
    extent_bits: u32,
}

impl AnchorMap {
    /// Takes anchors with the number of the extent that has each, one below `extents`.
    fn new(mut anchors: Vec<(u32, u32)>, extents: usize) -> Self {
        let extent_bits = extents.next_power_of_two().trailing_zeros().min(31);
        anchors.par_sort_unstable();
        anchors.dedup();
        let mut map = Self { entries: Vec::with_capacity(anchors.len()), starts: Vec::new(), extent_bits };
        for same in anchors.chunk_by(|a, b| a.0 == b.0) {
            let (anchor, _) = same[0];
            map.start_up_to(anchor >> 16);
            if same.len() <= MAX_HOLDERS {
                let lowest = map.lowest(anchor) << extent_bits;
                map.entries.extend(same.iter().map(|(_, at)| lowest | at));
            }
        }
        map.start_up_to(1 << 16);
        map
    }

    /// Notes where the anchors begin whose highest bits are `high`, and the same for lower ones.
    fn start_up_to(&mut self, high: u32) {
        self.starts.resize(high as usize + 1, self.entries.len() as u32);
    }

    fn lowest(&self, anchor: u32) -> u32 {
        (anchor & 0xFFFF) >> 16u32.saturating_sub(32 - self.extent_bits)
    }

    /// Returns the extents that have an anchor; another one by chance, where extents are many.
    fn holders(&self, anchor: u32) -> impl Iterator<Item = u32> {
        let start = |high: u32| self.starts.get(high as usize).map_or(0, |at| *at as usize);
        let same_high = self.entries.get(start(anchor >> 16)..start((anchor >> 16) + 1)).unwrap_or_default();
        let lowest = self.lowest(anchor);
        let from = same_high.partition_point(|entry| entry >> self.extent_bits < lowest);
        let same = same_high[from..].iter().take_while(move |entry| *entry >> self.extent_bits == lowest);
        same.map(|entry| entry & ((1 << self.extent_bits) - 1))
    }
}

/// Random numbers for the rolling hash, one for each byte: splitmix64 from 0.
const GEAR: [u64; 256] = {
    let mut gear = [0; 256];
    let mut at = 0;
    while at < gear.len() {
        let mut z = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        gear[at] = z ^ (z >> 31);
        at += 1;
    }
    gear
};

/// Parts of an extent whose hashes are computed side by side: one alone waits for itself at each byte.
const LANES: usize = 4;
/// The hash depends on this many last bytes.
const WINDOW: usize = 64;

/// Takes those of these hashes that are anchors. Apart from the loop, which then has all that it needs in registers.
#[inline(never)]
fn note(found: &mut Vec<u32>, limit: u64, hashes: &[u64]) {
    let anchors = hashes.iter().filter(|hash| **hash < limit);
    found.extend(anchors.map(|hash| (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32));
}

/// Returns the anchors of an extent, in order, each once: about one in `distance` bytes.
fn anchors(extent: &[u8], distance: u64) -> Vec<u32> {
    let mut found = Vec::with_capacity(extent.len() / distance as usize * 2);
    let limit = u64::MAX / distance;
    let step = |hash: u64, byte: u8| (hash << 1).wrapping_add(GEAR[usize::from(byte)]);
    let part = extent.len() / LANES;
    let (mut last, mut rest) = (0, extent);
    if part >= WINDOW {
        let [in_a, in_b, in_c, in_d]: [&[u8]; LANES] = std::array::from_fn(|lane| &extent[lane * part..][..part]);
        let after = |lane: &[u8]| lane[part - WINDOW..].iter().fold(0, |hash, byte| step(hash, *byte));
        let (mut a, mut b, mut c, mut d) = (0, after(in_a), after(in_b), after(in_c));
        for (((in_a, in_b), in_c), in_d) in in_a.iter().zip(in_b).zip(in_c).zip(in_d) {
            (a, b, c, d) = (step(a, *in_a), step(b, *in_b), step(c, *in_c), step(d, *in_d));
            if a < limit || b < limit || c < limit || d < limit {
                note(&mut found, limit, &[a, b, c, d]);
            }
        }
        (last, rest) = (d, &extent[LANES * part..]);
    }
    for byte in rest {
        last = step(last, *byte);
        note(&mut found, limit, &[last]);
    }
    // Where bytes repeat, so do anchors.
    found.sort_unstable();
    found.dedup();
    found
}

/// Compares some of the changed extents with the parent's at the same places: where hardly any page is the same, pages have moved.
fn looks_moved(store: &Store, page_size: usize, changed: &[(ChunkId, &[u8])]) -> bool {
    if changed.len() < MIN_CHANGED {
        return false;
    }
    let samples: Vec<_> = changed.iter().step_by(changed.len() / SAMPLES).collect();
    let is_moved = |(old, new): &&&(ChunkId, &[u8])| {
        let Ok(old) = store.read(old) else { return false };
        let same = new.chunks(page_size).zip(old.chunks(page_size)).filter(|(a, b)| a == b).count();
        same * 2 < new.len() / page_size
    };
    samples.par_iter().filter(is_moved).count() * 2 >= samples.len()
}

#[cfg(test)]
mod tests {
    use super::{AnchorMap, ExtentIds, Found, GEAR, LANES, MAX_HOLDERS, MIN_DISTANCE, PageMoves, WINDOW, anchors};
    use crate::id::ChunkId;
    use crate::testing::rng::noise;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_repeats_has_no_anchors_but_its_own() {
        for byte in 0..=255 {
            assert!(anchors(&[byte; 64 << 10], MIN_DISTANCE).len() <= 64, "{byte}");
        }
        assert!(anchors(&[0; 64 << 10], MIN_DISTANCE).len() <= 1, "free pages");
    }

    const EXTENT: usize = 64 << 10;

    /// A map of these extents with an anchor in about `distance` bytes.
    fn map(text: &[u8], distance: u64) -> PageMoves {
        let (mut extents, mut all) = (ExtentIds::new(&std::env::temp_dir()), Vec::new());
        for (at, extent) in (0..).zip(text.chunks(EXTENT)) {
            extents.push(ChunkId::of(extent)).unwrap();
            all.extend(anchors(extent, distance).into_iter().map(|anchor| (anchor, at)));
        }
        let anchors = AnchorMap::new(all, extents.len() as usize);
        PageMoves { extents, anchors, distance, last: Found::default() }
    }

    #[test]
    fn what_follows_is_found_where_anchors_are_few() {
        let text = noise(7, 80 * EXTENT);
        let ids: Vec<ChunkId> = text.chunks(EXTENT).map(ChunkId::of).collect();
        for (gone, distance, least) in [(EXTENT / 3, EXTENT as u64 / 2, 70), (EXTENT * 5 / 6, EXTENT as u64, 50)] {
            let mut moves = map(&text, distance);
            let new: Vec<Option<&[u8]>> = text[gone..].chunks(EXTENT).map(Some).collect();
            // As they come, in batches.
            let found: Vec<_> = new.chunks(9).flat_map(|batch| moves.bases(batch)).collect();
            let has_both = |n: &usize| {
                found[*n].as_ref().is_some_and(|bases| bases.contains(&ids[*n]) && bases.contains(&ids[*n + 1]))
            };
            let count = (0..79).filter(has_both).count();
            assert!(count >= least, "{count} of 79 at one anchor in {distance}");
            assert!(found.iter().flatten().all(|bases| bases.len() <= 2));
        }
    }

    #[test]
    fn what_is_gathered_from_everywhere_has_no_base_and_what_is_unknown_goes_on() {
        let text = noise(8, 64 * EXTENT);
        let mut moves = map(&text, MIN_DISTANCE);
        let gathered: Vec<u8> = text.chunks(EXTENT).flat_map(|extent| &extent[..EXTENT / 64]).copied().collect();
        let (id, unknown) = (|n: usize| ChunkId::of(&text[n * EXTENT..][..EXTENT]), noise(9, EXTENT));
        let known = &text[5 * EXTENT..][..EXTENT];
        let found = moves.bases(&[Some(&gathered), None, Some(&unknown), Some(known), Some(&unknown)]);
        assert_eq!(found[..3], [Some(vec![]), None, None]);
        assert_eq!(found[3], Some(vec![id(5), id(4)]));
        assert_eq!(found[4], Some(vec![id(5), id(6)]));
    }

    /// The same, byte after byte; without those of the first `skipped` bytes.
    fn anchors_in_order(extent: &[u8], distance: u64, skipped: usize) -> Vec<u32> {
        let mut hash = 0u64;
        let hashes = extent.iter().map(|byte| {
            hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
            hash
        });
        let found = hashes.skip(skipped).filter(|hash| *hash < u64::MAX / distance);
        let mut found: Vec<u32> = found.map(|hash| (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    proptest! {
        #[test]
        fn lanes_find_what_one_pass_finds(seed: u64, len in 0usize..3000, distance in 2u64..4096) {
            for len in [len, LANES * WINDOW - 1, LANES * WINDOW, LANES * WINDOW + 3] {
                let text = noise(seed, len);
                prop_assert_eq!(anchors(&text, distance), anchors_in_order(&text, distance, 0));
            }
        }

        #[test]
        fn each_anchor_is_found(keys in proptest::collection::btree_set(any::<u32>(), 0..300), other: u32) {
            let keys: BTreeSet<u32> = keys.into_iter().chain([u32::MAX, 0, 0xFFFF, 0x1_0000]).collect();
            let anchors: Vec<(u32, u32)> = keys.iter().enumerate().map(|(n, key)| (*key, n as u32)).collect();
            let map = AnchorMap::new(anchors, keys.len());
            for (n, key) in keys.iter().enumerate() {
                prop_assert_eq!(map.holders(*key).collect::<Vec<_>>(), [n as u32]);
            }
            prop_assert_eq!(map.holders(other).next().is_some(), keys.contains(&other));
        }

        #[test]
        fn what_many_extents_have_is_no_anchor(key: u32, holders in 1usize..6, extents in 6usize..1 << 26) {
            let anchors = (0..holders as u32).chain(0..1).map(|at| (key, at)).collect();
            let found: Vec<u32> = AnchorMap::new(anchors, extents).holders(key).collect();
            prop_assert_eq!(found.len(), if holders <= MAX_HOLDERS { holders } else { 0 });
        }

        #[test]
        fn the_same_bytes_have_the_same_anchors_wherever_they_are(seed: u64, before in 0usize..5000) {
            let text = noise(seed, 64 << 10);
            let moved = [noise(!seed, before), text.clone()].concat();
            let (here, there) = (anchors(&text, MIN_DISTANCE), anchors(&moved, MIN_DISTANCE));
            prop_assert!((30..120).contains(&here.len()), "{}", here.len());
            // The first 63 bytes have others before them.
            let kept = anchors_in_order(&text, MIN_DISTANCE, WINDOW - 1);
            prop_assert!(kept.iter().all(|anchor| there.binary_search(anchor).is_ok()));
        }
    }
}
