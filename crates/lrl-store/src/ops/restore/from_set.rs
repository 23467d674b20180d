//! How the parts of a set are staged from its files, also those of a set that another program wrote.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, mkdirat, statat};
use rustix::io::Errno;

use super::commit::Staged;
use super::find_target::Finder;
use super::links::Links;
use super::model::{ASSETS, DATABASE, Options, Part, Report, Reuse, STORAGE};
use super::safety::{refuse_overlap, storage_home};
use super::set_parts::{Root, RootsSeen, select, skipped};
use super::set_site::{InTree, require_absent, top_level, unpack_site};
use super::source::{Run, Source};
use super::stage_set::{count, give_away, note_count, prove, stage_copy, unpack};
use super::target::Target;
use super::target_dirs::StagingDirs;
use crate::error::{Error, Result};
use crate::fs::dir::components;
use crate::fs::resolve::is_other_mount;
use crate::fs::space::{Reserve, free_at};
use crate::progress::Phase;
use crate::set::archive::extract::{self, verify};
use crate::set::manifest::{Assets, Database, Layout, Manifest, find_beside};
use crate::set::missing::Skip;
use crate::units::size;

/// The files of a set.
pub(super) struct SetSource<'a> {
    finder: Finder<'a>,
    manifest: &'a Path,
    /// Another program wrote the set.
    is_foreign: bool,
    databases: Vec<(&'a Database, PathBuf, Target)>,
    archive: Option<(&'a Assets, PathBuf)>,
    /// The names under which the databases are staged: two in different directories may have the same.
    names: Vec<Vec<u8>>,
    /// Databases in trees.
    in_trees: Vec<InTree<'a>>,
    /// The archive's roots that are known so far; of a site each member directly in its root, and directories that databases need.
    roots: Vec<Root>,
    /// What the set lacks of what is restored.
    skipped: (Vec<Skip>, u64),
}

impl<'a> SetSource<'a> {
    /// Finds the set's files and where they go; adds to the notes.
    pub fn plan(run: &'a Run<'_>, manifest: &'a Manifest, path: &'a Path, notes: &mut Vec<String>) -> Result<Self> {
        let options = run.options;
        let finder = Finder::new(&run.dirs);
        let (databases, assets) = select(manifest, path, options, notes)?;
        let is_foreign = manifest.lrl.is_none();
        let (in_trees, roots) = (Vec::new(), Vec::new());
        let mut set = Self {
            finder,
            manifest: path,
            is_foreign,
            databases: Vec::new(),
            archive: None,
            names: Vec::new(),
            in_trees,
            roots,
            skipped: skipped(manifest, path, &options.what),
        };
        if let Some(assets) = assets {
            let archive = find_beside(path, &assets.backup)?;
            match assets.layout {
                Layout::Manual => {
                    let target = set.finder.find(&options.data_dir, &[ASSETS], Links::First)?;
                    set.roots.push(Root::new(ASSETS, target));
                }
                Layout::Root => set.add_members(&archive, options, notes)?,
            }
            set.archive = Some((assets, archive));
        }
        databases.into_iter().try_for_each(|database| set.add_database(database, options))?;
        set.refuse_overlap()?;
        Ok(set)
    }

    /// Returns whether it is the set of a site with files.
    fn is_site(&self) -> bool {
        self.archive.as_ref().is_some_and(|(assets, _)| assets.layout == Layout::Root)
    }

    /// Adds a target for each member directly in the root of a site's archive.
    fn add_members(&mut self, archive: &Path, options: &Options, notes: &mut Vec<String>) -> Result<()> {
        for (name, _) in top_level(archive, notes)? {
            let target = self.finder.find(&options.data_dir, &[&name], Links::Never)?;
            require_absent(&target, self.manifest)?;
            self.roots.push(Root::new(&name, target));
        }
        Ok(())
    }

    /// Adds a database: in the tree that holds it, else by itself.
    fn add_database(&mut self, database: &'a Database, options: &Options) -> Result<()> {
        let path = database.list_path();
        let components: Vec<&[u8]> = components(&path).collect();
        let copy = find_beside(self.manifest, &database.backup)?;
        let first = components.first().copied().unwrap_or_default();
        if self.is_site()
            && let Some(root) = self.roots.iter().position(|root| !root.is_made && root.name == first)
        {
            self.in_trees.push(InTree { database, copy, root, below: path });
            return Ok(());
        }
        let links = if path == DATABASE && !self.is_site() { Links::First } else { Links::Never };
        let target = self.finder.find(&options.data_dir, &components, links)?;
        if self.is_site() {
            require_absent(&target, self.manifest)?;
        }
        if target.depth == components.len() {
            self.names.push(format!("database-{}", self.names.len()).into_bytes());
            self.databases.push((database, copy, target));
            return Ok(());
        }
        // Its directory is missing, and is made with the database in it.
        if self.archive.is_some() && !self.is_site() {
            return Err(Error::NotFound(format!("there is no {}: make that directory first", target.path().display())));
        }
        let below = components[target.depth - 1..].join(&b'/');
        let is_same = |root: &Root| {
            root.is_made && (&root.target.dir_path, &root.target.name) == (&target.dir_path, &target.name)
        };
        let root = self.roots.iter().position(is_same).unwrap_or(self.roots.len());
        if root == self.roots.len() {
            let name = target.name.clone();
            self.roots.push(Root { is_made: true, ..Root::new(&name, target) });
        }
        self.in_trees.push(InTree { database, copy, root, below });
        Ok(())
    }

    fn refuse_overlap(&self) -> Result<()> {
        let targets: Vec<&Target> = self.targets().into_iter().map(|(target, _)| target).collect();
        refuse_overlap(&targets, &[self.manifest.to_path_buf()])
    }

    fn require_space(&self) -> Result<()> {
        let root = self.roots.first().map(|root| &root.target);
        let Some(target) = root.or(self.databases.first().map(|(_, _, target)| target)) else { return Ok(()) };
        let free = free_at(&target.base.0, Reserve::LEAST)?;
        let files = self.archive.as_ref().and_then(|(assets, _)| assets.file_count).unwrap_or(0);
        let needed = self.bytes().unwrap_or(0).saturating_add(files.saturating_mul(free.block / 2));
        if needed <= free.bytes && files <= free.inodes {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "the restored data need about {} beside what is there, {} more than the disk of {} has free. Make room (`lrl restore \
             --clean` removes what earlier restores kept; older sets), or restore to another disk with --target; nothing was changed",
            size(needed),
            size(needed.saturating_sub(free.bytes)),
            target.base.0.display()
        )))
    }

    /// Unpacks the archive beside its targets, which are known then.
    fn unpack(&mut self, run: &Run<'_>, dirs: &mut StagingDirs<'_>, report: &mut Report) -> Result<()> {
        if self.is_site() || self.archive.is_none() {
            let archive = self.archive.as_ref().map(|(assets, archive)| (*assets, archive.as_path()));
            return unpack_site(archive, &mut self.roots, &self.in_trees, run, dirs, report);
        }
        let Some((assets, archive)) = self.archive.clone() else { return Ok(()) };
        let none = || Error::Missing { object: run.options.data_dir.display().to_string() };
        // Where most of it goes.
        let data = self.roots.first().map(|root| dirs.of(&root.target)).ok_or_else(none)??;
        let (dir, counts) = unpack(&archive, data, run)?;
        note_count(assets, &counts, &mut report.notes);
        self.find_roots(&archive, &dir, run.options, &mut report.notes)?;
        let storage = count(&dir, STORAGE);
        for root in &mut self.roots {
            dirs.open(&mut root.target)?;
            let home = dirs.of(&root.target)?;
            let unpacked = if is_other_mount(&home.staging.dir, &dir) {
                // On another disk, nothing can be renamed to there: the archive is unpacked there as well.
                unpack(&archive, home, run)?.0
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
        notes: &mut Vec<String>,
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
                    notes.push(format!(
                        "the archive also holds `{other}`, which is no part of a lab: it was not restored"
                    ));
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
        let databases = self.databases.iter().map(|(_, _, target)| (target, Part::Database));
        databases.chain(self.roots.iter().map(|root| (&root.target, Part::Uploads))).collect()
    }

    fn targets_mut(&mut self) -> Vec<&mut Target> {
        let roots = self.roots.iter_mut().map(|root| &mut root.target);
        self.databases.iter_mut().map(|(_, _, target)| target).chain(roots).collect()
    }

    /// As the manifest states.
    fn bytes(&self) -> Option<u64> {
        let alone = self.databases.iter().map(|(database, _, _)| database.size_bytes);
        let sizes = alone.chain(self.in_trees.iter().map(|one| one.database.size_bytes));
        let database = sizes.sum::<Option<u64>>();
        let assets = self.archive.as_ref().map_or(Some(0), |(assets, _)| assets.total_source_size_bytes);
        database?.checked_add(assets?)
    }

    fn prove(&self, run: &Run<'_>, notes: &mut Vec<String>) -> Result<()> {
        let len = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
        let archive = self.archive.as_ref().map_or(0, |(_, archive)| len(archive));
        let alone = self.databases.iter().map(|(_, copy, _)| copy);
        let databases = alone.chain(self.in_trees.iter().map(|one| &one.copy)).map(|copy| len(copy)).sum::<u64>();
        run.observer.phase(Phase::Verify, Some(archive + if run.options.dry_run { databases } else { 0 }));
        if let Some((assets, archive)) = &self.archive {
            prove(archive, assets.sha256.as_deref(), assets.archive_size_bytes, run.observer, notes)?;
        }
        self.require_space()
    }

    fn dry_run(&self, run: &Run<'_>, report: &mut Report) -> Result<()> {
        for (database, copy, target) in &self.databases {
            let len = prove(copy, database.sha256.as_deref(), database.size_bytes, run.observer, &mut report.notes)?;
            report.add(Part::Database, target, 1, len)?;
        }
        let mut in_trees = vec![(0, 0); self.roots.len()];
        for one in &self.in_trees {
            let (database, notes) = (one.database, &mut report.notes);
            let len = prove(&one.copy, database.sha256.as_deref(), database.size_bytes, run.observer, notes)?;
            in_trees[one.root].0 += 1;
            in_trees[one.root].1 += len;
        }
        for (root, (files, bytes)) in
            self.roots.iter().zip(in_trees).filter(|_| self.is_site() || self.archive.is_none())
        {
            report.add(Part::Uploads, &root.target, files, bytes)?;
        }
        let Some((assets, archive)) = &self.archive else { return Ok(()) };
        let mut roots = RootsSeen::default();
        let mut how = extract::Options {
            owners: false,
            xattrs: None,
            limit: None,
            watch: Some(&mut roots),
            observer: run.observer,
        };
        let counts = verify(archive, &mut how)?;
        note_count(assets, &counts, &mut report.notes);
        if self.is_site() {
            report.files += counts.files;
            report.bytes = report.bytes.saturating_add(counts.bytes);
            return Ok(());
        }
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
        for ((database, copy, target), name) in self.databases.iter().zip(&self.names) {
            let len = stage_copy(database, copy, (target, name), dirs.of(target)?, run, &mut report.notes)?;
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
        for ((_, _, target), name) in self.databases.iter().zip(&self.names) {
            let from = &dirs.of(target)?.staging.dir;
            staged.push(Staged { target, part: Part::Database, from, name, databases: Vec::new() });
        }
        Ok(staged)
    }

    fn take_skipped(&self) -> (Vec<Skip>, u64) {
        self.skipped.clone()
    }
}
