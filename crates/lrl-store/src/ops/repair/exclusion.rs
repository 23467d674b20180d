//! What keeps other runs that remove out of a store while it is repaired: the lock of a directory, or in a bucket the lease of a prune.
//! Backups go on beside a repair of a bucket: what they add stays, and what they relied on that is lost is stored again by the next one.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::fs::lock::LockMode;
use crate::hint::{AddHint, Hint};
use crate::progress::Observer;
use crate::store::Store;
use crate::store::deletion::prune_lease::{Now, PruneLease};
use crate::time::Time;

/// Who repairs a store in a bucket.
pub struct Claimant {
    /// The store with what this machine caches of it: a lease that a killed run of this machine left is known by that.
    pub backend: Arc<dyn Backend>,
    /// For people.
    pub owner: String,
    /// Random hexadecimal digits.
    pub token: String,
    /// Nobody else prunes or repairs this store; needed where the backend's `put_if_absent` is not conditional.
    pub only_pruner: bool,
    /// The moment of the run.
    pub now: Time,
}

impl Claimant {
    /// Opens the store for the lease only, whatever state its config is in.
    pub(super) fn open(&self, observer: &dyn Observer) -> Result<Store> {
        Store::examine(Arc::clone(&self.backend), LockMode::ReadOnly, Duration::ZERO, observer).map(|(store, _)| store)
    }

    /// Takes the lease.
    pub(super) fn claim<'s>(
        &self,
        store: &'s Store,
        wait: Duration,
        observer: &dyn Observer,
    ) -> Result<Option<PruneLease<'s>>> {
        let (keeps_first, there) = store.probe_lease(&self.token)?;
        if !keeps_first && !self.only_pruner {
            let text = format!(
                "{}: this server does not keep a repair and a prune apart (it ignores If-None-Match); nothing was changed",
                store.storage().location()
            );
            return Err(Error::refused(text.hint(Hint::OnlyPruner)));
        }
        let now = Now { here: self.now, there };
        let claim = || store.claim(&self.owner, &self.token, &now, wait, &|| observer.interrupted());
        keeps_first.then(claim).transpose()
    }
}

/// What a repair holds while it runs.
pub(super) struct Exclusion<'s>(pub(super) Option<PruneLease<'s>>);

impl Exclusion<'_> {
    /// Fails where another run has taken the store over, because this one took so long.
    pub(super) fn check(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), PruneLease::check)
    }
}
