//! Chunks as they are encoded, for who keeps them so: the one way to bytes that are not decoded.

use super::index::Place;
use super::{Store, pack_name};
use crate::error::Result;

impl Store {
    /// Reads the encoded bytes of one copy of a chunk; only decoding shows that they are whole ([`Store::read_copy`]).
    pub(crate) fn encoded(&self, place: &Place) -> Result<Vec<u8>> {
        self.storage().read_range(&pack_name(&place.pack), place.offset, place.record.encoded_len as usize)
    }
}
