//! Which sets of a backup directory stay: the rule alone. Knows no disk and no store.

use std::num::NonZeroUsize;

/// The halves that a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halves {
    /// It has a database.
    pub database: bool,
    /// It has the uploads' archive.
    pub uploads: bool,
}

/// Says of each set, the newest first, whether it stays: for each half, the `newest` first ones that hold it. So half-sets never push out
/// the last set that holds the other half.
pub fn stays(newest_first: &[Halves], newest: NonZeroUsize) -> Vec<bool> {
    let mut left = [newest.get(); 2];
    let mut stays = |set: &Halves| {
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
    use super::{Halves, stays};
    use proptest::prelude::*;
    use std::num::NonZeroUsize;

    fn sets() -> impl Strategy<Value = Vec<Halves>> {
        let set = (any::<bool>(), any::<bool>()).prop_map(|(database, uploads)| Halves { database, uploads });
        proptest::collection::vec(set, 0..40)
    }

    proptest! {
        #[test]
        fn of_each_half_the_newest_stay_and_nothing_else(sets in sets(), newest in 1usize..12) {
            let stay = stays(&sets, NonZeroUsize::new(newest).unwrap());
            prop_assert_eq!(stay.len(), sets.len());
            let database: fn(&Halves) -> bool = |set| set.database;
            let uploads: fn(&Halves) -> bool = |set| set.uploads;
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
            let left: Vec<Halves> = sets.iter().zip(&stay).filter(|(_, stay)| **stay).map(|(set, _)| *set).collect();
            prop_assert!(stays(&left, NonZeroUsize::new(newest).unwrap()).into_iter().all(|stay| stay));
            let more = stays(&sets, NonZeroUsize::new(newest + 1).unwrap());
            prop_assert!(stay.iter().zip(more).all(|(less, more)| !less || more));
        }

        #[test]
        fn whole_sets_are_counted_as_everyone_expects(count in 0usize..30, newest in 1usize..12) {
            let sets = vec![Halves { database: true, uploads: true }; count];
            let stay = stays(&sets, NonZeroUsize::new(newest).unwrap());
            prop_assert!(stay.iter().enumerate().all(|(at, stay)| *stay == (at < newest)));
        }
    }
}
