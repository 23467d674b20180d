//! Flags over the file over the preset: the one description of a site that results.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use lrl_store::store::is_source_name;

use super::model::Site;
use super::preset::{self, Preset};
use super::rules::{DatabaseRule, FilesRule, Place};
use crate::config::File;

/// The preset whose site may have the manual's layout, which needs no root.
const LAB: &str = "lab";

/// Returns the name of a directory as the name of a source.
fn name_of(root: &Path) -> Option<String> {
    let real = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = real.file_name()?.to_string_lossy().chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    Some(name).filter(|name| is_source_name(name))
}

/// As [`site`], of the command line as a whole.
pub fn of_verb(matches: &ArgMatches, file: &File) -> Result<Site, String> {
    site(matches.subcommand().map_or(matches, |(_, matches)| matches), file)
}

/// Merges what the flags, the file and the preset say; `matches` are those of the verb, with the file's settings below them. A table or
/// list of the file replaces the preset's, a flag replaces the file's. Errors are texts for the user.
pub fn site(matches: &ArgMatches, file: &File) -> Result<Site, String> {
    let flag =
        |id: &str| matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine);
    // A verb without the flag has the file's value all the same.
    let root = matches.try_get_one::<PathBuf>("root").ok().flatten().cloned();
    let root = root.or_else(|| file.value("root").map(PathBuf::from));
    let app = matches.try_get_one::<&'static Preset>("app").ok().flatten().copied();
    let app = app.or_else(|| preset::named(file.value("app")?));
    let source = matches.try_get_one::<String>("source").ok().flatten().cloned();
    let is_named = file.sets("source") || matches.value_source("source") != Some(ValueSource::DefaultValue);
    let source = source.filter(|_| is_named);
    if flag("root") && flag("data_dir") {
        return Err("--root and --data-dir name two places: give one of them".into());
    }
    // This flag wins over what the file describes, and names a directory in the manual's layout.
    if root.is_some() && flag("data_dir") {
        return Ok(Site { source, ..Site::default() });
    }
    let places =
        |id: &str| -> Option<Vec<Place>> { Some(matches.try_get_many::<Place>(id).ok().flatten()?.cloned().collect()) };
    let database = |place| DatabaseRule { place, require_tables: Vec::new() };
    let files = |place| FilesRule { place, exclude: Vec::new(), secret: Vec::new() };
    let databases: Option<Vec<_>> = places("database").map(|places| places.into_iter().map(database).collect());
    let files: Option<Vec<_>> = places("files").map(|places| places.into_iter().map(files).collect());
    let plain = matches.try_get_many::<String>("plain").ok().flatten().map(|patterns| patterns.cloned().collect());
    // An empty list of the file leaves no value, but it is meant.
    let plain: Option<Vec<String>> = plain.or_else(|| file.list("plain").map(<[String]>::to_vec));
    let tables = file.tables();
    let described = [
        ("--database", databases.is_some()),
        ("--files", files.is_some()),
        ("[[database]]", tables.databases.is_some()),
        ("[[files]]", tables.files.is_some()),
        ("plain", plain.is_some()),
        ("app", app.is_some_and(|app| app.name != LAB)),
    ];
    if root.is_none()
        && let Some((name, _)) = described.iter().find(|(_, is_given)| *is_given)
    {
        return Err(format!(
            "{name} describes what is below a root: name it with --root DIR, or with root in lrl.toml"
        ));
    }
    let preset = app.map(|app| &app.tables);
    // Without a root the lab's preset adds its checks, and nothing else.
    let below = preset.filter(|_| root.is_some());
    Ok(Site {
        databases: databases
            .or_else(|| tables.databases.clone())
            .or_else(|| below?.databases.clone())
            .unwrap_or_default(),
        files: files.or_else(|| tables.files.clone()).or_else(|| below?.files.clone()).unwrap_or_default(),
        plain: plain.or_else(|| Some(app.filter(|_| root.is_some())?.plain.clone())).unwrap_or_default(),
        checks: tables.checks.clone().or_else(|| preset?.checks.clone()).unwrap_or_default(),
        source: source.or_else(|| Some(app?.name.clone())).or_else(|| name_of(root.as_deref()?)),
        root,
        app,
    })
}
