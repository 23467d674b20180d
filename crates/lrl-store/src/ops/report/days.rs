//! The last days one by one: which snapshots, drills and failures each had. Pure.

use super::model::{DrillPoint, Point};
use crate::ops::judgement::State;
use crate::time::Time;

const DAY: i64 = 86_400;

/// One day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Day {
    /// Its first second, since 1970.
    pub start: i64,
    /// Its snapshots.
    pub snapshots: u64,
    /// The worst judgement on one of them.
    pub worst: Option<State>,
    /// Whether it has no snapshot any more, but had at least one, as the numbers of those around it show.
    pub thinned: bool,
    /// Drills that passed.
    pub passed: u64,
    /// Drills that failed.
    pub failed: u64,
}

/// Returns the last `count` days, oldest first, today included.
pub fn days(points: &[Point], drills: &[DrillPoint], now: Time, count: u32) -> Vec<Day> {
    let today = now.secs.div_euclid(DAY);
    let first = today - i64::from(count) + 1;
    let mut days: Vec<Day> = (first..=today).map(|day| Day { start: day * DAY, ..Day::default() }).collect();
    let at = |time: Time| usize::try_from(time.secs.div_euclid(DAY) - first).ok();
    for point in points {
        if let Some(day) = point.created.and_then(at).and_then(|at| days.get_mut(at)) {
            day.snapshots += 1;
            day.worst = day.worst.max(Some(point.state));
        }
    }
    thinned(points, &mut days);
    for drill in drills {
        if let Some(day) = at(drill.finished).and_then(|at| days.get_mut(at)) {
            *(if drill.passed { &mut day.passed } else { &mut day.failed }) += 1;
        }
    }
    days
}

/// Marks the days between two snapshots whose numbers have room for one a day between them: those were forgotten.
fn thinned(points: &[Point], days: &mut [Day]) {
    let Some(first) = days.first().map(|day| day.start.div_euclid(DAY)) else { return };
    let dated: Vec<(i64, u64)> =
        points.iter().filter_map(|point| Some((point.created?.secs.div_euclid(DAY), point.name.sequence))).collect();
    for pair in dated.windows(2) {
        let [(before, from), (after, to)] = *pair else { continue };
        let between = u64::try_from(after - before - 1).unwrap_or(0);
        if between > 0 && to.saturating_sub(from).saturating_sub(1) >= between {
            for day in before + 1..after {
                let at = usize::try_from(day - first).ok();
                if let Some(day) = at.and_then(|at| days.get_mut(at)) {
                    day.thinned = day.snapshots == 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Day, days};
    use crate::ops::judgement::State;
    use crate::ops::report::model::DrillPoint;
    use crate::ops::report::since::testing::point;
    use crate::time::Time;

    #[test]
    fn what_happened_is_put_into_its_day() {
        let at = |secs| Time { secs, nanos: 0 };
        let now = at(100 * 86_400 + 5);
        let points = [
            point(97 * 86_400, State::Good),
            point(99 * 86_400, State::Good),
            point(100 * 86_400 - 1, State::Suspect),
            point(100 * 86_400, State::Good),
            point(101 * 86_400 + 9, State::Good),
        ];
        let drills = [(1, true), (100 * 86_400, false)].map(|(secs, passed)| DrillPoint { finished: at(secs), passed });
        let found = days(&points, &drills, now, 3);
        let day = |start: i64, snapshots, worst| Day { start: start * 86_400, snapshots, worst, ..Day::default() };
        assert_eq!(found[..2], [day(98, 0, None), day(99, 2, Some(State::Suspect))]);
        assert!(!found[0].thinned, "the numbers have no room");
        let mut spread = points.clone();
        spread[0].name.sequence = 5;
        spread[1].name.sequence = 7;
        assert!(days(&spread, &drills, now, 3)[0].thinned);
        assert_eq!(found[2], Day { failed: 1, ..day(100, 1, Some(State::Good)) });
    }
}
