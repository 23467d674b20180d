//! The set's database: its image written from the store, whole and verified.

use std::io::{BufWriter, Write};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::format::entry::Content;
use crate::format::snapshot::Database;
use crate::store::Store;

/// Writes the image of `database` and checks it against its SHA-256.
pub fn write(store: &Store, database: &Database, file: &mut tempfile::NamedTempFile) -> Result<()> {
    let path = file.path().to_path_buf();
    let mut sha = Sha256::new();
    let mut out = BufWriter::with_capacity(256 << 10, file.as_file_mut());
    store.read_content(&Content::Tree(database.root), 0, database.size_bytes, &mut |bytes| {
        sha.update(bytes);
        out.write_all(bytes).map_err(Error::io("write", &path))
    })?;
    out.flush().map_err(Error::io("write", &path))?;
    if crate::set::hex(&sha.finalize()) == database.sha256 {
        Ok(())
    } else {
        Err(Error::corrupt("the database in the snapshot", "does not match its SHA-256"))
    }
}
