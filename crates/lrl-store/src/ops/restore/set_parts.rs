//! The parts of a set: which of them are restored, and the roots of its archive.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::{Options, What};
use super::source::Run;
use super::target::Target;
use crate::error::{Error, Result};
use crate::hint::{AddHint, Hint, Message};
use crate::set::archive::extract::FileVisitor;
use crate::set::manifest::{Assets, Database, Manifest, Missing, find_beside};
use crate::set::missing::{self, Skip};
use crate::source::database::Inspector;

/// A root of the archive of the manual's layout.
pub(super) struct Root {
    /// Its name in the archive.
    pub name: Vec<u8>,
    pub target: Target,
    /// The directory into which it was unpacked.
    pub unpacked: Option<Arc<OwnedFd>>,
}

impl Root {
    /// Makes one that is not unpacked yet.
    pub(crate) fn new(name: &[u8], target: Target) -> Self {
        Self { name: name.to_vec(), target, unpacked: None }
    }
}

/// A database of a set.
pub(super) struct SetDatabase<'a> {
    /// Its entry in the manifest.
    pub entry: &'a Database,
    /// The file of the set.
    pub copy: PathBuf,
    /// Its permission bits, where the manifest has them.
    pub mode: Option<u32>,
}

impl SetDatabase<'_> {
    /// Refuses a copy of which SQLite cannot read the header and schema: it would replace a database that works.
    ///
    /// # Errors
    /// [`Error::NotGood`], unless it is forced.
    pub(crate) fn require_readable(&self, run: &Run<'_>) -> Result<()> {
        match Inspector::open(&self.copy, run.observer) {
            Err(Error::Corrupt { detail, .. }) if !run.options.force => {
                let text =
                    format!("{} is no database that can be read: {detail}. Nothing was changed", self.copy.display());
                Err(Error::NotGood(text.into()))
            }
            Err(Error::Interrupted) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }
}

/// What of a set is restored.
pub(super) struct SetParts<'a> {
    /// The databases.
    pub databases: Vec<SetDatabase<'a>>,
    /// The archive, with its file.
    pub archive: Option<(&'a Assets, PathBuf)>,
}

impl<'a> SetParts<'a> {
    /// Finds what of a set is restored; paths are chosen later.
    pub(crate) fn select(
        manifest: &'a Manifest,
        path: &Path,
        options: &Options,
        notes: &mut Vec<Message>,
    ) -> Result<Self> {
        let lacks = |what: &str| Error::not_found(format!("the set of {} holds no {what}", path.display()));
        let (mut databases, mut assets): (Vec<&Database>, _) = (manifest.databases().collect(), manifest.assets());
        if let (Some(missing), false) = (missing_of(manifest, &options.what), options.skip_damaged) {
            let text = format!(
                "the set of {} is not whole: {} of its snapshot were damaged when it was exported, and are listed in {}; another set, or a \
                 snapshot, may have all; nothing was changed",
                path.display(),
                missing.entries.unwrap_or_default(),
                missing.backup.rsplit('/').next().unwrap_or_default()
            );
            return Err(Error::refused(text.hint(Hint::SkipDamaged)));
        }
        match &options.what {
            What::Whole => match (databases.as_slice(), assets) {
                ([], None) => return Err(lacks("database and no uploads")),
                ([_, ..], None) => notes.push("the set holds no uploads: those here were left alone".into()),
                ([], Some(_)) => notes.push("the set holds no database: the one here was left alone".into()),
                ([_, ..], Some(_)) => {}
            },
            What::DbOnly if databases.is_empty() => return Err(lacks("database")),
            What::DbOnly => assets = None,
            What::AssetsOnly if assets.is_none() => return Err(lacks("uploads")),
            What::AssetsOnly => databases.clear(),
            What::Paths(_) => {}
        }
        let found = |entry: &'a Database| {
            Ok(SetDatabase { entry, copy: find_beside(path, &entry.backup)?, mode: manifest.mode_of(entry) })
        };
        let databases = databases.into_iter().map(found).collect::<Result<_>>()?;
        let archive = match assets {
            Some(assets) => Some((assets, find_beside(path, &assets.backup)?)),
            None => None,
        };
        Ok(Self { databases, archive })
    }
}

/// Returns what the set lacks of what is restored.
pub(super) fn missing_of<'a>(manifest: &'a Manifest, what: &What) -> Option<&'a Missing> {
    manifest.missing().filter(|missing| match what {
        What::DbOnly => !missing.databases.is_empty(),
        What::AssetsOnly => missing.entries != Some(missing.databases.len() as u64),
        What::Whole | What::Paths(_) => true,
    })
}

/// Lists what the set lacks of what is restored, and returns the number of further entries.
pub(super) fn skipped(manifest: &Manifest, path: &Path, what: &What) -> (Vec<Skip>, u64) {
    let Some(lacked) = missing_of(manifest, what) else { return Default::default() };
    // The list may be gone; what it stands for is in the manifest.
    let list = find_beside(path, &lacked.backup).and_then(|list| missing::read(&list)).unwrap_or_default();
    let listed = list.iter().map(|skip| skip.entries).fold(0, u64::saturating_add);
    let more = lacked.entries.unwrap_or(1).saturating_sub(listed);
    (list, more)
}

/// Notices files of the second root.
#[derive(Default)]
pub(super) struct RootsSeen {
    /// There is one.
    pub storage: bool,
}

impl FileVisitor for RootsSeen {
    fn file(&mut self, path: &[u8], _: u64, _: &[u8; 32]) -> Result<()> {
        self.storage |= path.starts_with(b"storage/");
        Ok(())
    }
}
