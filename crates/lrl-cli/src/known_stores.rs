//! Stores that lrl has used, remembered by place: an empty mount point where a store was is not a first use, and another disk is not the
//! same store. One small file for each place in the state directory, written when the store's id is new there.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lrl_store::backend::location::Location;
use lrl_store::id::Hasher;
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::render::units;
use crate::replace::replace;

/// A record is much shorter; whoever can write the state directory may have put anything there.
const MOST_BYTES: u64 = 64 << 10;

/// What is remembered of a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    location: String,
    store_id: String,
    /// In UTC, for people.
    recorded: String,
}

/// The state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    dir: Option<PathBuf>,
}

impl Known {
    /// Finds the state directory: `--state-dir`, else `lrl` in `XDG_STATE_HOME` or `~/.local/state`, else root's `/var/lib/lrl`. Where there
    /// is none, nothing is remembered.
    pub fn new(global: &Global) -> Self {
        Self { dir: state_dir(global).map(|dir| dir.join("stores")) }
    }

    /// Returns the id of the store that was used at a place, if one was.
    pub fn id(&self, place: &Location) -> Option<String> {
        let dir = self.dir.as_deref()?;
        locations(place).iter().find_map(|location| read(&file(dir, location), location)).map(|record| record.store_id)
    }

    /// Remembers the store at a place; writes nothing where it is known already.
    pub fn note(&self, place: &Location, store_id: &str, now: &str) -> io::Result<()> {
        let Some(dir) = &self.dir else {
            return Err(io::Error::other("HOME is not set, and --state-dir names no directory"));
        };
        for location in locations(place) {
            let path = file(dir, &location);
            if read(&path, &location).is_some_and(|record| record.store_id == store_id) {
                continue;
            }
            create_private(dir)?;
            let record = Record { location, store_id: store_id.into(), recorded: now.into() };
            let mut text = serde_json::to_vec_pretty(&record)?;
            text.push(b'\n');
            replace(&path, &text, 0o600)?;
        }
        Ok(())
    }
}

/// Makes a directory that only its owner enters, and those above it; one that is there stays as it is.
///
/// # Errors
/// If it cannot be made.
pub fn create_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Returns the state directory, if there is one.
pub fn state_dir(global: &Global) -> Option<PathBuf> {
    // The specification ignores a relative one.
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_user = || absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let of_root = || rustix::process::geteuid().is_root().then(|| PathBuf::from("/var/lib/lrl"));
    global.state_dir.clone().or_else(|| of_user().map(|dir| dir.join("lrl")).or_else(of_root))
}

/// Returns a file name's start that stands for a place, whatever its length and its characters.
pub fn place_digest(place: &[u8]) -> String {
    units::hex(&Hasher::new().update(place).finish()[..16])
}

fn file(dir: &Path, location: &str) -> PathBuf {
    dir.join(format!("{}.json", place_digest(location.as_bytes())))
}

fn read(path: &Path, location: &str) -> Option<Record> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path).ok()?, MOST_BYTES), &mut text).ok()?;
    serde_json::from_slice(&text).ok().filter(|record: &Record| record.location == location)
}

/// Names a place so that it has the same name from every directory and while its disk is not mounted: with links resolved as far as they
/// lead somewhere, and as it was given.
fn locations(place: &Location) -> Vec<String> {
    match place {
        Location::Directory(path) => {
            let given = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let mut all = vec![resolved(&given, MOST_LINKS), given];
            all.dedup();
            all.into_iter().map(|path| path.to_string_lossy().into_owned()).collect()
        }
        Location::Bucket(url) => {
            // Of the parameters only the endpoint says which bucket it is.
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            let endpoint = query.split('&').find(|part| part.starts_with("endpoint="));
            let path = path.trim_end_matches('/');
            vec![endpoint.map_or_else(|| path.to_string(), |endpoint| format!("{path}?{endpoint}"))]
        }
    }
}

/// Resolves links also where what they lead to is not there.
fn resolved(path: &Path, links: u32) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    let parent = path.parent().map(|parent| resolved(parent, links));
    match (parent, path.file_name(), fs::read_link(path)) {
        (Some(parent), _, Ok(target)) if links > 0 => resolved(&parent.join(target), links - 1),
        (Some(parent), Some(name), _) => parent.join(name),
        _ => path.to_path_buf(),
    }
}

/// As many as the system follows.
const MOST_LINKS: u32 = 40;

/// Returns whether a directory holds nothing of a store: it is not there, or it is a mount point without its disk.
pub fn is_empty(path: &Path) -> bool {
    ["config", "snapshots", "packs", "index"].iter().all(|name| path.join(name).symlink_metadata().is_err())
}

#[cfg(test)]
mod tests {
    use super::{Known, locations};
    use lrl_store::backend::location::Location;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_place_is_known_by_every_name_it_has_and_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let known = Known { dir: Some(dir.path().join("state/stores")) };
        let real = dir.path().join("disk");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        let place = |name: &str| Location::Directory(dir.path().join(name));
        assert_eq!(known.id(&place("link/store")), None);
        known.note(&place("link/store"), "ab", "2026-01-14T12:00:00Z").unwrap();
        let ids = ["link/store", "disk/store", "link/./store"].map(|name| known.id(&place(name)));
        assert_eq!(ids, [Some("ab".into()), Some("ab".into()), Some("ab".into())]);
        // Also while the disk is away and the link leads nowhere.
        std::fs::remove_dir(&real).unwrap();
        assert_eq!(known.id(&place("link/store")).as_deref(), Some("ab"));
        let files = || {
            let entries = std::fs::read_dir(dir.path().join("state/stores")).unwrap().map(|entry| entry.unwrap());
            entries.map(|entry| (entry.file_name(), entry.metadata().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(files().len(), 2);
        assert!(files().iter().all(|(_, meta)| meta.permissions().mode() & 0o777 == 0o600));
        let times =
            |all: Vec<(_, std::fs::Metadata)>| all.into_iter().map(|(_, m)| m.modified().unwrap()).collect::<Vec<_>>();
        let before = times(files());
        known.note(&place("link/store"), "ab", "2027-01-14T12:00:00Z").unwrap();
        assert_eq!(times(files()), before);
        known.note(&place("link/store"), "cd", "2027-01-14T12:00:00Z").unwrap();
        assert_eq!(known.id(&place("link/store")).as_deref(), Some("cd"));
    }

    #[test]
    fn a_bucket_is_known_by_its_prefix_and_its_endpoint() {
        let of = |url: &str| locations(&Location::Bucket(url.into()));
        assert_eq!(of("s3://b/p/?region=x&endpoint=http://h"), of("s3://b/p?endpoint=http://h&retries=1"));
        assert_ne!(of("s3://b/p"), of("s3://b/p?endpoint=http://h"));
    }
}
