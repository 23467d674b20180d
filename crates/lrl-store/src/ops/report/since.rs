//! Since when a source is fine, or something is wrong with it, as far as its records tell. Pure.

use super::model::{History, Point};
use crate::ops::status::{Condition, Limits};
use crate::time::Time;

/// Returns since when a condition holds; `None` where the records do not tell.
pub fn wrong_since(condition: &Condition, history: &History, now: Time) -> Option<Time> {
    let ago = |secs: u64| Time { secs: now.secs.saturating_sub_unsigned(secs), nanos: 0 };
    match condition {
        Condition::NoGood(_)
        | Condition::NewestFromFuture(..)
        | Condition::DrillTooOld(None, _)
        | Condition::CheckTooOld(None, _) => None,
        Condition::NewestNotGood(_) => {
            let backups = history.points.iter().rev().filter(|point| !point.before_restore);
            let bad = backups.take_while(|point| !point.state.is_good());
            bad.filter_map(|point| point.created).last()
        }
        Condition::DrillFailed(_) => {
            let failed = history.drills.iter().rev().take_while(|drill| !drill.passed);
            failed.map(|drill| drill.finished).last()
        }
        Condition::CheckFailed(time) => Some(*time),
        Condition::TooOld(age, limit)
        | Condition::DrillTooOld(Some(age), limit)
        | Condition::CheckTooOld(Some(age), limit) => Some(ago(age.saturating_sub(limit.as_secs()))),
    }
}

/// Returns since when nothing has been wrong: no snapshot that is not good, no failed drill, and no time without a good snapshot longer than
/// its limit. To be asked where nothing is wrong now.
pub fn fine_since(history: &History, limits: &Limits) -> Option<Time> {
    let good = |at: usize| history.points[at..].iter().find(|point| point.state.is_good())?.created;
    let is_bad = |point: &Point| !point.before_restore && !point.state.is_good();
    let mut since = match history.points.iter().rposition(is_bad) {
        Some(bad) => good(bad)?,
        None => good(0)?,
    };
    if let Some(failed) = history.drills.iter().rposition(|drill| !drill.passed) {
        since = since.max(history.drills.get(failed + 1)?.finished);
    }
    if let Some(limit) = limits.age {
        let dated = history.points.iter().filter_map(|point| Some((point.created?, point.name.sequence)));
        let dated: Vec<(Time, u64)> = dated.collect();
        // Between others some were forgotten.
        let follow = |pair: &[(Time, u64)]| pair[1].1.saturating_sub(pair[0].1) <= 1;
        let is_long =
            |pair: &[(Time, u64)]| pair[1].0.secs.saturating_sub(pair[0].0.secs) > limit.as_secs().cast_signed();
        if let Some(gap) = dated.windows(2).rposition(|pair| follow(pair) && is_long(pair)) {
            since = since.max(dated[gap + 1].0);
        }
    }
    Some(since)
}

#[cfg(test)]
pub(super) mod testing {
    use crate::id::SnapshotId;
    use crate::ops::judgement::State;
    use crate::ops::report::model::Point;
    use crate::store::SnapshotName;
    use crate::time::Time;

    /// Returns a snapshot of that second.
    pub(crate) fn point(secs: i64, state: State) -> Point {
        let id = SnapshotId::from_hex(&"ab".repeat(32)).unwrap();
        Point {
            name: SnapshotName { source: "lab".into(), sequence: 1, id },
            timestamp: None,
            created: Some(Time { secs, nanos: 0 }),
            state,
            reason: String::new(),
            database_bytes: None,
            files: None,
            file_bytes: None,
            added_bytes: None,
            proven: false,
            before_restore: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::point;
    use super::{fine_since, wrong_since};
    use crate::ops::judgement::State::{Good, Suspect};
    use crate::ops::report::model::{DrillPoint, History};
    use crate::ops::status::{Condition, Limits};
    use crate::time::Time;
    use std::time::Duration;

    fn at(secs: i64) -> Time {
        Time { secs, nanos: 0 }
    }

    #[test]
    fn it_is_fine_since_the_last_trouble_ended() {
        let day = 86_400;
        let mut history = History::default();
        assert_eq!(fine_since(&history, &Limits::default()), None);
        history.points = [1, 2, 3, 4].map(|n| point(n * day, Good)).into();
        assert_eq!(fine_since(&history, &Limits::default()), Some(at(day)));
        history.points[1].state = Suspect;
        assert_eq!(fine_since(&history, &Limits::default()), Some(at(3 * day)));
        history.drills = vec![
            DrillPoint { finished: at(3 * day + 5), passed: false },
            DrillPoint { finished: at(3 * day + 9), passed: true },
        ];
        assert_eq!(fine_since(&history, &Limits::default()), Some(at(3 * day + 9)));
        let limits = Limits { age: Some(Duration::from_secs(3600)), ..Limits::default() };
        assert_eq!(fine_since(&history, &limits), Some(at(4 * day)), "a day without one");
        history.points[3].name.sequence = 9;
        history.drills.clear();
        assert_eq!(fine_since(&history, &limits), Some(at(3 * day)), "those between were forgotten");
    }

    #[test]
    fn a_condition_holds_since_the_first_of_the_last_in_a_row() {
        let history = History {
            points: vec![point(1, Suspect), point(2, Good), point(3, Suspect), point(4, Suspect)],
            drills: vec![DrillPoint { finished: at(9), passed: false }],
            ..History::default()
        };
        let now = at(1000);
        let newest = crate::ops::status::Newest {
            name: history.points[3].name.clone(),
            time: None,
            judgement: crate::ops::judgement::Judgement {
                state: Suspect,
                reason: String::new(),
                good: crate::ops::parts::Need::default(),
            },
        };
        assert_eq!(wrong_since(&Condition::NewestNotGood(newest), &history, now), Some(at(3)));
        let late = Condition::TooOld(500, Duration::from_secs(100));
        assert_eq!(wrong_since(&late, &history, now), Some(at(600)));
        assert_eq!(wrong_since(&Condition::CheckFailed(at(7)), &history, now), Some(at(7)));
    }
}
