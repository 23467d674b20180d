//! The table `[policy]` of `lrl.toml`: how often `lrl run` does each of its steps, and what `lrl forget` keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::args::keep::keep;
use crate::args::values;

/// The name of the table.
pub const TABLE: &str = "policy";

/// What the table sets.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Key → values, all of them checked; one, or a list.
    values: BTreeMap<String, Vec<String>>,
}

/// How often a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// At every run.
    Always,
    /// When the last success is about this old.
    Every(Duration),
    /// Not at all.
    Never,
}

/// How much of the packs a check reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckData<'a> {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// A part, as `lrl check --read-data-subset` takes it.
    Part(&'a str),
}

/// What a key's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Count,
    Age,
    Rules,
    Tags,
    Sets,
    Interval,
    Data,
    Path,
    Flag,
}

/// Every key. `keep`, and those that begin with `keep-`, but for `keep-sets`, are flags of `lrl forget`.
const KEYS: [(&str, Kind); 19] = [
    ("keep", Kind::Rules),
    ("keep-last", Kind::Count),
    ("keep-hourly", Kind::Count),
    ("keep-daily", Kind::Count),
    ("keep-weekly", Kind::Count),
    ("keep-monthly", Kind::Count),
    ("keep-yearly", Kind::Count),
    ("keep-within", Kind::Age),
    ("keep-tag", Kind::Tags),
    ("keep-sets", Kind::Sets),
    ("backup", Kind::Interval),
    ("copy", Kind::Interval),
    ("drill", Kind::Interval),
    ("drill-oldest", Kind::Count),
    ("check", Kind::Interval),
    ("check-data", Kind::Data),
    ("prune", Kind::Interval),
    ("report", Kind::Path),
    ("report-redact", Kind::Flag),
];

/// Words for an interval, in seconds.
const INTERVALS: [(&str, u64); 5] =
    [("hourly", 3600), ("daily", 86_400), ("weekly", 7 * 86_400), ("monthly", 30 * 86_400), ("yearly", 365 * 86_400)];

impl Policy {
    /// Reads the table; `place` turns the offset of a key into file and line. Errors are texts for the user.
    pub fn read(table: &DeTable<'_>, place: &dyn Fn(usize) -> String) -> Result<Self, String> {
        let mut set = BTreeMap::new();
        for (key, value) in table {
            let (name, place) = (key.get_ref().as_ref(), place(key.span().start));
            let kind = KEYS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).ok_or_else(|| {
                format!("{place}: unknown key {name:?} in [policy]; the nearest known key is {:?}", nearest(name))
            })?;
            let found = kind.values(value.get_ref()).map_err(|wanted| format!("{place}: {name} expects {wanted}"))?;
            set.insert(name.to_string(), found);
        }
        Ok(Self { values: set })
    }

    /// Returns how often a step is done, where the table sets it.
    pub fn interval(&self, step: &str) -> Option<Interval> {
        let is_interval = KEYS.contains(&(KEYS.iter().find(|(key, _)| *key == step)?.0, Kind::Interval));
        interval(self.value(step)?).ok().filter(|_| is_interval)
    }

    /// Returns the values for a flag of `lrl forget`, where the table sets it.
    pub fn retention(&self, flag: &str) -> Option<&[String]> {
        let values = self.values.get(flag).filter(|_| is_retention(flag))?;
        (!values.is_empty()).then_some(values)
    }

    /// Returns whether any rule keeps something: without one, nothing is ever forgotten.
    pub fn has_retention(&self) -> bool {
        self.values.iter().any(|(key, values)| is_retention(key) && values.iter().any(|value| value != "0"))
    }

    /// Returns how many sets a run keeps, as `lrl backup --keep-sets` takes it.
    pub fn keep_sets(&self) -> Option<&str> {
        self.value("keep-sets")
    }

    /// Returns how many snapshots the drill of a run takes from the store.
    pub fn drill_oldest(&self) -> Option<u64> {
        self.value("drill-oldest")?.parse().ok()
    }

    /// Returns how much the check of a run reads.
    pub fn check_data(&self) -> CheckData<'_> {
        match self.value("check-data") {
            None | Some("false") => CheckData::Nothing,
            Some("true") => CheckData::All,
            Some(part) => CheckData::Part(part),
        }
    }

    /// Returns the page that a run writes, if it writes one.
    pub fn report(&self) -> Option<&str> {
        self.value("report")
    }

    /// Returns whether names are left out of that page.
    pub fn redacts_report(&self) -> bool {
        self.value("report-redact") == Some("true")
    }

    /// Returns every key that the table sets, with its values.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.values.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.first().map(String::as_str)
    }
}

/// Returns whether a key of the file belongs into this table.
pub fn is_key(name: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == name)
}

fn is_retention(key: &str) -> bool {
    (key == "keep" || key.starts_with("keep-")) && key != "keep-sets" && is_key(key)
}

fn nearest(name: &str) -> &'static str {
    let distance = |(key, _): &&(&str, Kind)| strsim::damerau_levenshtein(key, name);
    KEYS.iter().min_by_key(distance).map_or("", |(key, _)| *key)
}

/// Returns the word for an interval, if there is one.
pub fn word(time: Duration) -> Option<&'static str> {
    INTERVALS.iter().find(|(_, seconds)| *seconds == time.as_secs()).map(|(word, _)| *word)
}

/// Parses how often something happens: a word, or a time.
fn interval(text: &str) -> Result<Interval, String> {
    let word = INTERVALS.iter().find(|(word, _)| *word == text).map(|(_, seconds)| Duration::from_secs(*seconds));
    match text {
        "always" => Ok(Interval::Always),
        "never" => Ok(Interval::Never),
        _ => word.map_or_else(|| values::duration(text), Ok).map(|time| match time.is_zero() {
            true => Interval::Always,
            false => Interval::Every(time),
        }),
    }
}

impl Kind {
    /// Returns the values as texts, or what is expected instead.
    fn values(self, value: &DeValue<'_>) -> Result<Vec<String>, String> {
        let one = |text: &str| vec![text.to_string()];
        let number = || value.as_integer().and_then(|number| number.to_string().parse::<u32>().ok());
        match self {
            Self::Count => number().map(|n| one(&n.to_string())).ok_or_else(|| "a whole number".into()),
            Self::Age => {
                let text = value.as_str().ok_or("a time in quotes: \"36h\", \"30d\", \"8w\", \"1y\"")?;
                values::age(text).map(|_| one(text)).map_err(|reason| format!("a time in quotes, {reason}"))
            }
            Self::Rules => {
                let text = value.as_str().ok_or("rules in quotes: \"all:1h,minutely:24h,hourly:7d,daily:30d\"")?;
                keep(text).map(|_| one(text))
            }
            Self::Tags => {
                let tag = |value: &DeValue<'_>| value.as_str().and_then(|tag| values::word(tag).ok());
                let tags = value.as_array().map(|list| list.iter().map(|value| tag(value.get_ref())).collect());
                tags.flatten().ok_or_else(|| "a list of strings, as in [\"a\", \"b\"]".into())
            }
            Self::Sets => {
                let text = number().map(|n| n.to_string()).or_else(|| value.as_str().map(str::to_string));
                let text = text.ok_or("a number of sets, or \"all\"")?;
                values::keep_sets(&text).map(|_| one(&text))
            }
            Self::Interval => {
                const HELP: &str =
                    "always, hourly, daily, weekly, monthly, yearly, never or a time such as 36h or 10d, in quotes";
                let text = value.as_str().ok_or(HELP)?;
                interval(text).map(|_| one(text)).map_err(|_| HELP.into())
            }
            Self::Path => {
                let text = value.as_str().filter(|text| !text.is_empty() && *text != "-");
                text.map(one).ok_or_else(|| "the path of a file in quotes".into())
            }
            Self::Flag => value.as_bool().map(|on| one(&on.to_string())).ok_or_else(|| "true or false".into()),
            Self::Data => {
                const HELP: &str =
                    "true, false, or a part in quotes: a slice (2/7), a percentage (5%) or a size (500M)";
                match (value.as_bool(), value.as_str()) {
                    (Some(all), _) => Ok(one(if all { "true" } else { "false" })),
                    (None, Some(text)) => values::subset(text).map(|_| one(text)).map_err(|_| HELP.into()),
                    (None, None) => Err(HELP.into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CheckData, Interval, Policy};
    use std::time::Duration;
    use toml::de::DeTable;

    fn read(text: &str) -> Result<Policy, String> {
        Policy::read(DeTable::parse(text).unwrap().get_ref(), &|offset| format!("at {offset}"))
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let policy = read(
            "keep-daily = 7\nkeep-within = \"30d\"\nkeep-tag = [\"a\", \"b\"]\nkeep-sets = 3\nbackup = \"daily\"\n\
             drill = \"36h\"\ncheck = \"never\"\nprune = \"always\"\ncheck-data = \"2/7\"\ndrill-oldest = 0",
        )
        .unwrap();
        assert_eq!(policy.retention("keep-daily"), Some(&["7".to_string()][..]));
        assert_eq!(policy.retention("keep-tag").map(<[String]>::len), Some(2));
        assert_eq!((policy.retention("keep-sets"), policy.keep_sets()), (None, Some("3")));
        assert!(policy.has_retention());
        assert_eq!(policy.interval("backup"), Some(Interval::Every(Duration::from_secs(86_400))));
        assert_eq!(policy.interval("drill"), Some(Interval::Every(Duration::from_secs(36 * 3600))));
        assert_eq!((policy.interval("check"), policy.interval("copy")), (Some(Interval::Never), None));
        assert_eq!((policy.check_data(), policy.drill_oldest()), (CheckData::Part("2/7"), Some(0)));
    }

    #[test]
    fn nothing_is_forgotten_without_a_rule_that_keeps_something() {
        for text in ["", "keep-sets = 3", "keep-daily = 0", "keep-tag = []"] {
            assert!(!read(text).unwrap().has_retention(), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_is_expected() {
        for (text, expected) in [
            ("keep-dayly = 7", "nearest known key is \"keep-daily\""),
            ("keep-daily = \"7\"", "whole number"),
            ("keep-daily = -1", "whole number"),
            ("keep-within = \"6m\"", "a month is about 31d"),
            ("keep-sets = 0", "the least is 1"),
            ("keep-tag = \"a\"", "list of strings"),
            ("drill = 7", "weekly"),
            ("drill = \"fortnightly\"", "weekly"),
            ("check-data = \"much\"", "slice"),
            ("report = true", "path"),
            ("report = \"-\"", "path"),
            ("report-redact = \"yes\"", "true or false"),
        ] {
            assert!(read(text).unwrap_err().contains(expected), "{text}: {:?}", read(text));
        }
    }
}
