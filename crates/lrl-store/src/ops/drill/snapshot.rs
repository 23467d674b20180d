//! Drills a snapshot straight from the store: no set is needed, and every byte is read back.

use std::time::Instant;

use super::checks::database;
use super::files::{Facts, Files};
use super::finding::finding_in_store;
use super::options::Options;
use super::report::{Report, holds};
use super::subject::{Subject, root_of, unplaced};
use super::uploads::Uploads;
use super::verification::{Check, Verification};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, Piece};
use crate::format::snapshot::{self, Snapshot, THE_DATABASE};
use crate::ops::query::private_file::PrivateFile;
use crate::progress::{Observer, Phase, checkpoint};
use crate::set::archive::digests::{Digests, Hasher};
use crate::store::prefetch::Prefetched;
use crate::store::tree::TreeItems;
use crate::store::{SnapshotName, Store};

/// Drills a snapshot of `store`. Damage is in the report.
///
/// # Errors
///
/// [`Error::Interrupted`], and [`Error::Refused`] if a copy of the database does not fit into the temporary directory.
pub fn drill_snapshot(
    store: &Store,
    name: &SnapshotName,
    snapshot: &Snapshot,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Report> {
    let started = Instant::now();
    let mut report = Report::new(None);
    report.timestamp = Some(snapshot.timestamp.clone());
    report.snapshot = Some(name.clone());
    report.holds = holds(snapshot);
    let total = snapshot.files.as_ref().map_or(0, |part| part.bytes) + snapshot.database_bytes();
    observer.phase(Phase::Verify, Some(total));
    let paths: Vec<&[u8]> = snapshot.databases.iter().map(|part| part.path.as_slice()).collect();
    report.errors.extend(unplaced(&paths, options));
    let root = root_of(snapshot);
    let is_site = root.is_some() || paths.iter().any(|path| *path != THE_DATABASE);
    let files = if is_site { "files" } else { "uploads" };
    let mut uploads =
        Uploads::Absent(if is_site { "the snapshot holds no files" } else { "the snapshot holds no uploads" });
    let label = |what: &str| format!("snapshot {} {what}", name.id.short());
    let second = match &snapshot.files {
        None => None,
        Some(part) => {
            let since = Instant::now();
            let mut found = Verification::new("assets", label(files), label(files));
            uploads = read_uploads(store, part, options.wants_md5(), &mut found, &mut report.damaged, observer)?;
            found.seconds = since.elapsed().as_secs_f64();
            found.restore_seconds = found.success.then_some(found.seconds);
            Some(found)
        }
    };
    if let (Uploads::Known(files), false) = (&uploads, options.checks.is_empty()) {
        for part in &snapshot.databases {
            let facts = Facts {
                size: part.size_bytes,
                sha256: part.sha256.as_deref().and_then(crate::units::digest),
                md5: None,
            };
            files.add_database(&part.path, &facts)?;
        }
    }
    for (at, part) in snapshot.databases.iter().enumerate() {
        let since = Instant::now();
        let what = label(&part.shown());
        let mut found = Verification::of_database(&part.path, what.clone(), what);
        let subject = Subject::of(&paths, at, root, options);
        report.damaged |= read_database(store, part, &subject, options, &uploads, &mut found, observer)?;
        found.seconds = since.elapsed().as_secs_f64();
        report.verifications.push(found);
    }
    report.verifications.extend(second);
    Ok(report.ended(started))
}

/// Adds the checks of the database; returns whether the store's own bytes are damaged.
fn read_database(
    store: &Store,
    part: &snapshot::Database,
    subject: &Subject<'_>,
    options: &Options<'_>,
    uploads: &Uploads,
    found: &mut Verification,
    observer: &dyn Observer,
) -> Result<bool> {
    let mut file = PrivateFile::new(&options.temp, part.size_bytes)?;
    let since = Instant::now();
    let written = file.fill(store, part, observer);
    if let Err(Error::Refused(why)) = written {
        return Err(Error::Refused(why));
    }
    observer.advance(part.size_bytes, 0);
    let mut damaged = false;
    let written = finding_in_store(written, &mut damaged)?;
    let error = written.as_ref().err().cloned();
    let readable = error.is_none();
    let expected = written.as_ref().ok().or(part.sha256.as_ref()).cloned();
    found.push(Check::new("hash_verification", error).with("expected", expected.clone()));
    if readable {
        // Of an image that cannot be read nothing is known: what an earlier drill found in it stays.
        found.root = Some(part.root);
        found.sha256 = expected;
        found.restore_seconds = Some(since.elapsed().as_secs_f64());
        database::check(file.path(), subject, options, uploads, found, observer)?;
    }
    Ok(damaged)
}

/// Reads every file of the list, each chunk against its id.
fn read_uploads(
    store: &Store,
    part: &snapshot::Files,
    with_md5: bool,
    found: &mut Verification,
    damaged: &mut bool,
    observer: &dyn Observer,
) -> Result<Uploads> {
    let mut files = Files::new(with_md5)?;
    let mut described = Vec::new();
    let mut lost = false;
    let (mut count, mut bad, mut bytes) = (0u64, 0u64, 0u64);
    let (mut entries, mut stated, mut sparse) = (0u64, 0u64, 0u64);
    let mut read = || {
        for entry in Prefetched::new(store, true, TreeItems::<Entry>::new(store, &part.list)?) {
            let entry = entry?;
            checkpoint(observer)?;
            entries += 1;
            if let Kind::File { size, .. } = &entry.kind {
                stated = stated.saturating_add(*size);
            }
            // A crafted list could keep a drill busy without end.
            if entries > part.entries || stated > part.bytes {
                let detail =
                    format!("holds more than the {} entries of {} bytes that it states", part.entries, part.bytes);
                return Err(Error::corrupt("the snapshot's list of uploads", detail));
            }
            match &entry.kind {
                Kind::Dir => {}
                Kind::Symlink { target } => files.add_link(&entry.path, target)?,
                Kind::Hardlink { target } => {
                    count += 1;
                    files.add_name(&entry.path, target)?;
                }
                Kind::File { size, content } => {
                    match finding_in_store(read_file(store, content, *size, with_md5, observer), &mut lost)? {
                        Ok(digests) => {
                            count += 1;
                            bytes += size;
                            sparse += u64::from(digests.is_none());
                            observer.advance(0, 1);
                            let (sha256, md5) = digests.map_or((None, None), |both| (Some(both.sha256), both.md5));
                            files.add(&entry.path, &Facts { size: *size, sha256, md5 })?;
                        }
                        Err(error) => {
                            bad += 1;
                            if described.len() < 20 {
                                described.push(format!("{}: {error}", String::from_utf8_lossy(&entry.path)));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    };
    let listed = finding_in_store(read(), damaged)?;
    *damaged |= lost;
    let bytes = bytes + files.hardlinks().1;
    let error = listed.err().or_else(|| (bad > 0).then(|| format!("{bad} files cannot be read back whole")));
    let readable = error.is_none();
    let mut check = Check::new("hash_verification", error).with("file_count", count).with("total_bytes", bytes);
    if sparse > 0 {
        check.note = Some(format!("files with holes of 1 GiB and more, of which no SHA-256 was computed: {sparse}"));
    }
    if !described.is_empty() {
        check = check.with("findings", described);
    }
    found.push(check);
    let error = ((count, bytes) != (part.files, part.bytes)).then(|| {
        format!("{count} files of {bytes} bytes were read, the snapshot has {} of {}", part.files, part.bytes)
    });
    found.push(Check::new("files_extracted", error).with("expected", part.files).with("actual", count));
    Ok(if readable { Uploads::Known(files) } else { Uploads::Unreadable })
}

/// Holes of this size or more are not hashed: that would take minutes for each TiB of zeros.
const LARGE_HOLE: u64 = 1 << 30;

/// Reads a file, each chunk against its id; returns its digests unless it has very large holes.
fn read_file(
    store: &Store,
    content: &Content,
    size: u64,
    with_md5: bool,
    observer: &dyn Observer,
) -> Result<Option<Digests>> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut sha = Some(Hasher::new(with_md5));
    let mut end = 0;
    store.each_piece_read(content, &mut |at, piece| {
        checkpoint(observer)?;
        end = at + piece.len();
        if end > size {
            return Err(Error::corrupt("a list of pieces", "is longer than its file"));
        }
        match piece {
            Piece::Data { id, len } => {
                let plain = store.read(&id)?;
                if plain.len() as u64 != len {
                    return Err(Error::corrupt(format!("chunk {id}"), "has another length than its list says"));
                }
                sha.iter_mut().for_each(|sha| sha.update(&plain));
            }
            Piece::Hole { len } if len >= LARGE_HOLE => sha = None,
            Piece::Hole { len } => {
                let mut left = len;
                while let (Some(sha), true) = (&mut sha, left > 0) {
                    let now = left.min(ZEROS.len() as u64);
                    sha.update(&ZEROS[..now as usize]);
                    left -= now;
                }
            }
        }
        observer.advance(piece.len(), 0);
        Ok(true)
    })?;
    if end != size {
        return Err(Error::corrupt("a list of pieces", "ends before its file does"));
    }
    Ok(sha.map(Hasher::finish))
}
