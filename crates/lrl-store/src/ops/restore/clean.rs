//! Removes what restores keep: `restore --no-keep` and `restore --clean`. Goes by directory handles, follows no link, and enters no
//! mount. Removes only names that a restore gives, or that its record has.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{Dir, FileType, Stat, fsync};
use rustix::io::Errno;

use super::commit::Staged;
use super::find_target::Finder;
use super::journal::Journal;
use super::journal_record::Record;
use super::links::Links;
use super::model::{ASSETS, DATABASE, INSIDE, Moved, Part, Version};
use super::remove_kept::{refuse_inner_mount, remove};
use super::safety::storage_home;
use super::staging_dir::reclaim;
use super::target::Target;
use super::tree_size::measure;
use crate::error::{Error, Place, Result};
use crate::fs::dir::{DirCursor, to_path};
use crate::fs::resolve::{OpenDirs, look};
use crate::hint::{AddHint, Hint};
use crate::source::database::source::SIDE_FILES;
use crate::source::files::kept_copies::kept_of;

/// What to remove.
#[derive(Debug, Clone)]
pub struct CleanOptions {
    /// Where `lrl.db` and `assets` are.
    pub data_dir: PathBuf,
    /// Where `storage/…` is.
    pub storage_dir: PathBuf,
    /// It is the root of a site, in any of whose directories a restore may have kept something; the record of a restore of one tells so too.
    pub is_site: bool,
    /// What is younger than this at `now` stays.
    pub older_than: Duration,
    /// The time of the run.
    pub now: SystemTime,
    /// Report what would be removed, remove nothing.
    pub dry_run: bool,
}

/// A copy that was removed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Its path.
    pub path: PathBuf,
    /// Bytes that it took on the disk; each hard link of a file counts a part of it.
    pub bytes: u64,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default)]
pub struct Cleaned {
    /// What was removed.
    pub removed: Vec<Removed>,
    /// Copies that stay, because they are younger.
    pub younger: u64,
    /// The last restore cannot be undone any more.
    pub undo_gone: bool,
}

/// One thing that is kept, with the sidecars of a database.
struct Copy {
    dir: Arc<OwnedFd>,
    dir_path: PathBuf,
    names: Vec<Vec<u8>>,
    /// When it was moved away, or changed since: seconds.
    since: i64,
}

/// Removes what restores have kept in a data directory and beside its second root of uploads.
///
/// # Errors
///
/// [`Error::Refused`](crate::error::Error::Refused) while a restore is unfinished, or where a mount lies inside a kept copy.
pub fn clean(options: &CleanOptions) -> Result<Cleaned> {
    let mut cleaned = Cleaned::default();
    let no_dir = || Error::NoStore { what: Place::DataDir, path: options.data_dir.clone() };
    let dirs = &OpenDirs::default();
    let journal = Journal::open(dirs, &options.data_dir)?.ok_or_else(no_dir)?;
    if journal.peek()?.is_some() {
        let text = format!("a restore of {} was killed half way: nothing was removed", options.data_dir.display());
        return Err(Error::refused(text.hint(Hint::UndoRestore)));
    }
    let mut copies = BTreeMap::new();
    let last = journal.last()?;
    if options.is_site || last.as_ref().is_some_and(Record::is_of_site) {
        find_in_site(journal.dir(), &options.data_dir, &mut copies)?;
    } else {
        find_all(dirs, &options.data_dir, DATABASE, true, &mut copies)?;
        find_all(dirs, &options.data_dir, ASSETS, false, &mut copies)?;
        let (home, name) = storage_home(&options.storage_dir)?;
        find_all(dirs, &home, &name, false, &mut copies)?;
    }
    let recorded = recorded(dirs, last, options, &mut copies)?;
    let now = options.now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let limit = i64::try_from(options.older_than.as_secs()).unwrap_or(i64::MAX);
    let (old, young): (Vec<_>, Vec<_>) =
        copies.into_iter().partition(|(_, copy)| limit == 0 || now.saturating_sub(copy.since) >= limit);
    cleaned.younger = young.len() as u64;
    cleaned.undo_gone = old.iter().any(|(path, _)| recorded.contains(path));
    let named = old.iter().flat_map(|(_, copy)| copy.names.iter().map(move |name| (copy, name)));
    let removed = |(copy, name): (&Copy, &Vec<u8>)| Removed {
        bytes: measure(&copy.dir, name).space,
        path: copy.dir_path.join(to_path(name)),
    };
    cleaned.removed = named.map(removed).collect();
    if options.dry_run {
        return Ok(cleaned);
    }
    old.iter().try_for_each(|(_, copy)| {
        copy.names.iter().try_for_each(|name| refuse_inner_mount(&copy.dir, name, &copy.dir_path))
    })?;
    if cleaned.undo_gone {
        journal.drop_last()?;
    }
    for (_, copy) in &old {
        copy.names.iter().try_for_each(|name| remove(&copy.dir, name, &copy.dir_path))?;
        let _ = fsync(&copy.dir);
    }
    reclaim(journal.dir());
    Ok(cleaned)
}

/// Removes what a restore that has just ended kept; returns how many bytes that gave back.
pub(super) fn drop_kept(dirs: &OpenDirs, data_dir: &Path, staged: &[Staged<'_>], moved: &[Vec<Moved>]) -> Result<u64> {
    let named = staged.iter().zip(moved).flat_map(|(one, moved)| {
        let dir = one.target.kept_dir();
        moved.iter().filter_map(move |(_, now)| Some((dir?, now.parent()?, now.file_name()?.as_bytes())))
    });
    let named: Vec<_> = named.collect();
    // Whatever happens from here on, no record says that it could be undone.
    Journal::of(dirs, data_dir)?.drop_last()?;
    let mut bytes = 0;
    for (dir, dir_path, name) in named {
        refuse_inner_mount(dir, name, dir_path)?;
        bytes += measure(dir, name).space;
        remove(dir, name, dir_path)?;
        let _ = fsync(dir);
    }
    Ok(bytes)
}

/// Finds what restores kept anywhere in a site. Only `.pre-restore` is a name that applications never use.
fn find_in_site(dir: &Arc<OwnedFd>, root: &Path, copies: &mut BTreeMap<PathBuf, Copy>) -> Result<()> {
    let mut cursor = DirCursor::new(Arc::clone(dir), root);
    let mut waiting = vec![find_in_dir(&cursor, copies)?];
    while let Some(level) = waiting.last_mut() {
        let failed = |e: Errno| Error::io("list", root)(e.into());
        let Some(next) = level.pop() else {
            waiting.pop();
            cursor.ascend().map_err(failed)?;
            continue;
        };
        match cursor.descend(&next) {
            Ok(()) => waiting.push(find_in_dir(&cursor, copies)?),
            // Who may not read a directory has kept nothing there.
            Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(())
}

/// Adds what is kept in one directory, and returns the directories in it.
fn find_in_dir(cursor: &DirCursor, copies: &mut BTreeMap<PathBuf, Copy>) -> Result<Vec<Vec<u8>>> {
    let (dir, dir_path) = (cursor.here(), cursor.path_here(b""));
    let failed = |e: Errno| Error::io("list", &dir_path)(e.into());
    let mut below = Vec::new();
    for entry in Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        let kept = kept_of(name).filter(|kept| !kept.is_undone).map(|kept| kept.main);
        match kept.or_else(|| kept_name(name, INSIDE, false)) {
            Some(kept) => {
                if let Some(stat) = look(dir, name).map_err(failed)? {
                    add(dir, &dir_path, kept, name, &stat, copies);
                }
            }
            None if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) && !is_dots(name) => {
                below.push(name.to_vec());
            }
            None => {}
        }
    }
    Ok(below)
}

fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// Finds what earlier restores kept beside a target of the last one.
fn find_older(target: &Target, is_database: bool, copies: &mut BTreeMap<PathBuf, Copy>) -> Result<()> {
    match (&target.inner, &target.dir) {
        (Some(inside), _) => find(inside, &target.path(), INSIDE, false, copies),
        (None, Some(dir)) => find(dir, &target.dir_path, &target.name, is_database, copies),
        (None, None) => Ok(()),
    }
}

/// Finds what restores kept of one target: beside it, beside what a link there leads to, and inside a directory whose contents
/// were exchanged.
fn find_all(
    dirs: &OpenDirs,
    home: &Path,
    name: &[u8],
    is_database: bool,
    copies: &mut BTreeMap<PathBuf, Copy>,
) -> Result<()> {
    let Some(dir) = dirs.open(home)? else { return Ok(()) };
    find(&dir, home, name, is_database, copies)?;
    // Through a link that a restore would not follow, none has kept anything.
    let Ok(mut target) = Finder::new(dirs).find(home, &[name], Links::First) else { return Ok(()) };
    if let (Some(dir), Some(_)) = (&target.dir, &target.via) {
        find(dir, &target.dir_path, &target.name, is_database, copies)?;
    }
    // Nor in a directory that cannot be opened.
    if !is_database
        && target.exchange_contents().is_ok()
        && let Some(inside) = &target.inner
    {
        find(inside, &target.path(), INSIDE, false, copies)?;
    }
    Ok(())
}

/// Finds what is called as a restore would call it: `lrl.db.pre-restore`, `assets.undone.2`, `lrl.db.pre-restore-wal`.
fn find(
    dir: &Arc<OwnedFd>,
    dir_path: &Path,
    of: &[u8],
    is_database: bool,
    copies: &mut BTreeMap<PathBuf, Copy>,
) -> Result<()> {
    let failed = |e: Errno| Error::io("list", dir_path)(e.into());
    for entry in Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        let kept = kept_name(name, of, is_database);
        if let (Some(kept), Some(stat)) = (kept, look(dir, name).map_err(failed)?) {
            add(dir, dir_path, kept, name, &stat, copies);
        }
    }
    Ok(())
}

fn add(
    dir: &Arc<OwnedFd>,
    dir_path: &Path,
    kept: &[u8],
    name: &[u8],
    stat: &Stat,
    copies: &mut BTreeMap<PathBuf, Copy>,
) {
    let copy = copies.entry(dir_path.join(to_path(kept))).or_insert_with(|| Copy {
        dir: Arc::clone(dir),
        dir_path: dir_path.to_path_buf(),
        names: Vec::new(),
        since: i64::MIN,
    });
    // No program can set it back, and the rename sets it.
    copy.since = copy.since.max(stat.st_ctime);
    copy.names.push(name.to_vec());
}

/// Returns the name of the kept thing of which `name` is a part, if it is one of `of`.
fn kept_name<'n>(name: &'n [u8], of: &[u8], is_database: bool) -> Option<&'n [u8]> {
    let rest = name.strip_prefix(of)?;
    let ending = [Version::Before, Version::Restored].into_iter().find_map(|side| {
        let ending = side.ending().as_bytes();
        rest.starts_with(ending).then_some(ending.len())
    })?;
    let mut rest = &rest[ending..];
    let mut len = of.len() + ending;
    if let Some(number) = rest.strip_prefix(b".") {
        let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 || number[0] == b'0' {
            return None;
        }
        len += 1 + digits;
        rest = &number[digits..];
    }
    let is_sidecar = is_database && SIDE_FILES.iter().any(|suffix| suffix.as_bytes() == rest);
    (rest.is_empty() || is_sidecar).then_some(&name[..len])
}

/// Adds what the record of the last restore has, which may be among the uploads; returns all that is in the record.
fn recorded(
    dirs: &OpenDirs,
    last: Option<Record>,
    options: &CleanOptions,
    copies: &mut BTreeMap<PathBuf, Copy>,
) -> Result<Vec<PathBuf>> {
    let Some(last) = last else { return Ok(Vec::new()) };
    // A record of directories that are gone keeps nothing.
    let Ok(targets) = last.find_targets(dirs, &options.data_dir, &options.storage_dir) else { return Ok(Vec::new()) };
    let mut recorded = Vec::new();
    for (record, target) in last.targets.iter().zip(&targets) {
        let Some(dir) = target.kept_dir() else { continue };
        if record.is_of_site() {
            find_older(target, record.part == Part::Database, copies)?;
        }
        let moved = record.moved(target, last.live.other());
        let Some((_, main)) = moved.first() else { continue };
        let Some((kept, dir_path)) = main.file_name().map(OsStrExt::as_bytes).zip(main.parent()) else { continue };
        recorded.push(main.clone());
        if copies.contains_key(main) {
            continue;
        }
        for name in moved.iter().filter_map(|(_, now)| now.file_name()).map(OsStrExt::as_bytes) {
            if let Some(stat) = target.kept_stat(name)? {
                add(dir, dir_path, kept, name, &stat, copies);
            }
        }
    }
    Ok(recorded)
}

#[cfg(test)]
mod tests {
    use super::kept_name;

    #[test]
    fn only_names_that_a_restore_gives_are_kept_copies() {
        let database = |name: &str| {
            kept_name(name.as_bytes(), b"lrl.db", true).map(|kept| String::from_utf8(kept.to_vec()).unwrap())
        };
        for (name, kept) in [
            ("lrl.db.pre-restore", Some("lrl.db.pre-restore")),
            ("lrl.db.pre-restore-wal", Some("lrl.db.pre-restore")),
            ("lrl.db.pre-restore.12", Some("lrl.db.pre-restore.12")),
            ("lrl.db.pre-restore.1-journal", Some("lrl.db.pre-restore.1")),
            ("lrl.db.undone", Some("lrl.db.undone")),
            ("lrl.db", None),
            ("lrl.db-wal", None),
            ("lrl.db.pre-restore.old", None),
            ("lrl.db.pre-restore.01", None),
            ("lrl.db.pre-restore2", None),
            ("lrl.db.pre-restore.1.gz", None),
            ("xlrl.db.pre-restore", None),
        ] {
            assert_eq!(database(name).as_deref(), kept, "{name}");
        }
        assert_eq!(kept_name(b"assets.pre-restore-wal", b"assets", false), None);
        assert!(kept_name(b"assets.undone.3", b"assets", false).is_some());
        assert!(kept_name(b".lrl.pre-restore.2", b".lrl", false).is_some());
        assert_eq!(kept_name(b".lrl.pre-restore.part", b".lrl", false), None);
    }
}
