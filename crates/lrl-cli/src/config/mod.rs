//! `lrl.toml`: found, read, checked against the flags, and laid under them as defaults. What a key means, and of which
//! type it is, comes from the flag of the same name in `args`; there is no second list.

pub mod policy;
mod watch;

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::builder::OsStr;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use lrl_store::ops::drill::Assertion;
use serde::Serialize;
use toml::de::{DeTable, DeValue};

use self::policy::Policy;
use self::watch::Watch;
use crate::args;
use crate::site::tables::{self, Tables};
use crate::trust::{self, Refusal};

/// The name of the file.
pub const FILE: &str = "lrl.toml";
/// The key whose relative path is below the file's directory.
const ROOT: &str = "root";
/// A file that was named by mistake must not fill the memory.
const MOST_BYTES: u64 = 1 << 20;

/// What a configuration file sets.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct File {
    /// The file, none if there is none.
    pub path: Option<PathBuf>,
    /// Key → values; one, or a list.
    values: BTreeMap<String, Vec<String>>,
    /// `[[database]]`, `[[files]]`, `[[check]]`.
    tables: Tables,
    /// The table `[policy]`.
    pub policy: Policy,
    /// The table `[watch]`.
    watch: Watch,
}

impl File {
    /// Returns the tables that describe a site.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Returns the value of a key that is no list.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.first().map(String::as_str)
    }

    /// Returns the values of a key that is a list.
    pub fn list(&self, key: &str) -> Option<&[String]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// Returns whether the file sets this key.
    pub fn sets(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

/// Where a setting's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "origin", content = "from", rename_all = "lowercase")]
pub enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Environment(String),
    /// This file.
    File(PathBuf),
    /// lrl itself.
    Default,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The key in the file, the flag without its dashes.
    pub key: String,
    /// Its values; none if it is not set, several for a list.
    pub values: Vec<String>,
    /// Where they come from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Reads the file that `--config` names, else `./lrl.toml`, else the user's; errors are texts for the user. One that nobody named says what
/// lrl runs, stores and leaves out, so it counts only if nobody but the caller and root can have written it; ignoring it would be wrong too.
pub fn load(named: Option<&Path>, user_directory: Option<&Path>) -> Result<File, String> {
    let unreadable = |path: &Path, e: io::Error| format!("cannot read {}: {e}", path.display());
    if let Some(path) = named {
        return read(path, &text(path).map_err(|e| unreadable(path, e))?);
    }
    let candidates = [Some(Path::new(".").join(FILE)), user_directory.map(|dir| dir.join("lrl").join(FILE))];
    for path in candidates.into_iter().flatten() {
        match path.symlink_metadata() {
            Ok(_) => {}
            // `sudo -u` and services keep the `HOME` of another user: what this one cannot even look for is not its own.
            Err(e)
                if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied) =>
            {
                continue;
            }
            Err(e) => return Err(unreadable(&path, e)),
        }
        let file = trust::open_unnamed(&path).map_err(|refusal| match refusal {
            Refusal::Io(e) => unreadable(&path, e),
            Refusal::Untrusted(why) => format!(
                "{path} was found, but is not trusted: {why}. Settings decide which programs lrl runs and where it stores; if these are \
                 meant, name them with `--config {path}`",
                path = path.display()
            ),
            Refusal::Interrupted => format!("reading {} was interrupted", path.display()),
        })?;
        return read(&path, &text_of(file).map_err(|e| unreadable(&path, e))?);
    }
    Ok(File::default())
}

fn text(path: &Path) -> io::Result<String> {
    text_of(std::fs::File::open(path)?)
}

fn text_of(file: std::fs::File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is larger than any lrl.toml"));
    }
    Ok(text)
}

/// Returns the user's configuration directory: `$XDG_CONFIG_HOME`, else `~/.config`.
pub fn user_directory() -> Option<PathBuf> {
    // The specification ignores a relative one.
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))
}

/// Checks a file's text against the flags.
pub fn read(path: &Path, text: &str) -> Result<File, String> {
    let place = |offset: usize| {
        let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        format!("{}:{line}", path.display())
    };
    let table = DeTable::parse(text).map_err(|e| {
        format!("{}: {}", place(e.span().map_or(0, |span| span.start)), e.message().replace('\n', ", "))
    })?;
    let command = args::command();
    let (mut values, mut tables, mut policy) = (BTreeMap::new(), Tables::default(), Policy::default());
    let mut watch = Watch::default();
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        if tables::NAMES.contains(&name) {
            tables.read(key.get_ref(), value, &place)?;
            continue;
        }
        if let (policy::TABLE, Some(table)) = (name, value.get_ref().as_table()) {
            policy = Policy::read(table, &place)?;
            continue;
        }
        if let (watch::TABLE, Some(table)) = (name, value.get_ref().as_table()) {
            watch = Watch::read(&command, table, &place)?;
            continue;
        }
        let place = place(key.span().start);
        let flag = settable(&command).find(|arg| arg.get_long() == Some(name));
        let flag = flag.ok_or_else(|| unknown(&command, name, &place))?;
        let set = values_of(flag, value.get_ref()).map_err(|wanted| format!("{place}: {name} expects {wanted}"))?;
        if is_pairs(flag) {
            for pair in set.chunks_exact(2) {
                Assertion::parse(&pair[0], &pair[1]).map_err(|reason| format!("{place}: {name}: {reason}"))?;
            }
        } else {
            for value in &set {
                probe(name, value).map_err(|reason| format!("{place}: {name} cannot be {value:?}: {reason}"))?;
            }
        }
        let set = match name {
            ROOT => set.iter().map(|root| below(path, root)).collect::<Result<_, _>>()?,
            _ => set,
        };
        values.insert(name.to_string(), set);
    }
    Ok(File { path: Some(path.to_path_buf()), values, tables, policy, watch })
}

/// Returns a root as the file means it: a relative one is below the file's directory.
fn below(file: &Path, root: &str) -> Result<String, String> {
    let Some(directory) = file.parent().filter(|dir| !matches!(dir.to_str(), Some("" | "."))) else {
        return Ok(root.to_string());
    };
    let path = if root == "." { directory.to_path_buf() } else { directory.join(root) };
    path.to_str().map(str::to_string).ok_or_else(|| {
        format!(
            "root: {} is not UTF-8, and a relative path below it cannot be a setting: give --root instead",
            path.display()
        )
    })
}

fn unknown(command: &Command, name: &str, place: &str) -> String {
    if name == policy::TABLE {
        return format!("{place}: policy is a table: write [policy] above its keys");
    }
    if policy::is_key(name) {
        return format!("{place}: {name:?} belongs into the table [policy]");
    }
    if name == watch::TABLE {
        return format!("{place}: watch is a table: write [watch] above its keys");
    }
    if watch::is_key(command, name) {
        return format!("{place}: {name:?} belongs into the table [watch]");
    }
    let known = settable(command).filter_map(Arg::get_long).chain(tables::NAMES);
    let nearest = known.min_by_key(|key| strsim::damerau_levenshtein(key, name));
    let flag_only = command.get_subcommands().flat_map(Command::get_arguments).chain(command.get_arguments());
    if flag_only.filter_map(Arg::get_long).any(|long| long == name) {
        return format!("{place}: {name:?} can only be given as a flag, not in a file");
    }
    format!("{place}: unknown key {name:?}; the nearest known key is {:?}", nearest.unwrap_or_default())
}

/// `lrl config` knows every setting's flag.
fn settable(command: &Command) -> impl Iterator<Item = &Arg> {
    let config = command.find_subcommand("config").into_iter().flat_map(Command::get_arguments);
    command.get_arguments().chain(config).filter(|arg| args::key(arg).is_some())
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), clap::ArgAction::Append)
}

/// A flag that takes two values each time is a list of pairs in the file.
fn is_pairs(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|number| number.min_values() == 2)
}

/// Returns whether its value must not be shown.
fn is_secret(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<args::values::Secret>()
}

fn values_of(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    if arg.get_value_parser().type_id() == TypeId::of::<bool>() {
        return value.as_bool().map(|on| vec![on.to_string()]).ok_or("true or false");
    }
    if arg.get_value_parser().type_id() == TypeId::of::<args::values::KeepSets>()
        && let Some(number) = value.as_integer()
    {
        return Ok(vec![number.to_string()]);
    }
    if is_pairs(arg) {
        let text = |value: &DeValue<'_>| value.as_str().map(str::to_string);
        let pair =
            |value: &DeValue<'_>| match value.as_array().map(|pair| pair.iter().map(|v| text(v.get_ref())).collect()) {
                Some(Some(pair)) => Some(pair).filter(|pair: &Vec<String>| pair.len() == 2),
                _ => None,
            };
        let pairs: Option<Vec<_>> = value.as_array().and_then(|list| list.iter().map(|v| pair(v.get_ref())).collect());
        return pairs.map(|pairs| pairs.concat()).ok_or("a list of pairs of strings, as in [[\"a\", \"b\"]]");
    }
    if !is_list(arg) {
        return value.as_str().map(|text| vec![text.to_string()]).ok_or("one string in quotes");
    }
    let texts = value.as_array().map(|list| list.iter().map(|v| v.get_ref().as_str().map(str::to_string)).collect());
    texts.flatten().ok_or("a list of strings, as in [\"a\", \"b\"]")
}

/// Lets the flag itself judge a value.
fn probe(name: &str, value: &str) -> Result<(), String> {
    let parsed = args::parse(&["lrl".into(), "config".into(), format!("--{name}={value}").into()]);
    parsed.map(drop).map_err(|e| match std::error::Error::source(&e) {
        Some(reason) => reason.to_string(),
        None => "not a value for it".into(),
    })
}

/// Parses arguments with the file below them: a flag wins over the environment, that over the file, that over the default.
pub fn parse_over(file: &File, arguments: &[OsString], first: &ArgMatches) -> Result<ArgMatches, clap::Error> {
    let values = one_place(file.values.clone(), first);
    let command = args::map_args(args::command(), &|arg| {
        let set = args::key(&arg).and_then(|key| values.get(&key)).map(Vec::as_slice);
        match set.or_else(|| of_tables_for(file, &arg)) {
            Some(set) => arg.default_values(set.iter().map(|value| OsStr::from(value.clone()))),
            None => arg,
        }
    });
    command.try_get_matches_from(arguments)
}

/// Returns the values of the tables `[policy]` and `[watch]` for a flag. The rules of `keep` count for both verbs that take them: a forget that
/// did not know those of the watch would undo them.
fn of_tables_for<'a>(file: &'a File, arg: &Arg) -> Option<&'a [String]> {
    let long = arg.get_long()?;
    let (of_policy, of_watch) = (file.policy.retention(long), file.watch.values(long));
    match (args::is_of_watch(arg), long) {
        (true, _) => of_watch.or(of_policy),
        (false, "keep") => of_policy.or(of_watch),
        (false, _) => of_policy,
    }
}

/// `out` and `backup` name the same place, the former for `lrl backup`, the latter for all others: each stands in for the
/// other, and either flag wins over both keys.
fn one_place(mut values: BTreeMap<String, Vec<String>>, first: &ArgMatches) -> BTreeMap<String, Vec<String>> {
    if first.value_source("backup") == Some(ValueSource::CommandLine) {
        values.remove("out");
    } else if let (Some(out), false) = (values.get("out").cloned(), values.contains_key("backup")) {
        values.insert("backup".into(), out);
    }
    values
}

/// Lists every setting with its value and where that comes from; `matches` are those of `lrl config`.
pub fn in_force(file: &File, matches: &ArgMatches) -> Vec<Setting> {
    let command = args::command();
    let values = one_place(file.values.clone(), matches);
    let sub = matches.subcommand().map_or(matches, |(_, sub)| sub);
    let mut settings: Vec<Setting> = settable(&command)
        .map(|arg| {
            let (id, key) = (arg.get_id().as_str(), args::key(arg).unwrap_or_default());
            let raw = sub.try_get_raw(id).ok().flatten();
            let texts: Option<Vec<String>> =
                raw.map(|raw| raw.map(|value| value.to_string_lossy().into_owned()).collect());
            let texts = texts.map(|texts| match is_pairs(arg) {
                _ if is_secret(arg) => vec!["(hidden)".into()],
                true => texts.chunks(2).map(|pair| pair.join(" ")).collect(),
                false => texts,
            });
            let origin = match (sub.value_source(id), &file.path) {
                (Some(ValueSource::CommandLine), _) => Origin::Flag,
                (Some(ValueSource::EnvVariable), _) => Origin::Environment(
                    arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                ),
                (_, Some(path)) if values.contains_key(&key) => Origin::File(path.clone()),
                _ => Origin::Default,
            };
            Setting { key, values: texts.unwrap_or_default(), origin }
        })
        .collect();
    let backup = settings.iter().find(|s| s.key == "backup").cloned();
    if let (Some(out), Some(backup)) = (settings.iter_mut().find(|s| s.key == "out" && s.values.is_empty()), backup) {
        (out.values, out.origin) = (backup.values, backup.origin);
    }
    settings.extend(of_tables(file));
    if let Some(path) = &file.path {
        let of_policy = file.policy.all().map(|(key, values)| (format!("{}.{key}", policy::TABLE), values.to_vec()));
        let of_watch = file.watch.all().map(|(key, values)| (format!("{}.{key}", watch::TABLE), values.to_vec()));
        let of_policy = of_policy.chain(of_watch);
        settings.extend(of_policy.map(|(key, values)| Setting { key, values, origin: Origin::File(path.clone()) }));
    }
    settings.sort_by(|a, b| a.key.cmp(&b.key));
    settings
}

/// Lists the tables of the file as settings, by what they select; `lrl config --expand` shows them in full.
fn of_tables(file: &File) -> Vec<Setting> {
    let Some(path) = &file.path else { return Vec::new() };
    let Tables { databases, files, checks } = &file.tables;
    let databases = databases.as_ref().map(|all| all.iter().map(|rule| rule.place.text().to_string()).collect());
    let files = files.as_ref().map(|all| all.iter().map(|rule| rule.place.text().to_string()).collect());
    let checks = checks.as_ref().map(|all| all.iter().map(|check| check.rows.clone()).collect());
    let found = tables::NAMES.into_iter().zip([databases, files, checks]);
    let setting = |(name, values): (&str, Option<Vec<String>>)| {
        Some(Setting { key: format!("[[{name}]]"), values: values?, origin: Origin::File(path.clone()) })
    };
    found.filter_map(setting).collect()
}

#[cfg(test)]
mod tests;
