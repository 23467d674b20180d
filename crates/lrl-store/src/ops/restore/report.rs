//! Owns what a restore tells: what went where, what is kept under which name, who had it open, what an operator should know.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::commit::Committed;
use super::journal_record::Version;
use super::plan::Plan;
use super::skips::Skip;
use super::stage_file::Owners;
use super::stage_set::measure;
use super::stage_tree::{Reuse, ReuseCounts};
use super::target::Target;
use super::{Moved, Options, Process};
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::progress::size;

/// A part of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// Kept copies that `--undo` does not go by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Older {
    /// How many.
    pub copies: u64,
    /// Bytes that they take on the disk.
    pub bytes: u64,
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
    /// Files and bytes that were right already and are hard links to what is kept.
    pub linked: (u64, u64),
    /// Bytes that what is kept takes on the disk.
    pub kept_bytes: u64,
    /// What was removed of what had been kept, and the bytes that gave back (with `no_keep`).
    pub dropped: Option<u64>,
    /// What earlier restores left beside the targets.
    pub older: Older,
    /// What could not be restored because the store has lost it (with `skip_damaged`), in order.
    pub skipped: Vec<Skip>,
    /// How many more there are.
    pub more_skipped: u64,
    /// Who has the files open (with `force` or `dry_run`; otherwise they are a reason to refuse).
    pub holders: Vec<Process>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

impl Report {
    pub(super) fn check_open_files(&mut self, found: Vec<Process>, options: &Options) -> Result<()> {
        self.dry_run = options.dry_run;
        self.holders = found;
        if options.dry_run || options.force { Ok(()) } else { refuse_holders(&self.holders) }
    }

    pub(super) fn count(&mut self, plan: &Plan<'_>) -> Result<()> {
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

    pub(super) fn add(&mut self, part: Part, place: &Target, files: u64, bytes: u64) -> Result<()> {
        self.files += files;
        self.bytes = self.bytes.saturating_add(bytes);
        let mut kept = Vec::new();
        let name = place.free_name(Version::Before.ending())?;
        let path = |suffix: &str| place.kept_path(&[name.as_slice(), suffix.as_bytes()].concat());
        if place.existing.is_some() {
            kept.push((place.path(), path("")));
        }
        if part == Part::Database {
            for suffix in place.sidecars()? {
                let was = place.dir_path.join(to_path(&[place.name.as_slice(), suffix.as_bytes()].concat()));
                kept.push((was, path(suffix)));
            }
        }
        if let Some(link) = &place.via {
            self.notes.push(format!(
                "{} is a symbolic link: what it leads to, {}, is what is replaced; the link stays",
                link.display(),
                place.path().display()
            ));
        }
        if place.inner.is_some() {
            self.note_contents(place)?;
        } else if let Some((_, kept)) = kept.first().filter(|_| place.wanted.len() > 1) {
            self.notes.push(format!(
                "what is kept as {} {AMONG}: the application may show it, and a backup stores it, until it is removed",
                kept.display()
            ));
        }
        self.kept_bytes += kept_space(place, &kept);
        let own: Vec<&PathBuf> = kept.iter().map(|(_, now)| now).collect();
        let mut older = place.kept_before()?;
        older.retain(|name| !own.contains(&&place.kept_path(name)));
        self.older.copies += older.len() as u64;
        if let Some(shelf) = place.kept_dir() {
            self.older.bytes += older.iter().map(|name| measure(shelf, name).space).sum::<u64>();
        }
        self.restored.push(Restored { part, path: place.path(), files, bytes, kept });
        Ok(())
    }

    /// Notes that the contents of a directory change places, not itself.
    pub(super) fn note_contents(&mut self, place: &Target) -> Result<()> {
        let kept = place.kept_path(&place.free_name(Version::Before.ending())?);
        self.notes.push(format!(
            "{} cannot be renamed (something is mounted there, or it is of a lower layer of an overlay): its contents are \
             exchanged, and what was in it {INSIDE}, in {}, which backups leave out",
            place.path().display(),
            kept.display()
        ));
        Ok(())
    }

    pub(super) fn placed(&mut self, mut placed: Committed, begins_with_database: bool) {
        // Uploads come first in place, the report begins with the database.
        placed.moved.rotate_right(usize::from(begins_with_database));
        self.restored.iter_mut().zip(placed.moved).for_each(|(restored, moved)| restored.kept = moved);
        self.kept_bytes = placed.kept_bytes;
        self.notes.append(&mut placed.notes);
    }

    /// Counts what is left of a plan of which something is damaged.
    pub(super) fn count_again(&mut self, plan: &Plan<'_>) -> Result<()> {
        self.notes.retain(|note| !note.contains(AMONG));
        (self.files, self.dirs, self.links, self.bytes, self.kept_bytes) = (0, 0, 0, 0, 0);
        self.older = Older::default();
        self.restored.clear();
        self.count(plan)?;
        let mut seen = BTreeSet::new();
        self.notes.retain(|note| seen.insert(note.clone()));
        Ok(())
    }

    /// Says that nothing is kept.
    pub(super) fn drop_kept(&mut self, dropped: Option<u64>) {
        if dropped.is_some() {
            self.restored.iter_mut().for_each(|one| one.kept.clear());
            self.notes.retain(|note| !note.contains(AMONG) && !note.contains(INSIDE));
            self.kept_bytes = 0;
            self.dropped = dropped;
        }
    }

    /// Adds what was passed over; files that were not written do not count.
    pub(super) fn skip(&mut self, (skipped, more): (Vec<Skip>, u64)) {
        self.skipped = skipped;
        self.more_skipped = more;
    }

    pub(super) fn finish(&mut self, take_over: Reuse, taken: &ReuseCounts, owners: Owners) {
        match take_over {
            Reuse::No => {}
            Reuse::Clone => self.cloned = taken.get(),
            Reuse::Link => {
                self.linked = taken.get();
                if self.linked.0 > 0 && self.dropped.is_none() {
                    self.notes.push(format!(
                        "{} files ({}) that were right already were not written again: they are hard links shared with what is \
                         kept as *.pre-restore",
                        self.linked.0,
                        size(self.linked.1)
                    ));
                }
            }
        }
        if taken.without_owner() > 0 {
            self.notes.push(format!(
                "{} files and directories could not be given to their recorded owners and belong to who restores: in a user namespace, \
                 or on a network file system that trusts no root, only some owners can be set. --owner USER:GROUP names one that can",
                taken.without_owner()
            ));
        }
        if !owners.recorded && owners.all.is_none() {
            self.notes.push("owners were not restored: only root can give files away".into());
        }
    }
}

const AMONG: &str = "stands among the uploads";
const INSIDE: &str = "is kept inside";

fn kept_space(place: &Target, kept: &[Moved]) -> u64 {
    let Some(dir) = &place.dir else { return 0 };
    kept.iter().filter_map(|(was, _)| was.file_name()).map(|name| measure(dir, name.as_bytes()).space).sum()
}

/// Refuses to replace what somebody has open.
pub(super) fn refuse_holders(holders: &[Process]) -> Result<()> {
    let Some(first) = holders.first() else { return Ok(()) };
    let more = match holders.len() {
        1 => String::new(),
        n => format!(
            " (and {} more: {})",
            n - 1,
            holders[1..].iter().map(Process::to_string).collect::<Vec<_>>().join("; ")
        ),
    };
    Err(Error::Refused(format!("{first}{more}: stop it before restoring, or say --force; nothing was changed")))
}
