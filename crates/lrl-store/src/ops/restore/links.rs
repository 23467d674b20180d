//! Which symbolic links are followed on the way to a target.

use serde::{Deserialize, Serialize};

/// Which symbolic links are followed on the way to a target. Each must be one that nobody else could have planted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Links {
    /// The first component: in the manual's layout that is the database or a directory of uploads.
    #[default]
    First,
    /// None: nothing is written outside the directory.
    Never,
    /// Those on the way; one at the target itself is what is replaced.
    Way,
    /// Those on the way, and one at the target itself.
    All,
}

impl Links {
    /// Returns whether these are the rules of a site, where any path below the root may be a target.
    pub(crate) fn is_of_site(&self) -> bool {
        *self != Self::First
    }

    /// Returns whether a link is followed at this component, counted from 0.
    pub(crate) fn follows(self, at: usize, is_last: bool) -> bool {
        match self {
            Self::First => at == 0,
            Self::Never => false,
            Self::Way => !is_last,
            Self::All => true,
        }
    }
}
