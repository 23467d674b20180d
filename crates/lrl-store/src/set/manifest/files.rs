//! Where the files are looked for that a manifest names: by name, beside the manifest, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A name of more bytes is none.
const NAME_MAX: usize = 255;

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX && !name.contains('\0')
}

/// Returns the path of a file that a manifest names: its file name beside the manifest, whatever directories are stated before it.
///
/// # Errors
/// [`Error::Corrupt`] if that is no name, [`Error::Missing`] if there is no such file, [`Error::Refused`] if it is no regular file.
pub(crate) fn find_beside(manifest: &Path, backup: &str) -> Result<PathBuf> {
    let name = backup.rsplit('/').next().unwrap_or_default();
    if !is_name(name) || backup.contains('\0') {
        let shown: String = backup.chars().take(80).collect();
        return Err(Error::corrupt(manifest.display(), format!("names a file that cannot be one: {shown:?}")));
    }
    let path = manifest.with_file_name(name);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(path),
        // A link could lead to any file of this machine.
        Ok(_) => Err(Error::refused(format!("{} is not a regular file; sets hold nothing else", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::Missing { object: path.display().to_string() })
        }
        Err(e) => Err(Error::io("look at", path)(e)),
    }
}

/// Returns the last component of a stated path, if it can be a file's name.
pub(super) fn file_name<'a>(stated: &'a str, dir: &Path) -> Option<&'a str> {
    let name = stated.rsplit('/').next()?;
    // The script writes backslashes where it runs on Windows.
    let name = match name.rsplit('\\').next() {
        Some(tail) if tail != name && fs::symlink_metadata(dir.join(name)).is_err() => tail,
        _ => name,
    };
    is_name(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::find_beside;
    use crate::error::Error;
    use crate::progress::Silent;
    use crate::set::sha256::sha256_of;

    #[test]
    fn files_are_found_beside_the_manifest_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("m.json");
        let file = dir.path().join("file");
        std::fs::write(&file, b"abc").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("passwd")).unwrap();
        for found in ["file", "./file", "../file", "/etc/file", "a//b/file"] {
            assert_eq!(find_beside(&manifest, found).unwrap(), file, "{found}");
        }
        let long = "x".repeat(5000);
        for bad in ["", "/", ".", "..", "../..", "a/", "a\0/file", "fi\0le", &long] {
            assert!(matches!(find_beside(&manifest, bad), Err(Error::Corrupt { .. })), "{bad:.10}");
        }
        assert!(matches!(find_beside(&manifest, "../none"), Err(Error::Missing { .. })));
        assert!(matches!(find_beside(&manifest, "passwd"), Err(Error::Refused(_))));
        let (sha256, len) = sha256_of(&file, &Silent).unwrap();
        assert_eq!((&*sha256, len), ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3));
    }
}
