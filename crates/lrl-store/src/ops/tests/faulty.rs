//! A storage that fails, fills up or dies at a chosen call, standing before another; and what tests do with any storage.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backend::{Backend, Payload, TempObject};
use crate::error::{Error, Result};
use crate::fs::lock::{Guard, LockMode};
use crate::store::index::Location;
use crate::store::pack_name;
use crate::testing::memory_backend::memory;

/// Changes a byte of a stored chunk, counted from where it begins in its pack; returns the pack's name as an object.
pub fn flip_byte(backend: &dyn Backend, chunk: &Location, at: u64) -> String {
    let pack = pack_name(&chunk.pack);
    let mut bytes = backend.read(&pack).unwrap();
    bytes[(chunk.offset + at) as usize] ^= 1;
    backend.put(&pack, Payload::Bytes(&bytes)).unwrap();
    pack
}

/// What goes wrong from the chosen call on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The call fails, the next ones work.
    Fails,
    /// Nothing works any more.
    Dies,
    /// The call works, and is the last thing that does.
    DiesAfter,
    /// Nothing can be written; reading and removing work.
    Full,
}

/// Which calls the fault waits for.
#[derive(Clone, Copy, PartialEq)]
pub enum Counted {
    All,
    /// Those that change objects.
    Changes,
}

#[derive(Clone, Copy, PartialEq)]
enum Call {
    Reads,
    Removes,
    Writes,
}

struct Armed {
    fault: Fault,
    left: u32,
    tripped: bool,
}

/// See the module.
pub struct Faulty {
    below: Arc<dyn Backend>,
    counted: Counted,
    armed: Mutex<Option<Armed>>,
}

impl Faulty {
    /// Stands before a storage; nothing goes wrong yet.
    pub fn before(below: Arc<dyn Backend>, counted: Counted) -> Self {
        Self { below, counted, armed: Mutex::default() }
    }

    /// Stands before a storage; the fault comes after `left` calls that change something.
    pub fn new(below: &Arc<dyn Backend>, fault: Fault, left: u32) -> Arc<Self> {
        let faulty = Self::before(Arc::clone(below), Counted::Changes);
        faulty.arm(fault, left);
        Arc::new(faulty)
    }

    /// Lets `left` calls pass, then the fault begins.
    pub fn arm(&self, fault: Fault, left: u32) {
        *self.armed.lock().unwrap() = Some(Armed { fault, left, tripped: false });
    }

    /// Ends the fault; returns whether it had begun.
    pub fn disarm(&self) -> bool {
        self.armed.lock().unwrap().take().is_some_and(|armed| armed.tripped)
    }

    /// Returns whether the fault has begun.
    pub fn has_tripped(&self) -> bool {
        self.armed.lock().unwrap().as_ref().is_some_and(|armed| armed.tripped)
    }

    /// The storage behind, where nothing goes wrong.
    pub fn below(&self) -> &dyn Backend {
        &*self.below
    }

    fn call<T>(&self, call: Call, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let kind = self.armed.lock().unwrap().as_mut().and_then(|armed| {
            let before = armed.tripped;
            if self.counted == Counted::All || call != Call::Reads {
                armed.tripped = armed.left == 0;
                armed.left = armed.left.saturating_sub(1);
            }
            match armed.fault {
                Fault::Fails if !before && armed.tripped => Some(std::io::ErrorKind::Other),
                Fault::Dies if armed.tripped => Some(std::io::ErrorKind::Other),
                Fault::DiesAfter if before => Some(std::io::ErrorKind::Other),
                Fault::Full if armed.tripped && call == Call::Writes => Some(std::io::ErrorKind::StorageFull),
                _ => None,
            }
        });
        match kind {
            Some(kind) => Err(Error::Io { op: "use", path: "memory".into(), source: kind.into() }),
            None => act(),
        }
    }
}

impl Backend for Faulty {
    fn location(&self) -> String {
        self.below.location()
    }
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.call(Call::Reads, || self.below.read(name))
    }
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.call(Call::Reads, || self.below.read_range(name, offset, len))
    }
    fn len(&self, name: &str) -> Result<u64> {
        self.call(Call::Reads, || self.below.len(name))
    }
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        self.call(Call::Writes, || self.below.put(name, source))
    }
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.call(Call::Writes, || self.below.put_if_absent(name, bytes))
    }
    fn temp_object(&self) -> Result<TempObject> {
        match self.counted {
            Counted::All => self.call(Call::Writes, || self.below.temp_object()),
            Counted::Changes => self.below.temp_object(),
        }
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.call(Call::Reads, || self.below.list(prefix, visit))
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.call(Call::Removes, || self.below.remove(name))
    }
    fn sync(&self, dir: &str) -> Result<()> {
        self.call(Call::Reads, || self.below.sync(dir))
    }
    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }
    fn cache_dir(&self) -> Option<PathBuf> {
        None
    }
}

/// Lists the objects below a prefix.
pub fn names(storage: &Arc<dyn Backend>, prefix: &str) -> Vec<String> {
    crate::backend::tests::names(&**storage, prefix)
}

/// Copies a storage.
pub fn twin(storage: &Arc<dyn Backend>) -> Arc<dyn Backend> {
    let memory = memory();
    for name in names(storage, "") {
        memory.put(&name, Payload::Bytes(&storage.read(&name).unwrap())).unwrap();
    }
    Arc::new(memory)
}

#[test]
fn a_storage_where_nothing_goes_wrong_yet_conforms() {
    crate::testing::backend_conformance::conformance(&Faulty::before(Arc::new(memory()), Counted::All));
}
