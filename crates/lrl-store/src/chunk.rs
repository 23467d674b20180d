//! Where uploads are cut into chunks: by content (FastCDC v2020).
//! Decides boundaries only; never reads, hashes or copies.
//!
//! Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems" (2020).
//! The boundaries are part of the store's format: other ones would find nothing of what is already stored.

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};

/// Bounds of content-defined chunks, in bytes; all even, `min < avg < max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CdcParams {
    /// No cut before this length.
    pub min: usize,
    /// The length that cuts gather around.
    pub avg: usize,
    /// Always a cut at this length.
    pub max: usize,
}

/// How uploads larger than `WHOLE_FILE_BYTES` are cut in format 1.
pub const UPLOADS: CdcParams = CdcParams { min: 256 << 10, avg: 1 << 20, max: 4 << 20 };

/// A run of data up to this length is one chunk, uncut.
pub(crate) const WHOLE_FILE_BYTES: u64 = 1 << 20;

/// The numbers by which contents are cut: public ones, or in an encrypted store its own, so that lengths do not tell contents.
#[derive(Clone)]
pub struct Gear {
    table: [u64; 256],
    shifted: [u64; 256],
}

impl Default for Gear {
    fn default() -> Self {
        let (table, shifted) = get_gear_with_seed(0);
        let mut gear = Self { table: [0; 256], shifted: [0; 256] };
        gear.table.copy_from_slice(&table);
        gear.shifted.copy_from_slice(&shifted);
        gear
    }
}

impl Gear {
    /// Cuts by a secret table.
    pub(crate) fn keyed(table: [u64; 256]) -> Self {
        Self { shifted: table.map(|word| word << 1), table }
    }
}

/// Finds the cut points of one stream of bytes, however the stream arrives.
pub struct Cutter {
    params: CdcParams,
    mask_small: u64,
    mask_large: u64,
    gear: Gear,
    /// How much of the current chunk was looked at; even, because positions are tested in pairs as the paper does.
    scanned: usize,
    hash: u64,
}

impl Cutter {
    /// Starts at the front of a stream.
    pub fn new(params: CdcParams, gear: &Gear) -> Self {
        let (mask_small, mask_large) = select_masks(params.avg, Normalization::Level1);
        Self { params, mask_small, mask_large, gear: gear.clone(), scanned: 0, hash: 0 }
    }

    /// Returns the length of the current chunk once it is certain, and starts the next one behind it.
    ///
    /// `chunk` is everything since the last cut that has arrived so far. `None` asks for more bytes behind the same
    /// ones; at the end of the stream they are the last chunk.
    pub fn cut(&mut self, chunk: &[u8]) -> Option<usize> {
        let CdcParams { min, avg, max } = self.params;
        let live = chunk.get(..max).unwrap_or(chunk);
        // A last odd byte waits for its partner, so a stream that ends there is not cut before it.
        let even = live.len() & !1;
        self.scanned = self.scanned.max(min);
        let found = match self.scan(live, avg.min(even), self.mask_small) {
            None => self.scan(live, even, self.mask_large),
            found => found,
        };
        let cut = found.or((live.len() == max).then_some(max));
        if cut.is_some() {
            self.restart();
        }
        cut
    }

    /// Forgets the current chunk: the next byte begins a new stream.
    pub(crate) fn restart(&mut self) {
        (self.scanned, self.hash) = (0, 0);
    }

    fn scan(&mut self, chunk: &[u8], end: usize, mask: u64) -> Option<usize> {
        let mut hash = self.hash;
        // Two bytes a step, the first with everything shifted by one already: a shorter chain of dependent operations.
        for (pair, bytes) in chunk.get(self.scanned..end)?.chunks_exact(2).enumerate() {
            hash = (hash << 2).wrapping_add(self.gear.shifted[usize::from(bytes[0])]);
            if hash & (mask << 1) == 0 {
                return Some(self.scanned + 2 * pair);
            }
            hash = hash.wrapping_add(self.gear.table[usize::from(bytes[1])]);
            if hash & mask == 0 {
                return Some(self.scanned + 2 * pair + 1);
            }
        }
        self.scanned = end;
        self.hash = hash;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{CdcParams, Cutter, Gear, UPLOADS};
    use proptest::prelude::*;

    const SMALL: CdcParams = CdcParams { min: 64, avg: 256, max: 1024 };

    /// Repeatable noise (splitmix64), so that golden values need no file.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&next().to_le_bytes());
        }
        out.truncate(len);
        out
    }

    /// Cuts `data` as it arrives in steps of the given lengths (the last one repeated).
    fn cut_all(params: CdcParams, data: &[u8], steps: &[usize]) -> Vec<usize> {
        let mut cutter = Cutter::new(params, &Gear::default());
        let (mut lens, mut start, mut arrived, mut step) = (Vec::new(), 0, 0, 0);
        while arrived < data.len() {
            arrived = data.len().min(arrived + steps[step.min(steps.len() - 1)].max(1));
            step += 1;
            while let Some(len) = cutter.cut(&data[start..arrived]) {
                lens.push(len);
                start += len;
            }
        }
        if start < data.len() {
            lens.push(data.len() - start);
        }
        lens
    }

    #[test]
    fn a_secret_table_cuts_elsewhere_and_as_evenly() {
        let data = noise(3, 24 << 20);
        let cuts = |gear: &Gear| {
            let (mut cutter, mut start, mut cuts) = (Cutter::new(UPLOADS, gear), 0, Vec::new());
            while let Some(len) = cutter.cut(&data[start..]) {
                start += len;
                cuts.push(start);
            }
            cuts
        };
        let keys = |seed| {
            let bundle = crate::crypt::Bundle::Full(zeroize::Zeroizing::new([seed; 32]));
            Gear::keyed(crate::crypt::Keys::new([1; 32], &bundle).gear())
        };
        let (public, one, other) = (cuts(&Gear::default()), cuts(&keys(1)), cuts(&keys(2)));
        for (a, b) in [(&public, &one), (&public, &other), (&one, &other)] {
            assert!(a.iter().filter(|cut| b.contains(cut)).count() <= 1, "{a:?} {b:?}");
        }
        assert!([&one, &other].into_iter().all(|cuts| (10..60).contains(&cuts.len())), "{one:?} {other:?}");
        assert_eq!(one, cuts(&keys(1)));
    }

    fn reference(params: CdcParams, data: &[u8]) -> Vec<usize> {
        fastcdc::v2020::FastCDC::new(data, params.min, params.avg, params.max).map(|c| c.length).collect()
    }

    #[test]
    fn golden_cut_points_of_uploads() {
        let lens = cut_all(UPLOADS, &noise(2026, 16 << 20), &[256 << 10]);
        assert_eq!(lens, GOLDEN);
    }

    /// A change here means that old stores share nothing with new snapshots: it needs a new format.
    const GOLDEN: &[usize] = &[
        1086676, 742449, 391116, 1553263, 1399035, 3198858, 1128075, 1641398, 1231372, 1295343, 843431, 1565750, 700450,
    ];

    #[test]
    fn bytes_without_content_are_cut_at_the_maximum() {
        let lens = cut_all(UPLOADS, &vec![0; (9 << 20) + 1], &[1 << 20]);
        assert_eq!(lens, [4 << 20, 4 << 20, (1 << 20) + 1]);
    }

    #[test]
    fn an_insertion_changes_only_the_chunks_around_it() {
        let old = noise(7, 200_000);
        let mut new = old.clone();
        new.splice(100_000..100_000, *b"seventeen bytes!!");
        let split = |data: &[u8]| {
            let mut rest = data.to_vec();
            cut_all(SMALL, data, &[4096]).into_iter().map(|len| rest.drain(..len).collect()).collect::<Vec<Vec<u8>>>()
        };
        let before: std::collections::HashSet<_> = split(&old).into_iter().collect();
        let changed = split(&new).into_iter().filter(|chunk| !before.contains(chunk)).count();
        assert!((1..=8).contains(&changed), "{changed} chunks changed");
    }

    /// Prints GB/s: `cargo test --release -p lrl-store cut_speed -- --ignored --nocapture`.
    #[test]
    #[ignore = "measures"]
    fn cut_speed() {
        let data = noise(1, 64 << 20);
        for _ in 0..2 {
            let start = std::time::Instant::now();
            let ours = cut_all(UPLOADS, &data, &[256 << 10]);
            let middle = std::time::Instant::now();
            assert_eq!(ours, reference(UPLOADS, &data));
            let rate = |time: std::time::Duration| data.len() as f64 / 1e9 / time.as_secs_f64();
            println!("{:.2} GB/s, reference {:.2}", rate(middle - start), rate(middle.elapsed()));
        }
    }

    proptest! {
        #[test]
        fn cuts_depend_on_bytes_alone(
            seed: u64, len in 0usize..20_000, level in 1u64..256, steps in prop::collection::vec(1usize..3000, 1..8)
        ) {
            // Few different byte values make runs and repeats, many make noise.
            let data: Vec<u8> = noise(seed, len).into_iter().map(|b| (u64::from(b) % level) as u8).collect();
            let lens = cut_all(SMALL, &data, &steps);
            prop_assert_eq!(lens.iter().sum::<usize>(), len);
            prop_assert!(lens.iter().all(|len| *len <= SMALL.max));
            prop_assert!(lens.iter().rev().skip(1).all(|len| *len >= SMALL.min));
            prop_assert_eq!(lens, reference(SMALL, &data));
        }
    }
}
