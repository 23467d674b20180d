//! The last step of a restore: what was staged takes its place, and a record says how to go back.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, statat};

use super::file_identity::FileIdentity;
use super::journal::Journal;
use super::journal_record::{Record, TargetRecord, VersionRecord};
use super::model::{Moved, Options, Part, Version};
use super::swap::{SwapTarget, swap};
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::resolve::OpenDirs;

/// Something that was staged, and where it goes.
pub(super) struct Staged<'a> {
    /// Where it goes.
    pub target: &'a Target,
    /// Its part.
    pub part: Part,
    /// The directory that holds it now.
    pub from: &'a Arc<OwnedFd>,
    /// Its name there.
    pub name: &'a [u8],
    /// Databases in it, by their paths below the directory of the target.
    pub databases: Vec<Vec<u8>>,
}

/// What is where once everything is in place.
pub(super) struct Committed {
    /// For each target, what was moved away and to where.
    pub moved: Vec<Vec<Moved>>,
    /// Bytes that what is kept takes.
    pub kept_bytes: u64,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Puts everything in place, or nothing. The data directory exists, even if nothing goes into it.
pub(super) fn commit(dirs: &OpenDirs, options: &Options, from: String, staged: &[Staged<'_>]) -> Result<Committed> {
    let journal = Journal::of(dirs, &options.data_dir)?;
    let records = staged.iter().map(|one| one.record(options)).collect::<Result<Vec<_>>>()?;
    let record = Record::new(from, &options.storage_dir, Version::Restored, Version::Before, records);
    let targets = staged.iter().zip(&record.targets).map(|(one, record)| SwapTarget {
        target: one.target,
        record,
        staged: Some((Arc::clone(one.from), one.name.to_vec())),
    });
    let targets: Vec<SwapTarget<'_>> = targets.collect();
    let notes = swap(&journal, &record, &targets)?;
    let moved = targets.iter().map(|one| one.record.moved(one.target, Version::Before)).collect();
    let kept_bytes = record.targets.iter().map(|target| target.space(Version::Before)).sum();
    Ok(Committed { moved, kept_bytes, notes })
}

impl Staged<'_> {
    fn record(&self, options: &Options) -> Result<TargetRecord> {
        let target = self.target;
        let stat = statat(self.from, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|e| Error::io("look at", to_path(self.name))(e.into()))?;
        // What is there is looked at now: a database that appeared meanwhile must not be taken for nothing.
        let before = VersionRecord::find(target, &target.name, &target.free_name(Version::Before)?, self.part)?;
        let restored = VersionRecord::of(FileIdentity::new("", &stat, None), &target.free_name(Version::Restored)?);
        Ok(TargetRecord::new(self.part, target, &options.data_dir, (before, restored), &self.databases))
    }
}
