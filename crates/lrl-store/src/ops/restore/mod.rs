//! The verb `restore`: plan, stage beside the target, prove, swap by rename. Owns the road; what it replaces is kept, and a
//! restore that fails leaves everything as it was.

mod cursor;
mod file;
mod holders;
mod place;
mod plan;
mod room;
mod stage;
mod staging;
mod swap;
mod tree;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, fstat, statat, syncfs};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::format::entry::{Content, Time};
use crate::format::snapshot::{Database, Snapshot};
use crate::progress::{Observer, Phase, checkpoint};
use crate::store::{SnapshotName, Store};
use cursor::to_path;
use file::{Meta, Owners, Writer, create, dress};
pub use holders::Holder;
use place::Place;
use plan::{Plan, TreePlan};
use room::Room;
use stage::{Stage, TakeOver, Taken};
use staging::{Made, Staging};
use swap::Incoming;
pub use swap::Moved;

/// What of a snapshot is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// All that it holds.
    Whole,
    /// The database.
    DbOnly,
    /// The uploads.
    AssetsOnly,
    /// One file or directory by its raw path in the snapshot: `assets/ab12/photo.jpg`, or `lrl.db`.
    Path(Vec<u8>),
}

/// How to restore.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where `lrl.db` and `assets` go; created if it is not there.
    pub data_dir: PathBuf,
    /// Where `storage/…` goes.
    pub storage_dir: PathBuf,
    /// Which parts.
    pub what: What,
    /// Owner and group of everything that is restored, instead of the recorded ones.
    pub owner: Option<(u32, u32)>,
    /// Says what would happen and writes nothing.
    pub dry_run: bool,
    /// Restores also while processes have the files open.
    pub force: bool,
}

/// A part of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The database.
    Database,
    /// A whole root of uploads.
    Uploads,
    /// One file or directory.
    Path,
}

/// One target that was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What it is.
    pub part: Part,
    /// Where it is now; for a path whose parents were missing, the first of them.
    pub path: PathBuf,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What stood there, and the name under which it is kept: the thing itself first, then what lay beside a database.
    pub kept: Vec<Moved>,
}

/// What a restore did, or would do.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// True if nothing was written.
    pub dry_run: bool,
    /// The snapshot's or set's timestamp.
    pub timestamp: String,
    /// Every target.
    pub restored: Vec<Restored>,
    /// Regular files, the database included.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links and further names of files.
    pub links: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
    /// Files and bytes that were right already and were cloned, sharing their blocks.
    pub cloned: (u64, u64),
    /// Files and bytes that were right already and got a further name, for want of room.
    pub linked: (u64, u64),
    /// Who has the files open (with `force` or `dry_run`; otherwise they are a reason to refuse).
    pub holders: Vec<Holder>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Restores from a snapshot.
pub fn restore(
    store: &Store,
    name: &SnapshotName,
    snapshot: &Snapshot,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report> {
    let owners = owners(options);
    let mut plan = Plan::make(store, snapshot, options, owners, observer)?;
    let mut report = Report { timestamp: snapshot.timestamp.clone(), ..Report::default() };
    report.notes.append(&mut plan.notes);
    let found = plan.holders()?;
    report.admit(found, options)?;
    report.count(&plan)?;
    if options.dry_run {
        return Ok(report);
    }
    observer.phase(Phase::Restore, Some(report.bytes));

    let mut made = Made::default();
    let database_owner = plan.database.as_ref().map(|(database, _)| (database.uid, database.gid));
    let home_owner = options.owner.or_else(|| database_owner.filter(|_| owners.recorded));
    let mut homes = Homes::default();
    open_homes(&mut plan, &mut homes, &mut made, home_owner)?;

    let taken = Taken::default();
    let object = name.object();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
    let pool = pool.map_err(|e| Error::Refused(format!("the threads of a restore cannot be started: {e}")))?;
    let take_over = match plan.take_over {
        TakeOver::Clone if !homes.all.iter().all(|home| home.staging.can_clone()) => TakeOver::No,
        // Clones need no room either, and leave the old tree alone.
        TakeOver::Link if homes.all.iter().all(|home| home.staging.can_clone()) => TakeOver::Clone,
        other => other,
    };
    let staged = pool.install(|| {
        let database = || {
            plan.database.as_ref().map_or(Ok(()), |(database, place)| {
                stage_database(
                    &homes.writer(place, store, observer)?,
                    homes.of(place)?,
                    database,
                    place,
                    owners,
                    &object,
                )
            })
        };
        let uploads = || {
            plan.trees.iter().try_for_each(|tree| stage_tree(tree, &homes, store, owners, take_over, &taken, observer))
        };
        let (database, uploads) = rayon::join(database, uploads);
        // Whoever stopped because of the other half's failure has the lesser reason.
        match (database, uploads) {
            (Err(Error::Interrupted), Err(other)) | (Err(other), _) | (Ok(()), Err(other)) => Err(other),
            (Ok(()), Ok(())) => Ok(()),
        }
    });
    staged?;
    checkpoint(observer)?;
    homes.sync()?;
    if !options.force {
        refuse_holders(&plan.holders()?)?;
    }
    let incoming = incoming(&plan, &homes)?;
    let mut moved = swap::swap(&incoming)?;
    // The report begins with the database.
    moved.rotate_right(plan.database.iter().count());
    made.keep();
    report.restored.iter_mut().zip(moved).for_each(|(restored, moved)| restored.kept = moved);
    report.finish(take_over, &taken, owners);
    Ok(report)
}

fn owners(options: &Options) -> Owners {
    Owners { all: options.owner, recorded: rustix::process::geteuid().is_root() }
}

fn refuse_holders(holders: &[Holder]) -> Result<()> {
    let Some(first) = holders.first() else { return Ok(()) };
    let more = match holders.len() {
        1 => String::new(),
        n => format!(
            " (and {} more: {})",
            n - 1,
            holders[1..].iter().map(Holder::to_string).collect::<Vec<_>>().join("; ")
        ),
    };
    Err(Error::Refused(format!("{first}{more}: stop it before restoring, or say --force; nothing was changed")))
}

/// A directory in which targets are, its staging directory and the guard of its disk.
struct Home {
    path: PathBuf,
    staging: Staging,
    room: Room,
}

#[derive(Default)]
struct Homes {
    all: Vec<Home>,
}

impl Homes {
    fn of(&self, place: &Place) -> Result<&Home> {
        self.all
            .iter()
            .find(|home| home.path == place.home)
            .ok_or_else(|| Error::Refused(format!("{} was not prepared", place.home.display())))
    }

    fn writer<'a>(&'a self, place: &Place, store: &'a Store, observer: &'a dyn Observer) -> Result<Writer<'a>> {
        Ok(Writer { store, observer, room: &self.of(place)?.room })
    }

    fn open(&mut self, path: &Path, made: &mut Made, owner: Option<(u32, u32)>) -> Result<()> {
        if self.all.iter().any(|home| home.path == path) {
            return Ok(());
        }
        let dir = made.create(path, owner)?;
        let staging = Staging::create(&dir, path)?;
        let room = Room::new(Arc::clone(&staging.dir), path);
        self.all.push(Home { path: path.to_path_buf(), staging, room });
        Ok(())
    }

    /// Makes all that was staged durable: one sync for each disk, before the first rename.
    fn sync(&self) -> Result<()> {
        let mut done = Vec::new();
        for home in &self.all {
            let failed = |e: rustix::io::Errno| Error::io("sync", &home.path)(e.into());
            let device = fstat(&home.staging.dir).map_err(failed)?.st_dev;
            if !done.contains(&device) {
                syncfs(&home.staging.dir).map_err(failed)?;
                done.push(device);
            }
        }
        Ok(())
    }
}

fn open_homes(plan: &mut Plan<'_>, homes: &mut Homes, made: &mut Made, owner: Option<(u32, u32)>) -> Result<()> {
    let places =
        plan.database.iter_mut().map(|(_, place)| place).chain(plan.trees.iter_mut().map(|tree| &mut tree.place));
    for place in places {
        homes.open(&place.home, made, owner)?;
        if place.dir.is_none() {
            place.dir = staging::open_home(&place.home)?;
        }
    }
    Ok(())
}

fn incoming<'a>(plan: &'a Plan<'_>, homes: &'a Homes) -> Result<Vec<Incoming<'a>>> {
    // Uploads first: every row of the database then finds its file the moment it is there.
    let trees = plan.trees.iter().map(|tree| (&tree.place, false));
    let all = trees.chain(plan.database.iter().map(|(_, place)| (place, true)));
    all.map(|(place, is_database)| {
        Ok(Incoming { place, from: &homes.of(place)?.staging.dir, name: &place.name, is_database })
    })
    .collect()
}

fn stage_tree(
    plan: &TreePlan<'_>,
    homes: &Homes,
    store: &Store,
    owners: Owners,
    take_over: TakeOver,
    taken: &Taken,
    observer: &dyn Observer,
) -> Result<()> {
    let home = homes.of(&plan.place)?;
    let stage = Stage {
        tree: &plan.tree,
        dir: &home.staging.dir,
        path: &home.staging.path,
        old: plan.place.old_tree(),
        take_over,
        writer: homes.writer(&plan.place, store, observer)?,
        owners,
        taken,
    };
    stage.write(&plan.weight)
}

fn stage_database(
    writer: &Writer<'_>,
    home: &Home,
    database: &Database,
    place: &Place,
    owners: Owners,
    snapshot: &str,
) -> Result<()> {
    let path = home.staging.path.join(to_path(&place.name));
    let file = create(&home.staging.dir, &place.name).map_err(|e| Error::io("create", &path)(e.into()))?;
    let mut sha256 = Sha256::new();
    let content = Content::Tree(database.root);
    writer.write(&file, &content, database.size_bytes, &path, &mut |bytes| sha256.update(bytes))?;
    if hex(&sha256.finalize()) != database.sha256 {
        return Err(Error::corrupt(
            format!("the database of {snapshot}"),
            "does not have the SHA-256 that its snapshot says",
        ));
    }
    writer.observer.advance(0, 1);
    let recorded = Some((database.mode, (database.uid, database.gid)));
    dress_database(&file, place, recorded, Some(database.mtime), owners, &path)
}

/// Gives a restored database owner and mode of the file that it replaces, else those that were recorded, else the owner of its
/// directory.
fn dress_database(
    file: &std::fs::File,
    place: &Place,
    recorded: Option<(u32, (u32, u32))>,
    mtime: Option<Time>,
    owners: Owners,
    path: &Path,
) -> Result<()> {
    let (mode, owner) = match (place.existing_file(), recorded) {
        (Some(stat), _) => (stat.st_mode & 0o777, Some((stat.st_uid, stat.st_gid))),
        (None, Some((mode, owner))) if mode & 0o600 == 0o600 => (mode & 0o777, Some(owner)),
        _ => {
            let dir = place.dir.as_ref().and_then(|dir| statat(dir, ".", AtFlags::empty()).ok());
            (0o600, dir.map(|stat| (stat.st_uid, stat.st_gid)))
        }
    };
    let owner = owners.all.or(owner.filter(|_| owners.recorded));
    dress(file, &Meta { mode, owner, mtime }, false, path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Report {
    fn admit(&mut self, found: Vec<Holder>, options: &Options) -> Result<()> {
        self.dry_run = options.dry_run;
        self.holders = found;
        if options.dry_run || options.force { Ok(()) } else { refuse_holders(&self.holders) }
    }

    fn count(&mut self, plan: &Plan<'_>) -> Result<()> {
        if let Some((database, place)) = &plan.database {
            self.add(Part::Database, place, 1, database.size_bytes)?;
        }
        for tree in &plan.trees {
            self.add(tree.part, &tree.place, tree.weight.files, tree.weight.bytes)?;
            self.dirs += tree.weight.dirs;
            self.links += tree.weight.links;
        }
        Ok(())
    }

    fn add(&mut self, part: Part, place: &Place, files: u64, bytes: u64) -> Result<()> {
        self.files += files;
        self.bytes = self.bytes.saturating_add(bytes);
        let mut kept = Vec::new();
        let name = place.free_name()?;
        let path = |suffix: &str| place.dir_path.join(to_path(&[name.as_slice(), suffix.as_bytes()].concat()));
        if place.existing.is_some() {
            kept.push((place.path(), path("")));
        }
        if part == Part::Database {
            for suffix in place.sidecars()? {
                let was = place.dir_path.join(to_path(&[place.name.as_slice(), suffix.as_bytes()].concat()));
                kept.push((was, path(suffix)));
            }
        }
        self.restored.push(Restored { part, path: place.path(), files, bytes, kept });
        Ok(())
    }

    fn finish(&mut self, take_over: TakeOver, taken: &Taken, owners: Owners) {
        match take_over {
            TakeOver::No => {}
            TakeOver::Clone => self.cloned = taken.get(),
            TakeOver::Link => {
                self.linked = taken.get();
                self.notes.push(format!(
                    "the disk has no room for a second copy: {} files ({} bytes) that were right already are now shared with \
                     what is kept as *.pre-restore (hard links)",
                    self.linked.0, self.linked.1
                ));
            }
        }
        if !owners.recorded && owners.all.is_none() {
            self.notes.push("owners were not restored: only root can give files away".into());
        }
    }
}
