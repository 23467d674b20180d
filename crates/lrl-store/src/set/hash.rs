//! SHA-256 of the files of a set: the one place that reads such a file for its digest. Never decides what a digest should be.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};

/// Reads a file whole, passing each run of bytes on; returns its SHA-256 (lower-case hex) and length in bytes.
pub fn read_hashed(
    path: &Path,
    observer: &dyn Observer,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<(String, u64)> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut sha256, mut len) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        checkpoint(observer)?;
        let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if read == 0 {
            return Ok((super::hex(&sha256.finalize()), len));
        }
        len += read as u64;
        sha256.update(&buffer[..read]);
        visit(&buffer[..read])?;
    }
}

/// Computes a file's SHA-256 (lower-case hex) and length in bytes; its bytes do not count as progress.
pub fn sha256_of(path: &Path, observer: &dyn Observer) -> Result<(String, u64)> {
    read_hashed(path, observer, &mut |_| Ok(()))
}
