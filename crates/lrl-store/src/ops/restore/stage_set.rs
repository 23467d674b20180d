//! Owns the staging of a set's files: the copy of the database and the unpacked archive, each proved by its SHA-256. Never
//! touches the set.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::ioctl_ficlone;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::stage_database::adopt;
use super::stage_file::{Owners, create, give_at};
use super::stage_tree::ReuseCounts;
use super::staging_dirs::StagingHome;
use super::swap_contents::is_own;
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::remove::{Step, walk};
use crate::progress::{Observer, checkpoint};
use crate::set::archive::extract;
use crate::set::archive::extract::{Counts, extract_into};
use crate::set::hex;
use crate::set::manifest::{Assets, Database};
use crate::set::sha256::read_hashed;

/// Notes it where the archive and its manifest disagree; links may count as files or not.
pub(super) fn note_count(assets: &Assets, counts: &Counts, notes: &mut Vec<String>) {
    if let Some(stated) =
        assets.file_count.filter(|stated| !(counts.files..=counts.files + counts.links).contains(stated))
    {
        notes.push(format!("the archive holds {} regular files, its manifest says {stated}", counts.files));
    }
}

/// Proves one file of a set and returns its length in bytes.
pub(super) fn prove(
    path: &Path,
    sha256: Option<&str>,
    len: Option<u64>,
    observer: &dyn Observer,
    notes: &mut Vec<String>,
) -> Result<u64> {
    let (found, found_len) = read_hashed(path, observer, &mut |bytes| {
        observer.advance(bytes.len() as u64, 0);
        Ok(())
    })?;
    compare(path, (&found, found_len), sha256, len, notes)
}

fn compare(
    path: &Path,
    found: (&str, u64),
    sha256: Option<&str>,
    len: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<u64> {
    match sha256 {
        Some(stated) if !stated.eq_ignore_ascii_case(found.0) => {
            return Err(Error::corrupt(path.display(), "does not have the SHA-256 that its manifest says"));
        }
        Some(_) => {}
        None => notes.push(format!("the manifest has no SHA-256 of {}: it could not be proved", path.display())),
    }
    match len {
        Some(stated) if stated != found.1 => {
            Err(Error::corrupt(path.display(), format!("has {} bytes, its manifest says {stated}", found.1)))
        }
        _ => Ok(found.1),
    }
}

/// Copies the database of a set into the staging directory; returns its length, and whether it got its owner. The copy is what is
/// proved.
pub(super) fn stage_copy(
    database: &Database,
    copy: &Path,
    place: &Target,
    home: &StagingHome,
    owners: Owners,
    observer: &dyn Observer,
    notes: &mut Vec<String>,
) -> Result<(u64, bool)> {
    let path = home.staging.path.join(to_path(&place.name));
    let mut source = File::open(copy).map_err(Error::io("open", copy))?;
    let file = create(&home.staging.dir, &place.name).map_err(|e| Error::io("create", &path)(e.into()))?;
    let cloned = ioctl_ficlone(&file, &source).is_ok();
    if cloned {
        source = file.try_clone().map_err(Error::io("open", &path))?;
    }
    let (mut sha256, mut at) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        checkpoint(observer)?;
        let read = source.read(&mut buffer).map_err(Error::io("read", copy))?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        if !cloned {
            home.room.charge(read as u64)?;
            file.write_all_at(&buffer[..read], at).map_err(Error::io("write", &path))?;
        }
        at += read as u64;
        observer.advance(read as u64, 0);
    }
    compare(copy, (&hex(&sha256.finalize()), at), database.sha256.as_deref(), database.size_bytes, notes)?;
    observer.advance(0, 1);
    Ok((at, adopt(&file, place, None, None, owners, &path)?))
}

/// Unpacks an archive into a staging directory.
pub(super) fn unpack(
    archive: &Path,
    home: &StagingHome,
    owners: Owners,
    taken: &ReuseCounts,
    observer: &dyn Observer,
) -> Result<(Arc<OwnedFd>, Counts)> {
    let (dir, path) = home.staging.subdir("archive")?;
    let before = AtomicU64::new(0);
    let limit = |total: u64| home.room.charge(total.saturating_sub(before.swap(total, Ordering::Relaxed)));
    let recorded = owners.recorded && owners.all.is_none();
    let mut how = extract::Options { owners: recorded, limit: Some(&limit), watch: None, observer };
    let counts = extract_into(archive, &dir, &path, &mut how)?;
    taken.not_given(counts.not_given);
    Ok((dir, counts))
}

/// Gives everything to the owner that was asked for, by handles: whoever owns the directory above can exchange names there. Sets
/// of other programs have no directories in them: theirs go to the owner of what they replace, because the application could write
/// nothing into root's.
pub(super) fn give_away(
    dir: &Arc<OwnedFd>,
    name: &[u8],
    place: &Target,
    owners: Owners,
    of_others: bool,
    taken: &ReuseCounts,
) -> Result<()> {
    let (owner, only_dirs) = match owners.all {
        Some(owner) => (owner, false),
        None if owners.recorded && of_others => match place.owner() {
            Some(owner) => (owner, true),
            None => return Ok(()),
        },
        None => return Ok(()),
    };
    let given = walk(dir, name, false, &mut |step: &Step<'_>| {
        if step.is_dir() || !only_dirs {
            taken.owner(give_at(step.dir, step.name, owner, owners.all.is_some())?);
        }
        Ok(true)
    });
    given.map_err(|e: Errno| Error::io("give away", place.path())(e.into()))
}

/// Counts the regular files below a name in a directory, and their bytes.
pub(super) fn count(dir: &Arc<OwnedFd>, name: &[u8]) -> Counts {
    let mut sum = Counts::default();
    let _ = walk(dir, name, true, &mut |step: &Step<'_>| {
        if step.is_file() {
            sum.files += 1;
            sum.bytes += step.stat.st_size as u64;
        }
        Ok(true)
    });
    sum
}

/// What a directory holds, and what it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeSize {
    entries: u64,
    bytes: u64,
    /// Bytes on the disk; a file with several names counts with a part for each.
    pub space: u64,
}

impl TreeSize {
    /// Says whether as much is in it.
    pub fn holds_the_same(&self, other: &Self) -> bool {
        (self.entries, self.bytes) == (other.entries, other.bytes)
    }
}

/// Weighs a name in an open directory and all that is below it, as far as it can be read. What lrl keeps in uploads of which the
/// contents are exchanged is not theirs.
pub(super) fn measure(dir: &Arc<OwnedFd>, name: &[u8]) -> TreeSize {
    let mut sum = TreeSize::default();
    let _ = walk(dir, name, true, &mut |step: &Step<'_>| {
        if step.depth == 1 && is_own(step.name) {
            return Ok(false);
        }
        let (stat, is_file) = (step.stat, step.is_file());
        sum.entries += 1;
        sum.bytes += if is_file { stat.st_size as u64 } else { 0 };
        sum.space += stat.st_blocks as u64 * 512 / if is_file { stat.st_nlink.max(1) } else { 1 };
        Ok(true)
    });
    sum
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::TreeSize;
    use crate::fs::resolve::OpenDirs;

    fn weigh(path: &Path) -> TreeSize {
        let dir = OpenDirs::default().open(path.parent().unwrap()).unwrap().unwrap();
        super::measure(&dir, std::os::unix::ffi::OsStrExt::as_bytes(path.file_name().unwrap()))
    }

    #[test]
    fn a_tree_weighs_what_is_in_it_and_names_of_one_file_share_it() {
        let dir = tempfile::tempdir().unwrap();
        let of = |path: &str| dir.path().join(path);
        let dirs = || {
            weigh(&of("")).space - fs::read_dir(of("")).unwrap().map(|e| weigh(&e.unwrap().path()).space).sum::<u64>()
        };
        fs::write(of("a"), vec![7; 100_000]).unwrap();
        let (one, own) = (weigh(&of("")), dirs());
        assert!((100_000..120_000).contains(&(one.space - own)), "{one:?}");
        fs::write(of("b"), vec![7; 50_000]).unwrap();
        let two = weigh(&of(""));
        assert!(two.space > one.space + 45_000 && !two.holds_the_same(&one));
        fs::remove_file(of("b")).unwrap();
        assert!(weigh(&of("")).holds_the_same(&one));
        fs::write(of("a"), vec![7; 100_001]).unwrap();
        assert!(!weigh(&of("")).holds_the_same(&one));
        fs::hard_link(of("a"), of("c")).unwrap();
        let shared = weigh(&of(""));
        assert!(shared.space.abs_diff(one.space) < 8192 && !shared.holds_the_same(&one), "{shared:?}");
        assert_eq!(weigh(&of("nothing")).space, 0);
    }
}
