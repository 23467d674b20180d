//! How to prune, as `lrl prune` and `lrl forget --prune` take it.

use crate::args::{BucketArgs, UnusedArgs};

/// How to prune.
pub struct Settings<'a> {
    /// How much waste stays.
    pub unused: &'a UnusedArgs,
    /// What a store in a bucket needs.
    pub bucket: &'a BucketArgs,
    /// Changes nothing.
    pub dry_run: bool,
}
