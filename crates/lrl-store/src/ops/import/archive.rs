//! The archive of a set: verified against its manifest, and unpacked into a private directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::fs::temp_dir::{self, TempDir};
use crate::fs::xattrs::{MissedXattrs, SetXattrs};
use crate::progress::{Observer, Problem, Silent};
use crate::set::archive::extract;
use crate::set::manifest::Layout;
use crate::set::manifest::read::FoundFile;
use crate::set::sha256::sha256_of;
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::{FoundKind, Root, walk};
use crate::time::{Time, time_of};

/// How the names of temporary directories begin.
pub const SCRATCH: &str = ".lrl-import-";

/// Compares a file of a set with the digest and length in its manifest; returns its path.
pub(in crate::ops) fn verified(file: &FoundFile, observer: &dyn Observer) -> Result<PathBuf> {
    let path = file.there().ok_or_else(|| Error::Missing { object: file.name() })?;
    let (actual, size) = sha256_of(path, observer)?;
    match (&file.sha256, file.size_bytes) {
        (Some(stated), _) if !stated.eq_ignore_ascii_case(&actual) => {
            Err(Error::corrupt(path.display(), "does not match the SHA-256 in its manifest"))
        }
        (_, Some(stated)) if stated != size => {
            Err(Error::corrupt(path.display(), format!("has {size} bytes, its manifest says {stated}")))
        }
        _ => Ok(path.to_path_buf()),
    }
}

/// Unpacks an archive and returns the roots that were in it. Directories that are not older than `now` are those that the archive
/// does not describe; `None`: it describes all, as lrl's own do.
pub(in crate::ops) fn unpack(
    path: &Path,
    file: &FoundFile,
    scratch: &TempDir,
    scratch_dir: &Path,
    now: Option<SystemTime>,
    observer: &dyn Observer,
) -> Result<Vec<Root>> {
    let space = temp_dir::free_bytes(scratch_dir)?;
    let limit = |bytes: u64| {
        let full = || Error::io("unpack an archive into", scratch_dir)(std::io::ErrorKind::StorageFull.into());
        if bytes <= space { Ok(()) } else { Err(full()) }
    };
    limit(file.source_bytes.unwrap_or(0))?;
    let owners = rustix::process::geteuid().is_root();
    // Nobody else comes into the scratch directory, and everything is only read again there.
    let missed = MissedXattrs::default();
    let xattrs = Some(SetXattrs { acls: true, privileged: owners, missed: &missed });
    let mut unpacking = extract::Options { owners, xattrs, limit: Some(&limit), watch: None, only: None, observer };
    extract::extract(path, scratch.path(), &mut unpacking)?;
    for reason in missed.notes() {
        observer.problem(&Problem { path: path.display().to_string(), reason, lost: false });
    }
    let layout = file.layout().ok_or_else(|| unknown_layout(path, file))?;
    if layout == Layout::Root {
        // lrl alone writes such archives, which describe every directory.
        return Ok(vec![Root { name: String::new(), path: scratch.path().to_path_buf() }]);
    }
    let mut roots = Vec::new();
    for entry in fs::read_dir(scratch.path()).map_err(Error::io("list", scratch.path()))? {
        let entry = entry.map_err(Error::io("list", scratch.path()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_dir = entry.file_type().map_err(Error::io("look at", entry.path()))?.is_dir();
        if !is_dir || !matches!(name.as_str(), "assets" | "storage") {
            return Err(Error::corrupt(
                path.display(),
                format!("it holds {name}, which is neither assets/ nor storage/"),
            ));
        }
        roots.push(Root { name, path: entry.path() });
    }
    if roots.is_empty() {
        // The script leaves directories out: no file at all is an archive without a member.
        let empty = scratch.path().join("assets");
        fs::create_dir(&empty).map_err(Error::io("create", &empty))?;
        roots.push(Root { name: "assets".into(), path: empty });
    }
    roots.sort_by(|a, b| a.name.cmp(&b.name));
    now.map_or(Ok(()), |now| date_directories(&roots, time_of(now).secs))?;
    Ok(roots)
}

fn unknown_layout(path: &Path, file: &FoundFile) -> Error {
    let layout = file.layout.as_deref().unwrap_or_default();
    Error::corrupt(
        path.display(),
        format!("its manifest says that its layout is {layout:.40?}, which this lrl does not know"),
    )
}

/// Gives directories that the archive does not describe the time of the newest thing in them: the time of the unpacking would make
/// each import differ from the next.
fn date_directories(roots: &[Root], since: i64) -> Result<()> {
    let mut inside: Vec<(Vec<u8>, PathBuf, bool, Time)> = Vec::new();
    let leave = |inside: &mut Vec<(Vec<u8>, PathBuf, bool, Time)>| {
        let Some((_, dir, is_new, newest)) = inside.pop() else { return };
        if let Some(above) = inside.last_mut() {
            above.3 = above.3.max(newest);
        }
        if is_new {
            let time = rustix::fs::Timespec { tv_sec: newest.secs, tv_nsec: newest.nanos.into() };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            // A time is not worth failing for.
            let _ = rustix::fs::utimensat(rustix::fs::CWD, &dir, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        }
    };
    walk(roots, &Excludes::none(), &[], &Silent, &mut |found| {
        while inside.last().is_some_and(|(path, ..)| {
            !found.path.strip_prefix(path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
        }) {
            leave(&mut inside);
        }
        let mtime = found.stat.mtime;
        match found.kind {
            FoundKind::Dir => {
                let is_new = mtime.secs >= since;
                let newest = if is_new { Time::default() } else { mtime };
                inside.push((found.path, found.source, is_new, newest));
            }
            _ => {
                if let Some(above) = inside.last_mut() {
                    above.3 = above.3.max(mtime);
                }
            }
        }
        Ok(())
    })?;
    while !inside.is_empty() {
        leave(&mut inside);
    }
    Ok(())
}
