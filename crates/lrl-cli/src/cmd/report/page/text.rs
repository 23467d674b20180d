//! Times, as a page shows them: what is read later says when, not how long ago.

use std::time::Duration;

use lrl_store::time::Time;

use crate::render::html::Html;
use crate::render::units;

/// Writes a minute: `Sat 28 Nov 2026, 03:00`.
pub fn minute(h: &mut Html, secs: i64) {
    time(h, secs, "%a %-d %b %Y, %H:%M");
}

/// Writes a day: `28 Nov 2026`.
pub fn day(h: &mut Html, secs: i64) {
    time(h, secs, "%-d %b %Y");
}

fn time(h: &mut Html, secs: i64, form: &str) {
    match jiff::Timestamp::from_second(secs) {
        Ok(at) => {
            let machine = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            h.el("time", &[("datetime", &machine)], |h| h.text(&at.strftime(form).to_string()));
        }
        Err(_) => h.text(&units::moment(secs)),
    }
}

/// Returns a day as text.
pub fn day_text(secs: i64) -> String {
    jiff::Timestamp::from_second(secs).map_or_else(|_| units::moment(secs), |at| at.strftime("%-d %b %Y").to_string())
}

/// Returns a day of this year as text.
pub fn short_day(secs: i64) -> String {
    jiff::Timestamp::from_second(secs).map_or_else(|_| units::moment(secs), |at| at.strftime("%-d %b").to_string())
}

/// Returns the minute of a timestamp, or the timestamp where it is none.
pub fn of_stamp(stamp: &str) -> String {
    let at = Time::of_stamp(stamp).and_then(|time| jiff::Timestamp::from_second(time.secs).ok());
    at.map_or_else(|| stamp.into(), |at| at.strftime("%-d %b, %H:%M").to_string())
}

/// Returns how long something was ago when the page was written.
pub fn before(then: i64, now: i64) -> String {
    match now - then {
        ..60 => "just before this page was written".into(),
        passed => {
            format!("{} before this page was written", units::duration(Duration::from_secs(passed.unsigned_abs())))
        }
    }
}

/// Returns how long something took.
pub fn took(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1} s") } else { units::duration(Duration::from_secs_f64(seconds.min(1e9))) }
}
