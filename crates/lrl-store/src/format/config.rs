//! The store's `config`: what one must know to read it, and to write it. JSON that ends in its own checksum.

use serde::{Deserialize, Serialize};

use crate::chunk::{CdcParams, UPLOADS};
use crate::crypt;
use crate::error::{Error, Result};

/// The store format that this build reads and writes.
pub(crate) const FORMAT: u32 = 1;

/// What one store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Store format, 1.
    pub format: u32,
    /// 32 random bytes as hex: tells stores apart that have the same contents.
    pub store_id: String,
    /// Features without which the store cannot be read. None are defined in format 1.
    pub must_know_to_read: Vec<String>,
    /// Features without which the store must not be written. None are defined in format 1.
    pub must_know_to_write: Vec<String>,
    /// How contents are cut.
    pub chunking: Chunking,
    /// `none`: nothing is encrypted; else `crypt::NAME`.
    pub crypto: String,
}

/// Where chunks begin and end; fixed for the life of a store, so that like contents meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunking {
    /// Smallest content-defined chunk in bytes; files up to `avg_bytes` are one chunk.
    pub min_bytes: u32,
    /// Usual content-defined chunk in bytes.
    pub avg_bytes: u32,
    /// Largest content-defined chunk in bytes.
    pub max_bytes: u32,
    /// Bytes of database per extent, a multiple of every page size.
    pub extent_bytes: u32,
}

impl Default for Chunking {
    fn default() -> Self {
        let CdcParams { min, avg, max } = UPLOADS;
        Self { min_bytes: min as u32, avg_bytes: avg as u32, max_bytes: max as u32, extent_bytes: 64 << 10 }
    }
}

impl Config {
    /// Describes a new plain store.
    pub fn new(store_id: [u8; 32]) -> Self {
        Self {
            format: FORMAT,
            store_id: crate::id::ChunkId::from_bytes(store_id).to_string(),
            must_know_to_read: Vec::new(),
            must_know_to_write: Vec::new(),
            chunking: Chunking::default(),
            crypto: PLAIN.into(),
        }
    }

    /// Describes a new encrypted store.
    pub(crate) fn encrypted(store_id: [u8; 32]) -> Self {
        Self { crypto: crypt::NAME.into(), ..Self::new(store_id) }
    }

    /// Returns whether what is stored is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.crypto != PLAIN
    }

    /// Returns the store's id as bytes.
    pub(crate) fn id(&self) -> Result<[u8; 32]> {
        crate::id::ChunkId::from_hex(&self.store_id).map(|id| *id.as_bytes())
    }
}

const PLAIN: &str = "none";
const MARK: &[u8] = b",\"checksum\":\"";
const END: &[u8] = b"\"}\n";

/// Encodes a config: one line of JSON whose last member is the BLAKE3 of everything before it.
pub fn encode(config: &Config) -> Result<Vec<u8>> {
    let mut out = serde_json::to_vec(config).map_err(|e| Error::corrupt("config", e.to_string()))?;
    out.pop();
    let checksum = crate::id::ChunkId::of(&out);
    out.extend_from_slice(MARK);
    out.extend_from_slice(checksum.to_string().as_bytes());
    out.extend_from_slice(END);
    Ok(out)
}

/// Decodes a config, checks its checksum and that this build may use the store.
pub fn decode(bytes: &[u8], object: &str) -> Result<Config> {
    let body_len = bytes.len().checked_sub(MARK.len() + 64 + END.len());
    let (body, tail) = body_len
        .and_then(|len| bytes.split_at_checked(len))
        .ok_or_else(|| Error::corrupt(object, "is not a store's config"))?;
    let checksum = crate::id::ChunkId::of(body).to_string();
    if tail != [MARK, checksum.as_bytes(), END].concat() {
        return Err(Error::corrupt(object, "does not match its checksum"));
    }
    let malformed = |e: serde_json::Error| Error::corrupt(object, format!("is not a store's config: {e}"));
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != FORMAT {
        return Err(Error::Unsupported { what: format!("store format {format} ({object})").into() });
    }
    let config: Config = serde_json::from_slice(bytes).map_err(malformed)?;
    if let Some(feature) = config.must_know_to_read.first() {
        return Err(Error::Unsupported { what: format!("the store's feature `{feature}`").into() });
    }
    if config.is_encrypted() && config.crypto != crypt::NAME {
        return Err(Error::Unsupported { what: format!("the store's encryption `{}`", config.crypto).into() });
    }
    let c = config.chunking;
    let cutter = Chunking { extent_bytes: c.extent_bytes, ..Chunking::default() };
    let fits = c == cutter && c.extent_bytes.is_power_of_two() && (64 << 10..=1 << 20).contains(&c.extent_bytes);
    if fits { Ok(config) } else { Err(Error::Unsupported { what: format!("the chunking of {object}").into() }) }
}

/// What a damaged config still says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// It names features that one must know.
    pub has_features: bool,
    store_id: Option<[u8; 32]>,
}

impl Damaged {
    /// Describes the plain store again; `store_id` is for one whose own cannot be read.
    pub(crate) fn config(&self, store_id: [u8; 32]) -> Config {
        Config::new(self.store_id.unwrap_or(store_id))
    }
}

/// Reads what can be told of a damaged config. An id with a wrong digit in it is an id as well.
pub(crate) fn read_damaged(bytes: &[u8]) -> Damaged {
    let text = String::from_utf8_lossy(bytes);
    let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest);
    let id =
        after("\"store_id\":\"").and_then(|rest| rest.get(..64)).and_then(|hex| crate::id::ChunkId::from_hex(hex).ok());
    let names_one = |list: &str| after(list).is_some_and(|rest| rest.starts_with("[\""));
    let has_features = names_one("\"must_know_to_read\":") || names_one("\"must_know_to_write\":");
    Damaged { has_features, store_id: id.map(|id| *id.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::{Config, decode, encode, read_damaged};

    #[test]
    fn every_flip_and_every_truncation_is_seen() {
        let config = Config::new([7; 32]);
        let bytes = encode(&config).unwrap();
        assert_eq!(decode(&bytes, "config").unwrap(), config);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(decode(&bad, "config").is_err(), "flip at {at}");
            assert!(decode(&bytes[..at], "config").is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_a_damaged_config_still_says_is_read() {
        let mut config = Config::new([7; 32]);
        let bytes = encode(&config).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let damaged = read_damaged(&bad);
            assert!(!damaged.has_features, "{at}");
            let in_id = (12..88).contains(&at);
            assert!(damaged.config([9; 32]) == config || in_id, "{at}: {damaged:?}");
            assert!(
                read_damaged(&bytes[..at]).config([9; 32])
                    == if at < 88 { Config::new([9; 32]) } else { config.clone() },
                "{at}"
            );
        }
        config.must_know_to_write.push("later".into());
        assert!(read_damaged(&encode(&config).unwrap()).has_features);
    }

    #[test]
    fn a_chunking_that_this_build_does_not_cut_is_refused() {
        let mut config = Config::new([7; 32]);
        config.chunking.extent_bytes = 128 << 10;
        assert!(decode(&encode(&config).unwrap(), "config").is_ok());
        config.chunking.avg_bytes += 1;
        assert!(decode(&encode(&config).unwrap(), "config").is_err());
    }

    #[test]
    fn an_unknown_feature_to_read_is_refused() {
        let mut config = Config::new([7; 32]);
        config.must_know_to_read.push("later".into());
        assert!(decode(&encode(&config).unwrap(), "config").unwrap_err().to_string().contains("`later`"));
    }
}
