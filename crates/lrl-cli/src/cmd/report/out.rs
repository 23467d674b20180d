//! Writes the page, by rename: whoever reads it sees the old one or the new one, whole.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lrl_store::error::Error;

use crate::exit::{Failure, Result};
use crate::replace::replace;

/// How far into a file its head reaches.
const HEAD: u64 = 512;
/// What every page of lrl has there.
const MARK: &str = "<meta name=\"generator\" content=\"lrl ";

/// Returns the file to write and its mode: that of the page which is there, behind a link where one leads to it.
///
/// # Errors
/// If what is there is no page of lrl.
pub fn target(out: &Path) -> Result<(PathBuf, u32)> {
    let path = match fs::symlink_metadata(out) {
        Ok(meta) if meta.is_symlink() => fs::canonicalize(out).map_err(Error::io("follow", out))?,
        _ => out.to_path_buf(),
    };
    let refuse =
        |what: &str| Err(Failure::Usage(format!("{} {what}: it is not overwritten; name another file", out.display())));
    match fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok((path, 0o600)),
        Err(e) => Err(Error::io("look at", &path)(e).into()),
        Ok(meta) if !meta.is_file() => refuse("is no regular file"),
        Ok(meta) if meta.len() > 0 && !is_page(&path).map_err(Error::io("read", &path))? => refuse("is no report"),
        Ok(meta) => Ok((path, meta.permissions().mode() & 0o777)),
    }
}

fn is_page(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    fs::File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(String::from_utf8_lossy(&head).contains(MARK))
}

/// Writes it.
///
/// # Errors
/// If its directory cannot be written.
pub fn write(path: &Path, mode: u32, page: &str) -> Result<()> {
    Ok(replace(path, page.as_bytes(), mode).map_err(Error::io("write", path))?)
}
