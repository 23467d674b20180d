//! The report of a restore: what went where, what is kept under which name, and what an operator should know.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::commit::Committed;
use super::model::{Moved, Part, Report, Restored, Reuse, ReuseCounts, Version};
use super::target::Target;
use super::tree_size::measure;
use crate::error::Result;
use crate::fs::dir::to_path;
use crate::fs::metadata::Owners;
use crate::hint::{AddHint, Hint, Message};
use crate::set::missing::Skip;
use crate::units::size;

impl Report {
    /// Adds one target with what it will contain, and what it replaces.
    pub(super) fn add(&mut self, part: Part, target: &Target, files: u64, bytes: u64) -> Result<()> {
        self.files += files;
        self.bytes = self.bytes.saturating_add(bytes);
        let mut kept = Vec::new();
        let name = target.free_name(Version::Before)?;
        let path = |suffix: &str| target.kept_path(&[name.as_slice(), suffix.as_bytes()].concat());
        if target.existing.is_some() {
            kept.push((target.path(), path("")));
        }
        if part == Part::Database {
            for suffix in target.sidecars()? {
                let was = target.dir_path.join(to_path(&[target.name.as_slice(), suffix.as_bytes()].concat()));
                kept.push((was, path(suffix)));
            }
        }
        if let Some(link) = &target.via {
            self.notes.push(
                format!(
                    "{} is a symbolic link: what it leads to, {}, is what is replaced; the link stays",
                    link.display(),
                    target.path().display()
                )
                .into(),
            );
        }
        if target.inner.is_some() {
            self.note_contents(target)?;
        } else if let Some((_, kept)) = kept.first().filter(|_| target.wanted.len() > 1 && !target.links.is_of_site()) {
            let text = format!(
                "what is kept as {} {KEPT_AMONG}: the application may show it, and a backup stores it, until it is removed",
                kept.display()
            );
            self.notes.push(text.into());
        }
        self.kept_bytes += kept_space(target, &kept);
        let own: Vec<&PathBuf> = kept.iter().map(|(_, now)| now).collect();
        let mut older = target.kept_before()?;
        older.retain(|name| !own.contains(&&target.kept_path(name)));
        self.older.copies += older.len() as u64;
        if let Some(dir) = target.kept_dir() {
            self.older.bytes += older.iter().map(|name| measure(dir, name).space).sum::<u64>();
        }
        self.restored.push(Restored { part, path: target.path(), files, bytes, databases: Vec::new(), kept });
        Ok(())
    }

    /// Notes that the contents of a directory are exchanged, not the directory itself.
    fn note_contents(&mut self, target: &Target) -> Result<()> {
        let kept = target.kept_path(&target.free_name(Version::Before)?);
        let text = format!(
            "{} cannot be renamed (something is mounted there, or it is of a lower layer of an overlay): its contents are \
             exchanged, and what was in it {KEPT_INSIDE}, in {}, which backups leave out",
            target.path().display(),
            kept.display()
        );
        self.notes.push(text.into());
        Ok(())
    }

    /// Adds what was put in place. Uploads come first there, while the report begins with the databases.
    pub(super) fn commit(&mut self, mut committed: Committed, databases: usize) {
        committed.moved.rotate_right(databases);
        self.restored.iter_mut().zip(committed.moved).for_each(|(restored, moved)| restored.kept = moved);
        self.kept_bytes = committed.kept_bytes;
        self.notes.extend(committed.notes.into_iter().map(Message::from));
    }

    /// Notes that nothing is kept, and the bytes that this gave back.
    pub(super) fn drop_kept(&mut self, dropped: Option<u64>) {
        if dropped.is_some() {
            self.restored.iter_mut().for_each(|one| one.kept.clear());
            self.notes.retain(|note| !note.text().contains(KEPT_AMONG) && !note.text().contains(KEPT_INSIDE));
            self.kept_bytes = 0;
            self.dropped = dropped;
        }
    }

    /// Adds what was skipped; files that were not written do not count.
    pub(super) fn skip(&mut self, (skipped, more): (Vec<Skip>, u64)) {
        self.skipped = skipped;
        self.more_skipped = more;
    }

    /// Adds how files were reused, and whether owners could be set.
    pub(super) fn finish(&mut self, reuse: Reuse, counts: &ReuseCounts, owners: Owners) {
        match reuse {
            Reuse::No => {}
            Reuse::Clone => self.cloned = counts.get(),
            Reuse::Link => {
                self.linked = counts.get();
                if self.linked.0 > 0 && self.dropped.is_none() {
                    let text = format!(
                        "{} files ({}) that were right already were not written again: they are hard links shared with what is \
                         kept as *.pre-restore",
                        self.linked.0,
                        size(self.linked.1)
                    );
                    self.notes.push(text.into());
                }
            }
        }
        if counts.without_owner() > 0 {
            let text = format!(
                "{} files and directories could not be given to their recorded owners and belong to who restores: in a user namespace, \
                 or on a network file system that trusts no root, only some owners can be set",
                counts.without_owner()
            );
            self.notes.push(text.hint(Hint::SetOwner));
        }
        self.notes.extend(counts.missed.notes());
        if !owners.recorded && owners.all.is_none() {
            self.notes.push("owners were not restored: only root can give files away".into());
        }
    }
}

/// In every note about something that is kept among the uploads.
const KEPT_AMONG: &str = "stands among the uploads";
/// In every note about something that is kept inside its own directory.
const KEPT_INSIDE: &str = "is kept inside";

fn kept_space(target: &Target, kept: &[Moved]) -> u64 {
    let Some(dir) = &target.dir else { return 0 };
    kept.iter().filter_map(|(was, _)| was.file_name()).map(|name| measure(dir, name.as_bytes()).space).sum()
}
