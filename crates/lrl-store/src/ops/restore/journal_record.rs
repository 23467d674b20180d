//! What is recorded of a restore or its undoing: which names change, and what each stands for before and after. A record names nothing
//! outside the data directory and the storage directory, which the caller names again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file_identity::FileIdentity;
use super::find_target::Finder;
use super::links::Links;
use super::model::{ASSETS, DATABASE, INSIDE, Moved, Part, Version};
use super::safety::storage_home;
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::fs::dir::to_path;
use crate::fs::resolve::{OpenDirs, real_path};
use crate::hint::{AddHint, Hint};
use crate::source::database::source::SIDE_FILES;

/// The format of the document.
pub(super) const FORMAT: u32 = 1;

/// A restore or its undoing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// What was restored, in words.
    pub from: String,
    /// Where the second root of uploads was, for messages.
    pub storage_dir: String,
    /// The version that is in place once everything is done.
    pub live: Version,
    /// The version to which an interrupted run is settled.
    pub settle: Version,
    /// Every name that changes.
    pub targets: Vec<TargetRecord>,
}

/// One target: a name, and the two versions of what it stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetRecord {
    /// Its part.
    pub part: Part,
    /// Below the storage directory's parent, not below the data directory.
    pub in_storage: bool,
    /// The components of its path.
    path: Vec<Name>,
    before: VersionRecord,
    restored: VersionRecord,
    /// Which links lead to it.
    #[serde(default, skip_serializing_if = "is_default")]
    links: Links,
    /// Databases in it, as paths below the directory that it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    databases: Vec<Name>,
    /// The directory itself stays: its contents are exchanged, and kept in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contents: bool,
}

/// What one version is made of, and the name under which it is kept while the other is in place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionRecord {
    kept: Name,
    /// The thing itself, with an empty suffix, and what SQLite keeps beside a database; empty: there was nothing.
    pub members: Vec<FileIdentity>,
}

/// A file name, which need not be text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl Name {
    fn new(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(|_| Self::Bytes(bytes.to_vec()), |text| Self::Text(text.into()))
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl VersionRecord {
    /// Describes what is under `name` now.
    pub(crate) fn find(target: &Target, name: &[u8], kept: &[u8], part: Part) -> Result<Self> {
        let mut members = Vec::new();
        for suffix in suffixes(part) {
            let name = [name, suffix.as_bytes()].concat();
            // Staging has changed the time of a directory in which it is done.
            let seen = target.existing.filter(|_| target.inner.is_some());
            if let (Some(stat), Some(dir)) =
                (seen.map_or_else(|| target.stat_of(&name), |stat| Ok(Some(stat)))?, &target.dir)
            {
                members.push(FileIdentity::new(suffix, &stat, Some((dir, &name))));
            }
        }
        Ok(Self { kept: Name::new(kept), members })
    }

    /// Describes the members of a kept version as they are now: on another disk they have other inodes.
    pub(crate) fn find_again(target: &Target, kept: &Self) -> Result<Self> {
        let mut members = Vec::new();
        for member in &kept.members {
            let name = kept.kept(&member.suffix);
            if let (Some(stat), Some(dir)) = (target.kept_stat(&name)?, target.kept_dir()) {
                let found = FileIdentity::new(&member.suffix, &stat, Some((dir, &name)));
                // What keeps the contents of a directory that stays has a time of its own.
                members.push(if target.inner.is_some() { found.with_time_of(member) } else { found });
            }
        }
        Ok(Self { kept: kept.kept.clone(), members })
    }

    /// Describes one thing alone.
    pub(crate) fn of(member: FileIdentity, kept: &[u8]) -> Self {
        Self { kept: Name::new(kept), members: vec![member] }
    }

    /// Returns the name under which a member is kept.
    pub(crate) fn kept(&self, suffix: &str) -> Vec<u8> {
        [self.kept.as_bytes(), suffix.as_bytes()].concat()
    }

    /// Returns the thing itself.
    pub(crate) fn main(&self) -> Option<&FileIdentity> {
        self.members.iter().find(|member| member.suffix.is_empty())
    }

    /// Returns what is beside it.
    pub(crate) fn sidecars(&self) -> impl Iterator<Item = &FileIdentity> {
        self.members.iter().filter(|member| !member.suffix.is_empty())
    }
}

/// Returns the suffixes of what belongs to a target.
pub(super) fn suffixes(part: Part) -> impl Iterator<Item = &'static str> {
    [""].into_iter().chain(SIDE_FILES.into_iter().filter(move |_| part == Part::Database))
}

impl TargetRecord {
    /// Describes a change of a target.
    pub(crate) fn new(
        part: Part,
        target: &Target,
        data_dir: &Path,
        (before, restored): (VersionRecord, VersionRecord),
        databases: &[Vec<u8>],
    ) -> Self {
        let path: Vec<Name> = target.wanted.iter().map(|name| Name::new(name)).collect();
        let first = path.first().map_or(b"".as_slice(), Name::as_bytes);
        let is_lab = !target.links.is_of_site();
        let in_storage = is_lab && (target.home != data_dir || !(first == DATABASE || first == ASSETS));
        let (links, contents) = (target.links, target.inner.is_some());
        let databases = databases.iter().map(|path| Name::new(path)).collect();
        Self { part, in_storage, path, before, restored, links, databases, contents }
    }

    /// Returns what is moved away when `version` goes, and where to.
    pub(crate) fn moved(&self, target: &Target, version: Version) -> Vec<Moved> {
        let kept = self.version(version);
        let path = |name: &[u8]| target.dir_path.join(to_path(name));
        let moved = |member: &FileIdentity| {
            let live = [target.name.as_slice(), member.suffix.as_bytes()].concat();
            (path(&live), target.kept_path(&kept.kept(&member.suffix)))
        };
        kept.members.iter().map(moved).collect()
    }

    /// Returns the bytes that removing what is kept of `version` gives back.
    pub(crate) fn space(&self, version: Version) -> u64 {
        self.version(version).members.iter().map(FileIdentity::space).sum()
    }

    /// Returns one version.
    pub(crate) fn version(&self, version: Version) -> &VersionRecord {
        match version {
            Version::Before => &self.before,
            Version::Restored => &self.restored,
        }
    }

    /// Returns the same change of the same name with other versions.
    pub(crate) fn with(&self, before: VersionRecord, restored: VersionRecord) -> Self {
        Self { path: self.path.clone(), databases: self.databases.clone(), before, restored, ..*self }
    }

    /// Returns whether it is a part of a site.
    pub(crate) fn is_of_site(&self) -> bool {
        self.links.is_of_site()
    }

    /// Returns where the databases in it are.
    pub(crate) fn databases_in_place(&self, target: &Target) -> impl Iterator<Item = PathBuf> {
        let dir = real_path(target.dir.as_ref(), &target.dir_path);
        self.databases.iter().map(move |path| dir.join(to_path(path.as_bytes())))
    }

    fn is_sound(&self, storage_name: &[u8]) -> bool {
        let Some(first) = self.path.first() else { return false };
        let known = match (self.part, self.in_storage) {
            _ if self.links.is_of_site() => !self.in_storage,
            (Part::Database, _) => !self.in_storage && self.path.len() == 1 && first.as_bytes() == DATABASE,
            (_, false) => first.as_bytes() == ASSETS,
            (_, true) => first.as_bytes() == storage_name,
        };
        known
            && self.path.iter().all(|name| is_clean(name.as_bytes()))
            && (!self.contents || self.part != Part::Database)
            && self.databases.iter().all(|path| is_clean_path(path.as_bytes()))
    }

    /// Returns whether its versions are kept under names that a restore would use for this target, which may be behind a link.
    fn is_kept_soundly(&self, target: &Target) -> bool {
        let versions = [Version::Before, Version::Restored].map(|version| (version, self.version(version)));
        versions.iter().all(|(version, record)| {
            let base = if self.contents { INSIDE } else { target.name.as_slice() };
            let start = [base, version.ending().as_bytes()].concat();
            is_clean(record.kept.as_bytes())
                && record.kept.as_bytes().starts_with(&start)
                && record.members.iter().all(|member| suffixes(self.part).any(|suffix| suffix == member.suffix))
        })
    }
}

fn is_default(links: &Links) -> bool {
    !links.is_of_site()
}

fn is_clean(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

impl Record {
    /// Describes a change that has not begun.
    pub(crate) fn new(
        from: String,
        storage_dir: &Path,
        live: Version,
        settle: Version,
        targets: Vec<TargetRecord>,
    ) -> Self {
        let storage_dir = std::path::absolute(storage_dir).unwrap_or_else(|_| storage_dir.to_path_buf());
        Self { format: FORMAT, from, storage_dir: storage_dir.display().to_string(), live, settle, targets }
    }

    /// Returns whether it is of a site.
    pub(crate) fn is_of_site(&self) -> bool {
        self.targets.iter().any(TargetRecord::is_of_site)
    }

    /// Finds where its targets are now.
    pub(crate) fn find_targets(&self, dirs: &OpenDirs, data_dir: &Path, storage_dir: &Path) -> Result<Vec<Target>> {
        let (storage, storage_name) = storage_home(storage_dir)?;
        let finder = Finder::new(dirs);
        let find = |record: &TargetRecord| {
            if record.in_storage && record.path.first().is_none_or(|name| name.as_bytes() != storage_name) {
                return Err(self.other_storage(storage_dir));
            }
            let unsound = || {
                let object = format!("the record of a restore in {}", data_dir.display());
                Error::corrupt(object, "it names what no restore would; remove it")
            };
            if !record.is_sound(&storage_name) {
                return Err(unsound());
            }
            let home = if record.in_storage { &storage } else { data_dir };
            let path: Vec<&[u8]> = record.path.iter().map(Name::as_bytes).collect();
            let mut target = finder.find(home, &path, record.links)?;
            if record.contents {
                target.exchange_contents()?;
            } else {
                // What is kept is beside it, whatever was mounted there since: then it cannot be brought back.
                target.inner = None;
            }
            let is_there = target.inner.is_some() || !record.contents;
            if target.dir.is_some() && target.depth == path.len() && is_there {
                if record.is_kept_soundly(&target) { Ok(target) } else { Err(unsound()) }
            } else if record.in_storage && path.len() == 1 {
                Err(self.other_storage(storage_dir))
            } else {
                Err(Error::refused(format!("the directory of {} is not there any more", target.path().display())))
            }
        };
        self.targets.iter().map(find).collect()
    }

    fn other_storage(&self, now: &Path) -> Error {
        let (was, now) = (&self.storage_dir, now.display());
        let text = format!("the second uploads directory was {was}, and now it would be {now}");
        Error::refused(text.hint(Hint::StorageAsBefore))
    }
}
