//! Which of several records is the newest: by their numbers, which no clock can make wrong, and by their times where there is no number.

use crate::time::Time;

/// When a record was made, for comparison with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// The record's number; older programs gave none.
    pub number: Option<u64>,
    /// The record's time.
    pub time: Time,
}

impl Rank {
    /// Returns whether it is newer than another. Records with the same number were made at the same time, by clocks that agree.
    pub(crate) fn is_after(self, other: Self) -> bool {
        match (self.number, other.number) {
            (Some(own), Some(other)) if own != other => own > other,
            _ => self.time > other.time,
        }
    }
}

/// The newest of what several records say. One without a number is newer than all others only if its time is.
#[derive(Debug, Clone)]
pub(crate) struct Latest<T> {
    numbered: Option<(Rank, T)>,
    unnumbered: Option<(Rank, T)>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { numbered: None, unnumbered: None }
    }
}

impl<T> Latest<T> {
    /// Adds what a record says, in any order. `value` is called if nothing newer is known.
    pub(crate) fn add(&mut self, rank: Rank, value: impl FnOnce() -> T) {
        let place = if rank.number.is_some() { &mut self.numbered } else { &mut self.unnumbered };
        if place.as_ref().is_none_or(|(there, _)| !there.is_after(rank)) {
            *place = Some((rank, value()));
        }
    }

    /// Returns the newest, and its rank.
    pub(crate) fn get(&self) -> Option<&(Rank, T)> {
        match (&self.numbered, &self.unnumbered) {
            (Some(numbered), Some(unnumbered)) if unnumbered.0.is_after(numbered.0) => Some(unnumbered),
            (numbered, unnumbered) => numbered.as_ref().or(unnumbered.as_ref()),
        }
    }

    /// Takes the newest.
    pub(crate) fn take(self) -> Option<T> {
        let is_unnumbered = self.get()?.0.number.is_none();
        let newest = if is_unnumbered { self.unnumbered } else { self.numbered };
        newest.map(|(_, value)| value)
    }
}

/// Sorts records, the oldest first: by number; one without a number stands behind all that are older by time.
pub(crate) fn sort<T>(records: &mut [T], rank: impl Fn(&T) -> Rank) {
    let numbered: Vec<(u64, Time)> =
        records.iter().map(&rank).filter_map(|rank| Some((rank.number?, rank.time))).collect();
    let behind = |time: Time| numbered.iter().filter(|(_, other)| *other < time).map(|(number, _)| *number).max();
    records.sort_by_cached_key(|record| {
        let Rank { number, time } = rank(record);
        (number.unwrap_or_else(|| behind(time).unwrap_or_default()), number.is_none(), time)
    });
}

#[cfg(test)]
mod tests {
    use super::{Latest, Rank, sort};
    use crate::time::Time;

    fn rank(number: u64, secs: i64) -> Rank {
        Rank { number: (number > 0).then_some(number), time: Time { secs, nanos: 0 } }
    }

    #[test]
    fn numbers_rank_and_times_where_there_are_none() {
        assert!(rank(2, 10).is_after(rank(1, 99)) && !rank(1, 99).is_after(rank(2, 10)));
        assert!(rank(1, 11).is_after(rank(1, 10)) && !rank(1, 10).is_after(rank(1, 10)));
        assert!(rank(0, 11).is_after(rank(9, 10)) && !rank(0, 10).is_after(rank(9, 10)));
        assert!(rank(1, 11).is_after(rank(0, 10)) && !rank(1, 9).is_after(rank(0, 10)));
    }

    #[test]
    fn the_newest_is_the_last_of_the_sorted_in_whatever_order_they_come() {
        for (ranks, newest) in [
            (vec![(1, 99), (2, 10), (3, 20)], (3, 20)),
            (vec![(1, 99), (2, 50), (0, 70)], (0, 70)),
            (vec![(1, 99), (2, 50), (0, 40)], (2, 50)),
            (vec![(0, 5), (0, 7), (0, 6)], (0, 7)),
            (vec![(4, 1), (4, 3), (4, 2)], (4, 3)),
        ] {
            for turn in 0..ranks.len() {
                let mut ranks: Vec<_> = ranks.iter().map(|(number, secs)| rank(*number, *secs)).collect();
                ranks.rotate_left(turn);
                let mut found = Latest::default();
                ranks.iter().for_each(|one| found.add(*one, || *one));
                sort(&mut ranks, |one| *one);
                let newest = rank(newest.0, newest.1);
                assert_eq!((ranks.last(), found.get()), (Some(&newest), Some(&(newest, newest))));
                assert_eq!(found.take(), Some(newest));
            }
        }
        assert_eq!(Latest::<u8>::default().take(), None);
        let mut ranks = vec![rank(0, 60), rank(3, 50), rank(0, 10), rank(1, 99), rank(2, 20)];
        sort(&mut ranks, |one| *one);
        assert_eq!(ranks, [rank(0, 10), rank(1, 99), rank(2, 20), rank(3, 50), rank(0, 60)]);
    }
}
