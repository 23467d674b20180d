//! Compares the files of the sets beside a store with the lengths and digests in their manifests. Hard-linked files are read once.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::report::Report;
use crate::error::{Error, Result};
use crate::fs::lock;
use crate::progress::{Observer, checkpoint};
use crate::set::directory;
use crate::set::layout::Names;
use crate::set::manifest::{Manifest, find_beside};
use crate::set::sha256::sha256_of;

/// Compares the sets of a directory with their manifests and adds what was found to the report of the store; reads their files if asked to.
pub(super) fn sets(dir: &Path, read: bool, report: &mut Report, observer: &dyn Observer) -> Result<()> {
    let mut digests = HashMap::new();
    for (stamp, standing) in directory::look(dir)?.by_timestamp {
        if !standing.manifest {
            continue;
        }
        checkpoint(observer)?;
        let path = Names::new(dir, &stamp).manifest;
        // A backup removes no set that is being read.
        let _held = lock::hold(&path);
        let manifest = match Manifest::read(&path) {
            Ok(manifest) => manifest,
            Err(error) if error.is_final() => return Err(error),
            Err(_) if path.symlink_metadata().is_err() => continue,
            Err(error) => {
                report.add(&path, error.to_string());
                continue;
            }
        };
        report.checked.sets += 1;
        let databases = manifest.databases().map(|d| (&d.backup, d.size_bytes, &d.sha256));
        let assets = manifest.assets().map(|a| (&a.backup, a.archive_size_bytes, &a.sha256));
        let missing = manifest.missing().map(|m| (&m.backup, m.size_bytes, &m.sha256));
        if let Some(missing) = manifest.missing() {
            report.add(
                &path,
                format!(
                    "is of a set that is not whole: {} of its snapshot were damaged when it was exported",
                    missing.entries.unwrap_or_default()
                ),
            );
        }
        for (name, len, sha256) in databases.chain(assets).chain(missing) {
            let file = match find_beside(&path, name) {
                Ok(file) => file,
                Err(error) => {
                    report.add(&path, format!("names a file that cannot be looked at: {error}"));
                    continue;
                }
            };
            match differs(&file, len, sha256.as_deref().filter(|_| read), &mut digests, observer) {
                Ok((None, bytes)) => report.checked.set_bytes_read += bytes,
                Ok((Some(how), bytes)) => {
                    report.checked.set_bytes_read += bytes;
                    report.add(
                        &file,
                        format!("{how}; the next backup writes a fresh one, an export makes the set again"),
                    );
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => report.add(&file, error.to_string()),
            }
        }
    }
    Ok(())
}

/// Returns how a file differs from what its manifest says, and how many bytes were read for it.
fn differs(
    file: &PathBuf,
    len: Option<u64>,
    sha256: Option<&str>,
    digests: &mut HashMap<(u64, u64), String>,
    observer: &dyn Observer,
) -> Result<(Option<String>, u64)> {
    let meta = file.symlink_metadata().map_err(Error::io("look at", file))?;
    if let Some(len) = len.filter(|len| *len != meta.len()) {
        return Ok((Some(format!("has {} bytes, and its manifest says {len}", meta.len())), 0));
    }
    let Some(sha256) = sha256 else { return Ok((None, 0)) };
    let id = (meta.dev(), meta.ino());
    let (found, bytes) = match digests.get(&id) {
        Some(found) => (found.clone(), 0),
        None => {
            let (found, bytes) = sha256_of(file, observer)?;
            digests.insert(id, found.clone());
            (found, bytes)
        }
    };
    let how = (found != sha256).then(|| "has other bytes than its manifest says: its SHA-256 is another".to_string());
    Ok((how, bytes))
}
