//! A slot: the keys of an encrypted store, sealed by a passphrase or by a key file. One small JSON document for each.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypt::{self, Bundle, Class, Key, Secret};
use crate::error::{Error, Result};
use crate::id::{ChunkId, derive_key};
use crate::time::Time;
use crate::units::{from_hex, hex};

/// The document's format version that this build writes.
pub(crate) const VERSION: u32 = 1;
/// No slot is longer.
pub(crate) const MAX_BYTES: usize = 16 << 10;
/// A passphrase's derivation takes so much memory: it is done before anything else needs any.
const ARGON2: Kdf = Kdf { m_kib: 19 << 10, t: 3, p: 1, salt: [0; 16] };
/// What a slot may ask for at most: it could be an attacker's.
const MOST: Kdf = Kdf { m_kib: 256 << 10, t: 64, p: 16, salt: [0; 16] };

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Format version, 1.
    pub format: u32,
    /// The store's id, as in its config, which can be made again by it.
    pub store_id: String,
    /// What the keys in it can do.
    pub class: Class,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When it was made.
    pub created: Time,
    /// How a passphrase becomes the key that opens it; none for a key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argon2id: Option<Kdf>,
    /// Nonce, sealed keys and tag, as hex.
    sealed: String,
    /// The document's bytes before that: sealed with the keys, so that none of it can be changed.
    #[serde(skip)]
    said: Vec<u8>,
}

/// Where the sealed part begins; it is the last.
const SEALED: &[u8] = b",\"sealed\":\"";

/// The parameters of Argon2id, version 19.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kdf {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes.
    pub t: u32,
    /// Lanes.
    pub p: u32,
    #[serde(with = "hex_salt")]
    salt: [u8; 16],
}

mod hex_salt {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(salt: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::units::hex(salt))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = crate::units::from_hex(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| serde::de::Error::custom("expected 32 hexadecimal digits"))
    }
}

/// What opens a slot. A copy is wiped from memory as the original is.
#[derive(Clone)]
pub enum Credential {
    /// A passphrase, as its bytes.
    Passphrase(Zeroizing<Vec<u8>>),
    /// The secret of a key file.
    #[doc(hidden)]
    File(Secret),
}

impl Credential {
    /// Reads a key file's text: 64 hexadecimal digits in one line.
    pub fn from_key_file(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(from_hex(text.trim()).filter(|_| text.trim().len() == 64)?);
        let array: [u8; 32] = bytes.as_slice().try_into().ok()?;
        Some(Self::File(Zeroizing::new(array)))
    }

    /// Makes the text of a new key file.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where the system has no random numbers.
    pub fn new_key_file() -> Result<Zeroizing<String>> {
        let secret = crypt::new_secret()?;
        Ok(Zeroizing::new(hex(secret.as_slice()) + "\n"))
    }

    /// Derives the key that opens a slot with these parameters; `None` where this is a credential of the other kind.
    fn key(&self, kdf: Option<&Kdf>, object: &str) -> Result<Option<Key>> {
        match (self, kdf) {
            (Self::File(secret), None) => {
                Ok(Some(Key::from_bytes(derive_key("lrl store format 1: key file", secret.as_slice()))))
            }
            (Self::Passphrase(passphrase), Some(kdf)) => {
                if kdf.m_kib > MOST.m_kib || kdf.t > MOST.t || kdf.p > MOST.p {
                    return Err(Error::Unsupported {
                        what: format!("a slot that asks for so much work ({object})").into(),
                    });
                }
                let params = Params::new(kdf.m_kib, kdf.t, kdf.p, Some(32));
                let params = params.map_err(|e| Error::corrupt(object, format!("has impossible parameters: {e}")))?;
                let mut key = Zeroizing::new([0; 32]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(passphrase, &kdf.salt, key.as_mut_slice())
                    .map_err(|e| Error::corrupt(object, format!("has impossible parameters: {e}")))?;
                Ok(Some(Key::from_bytes(*key)))
            }
            _ => Ok(None),
        }
    }
}

fn context(store_id: &[u8; 32], said: &[u8]) -> Vec<u8> {
    [&store_id[..], &[4], b"slot", said].concat()
}

/// Returns a document's bytes before its sealed part.
fn said(document: &[u8]) -> Option<&[u8]> {
    document.windows(SEALED.len()).rposition(|part| part == SEALED).map(|at| &document[..at])
}

impl Slot {
    /// Seals keys for one who has this credential.
    pub fn new(
        store_id: &[u8; 32],
        keys: &Bundle,
        credential: &Credential,
        label: &str,
        created: Time,
    ) -> Result<Self> {
        let argon2id = match credential {
            Credential::Passphrase(_) => Some(Kdf { salt: crypt::random()?, ..ARGON2 }),
            Credential::File(_) => None,
        };
        let store = ChunkId::from_bytes(*store_id).to_string();
        let (class, label) = (keys.class(), label.to_string());
        let mut slot = Self {
            format: VERSION,
            store_id: store,
            class,
            label,
            created,
            argon2id,
            sealed: String::new(),
            said: Vec::new(),
        };
        let document = slot.encode()?;
        slot.said = said(&document).map(<[u8]>::to_vec).ok_or_else(|| Error::corrupt("a new slot", "has no end"))?;
        let nonce = crypt::random()?;
        let mut sealed = keys.to_bytes();
        let key = credential.key(argon2id.as_ref(), "a new slot")?;
        let key = key.ok_or_else(|| Error::Refused("a slot for nobody".into()))?;
        key.seal(&nonce, &context(store_id, &slot.said), &mut sealed)?;
        slot.sealed = hex(&[nonce.as_slice(), &sealed].concat());
        Ok(slot)
    }

    /// Returns the store's id as bytes.
    pub fn id(&self) -> Result<[u8; 32]> {
        ChunkId::from_hex(&self.store_id).map(|id| *id.as_bytes())
    }

    /// Opens it; `None` if this is not the credential for it. Slow for a passphrase, on purpose.
    pub fn open(&self, store_id: &[u8; 32], credential: &Credential, object: &str) -> Result<Option<Bundle>> {
        let Some(key) = credential.key(self.argon2id.as_ref(), object)? else { return Ok(None) };
        let opened = from_hex(&self.sealed).and_then(|bytes| {
            let (nonce, sealed) = bytes.split_first_chunk::<24>()?;
            key.open(nonce, &context(store_id, &self.said), sealed.to_vec()).map(Zeroizing::new)
        });
        Ok(opened.and_then(|bytes| Bundle::from_bytes(self.class, &bytes)))
    }

    /// Encodes it as one line of JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).map_err(|e| Error::corrupt("a new slot", e.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Decodes one.
    pub fn decode(bytes: &[u8], object: &str) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::corrupt(object, "is too long for a slot"));
        }
        let mut slot: Self =
            serde_json::from_slice(bytes).map_err(|e| Error::corrupt(object, format!("is not a slot: {e}")))?;
        if slot.format != VERSION {
            return Err(Error::Unsupported { what: format!("slot format {} ({object})", slot.format).into() });
        }
        slot.said = said(bytes)
            .ok_or_else(|| Error::corrupt(object, "is not a slot: its sealed part is not the last"))?
            .to_vec();
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{Credential, Slot};
    use crate::crypt::{Bundle, new_secret};
    use crate::error::Error;
    use crate::time::Time;

    fn passphrase(text: &str) -> Credential {
        Credential::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_slot_opens_with_its_own_credential_in_its_own_store_only() {
        let full = Bundle::Full(new_secret().unwrap());
        let file = Credential::from_key_file(&Credential::new_key_file().unwrap()).unwrap();
        for (keys, credential) in [(full.clone(), passphrase("a")), (full.to_writer(), file)] {
            let slot = Slot::new(&[1; 32], &keys, &credential, "label", Time { secs: 1, nanos: 0 }).unwrap();
            let slot = Slot::decode(&slot.encode().unwrap(), "keys/x").unwrap();
            assert_eq!(*slot.open(&[1; 32], &credential, "x").unwrap().unwrap().to_bytes(), *keys.to_bytes());
            assert!(slot.open(&[2; 32], &credential, "x").unwrap().is_none());
            assert!(slot.open(&[1; 32], &passphrase("b"), "x").unwrap().is_none());
            let other = Credential::from_key_file(&"0".repeat(64)).unwrap();
            assert!(slot.open(&[1; 32], &other, "x").unwrap().is_none());
        }
    }

    #[test]
    fn a_slot_that_asks_for_too_much_is_refused_before_any_work() {
        let full = Bundle::Full(new_secret().unwrap());
        let mut slot = Slot::new(&[1; 32], &full, &passphrase("a"), "", Time { secs: 1, nanos: 0 }).unwrap();
        let kdf = slot.argon2id.unwrap();
        for (m_kib, t, p) in [(257 << 10, 3, 1), (u32::MAX, 3, 1), (19 << 10, 65, 1), (19 << 10, 3, 17)] {
            slot.argon2id = Some(super::Kdf { m_kib, t, p, ..kdf });
            assert!(matches!(slot.open(&[1; 32], &passphrase("a"), "x"), Err(Error::Unsupported { .. })));
        }
        slot.argon2id = Some(super::Kdf { m_kib: 0, ..kdf });
        assert!(matches!(slot.open(&[1; 32], &passphrase("a"), "x"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_key_file_is_64_digits_and_nothing_else() {
        let text = Credential::new_key_file().unwrap();
        assert!(Credential::from_key_file(&text).is_some());
        for bad in ["", "abc", &text[1..], &format!("{}0", text.trim()), &"x".repeat(64)] {
            assert!(Credential::from_key_file(bad).is_none(), "{bad}");
        }
    }
}
