//! The place of a copied snapshot in the destination's history. A pure function: what is later stays later, so a copy never becomes
//! `latest` before something that is newer.

use crate::format::snapshot::{Origin, Snapshot};
use crate::id::SnapshotId;
use crate::time::Time;

/// What tells the order of two snapshots of a source.
#[derive(Debug, Clone)]
pub(super) struct SnapshotKey {
    /// Its number in the store that it is in.
    pub number: u64,
    /// Where it was made.
    pub origin: Origin,
    /// When its run began.
    pub created: Time,
}

impl SnapshotKey {
    /// Looks at a snapshot of a store.
    pub(crate) fn of(snapshot: &Snapshot, id: SnapshotId, store: &str) -> Self {
        let here = || Origin { store: store.into(), snapshot: id, sequence: snapshot.sequence };
        let origin = snapshot.original.clone().unwrap_or_else(here);
        Self { number: snapshot.sequence, origin, created: snapshot.created }
    }

    /// Numbers of one store order its snapshots.
    fn is_before(&self, other: &Self) -> bool {
        let (a, b) = (&self.origin, &other.origin);
        (a.sequence, self.created, a.snapshot) < (b.sequence, other.created, b.snapshot)
    }
}

/// Finds the number of a new snapshot among those that are there, `used` being the highest that one had: its own if that is free, since
/// people know it by that. `None` if there is none before something later.
pub(super) fn number(new: &SnapshotKey, there: &[SnapshotKey], used: u64, now: Time) -> Option<u64> {
    let (ours, others): (Vec<&SnapshotKey>, Vec<&SnapshotKey>) =
        there.iter().partition(|stand| stand.origin.store == new.origin.store);
    let (before, after): (Vec<&SnapshotKey>, Vec<&SnapshotKey>) =
        ours.into_iter().partition(|stand| stand.is_before(new));
    let mut lowest = before.iter().map(|stand| stand.number).max().unwrap_or(0);
    let later = after.iter().map(|stand| stand.number).min();
    // Of another store's those count as earlier that are before one that is: a clock that was wrong once moves nothing. A time in the
    // future says nothing.
    let is_open = |number: u64| number > lowest && later.is_none_or(|later| number < later);
    let earlier = |stand: &&&SnapshotKey| stand.created <= new.created || stand.created > now;
    let others: Vec<&SnapshotKey> = others.into_iter().filter(|stand| is_open(stand.number)).collect();
    lowest = others.iter().filter(earlier).map(|stand| stand.number).max().unwrap_or(lowest);
    let next = others.iter().map(|stand| stand.number).filter(|number| *number > lowest).chain(later).min();
    let least = lowest.checked_add(1)?;
    match next {
        None => Some(new.number.max(used.checked_add(1)?)),
        Some(next) if least < next => Some(new.number.clamp(least, next - 1)),
        // No number is free: it shares one, but not with what is later.
        Some(next) => next.checked_sub(1).filter(|number| *number > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::SnapshotKey;
    use crate::format::snapshot::Origin;
    use crate::id::SnapshotId;
    use crate::time::Time;

    fn stand(number: u64, store: &str, sequence: u64, secs: i64) -> SnapshotKey {
        let snapshot = SnapshotId::of(format!("{store} {sequence} {secs}").as_bytes());
        SnapshotKey {
            number,
            origin: Origin { store: store.into(), snapshot, sequence },
            created: Time { secs, nanos: 0 },
        }
    }

    const NOW: Time = Time { secs: 10_000, nanos: 0 };

    fn number(new: &SnapshotKey, there: &[SnapshotKey], used: u64) -> Option<u64> {
        super::number(new, there, used, NOW)
    }

    #[test]
    fn a_history_keeps_its_numbers_and_its_gaps() {
        let there = [stand(5, "a", 5, 50), stand(9, "a", 9, 90)];
        let copied = |sequence, used| number(&stand(sequence, "a", sequence, 0), &there, used);
        assert_eq!(number(&stand(5, "a", 5, 50), &[], 0), Some(5));
        assert_eq!(copied(12, 9), Some(12));
        assert_eq!(copied(7, 9), Some(7), "whatever its time says");
        assert_eq!(copied(3, 9), Some(3));
        // Number 12 was used up by a document that lies in quarantine.
        assert_eq!(copied(12, 12), Some(13));
    }

    #[test]
    fn what_was_renumbered_keeps_its_order() {
        let there = [stand(101, "a", 1, 1000), stand(104, "a", 4, 4000)];
        assert_eq!(number(&stand(2, "a", 2, 2000), &there, 104), Some(102));
        assert_eq!(number(&stand(5, "a", 5, 5000), &there, 104), Some(105));
        let dense = [stand(101, "a", 1, 1000), stand(102, "a", 4, 4000)];
        assert_eq!(number(&stand(2, "a", 2, 2000), &dense, 102), Some(101));
    }

    #[test]
    fn histories_of_two_stores_meet_by_their_times() {
        // The machine was lost and began anew: its new first snapshot is the newest.
        let there = [stand(99, "old", 99, 990), stand(100, "old", 100, 1000)];
        assert_eq!(number(&stand(1, "new", 1, 2000), &there, 100), Some(101));
        // So it is where the old machine's clock was wrong once, or still is.
        let there = [stand(50, "old", 50, 5000), stand(100, "old", 100, 1000)];
        assert_eq!(number(&stand(1, "new", 1, 2000), &there, 100), Some(101));
        assert_eq!(number(&stand(1, "new", 1, 2000), &[stand(100, "old", 100, 99_999)], 100), Some(101));
        // The destination has gone on by itself while this one waited to be copied.
        let there = [stand(42, "a", 42, 420), stand(43, "b", 43, 500), stand(44, "b", 44, 600)];
        assert_eq!(number(&stand(43, "a", 43, 450), &there, 44), Some(42));
        assert_eq!(number(&stand(43, "a", 43, 550), &there, 44), Some(43));
        assert_eq!(number(&stand(43, "a", 43, 700), &there, 44), Some(45));
        // What is before an earlier one of the same history is earlier, whatever its time.
        let there = [stand(3, "b", 3, 9000), stand(9, "a", 9, 90)];
        assert_eq!(number(&stand(10, "a", 10, 100), &there, 9), Some(10));
        assert_eq!(number(&stand(1, "a", 1, 10), &[stand(1, "b", 1, 20)], 1), None);
        assert_eq!(number(&stand(u64::MAX, "a", u64::MAX, 10), &[stand(u64::MAX, "a", 1, 0)], u64::MAX), None);
    }

    proptest::proptest! {
        #[test]
        fn the_later_of_one_history_are_never_overtaken(
            there in proptest::collection::vec((1u64..20, 0u8..3, 1u64..20, 0i64..40), 0..8),
            new in (1u64..20, 0u8..3, 0i64..40),
        ) {
            let there: Vec<SnapshotKey> = there.iter().map(|(n, store, seq, secs)| stand(*n, &store.to_string(), *seq, *secs)).collect();
            let new = stand(new.0, &new.1.to_string(), new.0, new.2);
            let used = there.iter().map(|s| s.number).max().unwrap_or(0);
            let later = there.iter().filter(|s| s.origin.store == new.origin.store && !s.is_before(&new));
            match (number(&new, &there, used), later.map(|s| s.number).min()) {
                (Some(found), Some(later)) => proptest::prop_assert!(found < later && found > 0),
                (Some(found), None) => proptest::prop_assert!(found > 0),
                (None, _) => proptest::prop_assert!(there.iter().any(|s| s.number == 1)),
            }
        }
    }
}
