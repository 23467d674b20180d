//! Documents with blocks that a test generates: compared, or rewritten if `UPDATE_DOCS` is set.

use std::fs;
use std::path::PathBuf;

use crate::common::repository;

/// A document of the repository.
pub struct Document {
    path: PathBuf,
    text: String,
    stale: Vec<String>,
}

impl Document {
    /// Reads it; the path begins at the repository's root.
    pub fn open(path: &str) -> Self {
        let path = repository().join(path);
        let text = fs::read_to_string(&path).unwrap();
        Self { path, text, stale: Vec::new() }
    }

    /// Notes whether the block behind `<!-- generated: name -->` holds this text.
    #[track_caller]
    pub fn expect(&mut self, name: &str, text: &str) {
        let mark = format!("<!-- generated: {name} -->\n```text\n");
        let from = self.text.find(&mark).unwrap_or_else(|| panic!("{} has no block {name}", self.path.display()));
        let from = from + mark.len();
        let to = from + self.text[from..].find("```").unwrap();
        if self.text[from..to] != *text {
            self.text.replace_range(from..to, text);
            self.stale.push(name.into());
        }
    }

    /// Fails if a block is out of date, or rewrites the document.
    #[track_caller]
    pub fn close(self) {
        if self.stale.is_empty() {
            return;
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&self.path, &self.text).unwrap();
        } else {
            panic!(
                "{} is out of date in {:?}: run UPDATE_DOCS=1 cargo test -p lrl-cli",
                self.path.display(),
                self.stale
            );
        }
    }
}
