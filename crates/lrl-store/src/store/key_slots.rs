//! The key slots of an encrypted store: opening it, and adding, listing and removing keys. Slots are objects like others, but sealed by
//! themselves; the master key in them never changes, so whoever has seen it once has it.

use std::path::PathBuf;
use std::sync::Arc;

use super::config::{not_encrypted, read_config};
use crate::backend::encrypted::EncryptedBackend;
use crate::backend::{Backend, Payload, collect};
use crate::crypt::{Bundle, Class, Keys, new_secret};
use crate::error::{Error, Result};
use crate::format::config::{self, Config};
use crate::format::key::{Credential, MAX_BYTES, Slot};
use crate::hint::{AddHint, Hint};
use crate::time::Time;

/// The number of slots that are tried: each may take a key derivation.
const MOST_SLOTS: usize = 64;
/// The names under which the slot that opened the store last is cached locally, so that opening it again takes no request.
const KEPT: [&str; 2] = ["slot-of-a-passphrase", "slot-of-a-key-file"];

/// A slot and its name.
#[derive(Debug, Clone)]
pub struct Named {
    /// The object's name.
    pub name: String,
    /// The slot.
    pub slot: Slot,
}

impl Named {
    /// Returns the digits of its name.
    pub fn id(&self) -> &str {
        self.name.strip_prefix("keys/").unwrap_or(&self.name)
    }

    /// Returns its first digits, for people.
    pub fn short(&self) -> &str {
        self.id().get(..8).unwrap_or(&self.name)
    }
}

/// An encrypted store that was opened.
pub struct Opened {
    /// What the credential opens.
    pub bundle: Bundle,
    /// The slot that it opened.
    pub slot: Named,
}

fn slot_name(bytes: &[u8]) -> String {
    let id = crate::id::ChunkId::of(bytes);
    format!("keys/{id}")
}

/// Creates an encrypted store where there is none, which this credential opens.
pub fn create(
    backend: &dyn Backend,
    store_id: [u8; 32],
    credential: &Credential,
    label: &str,
    now: Time,
) -> Result<Named> {
    let bundle = Bundle::Full(new_secret()?);
    // The config comes last: before it there is no store.
    let slot = write(backend, &store_id, &bundle, credential, label, now)?;
    backend.put("config", Payload::Bytes(&config::encode(&Config::encrypted(store_id))?))?;
    Ok(slot)
}

fn write(
    backend: &dyn Backend,
    store_id: &[u8; 32],
    bundle: &Bundle,
    credential: &Credential,
    label: &str,
    now: Time,
) -> Result<Named> {
    let slot = Slot::new(store_id, bundle, credential, label, now)?;
    let bytes = slot.encode()?;
    let name = slot_name(&bytes);
    backend.put(&name, Payload::Bytes(&bytes))?;
    Ok(Named { name, slot })
}

/// Returns whether what is there is an encrypted store.
pub fn is_encrypted(backend: &dyn Backend) -> Result<bool> {
    Ok(read_config(backend)?.is_encrypted())
}

/// Returns the id of the store that is there.
pub fn store_id(backend: &dyn Backend) -> Result<String> {
    Ok(read_config(backend)?.store_id)
}

fn slot_names(backend: &dyn Backend) -> Result<Vec<String>> {
    let mut names = collect(backend, "keys", |name| Some(name.to_string()))?;
    names.truncate(MOST_SLOTS);
    Ok(names)
}

/// Lists the slots, by name.
pub fn slots(backend: &dyn Backend) -> Result<Vec<Named>> {
    let names = slot_names(backend)?;
    let read = |name: String| {
        let object = backend.object_location(&name);
        let bytes = backend.read_up_to(&name, 0, MAX_BYTES + 1)?;
        Ok(Named { slot: Slot::decode(&bytes, &object)?, name })
    };
    names.into_iter().map(read).collect()
}

/// Opens the slot that is for this credential. [`Error::WrongKey`] if there is none.
pub fn open(backend: &dyn Backend, credential: Option<&Credential>) -> Result<Opened> {
    open_store(backend, Some(read_config(backend)?.id()?), credential, LocalSlot::IfThere)
}

/// Whether a locally cached slot opens the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalSlot {
    /// Only if it is still in the store: a key that was removed opens it no more.
    IfThere,
    /// At once: for a backup, of which each request counts. It adds to the store, and the bucket's own key returns whether it may.
    Trusted,
}

/// Where the config is lost, each slot says itself which store it is of: what it opens shows whether that is true.
fn open_store(
    backend: &dyn Backend,
    store_id: Option<[u8; 32]>,
    credential: Option<&Credential>,
    local_slot: LocalSlot,
) -> Result<Opened> {
    let wrong = |reason: &str| Error::WrongKey { store: backend.location(), reason: reason.into() };
    let credential = credential.ok_or_else(|| wrong("no key was given"))?;
    let kept_name = match credential {
        Credential::Passphrase(_) => KEPT[0],
        Credential::File(_) => KEPT[1],
    };
    let open = |slot: Named| {
        let store_id = store_id.map_or_else(|| slot.slot.id(), Ok)?;
        let bundle = slot.slot.open(&store_id, credential, &backend.object_location(&slot.name))?;
        Ok(bundle.map(|bundle| Opened { bundle, slot }))
    };
    let cached = backend
        .cache_get(kept_name)
        .and_then(|bytes| Some(Named { slot: Slot::decode(&bytes, kept_name).ok()?, name: slot_name(&bytes) }));
    let cached = match cached {
        Some(slot) if local_slot == LocalSlot::IfThere => match backend.len(&slot.name) {
            Ok(_) => Some(slot),
            Err(Error::Missing { .. }) => None,
            Err(error) => return Err(error),
        },
        cached => cached,
    };
    if let Some(opened) = cached.and_then(|slot| open(slot).ok().flatten()) {
        return Ok(opened);
    }
    let mut damaged = None;
    let names = slot_names(backend)?;
    if names.is_empty() {
        return Err(wrong("its directory `keys` is empty: the recovery sheet shows the file that belongs there"));
    }
    for name in names {
        let object = backend.object_location(&name);
        let bytes = backend.read_up_to(&name, 0, MAX_BYTES + 1)?;
        let found = Slot::decode(&bytes, &object).and_then(|slot| open(Named { name, slot }));
        match found {
            Ok(Some(opened)) => {
                backend.cache_put(kept_name, &bytes);
                return Ok(opened);
            }
            Ok(None) => {}
            // Another slot may be the right one.
            Err(error @ (Error::Corrupt { .. } | Error::Unsupported { .. })) => damaged = damaged.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(damaged.map_or_else(
        || wrong("the key that was given does not open it"),
        |error| wrong(&format!("the key that was given opens no slot that can be read ({error})")),
    ))
}

/// Opens the store that a backend holds: an encrypted one with its keys, a plain one as it is. Caches of a local one go to `cache`, since they hold
/// names in the clear.
pub(crate) fn unlock(
    backend: Arc<dyn Backend>,
    credential: Option<&Credential>,
    cached: LocalSlot,
    cache: impl FnOnce(&str) -> Option<PathBuf>,
) -> Result<Arc<dyn Backend>> {
    let config = match read_config(&*backend) {
        Ok(config) => config,
        // Whoever opens the store is told, and a repair needs its keys. With a key nothing is ever taken for a plain store here: the next look
        // may be shown one.
        Err(error @ (Error::Corrupt { .. } | Error::NoStore { .. })) if credential.is_some() => {
            if slot_names(&*backend)?.is_empty() {
                return Err(error);
            }
            let Opened { bundle, slot } = open_store(&*backend, None, credential, cached)?;
            return Ok(Arc::new(EncryptedBackend::new(backend, Keys::new(slot.slot.id()?, &bundle), None)));
        }
        Err(Error::Corrupt { .. } | Error::NoStore { .. } | Error::Unsupported { .. }) if credential.is_none() => {
            return Ok(backend);
        }
        Err(error) => return Err(error),
    };
    if !config.is_encrypted() {
        return match credential {
            None => Ok(backend),
            Some(_) => Err(not_encrypted(&backend.location())),
        };
    }
    let opened = open_store(&*backend, Some(config.id()?), credential, cached)?;
    let cache = if backend.capabilities().cost_per_request { None } else { cache(&config.store_id) };
    let keys = Keys::new(config.id()?, &opened.bundle);
    Ok(Arc::new(EncryptedBackend::new(backend, keys, cache)))
}

/// Adds a slot of the opened one's class, or of the writer's.
pub fn add(
    backend: &dyn Backend,
    opened: &Opened,
    class: Class,
    credential: &Credential,
    label: &str,
    now: Time,
) -> Result<Named> {
    let bundle = match (class, opened.bundle.class()) {
        (Class::Writer, _) => opened.bundle.to_writer(),
        (Class::Full, Class::Full) => opened.bundle.clone(),
        (Class::Full, Class::Writer) => {
            return Err(Error::Refused("a write-only key cannot make one that reads; use the store's own key".into()));
        }
    };
    let store_id = read_config(backend)?.id()?;
    for slot in slots(backend)? {
        // Which of two slots one credential opens would be left to chance, and removing one would keep nobody out.
        if slot.slot.open(&store_id, credential, &backend.object_location(&slot.name))?.is_some() {
            return Err(Error::refused(format!(
                "this passphrase or key file opens the store already, as key {}",
                slot.short()
            )));
        }
    }
    write(backend, &store_id, &bundle, credential, label, now)
}

/// Removes a slot by its first digits; the last one that reads everything stays. A write-only key removes no key but itself.
pub fn remove(backend: &dyn Backend, opened: &Opened, wanted: &str) -> Result<Named> {
    let slots = slots(backend)?;
    let digits = |slot: &Named| !wanted.is_empty() && slot.id().starts_with(wanted);
    let found: Vec<&Named> = slots.iter().filter(|slot| digits(slot)).collect();
    let [slot] = found.as_slice() else {
        let text = if found.is_empty() { "no key begins with" } else { "several keys begin with" };
        return Err(Error::not_found(format!("{text} `{wanted}`").hint(Hint::ListKeys)));
    };
    if opened.bundle.class() == Class::Writer && slot.name != opened.slot.name {
        return Err(Error::WriteOnly { object: backend.object_location(&slot.name) });
    }
    let others = slots.iter().filter(|other| other.name != slot.name && other.slot.class == Class::Full);
    if slot.slot.class == Class::Full && others.count() == 0 {
        let text = "this is the last key that reads the store: without it nobody ever could; add another one first";
        return Err(Error::refused(text.hint(Hint::AddKey)));
    }
    backend.remove(&slot.name)?;
    // A locally cached copy would go on opening the store here.
    backend.cache_clear();
    Ok((*slot).clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::{LocalSlot, add, create, open, remove, slots, unlock};
    use crate::backend::{Backend, Payload};
    use crate::crypt::Class;
    use crate::error::Error;
    use crate::format::key::Credential;
    use crate::fs::lock::LockMode;
    use crate::progress::Silent;
    use crate::testing::memory_backend::memory;
    use crate::time::Time;

    const NOW: Time = Time { secs: 1, nanos: 0 };

    fn passphrase(text: &str) -> Credential {
        Credential::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn keys_are_added_and_removed_and_the_last_one_stays() {
        let backend: Arc<dyn Backend> = Arc::new(memory());
        create(&*backend, [1; 32], &passphrase("first"), "", NOW).unwrap();
        let wrong = |result: Result<_, Error>| matches!(result.map(drop), Err(Error::WrongKey { .. }));
        assert!(wrong(open(&*backend, None)) && wrong(open(&*backend, Some(&passphrase("other")))));
        let opened = open(&*backend, Some(&passphrase("first"))).unwrap();
        assert!(matches!(remove(&*backend, &opened, &opened.slot.name["keys/".len()..]), Err(Error::Refused(_))));
        let file = Credential::from_key_file(&"ab".repeat(32)).unwrap();
        add(&*backend, &opened, Class::Writer, &file, "server", NOW).unwrap();
        add(&*backend, &opened, Class::Full, &passphrase("second"), "", NOW).unwrap();
        assert_eq!(slots(&*backend).unwrap().len(), 3);
        remove(&*backend, &opened, &opened.slot.name["keys/".len()..]).unwrap();
        assert!(wrong(open(&*backend, Some(&passphrase("first")))));
        let second = open(&*backend, Some(&passphrase("second"))).unwrap();
        assert_eq!(*second.bundle.to_bytes(), *opened.bundle.to_bytes());
        let writer = open(&*backend, Some(&file)).unwrap();
        assert_eq!(writer.bundle.class(), Class::Writer);
        assert!(matches!(add(&*backend, &writer, Class::Full, &file, "", NOW), Err(Error::Refused(_))));
    }

    #[test]
    fn a_key_that_opens_the_store_already_is_named_by_its_first_digits() {
        let backend: Arc<dyn Backend> = Arc::new(memory());
        create(&*backend, [1; 32], &passphrase("first"), "", NOW).unwrap();
        let opened = open(&*backend, Some(&passphrase("first"))).unwrap();
        let Err(Error::Refused(text)) = add(&*backend, &opened, Class::Full, &passphrase("first"), "", NOW) else {
            panic!()
        };
        let digits = &opened.slot.name["keys/".len()..][..8];
        assert!(text.text().ends_with(&format!("as key {digits}")), "{text}");
    }

    #[test]
    fn a_key_is_removed_by_digits_that_only_it_begins_with() {
        let backend: Arc<dyn Backend> = Arc::new(memory());
        let file = |n: u8| Credential::from_key_file(&format!("{n:02x}").repeat(32)).unwrap();
        create(&*backend, [1; 32], &file(0), "", NOW).unwrap();
        let opened = open(&*backend, Some(&file(0))).unwrap();
        (1..17).for_each(|n| drop(add(&*backend, &opened, Class::Full, &file(n), "", NOW).unwrap()));
        let ids: Vec<String> = slots(&*backend).unwrap().iter().map(|slot| slot.id().to_string()).collect();
        let digit = |id: &String| id[..1].to_string();
        let shared = ids.iter().map(digit).find(|one| ids.iter().filter(|id| digit(id) == *one).count() > 1).unwrap();
        for (wanted, text) in
            [(shared.as_str(), "several keys begin with"), ("", "no key"), ("x", "no key begins with")]
        {
            let Err(Error::NotFound(why)) = remove(&*backend, &opened, wanted) else { panic!("{wanted}") };
            assert!(why.text().starts_with(text), "{why}");
        }
        assert_eq!(slots(&*backend).unwrap().len(), 17);
        assert_eq!(remove(&*backend, &opened, &ids[3]).unwrap().id(), ids[3]);
        assert_eq!(slots(&*backend).unwrap().len(), 16);
    }

    #[test]
    fn a_write_only_key_removes_itself_and_no_other() {
        let backend: Arc<dyn Backend> = Arc::new(memory());
        let file = |digits: &str| Credential::from_key_file(&digits.repeat(32)).unwrap();
        create(&*backend, [1; 32], &file("aa"), "", NOW).unwrap();
        let opened = open(&*backend, Some(&file("aa"))).unwrap();
        add(&*backend, &opened, Class::Writer, &file("bb"), "one", NOW).unwrap();
        add(&*backend, &opened, Class::Writer, &file("cc"), "two", NOW).unwrap();
        let writer = open(&*backend, Some(&file("bb"))).unwrap();
        let other = open(&*backend, Some(&file("cc"))).unwrap();
        for slot in [&opened.slot, &other.slot] {
            assert!(matches!(remove(&*backend, &writer, slot.id()), Err(Error::WriteOnly { .. })));
        }
        assert_eq!(remove(&*backend, &writer, writer.slot.id()).unwrap().name, writer.slot.name);
        assert_eq!(slots(&*backend).unwrap().len(), 2);
    }

    #[test]
    fn a_store_that_is_not_what_was_expected_is_refused() {
        let plain: Arc<dyn Backend> = Arc::new(memory());
        crate::store::create(&*plain, [1; 32]).unwrap();
        assert!(unlock(Arc::clone(&plain), None, LocalSlot::IfThere, |_| None).unwrap().keys().is_none());
        assert!(matches!(unlock(plain, Some(&passphrase("x")), LocalSlot::IfThere, |_| None), Err(Error::Refused(_))));
        let sealed: Arc<dyn Backend> = Arc::new(memory());
        create(&*sealed, [1; 32], &passphrase("x"), "", NOW).unwrap();
        assert!(matches!(unlock(Arc::clone(&sealed), None, LocalSlot::IfThere, |_| None), Err(Error::WrongKey { .. })));
        let without_keys =
            crate::store::Store::open(Arc::clone(&sealed), LockMode::Shared, Duration::ZERO, &Silent).map(drop);
        assert!(matches!(without_keys, Err(Error::WrongKey { .. })), "{without_keys:?}");
        assert!(unlock(sealed, Some(&passphrase("x")), LocalSlot::IfThere, |_| None).unwrap().keys().is_some());
    }

    #[test]
    fn without_a_key_a_store_whose_config_is_damaged_or_lost_is_left_to_whoever_opens_or_repairs_it() {
        let plain: Arc<dyn Backend> = Arc::new(memory());
        assert!(unlock(Arc::clone(&plain), None, LocalSlot::IfThere, |_| None).unwrap().keys().is_none());
        assert!(matches!(
            unlock(Arc::clone(&plain), Some(&passphrase("x")), LocalSlot::IfThere, |_| None),
            Err(Error::NoStore { .. })
        ));
        crate::store::create(&*plain, [1; 32]).unwrap();
        plain.remove("config").unwrap();
        plain.put("config", Payload::Bytes(b"no config")).unwrap();
        assert!(unlock(Arc::clone(&plain), None, LocalSlot::IfThere, |_| None).unwrap().keys().is_none());
        assert!(matches!(
            unlock(plain, Some(&passphrase("x")), LocalSlot::IfThere, |_| None),
            Err(Error::Corrupt { .. })
        ));
    }
}
