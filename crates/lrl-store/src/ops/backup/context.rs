//! What every step of one run has in common.

use super::options::Options;
use crate::progress::Observer;
use crate::store::Store;
use crate::store::run_cache::RunCache;
use crate::store::write::WriteSession;

/// What every step of one run has in common.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Context<'a> {
    /// What the run adds to the store; knows what may be reused unread.
    pub session: &'a WriteSession<'a>,
    /// What earlier runs of this machine have recorded; `None` where there is no cache.
    pub cache: Option<&'a RunCache>,
    pub options: &'a Options,
    pub observer: &'a dyn Observer,
}

impl<'a> Context<'a> {
    pub(crate) fn store(&self) -> &'a Store {
        self.session.store()
    }
}
