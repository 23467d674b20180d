//! Whether the sets of a backup directory outgrow their store, and when their disk is full: a pure function.

use std::time::Duration;

/// How much the sets of a backup directory take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sets {
    /// How many there are.
    pub count: u64,
    /// Bytes on disk of all.
    pub disk_bytes: u64,
    /// Seconds from the oldest to the newest.
    pub span_secs: u64,
    /// What is free on their disk, in bytes.
    pub free_bytes: u64,
    /// Bytes of the store; `None` where that takes too long to find out.
    pub store_bytes: Option<u64>,
}

/// What is said of sets that outgrow their store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgrown {
    /// How long until their disk is full at this rate; `None` if they are not old enough to tell.
    pub full_in: Option<Duration>,
    /// How many to keep: as many as take no more than the store, but at least `FEW` where there are more.
    pub keep: u64,
}

/// So few sets take what they must.
pub(crate) const FEW: u64 = 3;
/// A disk that is not full before that is nobody's worry.
const SOON: Duration = Duration::from_secs(2 * 365 * 86_400);
/// Sets of less than a day show no rate.
const DAY: u64 = 86_400;

impl Sets {
    /// Returns what to say where the sets take more than the store and fill their disk within two years, or take more than half of what is
    /// free.
    pub fn outgrown(&self) -> Option<Outgrown> {
        let each = self.disk_bytes.checked_div(self.count)?;
        let full_in = (self.span_secs >= DAY && each > 0 && self.count > 1).then(|| {
            let secs = u128::from(self.free_bytes / each) * u128::from(self.span_secs) / u128::from(self.count - 1);
            Duration::from_secs(secs.try_into().unwrap_or(u64::MAX))
        });
        let is_larger = self.store_bytes.is_none_or(|store| self.disk_bytes > store);
        let is_soon = self.count > FEW && is_larger && full_in.is_some_and(|time| time <= SOON);
        let is_tight = self.count > 1 && self.disk_bytes > self.free_bytes / 2;
        (is_soon || is_tight).then(|| {
            let fit = self.store_bytes.unwrap_or(0).checked_div(each).unwrap_or(FEW);
            Outgrown { full_in, keep: fit.max(FEW).min(self.count - 1) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Outgrown, Sets};
    use proptest::prelude::*;
    use std::time::Duration;

    const DAY: u64 = 86_400;

    #[test]
    fn a_set_each_day_fills_the_disk_on_a_day_that_can_be_told() {
        let sets = Sets {
            count: 11,
            disk_bytes: 11 << 30,
            span_secs: 10 * DAY,
            free_bytes: 100 << 30,
            store_bytes: Some(5 << 30),
        };
        let said = Some(Outgrown { full_in: Some(Duration::from_secs(100 * DAY)), keep: 5 });
        assert_eq!(sets.outgrown(), said);
        assert_eq!(Sets { store_bytes: Some(1 << 30), ..sets }.outgrown().unwrap().keep, 3);
        assert_eq!(Sets { store_bytes: None, ..sets }.outgrown().unwrap().keep, 3);
        for silent in [
            Sets { store_bytes: Some(20 << 30), ..sets },
            Sets { free_bytes: 1000 << 30, ..sets },
            Sets { span_secs: DAY - 1, ..sets },
            Sets { count: 3, ..sets },
            Sets { count: 0, disk_bytes: 0, ..sets },
        ] {
            assert_eq!(silent.outgrown(), None, "{silent:?}");
        }
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_said_at_once() {
        let sets = Sets { count: 2, disk_bytes: 10, span_secs: 5, free_bytes: 19, store_bytes: Some(1000) };
        assert_eq!(sets.outgrown(), Some(Outgrown { full_in: None, keep: 1 }));
        assert_eq!(Sets { free_bytes: 20, ..sets }.outgrown(), None);
    }

    proptest! {
        #[test]
        fn fewer_sets_than_there_are_help(
            count in 0u64..400, disk_bytes: u64, span_secs in 0u64..1 << 40, free_bytes: u64, store: Option<u64>,
        ) {
            let sets = Sets { count, disk_bytes, span_secs, free_bytes, store_bytes: store };
            if let Some(said) = sets.outgrown() {
                prop_assert!(said.keep >= 1 && said.keep < count);
            }
        }
    }
}
