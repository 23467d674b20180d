//! Labs on a disk in memory, and a verb to run in each: what tests of faults try at every step.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::backend::encrypted::EncryptedBackend;
use crate::crypt::{Bundle, Keys, new_secret};
use crate::error::{Error, Result};
use crate::fs::lock::LockMode;
use crate::id::{ChunkId, SnapshotId};
use crate::ops::check::{self, ReadData};
use crate::ops::tests::faulty::names;
use crate::ops::{backup, dump, forget, ls, prune, repair};
use crate::progress::Silent;
use crate::store::write::WriteSession;
use crate::store::{Store, create};
use crate::testing::memory_backend::MemoryFs;

/// What a snapshot holds: the digest of each file, `lrl.db` among them.
pub type Contents = BTreeMap<Vec<u8>, ChunkId>;

/// What snapshots hold.
pub type Held = BTreeMap<SnapshotId, Contents>;

/// A verb over a storage.
pub type Verb = fn(&Case, &Arc<dyn Backend>) -> Result<()>;

/// A store as it is before a verb, the lab that it is of, and the verb.
pub struct Case {
    pub name: &'static str,
    pub verb: Verb,
    /// The store. All of it is durable.
    pub ram: MemoryFs,
    /// Snapshots that must stay, whatever happens.
    pub promised: HashSet<SnapshotId>,
    /// All that were ever made, as the source was then.
    pub held: Held,
    /// The store has lost something that the source still has: a check says so until the next backup.
    pub is_damaged: bool,
    dir: tempfile::TempDir,
    runs: u64,
    /// What the store is encrypted with.
    bundle: Option<Bundle>,
}

/// Opens a store.
pub fn open(storage: &Arc<dyn Backend>) -> Result<Store> {
    Store::open(Arc::clone(storage), LockMode::Exclusive, Duration::ZERO, &Silent)
}

/// Bytes that do not compress, the same ones for a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (x >> 33) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Reads the database and the uploads in a directory.
pub fn files(dir: &Path) -> Contents {
    let digest = |path: &str| ChunkId::of(&std::fs::read(dir.join(path)).unwrap());
    let entries = std::fs::read_dir(dir.join("assets")).unwrap();
    let assets = entries.map(|entry| format!("assets/{}", entry.unwrap().file_name().to_str().unwrap()));
    assets.chain(["lrl.db".into()]).map(|path| (path.clone().into_bytes(), digest(&path))).collect()
}

/// Reads every file of every snapshot that is listed.
pub fn contents(storage: &Arc<dyn Backend>) -> Result<Held> {
    let store = open(storage)?;
    let mut held = Held::new();
    for name in store.snapshot_names(None)? {
        let snapshot = store.snapshot(&name)?;
        let mut files = Contents::new();
        let mut add = |path: &[u8]| -> Result<()> {
            let mut bytes = Vec::new();
            let sink = &mut |piece: &[u8]| {
                bytes.extend_from_slice(piece);
                Ok(())
            };
            dump::dump(&store, &snapshot, path, &Silent, sink)?;
            files.insert(path.to_vec(), ChunkId::of(&bytes));
            Ok(())
        };
        add(b"lrl.db")?;
        for entry in ls::ls(&store, &snapshot, b"assets")?.entries {
            let path = entry?.path;
            if path != b"assets" {
                add(&path)?;
            }
        }
        held.insert(name.id, files);
    }
    Ok(held)
}

pub fn back_up(case: &Case, storage: &Arc<dyn Backend>) -> Result<()> {
    backup_at(storage, case.dir.path(), case.runs + 1)
}

fn backup_at(storage: &Arc<dyn Backend>, dir: &Path, second: u64) -> Result<()> {
    backup::backup(&open(storage)?, &backup::tests::options(dir, second), &Silent).map(drop)
}

fn begin(case: &Case, storage: &Arc<dyn Backend>) -> Result<()> {
    create(&**storage, [1; 32])?;
    back_up(case, storage)
}

pub fn forget(_: &Case, storage: &Arc<dyn Backend>) -> Result<()> {
    let store = open(storage)?;
    let policy = forget::Policy { last: 2, ..forget::Policy::default() };
    let options = forget::Options { source: None, names: Vec::new(), policy, force: false, now: 1_800_000_000 };
    let plan = forget::plan(&store, &options, &Silent)?;
    forget::apply(&store, &plan, &Silent)
}

pub fn prune(_: &Case, storage: &Arc<dyn Backend>) -> Result<()> {
    let store = open(storage)?;
    let plan = prune::plan(&store, prune::MaxUnused::Bytes(0), &HashSet::new(), false, &Silent)?;
    prune::apply(&store, plan, &crate::fs::space::SpaceGuard::unlimited(), &Silent)?.failed.map_or(Ok(()), Err)
}

fn forget_and_prune(case: &Case, storage: &Arc<dyn Backend>) -> Result<()> {
    forget(case, storage)?;
    prune(case, storage)
}

const EVERYTHING: check::Options =
    check::Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };

/// Checks everything; an error if anything is wrong.
pub fn check(_: &Case, storage: &Arc<dyn Backend>) -> Result<()> {
    let report = check::check(Arc::clone(storage), &EVERYTHING, &Silent)?;
    if report.wrong { Err(Error::corrupt("the store", format!("{:#?}", report.findings))) } else { Ok(()) }
}

fn repair(_: &Case, storage: &Arc<dyn Backend>) -> Result<()> {
    repair::repair(Arc::clone(storage), &EVERYTHING, &Silent)?.failed.map_or(Ok(()), Err)
}

impl Case {
    /// A lab with a database and uploads, and an empty directory for its store.
    fn new(name: &'static str, verb: Verb) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("assets")).unwrap();
        let case = Self {
            name,
            verb,
            ram: MemoryFs::new(),
            promised: HashSet::new(),
            held: Held::new(),
            is_damaged: false,
            dir,
            runs: 0,
            bundle: None,
        };
        let db = case.database();
        db.execute_batch("CREATE TABLE users(id INTEGER PRIMARY KEY, name)").unwrap();
        let mut insert = db.prepare("INSERT INTO users VALUES (?1, ?2)").unwrap();
        db.execute_batch("BEGIN").unwrap();
        (0..600u64).for_each(|n| _ = insert.execute((n as i64, noise(n, 60))).unwrap());
        db.execute_batch("COMMIT").unwrap();
        drop(insert);
        (0..3).for_each(|n| case.upload(&format!("file-{n}"), n, 4000));
        case
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("lrl.db")).unwrap()
    }

    fn upload(&self, name: &str, seed: u64, len: usize) {
        std::fs::write(self.dir.path().join("assets").join(name), noise(seed + 1000, len)).unwrap();
    }

    /// What the lab holds now.
    pub fn source(&self) -> Contents {
        files(self.dir.path())
    }

    pub fn storage(&self) -> Arc<dyn Backend> {
        self.on(&self.ram)
    }

    /// The store on another disk.
    pub fn on(&self, ram: &MemoryFs) -> Arc<dyn Backend> {
        let below: Arc<dyn Backend> = Arc::new(ram.storage());
        match &self.bundle {
            Some(bundle) => Arc::new(EncryptedBackend::new(below, Keys::new([1; 32], bundle), None)),
            None => below,
        }
    }

    /// Encrypts the store, before there is one.
    fn encrypted(self) -> Self {
        Self { bundle: Some(Bundle::Full(new_secret().unwrap())), ..self }
    }

    /// Some rows and an upload change, one comes, and one goes.
    fn change(&self) {
        let at = (self.runs * 397 % 600) as i64;
        let update = "UPDATE users SET name = ?2 WHERE id BETWEEN ?1 AND ?1 + 3";
        self.database().execute(update, (at, noise(self.runs, 60))).unwrap();
        self.upload("changes", self.runs, 20_000);
        self.upload(&format!("file-{}", self.runs % 4), self.runs * 31, 3000);
    }

    /// Backs up as the lab is; the new snapshot is promised from here on.
    fn keep(&mut self) {
        let storage = self.storage();
        backup_at(&storage, self.dir.path(), self.runs + 1).unwrap();
        self.runs += 1;
        self.hold(&storage);
    }

    /// Takes what is listed now for promised.
    fn hold(&mut self, storage: &Arc<dyn Backend>) {
        let listed = contents(storage).unwrap();
        self.promised = listed.keys().copied().collect();
        let source = self.source();
        for (id, files) in listed {
            let right = self.held.entry(id).or_insert(source.clone());
            assert_eq!(*right, files);
        }
    }

    /// A lab with this many snapshots.
    fn with(name: &'static str, snapshots: u64, verb: Verb) -> Self {
        Self::new(name, verb).begun(snapshots)
    }

    fn begun(self, snapshots: u64) -> Self {
        let mut case = self;
        create(&*case.storage(), [1; 32]).unwrap();
        for n in 0..snapshots {
            if n > 0 {
                case.change();
            }
            case.keep();
        }
        case
    }

    /// Forgets all but the last two; they are not promised any more.
    fn forgotten(mut self) -> Self {
        forget(&self, &self.storage()).unwrap();
        self.hold(&self.storage());
        self
    }

    /// Removes all files of the index but this many.
    fn lose_index(&mut self, kept: usize) {
        self.is_damaged = true;
        let storage = self.storage();
        names(&storage, "index").iter().skip(kept).for_each(|name| storage.remove(name).unwrap());
    }

    fn settled(self) -> Self {
        Self { ram: self.ram.twin(), ..self }
    }
}

/// A lab to restore from.
pub fn restorable() -> Case {
    Case::with("restore", 2, check).settled()
}

/// All cases. A new verb that writes is one more line.
pub fn all() -> Vec<Case> {
    let first = Case::new("the first backup", begin);
    let step = Case::with("a small step", 2, back_up);
    step.change();
    let unchanged = Case::with("nothing changed", 2, back_up);
    let merge = Case::with("a backup that merges indexes", 2, back_up);
    merge.change();
    for n in 0..14 {
        let (storage, plain) = (merge.storage(), noise(n, 500));
        let store = open(&storage).unwrap();
        let session = WriteSession::new(&store);
        session.put(&plain, &[]).unwrap();
        session.seal().unwrap();
    }
    assert_eq!(names(&merge.storage(), "index").len(), 16);
    let mut lost_pack = Case::with("a backup that heals a lost pack", 1, back_up);
    lost_pack.keep();
    let storage = lost_pack.storage();
    storage.remove(&names(&storage, "packs")[0]).unwrap();
    (lost_pack.is_damaged, lost_pack.promised) = (true, HashSet::new());
    let mut lost_index = Case::with("a backup that heals a lost index", 3, back_up);
    lost_index.change();
    lost_index.lose_index(1);
    let mut forgets = Case::with("forget", 6, forget);
    forgets.promised = Case::last_two(&forgets);
    let prunes = Case::with("prune", 12, prune).forgotten();
    // What a killed run left: a pack in no index.
    let (storage, before) = (prunes.storage(), names(&prunes.storage(), "index"));
    let store = open(&storage).unwrap();
    let session = WriteSession::new(&store);
    session.put(b"what a dead run left", &[]).unwrap();
    session.seal().unwrap();
    names(&storage, "index")
        .iter()
        .filter(|name| !before.contains(name))
        .for_each(|name| storage.remove(name).unwrap());
    let mut prunes_lost_index = Case::with("prune without an index", 6, prune).forgotten();
    prunes_lost_index.lose_index(0);
    let mut repairs_index = Case::with("repair of a lost index", 4, repair);
    repairs_index.lose_index(0);
    let mut both = Case::with("forget and prune", 5, forget_and_prune);
    both.promised = Case::last_two(&both);
    let checks = Case::with("check", 3, check);
    let first_sealed = Case::new("the first backup, encrypted", begin).encrypted();
    let step_sealed = Case::new("a small step, encrypted", back_up).encrypted().begun(2);
    step_sealed.change();
    let mut both_sealed = Case::new("forget and prune, encrypted", forget_and_prune).encrypted().begun(5);
    both_sealed.promised = Case::last_two(&both_sealed);
    let mut repairs_sealed = Case::new("repair of a lost index, encrypted", repair).encrypted().begun(4);
    repairs_sealed.lose_index(0);
    let all = [
        first,
        step,
        unchanged,
        merge,
        lost_pack,
        lost_index,
        forgets,
        prunes,
        prunes_lost_index,
        repairs_index,
        both,
        checks,
        first_sealed,
        step_sealed,
        both_sealed,
        repairs_sealed,
    ];
    all.into_iter().map(Case::settled).collect()
}

impl Case {
    fn last_two(&self) -> HashSet<SnapshotId> {
        let names = open(&self.storage()).unwrap().snapshot_names(None).unwrap();
        names.iter().rev().take(2).map(|name| name.id).collect()
    }
}
