//! The world of the random life: one store, two labs, a clock, and the model of what every snapshot holds. After each operation
//! [`World::settle`] compares the store with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::lab::{Digest, Lab, Seen, Tree, digest, logical};
use super::shaky::Shaky;
use crate::backend::Backend;
use crate::error::Result;
use crate::format::entry::{Content, Entry, Kind};
use crate::fs::lock::LockMode;
use crate::ops::check::{self, ReadData, check};
use crate::progress::Silent;
use crate::store::tree::TreeItems;
use crate::store::{SnapshotName, Store, create};

pub const SOURCES: [&str; 2] = ["a", "b"];

/// What a snapshot holds.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The database's rows.
    pub logical: Option<Digest>,
    /// The database's bytes, known once they were read the first time.
    pub image: Option<Digest>,
    pub tree: Option<Tree>,
    /// Whether it could be read after the last operation. Nothing but damage may change that to the worse.
    pub is_readable: bool,
}

/// An object that is not what it was.
pub struct Damage {
    pub original: Vec<u8>,
    /// `None`: it was removed.
    pub now: Option<Vec<u8>>,
}

/// What an operation may have done to the list of snapshots.
#[derive(Default)]
pub struct Change {
    /// One of this source may have been added that holds this.
    pub born: Option<(String, Kept)>,
    /// Whether that one must be whole, whatever is damaged.
    pub must_be_whole: bool,
    /// These may be gone.
    pub may_go: BTreeSet<SnapshotName>,
    /// Snapshots may have become unreadable.
    pub is_harm: bool,
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub storage: Arc<Shaky>,
    pub labs: [Lab; 2],
    /// Seconds since 1970.
    pub clock: i64,
    pub kept: BTreeMap<SnapshotName, Kept>,
    pub damaged: BTreeMap<String, Damage>,
    /// An index was removed: check says so, and nothing is lost by it, until a prune lists again what the packs hold.
    pub is_index_lost: bool,
    /// There was harm while the store could not be opened: what it did is not in the model yet.
    pub is_harm_unseen: bool,
    /// Repairs have put away what snapshots need.
    pub is_something_away: bool,
    /// The records of drills, by their objects' names; with the snapshot, if it passed.
    pub drills: BTreeMap<String, Option<SnapshotName>>,
    /// What was done, by name.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What check blames for an index that is gone.
const LOST_INDEX: &str = "/memory/index";

type Read = (Option<Vec<u8>>, Option<Tree>);

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("cache")).unwrap();
        let storage = Arc::new(Shaky::new(dir.path().join("cache")));
        create(&*storage, [1; 32]).unwrap();
        // A day ahead of the files' own times: "unchanged" is proved from the first run on.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let clock = now.as_secs() as i64 + 86_400;
        let labs = [Lab::new(), Lab::new()];
        Self {
            dir,
            storage,
            labs,
            clock,
            kept: BTreeMap::new(),
            damaged: BTreeMap::new(),
            is_index_lost: false,
            is_harm_unseen: false,
            is_something_away: false,
            drills: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Opens the store; an error is that its config is damaged, or a fault.
    pub fn open(&self) -> Result<Store> {
        let storage: Arc<dyn Backend> = Arc::clone(&self.storage) as Arc<dyn Backend>;
        Store::open(storage, LockMode::Exclusive, Duration::ZERO, &Silent)
    }

    pub fn lab(&mut self, which: bool) -> &mut Lab {
        &mut self.labs[usize::from(which)]
    }

    /// Picks one of the model's snapshots.
    pub fn pick(&self, index: &proptest::sample::Index) -> Option<SnapshotName> {
        (!self.kept.is_empty()).then(|| self.kept.keys().nth(index.index(self.kept.len())).unwrap().clone())
    }

    /// Whether the damage is of a kind that a backup sees before it relies on the store: packs that are gone or cut short.
    pub fn is_damage_plain_to_see(&self) -> bool {
        let is_plain = |(name, damage): (&String, &Damage)| {
            name.starts_with("packs/") && damage.now.as_ref().is_none_or(|now| now.len() < damage.original.len())
        };
        self.damaged.iter().all(is_plain)
    }

    /// Compares the store with the model after an operation.
    pub fn settle(&mut self, change: Change) {
        self.storage.disarm();
        let storage = Arc::clone(&self.storage);
        // What an operation has replaced or removed is damaged no more.
        self.damaged.retain(|name, damage| storage.get(name) == damage.now);
        self.drills.retain(|name, _| storage.get(name).is_some());
        let born = self.settle_names(change.born);
        for name in self.kept.keys().cloned().collect::<Vec<_>>() {
            if storage.get(&name.object()).is_none() {
                assert!(change.may_go.contains(&name), "{name:?} is lost");
                self.kept.remove(&name);
            }
        }
        let is_harm = change.is_harm | std::mem::take(&mut self.is_harm_unseen);
        let report = check(
            storage.clone(),
            &check::Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None },
            &Silent,
        );
        let store = match (self.open(), report) {
            (Ok(store), Ok(report)) => {
                self.compare_check(&report, is_harm);
                (store, report)
            }
            (Err(error), report) => {
                assert!(self.damaged.contains_key("config"), "{error}");
                assert!(report.is_err() || report.is_ok_and(|report| report.wrong));
                self.is_harm_unseen = is_harm;
                return;
            }
            (Ok(_), Err(error)) => panic!("check: {error}"),
        };
        let (store, report) = store;
        let mut all_read = true;
        for (name, kept) in &mut self.kept {
            let read = read(&store, name);
            let was_readable = kept.is_readable;
            let label = format!("{} {} ({})", name.source, name.sequence, name.id.short());
            let wrong = || report.findings.iter().filter(|f| f.wrong && f.object != LOST_INDEX);
            let is_named = wrong().any(|f| f.snapshots.contains(&label) || f.object.ends_with(&name.object()));
            let more = report.more > 0 || wrong().any(|finding| finding.more_snapshots > 0);
            match &read {
                Ok(read) => {
                    compare(name, kept, read);
                }
                Err(error) => {
                    all_read = false;
                    assert!(is_harm || !self.damaged.is_empty() || !kept.is_readable, "{label}: {error}");
                    assert!(is_named || more, "{label}: {error}; check does not name it: {:#?}", report.findings);
                }
            }
            let must_be_whole = change.must_be_whole && born.as_ref() == Some(name);
            assert!(
                !must_be_whole || read.is_ok() && !is_named,
                "{label} was made from a whole source: {:#?}",
                report.findings
            );
            // A delta over a damaged chunk may be lucky and not use what is damaged of it: that is readable, and rightly blamed.
            kept.is_readable = read.is_ok() && !is_named;
            assert!(
                kept.is_readable || !was_readable || is_harm || born.as_ref() == Some(name),
                "{label} was whole before this: {:#?}",
                report.findings
            );
        }
        assert!(report.wrong || all_read, "clean, and cannot be restored");
    }

    /// Takes a new snapshot into the model.
    fn settle_names(&mut self, born: Option<(String, Kept)>) -> Option<SnapshotName> {
        let names = self.storage.names("snapshots");
        let mut new: Vec<_> = names.iter().map(|name| SnapshotName::parse(name).unwrap()).collect();
        new.retain(|name| !self.kept.contains_key(name));
        assert!(new.len() <= 1, "{new:?}");
        let name = new.pop()?;
        let (source, mut kept) = born.unwrap_or_else(|| panic!("{name:?} came from nowhere"));
        assert_eq!(name.source, source);
        // Whether it can be read is found out; with nothing damaged it must be.
        kept.is_readable = self.damaged.is_empty();
        self.kept.insert(name.clone(), kept);
        Some(name)
    }

    fn compare_check(&self, report: &check::Report, is_harm: bool) {
        let unreadable = self.kept.values().any(|kept| !kept.is_readable);
        if self.damaged.is_empty() && !unreadable && !is_harm {
            let mut wrong =
                report.findings.iter().filter(|f| f.wrong && !(self.is_index_lost && f.object == LOST_INDEX));
            assert!(wrong.next().is_none(), "nothing is damaged: {:#?}", report.findings);
        }
        for (name, damage) in &self.damaged {
            let is_named = report.findings.iter().any(|finding| finding.object.ends_with(name.as_str()));
            assert!(damage.now.is_none() || is_named || report.more > 0, "{name} is not named: {:#?}", report.findings);
        }
    }
}

fn compare(name: &SnapshotName, kept: &mut Kept, (image, tree): &Read) {
    assert_eq!(image.is_some(), kept.logical.is_some(), "{name:?}");
    if let (Some(image), Some(right)) = (image, kept.logical) {
        let read = digest(image);
        if kept.image.is_none() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("copy");
            std::fs::write(&path, image).unwrap();
            assert!(logical(&Connection::open(path).unwrap()) == right, "{name:?} has other rows");
        }
        assert!(*kept.image.get_or_insert(read) == read, "{name:?} has another database");
    }
    assert_same(tree.as_ref(), kept.tree.as_ref(), &format!("{name:?}"));
}

#[track_caller]
pub fn assert_same(found: Option<&Tree>, right: Option<&Tree>, what: &str) {
    if found != right {
        let (found, right) = (found.cloned().unwrap_or_default(), right.cloned().unwrap_or_default());
        let names: BTreeSet<_> = found.keys().chain(right.keys()).collect();
        let name = names.into_iter().find(|name| found.get(*name) != right.get(*name));
        let shown = name.map(|name| String::from_utf8_lossy(name));
        panic!("{what}: {shown:?} is {:?}, not {:?}", name.and_then(|n| found.get(n)), name.and_then(|n| right.get(n)));
    }
}

/// Reads all that a snapshot holds.
pub fn read(store: &Store, name: &SnapshotName) -> Result<Read> {
    let snapshot = store.snapshot(name)?;
    let bytes = |content: &Content, len: u64| {
        let mut bytes = Vec::new();
        store.read_content(content, 0, len, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    };
    let image = snapshot.databases.first().map(|half| bytes(&Content::Tree(half.root), half.size_bytes)).transpose()?;
    let mut tree = snapshot.files.as_ref().map(|_| Tree::new());
    if let (Some(half), Some(tree)) = (&snapshot.files, &mut tree) {
        for entry in TreeItems::<Entry>::new(store, &half.list)? {
            let entry = entry?;
            let (kind, contents) = match &entry.kind {
                Kind::Dir => ("directory", digest(b"")),
                Kind::Symlink { target } => ("link", digest(target)),
                Kind::File { size, content } => ("file", digest(&bytes(content, *size)?)),
                Kind::Hardlink { target } => ("file", tree[target].contents),
            };
            let mode = if kind == "link" { 0o777 } else { entry.mode };
            let seen = Seen { kind, mode, mtime: (entry.mtime.secs, entry.mtime.nanos), contents };
            if entry.path != b"assets" {
                tree.insert(entry.path, seen);
            }
        }
    }
    Ok((image, tree))
}
