//! How the parts of a set of the manual's layout are staged from its files, also those of a set that another program wrote.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, mkdirat, statat};
use rustix::io::Errno;

use super::commit::Staged;
use super::find_target::Finder;
use super::links::Links;
use super::model::{ASSETS, DATABASE, Options, Part, Report, Reuse, STORAGE};
use super::plan_space::require_space_of_set;
use super::safety::{refuse_overlap, storage_home};
use super::set_parts::{Root, RootsSeen, SetDatabase, SetParts, skipped};
use super::source::{Run, Source};
use super::stage_set::{count, give_away, note_count, prove, stage_copy, unpack};
use super::target::Target;
use super::target_dirs::StagingDirs;
use crate::error::{Error, Result};
use crate::fs::resolve::is_other_mount;
use crate::hint::Message;
use crate::progress::Phase;
use crate::set::archive::extract::{self, verify};
use crate::set::manifest::{Assets, Manifest};
use crate::set::missing::Skip;

/// The files of a set of the manual's layout.
pub(super) struct SetSource<'a> {
    finder: Finder<'a>,
    manifest: &'a Path,
    /// Another program wrote the set.
    is_foreign: bool,
    databases: Vec<(SetDatabase<'a>, Target)>,
    archive: Option<(&'a Assets, PathBuf)>,
    /// The names under which the databases are staged.
    names: Vec<Vec<u8>>,
    /// The archive's roots that are known so far.
    roots: Vec<Root>,
    /// What the set lacks of what is restored.
    skipped: (Vec<Skip>, u64),
}

impl<'a> SetSource<'a> {
    /// Finds the set's files and where they go; adds to the notes.
    pub(crate) fn plan(
        run: &'a Run<'_>,
        manifest: &'a Manifest,
        path: &'a Path,
        notes: &mut Vec<Message>,
    ) -> Result<Self> {
        let options = run.options;
        let finder = Finder::new(&run.dirs);
        let SetParts { databases, archive } = SetParts::select(manifest, path, options, notes)?;
        let mut roots = Vec::new();
        if archive.is_some() {
            roots.push(Root::new(ASSETS, finder.find(&options.data_dir, &[ASSETS], Links::First)?));
        }
        let found = |database| Ok((database, finder.find(&options.data_dir, &[DATABASE], Links::First)?));
        let databases = databases.into_iter().map(found).collect::<Result<Vec<_>>>()?;
        let names = (0..databases.len()).map(|n| format!("database-{n}").into_bytes()).collect();
        let (is_foreign, skipped) = (manifest.lrl.is_none(), skipped(manifest, path, &options.what));
        let set = Self { finder, manifest: path, is_foreign, databases, archive, names, roots, skipped };
        set.refuse_overlap()?;
        Ok(set)
    }

    fn refuse_overlap(&self) -> Result<()> {
        let targets: Vec<&Target> = self.targets().into_iter().map(|(target, _)| target).collect();
        refuse_overlap(&targets, &[self.manifest.to_path_buf()])
    }

    fn require_space(&self) -> Result<()> {
        let databases =
            self.databases.iter().map(|(database, target)| (target, database.entry.size_bytes.unwrap_or(0), 1));
        // All of it is unpacked there first.
        let archive = self.archive.as_ref().zip(self.roots.first()).map(|((assets, _), root)| {
            (&root.target, assets.total_source_size_bytes.unwrap_or(0), assets.file_count.unwrap_or(0))
        });
        require_space_of_set(databases.chain(archive))
    }

    /// Unpacks the archive beside its targets, which are known then.
    fn unpack(&mut self, run: &Run<'_>, dirs: &mut StagingDirs<'_>, report: &mut Report) -> Result<()> {
        let Some((assets, archive)) = self.archive.clone() else { return Ok(()) };
        let none = || Error::Missing { object: run.options.data_dir.display().to_string() };
        // Where most of it goes.
        let data = self.roots.first().map(|root| dirs.of(&root.target)).ok_or_else(none)??;
        let (dir, counts) = unpack(&archive, None, data, run)?;
        note_count(assets, &counts, &mut report.notes);
        self.find_roots(&archive, &dir, run.options, &mut report.notes)?;
        let storage = count(&dir, STORAGE);
        for root in &mut self.roots {
            dirs.open(&mut root.target)?;
            let home = dirs.of(&root.target)?;
            let unpacked = if is_other_mount(&home.staging.dir, &dir) {
                // On another disk, nothing can be renamed to there: the archive is unpacked there as well.
                unpack(&archive, None, home, run)?.0
            } else {
                Arc::clone(&dir)
            };
            give_away(&unpacked, &root.name, &root.target, self.is_foreign, run)?;
            root.unpacked = Some(unpacked);
            let (files, bytes) = match root.name.as_slice() {
                STORAGE => (storage.files, storage.bytes),
                _ => (counts.files.saturating_sub(storage.files), counts.bytes.saturating_sub(storage.bytes)),
            };
            report.add(Part::Uploads, &root.target, files, bytes)?;
        }
        self.refuse_overlap()
    }

    /// Finds the targets of what the archive turned out to hold.
    fn find_roots(
        &mut self,
        archive: &Path,
        dir: &Arc<OwnedFd>,
        options: &Options,
        notes: &mut Vec<Message>,
    ) -> Result<()> {
        let failed = |e: Errno| Error::io("list", archive)(e.into());
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
                    self.roots.push(Root::new(STORAGE, self.finder.find(&home, &[&name], Links::First)?));
                }
                other => {
                    let other = String::from_utf8_lossy(other).into_owned();
                    notes.push(
                        format!("the archive also holds `{other}`, which is no part of a lab: it was not restored")
                            .into(),
                    );
                    continue;
                }
            }
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(Error::corrupt(archive.display(), format!("its `{name}` is no directory")));
            }
        }
        Ok(())
    }
}

impl Source for SetSource<'_> {
    fn description(&self) -> String {
        format!("set {}", self.manifest.display())
    }

    fn targets(&self) -> Vec<(&Target, Part)> {
        let databases = self.databases.iter().map(|(_, target)| (target, Part::Database));
        databases.chain(self.roots.iter().map(|root| (&root.target, Part::Uploads))).collect()
    }

    fn targets_mut(&mut self) -> Vec<&mut Target> {
        let roots = self.roots.iter_mut().map(|root| &mut root.target);
        self.databases.iter_mut().map(|(_, target)| target).chain(roots).collect()
    }

    /// As the manifest states.
    fn bytes(&self) -> Option<u64> {
        let database = self.databases.iter().map(|(database, _)| database.entry.size_bytes).sum::<Option<u64>>();
        let assets = self.archive.as_ref().map_or(Some(0), |(assets, _)| assets.total_source_size_bytes);
        database?.checked_add(assets?)
    }

    fn prove(&self, run: &Run<'_>, notes: &mut Vec<Message>) -> Result<()> {
        let len = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
        let archive = self.archive.as_ref().map_or(0, |(_, archive)| len(archive));
        let databases = self.databases.iter().map(|(database, _)| len(&database.copy)).sum::<u64>();
        run.observer.phase(Phase::Verify, Some(archive + if run.options.dry_run { databases } else { 0 }));
        if let Some((assets, archive)) = &self.archive {
            prove(archive, assets.sha256.as_deref(), assets.archive_size_bytes, run.observer, notes)?;
        }
        self.require_space()
    }

    fn dry_run(&self, run: &Run<'_>, report: &mut Report) -> Result<()> {
        for (database, target) in &self.databases {
            let SetDatabase { entry, copy, .. } = database;
            let len = prove(copy, entry.sha256.as_deref(), entry.size_bytes, run.observer, &mut report.notes)?;
            database.require_readable(run)?;
            report.add(Part::Database, target, 1, len)?;
        }
        let Some((assets, archive)) = &self.archive else { return Ok(()) };
        let mut roots = RootsSeen::default();
        let mut how = extract::Options {
            owners: false,
            xattrs: None,
            limit: None,
            watch: Some(&mut roots),
            only: None,
            observer: run.observer,
        };
        let counts = verify(archive, &mut how)?;
        note_count(assets, &counts, &mut report.notes);
        if let Some(root) = self.roots.first() {
            report.add(Part::Uploads, &root.target, counts.files, counts.bytes)?;
        }
        if roots.storage {
            let (home, name) = storage_home(&run.options.storage_dir)?;
            report.add(Part::Uploads, &self.finder.find(&home, &[&name], Links::First)?, 0, 0)?;
        }
        Ok(())
    }

    fn stage(&mut self, run: &Run<'_>, dirs: &mut StagingDirs<'_>, report: &mut Report) -> Result<Reuse> {
        for ((database, target), name) in self.databases.iter().zip(&self.names) {
            let len = stage_copy(database, (target, name), dirs.of(target)?, run, &mut report.notes)?;
            report.add(Part::Database, target, 1, len)?;
        }
        self.unpack(run, dirs, report)?;
        Ok(Reuse::No)
    }

    fn staged<'s>(&'s self, dirs: &'s StagingDirs<'_>) -> Result<Vec<Staged<'s>>> {
        let mut staged = Vec::new();
        for root in &self.roots {
            if let Some(from) = &root.unpacked {
                staged.push(Staged {
                    target: &root.target,
                    part: Part::Uploads,
                    from,
                    name: &root.name,
                    databases: Vec::new(),
                });
            }
        }
        for ((_, target), name) in self.databases.iter().zip(&self.names) {
            let from = &dirs.of(target)?.staging.dir;
            staged.push(Staged { target, part: Part::Database, from, name, databases: Vec::new() });
        }
        Ok(staged)
    }

    fn take_skipped(&self) -> (Vec<Skip>, u64) {
        self.skipped.clone()
    }
}
