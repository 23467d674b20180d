//! Files and directories that are lrl's own, by their names: no data of the site in which they are.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::layout::{ASSETS, MANIFEST, MISSING, database_stamp, is_stamp};
use crate::error::{Error, Result};
use crate::format::config;

/// The config of a store has some hundred bytes.
const MOST_BYTES: u64 = 64 << 10;

/// Returns whether a directory is a store, by its config. One whose config is damaged is none.
pub fn is_store(dir: &Path) -> bool {
    let path = dir.join("config");
    let mut bytes = Vec::new();
    let read = match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => File::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)),
        _ => return false,
    };
    read.is_ok() && matches!(config::decode(&bytes, "config"), Ok(_) | Err(Error::Unsupported { .. }))
}

/// Refuses a path that is a store or in one: what is written there could take the place of the store's own.
///
/// # Errors
/// [`Error::Refused`].
pub fn refuse_in_store(path: &Path) -> Result<()> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    // What does not exist yet is no store.
    let real = absolute.ancestors().find_map(|dir| fs::canonicalize(dir).ok()).unwrap_or(absolute);
    match real.ancestors().find(|dir| is_store(dir)) {
        Some(store) => Err(Error::refused(format!(
            "{} is in the store {}: nothing else is written there; name another directory",
            path.display(),
            store.display()
        ))),
        None => Ok(()),
    }
}

/// Returns the pattern, in gitignore syntax, of the files of sets to which a name belongs; `None` if it is no set's.
pub fn set_pattern(name: &str) -> Option<&'static str> {
    if database_stamp(name).is_some_and(is_stamp) {
        return Some(if name.starts_with("lrl_db-") { "lrl_db-*.sqlite" } else { "lrl_db_*.sqlite" });
    }
    let kinds = [(ASSETS, "lrl_assets_*.tar.gz"), (MANIFEST, "backup_manifest_*.json"), (MISSING, "lrl_missing_*.txt")];
    kinds.into_iter().find(|(kind, _)| kind.stamp(name).is_some_and(is_stamp)).map(|(_, pattern)| pattern)
}

#[cfg(test)]
mod tests {
    use super::set_pattern;

    #[test]
    fn only_names_of_sets_are_taken_for_such() {
        for (name, pattern) in [
            ("lrl_db_20260114_120000.sqlite", Some("lrl_db_*.sqlite")),
            ("lrl_db-users-a.db_20260114_120000.sqlite", Some("lrl_db-*.sqlite")),
            ("lrl_assets_20260114_120000.tar.gz", Some("lrl_assets_*.tar.gz")),
            ("backup_manifest_20260114_120000.json", Some("backup_manifest_*.json")),
            ("lrl_missing_20260114_120000.txt", Some("lrl_missing_*.txt")),
            ("lrl.db", None),
            ("lrl_db_new.sqlite", None),
            ("lrl_db_20260114.sqlite", None),
            ("lrl_assets_of_mine.tar.gz", None),
        ] {
            assert_eq!(set_pattern(name), pattern, "{name}");
        }
    }
}
