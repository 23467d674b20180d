//! Moments, their written form, and when a clock must be wrong. Reads no clock.

use std::time::SystemTime;

/// Seconds by which a clock may be corrected without any time counting as in the future.
pub(crate) const SKEW_SECS: i64 = 60;

/// A moment: seconds since 1970 and nanoseconds (0..1_000_000_000) after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC, negative before.
    pub secs: i64,
    /// Nanoseconds after `secs`.
    pub nanos: u32,
}

impl Time {
    const STAMP: &str = "%Y%m%d_%H%M%S";

    /// Writes the second as a timestamp, `20260114_120000` in UTC; `None` for a year that cannot be written.
    pub fn stamp(self) -> Option<String> {
        Some(jiff::Timestamp::from_second(self.secs).ok()?.strftime(Self::STAMP).to_string())
    }

    /// Reads a timestamp, which must be written as [`Time::stamp`] writes it.
    pub fn of_stamp(stamp: &str) -> Option<Self> {
        let time = jiff::civil::DateTime::strptime(Self::STAMP, stamp).ok()?;
        let secs = jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?.as_second();
        Some(Self { secs, nanos: 0 }).filter(|time| time.stamp().as_deref() == Some(stamp))
    }
}

/// Converts a system time.
pub fn time_of(time: SystemTime) -> Time {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() },
        Err(before) => Time { secs: -(before.duration().as_secs() as i64) - 1, nanos: 0 },
    }
}

/// Returns whether a time is so far ahead that a clock was wrong.
pub(crate) fn is_future(time: Time, now: Time) -> bool {
    time.secs > now.secs.saturating_add(SKEW_SECS)
}
