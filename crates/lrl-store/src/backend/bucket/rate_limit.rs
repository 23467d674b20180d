//! Upload bandwidth: turns on a line of `bytes_per_second`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A limit shared by all senders. Unused bandwidth is not saved up.
pub(crate) struct RateLimit {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl RateLimit {
    /// Creates a limit; the first turn is free at once.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    /// Takes a turn for `bytes`; returns how long to wait for it.
    pub(crate) fn turn(&self, bytes: u64) -> Duration {
        self.turn_at(Instant::now(), bytes)
    }

    fn turn_at(&self, now: Instant, bytes: u64) -> Duration {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = now.max(*free_at);
        *free_at = start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        start - now
    }
}

#[cfg(test)]
mod tests {
    use super::RateLimit;
    use std::time::{Duration, Instant};

    #[test]
    fn turns_follow_each_other_and_no_time_is_saved_up() {
        let pace = RateLimit::new(1000);
        let start = Instant::now();
        let at = |ms: u64, bytes| pace.turn_at(start + Duration::from_millis(ms), bytes).as_millis();
        assert_eq!(at(100, 5000), 0);
        assert_eq!(at(100, 500), 5000);
        assert_eq!(at(5500, 1000), 100);
        // Ten idle seconds later the line takes as much as ever.
        assert_eq!(at(16_600, 3000), 0);
        assert_eq!(at(16_600, 1), 3000);
    }
}
