//! When a step is due: by its interval and its last success, whatever the hour at which runs happen.

use crate::config::policy::Interval;

/// When a step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At the next run.
    Now,
    /// At the first run after this, in seconds since 1970.
    At(i64),
    /// Not at all, by `[policy]`.
    Never,
    /// Not at all: the settings lack what the text names.
    Lacks(&'static str),
}

/// A run that begins a little earlier than the last one must not miss its step by that little: each is due this share of its interval
/// early, at most [`EARLY_MAX`].
const EARLY_SHARE: u64 = 6;
const EARLY_MAX: u64 = 4 * 3600;

/// Returns when a step is due; `failed` if its last try was no success, which makes it due at once.
pub fn due(interval: Interval, last_success: Option<i64>, failed: bool, now: i64) -> Due {
    let Interval::Every(interval) = interval else {
        return if interval == Interval::Never { Due::Never } else { Due::Now };
    };
    let seconds = interval.as_secs();
    let early = (seconds / EARLY_SHARE).min(EARLY_MAX);
    // A success in the future is a clock that was wrong.
    match last_success.filter(|last| !failed && *last <= now) {
        Some(last) => match last.saturating_add_unsigned(seconds - early) {
            next if next <= now => Due::Now,
            next => Due::At(next),
        },
        None => Due::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::{Due, due};
    use crate::config::policy::Interval;
    use std::time::Duration;

    const HOUR: i64 = 3600;
    const DAILY: Interval = Interval::Every(Duration::from_secs(86_400));
    const WEEKLY: Interval = Interval::Every(Duration::from_secs(7 * 86_400));

    #[test]
    fn runs_at_about_the_same_hour_neither_skip_a_day_nor_do_a_step_twice() {
        let now = 1_800_000_000;
        assert_eq!(due(DAILY, None, false, now), Due::Now);
        assert_eq!(due(DAILY, Some(now - 24 * HOUR), false, now), Due::Now);
        assert_eq!(due(DAILY, Some(now - 23 * HOUR), false, now), Due::Now, "it began earlier than yesterday");
        assert_eq!(due(DAILY, Some(now - 19 * HOUR), false, now), Due::At(now + HOUR));
        assert_eq!(due(WEEKLY, Some(now - (7 * 24 - 1) * HOUR), false, now), Due::Now);
        assert_eq!(due(WEEKLY, Some(now - 6 * 24 * HOUR), false, now), Due::At(now + 20 * HOUR));
        assert_eq!(due(WEEKLY, Some(now - 100 * 24 * HOUR), false, now), Due::Now, "missed long ago");
    }

    #[test]
    fn a_failed_step_and_one_of_the_future_are_due_at_once() {
        let now = 1_800_000_000;
        assert_eq!(due(WEEKLY, Some(now - HOUR), true, now), Due::Now);
        assert_eq!(due(WEEKLY, Some(now + HOUR), false, now), Due::Now);
        assert_eq!(due(Interval::Always, Some(now), false, now), Due::Now);
        assert_eq!(due(Interval::Never, None, true, now), Due::Never);
    }
}
