//! What a site is: a root, the databases and files below it, and the checks that its rows allow. Values only.

use std::path::PathBuf;

use super::preset::Preset;
use super::rules::{DatabaseRule, FilesRule, RowsCheck};

/// A site, as flags, `lrl.toml` and the preset describe it together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Site {
    /// The directory that all paths are below. `None`: the manual's layout.
    pub root: Option<PathBuf>,
    /// The preset that fills in what neither flags nor the file say.
    pub app: Option<&'static Preset>,
    /// Databases that must be there; empty: whatever has SQLite's header below the root.
    pub databases: Vec<DatabaseRule>,
    /// What is stored as files; empty: everything below the root.
    pub files: Vec<FilesRule>,
    /// Patterns of SQLite files that are stored as ordinary files.
    pub plain: Vec<String>,
    /// Queries whose rows name files.
    pub checks: Vec<RowsCheck>,
    /// The source that a flag, a variable or the file names, else the preset's name.
    pub source: Option<String>,
}

impl Site {
    /// Returns whether this is the manual's layout: `lrl.db`, `assets/` and `storage/`.
    pub fn is_manual(&self) -> bool {
        self.root.is_none()
    }
}
