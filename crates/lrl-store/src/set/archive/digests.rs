//! Hashes a file's contents as they pass: SHA-256 always, MD5 (the package `md-5`) only where a row may have one to compare with.

use md5::Md5;
use sha2::{Digest, Sha256};

/// What is computed of one file.
pub(crate) struct Hasher {
    sha256: Sha256,
    md5: Option<Md5>,
}

/// The digests of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digests {
    /// SHA-256.
    pub sha256: [u8; 32],
    /// MD5, where it was asked for.
    pub md5: Option<[u8; 16]>,
}

impl Hasher {
    /// Begins a file.
    pub(crate) fn new(with_md5: bool) -> Self {
        Self { sha256: Sha256::new(), md5: with_md5.then(Md5::new) }
    }

    /// Adds the bytes that follow.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> Digests {
        Digests { sha256: self.sha256.finalize().into(), md5: self.md5.map(|md5| md5.finalize().into()) }
    }
}
