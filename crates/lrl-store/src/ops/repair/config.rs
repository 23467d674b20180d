//! Rebuilds a config that is damaged or gone. But for its id, a plain store's config says nothing that its objects do not show.

use super::report::Moved;
use crate::backend::Payload;
use crate::error::{Error, Result};
use crate::format::config::{self, Config};
use crate::id::ChunkId;
use crate::ops::check::Report;
use crate::store::Store;

/// Writes the config again; returns where the damaged one is, if there was one. Refuses where nothing shows that the store is plain.
pub(crate) fn make_again(store: &Store, found: &Report) -> Result<Option<Moved>> {
    let backend = store.storage();
    let object = backend.object_location("config");
    let old = match backend.read("config") {
        Ok(bytes) => Some(bytes),
        Err(Error::Missing { .. }) => None,
        Err(error) => return Err(error),
    };
    // Documents of snapshots are plain JSON of format 1 only in a plain store of format 1.
    if found.checked.snapshots == 0 {
        return Err(Error::refused(format!(
            "{object} is damaged, and no snapshot can be read that shows what it said: nothing was changed; bring it back from a copy of \
             the store"
        )));
    }
    let names = store.snapshot_names(None)?;
    let id =
        names.first().map(|name| ChunkId::of(name.id.as_bytes())).ok_or_else(|| Error::corrupt(&object, "is gone"))?;
    let sealed = backend.keys().map(|keys| Config::encrypted(keys.store_id()));
    let config = match (sealed, old.as_deref().map(config::read_damaged)) {
        (_, Some(damaged)) if damaged.has_features => {
            return Err(Error::refused(format!(
                "{object} is damaged, and speaks of a feature that this lrl does not know: nothing was changed; bring it back from a copy \
                 of the store, or use a newer lrl"
            )));
        }
        // That its documents open with the keys shows what it was.
        (Some(sealed), _) => sealed,
        (None, Some(damaged)) => damaged.config(*id.as_bytes()),
        (None, None) => Config::new(*id.as_bytes()),
    };
    let aside = match &old {
        Some(bytes) => Some(Moved { object: "config".into(), to: store.copy_to_quarantine("config", bytes)? }),
        None => None,
    };
    backend.put("config", Payload::Bytes(&config::encode(&config)?))?;
    Ok(aside)
}
