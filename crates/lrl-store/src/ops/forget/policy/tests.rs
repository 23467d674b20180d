//! Properties of the policy, and the documented meaning of each rule.

use proptest::prelude::*;

use super::{Candidate, DAY_SECS, HOUR_SECS, Period, Policy, Reason, SKEW_SECS, apply};
use crate::id::SnapshotId;
use crate::ops::judgement::State;
use crate::ops::parts::Need;
use crate::store::SnapshotName;

const NOW: i64 = 1_768_392_000;

fn candidate(sequence: u64, created: i64) -> Candidate {
    let id = SnapshotId::of(&[sequence.to_le_bytes(), created.to_le_bytes()].concat());
    let name = SnapshotName { source: "lab".into(), sequence, id };
    let both = Need { database: true, uploads: true };
    Candidate { name, created, tags: Vec::new(), state: State::Good, holds: both, good: both }
}

fn kept(policy: &Policy, candidates: &[Candidate]) -> Vec<Candidate> {
    let reasons = apply(policy, candidates, NOW);
    candidates.iter().zip(reasons).filter(|(_, reasons)| !reasons.is_empty()).map(|(c, _)| c.clone()).collect()
}

fn sequences(policy: Policy, candidates: &[Candidate]) -> Vec<u64> {
    kept(&policy, candidates).iter().map(|c| c.name.sequence).collect()
}

#[test]
fn each_rule_keeps_what_restics_keeps() {
    // Four a day for twenty days, at 0, 6, 12 and 18 hours before the last one, which is at noon.
    let candidates: Vec<_> = (0..80).map(|n| candidate(n + 1, NOW - (79 - n as i64) * 6 * HOUR_SECS)).collect();
    let policy = Policy::default;
    assert_eq!(sequences(Policy { last: 3, ..policy() }, &candidates), [78, 79, 80]);
    // The newest of each of the last three days: 12:00 today, 18:00 before.
    assert_eq!(sequences(Policy { daily: 3, ..policy() }, &candidates), [73, 77, 80]);
    assert_eq!(sequences(Policy { hourly: 2, ..policy() }, &candidates), [79, 80]);
    // 2026-01-14 was a Wednesday: its week, and the one that ended on Sunday the 11th at 18:00.
    assert_eq!(sequences(Policy { weekly: 2, ..policy() }, &candidates), [69, 80]);
    // January and December; the oldest too, as long as the rule is not used up.
    assert_eq!(sequences(Policy { monthly: 2, ..policy() }, &candidates), [25, 80]);
    assert_eq!(sequences(Policy { monthly: 3, ..policy() }, &candidates), [1, 25, 80]);
    assert_eq!(sequences(Policy { yearly: 9, ..policy() }, &candidates), [1, 25, 80]);
    assert_eq!(sequences(Policy { within_secs: 12 * 3600, ..policy() }, &candidates), [78, 79, 80]);
    let mut tagged = candidates.clone();
    tagged[4].tags = vec!["x".into(), "keep".into()];
    assert_eq!(sequences(Policy { tags: vec!["keep".into()], ..policy() }, &tagged), [5, 80]);
    assert_eq!(apply(&Policy { tags: vec!["keep".into()], ..policy() }, &tagged, NOW)[4], [Reason::Tag("keep".into())]);
}

#[test]
fn clocks_that_differ_by_no_more_than_the_skew_agree() {
    let last = Policy { last: 1, ..Policy::default() };
    // One that is ahead by that much takes the place, by one second more it is of a time to come.
    let ahead = |secs| [candidate(1, NOW), candidate(2, NOW + secs)];
    assert_eq!(sequences(last.clone(), &ahead(SKEW_SECS)), [2]);
    assert_eq!(apply(&last, &ahead(SKEW_SECS + 1), NOW)[1][0], Reason::Future);
    // The same of one that is behind: with a time that goes back it does not push out the one before.
    let behind = |secs| [candidate(1, NOW), candidate(2, NOW - secs)];
    assert_eq!(sequences(last.clone(), &behind(SKEW_SECS)), [2]);
    assert_eq!(sequences(last, &behind(SKEW_SECS + 1)), [1, 2]);
}

#[test]
fn a_history_is_thinned_by_its_age() {
    // One every ten seconds for two hours, then one an hour for two days before that.
    let hourly = (0..48).map(|n| candidate(n + 1, NOW - (50 - n as i64) * HOUR_SECS));
    let fine = (0..720).map(|n| candidate(n + 100, NOW - (719 - n as i64) * 10));
    let candidates: Vec<_> = hourly.chain(fine).collect();
    let hour = 3600;
    let policy = Policy {
        within_secs: 600,
        thinned: vec![(Period::Minute, hour), (Period::Hour, 24 * hour), (Period::Day, 30 * 24 * hour)],
        ..Policy::default()
    };
    let left = kept(&policy, &candidates);
    let ages: Vec<i64> = left.iter().rev().map(|c| NOW - c.created).collect();
    // All of ten minutes, then the last of each minute up to an hour, of each hour up to a day, of each day.
    assert_eq!(ages.iter().filter(|age| **age <= 600).count(), 61);
    let minutes: Vec<i64> = ages.iter().filter(|age| (601..=3600).contains(*age)).copied().collect();
    assert_eq!((minutes.len(), minutes[0]), (50, 610));
    assert!(minutes.windows(2).all(|pair| pair[1] - pair[0] == 60));
    let hours: Vec<i64> = ages.iter().filter(|age| (3601..=86_400).contains(*age)).copied().collect();
    assert_eq!(hours.len(), 23, "{hours:?}");
    assert_eq!(ages.iter().filter(|age| **age > 86_400).count(), 1, "{ages:?}");
    // Thinning again takes nothing more.
    assert_eq!(kept(&policy, &left), left);
}

#[test]
fn the_newest_of_each_half_stays_whatever_the_policy_says() {
    let mut candidates: Vec<_> = (1..=6).map(|n| candidate(n, NOW - 100 + n as i64)).collect();
    candidates[2].good.uploads = true;
    candidates[3..].iter_mut().for_each(|c| c.good.uploads = false);
    assert_eq!(sequences(Policy { last: 1, ..Policy::default() }, &candidates), [3, 6]);
}

#[test]
fn a_clock_that_was_wrong_for_a_while_deletes_nothing_but_what_the_right_one_would() {
    let year = 365 * DAY_SECS;
    let policy = Policy { within_secs: 30 * DAY_SECS as u64, ..Policy::default() };
    let mut candidates: Vec<_> = (1..=20).map(|n| candidate(n, NOW - (30 - n as i64) * DAY_SECS)).collect();
    // The clock is ten years ahead, and so is `now`: what was made before the leap stays.
    candidates.push(candidate(21, NOW + 10 * year));
    let reasons = apply(&policy, &candidates, NOW + 10 * year);
    assert!(reasons.iter().all(|reasons| !reasons.is_empty()), "{reasons:?}");
    assert_eq!(reasons[0], [Reason::Leap]);
    // Corrected, the snapshot of the future counts for nothing, and stays.
    let reasons = apply(&policy, &candidates, NOW);
    assert!(reasons[20].contains(&Reason::Future) && reasons[..20].iter().all(|r| *r == [Reason::Within]));
    // A clock without a battery, back in 1970: neither that snapshot nor what follows makes the others old.
    candidates[20] = candidate(21, 5);
    candidates.push(candidate(22, NOW));
    let reasons = apply(&policy, &candidates, NOW);
    assert!(reasons.iter().enumerate().all(|(n, reasons)| n == 20 || !reasons.is_empty()), "{reasons:?}");
    assert!(!reasons[0].contains(&Reason::Leap));
}

#[test]
fn what_shows_that_the_clock_leapt_stays_with_what_was_before() {
    let mut candidates: Vec<_> =
        [-2000, -1200, 61 / DAY_SECS + 1].iter().zip(1..).map(|(d, n)| candidate(n, NOW + d * DAY_SECS)).collect();
    candidates[1].tags = vec!["other".into()];
    let policy = Policy { tags: vec!["keep".into()], ..Policy::default() };
    assert_eq!(sequences(policy, &candidates), [1, 2, 3]);
}

#[test]
fn bad_snapshots_fill_no_place_and_good_ones_stay() {
    let policy = Policy { daily: 7, bad_within_secs: 7 * DAY_SECS as u64, ..Policy::default() };
    let days = |n: u64| candidate(n, NOW - (40 - n as i64) * DAY_SECS);
    let mut candidates: Vec<_> = (1..=30).map(days).collect();
    candidates[10..].iter_mut().for_each(|c| (c.state, c.good) = (State::Unreadable, Need::default()));
    // Nothing newer is good: the bad ones stay, and seven good days as if they were not there.
    assert_eq!(sequences(policy.clone(), &candidates), (4..=30).collect::<Vec<u64>>());
    candidates.push(days(31));
    assert_eq!(sequences(policy.clone(), &candidates), [5, 6, 7, 8, 9, 10, 31]);
    candidates.extend([days(34), days(35), days(36)]);
    candidates[31].state = State::Suspect;
    candidates[32].state = State::Failed;
    let kept = sequences(policy.clone(), &candidates);
    assert_eq!(kept, [6, 7, 8, 9, 10, 31, 34, 35, 36], "bad ones stay for seven days");
    // Parts that are good by themselves stay, whatever the whole is.
    candidates[33].state = State::Incomplete;
    candidates[33].good.uploads = false;
    let reasons = apply(&Policy { last: 1, ..Policy::default() }, &candidates, NOW);
    assert!(reasons[33].contains(&Reason::Database) && reasons[32].contains(&Reason::Uploads));
}

#[test]
fn a_bad_one_stays_until_good_ones_hold_each_of_its_parts() {
    let days = |n: u64| candidate(n, NOW - (40 - n as i64) * DAY_SECS);
    let (database, uploads) = (Need { database: true, uploads: false }, Need { database: false, uploads: true });
    let mut candidates = vec![days(1), days(2), days(3)];
    (candidates[1].state, candidates[1].good) = (State::Suspect, database);
    (candidates[2].holds, candidates[2].good) = (database, database);
    let policy = Policy { last: 1, ..Policy::default() };
    let reasons = apply(&policy, &candidates, NOW);
    assert_eq!(reasons[1], [Reason::NothingBetter(State::Suspect)], "nothing newer has uploads");
    assert_eq!(reasons[0], [Reason::Uploads]);
    candidates.push(days(4));
    (candidates[3].holds, candidates[3].good) = (uploads, uploads);
    assert_eq!(sequences(policy, &candidates), [3, 4]);
}

#[test]
fn a_thief_with_a_backdated_clock_pushes_nothing_out() {
    let policy = Policy { daily: 7, ..Policy::default() };
    let mut candidates: Vec<_> = (1..=7).map(|n| candidate(n, NOW - (8 - n as i64) * DAY_SECS)).collect();
    candidates.extend((8..=21).map(|n| candidate(n, NOW - ((n as i64 - 7) * 12 + 13) * HOUR_SECS)));
    assert!((1..=7).all(|n| sequences(policy.clone(), &candidates).contains(&n)));
}

#[test]
fn those_whose_time_goes_back_are_ranked_among_themselves() {
    let mut candidates: Vec<_> = (1..=7).map(|n| candidate(n, NOW - (10 - n as i64) * DAY_SECS)).collect();
    candidates.extend((8..=14).map(|n| candidate(n, NOW - (60 - n as i64) * DAY_SECS)));
    assert_eq!(sequences(Policy { last: 2, ..Policy::default() }, &candidates), [6, 7, 13, 14]);
    assert_eq!(sequences(Policy { daily: 3, ..Policy::default() }, &candidates), [5, 6, 7, 12, 13, 14]);
}

#[test]
fn times_that_no_calendar_has_are_no_panic() {
    let candidates = [i64::MIN, -1, 0, i64::MAX].map(|created| candidate(1, created));
    let policy = Policy { monthly: 9, yearly: 9, weekly: 9, within_secs: u64::MAX, ..Policy::default() };
    for now in [i64::MIN, 0, i64::MAX] {
        apply(&policy, &candidates, now);
    }
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    // Mostly hours apart, at times years, at times with a clock that went back or ahead.
    let step = prop_oneof![8 => 0i64..40 * HOUR_SECS, 1 => 0i64..400 * DAY_SECS, 1 => -900 * DAY_SECS..900 * DAY_SECS];
    let one = (step, any::<[bool; 4]>());
    (0i64..3000 * DAY_SECS, proptest::collection::vec(one, 1..40)).prop_map(|(start, list)| {
        let mut time = NOW - start;
        let make = |(n, (step, [database, uploads, tag, other])): (usize, (i64, [bool; 4]))| {
            time += step;
            let mut c = candidate(n as u64 + 1, time);
            c.good = Need { database, uploads: uploads || !database };
            c.tags =
                [(tag, "keep"), (other, "other")].into_iter().filter(|(has, _)| *has).map(|(_, t)| t.into()).collect();
            c
        };
        list.into_iter().enumerate().map(make).collect()
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let periods = [Period::Minute, Period::Hour, Period::Day, Period::Month];
    let thinned =
        proptest::collection::vec((proptest::sample::select(periods.to_vec()), 0..90 * DAY_SECS as u64), 0..3);
    ([0u32..4, 0..4, 0..4, 0..4, 0..4, 0..4], 0u64..40 * DAY_SECS as u64, thinned, any::<bool>()).prop_map(
        |([last, hourly, daily, weekly, monthly, yearly], within_secs, thinned, tagged)| {
            let tags = if tagged { vec!["keep".into()] } else { Vec::new() };
            Policy { last, hourly, daily, weekly, monthly, yearly, within_secs, thinned, tags, bad_within_secs: 0 }
        },
    )
}

proptest! {
    #[test]
    fn the_newest_stays_and_so_no_group_is_emptied(policy in policies(), candidates in candidates()) {
        let kept = kept(&policy, &candidates);
        prop_assert!(kept.contains(candidates.last().unwrap()));
        for half in [|c: &Candidate| c.good.database, |c: &Candidate| c.good.uploads] {
            prop_assert_eq!(kept.iter().rfind(|c| half(c)), candidates.iter().rfind(|c| half(c)));
        }
    }

    #[test]
    fn times_that_go_back_push_nothing_out(policy in policies(), candidates in candidates(), forged in proptest::collection::vec(-3000 * DAY_SECS..0, 1..20)) {
        // Whatever is added with times before the latest one there is changes nothing for what was there in order, however often forget runs.
        let mut before = i64::MIN;
        let mut candidates = candidates;
        candidates.retain(|c| c.created <= NOW && c.created >= before && { before = c.created; true });
        let latest = candidates.iter().map(|c| c.created).filter(|created| *created <= NOW).max();
        prop_assume!(latest.is_some());
        let latest = latest.unwrap_or_default();
        let policy = Policy { within_secs: 0, last: 0, ..policy };
        let mut mixed = candidates.clone();
        for (n, back) in forged.into_iter().enumerate() {
            let mut c = candidate(1000 + n as u64, latest - SKEW_SECS - 1 + back);
            c.good = Need::default();
            mixed.push(c);
        }
        let alone = kept(&policy, &candidates);
        let mut with = mixed;
        for _ in 0..3 {
            with = kept(&policy, &with);
            for candidate in &alone {
                prop_assert!(with.contains(candidate), "{candidate:?}");
            }
        }
    }

    #[test]
    fn a_larger_number_keeps_no_less(policy in policies(), more in policies(), candidates in candidates()) {
        let mut larger = policy.clone();
        larger.last += more.last;
        larger.hourly += more.hourly;
        larger.daily += more.daily;
        larger.weekly += more.weekly;
        larger.monthly += more.monthly;
        larger.yearly += more.yearly;
        larger.within_secs += more.within_secs;
        larger.thinned.extend(more.thinned);
        larger.tags.extend(more.tags);
        let all = kept(&larger, &candidates);
        for candidate in kept(&policy, &candidates) {
            prop_assert!(all.contains(&candidate), "{candidate:?}");
        }
    }

    #[test]
    fn a_second_time_removes_nothing(policy in policies(), candidates in candidates()) {
        let once = kept(&policy, &candidates);
        prop_assert_eq!(kept(&policy, &once), once);
    }

    #[test]
    fn the_order_in_which_they_are_listed_does_not_matter(policy in policies(), (candidates, shuffled) in candidates().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle()))) {
        let mut other = kept(&policy, &shuffled);
        other.sort_by_key(|c| c.name.clone());
        prop_assert_eq!(kept(&policy, &candidates), other);
    }

    #[test]
    fn times_in_the_future_push_nothing_out(policy in policies(), candidates in candidates(), ahead in proptest::collection::vec((1u64..60, 61i64..4000 * DAY_SECS), 1..5)) {
        let mut before = i64::MIN;
        let mut present = candidates;
        present.retain(|c| c.created <= NOW && c.created >= before && { before = c.created; true });
        prop_assume!(!present.is_empty());
        let mut mixed = present.clone();
        for (sequence, secs) in ahead {
            let mut c = candidate(sequence, NOW + secs);
            // Protection of the newest half is not the clock's matter.
            c.good = Need::default();
            mixed.push(c);
        }
        let kept_mixed = kept(&policy, &mixed);
        prop_assert!(mixed[present.len()..].iter().all(|c| kept_mixed.contains(c)));
        // What came after one of them has a time that goes back: it pushes out nothing either, so more may stay.
        prop_assert!(kept(&policy, &present).iter().all(|c| kept_mixed.contains(c)));
    }
}

#[test]
fn a_clock_that_is_set_back_pushes_nothing_out_while_later_times_are_to_come() {
    // The clock was three days ahead. On the day of the first one it is set back, and there is one more that day.
    let morning = NOW - 6 * HOUR_SECS;
    let ahead = (1..4).map(|n| candidate(3 + n, morning + n as i64 * DAY_SECS));
    let before = [candidate(1, morning - 2 * DAY_SECS), candidate(2, morning - DAY_SECS), candidate(3, morning)];
    let mut all: Vec<_> = before.into_iter().chain(ahead).collect();
    all.push(candidate(7, NOW));
    let policy = Policy { daily: 2, ..Policy::default() };
    assert_eq!(sequences(policy, &all), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_was_there_before_a_restore_of_rows_fills_no_place_while_there_are_backups() {
    let aside = |sequence, created| Candidate {
        tags: vec![crate::format::snapshot::BEFORE_RESTORE.into()],
        ..candidate(sequence, created)
    };
    let days = |n: i64| NOW - n * DAY_SECS;
    let policy = Policy { last: 2, bad_within_secs: 3 * DAY_SECS.unsigned_abs(), ..Policy::default() };
    let mut all =
        vec![candidate(1, days(9)), aside(2, days(8)), candidate(3, days(7)), candidate(4, days(2)), aside(5, days(1))];
    assert_eq!(sequences(policy.clone(), &all), [3, 4, 5]);
    assert_eq!(apply(&policy, &all, NOW)[4], [Reason::LastBeforeRestore]);
    all.push(candidate(6, NOW));
    assert_eq!(sequences(policy.clone(), &all), [4, 5, 6]);
    assert_eq!(apply(&policy, &all, NOW)[4], [Reason::BeforeRestore]);
    // The newest database among backups is protected, not that one.
    all[5].holds.database = false;
    all[5].good.database = false;
    assert_eq!(apply(&policy, &all, NOW)[3], [Reason::Last, Reason::Database]);
    assert_eq!(apply(&policy, &all, NOW)[4], [Reason::LastBeforeRestore]);
    // Alone it counts as any other.
    assert_eq!(sequences(policy, &[aside(1, days(9)), aside(2, days(8)), aside(3, days(7))]), [2, 3]);
}

#[test]
fn every_reason_says_what_keeps_a_snapshot() {
    let periods = [Period::Minute, Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];
    let names = ["minutely", "hourly", "daily", "weekly", "monthly", "yearly"];
    for (period, name) in periods.into_iter().zip(names) {
        let all = [Reason::Newest(period), Reason::Thinned(period), Reason::Oldest(period)].map(|why| why.to_string());
        assert_eq!(all, [name.to_string(), format!("{name}, within"), format!("oldest, for {name}")]);
    }
    for (reason, text, is_policy) in [
        (Reason::Last, "last", true),
        (Reason::Within, "within", true),
        (Reason::Tag("x".into()), "tag x", true),
        (Reason::Future, "time in the future", true),
        (Reason::Witness, "shows that a later time goes back", true),
        (Reason::Leap, "up to a leap of the clock", true),
        (Reason::Database, "newest database", false),
        (Reason::Uploads, "newest uploads", false),
        (Reason::NothingBetter(State::Suspect), "suspect, but nothing newer is good", true),
        (Reason::Bad(State::Failed), "failed, and young", false),
        (Reason::LastBeforeRestore, "from before a restore, but nothing newer is good", true),
        (Reason::BeforeRestore, "from before a restore, and young", false),
        (Reason::Proven, "newest that passed a drill", false),
    ] {
        assert_eq!((reason.to_string().as_str(), reason.is_policy()), (text, is_policy));
    }
}
