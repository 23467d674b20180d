//! Times as people name them: `2026-11-28T14:03`, `2026-11-28`, `14:03`, `yesterday`, `2h`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// Returns the moment that a text names; `None` if it names none. A day means all of it: its last moment. `now` is in the zone that days and
/// hours are counted in.
pub fn moment(text: &str, now: &Zoned) -> Option<Timestamp> {
    let end = |date: Date| date.to_datetime(Time::constant(23, 59, 59, 999_999_999)).to_zoned(now.time_zone().clone());
    let zoned = match text {
        "now" => now.clone(),
        "today" => end(now.date()).ok()?,
        "yesterday" => end(now.date().yesterday().ok()?).ok()?,
        _ => {
            if let Some(ago) = ago(text) {
                return now.checked_sub(ago).ok().map(|then| then.timestamp());
            }
            let with_offset =
                text.ends_with(['Z', 'z']) || text.get(10..).is_some_and(|time| time.contains(['+', '-']));
            if with_offset && let Ok(moment) = text.parse::<Timestamp>() {
                let rest = if text.contains('.') { 0 } else { 999_999_999 };
                return moment.checked_add(Span::new().nanoseconds(rest)).ok();
            }
            if let Ok(date) = text.parse::<Date>().and_then(end) {
                if text.len() == "YYYY-MM-DD".len() { date } else { at(text, now)? }
            } else if let Ok(time) = text.parse::<Time>() {
                if !text.contains(':') {
                    return None;
                }
                now.date().to_datetime(last_of(text, time)).to_zoned(now.time_zone().clone()).ok()?
            } else {
                at(text, now)?
            }
        }
    };
    Some(zoned.timestamp())
}

/// As [`moment`], but a day means its beginning, and an hour and a minute theirs: for what is not older than that.
pub fn since(text: &str, now: &Zoned) -> Option<Timestamp> {
    let day = match text {
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        _ => text.parse::<Date>().ok().filter(|_| text.len() == "YYYY-MM-DD".len()),
    };
    if let Some(day) = day {
        return day.to_zoned(now.time_zone().clone()).ok().map(|start| start.timestamp());
    }
    // Of a minute or a second its last moment was meant, which is less than a minute later.
    let end = moment(text, now)?;
    match text.bytes().filter(|byte| *byte == b':').count() {
        1 if text.contains(':') => end.checked_sub(Span::new().nanoseconds(59_999_999_999_i64)).ok(),
        _ => Some(end),
    }
}

/// Returns a date with a time of day.
fn at(text: &str, now: &Zoned) -> Option<Zoned> {
    let (date, time) = text.split_once(['T', ' '])?;
    let (date, parsed) = (date.parse::<Date>().ok()?, time.parse::<Time>().ok()?);
    if !time.contains(':') {
        return None;
    }
    DateTime::from_parts(date, last_of(time, parsed)).to_zoned(now.time_zone().clone()).ok()
}

/// A minute, or a second, means all of it.
fn last_of(text: &str, time: Time) -> Time {
    match text.bytes().filter(|byte| *byte == b':').count() {
        1 => time.with().second(59).subsec_nanosecond(999_999_999).build().unwrap_or(time),
        _ if text.contains('.') => time,
        _ => time.with().subsec_nanosecond(999_999_999).build().unwrap_or(time),
    }
}

/// Returns how long ago `30m`, `2h`, `3d`, `2w`, `6mo` or `1y` is.
fn ago(text: &str) -> Option<Span> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().ok()?;
    let span = Span::new();
    match unit {
        "s" => span.try_seconds(number),
        "m" | "min" => span.try_minutes(number),
        "h" => span.try_hours(number),
        "d" => span.try_days(number),
        "w" => span.try_weeks(number),
        "mo" => span.try_months(number),
        "y" => span.try_years(number),
        _ => return None,
    }
    .ok()
}

/// Returns the present moment in the local zone, or in UTC.
pub fn now(utc: bool) -> Zoned {
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    Timestamp::now().to_zoned(zone)
}

#[cfg(test)]
mod tests {
    use jiff::Zoned;
    use jiff::tz::{Offset, TimeZone};
    use proptest::prelude::*;

    use super::moment;

    /// A Saturday afternoon, an hour ahead of UTC.
    fn now() -> Zoned {
        let moment: jiff::Timestamp = "2026-11-28T13:03:20Z".parse().unwrap();
        moment.to_zoned(TimeZone::fixed(Offset::constant(1)))
    }

    #[test]
    fn times_are_read_in_the_zone_and_days_to_their_end() {
        for (text, expected) in [
            ("now", "2026-11-28T13:03:20Z"),
            ("2h", "2026-11-28T11:03:20Z"),
            ("90s", "2026-11-28T13:01:50Z"),
            ("3d", "2026-11-25T13:03:20Z"),
            ("1mo", "2026-10-28T13:03:20Z"),
            ("1y", "2025-11-28T13:03:20Z"),
            ("today", "2026-11-28T22:59:59.999999999Z"),
            ("yesterday", "2026-11-27T22:59:59.999999999Z"),
            ("2026-11-01", "2026-11-01T22:59:59.999999999Z"),
            ("2026-11-01T12:00", "2026-11-01T11:00:59.999999999Z"),
            ("2026-11-01 12:00:07", "2026-11-01T11:00:07.999999999Z"),
            ("2026-11-01T12:00:07Z", "2026-11-01T12:00:07.999999999Z"),
            ("2026-11-01T12:00:07+03:00", "2026-11-01T09:00:07.999999999Z"),
            ("09:15", "2026-11-28T08:15:59.999999999Z"),
        ] {
            assert_eq!(moment(text, &now()).map(|found| found.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_names_of_snapshots_are_no_times() {
        for text in
            ["good", "latest~1", "20260114_120000", "20260114", "abcd1234", "12345678", "12", "", "-2h", "2q", "0123"]
        {
            assert_eq!(moment(text, &now()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = moment(&text, &now());
        }
    }
}
