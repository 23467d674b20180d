//! Which sets of a backup directory stay: a pure function.

use std::num::NonZeroUsize;

/// The parts that a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// It has a database.
    pub database: bool,
    /// It has the uploads' archive.
    pub uploads: bool,
}

/// Returns for each set, the newest first, whether it stays, given what it holds and what of that is good. Good and bad parts are counted
/// separately: a bad night never pushes out a good set, and bad sets do not fill the disk.
pub(crate) fn sets_to_keep(newest_first: &[(Parts, Parts)], newest: NonZeroUsize) -> Vec<bool> {
    let good: Vec<Parts> = newest_first.iter().map(|(_, good)| *good).collect();
    let bad = newest_first.iter().map(|(holds, good)| Parts {
        database: holds.database && !good.database,
        uploads: holds.uploads && !good.uploads,
    });
    let bad: Vec<Parts> = bad.collect();
    let holds_none = |parts: &Parts| !parts.database && !parts.uploads;
    let counted = |list: &[Parts]| -> Vec<bool> {
        stays(list, newest).into_iter().zip(list).map(|(stay, parts)| stay && !holds_none(parts)).collect()
    };
    let both = counted(&good).into_iter().zip(counted(&bad));
    both.zip(newest_first).map(|((good, bad), (holds, _))| good || bad || holds_none(holds)).collect()
}

/// Returns for each set, the newest first, whether it stays: of each part, the first `newest` sets that hold it. So a set with one part
/// never pushes out the last set that holds the other.
pub(crate) fn stays(newest_first: &[Parts], newest: NonZeroUsize) -> Vec<bool> {
    let mut left = [newest.get(); 2];
    let mut stays = |set: &Parts| {
        let mut stay = !set.database && !set.uploads;
        for (left, holds) in left.iter_mut().zip([set.database, set.uploads]) {
            if holds && *left > 0 {
                *left -= 1;
                stay = true;
            }
        }
        stay
    };
    newest_first.iter().map(&mut stays).collect()
}

#[cfg(test)]
mod tests {
    use super::{Parts, sets_to_keep, stays};
    use proptest::prelude::*;
    use std::num::NonZeroUsize;

    fn sets() -> impl Strategy<Value = Vec<Parts>> {
        let set = (any::<bool>(), any::<bool>()).prop_map(|(database, uploads)| Parts { database, uploads });
        proptest::collection::vec(set, 0..40)
    }

    proptest! {
        #[test]
        fn of_each_part_the_newest_stay_and_nothing_else(sets in sets(), newest in 1usize..12) {
            let stay = stays(&sets, NonZeroUsize::new(newest).unwrap());
            prop_assert_eq!(stay.len(), sets.len());
            let database: fn(&Parts) -> bool = |set| set.database;
            let uploads: fn(&Parts) -> bool = |set| set.uploads;
            let mut wanted = vec![false; sets.len()];
            for holds in [database, uploads] {
                let with_it: Vec<usize> = (0..sets.len()).filter(|at| holds(&sets[*at])).collect();
                with_it.iter().take(newest).for_each(|at| wanted[*at] = true);
            }
            for (at, set) in sets.iter().enumerate() {
                let empty = !set.database && !set.uploads;
                prop_assert_eq!(stay[at], wanted[at] || empty);
            }
            // What stayed stays, and a larger number takes nothing more.
            let left: Vec<Parts> = sets.iter().zip(&stay).filter(|(_, stay)| **stay).map(|(set, _)| *set).collect();
            prop_assert!(stays(&left, NonZeroUsize::new(newest).unwrap()).into_iter().all(|stay| stay));
            let more = stays(&sets, NonZeroUsize::new(newest + 1).unwrap());
            prop_assert!(stay.iter().zip(more).all(|(less, more)| !less || more));
        }

        #[test]
        fn bad_sets_push_out_no_good_one_and_are_limited_too(sets in sets(), is_good in proptest::collection::vec(any::<bool>(), 40), newest in 1usize..5) {
            let none = Parts { database: false, uploads: false };
            let newest = NonZeroUsize::new(newest).unwrap();
            let judged: Vec<(Parts, Parts)> =
                sets.iter().zip(&is_good).map(|(set, good)| (*set, if *good { *set } else { none })).collect();
            let stay = sets_to_keep(&judged, newest);
            for wanted in [true, false] {
                let of_kind: Vec<usize> = (0..sets.len()).filter(|at| is_good[*at] == wanted).collect();
                let alone: Vec<Parts> = of_kind.iter().map(|at| sets[*at]).collect();
                let alone = stays(&alone, newest);
                prop_assert!(of_kind.iter().zip(alone).all(|(at, alone)| stay[*at] == alone));
            }
        }

        #[test]
        fn whole_sets_are_counted_as_everyone_expects(count in 0usize..30, newest in 1usize..12) {
            let sets = vec![Parts { database: true, uploads: true }; count];
            let stay = stays(&sets, NonZeroUsize::new(newest).unwrap());
            prop_assert!(stay.iter().enumerate().all(|(at, stay)| *stay == (at < newest)));
        }
    }
}
