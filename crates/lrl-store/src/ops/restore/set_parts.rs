//! The parts of a set: which of them are restored, and the roots of its archive.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::model::{Options, What};
use super::target::Target;
use crate::error::{Error, Result};
use crate::set::archive::extract::FileVisitor;
use crate::set::manifest::{Assets, Database, Manifest};

/// A root of the archive.
pub(super) struct Root {
    /// Its name in the archive.
    pub name: Vec<u8>,
    /// The archive does not hold it.
    pub is_made: bool,
    pub target: Target,
    /// The directory into which it was unpacked.
    pub unpacked: Option<Arc<OwnedFd>>,
}

impl Root {
    /// Makes one that is in the archive.
    pub fn new(name: &[u8], target: Target) -> Self {
        Self { name: name.to_vec(), is_made: false, target, unpacked: None }
    }
}

/// Returns what of a set is restored.
pub(super) fn select<'a>(
    manifest: &'a Manifest,
    path: &Path,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<(Vec<&'a Database>, Option<&'a Assets>)> {
    let lacks = |what: &str| Error::NotFound(format!("the set of {} holds no {what}", path.display()));
    let (databases, assets): (Vec<&Database>, _) = (manifest.databases().collect(), manifest.assets());
    match options.what {
        What::Whole => {
            match (databases.as_slice(), assets) {
                ([], None) => return Err(lacks("database and no uploads")),
                ([_, ..], None) => notes.push("the set holds no uploads: those here were left alone".into()),
                ([], Some(_)) => notes.push("the set holds no database: the one here was left alone".into()),
                ([_, ..], Some(_)) => {}
            }
            Ok((databases, assets))
        }
        What::DbOnly if databases.is_empty() => Err(lacks("database")),
        What::DbOnly => Ok((databases, None)),
        What::AssetsOnly => Ok((Vec::new(), Some(assets.ok_or_else(|| lacks("uploads"))?))),
        What::Paths(_) => Err(Error::Refused(
            "--only works on snapshots; out of a set, `tar -xzf` with the path takes a single file".into(),
        )),
    }
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
