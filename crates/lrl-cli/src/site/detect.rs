//! Which application's directory this is: by names, and by the tables of its database.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lrl_store::error::Error;
use lrl_store::progress::Observer;
use lrl_store::source::database::{inspect_in_use, read_header};

use super::preset::{self, Preset, Signature};

/// Directories that are tried for a `*` in a signature, or for an application below the one that was named.
const TRIED: usize = 200;

/// A preset that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The preset.
    pub preset: &'static Preset,
    /// What it was recognised by, for people.
    pub by: Vec<String>,
}

/// What a look for applications found.
#[derive(Debug, Default)]
pub struct Detected {
    /// The presets that fit best; several if none of them is more specific.
    pub best: Vec<Match>,
    /// Databases whose tables could not be read, and why.
    pub unread: BTreeMap<PathBuf, String>,
}

/// Reads each schema once.
pub struct Detector<'a> {
    scratch: &'a Path,
    observer: &'a dyn Observer,
    tables: BTreeMap<PathBuf, Result<Vec<String>, String>>,
}

impl<'a> Detector<'a> {
    /// Prepares to look; copies of databases are made below `scratch`.
    pub fn new(scratch: &'a Path, observer: &'a dyn Observer) -> Self {
        Self { scratch, observer, tables: BTreeMap::new() }
    }

    /// Looks for the application that `dir` belongs to.
    pub fn detect(&mut self, dir: &Path) -> Result<Detected, Error> {
        let mut found: Vec<Match> = Vec::new();
        for preset in preset::all() {
            if let Some(by) = self.fits(dir, &preset.signature)? {
                found.push(Match { preset, by });
            }
        }
        let most = found.iter().map(|one| one.preset.signature.conditions()).max().unwrap_or(0);
        found.retain(|one| one.preset.signature.conditions() == most);
        let unread = self.tables.iter().filter(|(path, _)| path.starts_with(dir));
        let unread = unread.filter_map(|(path, tables)| Some((path.clone(), tables.as_ref().err()?.clone())));
        Ok(Detected { best: found, unread: unread.collect() })
    }

    /// Looks for applications in the directories directly below `dir`.
    pub fn detect_below(&mut self, dir: &Path) -> Result<Vec<(PathBuf, Match)>, Error> {
        let mut found = Vec::new();
        for below in directories(dir) {
            let mut best = self.detect(&below)?.best;
            if best.len() == 1 {
                found.extend(best.pop().map(|one| (below, one)));
            }
        }
        Ok(found)
    }

    /// Returns what the signature is fulfilled by, if it is.
    fn fits(&mut self, dir: &Path, signature: &Signature) -> Result<Option<Vec<String>>, Error> {
        let is_there = |name: &String| fs::symlink_metadata(dir.join(name)).is_ok();
        if !signature.files.iter().all(is_there) {
            return Ok(None);
        }
        let any = signature.any.iter().find(|name| is_there(name));
        if any.is_none() && !signature.any.is_empty() {
            return Ok(None);
        }
        let mut by: Vec<String> = signature.files.iter().chain(any).cloned().collect();
        if let Some(pattern) = &signature.database {
            let Some(path) = expand(dir, pattern).into_iter().find(|path| matches!(read_header(path), Ok(Some(_))))
            else {
                return Ok(None);
            };
            let shown = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            if signature.tables.is_empty() {
                by.push(shown);
            } else {
                let Ok(tables) = self.tables(&path)? else { return Ok(None) };
                if !signature.tables.iter().all(|table| tables.contains(table)) {
                    return Ok(None);
                }
                by.push(format!("{shown} with the tables {}", signature.tables.join(", ")));
            }
        }
        Ok(Some(by))
    }

    fn tables(&mut self, path: &Path) -> Result<&Result<Vec<String>, String>, Error> {
        if !self.tables.contains_key(path) {
            let tables = match inspect_in_use(path, self.scratch, self.observer, |inspector| inspector.tables()) {
                Ok(tables) => Ok(tables.names),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(error) => Err(error.to_string()),
            };
            self.tables.insert(path.to_path_buf(), tables);
        }
        Ok(&self.tables[path])
    }
}

/// Returns the paths that a signature's path with `*` for whole components stands for; a bounded number.
fn expand(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut paths = vec![dir.to_path_buf()];
    for part in pattern.split('/') {
        paths = match part {
            "*" => paths.iter().flat_map(|path| directories(path)).take(TRIED).collect(),
            name => paths.into_iter().map(|path| path.join(name)).collect(),
        };
    }
    paths
}

/// Lists the directories directly below, sorted; a bounded number, and none behind links.
fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut paths: Vec<PathBuf> = directories.take(TRIED).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
