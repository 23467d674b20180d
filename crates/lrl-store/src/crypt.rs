//! What an encrypted store is made of: keys for each purpose, and sealing and opening bytes with them. Pure: knows no backend and no names.
//!
//! Two classes of keys. The **writer's secret** names chunks, cuts, and seals what writers must read (index, directories of packs). The
//! **content key pair** is for everything else: whoever has its public key can add contents and documents, but read none; the private key
//! opens them. Both follow from one master key, so a full key holds 32 bytes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use chacha20poly1305::aead::rand_core::{self, CryptoRng, RngCore};
use chacha20poly1305::aead::{AeadInPlace, KeyInit, OsRng};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use crypto_box::{PublicKey, SecretKey};
use rustix::time::{ClockId, clock_gettime};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};
use crate::id::{Ids, derive_key, expand, keyed};
use crate::units::{from_hex, hex};

/// What `config` calls this encryption.
pub(crate) const NAME: &str = "xchacha20poly1305-x25519-blake3";
/// Bytes that sealing adds to what is sealed.
pub(crate) const TAG_LEN: usize = 16;
/// A key for one object, sealed for the content key pair.
pub(crate) const SEALED_KEY_LEN: usize = 32 + crypto_box::SEALBYTES;

/// 32 secret bytes, wiped when they are dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// Random numbers of the operating system, mixed with what a virtual machine that was set back does not repeat: its clocks.
#[derive(Default)]
struct Mixed {
    /// The system had none when the caller could not be told: what was made meanwhile must not be used.
    failed: bool,
}

impl RngCore for Mixed {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }
    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        if self.try_fill_bytes(bytes).is_err() {
            self.failed = true;
            bytes.fill(0);
        }
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let mut seed = Zeroizing::new([0; 32]);
        OsRng.try_fill_bytes(seed.as_mut_slice())?;
        let mut more = CALLS.fetch_add(1, Ordering::Relaxed).to_le_bytes().to_vec();
        for clock in [ClockId::Realtime, ClockId::Monotonic, ClockId::ProcessCPUTime] {
            let read = clock_gettime(clock);
            more.extend_from_slice(&read.tv_sec.to_le_bytes());
            more.extend_from_slice(&read.tv_nsec.to_le_bytes());
        }
        expand(&keyed(&seed, &more), bytes);
        Ok(())
    }
}

impl CryptoRng for Mixed {}

/// Fills an array with random bytes.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mixed = Mixed::default().try_fill_bytes(&mut bytes);
    mixed.map_err(|e| Error::refused(format!("the system has no random numbers: {e}")))?;
    Ok(bytes)
}

/// Makes a new random secret.
pub fn new_secret() -> Result<Secret> {
    random().map(Zeroizing::new)
}

/// Which of a store's keys somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// All: reads, writes and deletes.
    Full,
    /// Adds snapshots and finds out what is stored, but reads no contents and no documents.
    Writer,
}

/// Keys as they are handed on: all that a slot seals.
#[derive(Clone)]
pub enum Bundle {
    /// The master key.
    Full(Secret),
    /// The writer's secret and the public key of the content key pair.
    Writer(Secret, [u8; 32]),
}

impl Bundle {
    /// Says which class it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Full(_) => Class::Full,
            Self::Writer(..) => Class::Writer,
        }
    }

    /// Returns what a slot seals.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Full(master) => master.to_vec(),
            Self::Writer(writer, public) => [writer.as_slice(), public].concat(),
        })
    }

    /// Reads what [`Bundle::to_bytes`] wrote.
    pub(crate) fn from_bytes(class: Class, bytes: &[u8]) -> Option<Self> {
        let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok();
        match class {
            Class::Full => Some(Self::Full(Zeroizing::new(array(bytes)?))),
            Class::Writer => {
                let (writer, public) = bytes.split_at_checked(32)?;
                Some(Self::Writer(Zeroizing::new(array(writer)?), array(public)?))
            }
        }
    }

    /// Returns the keys of the writer class that belong to it.
    pub(crate) fn to_writer(&self) -> Self {
        match self {
            Self::Full(master) => {
                let secret = content_secret(master);
                Self::Writer(writer_secret(master), secret.public_key().to_bytes())
            }
            Self::Writer(..) => self.clone(),
        }
    }
}

fn writer_secret(master: &Secret) -> Secret {
    Zeroizing::new(derive_key("lrl store format 1: writer's secret", master.as_slice()))
}

fn content_secret(master: &Secret) -> SecretKey {
    SecretKey::from_bytes(*Zeroizing::new(derive_key("lrl store format 1: content key pair", master.as_slice())))
}

/// A key for one purpose.
#[derive(Clone)]
pub struct Key(Secret);

impl Key {
    /// Makes a random key, for one object.
    pub fn new() -> Result<Self> {
        new_secret().map(Self)
    }

    /// Takes 32 bytes for a key.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Derives a key for one object from random `salt`.
    pub(crate) fn for_object(&self, salt: &[u8; 32]) -> Self {
        Self(Zeroizing::new(keyed(&self.0, salt)))
    }

    /// Seals `bytes` in place and adds a tag. A key must never seal two texts with one nonce.
    pub(crate) fn seal(&self, nonce: &[u8; 24], context: &[u8], bytes: &mut Vec<u8>) -> Result<()> {
        let tag = self.seal_in_place(nonce, context, bytes)?;
        bytes.extend_from_slice(&tag);
        Ok(())
    }

    /// As [`Key::seal`], but returns the tag.
    pub(crate) fn seal_in_place(&self, nonce: &[u8; 24], context: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let cipher = XChaCha20Poly1305::new(self.0.as_slice().into());
        let tag = cipher.encrypt_in_place_detached(XNonce::from_slice(nonce), context, bytes);
        tag.map(Into::into).map_err(|_| Error::Refused("a piece is too long to be encrypted".into()))
    }

    /// Opens what [`Key::seal`] made; `None` if one bit of it, of the nonce, the context or the key is another.
    pub(crate) fn open(&self, nonce: &[u8; 24], context: &[u8], mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let at = bytes.len().checked_sub(TAG_LEN)?;
        let tag: [u8; TAG_LEN] = bytes[at..].try_into().ok()?;
        bytes.truncate(at);
        self.open_in_place(nonce, context, &mut bytes, &tag).then_some(bytes)
    }

    /// As [`Key::open`], in place; false leaves the bytes as they were.
    pub(crate) fn open_in_place(
        &self,
        nonce: &[u8; 24],
        context: &[u8],
        bytes: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let cipher = XChaCha20Poly1305::new(self.0.as_slice().into());
        cipher.decrypt_in_place_detached(XNonce::from_slice(nonce), context, bytes, Tag::from_slice(tag)).is_ok()
    }
}

/// Makes a nonce of a number that a key sees once.
pub(crate) fn numbered(number: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}

/// The keys of one store.
pub struct Keys {
    store_id: [u8; 32],
    ids: Secret,
    cuts: Secret,
    structure: Key,
    names: Key,
    name_nonces: Secret,
    public: PublicKey,
    secret: Option<SecretKey>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Derives all keys.
    pub fn new(store_id: [u8; 32], bundle: &Bundle) -> Self {
        let (writer, public, secret) = match bundle {
            Bundle::Full(master) => {
                let secret = content_secret(master);
                (writer_secret(master), secret.public_key(), Some(secret))
            }
            Bundle::Writer(writer, public) => (writer.clone(), PublicKey::from_bytes(*public), None),
        };
        let derive = |context: &str| Zeroizing::new(derive_key(context, writer.as_slice()));
        Self {
            store_id,
            ids: derive("lrl store format 1: ids of chunks and documents"),
            cuts: derive("lrl store format 1: where contents are cut"),
            structure: Key(derive("lrl store format 1: indexes and directories of packs")),
            names: Key(derive("lrl store format 1: names of sources")),
            name_nonces: derive("lrl store format 1: nonces of names of sources"),
            public,
            secret,
        }
    }

    /// Returns the id of the store that they are of.
    pub(crate) fn store_id(&self) -> [u8; 32] {
        self.store_id
    }

    /// Returns whether contents and documents can be read, not only written.
    pub(crate) fn can_read(&self) -> bool {
        self.secret.is_some()
    }

    /// Returns how chunks and documents are named.
    pub(crate) fn ids(&self) -> Ids {
        Ids::keyed(*self.ids)
    }

    /// Returns the table by which contents are cut.
    pub(crate) fn gear(&self) -> [u64; 256] {
        let mut bytes = Zeroizing::new([0; 256 * 8]);
        expand(&self.cuts, bytes.as_mut_slice());
        let mut gear = [0; 256];
        for (word, bytes) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        gear
    }

    /// Returns the key of what writers read: it is never used itself, only [`Key::for_object`].
    pub(crate) fn structure(&self) -> &Key {
        &self.structure
    }

    /// Returns a piece's context: the store, and what the piece is.
    pub(crate) fn context(&self, kind: &str, what: &[u8]) -> Vec<u8> {
        [&self.store_id[..], &[kind.len() as u8], kind.as_bytes(), what].concat()
    }

    /// Seals an object's key for those who read contents.
    pub(crate) fn seal_key(&self, key: &Key) -> Result<[u8; SEALED_KEY_LEN]> {
        let mut mixed = Mixed::default();
        let sealed = self.public.seal(&mut mixed, key.0.as_slice()).ok().filter(|_| !mixed.failed);
        let sealed = sealed.and_then(|bytes| bytes.try_into().ok());
        sealed.ok_or_else(|| Error::Refused("an object's key could not be sealed".into()))
    }

    /// Opens an object's key. [`Error::WriteOnly`] without the private key.
    pub(crate) fn open_key(&self, sealed: &[u8], object: &str) -> Result<Key> {
        let secret = self.secret.as_ref().ok_or_else(|| Error::WriteOnly { object: object.into() })?;
        let mut key = secret.unseal(sealed).map_err(|_| Error::corrupt(object, "its key does not open"))?;
        let array = <[u8; 32]>::try_from(key.as_slice());
        key.zeroize();
        array.map(Key::from_bytes).map_err(|_| Error::corrupt(object, "its key has another length"))
    }

    /// Encrypts a source's name: the same name always in the same way, so that its directory is found; its length is rounded up.
    pub fn veil(&self, name: &str) -> Result<String> {
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&keyed(&self.name_nonces, name.as_bytes())[..24]);
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        self.names.seal(&nonce, &self.context("source", b""), &mut bytes)?;
        Ok(hex(&[nonce.as_slice(), &bytes].concat()))
    }

    /// Decrypts a source's name; `None` for what [`Keys::veil`] did not make.
    pub fn unveil(&self, veiled: &str) -> Option<String> {
        let digits = veiled.as_bytes();
        if digits.len() > 512 || digits.iter().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = from_hex(veiled)?;
        let sealed = bytes.split_off(bytes.len().min(24));
        let plain = self.names.open(&bytes.try_into().ok()?, &self.context("source", b""), sealed)?;
        let name = String::from_utf8(plain).ok()?.trim_end_matches('\0').to_string();
        // One name has one ciphertext, whoever made it.
        self.veil(&name).is_ok_and(|again| again == veiled).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bundle, Class, Key, Keys, new_secret, numbered};
    use crate::error::Error;

    fn both() -> (Keys, Keys) {
        let full = Bundle::Full(new_secret().unwrap());
        (Keys::new([7; 32], &full), Keys::new([7; 32], &full.to_writer()))
    }

    #[test]
    fn a_writer_names_and_cuts_as_the_reader_does_but_opens_nothing() {
        let (reader, writer) = both();
        assert_eq!(reader.ids().chunk(b"abc"), writer.ids().chunk(b"abc"));
        assert_ne!(reader.ids().chunk(b"abc"), crate::id::Ids::default().chunk(b"abc"));
        assert_eq!(reader.gear(), writer.gear());
        let key = Key::new().unwrap();
        let sealed = writer.seal_key(&key).unwrap();
        assert_eq!(*reader.open_key(&sealed, "x").unwrap().0, *key.0);
        assert!(matches!(writer.open_key(&sealed, "x"), Err(Error::WriteOnly { .. })));
        let mut other = sealed;
        other[50] ^= 1;
        assert!(matches!(reader.open_key(&other, "x"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn what_a_slot_seals_reads_back_and_nothing_else_does() {
        let full = Bundle::Full(new_secret().unwrap());
        for bundle in [full.clone(), full.to_writer()] {
            let bytes = bundle.to_bytes();
            let back = Bundle::from_bytes(bundle.class(), &bytes).unwrap();
            assert_eq!(*back.to_bytes(), *bytes);
            assert!(Bundle::from_bytes(bundle.class(), &bytes[1..]).is_none());
        }
        assert!(Bundle::from_bytes(Class::Writer, &full.to_bytes()).is_none());
    }

    #[test]
    fn a_flip_anywhere_another_nonce_context_or_key_does_not_open() {
        let key = Key::new().unwrap();
        let mut sealed = b"some text".to_vec();
        key.seal(&numbered(1), b"context", &mut sealed).unwrap();
        assert_eq!(key.open(&numbered(1), b"context", sealed.clone()).unwrap(), b"some text");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(key.open(&numbered(1), b"context", bad).is_none(), "{at}");
            assert!(key.open(&numbered(1), b"context", sealed[..at].to_vec()).is_none(), "{at}");
        }
        assert!(key.open(&numbered(2), b"context", sealed.clone()).is_none());
        assert!(key.open(&numbered(1), b"another", sealed.clone()).is_none());
        assert!(Key::new().unwrap().open(&numbered(1), b"context", sealed).is_none());
    }

    #[test]
    fn names_of_sources_are_veiled_in_one_way() {
        let (reader, writer) = both();
        for name in ["lab", "a", &"x".repeat(32), &"y".repeat(64)] {
            let veiled = reader.veil(name).unwrap();
            assert_eq!(veiled, writer.veil(name).unwrap());
            assert_eq!(writer.unveil(&veiled).unwrap(), name);
            assert!((name.len() == 1 || !veiled.contains(name)) && veiled.len() <= 255);
            assert!(reader.unveil(&veiled[2..]).is_none() && reader.unveil(&veiled.to_uppercase()).is_none());
        }
        assert_eq!(reader.veil("a").unwrap().len(), reader.veil("thirty-one").unwrap().len());
        assert!(reader.unveil("lab").is_none() && reader.unveil("").is_none() && reader.unveil("ab").is_none());
    }
}
