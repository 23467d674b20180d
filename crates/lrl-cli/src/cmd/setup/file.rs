//! The file that `--write` makes: whole or not at all, and never in the place of another.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lrl_store::error::Error;

use crate::exit::{Failure, Result};

/// Writes `text` to `path`, where nothing may be.
pub fn write(path: &Path, text: &str) -> Result<PathBuf> {
    // Others need not read which files hold secrets, nor can they: nothing is followed, nothing is replaced.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::Usage(format!("{} appeared meanwhile, and is not replaced", path.display())));
        }
        Err(error) => return Err(Error::io("create", path)(error).into()),
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Ours, and not whole.
        let _ = fs::remove_file(path);
        return Err(Error::io("write", path)(error).into());
    }
    Ok(path.to_path_buf())
}
