//! Values on the command line that need more than a string: durations, parts of a store, owners, names. Never does I/O.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use lrl_store::fs::space::Reserve;
use lrl_store::ops::judgement::State;
use lrl_store::ops::prune::MaxUnused;

mod places;

pub use places::{BUCKETS, directory, directory_parser, place, place_parser};

/// How much of the data `lrl check` reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// The `part`-th of `of` equal slices, from 1.
    Slice {
        /// Which one, 1 to `of`.
        part: u32,
        /// How many slices there are.
        of: u32,
    },
    /// A percentage, above 0 and at most 100, chosen at random.
    Percent(f64),
    /// About this many bytes, chosen at random.
    Bytes(u64),
}

/// How many sets stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepSets {
    /// All.
    All,
    /// The newest N of each part.
    Newest(NonZeroUsize),
}

/// A text that is never printed, not even by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the text, for its one use.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Takes any text: an error would print it.
pub fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret(text.into()))
}

/// What is told how a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingKind {
    /// healthchecks.io, or a server of one's own.
    Healthchecks,
    /// A push monitor of Uptime Kuma.
    Kuma,
    /// A topic of ntfy.
    Ntfy,
    /// Any URL, requested after a success.
    Get,
    /// Any URL that takes JSON.
    Json,
}

impl PingKind {
    const ALL: [(&str, Self); 5] = [
        ("healthchecks", Self::Healthchecks),
        ("kuma", Self::Kuma),
        ("ntfy", Self::Ntfy),
        ("get", Self::Get),
        ("json", Self::Json),
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Parses the name of a [`PingKind`].
pub fn ping_kind() -> impl TypedValueParser<Value = PingKind> {
    let names = PossibleValuesParser::new(PingKind::ALL.map(|(name, _)| name));
    names.map(|name| PingKind::ALL.iter().find(|(known, _)| **known == *name).map_or(PingKind::Get, |(_, kind)| *kind))
}

/// How often something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// Not at all.
    Never,
    /// When the last time was so long ago.
    Time(Duration),
}

/// How runs are scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A service and a timer.
    Systemd,
    /// A file for cron.
    Cron,
    /// Both are shown, neither is written.
    Print,
}

/// When runs happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Every day at this local time.
    Daily {
        /// 0 to 23.
        hour: u8,
        /// 0 to 59.
        minute: u8,
    },
    /// At every full hour.
    Hourly,
}

/// A user and a group, by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Name or number of the user.
    pub user: String,
    /// Name or number of the group.
    pub group: String,
}

/// Parses the first digits of a store's id.
pub fn store_id(text: &str) -> Result<String, String> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match text.len() {
        8..=64 if is_hex => Ok(text.into()),
        _ => Err("expected 8 to 64 digits of a store's id (0-9, a-f)".into()),
    }
}

/// Parses `20h`, `7d`, `30m`, `90s`, `2w`, `200ms` or several in a row (`1h30m`); `0` is no time at all.
pub fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "expected a number and a unit: 90s, 30m, 20h, 7d, 2w";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    const UNITS: [(&str, u64); 6] =
        [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let (unit, scale) = UNITS.into_iter().find(|(unit, _)| tail.starts_with(unit)).ok_or(HELP)?;
        let millis = number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale));
        total = millis.and_then(|millis| millis.checked_add(total)).ok_or(HELP)?;
        rest = &tail[unit.len()..];
    }
    if text.is_empty() { Err(HELP.into()) } else { Ok(Duration::from_millis(total)) }
}

/// Parses how soon something happens again: at least 100 ms.
pub fn pace(text: &str) -> Result<Duration, String> {
    const HELP: &str = "expected a number and a unit, at least 100ms: 200ms, 2s, 10m, 1h";
    duration(text).ok().filter(|time| *time >= Duration::from_millis(100)).ok_or_else(|| HELP.into())
}

/// Parses a number of sets, or `all`.
pub fn keep_sets(text: &str) -> Result<KeepSets, String> {
    if text == "all" {
        return Ok(KeepSets::All);
    }
    let number: usize = text.parse().map_err(|_| "expected a number of sets, or all")?;
    let newest = NonZeroUsize::new(number);
    newest
        .map(KeepSets::Newest)
        .ok_or_else(|| "the set that was just written always stays: the least is 1; --snapshot-only writes none".into())
}

/// Parses a duration, or `never`.
pub fn every(text: &str) -> Result<Every, String> {
    match text {
        "never" => Ok(Every::Never),
        _ => duration(text).map(Every::Time).map_err(|help| format!("{help}, or never")),
    }
}

/// Parses a time of day, or `hourly`.
pub fn at(text: &str) -> Result<At, String> {
    const HELP: &str = "expected a time of day as 03:00, or hourly";
    if text == "hourly" {
        return Ok(At::Hourly);
    }
    let (hour, minute) = text.split_once(':').ok_or(HELP)?;
    let number = |text: &str, most: u8| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|number| digits && *number <= most).ok_or(HELP)
    };
    match minute.len() {
        2 => Ok(At::Daily { hour: number(hour, 23)?, minute: number(minute, 59)? }),
        _ => Err(HELP.into()),
    }
}

/// Parses the name of units and of a cron file. cron passes over files with a dot in their name.
pub fn unit_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_name = (1..=64).contains(&text.len()) && text.chars().all(good) && !text.starts_with('-');
    if is_name { Ok(text.into()) } else { Err("expected 1 to 64 letters, digits, '-' or '_'".into()) }
}

/// Parses the name of any unit, with its type; specifiers such as `%n` stay.
pub fn unit(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '%' | '\\');
    if text.contains('.') && text.chars().all(good) {
        Ok(text.into())
    } else {
        Err("expected the name of a unit with its type, as in mail-root.service or alarm@%n.service".into())
    }
}

/// Parses how old something may be: `36h`, `30d`, `8w`, `1y` (366 days) or several in a row. No minutes: elsewhere `6m` is half a year,
/// and here more would be deleted than was meant.
pub fn age(text: &str) -> Result<Duration, String> {
    const HELP: &str = "expected a number and a unit: 36h, 30d, 8w, 1y (a month is about 31d)";
    if text.contains(['m', 's']) {
        return Err(HELP.into());
    }
    let (years, rest) = text.split_once('y').map_or((Ok(0), text), |(years, rest)| (years.parse::<u64>(), rest));
    let years = years.ok().and_then(|years| years.checked_mul(366 * 86_400)).map(Duration::from_secs);
    let rest = if rest.is_empty() && !text.is_empty() { Ok(Duration::ZERO) } else { duration(rest) };
    let total = years.zip(rest.ok()).and_then(|(years, rest)| years.checked_add(rest));
    total.filter(|total| !total.is_zero()).ok_or_else(|| HELP.into())
}

/// As [`age`], or 0 for no time at all.
pub fn age_or_zero(text: &str) -> Result<Duration, String> {
    match text.trim_end_matches(|c: char| c.is_ascii_alphabetic()) {
        "0" => Ok(Duration::ZERO),
        _ => age(text),
    }
}

/// Parses `2/7`, `5%` or `500M`.
pub fn subset(text: &str) -> Result<Subset, String> {
    const HELP: &str = "expected a slice (2/7), a percentage (5%) or a size (500M)";
    if let Some((part, of)) = text.split_once('/') {
        let (part, of) = (part.parse().map_err(|_| HELP)?, of.parse().map_err(|_| HELP)?);
        return if part >= 1 && part <= of {
            Ok(Subset::Slice { part, of })
        } else {
            Err(format!("there is no slice {part} of {of}: slices count from 1"))
        };
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| HELP)?;
        return if percent > 0.0 && percent <= 100.0 {
            Ok(Subset::Percent(percent))
        } else {
            Err("a percentage is above 0 and at most 100".into())
        };
    }
    size(text).filter(|bytes| *bytes > 0).map(Subset::Bytes).ok_or_else(|| HELP.into())
}

/// Parses `5%`, `500M`, `0` or `unlimited`.
pub fn unused(text: &str) -> Result<MaxUnused, String> {
    const HELP: &str = "expected a percentage (5%), a size (500M) or `unlimited`";
    match text.strip_suffix('%').map(str::parse::<f64>) {
        Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => Ok(MaxUnused::Percent(percent)),
        Some(_) => Err(HELP.into()),
        None if text == "unlimited" => Ok(MaxUnused::Unlimited),
        None => size(text).map(MaxUnused::Bytes).ok_or_else(|| HELP.into()),
    }
}

/// A share of a large disk would stop backups on disks that people run nearly full: a percentage comes to no more than this. Nobody's
/// application fills a gibibyte before it is noticed, and who wants more gives a size.
const SHARE_MAX: u64 = 1 << 30;

/// Parses what stays free: `5%` (at most 1 GiB), `200MB`, or `0`.
pub fn reserve(text: &str) -> Result<Reserve, String> {
    const HELP: &str = "expected a percentage (5%, at most 1 GiB of any disk), a size (200MB) or 0";
    match text.strip_suffix('%').map(str::parse::<f64>) {
        Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => Ok(Reserve { percent, most: SHARE_MAX }),
        Some(_) => Err(HELP.into()),
        None if size(text) == Some(0) => Ok(Reserve::NONE),
        None => size(text).map(|most| Reserve { percent: 100.0, most }).ok_or_else(|| HELP.into()),
    }
}

/// Parses a size in bytes: `500`, `64K`, `500M`, `2G`, `1T`, also as `2GiB`; powers of 1024.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" if !unit.starts_with('i') => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Parses a share in whole percent: `50%`, `50`, or `0`.
pub fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>();
    number.ok().filter(|number| *number <= 100).ok_or_else(|| "expected a percentage from 0% to 100%".into())
}

/// How much of a disk must be free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MinFree {
    /// A share of it, in percent.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
}

/// Parses how much of a disk must be free: `10%`, or `2G`.
pub fn min_free(text: &str) -> Result<MinFree, String> {
    let percent = text.strip_suffix('%').map(str::parse::<f64>);
    let free = match percent {
        Some(percent) => percent.ok().filter(|percent| (0.0..=100.0).contains(percent)).map(MinFree::Percent),
        None => size(text).map(MinFree::Bytes),
    };
    free.ok_or_else(|| "expected a percentage (10%) or a size (2G)".into())
}

/// Parses the state of a snapshot.
pub fn state(text: &str) -> Result<State, String> {
    let names = || State::ALL.map(State::name).join(", ");
    State::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| format!("expected one of {}", names()))
}

/// Parses how many bytes a second: `500K`, `2M`.
pub fn rate(text: &str) -> Result<u64, String> {
    const HELP: &str = "expected a size, which is meant for each second: 500K, 2M";
    size(text).filter(|bytes| *bytes > 0).ok_or_else(|| HELP.into())
}

/// Parses `USER:GROUP`, each a name or a number.
pub fn owner(text: &str) -> Result<Owner, String> {
    match text.split_once(':') {
        Some((user, group)) if !user.is_empty() && !group.is_empty() && !group.contains(':') => {
            Ok(Owner { user: user.into(), group: group.into() })
        }
        _ => Err("expected USER:GROUP, each a name or a number, as in appuser:appuser or 1000:1000".into()),
    }
}

/// Parses the name of a source: it becomes a directory's name in the store.
pub fn source(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(good) && !text.starts_with(['.', '-']) {
        Ok(text.into())
    } else {
        Err("a source's name is 1 to 64 letters, digits, '-', '_' or '.', and begins with a letter, digit or '_'"
            .into())
    }
}

/// Parses a tag, a pattern or a table name: any text but none.
pub fn word(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("expected some text".into()) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests;
