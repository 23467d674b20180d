//! Checks that a snapshot's document and lists agree, and that a set's manifest agrees with the snapshot that it names, for verbs that would
//! otherwise write what a restore refuses.

use std::path::Path;

use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, compare_paths, is_clean_path};
use crate::format::path_text;
use crate::format::snapshot::{Files, Snapshot};
use crate::id::SnapshotId;
use crate::progress::{Observer, checkpoint};
use crate::set::archive::deflate::CODER;
use crate::set::manifest::{Layout, Manifest};
use crate::store::tree::TreeItems;
use crate::store::{SnapshotName, Store};

/// Fails unless the list of uploads can be restored: in order, each entry in a directory of the list, each hard link to a file of the list,
/// and as many entries, files and bytes as the document says. Reads the lists, no contents. The database is compared with its length and
/// digest when it is read.
pub(super) fn require_sound(
    store: &Store,
    name: &SnapshotName,
    snapshot: &Snapshot,
    observer: &dyn Observer,
) -> Result<()> {
    let Some(part) = &snapshot.files else { return Ok(()) };
    let object = store.storage().object_location(&name.object());
    let wrong = |entry: &Entry, what: &str| {
        Err(Error::corrupt(&object, format!("its list holds {}, {what}", String::from_utf8_lossy(&entry.path))))
    };
    let mut found = Files { entries: 0, files: 0, bytes: 0, ..part.clone() };
    let mut links = false;
    let mut last: Vec<u8> = Vec::new();
    // The directories that lead to where the walk is.
    let mut parents: Vec<Vec<u8>> = Vec::new();
    for entry in TreeItems::<Entry>::new(store, &part.list)? {
        checkpoint(observer)?;
        let entry = entry?;
        if !is_clean_path(&entry.path) || (found.entries > 0 && compare_paths(&last, &entry.path).is_ge()) {
            return wrong(&entry, "which stands in the wrong place");
        }
        let slash = entry.path.iter().rposition(|byte| *byte == b'/');
        let parent = slash.map(|at| &entry.path[..at]);
        while parents.last().is_some_and(|dir| Some(dir.as_slice()) != parent) {
            parents.pop();
        }
        let is_root = || {
            part.roots.contains_key("")
                || std::str::from_utf8(&entry.path).is_ok_and(|root| part.roots.contains_key(root))
        };
        if if parent.is_none() { !is_root() } else { parents.is_empty() } {
            return wrong(&entry, "but not the directory that it is in");
        }
        found.entries += 1;
        match &entry.kind {
            Kind::Dir => parents.push(entry.path.clone()),
            Kind::Symlink { .. } => {}
            Kind::File { size, .. } => {
                found.files += 1;
                found.bytes = found.bytes.saturating_add(*size);
            }
            Kind::Hardlink { target } => {
                found.files += 1;
                links = true;
                match TreeItems::<Entry>::from_path(store, &part.list, target)?.next().transpose()? {
                    Some(file) if file.path == *target && matches!(file.kind, Kind::File { .. }) => {}
                    _ => return wrong(&entry, "a hard link to a file that it does not hold"),
                }
            }
        }
        last = entry.path;
    }
    let counted = (found.entries, found.files) == (part.entries, part.files);
    if counted && (links || found.bytes == part.bytes) {
        return Ok(());
    }
    Err(Error::corrupt(
        object,
        format!(
            "says {} entries, {} files of {} bytes, but its list holds {}, {} of {}",
            part.entries, part.files, part.bytes, found.entries, found.files, found.bytes
        ),
    ))
}

/// Compares a set's manifest with the snapshot that it names; returns what differs. `None` if it names none, or none of this store.
///
/// # Errors
///
/// [`Error::Corrupt`] or [`Error::Missing`] if the snapshot that is named
/// cannot be read.
pub fn contradiction(store: &Store, manifest: &Path) -> Result<Option<String>> {
    let manifest = Manifest::read(manifest)?;
    let Some(id) = manifest.lrl.as_ref().and_then(|origin| SnapshotId::from_hex(&origin.snapshot).ok()) else {
        return Ok(None);
    };
    let Some(name) = store.snapshot_names(None)?.into_iter().find(|name| name.id == id) else { return Ok(None) };
    let snapshot = store.snapshot(&name)?;
    let says = |what: &str, said: &dyn std::fmt::Display, recorded: &dyn std::fmt::Display| {
        Ok(Some(format!(
            "it says {what} {said}, and snapshot {} of {} says {recorded}",
            name.id.short(),
            snapshot.timestamp
        )))
    };
    if manifest.timestamp_utc != snapshot.timestamp {
        return says("timestamp", &manifest.timestamp_utc, &snapshot.timestamp);
    }
    let there = |is: bool| if is { "there" } else { "not there" };
    let (databases, assets) = (manifest.databases().count(), manifest.assets());
    // A set that lacks something says so itself; what it has must be what the snapshot says all the same.
    let is_whole = manifest.missing().is_none();
    if is_whole && (databases > 0) != snapshot.has_databases() {
        return says("the database is", &there(databases > 0), &there(snapshot.has_databases()));
    }
    if is_whole && databases != snapshot.databases.len() {
        return says("the number of databases is", &databases, &snapshot.databases.len());
    }
    if is_whole && assets.is_some() != snapshot.files.is_some() {
        return says("the uploads are", &there(assets.is_some()), &there(snapshot.files.is_some()));
    }
    for said in manifest.databases() {
        let Some(recorded) = snapshot.database(&said.list_path()) else {
            return says("the database is at", &path_text::encode(&said.list_path()), &"others");
        };
        if said.sha256 != recorded.sha256 && recorded.sha256.is_some() {
            let show = |sha256: &Option<String>| sha256.clone().unwrap_or_else(|| "unknown".into());
            return says("the database's SHA-256 is", &show(&said.sha256), &show(&recorded.sha256));
        }
    }
    if let Some((said, recorded)) = assets.zip(snapshot.files.as_ref()) {
        let layout = |is_site: bool| if is_site { "paths below a root" } else { "`assets/` and `storage/`" };
        if (said.layout == Layout::Root) != recorded.is_site() {
            return says("the archive holds", &layout(said.layout == Layout::Root), &layout(recorded.is_site()));
        }
        if !is_whole {
            return Ok(None);
        }
        if said.file_count != Some(recorded.files) {
            return says("the number of files is", &said.file_count.unwrap_or(0), &recorded.files);
        }
        // An export by another coder makes another archive of the same files.
        let made = recorded.archive.as_ref().filter(|made| made.coder == CODER);
        if let Some(made) = made.filter(|made| said.sha256.as_deref() != Some(&made.sha256)) {
            return says("the archive's SHA-256 is", &said.sha256.as_deref().unwrap_or("unknown"), &made.sha256);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::error::Error;
    use crate::format::entry::{Content, Entry, Kind};
    use crate::format::snapshot::Files;
    use crate::fs::lock::LockMode;
    use crate::fs::space::Reserve;
    use crate::ops::export;
    use crate::ops::tests::sample;
    use crate::progress::Silent;
    use crate::store::tree::TreeBuilder;
    use crate::store::write::WriteSession;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::memory;
    use crate::time::Time;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() }
    }

    fn file(path: &str) -> Entry {
        entry(path, Kind::File { size: 0, content: Content::Inline(Vec::new()) })
    }

    /// Exports a snapshot of these entries, whose document is changed by hand.
    fn exported(entries: &[Entry], edit: &dyn Fn(&mut Files)) -> Result<(), Error> {
        let backend = memory();
        create(&backend, [1; 32]).unwrap();
        let store = Store::open(Arc::new(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let session = WriteSession::new(&store);
        let mut builder = TreeBuilder::new(&session, None);
        entries.iter().for_each(|entry| builder.push(entry.clone()).unwrap());
        let list = builder.finish().unwrap();
        session.seal().unwrap();
        let files = entries.iter().filter(|entry| matches!(entry.kind, Kind::File { .. } | Kind::Hardlink { .. }));
        let roots = [("assets".to_string(), "data/assets".to_string())].into();
        let (entries, files) = (entries.len() as u64, files.count() as u64);
        let mut part = Files { roots, list, entries, files, ..sample::uploads() };
        edit(&mut part);
        let snapshot = sample::snapshot(None, Some(part));
        let (name, _) = store.publish(&snapshot).unwrap();
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("out");
        let options = export::Options { out: &out, reserve: Reserve::NONE, program: "test", skip_damaged: false };
        let done = export::export(&store, &name, snapshot, &options, &Silent);
        assert_eq!(done.is_ok(), out.exists(), "what is refused leaves nothing");
        done.map(drop)
    }

    #[test]
    fn what_a_restore_refuses_is_not_exported() {
        let root = || entry("assets", Kind::Dir);
        let link = |target: &str| entry("assets/z", Kind::Hardlink { target: target.into() });
        let good = [root(), entry("assets/a", Kind::Dir), file("assets/a/1"), file("assets/b"), link("assets/b")];
        exported(&good, &|_| ()).unwrap();
        let refused = |entries: &[Entry], edit: &dyn Fn(&mut Files), why: &str| {
            let error = exported(entries, edit).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains(why), "{error}");
        };
        refused(&good, &|part| part.entries += 1, "says 6 entries");
        refused(&good, &|part| part.files -= 1, "2 files");
        refused(&good[..4], &|part| part.bytes = 9, "2 files of 9 bytes");
        refused(&[root(), file("assets/b"), file("assets/a")], &|_| (), "out of order");
        refused(&[root(), file("assets/a"), file("assets/a")], &|_| (), "out of order");
        refused(&[root(), file("assets/a/1")], &|_| (), "not the directory");
        refused(&[root(), file("assets/a"), file("assets/a/1")], &|_| (), "not the directory");
        refused(&[file("assets/a")], &|_| (), "not the directory");
        refused(&[root(), entry("other", Kind::Dir)], &|_| (), "not the directory");
        refused(&[root(), link("assets/y")], &|_| (), "hard link");
    }
}
