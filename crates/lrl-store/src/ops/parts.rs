//! Which parts of a snapshot are needed, or good.

use crate::format::snapshot::Snapshot;

/// What the snapshot must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// A database.
    pub database: bool,
    /// Uploads.
    pub uploads: bool,
}

impl Need {
    /// Returns what of it a snapshot holds; all that it holds where nothing is needed.
    #[must_use]
    pub fn of(self, snapshot: &Snapshot) -> Self {
        let all = self == Self::default();
        Self {
            database: (all || self.database) && snapshot.has_databases(),
            uploads: (all || self.uploads) && snapshot.files.is_some(),
        }
    }

    /// Returns the words that follow "snapshot" in a message: " with a database", …
    pub(super) fn with(self) -> &'static str {
        match (self.database, self.uploads) {
            (true, true) => " with both parts",
            (true, false) => " with a database",
            (false, true) => " with uploads",
            (false, false) => "",
        }
    }

    /// Returns whether a snapshot holds what is needed.
    pub fn is_met(self, snapshot: &Snapshot) -> bool {
        (!self.database || snapshot.has_databases()) && (!self.uploads || snapshot.files.is_some())
    }
}
