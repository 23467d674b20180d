//! Typed 32-byte identifiers. The only user of BLAKE3: nothing else in the engine hashes with it directly.

use std::fmt;

use crate::error::{Error, Result};
use crate::units;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the 32 raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Computes the id of `bytes` (BLAKE3, 32 bytes).
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }

            /// Parses 64 lower-case hexadecimal digits.
            ///
            /// # Errors
            ///
            /// [`Error::Corrupt`] for any other text.
            pub(crate) fn from_hex(text: &str) -> Result<Self> {
                parse_hex(text).map(Self).ok_or_else(|| Error::Corrupt {
                    object: text.chars().take(80).collect(),
                    detail: "is not an id of 64 hexadecimal digits".into(),
                })
            }

            /// Returns the first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&units::hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                parse_hex(&text).map(Self).ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
            }
        }
    };
}

id_type!(
    /// Names a chunk by its plain bytes, however it is encoded.
    ChunkId
);
id_type!(
    /// Names a pack file by all of its bytes.
    PackId
);
id_type!(
    /// Names an index file by all of its bytes before its closing digest.
    IndexId
);
id_type!(
    /// Names a snapshot by its document's bytes.
    SnapshotId
);
id_type!(
    /// Names a drill's record by its document's bytes.
    DrillId
);
id_type!(
    /// Names a repair's record by its document's bytes.
    RepairId
);
id_type!(
    /// Names a check's record by its document's bytes.
    CheckId
);
id_type!(
    /// Names a list of candidates for deletion by its document's bytes.
    PendingId
);

impl ChunkId {
    /// Returns its first bytes as a number. Ids are digests, so these numbers are spread evenly.
    pub(crate) fn leading_value(&self) -> u64 {
        u64::from_be_bytes(*self.0.first_chunk().unwrap_or(&[0; 8]))
    }
}

/// How the bytes of one store get their ids: BLAKE3, in an encrypted store keyed, so that nobody without the key can confirm a guess.
#[derive(Clone, Default)]
pub struct Ids(Option<[u8; 32]>);

impl Ids {
    /// Names by keyed BLAKE3.
    pub(crate) const fn keyed(key: [u8; 32]) -> Self {
        Self(Some(key))
    }

    /// Returns whether both give the same bytes the same id.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        *self.0.as_ref().map_or_else(|| blake3::hash(bytes), |key| blake3::keyed_hash(key, bytes)).as_bytes()
    }

    /// Names a chunk by its plain bytes.
    pub fn chunk(&self, plain: &[u8]) -> ChunkId {
        ChunkId(self.digest(plain))
    }

    /// Names a snapshot by its document's plain bytes.
    pub(crate) fn snapshot(&self, document: &[u8]) -> SnapshotId {
        SnapshotId(self.digest(document))
    }

    /// Names a drill's record by its plain bytes.
    pub(crate) fn drill(&self, document: &[u8]) -> DrillId {
        DrillId(self.digest(document))
    }

    /// Names a check's record by its plain bytes.
    pub(crate) fn check(&self, document: &[u8]) -> CheckId {
        CheckId(self.digest(document))
    }

    /// Names a repair's record by its plain bytes.
    pub(crate) fn repair(&self, document: &[u8]) -> RepairId {
        RepairId(self.digest(document))
    }

    /// Names a list of candidates by its plain bytes.
    pub(crate) fn pending(&self, document: &[u8]) -> PendingId {
        PendingId(self.digest(document))
    }
}

/// Derives a key for one purpose, which `context` names, from secret `material` (BLAKE3 `derive_key`).
pub(crate) fn derive_key(context: &str, material: &[u8]) -> [u8; 32] {
    blake3::derive_key(context, material)
}

/// Fills `out` with bytes that the key alone determines (BLAKE3's extended output).
pub(crate) fn expand(key: &[u8; 32], out: &mut [u8]) {
    blake3::Hasher::new_keyed(key).finalize_xof().fill(out);
}

/// Returns the BLAKE3 of `bytes`. What is in memory is hashed so: a [`Hasher`] takes twice as long for a few KiB.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Returns the keyed BLAKE3 of `bytes`.
pub(crate) fn keyed(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, bytes).as_bytes()
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.bytes().any(|digit| digit.is_ascii_uppercase()) { None } else { units::digest(text) }
}

/// Accumulates a BLAKE3 digest over several writes.
#[derive(Default, Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts an empty digest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes to the digest.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Returns the 32-byte digest of all that was added.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::ChunkId;

    #[test]
    fn hex_round_trips_and_refuses_everything_else() {
        let id = ChunkId::of(b"abc");
        assert_eq!(ChunkId::from_hex(&id.to_string()).unwrap(), id);
        for bad in ["", "abc", &id.to_string().to_uppercase(), &format!("{id}0"), &"é".repeat(32)] {
            assert!(ChunkId::from_hex(bad).is_err(), "{bad}");
        }
    }
}
