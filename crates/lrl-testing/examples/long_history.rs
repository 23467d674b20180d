//! Writes `DIR/data` and `DIR/store`: a store with a long history, and the data that its newest snapshot holds. See docs/TESTING.md.

// It is for developers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use lrl_testing::long_history::{self, Shape};

fn main() {
    let mut words = std::env::args().skip(1);
    let usage = "long_history DIR SNAPSHOTS [SECONDS FROM ONE TO THE NEXT]";
    let dir = words.next().expect(usage);
    let snapshots = words.next().and_then(|word| word.parse().ok()).expect(usage);
    let every = words.next().map_or(60, |word| word.parse().expect(usage));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let dir = Path::new(&dir);
    long_history::write(&dir.join("data"), &dir.join("store"), Shape { snapshots, every, newest: now - 60 });
}
