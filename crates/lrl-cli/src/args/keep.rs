//! The value of `--keep`: how a history is thinned by its age, as in `all:1h,minutely:24h,hourly:7d,daily:30d`.

use std::time::Duration;

use lrl_store::ops::forget::Period;

use super::values;

/// Rules by age; what none of them keeps is forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// All that are up to this old stay.
    pub all: Duration,
    /// The newest of each period, up to this age.
    pub thinned: Vec<(Period, Duration)>,
}

const PERIODS: [(&str, Period); 6] = [
    ("minutely", Period::Minute),
    ("hourly", Period::Hour),
    ("daily", Period::Day),
    ("weekly", Period::Week),
    ("monthly", Period::Month),
    ("yearly", Period::Year),
];

/// Parses rules, separated by commas.
pub fn keep(text: &str) -> Result<Keep, String> {
    const HELP: &str = "expected rules as all:1h,minutely:24h,hourly:7d,daily:30d (all, minutely, hourly, daily, weekly, monthly, yearly, each \
                        with how old a snapshot may be)";
    let mut keep = Keep::default();
    for rule in text.split(',') {
        let (name, age) = rule.trim().split_once(':').ok_or(HELP)?;
        let age = values::age(age).map_err(|help| format!("{rule}: {help}"))?;
        if name == "all" {
            keep.all = keep.all.max(age);
            continue;
        }
        let period = PERIODS.iter().find(|(known, _)| *known == name).map(|(_, period)| *period);
        keep.thinned.push((period.ok_or_else(|| format!("{name:?} is no period: {HELP}"))?, age));
    }
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::{Keep, Period, keep};
    use std::time::Duration;

    #[test]
    fn rules_are_read_in_any_order() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let thinned = vec![(Period::Minute, hours(24)), (Period::Day, hours(30 * 24))];
        assert_eq!(keep("minutely:24h, all:1h,daily:30d"), Ok(Keep { all: hours(1), thinned }));
        for text in ["", "daily", "daily:", "daily:5", "all:90s", "secondly:1h", "daily:30d,", "1h"] {
            assert!(keep(text).is_err(), "{text}");
        }
    }
}
