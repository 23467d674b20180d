//! The ids of an image's extents, in order: in memory up to a bound, then in a temporary file.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::budget::EXTENT_IDS;
use crate::error::{Error, Result};
use crate::id::ChunkId;

/// Ids of extents, in order.
pub(super) struct ExtentIds {
    dir: PathBuf,
    /// The oldest ids, and how many they are.
    file: Option<File>,
    in_file: u64,
    /// The newest ids.
    memory: Vec<ChunkId>,
}

impl ExtentIds {
    /// An empty list; what does not fit into memory goes into a temporary file without a name in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), file: None, in_file: 0, memory: Vec::new() }
    }

    pub(crate) fn push(&mut self, id: ChunkId) -> Result<()> {
        if self.memory.len() == EXTENT_IDS {
            let failed = Error::io("write a list of extents in", &self.dir);
            let mut bytes = Vec::with_capacity(EXTENT_IDS * 32);
            self.memory.drain(..).for_each(|id| bytes.extend_from_slice(id.as_bytes()));
            let mut write = || {
                let file = match &mut self.file {
                    Some(file) => file,
                    none => none.insert(tempfile::tempfile_in(&self.dir)?),
                };
                file.write_all(&bytes)
            };
            write().map_err(failed)?;
            self.in_file += EXTENT_IDS as u64;
        }
        self.memory.push(id);
        Ok(())
    }

    /// Returns how many they are.
    pub(crate) fn len(&self) -> u64 {
        self.in_file + self.memory.len() as u64
    }

    /// Returns the id at a place, counted from 0; `None` if there are fewer.
    pub(crate) fn get(&self, at: u64) -> Result<Option<ChunkId>> {
        if at >= self.in_file {
            return Ok(self.memory.get((at - self.in_file) as usize).copied());
        }
        let Some(file) = &self.file else { return Ok(None) };
        let mut id = [0; 32];
        file.read_exact_at(&mut id, at * 32).map_err(Error::io("read a list of extents in", &self.dir))?;
        Ok(Some(ChunkId::from_bytes(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::{EXTENT_IDS, ExtentIds};
    use crate::id::ChunkId;

    #[test]
    fn ids_come_back_in_order_also_those_that_did_not_fit_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut ids = ExtentIds::new(dir.path());
        let count = 2 * EXTENT_IDS as u64 + 7;
        let nth = |n: u64| ChunkId::of(&n.to_le_bytes());
        (0..count).for_each(|n| ids.push(nth(n)).unwrap());
        assert_eq!(ids.len(), count);
        assert!((0..count).all(|n| ids.get(n).unwrap() == Some(nth(n))));
        assert_eq!(ids.get(count).unwrap(), None);
    }
}
