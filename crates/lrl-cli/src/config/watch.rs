//! The table `[watch]` of `lrl.toml`: when `lrl watch` acts. Its keys are the flags under the heading [`args::watch::HEADING`]; there is no second list.

use std::collections::BTreeMap;

use clap::{Arg, Command};
use toml::de::DeTable;

use crate::args;

/// The name of the table.
pub const TABLE: &str = "watch";

/// What the table sets.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Key → its one value, checked.
    values: BTreeMap<String, Vec<String>>,
}

impl Watch {
    /// Reads the table; `place` turns the offset of a key into file and line. Errors are texts for the user.
    pub fn read(command: &Command, table: &DeTable<'_>, place: &dyn Fn(usize) -> String) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let (name, place) = (key.get_ref().as_ref(), place(key.span().start));
            if !is_key(command, name) {
                return Err(format!(
                    "{place}: unknown key {name:?} in [watch]; the nearest known key is {:?}",
                    nearest(command, name)
                ));
            }
            let text =
                value.get_ref().as_str().ok_or_else(|| format!("{place}: {name} expects one string in quotes"))?;
            let parsed = args::parse(&["lrl".into(), "watch".into(), format!("--{name}={text}").into()]);
            parsed.map_err(|error| match std::error::Error::source(&error) {
                Some(reason) => format!("{place}: {name} cannot be {text:?}: {reason}"),
                None => format!("{place}: {name} cannot be {text:?}"),
            })?;
            values.insert(name.to_string(), vec![text.to_string()]);
        }
        Ok(Self { values })
    }

    /// Returns the value for a flag of `lrl watch`, where the table sets it.
    pub fn values(&self, flag: &str) -> Option<&[String]> {
        self.values.get(flag).map(Vec::as_slice)
    }

    /// Returns every key that the table sets, with its value.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.values.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }
}

fn keys(command: &Command) -> impl Iterator<Item = &str> {
    let flags = command.find_subcommand("watch").into_iter().flat_map(Command::get_arguments);
    flags.filter(|arg| args::is_of_watch(arg)).filter_map(Arg::get_long)
}

/// Returns whether a key of the file belongs into this table.
pub fn is_key(command: &Command, name: &str) -> bool {
    keys(command).any(|known| known == name)
}

fn nearest<'a>(command: &'a Command, name: &str) -> &'a str {
    keys(command).min_by_key(|known| strsim::damerau_levenshtein(known, name)).unwrap_or_default()
}
