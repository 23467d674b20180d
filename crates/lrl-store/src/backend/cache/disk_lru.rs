//! A size-bounded on-disk cache with least-recently-used eviction.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::fs::durable::create_dir;
use crate::fs::space::SpaceGuard;
use crate::fs::temp_file::{TEMP_PREFIX, temporary_file};

/// Bytes that each pool keeps, at most.
const POOL_BYTES: u64 = 512 << 20;
/// Bytes that a cache leaves free beside the reserve, for what a run must write.
const SPARE: u64 = 64 << 20;

/// One pool of files.
pub(crate) struct DiskLru {
    pub dir: PathBuf,
    pub space: Arc<SpaceGuard>,
    used: AtomicU64,
}

impl DiskLru {
    pub(crate) fn new(dir: PathBuf, space: &Arc<SpaceGuard>) -> Result<Self> {
        create_dir(&dir)?;
        let pool = Self { dir, space: Arc::clone(space), used: AtomicU64::new(0) };
        pool.trim();
        Ok(pool)
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.dir.join(key)
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        if has_space(&self.space, bytes.len() as u64) && put_file(&self.path(key), |sink| sink(bytes)).is_ok() {
            self.grow(bytes.len() as u64);
        }
    }

    pub(crate) fn grow(&self, bytes: u64) {
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > POOL_BYTES {
            self.trim();
        }
    }

    /// Counts the files, and removes the least recently used where they are too many.
    fn trim(&self) {
        let mut files: Vec<_> =
            files(&self.dir).filter_map(|(path, meta)| Some((meta.modified().ok()?, meta.len(), path))).collect();
        let mut used: u64 = files.iter().map(|(_, len, _)| len).sum();
        if used > POOL_BYTES {
            files.sort_unstable();
            for (_, len, path) in files {
                // Some space for what comes, so that not every new file counts them all again.
                if used <= POOL_BYTES / 4 * 3 {
                    break;
                }
                used -= if fs::remove_file(path).is_ok() { len } else { 0 };
            }
        }
        self.used.store(used, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        files(&self.dir).for_each(|(path, _)| _ = fs::remove_file(path));
    }
}

/// Returns whether the disk has space for a cached copy.
pub(crate) fn has_space(space: &SpaceGuard, len: u64) -> bool {
    space.require(len.saturating_add(SPARE)).is_ok()
}

/// Returns whether a file is a temporary one.
pub(crate) fn is_spool(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes())
}

pub(crate) fn files(dir: &Path) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| !is_spool(&entry.file_name()));
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).filter(|(_, meta)| meta.is_file())
}

/// Writes a file that appears whole. It need not be durable: its reader notices a damaged copy.
pub(crate) fn put_file(
    path: &Path,
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    create_dir(dir)?;
    let mut file = temporary_file(dir)?;
    fill(&mut |bytes| file.write_all(bytes).map_err(Error::io("write", path)))?;
    file.persist(path).map(|_| ()).map_err(|e| Error::io("rename into place", path)(e.error))
}

pub(crate) fn read_at(path: &Path, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    File::open(path).ok()?.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}
