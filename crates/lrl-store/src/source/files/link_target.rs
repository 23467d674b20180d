//! Where a symbolic link in the uploads leads: into what is stored, or out of it. Only looks.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Directories that are stored, by device and inode, with the paths that they are listed under.
type Stored = [((u64, u64), String)];

/// Returns whether there is something behind a link, and none of it is stored. A link to nothing leads nowhere.
pub(crate) fn lead_outside(link: &[u8], stored: &Stored) -> bool {
    fs::canonicalize(OsStr::from_bytes(link)).is_ok_and(|real| within(&real, stored).is_none())
}

/// Returns the stored directory that what is behind a link lies in, or is.
pub(crate) fn holder(link: &[u8], stored: &Stored) -> Option<String> {
    within(&fs::canonicalize(OsStr::from_bytes(link)).ok()?, stored)
}

fn within(real: &Path, stored: &Stored) -> Option<String> {
    real.ancestors().find_map(|dir| {
        let meta = fs::metadata(dir).ok()?;
        stored.iter().find(|(id, _)| *id == (meta.dev(), meta.ino())).map(|(_, path)| path.clone())
    })
}
