//! Where the parts of a site's set go: the archive's members and the databases, in trees that are put in place as a whole.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::fstat;

use super::model::{Part, Report};
use super::set_parts::Root;
use super::source::Run;
use super::stage_set::{copy_proved, count, give_away, note_count, unpack};
use super::target::Target;
use super::target_dirs::{StagingDirs, StagingHome};
use crate::error::{Error, Result};
use crate::format::path_text;
use crate::fs::dir::{components, split};
use crate::fs::metadata::{Metadata, mtime_of, set_metadata, set_mtime};
use crate::fs::tree_writer::{Obstacle, TreeWriter};
use crate::set::archive::extract::Counts;
use crate::set::archive::paths::check;
use crate::set::archive::read::{MemberKind, walk};
use crate::set::manifest::{Assets, Database};

/// Names directly in a root that restores of lrl use themselves.
const OWN: [&[u8]; 2] = [b".lrl-", b".lrl."];

/// A database that is put in place with the tree that it lies in.
pub(super) struct InTree<'a> {
    /// Its entry in the manifest.
    pub database: &'a Database,
    /// The file of the set.
    pub copy: PathBuf,
    /// The number of the tree.
    pub root: usize,
    /// Its path below the directory that holds the staged tree.
    pub below: Vec<u8>,
}

/// Returns the names directly in the root of an archive, and whether each is a directory; notes those that stay out.
pub(super) fn top_level(archive: &Path, notes: &mut Vec<String>) -> Result<BTreeMap<Vec<u8>, bool>> {
    let mut found = BTreeMap::new();
    walk(archive, &|_| Ok(()), &mut |member, data| {
        let why = |why| {
            let name = String::from_utf8_lossy(&member.path);
            Error::corrupt(archive.display(), format!("its member {name} {why}"))
        };
        let checked = check(member).map_err(why)?;
        if let Some(first) = components(&checked.path).next() {
            let is_dir = member.kind == MemberKind::Dir || first.len() < checked.path.len();
            *found.entry(first.to_vec()).or_default() |= is_dir;
        }
        while data.run()?.is_some() {}
        Ok(())
    })?;
    found.retain(|name, _| {
        let is_own = OWN.iter().any(|start| name.starts_with(start));
        if is_own {
            let name = path_text::encode(name);
            notes.push(format!("the archive holds `{name}`, a name that restores use themselves: it was not restored"));
        }
        !is_own
    });
    Ok(found)
}

/// Refuses a target where something is. What lies around it, and links and mounts in it, would have to be told from the data.
pub(super) fn require_absent(target: &Target, manifest: &Path) -> Result<()> {
    if target.existing.is_none() && target.via.is_none() && target.sidecars()?.is_empty() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{} is there already: the set of a site is restored into a directory that has nothing of it. Name a new one, and exchange the \
         two; or make a snapshot of {} with `lrl import`, and restore that; nothing was changed",
        target.path().display(),
        manifest.display()
    )))
}

/// Copies a database into a staged tree, and proves the copy; directories that are missing on the way get the owner of the target's. Returns
/// its length.
fn stage_in_tree(
    one: &InTree<'_>,
    tree: &mut TreeWriter,
    target: &Target,
    home: &StagingHome,
    run: &Run<'_>,
    notes: &mut Vec<String>,
) -> Result<u64> {
    let refused = |obstacle: Obstacle, what: &str| match obstacle {
        Obstacle::Io(error) => error,
        _ => Error::corrupt(one.copy.display(), format!("{what} for {}", path_text::encode(&one.below))),
    };
    let owner = |of: Option<(u32, u32)>| run.owners.all.or(of.filter(|_| run.owners.recorded));
    let is_required = run.owners.all.is_some();
    let (parent, name) = split(&one.below);
    while tree.depth() > 0 {
        tree.ascend()?;
    }
    for part in components(parent) {
        let is_new = match tree.create_dir(part) {
            Ok(()) => true,
            Err(Obstacle::Exists) => false,
            Err(obstacle) => return Err(refused(obstacle, "there is no place")),
        };
        tree.descend(part).map_err(|obstacle| refused(obstacle, "the archive has no directory"))?;
        if is_new {
            let owner = owner(target.owner());
            let metadata = Metadata { mode: 0o755, owner, owner_is_required: is_required, mtime: None };
            run.counts.owner(set_metadata(tree.here(), &metadata, true, &tree.path_of(b""))?);
        }
    }
    let path = tree.path_of(name);
    let above = fstat(tree.here()).map_err(tree.io("look at", b""))?;
    let file = tree.create_file(name).map_err(|obstacle| refused(obstacle, "the archive holds another file"))?;
    let len = copy_proved(one.database, &one.copy, &file, &path, home, run, notes)?;
    let of_parent = if parent.is_empty() { target.owner() } else { Some((above.st_uid, above.st_gid)) };
    let owner = owner(of_parent);
    let metadata = Metadata { mode: 0o600, owner, owner_is_required: is_required, mtime: None };
    run.counts.owner(set_metadata(&file, &metadata, false, &path)?);
    set_mtime(tree.here(), mtime_of(&above)).map_err(tree.io("set the time of", b""))?;
    Ok(len)
}

/// Unpacks the archive of a site beside its targets, and puts the databases into the trees.
pub(super) fn unpack_site(
    archive: Option<(&Assets, &Path)>,
    roots: &mut [Root],
    in_trees: &[InTree<'_>],
    run: &Run<'_>,
    dirs: &StagingDirs<'_>,
    report: &mut Report,
) -> Result<()> {
    let mut unpacked: Option<Arc<OwnedFd>> = None;
    let first = roots.iter().find(|root| !root.is_made);
    if let (Some((assets, archive)), Some(first)) = (archive, first) {
        let (dir, counts) = unpack(archive, dirs.of(&first.target)?, run)?;
        note_count(assets, &counts, &mut report.notes);
        unpacked = Some(dir);
    }
    for (at, root) in roots.iter_mut().enumerate() {
        let home = dirs.of(&root.target)?;
        let dir = match unpacked.as_ref().filter(|_| !root.is_made) {
            Some(dir) => Arc::clone(dir),
            None => home.staging.subdir(&format!("made-{at}"))?.0,
        };
        let counts = if root.is_made { Counts::default() } else { count(&dir, &root.name) };
        let (mut files, mut bytes) = (counts.files, counts.bytes);
        let mut tree = TreeWriter::new(&dir, &home.staging.path);
        for one in in_trees.iter().filter(|one| one.root == at) {
            bytes += stage_in_tree(one, &mut tree, &root.target, home, run, &mut report.notes)?;
            files += 1;
        }
        give_away(&dir, &root.name, &root.target, false, run)?;
        root.unpacked = Some(dir);
        report.add(Part::Uploads, &root.target, files, bytes)?;
    }
    Ok(())
}
