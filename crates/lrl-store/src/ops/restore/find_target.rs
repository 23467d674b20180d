//! Finds targets below a directory that the caller names, component by component, each directory once.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Mode, openat};
use rustix::io::Errno;

use super::links::Links;
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::{DIRECTORY, to_path};
use crate::fs::resolve::{self, OpenDirs, follow, is_mount_root, is_other_mount};

/// Where the way to a target has come to.
#[derive(Clone)]
struct Place {
    dir: Option<Arc<OwnedFd>>,
    dir_path: PathBuf,
    /// Where staging happens, as in [`Target::base`].
    base: (PathBuf, Option<Arc<OwnedFd>>),
}

/// Finds targets. Keeps the directories that it opened: many targets are in one.
pub(super) struct Finder<'a> {
    dirs: &'a OpenDirs,
    opened: Mutex<BTreeMap<(PathBuf, Vec<u8>), Place>>,
}

impl<'a> Finder<'a> {
    /// Starts at the directories that the caller names.
    pub(crate) fn new(dirs: &'a OpenDirs) -> Self {
        Self { dirs, opened: Mutex::default() }
    }

    /// Finds the target `components` below `home`, or the first part of it that is missing.
    ///
    /// # Errors
    /// [`Error::Refused`] where a file, or a link that is not followed, is in the way.
    pub(crate) fn find(&self, home: &Path, components: &[&[u8]], links: Links) -> Result<Target> {
        let (known, mut place) = self.start(home, components)?;
        let (mut depth, mut existing, mut via) = (0, None, None);
        let mut name: &[u8] = components.first().copied().unwrap_or_default();
        let mut real;
        for (at, component) in components.iter().enumerate().skip(known) {
            depth = at + 1;
            name = component;
            let is_last = depth == components.len();
            let Some(here) = place.dir.clone() else { break };
            let path = place.dir_path.join(to_path(name));
            existing = resolve::look(&here, name).map_err(|e| Error::io("look at", &path)(e.into()))?;
            let is_link = existing.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
            if is_link && links.follows(at, is_last) {
                let found = follow(&here, &place.dir_path, name)?;
                (place.dir_path, existing, real) = (found.dir_path, found.stat, found.name);
                via = Some(path).filter(|_| is_last || links == Links::First);
                name = &real;
                place.base = (place.dir_path.clone(), Some(Arc::clone(&found.dir)));
                place.dir = Some(found.dir);
            }
            let Some(here) = place.dir.clone() else { break };
            let path = place.dir_path.join(to_path(name));
            if existing.is_none() || is_last {
                break;
            }
            let below = openat(&here, name, DIRECTORY, Mode::empty()).map_err(|e| match e {
                Errno::LOOP | Errno::NOTDIR => Error::refused(format!(
                    "{} is a link or a file, not a directory: nothing is restored through it",
                    path.display()
                )),
                e => Error::io("open", &path)(e.into()),
            })?;
            let below = Arc::new(below);
            if is_other_mount(&here, &below) {
                place.base = (path.clone(), Some(Arc::clone(&below)));
            }
            place.dir = Some(below);
            place.dir_path = path;
            if links.is_of_site() {
                self.remember(home, &components[..depth], &place);
            }
        }
        let wanted = components.iter().take(depth.max(1)).map(|name| name.to_vec()).collect();
        let Place { dir, dir_path, base } = place;
        let (home, name) = (home.to_path_buf(), name.to_vec());
        let mut target = Target { home, links, wanted, base, inner: None, via, dir, dir_path, name, existing, depth };
        if target.is_dir() {
            let below = target.open_inside();
            // What we may not enter is nothing that could be restored into; that says why when it is tried.
            if let (Some(dir), Ok(below)) = (&target.dir, below)
                && (is_other_mount(dir, &below) || is_mount_root(dir, &target.name))
            {
                target.base = (target.path(), Some(Arc::clone(&below)));
                target.inner = Some(below);
            }
        }
        Ok(target)
    }

    /// Returns how many components the way has behind it that was gone before, and where that is.
    fn start(&self, home: &Path, components: &[&[u8]]) -> Result<(usize, Place)> {
        let above = components.len().saturating_sub(1);
        let key = (home.to_path_buf(), components[..above].join(&b'/'));
        let known = self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(place) = known.filter(|_| above > 0) {
            return Ok((above, place));
        }
        let dir = self.dirs.open(home)?;
        let dir_path = home.to_path_buf();
        Ok((0, Place { base: (dir_path.clone(), dir.clone()), dir, dir_path }))
    }

    fn remember(&self, home: &Path, components: &[&[u8]], place: &Place) {
        let key = (home.to_path_buf(), components.join(&b'/'));
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(key, place.clone());
    }
}
