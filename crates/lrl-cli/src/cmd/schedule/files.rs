//! Files that `lrl schedule` writes: each begins with a marker, and what has none, or that of another site, is never touched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lrl_store::error::Error;
use lrl_store::fs::durable;

use crate::exit::{Failure, Result};
use crate::replace::replace;

/// The first line of every file.
const FIRST: &str = "# Written by `lrl schedule`, which overwrites and removes it.";
/// The second one begins like this.
const FOR: &str = "# For: ";

/// A file to write.
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// What is at a place.
enum Found {
    Nothing,
    /// A file of lrl's, for the site in its second line.
    Own(String),
    Foreign,
}

/// Returns the lines that begin a file for a site.
pub fn marker(site: &str) -> String {
    format!("{FIRST}\n{FOR}{site}\n")
}

fn found(path: &Path) -> Result<Found> {
    let text = match fs::read(path) {
        Ok(text) => text,
        // A unit that is masked is a link to /dev/null; a link that leads nowhere is no file of lrl's either.
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => return Ok(Found::Nothing),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Foreign),
        Err(e) => return Err(Error::io("read", path)(e).into()),
    };
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    Ok(match (lines.next(), lines.next().and_then(|line| line.strip_prefix(FOR))) {
        (Some(FIRST), Some(site)) => Found::Own(site.into()),
        _ => Found::Foreign,
    })
}

/// Fails where one of the files may not be replaced; to be asked before any is written.
pub fn check(files: &[Written], site: &str) -> Result<()> {
    for file in files {
        let path = file.path.display();
        match found(&file.path)? {
            Found::Own(other) if other != site => {
                return Err(Failure::Usage(format!(
                    "{path} is that of another site ({other}): give this one's units a name of their own with --name"
                )));
            }
            Found::Foreign => {
                return Err(Failure::Usage(format!(
                    "{path} is there, and `lrl schedule` did not write it: move it away, or give a name with --name"
                )));
            }
            Found::Own(_) | Found::Nothing => {}
        }
    }
    Ok(())
}

/// Writes the files.
pub fn write(files: &[Written]) -> Result<()> {
    for file in files {
        if let Some(dir) = file.path.parent() {
            durable::create_dir(dir)?;
        }
        // Whatever the umask: systemd warns of units that are private, and cron reads those of others.
        replace(&file.path, file.text.as_bytes(), 0o644).map_err(Error::io("write", &file.path))?;
    }
    Ok(())
}

/// Removes what is there of these files, if all of it is lrl's; returns the paths.
pub fn remove(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut own = Vec::new();
    for path in paths {
        match found(path)? {
            Found::Nothing => {}
            Found::Own(_) => own.push(path.clone()),
            Found::Foreign => {
                let path = path.display();
                return Err(Failure::Usage(format!("`lrl schedule` did not write {path}: nothing was removed")));
            }
        }
    }
    for path in &own {
        fs::remove_file(path).map_err(Error::io("remove", path))?;
    }
    Ok(own)
}

/// Removes the link in the directory `wants` by which `systemctl enable` starts a unit, if it leads to nothing any more.
pub fn unlink(unit: &Path, wants: &str) -> Result<Option<PathBuf>> {
    let (Some(dir), Some(name)) = (unit.parent(), unit.file_name()) else { return Ok(None) };
    let link = dir.join(wants).join(name);
    let is_dangling = link.is_symlink() && !link.exists();
    if is_dangling {
        fs::remove_file(&link).map_err(Error::io("remove", &link))?;
    }
    Ok(is_dangling.then_some(link))
}
