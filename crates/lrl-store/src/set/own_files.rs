//! Files and directories that are lrl's own, by their names: no data of the site in which they are.

use std::path::Path;

use super::layout::{ASSETS, MANIFEST, MISSING, database_stamp, is_stamp};

/// Returns whether a directory is a store.
pub fn is_store(dir: &Path) -> bool {
    dir.join("config").is_file() && ["packs", "index", "snapshots"].iter().any(|name| dir.join(name).is_dir())
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
