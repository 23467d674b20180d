//! The verb `export`: writes a snapshot as a set in a directory of its own, which `cp` and `tar` alone can restore. The same coder writes the
//! same archive, byte for byte, as the backup run; the manifest is written last.

mod guide;
mod incomplete_notice;
mod salvage;
mod site_guide;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::skipped::Skips;
use super::verify_snapshot::require_sound;
use crate::error::{Error, Result};
use crate::format::path_text;
use crate::format::snapshot::{self, Snapshot};
use crate::fs::durable::{SyncedFile, create_dir};
use crate::fs::space::{GuardedDir, Reserve};
use crate::fs::temp_file::temporary_file;
use crate::progress::{Observer, Phase, Problem};
use crate::set::archive::content;
use crate::set::archive::deflate::CODER;
use crate::set::archive::model::NoSegments;
use crate::set::flush::BackgroundSync;
use crate::set::layout::{self, Names};
use crate::set::manifest::{ManifestEntry, Missing};
use crate::set::missing;
pub(crate) use crate::set::missing::Skip;
use crate::set::own_files;
use crate::set::sqlite_file;
use crate::store::{SnapshotName, Store};
use crate::units::hex;
use salvage::Readable;

/// The name of the instructions for restoring by hand.
pub const GUIDE: &str = "RESTORE.md";

/// How an exported archive relates to the one that the backup run wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "archive", rename_all = "snake_case")]
pub enum Sameness {
    /// The same bytes.
    Same,
    /// The run wrote no set: there is nothing to compare with.
    FirstOfItsKind,
    /// Another coder made that one: the same contents in other bytes.
    OtherCoder {
        /// That coder.
        coder: String,
    },
    /// The same coder made other bytes of the same contents; that should not be.
    Differs,
}

/// What to export, and where to.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Options<'a> {
    /// The directory, which must not exist or be empty.
    pub out: &'a Path,
    /// Stays free on its disk.
    pub reserve: Reserve,
    /// The program that writes the set.
    pub program: &'a str,
    /// Export everything else where the store has lost something, with a list of what that is.
    pub skip_damaged: bool,
}

impl<'a> Options<'a> {
    /// Exports all of the snapshot, or nothing.
    #[must_use]
    pub fn new(out: &'a Path, program: &'a str) -> Self {
        Self { out, reserve: Reserve::LEAST, program, skip_damaged: false }
    }
}

/// What was exported.
#[derive(Debug)]
#[must_use = "what is not in the set is in the report"]
#[non_exhaustive]
pub struct Report {
    /// The files' names.
    pub names: Names,
    /// The databases' copies, in the order of the snapshot's databases.
    pub copies: Vec<PathBuf>,
    /// The snapshot, with the exported archive's digest, as far as it was exported.
    pub snapshot: Snapshot,
    /// How the archive relates to the run's own, if there are uploads and all of them were exported.
    #[doc(hidden)]
    pub sameness: Option<Sameness>,
    /// What is not in the set, and notes.
    pub problems: Vec<Problem>,
    /// What could not be exported because the store has lost it (with `skip_damaged`), in order.
    pub skipped: Vec<Skip>,
    /// The number of further entries that are not listed.
    pub more_skipped: u64,
}

/// Exports a snapshot to a directory of its own.
///
/// # Errors
///
/// [`Error::Refused`] if the directory is not empty, or if everything is damaged, [`Error::Corrupt`] if the snapshot could not be restored from the
/// set. After an error nothing of the set is left there.
pub fn export(
    store: &Store,
    name: &SnapshotName,
    snapshot: Snapshot,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Report> {
    let out = options.out;
    let unsound = match require_sound(store, name, &snapshot, observer) {
        // A list with gaps is read around them.
        Err(error) if options.skip_damaged && error.is_damage() => Some(error),
        sound => sound.map(|()| None)?,
    };
    let created = make_fresh(out)?;
    let mut placed = Vec::new();
    let exported = store.target(out, options.reserve).and_then(|target| {
        Export { store, name, target: &target, options, skips: Skips::default(), observer }.write(
            snapshot,
            unsound,
            &mut placed,
        )
    });
    if exported.is_err() {
        // What cannot be removed is not worth more than the first error.
        placed.iter().for_each(|path| {
            let _ = fs::remove_file(path);
        });
        if created {
            let _ = fs::remove_dir(out);
        }
    }
    exported
}

/// One export.
struct Export<'a> {
    store: &'a Store,
    name: &'a SnapshotName,
    target: &'a GuardedDir<'a>,
    options: &'a Options<'a>,
    skips: Skips,
    observer: &'a dyn Observer,
}

impl Export<'_> {
    fn write(&self, mut snapshot: Snapshot, unsound: Option<Error>, placed: &mut Vec<PathBuf>) -> Result<Report> {
        let GuardedDir { dir: out, room: space } = self.target;
        let names = Names::new(out, &snapshot.timestamp);
        let is_site = snapshot.is_site();
        let source = shown_source(&snapshot);
        let mut ready = Vec::new();
        space.require(snapshot.database_bytes().saturating_add(archive_bytes(&snapshot)))?;
        self.observer.phase(Phase::Database, Some(snapshot.database_bytes()));
        let mut copies = names.databases(&snapshot.databases);
        let lost_databases = self.databases(&mut snapshot, &mut copies, &mut ready)?;
        let (sameness, problems) = self.files(&mut snapshot, &names, unsound, &mut ready)?;
        let (skipped, more_skipped) = self.skips.take();
        if let (Some(first), true) = (skipped.first(), !snapshot.has_databases() && snapshot.files.is_none()) {
            return Err(Error::refused(format!(
                "everything in this snapshot is damaged ({}: {}): nothing was exported",
                first.path, first.reason
            )));
        }
        let mut manifest = layout::manifest_of(&names, &copies, self.name, &snapshot, self.options.program)?;
        if !skipped.is_empty() {
            let of = format!("Snapshot {} of {}, {} UTC,", self.name.id.short(), self.name.source, snapshot.timestamp);
            let mut text = Vec::new();
            missing::write(&mut text, &of, &skipped, more_skipped).map_err(Error::io("write", &names.missing))?;
            let entries = skipped.iter().map(|skip| skip.entries).sum::<u64>() + more_skipped;
            manifest.backups.push(ManifestEntry::Missing(Missing {
                source,
                backup: names.missing.display().to_string(),
                entries: Some(entries),
                databases: lost_databases,
                size_bytes: Some(text.len() as u64),
                sha256: Some(sha256(&text)),
            }));
            ready.push((self.small(&text, &names.missing)?, names.missing.clone()));
        }
        let guide = out.join(GUIDE);
        let lacks = manifest.missing();
        let text = if is_site { site_guide::text } else { guide::text };
        let text = text(&names, &copies, self.name, &snapshot, lacks);
        ready.push((self.small(text.as_bytes(), &guide)?, guide));
        for (file, path) in ready {
            file.persist_new(&path)?;
            placed.push(path);
        }
        layout::write_manifest(&names, &manifest)?;
        Ok(Report { names, copies, snapshot, sameness, problems, skipped, more_skipped })
    }

    /// Writes the databases; one that is damaged is left out as a whole. Returns the paths of those.
    fn databases(
        &self,
        snapshot: &mut Snapshot,
        copies: &mut Vec<PathBuf>,
        ready: &mut Vec<(SyncedFile, PathBuf)>,
    ) -> Result<Vec<String>> {
        let GuardedDir { dir: out, room: space } = self.target;
        let (mut whole, mut kept, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for (mut part, path) in std::mem::take(&mut snapshot.databases).into_iter().zip(std::mem::take(copies)) {
            let mut file = BackgroundSync::create(out)?;
            match sqlite_file::write(self.store, &part, None, &mut file, &path, space, self.observer) {
                // The disk that is written to may be the bad one.
                Err(error) if self.options.skip_damaged && error.is_damage() && !error.is_about(&path) => {
                    self.skips.add(&part.path, 1, &error);
                    lost.push(path_text::encode(&part.path));
                }
                written => {
                    part.sha256 = Some(written?);
                    ready.push((file.finish()?, path.clone()));
                    whole.push(part);
                    kept.push(path);
                }
            }
        }
        (snapshot.databases, *copies) = (whole, kept);
        Ok(lost)
    }

    /// Writes the archive; of a damaged list all that can be read.
    fn files(
        &self,
        snapshot: &mut Snapshot,
        names: &Names,
        unsound: Option<Error>,
        ready: &mut Vec<(SyncedFile, PathBuf)>,
    ) -> Result<(Option<Sameness>, Vec<Problem>)> {
        let Some(part) = &mut snapshot.files else { return Ok((None, Vec::new())) };
        let (store, space, observer) = (self.store, &self.target.room, self.observer);
        observer.phase(Phase::Archive, Some(part.bytes));
        let before = self.skips.count();
        let (file, made) = if self.options.skip_damaged {
            let entries = Readable::new(store, part, &self.skips, observer)?;
            content::write_entries(store, part, entries, &names.assets, space, observer)?
        } else {
            content::write_archive(store, part, &mut NoSegments, &names.assets, space, observer)?
        };
        let is_whole = self.skips.count() == before;
        // Nothing is lost, and the list is not what the snapshot says.
        unsound.filter(|_| is_whole).map_or(Ok(()), Err)?;
        if !is_whole && made.files == 0 {
            snapshot.files = None;
            return Ok((None, made.notes));
        }
        (part.files, part.bytes) = (made.files, made.bytes);
        let archive = snapshot::Archive { coder: CODER.into(), size_bytes: made.size_bytes, sha256: made.sha256 };
        let sameness = is_whole.then(|| compare(part.archive.as_ref(), &archive));
        part.archive = Some(archive);
        ready.push((file, names.assets.clone()));
        Ok((sameness, made.notes))
    }

    /// Writes a small file under a temporary name; `path` is its later one.
    fn small(&self, text: &[u8], path: &Path) -> Result<SyncedFile> {
        let mut file = temporary_file(self.target.dir)?;
        file.write_all(text).map_err(Error::io("write", path))?;
        SyncedFile::new(file)
    }
}

/// Returns the path of the data as the user gave it, for the entry of what is missing.
fn shown_source(snapshot: &Snapshot) -> String {
    let files = snapshot.files.as_ref().map(snapshot::Files::shown_source);
    files.or_else(|| snapshot.databases.first().map(|part| part.source_path.clone())).unwrap_or_default()
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The archive will be as long as the one that the run wrote, if it wrote one.
fn archive_bytes(snapshot: &Snapshot) -> u64 {
    snapshot.files.as_ref().and_then(|part| part.archive.as_ref()).map_or(0, |archive| archive.size_bytes)
}

fn compare(run: Option<&snapshot::Archive>, made: &snapshot::Archive) -> Sameness {
    match run {
        None => Sameness::FirstOfItsKind,
        Some(run) if run == made => Sameness::Same,
        Some(run) if run.coder != made.coder => Sameness::OtherCoder { coder: run.coder.clone() },
        Some(_) => Sameness::Differs,
    }
}

/// Creates the directory, or checks that it is empty; returns whether it was created.
fn make_fresh(out: &Path) -> Result<bool> {
    own_files::refuse_in_store(out)?;
    match fs::read_dir(out).map(|mut entries| entries.next()) {
        Ok(None) => Ok(false),
        Ok(Some(_)) => Err(Error::refused(format!(
            "{} is not empty; an export wants a directory of its own: name one that does not exist",
            out.display()
        ))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => create_dir(out).map(|()| true),
        Err(e) => Err(Error::io("list", out)(e)),
    }
}
