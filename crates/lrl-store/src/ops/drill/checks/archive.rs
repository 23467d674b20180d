//! The checks of an archive: it is unpacked into a temporary directory as the manual says, or, on a full disk, read by the same code without
//! writing. Every file is hashed once, for the rows that name it.

use std::path::Path;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::fs::temp_dir;
use crate::fs::temp_dir::TempDir;
use crate::ops::drill::files::Files;
use crate::ops::drill::finding::finding;
use crate::ops::drill::options::{Options, SCRATCH};
use crate::ops::drill::uploads::Uploads;
use crate::ops::drill::verification::{Check, Verification};
use crate::progress::{Observer, Silent};
use crate::set::archive::extract;
use crate::set::archive::extract::Counts;
use crate::set::manifest::read::FoundFile;
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::{FoundKind, Root, walk};

/// Space on disk that a file takes beyond its bytes, at most.
const FILE_COST: u64 = 8 << 10;

/// How an archive was read.
struct Unpacked {
    counts: Counts,
    files: Files,
    /// Regular files on disk; `None` if nothing was written.
    on_disk: Option<u64>,
    note: Option<String>,
}

/// Unpacks the archive and adds the checks after its hash; returns its files.
pub(crate) fn check(
    path: &Path,
    file: &FoundFile,
    options: &Options<'_>,
    found: &mut Verification,
    observer: &dyn Observer,
) -> Result<Uploads> {
    let since = Instant::now();
    let unpacked = match finding(unpack(path, file, options, observer))? {
        Ok(unpacked) => unpacked,
        Err(error) => {
            found.push(Check::new("extract_archive", Some(error)));
            found.restore_seconds = None;
            return Ok(Uploads::Unreadable);
        }
    };
    // The hash was one reading of it already.
    found.restore_seconds = Some(since.elapsed().as_secs_f64());
    let Unpacked { counts, files, on_disk, note } = unpacked;
    let (names, names_bytes) = files.hardlinks();
    let expected = counts.files + names;
    let mut extract = Check::new("extract_archive", None)
        .with("file_count", expected)
        .with("total_bytes", counts.bytes + names_bytes)
        .with("extracted", on_disk.is_some());
    extract.note = note;
    found.push(extract);
    let actual = on_disk.unwrap_or(expected);
    let error = (actual != expected).then(|| format!("{actual} files were extracted, the archive has {expected}"));
    let mut extracted = Check::new("files_extracted", error).with("expected", expected).with("actual", actual);
    if let Some(stated) = file.file_count.filter(|stated| *stated != expected) {
        extracted.note = Some(format!("the manifest counts {stated} files (the script counts links to files too)"));
    }
    found.push(extracted);
    Ok(Uploads::Known(files))
}

fn unpack(path: &Path, file: &FoundFile, options: &Options<'_>, observer: &dyn Observer) -> Result<Unpacked> {
    let (temp, with_md5) = (options.temp.as_path(), options.wants_md5());
    let stated = file.source_bytes.unwrap_or(0).saturating_add(file.file_count.unwrap_or(0).saturating_mul(FILE_COST));
    let no_space = |why: String| format!("verified without writing: {why}");
    let note = match temp_dir::free_bytes(temp) {
        Ok(space) if stated <= space => match extract(path, temp, space, with_md5, observer) {
            Err(error) if error.is_full() => no_space(format!("{} has no room for it", temp.display())),
            Err(Error::Io { op, path, source }) if path.starts_with(temp) => {
                no_space(Error::Io { op, path, source }.to_string())
            }
            other => return other,
        },
        Ok(_) => no_space(format!("{} has no room for {stated} bytes", temp.display())),
        Err(error) => no_space(error.to_string()),
    };
    let mut files = Files::new(with_md5)?;
    let mut options =
        extract::Options { owners: false, xattrs: None, limit: None, watch: Some(&mut files), only: None, observer };
    let counts = extract::verify(path, &mut options)?;
    Ok(Unpacked { counts, files, on_disk: None, note: Some(note) })
}

fn extract(path: &Path, temp: &Path, space: u64, with_md5: bool, observer: &dyn Observer) -> Result<Unpacked> {
    let scratch = TempDir::new(temp, SCRATCH)?;
    let mut files = Files::new(with_md5)?;
    // What the manifest says may be wrong; the disk must not fill up in any case.
    let limit = |bytes: u64| {
        let full = || Error::io("unpack into", temp)(std::io::ErrorKind::StorageFull.into());
        if bytes <= space { Ok(()) } else { Err(full()) }
    };
    let mut options = extract::Options {
        owners: false,
        xattrs: None,
        limit: Some(&limit),
        watch: Some(&mut files),
        only: None,
        observer,
    };
    let counts = extract::extract(path, scratch.path(), &mut options)?;
    let on_disk = count(scratch.path(), observer)?;
    Ok(Unpacked { counts, files, on_disk: Some(on_disk), note: None })
}

/// Counts the regular files that are there, hard links included.
fn count(dir: &Path, observer: &dyn Observer) -> Result<u64> {
    let root = Root { name: "x".into(), path: dir.to_path_buf() };
    let mut files = 0;
    walk(&[root], &Excludes::none(), &[], &Silent, &mut |found| {
        files += u64::from(found.kind == FoundKind::File);
        crate::progress::checkpoint(observer)
    })?;
    Ok(files)
}
