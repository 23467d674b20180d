//! A small file that is replaced as a whole: readers see the old one or the new one.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a file beside `path`, with this mode whatever the umask, and renames it. Not synced: what a power cut takes is written again by a later
/// run.
///
/// # Errors
/// If it cannot be written in its directory; then nothing is left there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // Programs that read all of a directory know files by the ends of their names.
    let fresh = path.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    let written = file.write_all(bytes).and_then(|()| file.set_permissions(Permissions::from_mode(mode)));
    written.and_then(|()| fs::rename(&fresh, path)).inspect_err(|_| _ = fs::remove_file(&fresh))
}
