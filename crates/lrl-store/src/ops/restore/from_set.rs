//! The restore of a set, also one that another program wrote: the files that the manifest names are proved by their SHA-256,
//! the copy and the unpacked archive are staged, then swapped in as a snapshot's would be.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, mkdirat, statat};
use rustix::io::Errno;

use super::commit;
use super::commit::Staged;
use super::open_files;
use super::open_files::{Process, Watched};
use super::plan::{ASSETS, DATABASE, STORAGE};
use super::report::refuse_holders;
use super::safety::{refuse_overlap, storage_home, watch_database, watch_tree};
use super::stage_set::{count, give_away, note_count, prove, stage_copy, unpack};
use super::stage_tree::{Reuse, ReuseCounts};
use super::staging_dir::CreatedDirs;
use super::staging_dirs::StagingDirs;
use super::target::Target;
use super::{AskLocks, Moved, Options, Part, Report, What, clean, owners, resume_interrupted};
use crate::error::{Error, Result};
use crate::fs::lock;
use crate::fs::resolve::{OpenDirs, is_other_mount};
use crate::fs::space::{Reserve, free_at};
use crate::progress::{Observer, Phase, checkpoint, size};
use crate::set::archive::extract;
use crate::set::archive::extract::verify;
use crate::set::manifest::{Assets, Database, Manifest, find_beside};

/// The files of a set and where they go.
struct Set<'a> {
    doors: &'a OpenDirs,
    taken: ReuseCounts,
    database: Option<(&'a Database, PathBuf, Target)>,
    assets: Option<(&'a Assets, PathBuf)>,
    /// Targets of the archive's roots, with their names in it.
    roots: Vec<(&'static [u8], Target)>,
    manifest: &'a Path,
}

/// Restores from the set that a manifest describes.
pub fn restore_set(manifest_path: &Path, options: &Options, observer: &dyn Observer) -> Result<Report> {
    let _held = lock::hold(manifest_path);
    let manifest = Manifest::read(manifest_path)?;
    let owners = owners(options);
    let mut report = Report { timestamp: manifest.timestamp_utc.clone(), ..Report::default() };
    let doors = &OpenDirs::default();
    report.notes = resume_interrupted(doors, options)?;
    let mut set = Set::find(doors, &manifest, manifest_path, options, &mut report.notes)?;
    set.refuse()?;
    report.check_open_files(set.holders(options.locks)?, options)?;
    observer.phase(Phase::Verify, None);
    if let Some((assets, archive)) = &set.assets {
        prove(archive, assets.sha256.as_deref(), assets.archive_size_bytes, observer, &mut report.notes)?;
    }
    set.find_room()?;
    if options.dry_run {
        set.dry_run(options, &mut report, observer)?;
        return Ok(report);
    }

    let mut made = CreatedDirs::default();
    let mut homes = StagingDirs::default();
    let home_owner = options.owner;
    made.create(doors, &options.data_dir, home_owner)?;
    for place in set.places_mut() {
        homes.open(place, doors, &mut made, home_owner)?;
    }
    observer.phase(Phase::Restore, set.bytes());
    if let Some((database, copy, place)) = &set.database {
        let home = homes.of(place)?;
        let (len, was_given) = stage_copy(database, copy, place, home, owners, observer, &mut report.notes)?;
        set.taken.owner(was_given);
        report.add(Part::Database, place, 1, len)?;
    }
    let unpacked = set.unpack(manifest.lrl.is_none(), options, &mut homes, &mut made, &mut report, observer)?;
    checkpoint(observer)?;
    homes.sync()?;
    if !options.force {
        refuse_holders(&set.holders(options.locks)?)?;
    }
    let mut incoming = Vec::new();
    for ((root, place), from) in set.roots.iter().zip(&unpacked) {
        incoming.push(Staged { place, from, name: root, part: Part::Uploads });
    }
    if let Some((_, _, place)) = &set.database {
        incoming.push(Staged { place, from: &homes.of(place)?.staging.dir, name: &place.name, part: Part::Database });
    }
    let placed = commit::place(doors, options, format!("set {}", manifest_path.display()), &incoming)?;
    made.keep();
    let kept: Vec<(&Target, &[Moved])> =
        incoming.iter().zip(&placed.moved).map(|(one, moved)| (one.place, moved.as_slice())).collect();
    let dropped = if options.no_keep { Some(clean::drop_kept(doors, &options.data_dir, &kept)?) } else { None };
    report.placed(placed, set.database.is_some());
    report.drop_kept(dropped);
    report.finish(Reuse::No, &set.taken, owners);
    Ok(report)
}

impl<'a> Set<'a> {
    fn find(
        doors: &'a OpenDirs,
        manifest: &'a Manifest,
        path: &'a Path,
        options: &Options,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let lacks = |what: &str| Error::NotFound(format!("the set of {} holds no {what}", path.display()));
        let (database, assets) = (manifest.database(), manifest.assets());
        let (database, assets) = match options.what {
            What::Whole => (database, assets),
            What::DbOnly => (Some(database.ok_or_else(|| lacks("database"))?), None),
            What::AssetsOnly => (None, Some(assets.ok_or_else(|| lacks("uploads"))?)),
            What::Paths(_) => {
                return Err(Error::Refused(
                    "--path works on snapshots; out of a set, `tar -xzf` with the path takes a single file".into(),
                ));
            }
        };
        match (database, assets, &options.what) {
            (None, None, _) => return Err(lacks("database and no uploads")),
            (Some(_), None, What::Whole) => notes.push("the set holds no uploads: those here were left alone".into()),
            (None, Some(_), What::Whole) => notes.push("the set holds no database: the one here was left alone".into()),
            _ => {}
        }
        let mut set = Set {
            doors,
            taken: ReuseCounts::default(),
            database: None,
            assets: None,
            roots: Vec::new(),
            manifest: path,
        };
        if let Some(database) = database {
            let place = Target::find(doors, &options.data_dir, &[DATABASE])?;
            set.database = Some((database, find_beside(path, &database.backup)?, place));
        }
        if let Some(assets) = assets {
            set.assets = Some((assets, find_beside(path, &assets.backup)?));
            set.roots.push((ASSETS, Target::find(doors, &options.data_dir, &[ASSETS])?));
        }
        Ok(set)
    }

    fn refuse(&self) -> Result<()> {
        let places = self.database.iter().map(|(_, _, place)| place).chain(self.roots.iter().map(|(_, place)| place));
        refuse_overlap(&places.collect::<Vec<_>>(), &[self.manifest.to_path_buf()])
    }

    fn holders(&self, locks: Option<AskLocks>) -> Result<Vec<Process>> {
        let mut watched: Vec<Watched> = Vec::new();
        if let Some((_, _, place)) = &self.database {
            watch_database(place, &mut watched)?;
        }
        self.roots.iter().for_each(|(_, place)| watch_tree(place, &mut watched));
        Ok(open_files::find(&watched, locks))
    }

    fn places_mut(&mut self) -> impl Iterator<Item = &mut Target> {
        let roots = self.roots.iter_mut().map(|(_, place)| place);
        self.database.iter_mut().map(|(_, _, place)| place).chain(roots)
    }

    /// Returns the bytes that will be written, as far as the manifest says.
    fn bytes(&self) -> Option<u64> {
        let database = self.database.as_ref().map_or(Some(0), |(database, _, _)| database.size_bytes);
        let assets = self.assets.as_ref().map_or(Some(0), |(assets, _)| assets.total_source_size_bytes);
        database?.checked_add(assets?)
    }

    fn find_room(&self) -> Result<()> {
        let root = self.roots.first().map(|(_, place)| place);
        let Some(place) = root.or(self.database.as_ref().map(|(_, _, place)| place)) else { return Ok(()) };
        let free = free_at(&place.base.0, Reserve::LEAST)?;
        let files = self.assets.as_ref().and_then(|(assets, _)| assets.file_count).unwrap_or(0);
        let needed = self.bytes().unwrap_or(0).saturating_add(files.saturating_mul(free.block / 2));
        if needed <= free.bytes && files <= free.inodes {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "the restored data need about {} beside what is there, {} more than the disk of {} has free. Make room (`lrl restore \
             --clean` removes what earlier restores kept; older sets), or restore to another disk with --target; nothing was changed",
            size(needed),
            size(needed.saturating_sub(free.bytes)),
            place.base.0.display()
        )))
    }

    /// Unpacks the archive beside its targets; returns, for each root, the directory that holds it.
    fn unpack(
        &mut self,
        of_others: bool,
        options: &Options,
        homes: &mut StagingDirs,
        made: &mut CreatedDirs,
        report: &mut Report,
        observer: &dyn Observer,
    ) -> Result<Vec<Arc<OwnedFd>>> {
        let Some((assets, archive)) = self.assets.clone() else { return Ok(Vec::new()) };
        let owners = owners(options);
        let none = || Error::Missing { object: options.data_dir.display().to_string() };
        // Where most of it goes.
        let data = self.roots.first().map(|(_, place)| homes.of(place)).ok_or_else(none)??;
        let (dir, counts) = unpack(&archive, data, owners, &self.taken, observer)?;
        note_count(assets, &counts, &mut report.notes);
        self.roots = self.find_roots(&dir, options, &mut report.notes)?;
        let storage = count(&dir, STORAGE);
        let mut unpacked = Vec::new();
        for (root, place) in &mut self.roots {
            homes.open(place, self.doors, made, options.owner)?;
            let home = homes.of(place)?;
            let from = if is_other_mount(&home.staging.dir, &dir) {
                // Another disk: nothing can be renamed to there, so the archive is unpacked there as well.
                unpack(&archive, home, owners, &self.taken, observer)?.0
            } else {
                Arc::clone(&dir)
            };
            give_away(&from, root, place, owners, of_others, &self.taken)?;
            let (files, bytes) = match *root {
                STORAGE => (storage.files, storage.bytes),
                _ => (counts.files.saturating_sub(storage.files), counts.bytes.saturating_sub(storage.bytes)),
            };
            report.add(Part::Uploads, place, files, bytes)?;
            unpacked.push(from);
        }
        self.refuse()?;
        Ok(unpacked)
    }

    /// Finds the targets of what the archive holds.
    fn find_roots(
        &mut self,
        dir: &Arc<OwnedFd>,
        options: &Options,
        notes: &mut Vec<String>,
    ) -> Result<Vec<(&'static [u8], Target)>> {
        let mut roots = std::mem::take(&mut self.roots);
        let archive = self.assets.as_ref().map(|(_, archive)| archive.display().to_string()).unwrap_or_default();
        let failed = |e: Errno| Error::io("list", &archive)(e.into());
        match mkdirat(dir, ASSETS, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        for entry in Dir::read_from(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            match name {
                b"." | b".." => continue,
                ASSETS => {}
                STORAGE => {
                    let (home, name) = storage_home(&options.storage_dir)?;
                    roots.push((STORAGE, Target::find(self.doors, &home, &[&name])?));
                }
                other => {
                    let other = String::from_utf8_lossy(other).into_owned();
                    notes.push(format!(
                        "the archive also holds `{other}`, which is no part of a lab: it was not restored"
                    ));
                    continue;
                }
            }
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(Error::corrupt(archive, format!("its `{name}` is no directory")));
            }
        }
        Ok(roots)
    }

    /// Proves without writing that the set could be restored.
    fn dry_run(&mut self, options: &Options, report: &mut Report, observer: &dyn Observer) -> Result<()> {
        if let Some((database, copy, place)) = &self.database {
            let len = prove(copy, database.sha256.as_deref(), database.size_bytes, observer, &mut report.notes)?;
            report.add(Part::Database, place, 1, len)?;
        }
        let Some((assets, archive)) = &self.assets else { return Ok(()) };
        let mut seen = Roots::default();
        let mut how = extract::Options { owners: false, limit: None, watch: Some(&mut seen), observer };
        let counts = verify(archive, &mut how)?;
        note_count(assets, &counts, &mut report.notes);
        if let Some((_, place)) = self.roots.first() {
            report.add(Part::Uploads, place, counts.files, counts.bytes)?;
        }
        if seen.storage {
            let (home, name) = storage_home(&options.storage_dir)?;
            report.add(Part::Uploads, &Target::find(self.doors, &home, &[&name])?, 0, 0)?;
        }
        Ok(())
    }
}

/// Notices files of the second root.
#[derive(Default)]
struct Roots {
    storage: bool,
}

impl extract::FileVisitor for Roots {
    fn file(&mut self, path: &[u8], _: u64, _: &[u8; 32]) -> Result<()> {
        self.storage |= path.starts_with(b"storage/");
        Ok(())
    }
}
