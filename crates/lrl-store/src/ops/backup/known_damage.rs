//! What the store is known to have lost, before a run relies on it.

use crate::error::Result;
use crate::id::{PackId, RepairId};
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem};
use crate::store::run_cache::RunCache;
use crate::store::{MissingPacks, Store};

/// What a run knows of the store's losses before it relies on it.
#[derive(Default)]
pub(in crate::ops) struct KnownLosses {
    /// Packs that the index names and that cannot be whole.
    pub lost: Vec<PackId>,
    /// Records of repairs that found something lost.
    pub repairs: Vec<RepairId>,
}

/// Looks for packs that are lost; writes an index that is lost again. Of packs that the cache has seen whole the length alone is compared, if it is
/// believed.
pub(in crate::ops) fn survey(
    store: &Store,
    (cache, is_believed): (Option<&RunCache>, bool),
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<KnownLosses> {
    let MissingPacks { lost, unlisted, repairs } = store.find_missing(cache, is_believed)?;
    let listed_again = store.list_again(unlisted, observer)?;
    if listed_again > 0 {
        let path = store.storage().object_location("index");
        let reason =
            format!("did not list {listed_again} packs that snapshots name: an index was lost, and is written again");
        report(problems, observer, path.as_ref(), reason, false);
    }
    Ok(KnownLosses { lost, repairs })
}
