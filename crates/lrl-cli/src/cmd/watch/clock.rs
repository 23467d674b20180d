//! The time of a watch: moments since it began, and what the wall's clock shows at them.

use std::time::{Duration, Instant, SystemTime};

use lrl_store::ops::watch::timing::Moment;
use lrl_store::time::time_of;

/// Both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Both {
    /// Since the watch began.
    pub moment: Moment,
    /// On the wall's clock.
    pub wall: SystemTime,
}

/// A clock that is corrected by no more than this was right enough to compare times with.
const DRIFT: Duration = Duration::from_millis(500);

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the watch began.
    pub fn now(&self) -> Moment {
        self.0.elapsed()
    }

    /// Returns both times.
    pub fn both(&self) -> Both {
        Both { moment: self.now(), wall: SystemTime::now() }
    }

    /// Returns the wall's time, in seconds since 1970.
    pub fn wall(&self) -> i64 {
        time_of(SystemTime::now()).secs
    }

    /// Returns the wall's time at a moment, in seconds since 1970.
    pub fn wall_at(&self, moment: Moment) -> i64 {
        let passed = self.now().saturating_sub(moment);
        self.wall().saturating_sub(i64::try_from(passed.as_secs()).unwrap_or(i64::MAX))
    }
}

impl Both {
    /// Returns whether the wall's clock went back since then: what has changed may bear an earlier time.
    pub fn went_back(&self, now: &Self) -> bool {
        let passed = now.moment.saturating_sub(self.moment);
        self.wall + passed > now.wall + DRIFT
    }
}

#[cfg(test)]
mod tests {
    use super::Both;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_clock_that_went_back_is_noticed() {
        let at = |moment: u64, wall: u64| Both {
            moment: Duration::from_secs(moment),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall),
        };
        assert!(!at(5, 1000).went_back(&at(65, 1060)) && !at(5, 1000).went_back(&at(65, 9000)));
        assert!(at(5, 1000).went_back(&at(65, 1058)) && at(5, 1000).went_back(&at(6, 10)));
    }
}
