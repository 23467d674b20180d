//! A query whose rows name files.

use crate::source::database::may_give_md5;

/// A query whose rows name files that must be there: it gives `path`, and may give `size` and one of `sha256`, `md5` (hexadecimal) and
/// `md5_base64`, as columns of these names in any order. Paths are below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsCheck {
    /// What it is called in messages.
    pub name: Option<String>,
    /// The database that it runs in, by its path in the snapshot; `None` is the first.
    pub database: Option<Vec<u8>>,
    /// The query.
    pub query: String,
}

impl RowsCheck {
    /// Returns its name for people: the beginning of the query where it has no other.
    pub(crate) fn shown(&self) -> String {
        const MOST: usize = 60;
        let text = self.name.as_ref().unwrap_or(&self.query);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// Returns whether files have to be hashed with MD5 for it.
    pub(crate) fn wants_md5(&self) -> bool {
        may_give_md5(&self.query)
    }
}
