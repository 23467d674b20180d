//! Packs that the index names but that are not there, or are cut short: one look at each file's end, before a backup relies on them.

use super::{Store, pack_name};
use crate::error::{Error, Result};
use crate::format::pack::{FOOTER_LEN, directory_offset};
use crate::id::PackId;

impl Store {
    /// Returns the packs that cannot be whole, in order.
    pub(crate) fn lost_packs(&self) -> Result<Vec<PackId>> {
        let mut lost = Vec::new();
        for index in self.indexes() {
            for pack in index.packs() {
                if !self.has_footer(pack)? {
                    lost.push(*pack);
                }
            }
        }
        lost.sort_unstable();
        lost.dedup();
        Ok(lost)
    }

    fn has_footer(&self, pack: &PackId) -> Result<bool> {
        let name = pack_name(pack);
        let footer = self.storage.len(&name).and_then(|len| {
            let at = len.checked_sub(FOOTER_LEN as u64).ok_or_else(|| Error::corrupt(&name, "ends too early"))?;
            directory_offset(&self.storage.read_range(&name, at, FOOTER_LEN)?, len, &name)
        });
        match footer {
            Ok(_) => Ok(true),
            Err(Error::Missing { .. } | Error::Corrupt { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
