//! The files of what is restored, as far as planning asks for them: of a snapshot's list, or of a set's archive.

use super::target::Target;
use crate::error::Result;

/// The files of what is restored.
pub(super) trait Listing {
    /// Returns what is directly in a directory (empty: the root), and whether each is a directory.
    fn children(&self, dir: &[u8]) -> Result<Vec<(Vec<u8>, bool)>>;

    /// Looks for a file or directory; returns whether it is a directory.
    fn find(&self, path: &[u8]) -> Result<Option<bool>>;

    /// Finds where links in place lead to what is a directory here, or to a database, at and below a path whose target is this one.
    fn links_in_place(&self, path: &[u8], target: &Target) -> Result<Vec<Vec<u8>>>;
}
