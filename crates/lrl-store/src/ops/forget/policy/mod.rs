//! Decides which snapshots of one source a policy keeps, and why. A pure function: no store, no clock. What it cannot judge it keeps.

use std::fmt;

use crate::format::snapshot::is_before_restore;
use crate::ops::judgement::State;
use crate::ops::parts::Need;
use crate::store::SnapshotName;
use crate::time::SKEW_SECS;

/// One snapshot a year leaves gaps of almost two years; a time further ahead of all before it is taken for a clock that leapt.
const LEAP_SECS: i64 = 731 * DAY_SECS;
const MINUTE_SECS: i64 = 60;
const HOUR_SECS: i64 = 3600;
const DAY_SECS: i64 = 24 * HOUR_SECS;

/// What to keep. Zero or empty: the rule was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// This many of the newest, by sequence.
    pub last: u32,
    /// The newest of each of the last N hours that have any, in UTC, as all that follow.
    pub hourly: u32,
    /// … days.
    pub daily: u32,
    /// … weeks, which begin on Monday.
    pub weekly: u32,
    /// … months.
    pub monthly: u32,
    /// … years.
    pub yearly: u32,
    /// All that are up to this many seconds older than the newest one.
    pub within_secs: u64,
    /// The newest of each period among those that are up to this many seconds older than the newest one.
    pub thinned: Vec<(Period, u64)>,
    /// All that have one of these tags.
    pub tags: Vec<String>,
    /// Those that are not good stay for this long, in seconds, whatever the rules say.
    pub bad_within_secs: u64,
}

impl Policy {
    /// Returns whether no rule was given. How long bad snapshots stay is not one: it keeps nothing good.
    pub fn is_empty(&self) -> bool {
        Self { bad_within_secs: 0, ..self.clone() } == Self::default()
    }

    fn periods(&self) -> [(Period, u32); 5] {
        [
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ]
    }
}

/// What a policy looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The snapshot.
    pub name: SnapshotName,
    /// When its run began, in seconds since 1970.
    pub created: i64,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its state.
    pub state: State,
    /// Which parts it holds.
    pub holds: Need,
    /// Which of them are good.
    pub good: Need,
}

impl Candidate {
    /// Returns whether it is good, and not of what was there before rows were restored.
    fn is_backup(&self) -> bool {
        self.state == State::Good && !is_before_restore(&self.tags)
    }
}

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// Numbers the stretch in which a moment lies.
    fn number(self, secs: i64) -> i64 {
        let days = secs.div_euclid(DAY_SECS);
        // Moments that no calendar has are told apart all the same.
        let date = jiff::Timestamp::from_second(secs).ok().map(|moment| moment.to_zoned(jiff::tz::TimeZone::UTC));
        match self {
            Self::Minute => secs.div_euclid(MINUTE_SECS),
            Self::Hour => secs.div_euclid(HOUR_SECS),
            Self::Day => days,
            // 1970 began on a Thursday.
            Self::Week => (days + 3).div_euclid(7),
            Self::Month => date.map_or(days, |d| i64::from(d.year()) * 12 + i64::from(d.month())),
            Self::Year => date.map_or(days, |d| i64::from(d.year())),
        }
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Among the last.
    Last,
    /// The newest of its hour, day, …
    Newest(Period),
    /// The newest of its minute, hour, day, …, and young enough for that.
    Thinned(Period),
    /// The oldest: a rule for the calendar was not used up.
    Oldest(Period),
    /// Young enough.
    Within,
    /// It has this tag.
    Tag(String),
    /// Its time is in the future: nobody knows how old it is.
    Future,
    /// A later one with an earlier time is kept: it shows that the time goes back.
    Witness,
    /// The clock leapt after it, so it may be younger than it looks; or to it.
    Leap,
    /// The newest with a good database.
    Database,
    /// The newest with good uploads.
    Uploads,
    /// It is not good, and nothing newer is.
    NothingBetter(State),
    /// It is not good, and young.
    Bad(State),
    /// It is of what was there before rows were restored, and nothing newer is good.
    LastBeforeRestore,
    /// It is of what was there before rows were restored, and young.
    BeforeRestore,
    /// The newest whose drill passed.
    Proven,
}

impl Reason {
    /// Returns whether a rule of the policy, or a doubt about clocks or about newer snapshots, keeps it; the others only protect it.
    pub(crate) fn is_policy(&self) -> bool {
        !matches!(self, Self::Database | Self::Uploads | Self::Proven | Self::Bad(_) | Self::BeforeRestore)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |period: &Period| match period {
            Period::Minute => "minutely",
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Year => "yearly",
        };
        match self {
            Self::Last => f.write_str("last"),
            Self::Newest(period) => f.write_str(name(period)),
            Self::Thinned(period) => write!(f, "{}, within", name(period)),
            Self::Oldest(period) => write!(f, "oldest, for {}", name(period)),
            Self::Within => f.write_str("within"),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Future => f.write_str("time in the future"),
            Self::Witness => f.write_str("shows that a later time goes back"),
            Self::Leap => f.write_str("up to a leap of the clock"),
            Self::Database => f.write_str("newest database"),
            Self::Uploads => f.write_str("newest uploads"),
            Self::NothingBetter(state) => write!(f, "{state}, but nothing newer is good"),
            Self::Bad(state) => write!(f, "{state}, and young"),
            Self::LastBeforeRestore => f.write_str("from before a restore, but nothing newer is good"),
            Self::BeforeRestore => f.write_str("from before a restore, and young"),
            Self::Proven => f.write_str("newest that passed a drill"),
        }
    }
}

/// Returns for each candidate of one source why it is kept; without a reason it is removed. `now` is in seconds since 1970.
///
/// A snapshot with a time in the future is kept and counts for no rule, so it pushes no other out. Neither does one that is not good, or one of
/// what was there before rows were restored, unless no other is good. Rules
/// rank by sequence: those whose time goes back against it are ranked among themselves, so that nobody who sets a clock back, or forges a
/// time, pushes out what was there before.
pub(crate) fn apply(policy: &Policy, candidates: &[Candidate], now: i64) -> Vec<Vec<Reason>> {
    let mut reasons = vec![Vec::new(); candidates.len()];
    let is_future = |at: usize| candidates[at].created > now.saturating_add(SKEW_SECS);
    let mut by_sequence: Vec<usize> = (0..candidates.len()).collect();
    by_sequence.sort_unstable_by(|a, b| candidates[*b].name.cmp(&candidates[*a].name));
    by_sequence.iter().copied().filter(|at| is_future(*at)).for_each(|at| reasons[at].push(Reason::Future));
    let all = by_sequence.clone();
    by_sequence.retain(|at| !is_future(*at));
    before_leap(candidates, &by_sequence).iter().for_each(|at| reasons[*at].push(Reason::Leap));
    for (candidate, reasons) in candidates.iter().zip(&mut reasons) {
        let tags = candidate.tags.iter().filter(|tag| policy.tags.contains(tag));
        reasons.extend(tags.map(|tag| Reason::Tag(tag.clone())));
    }
    // Only what would have to be given up for it pushes anything out: a good one is not given up for a bad one.
    let has_backup = by_sequence.iter().any(|at| candidates[*at].is_backup());
    let counts = |candidate: &Candidate| candidate.is_backup() || !has_backup && candidate.state == State::Good;
    let (good, bad): (Vec<usize>, Vec<usize>) = by_sequence.iter().partition(|at| counts(&candidates[**at]));
    let newest = good.iter().map(|at| candidates[*at].created).max().unwrap_or_default();
    // One of the future fills no place, but shows as well as any other that what came after it has a time that goes back.
    let mut left: Vec<usize> = all.into_iter().filter(|at| counts(&candidates[*at])).collect();
    let mut witnesses = Vec::new();
    while !left.is_empty() {
        let (mut agreeing, back) = agreeing(candidates, &left);
        agreeing.retain(|at| !is_future(*at));
        rank(policy, candidates, &agreeing, &mut reasons);
        thin(policy, candidates, &agreeing, newest, &mut reasons);
        left = back.iter().map(|(at, _)| *at).collect();
        witnesses.push(back);
    }
    if let (Some(newest), 1..) = (by_sequence.iter().map(|at| candidates[*at].created).max(), policy.within_secs) {
        let limit = newest.saturating_sub(i64::try_from(policy.within_secs).unwrap_or(i64::MAX));
        let young = by_sequence.iter().filter(|at| candidates[**at].created >= limit);
        young.for_each(|at| reasons[*at].push(Reason::Within));
    }
    let newest_good = |serves: fn(&Candidate) -> bool| {
        let good = |at: &&usize| counts(&candidates[**at]) && serves(&candidates[**at]);
        by_sequence.iter().find(good).map(|at| &candidates[*at].name)
    };
    let (any, database, uploads) =
        (newest_good(|_| true), newest_good(|good| good.holds.database), newest_good(|good| good.holds.uploads));
    let oldest_bad = now.saturating_sub(i64::try_from(policy.bad_within_secs).unwrap_or(i64::MAX));
    for at in bad {
        let Candidate { name, state, holds, created, .. } = &candidates[at];
        // A newer one takes its place only for the parts that it holds.
        let replaced = |newest: Option<&SnapshotName>| newest.is_some_and(|newest| newest > name);
        let is_needed = !replaced(any) || holds.database && !replaced(database) || holds.uploads && !replaced(uploads);
        let is_young = *created > oldest_bad;
        reasons[at].extend(match (is_needed, state) {
            (true, State::Good) => Some(Reason::LastBeforeRestore),
            (true, _) => Some(Reason::NothingBetter(*state)),
            (false, State::Good) => is_young.then_some(Reason::BeforeRestore),
            (false, _) => is_young.then_some(Reason::Bad(*state)),
        });
    }
    for (at, reason) in newest_parts(candidates) {
        reasons[at].push(reason);
    }
    // Without the one that shows it, the next time would not be seen to go back, and count among those before it.
    for (at, witness) in witnesses.into_iter().rev().flatten() {
        if !reasons[at].is_empty() && !reasons[witness].contains(&Reason::Witness) {
            reasons[witness].push(Reason::Witness);
        }
    }
    reasons
}

/// Divides positions, newest first by sequence, into those whose times never go back along the sequence, and the others, each with one that was
/// there before it and has a later time.
fn agreeing(candidates: &[Candidate], by_sequence: &[usize]) -> (Vec<usize>, Vec<(usize, usize)>) {
    let mut latest: Option<usize> = None;
    let (mut agreeing, mut back) = (Vec::new(), Vec::new());
    for at in by_sequence.iter().rev() {
        let created = candidates[*at].created;
        match latest {
            Some(latest) if created.saturating_add(SKEW_SECS) < candidates[latest].created => back.push((*at, latest)),
            _ => {
                latest = latest.filter(|latest| candidates[*latest].created > created).or(Some(*at));
                agreeing.push(*at);
            }
        }
    }
    agreeing.reverse();
    back.reverse();
    (agreeing, back)
}

/// Applies the rules that count places to snapshots whose times agree with their sequence, the newest first.
fn rank(policy: &Policy, candidates: &[Candidate], newest_first: &[usize], reasons: &mut [Vec<Reason>]) {
    newest_first.iter().take(policy.last as usize).for_each(|at| reasons[*at].push(Reason::Last));
    for (period, count) in policy.periods() {
        let mut left = count;
        let mut last = None;
        for (n, at) in newest_first.iter().enumerate() {
            let number = period.number(candidates[*at].created);
            let is_oldest = n + 1 == newest_first.len();
            if left == 0 || last == Some(number) && !is_oldest {
                continue;
            }
            left -= 1;
            reasons[*at].push(if last == Some(number) { Reason::Oldest(period) } else { Reason::Newest(period) });
            last = Some(number);
        }
    }
}

/// Applies the rules that count time to snapshots whose times agree with their sequence, the newest first; `newest` is the time of the newest of
/// all.
fn thin(policy: &Policy, candidates: &[Candidate], newest_first: &[usize], newest: i64, reasons: &mut [Vec<Reason>]) {
    for (period, secs) in &policy.thinned {
        let limit = newest.saturating_sub(i64::try_from(*secs).unwrap_or(i64::MAX));
        let mut last = None;
        for at in newest_first.iter().filter(|at| candidates[**at].created >= limit) {
            let number = Some(period.number(candidates[*at].created));
            if number != last {
                reasons[*at].push(Reason::Thinned(*period));
            }
            last = number;
        }
    }
}

/// Returns those, newest first in `by_sequence`, after which the clock leapt further than any policy leaves a gap, and the one to which it
/// leapt: without it nobody could tell the next time.
fn before_leap<'a>(candidates: &[Candidate], by_sequence: &'a [usize]) -> &'a [usize] {
    let mut latest = None;
    let mut first = by_sequence.len();
    for (n, at) in by_sequence.iter().enumerate().rev() {
        let created = candidates[*at].created;
        if latest.is_some_and(|latest: i64| created.saturating_sub(latest) > LEAP_SECS) {
            first = n;
        }
        latest = latest.max(Some(created));
    }
    &by_sequence[first..]
}

/// Returns the positions of the newest snapshots, by sequence, with each part good; a part
/// that no snapshot has good has none. One of what was there before rows were restored is taken where there is no other.
pub(crate) fn newest_parts(candidates: &[Candidate]) -> Vec<(usize, Reason)> {
    let newest = |holds: fn(&Candidate) -> bool| {
        let rank = |at: &usize| (!is_before_restore(&candidates[*at].tags), &candidates[*at].name);
        (0..candidates.len()).filter(|at| holds(&candidates[*at])).max_by_key(rank)
    };
    let database = newest(|candidate| candidate.good.database).map(|at| (at, Reason::Database));
    database.into_iter().chain(newest(|candidate| candidate.good.uploads).map(|at| (at, Reason::Uploads))).collect()
}

#[cfg(test)]
mod tests;
