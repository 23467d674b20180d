//! Whether names are shown: a page for others may leave out those of paths, machines, sources, tables and tags.

/// What becomes of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// They are shown.
    Shown,
    /// Something else stands in their place.
    Redacted,
}

impl Names {
    /// Returns the name, or what stands in its place.
    pub fn or(self, name: impl Into<String>, stand_in: impl Into<String>) -> String {
        match self {
            Self::Shown => name.into(),
            Self::Redacted => stand_in.into(),
        }
    }

    /// Returns whether names are left out.
    pub fn are_redacted(self) -> bool {
        self == Self::Redacted
    }
}
