//! Owns the reading of a manifest that anybody wrote: lrl, the old script, or an attacker. Files are looked up by their name beside
//! the manifest and nowhere else. Never opens them, never trusts a field.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::set::layout::MANIFEST;

/// A manifest of this length would name thousands of files; real ones name two.
const MANIFEST_MAX: u64 = 1 << 20;

/// A manifest that could be read.
#[derive(Debug, Clone)]
pub struct FoundSet {
    /// The manifest's path as it was given.
    pub manifest: PathBuf,
    /// `timestamp_utc`, not necessarily a time.
    pub timestamp: String,
    /// `created_at`, not necessarily a time.
    pub created_at: Option<String>,
    /// Why the manifest as a whole cannot be trusted, if so.
    pub error: Option<String>,
    /// The set's files in the manifest's order.
    pub files: Vec<FoundFile>,
    /// The snapshot that lrl says the set shows.
    pub snapshot: Option<SnapshotId>,
}

/// One file of a set, as its manifest has it.
#[derive(Debug, Clone)]
pub struct FoundFile {
    /// `database`, `assets` or anything else.
    pub kind: String,
    /// The path that the manifest states.
    pub stated: String,
    /// Where it is: beside the manifest. `None` if what is stated cannot be a file's name.
    pub path: Option<PathBuf>,
    /// Where the data came from.
    pub source: Option<String>,
    /// SHA-256 in hexadecimal digits, if stated.
    pub sha256: Option<String>,
    /// Length of the file in bytes, if stated.
    pub size_bytes: Option<u64>,
    /// Files in the archive, if stated.
    pub file_count: Option<u64>,
    /// Their bytes, if stated.
    pub source_bytes: Option<u64>,
}

impl FoundFile {
    /// Returns the file's own name for people.
    pub fn name(&self) -> String {
        match self.path.as_deref().and_then(Path::file_name) {
            Some(name) => name.to_string_lossy().into_owned(),
            None => self.stated.clone(),
        }
    }

    /// Returns the file's path if a regular file is there.
    pub fn there(&self) -> Option<&Path> {
        self.path.as_deref().filter(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file()))
    }
}

impl FoundSet {
    /// Reads a manifest. Errors: [`Error::Io`] if it cannot be read, [`Error::Corrupt`] if it is none.
    pub fn load(manifest: &Path) -> Result<Self> {
        let corrupt = |detail: String| Error::corrupt(manifest.display(), detail);
        let meta = fs::metadata(manifest).map_err(Error::io("read", manifest))?;
        if !meta.is_file() {
            return Err(corrupt("is not a regular file".into()));
        }
        let mut bytes = Vec::new();
        let mut file = File::open(manifest).map_err(Error::io("read", manifest))?.take(MANIFEST_MAX + 1);
        file.read_to_end(&mut bytes).map_err(Error::io("read", manifest))?;
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(corrupt("is too long for a manifest".into()));
        }
        let document: Value = serde_json::from_slice(&bytes).map_err(|e| corrupt(format!("is not JSON: {e}")))?;
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_string);
        let timestamp = text(&document, "timestamp_utc").ok_or_else(|| corrupt("has no timestamp_utc".into()))?;
        let backups =
            document.get("backups").and_then(Value::as_array).ok_or_else(|| corrupt("has no list backups".into()))?;
        let dir = manifest.parent().unwrap_or(Path::new(""));
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
        let files = backups.iter().map(|entry| {
            let stated = text(entry, "backup").unwrap_or_default();
            FoundFile {
                kind: text(entry, "type").unwrap_or_default(),
                path: file_name(&stated, dir).map(|name| dir.join(name)),
                source: text(entry, "source"),
                // Something else than text is there to be compared with, and never equal.
                sha256: entry.get("sha256").filter(|value| !value.is_null()).map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                }),
                size_bytes: number(entry, "size_bytes").or(number(entry, "archive_size_bytes")),
                file_count: number(entry, "file_count"),
                source_bytes: number(entry, "total_source_size_bytes"),
                stated,
            }
        });
        let files: Vec<FoundFile> = files.collect();
        let error = match document.get("version") {
            None => None,
            Some(Value::String(version)) if version == "1" || version.starts_with("1.") => None,
            Some(version) => Some(format!("its version {version} is not one that this lrl knows")),
        };
        let error = error.or_else(|| files.is_empty().then(|| "it lists no files".to_string()));
        let snapshot = document.get("lrl").and_then(|extra| text(extra, "snapshot"));
        Ok(Self {
            manifest: manifest.to_path_buf(),
            timestamp,
            created_at: text(&document, "created_at"),
            error,
            files,
            snapshot: snapshot.and_then(|id| SnapshotId::from_hex(&id).ok()),
        })
    }
}

/// Returns the last component of a stated path, if it can be a file's name.
fn file_name<'a>(stated: &'a str, dir: &Path) -> Option<&'a str> {
    let name = stated.rsplit('/').next()?;
    // The script writes backslashes where it runs on Windows.
    let name = match name.rsplit('\\').next() {
        Some(tail) if tail != name && fs::symlink_metadata(dir.join(name)).is_err() => tail,
        _ => name,
    };
    (!matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains('\0')).then_some(name)
}

/// Finds the manifests in a directory, oldest first by name.
pub fn manifests(dir: &Path) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            Error::NoStore { what: "backup directory", path: dir.to_path_buf() }
        }
        _ => Error::io("list", dir)(e),
    })?;
    let mut found = Vec::new();
    for entry in listing {
        let name = entry.map_err(Error::io("list", dir))?.file_name();
        if name.to_str().is_some_and(|name| MANIFEST.stamp(name).is_some()) {
            found.push(dir.join(name));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{FoundSet, manifests};
    use crate::error::Error;
    use proptest::prelude::*;
    use std::path::Path;

    fn load(text: impl AsRef<[u8]>) -> Result<FoundSet, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup_manifest_x.json");
        std::fs::write(&path, text).unwrap();
        FoundSet::load(&path)
    }

    fn stated(path: &str) -> Option<String> {
        let entry = serde_json::json!({"timestamp_utc": "t", "backups": [{"type": "database", "backup": path}]});
        let set = load(entry.to_string()).unwrap();
        let path = set.files[0].path.as_deref().map(|path| path.strip_prefix(set.manifest.parent().unwrap()).unwrap());
        path.map(|path| path.to_str().unwrap().to_string())
    }

    #[test]
    fn files_are_looked_up_by_name_beside_the_manifest_and_nowhere_else() {
        for (path, name) in [
            ("./backups/a.sqlite", Some("a.sqlite")),
            ("/etc/passwd", Some("passwd")),
            ("../../x", Some("x")),
            ("backups\\a.sqlite", Some("a.sqlite")),
            ("", None),
            ("..", None),
            ("a/", None),
            ("a\0b", None),
        ] {
            assert_eq!(stated(path).as_deref(), name, "{path:?}");
        }
        assert_eq!(stated(&"x".repeat(5000)), None);
    }

    #[test]
    fn what_is_no_manifest_is_said_to_be_none() {
        for bad in ["", "[]", "{}", "null", r#"{"timestamp_utc":"t"}"#, r#"{"timestamp_utc":1,"backups":[]}"#] {
            assert!(matches!(load(bad), Err(Error::Corrupt { .. })), "{bad}");
        }
        assert!(matches!(load("[".repeat(1 << 20)), Err(Error::Corrupt { .. })));
        assert!(matches!(load(" ".repeat((1 << 20) + 1)), Err(Error::Corrupt { .. })));
        assert!(matches!(FoundSet::load(Path::new("/")), Err(Error::Corrupt { .. })));
        assert!(matches!(FoundSet::load(Path::new("/no/such")), Err(Error::Io { .. })));
    }

    #[test]
    fn a_later_version_and_an_empty_list_are_no_trust() {
        let entry = r#""timestamp_utc":"t","backups":[{"type":"database","backup":"a"}]"#;
        assert_eq!(load(format!(r#"{{{entry},"version":"1.0"}}"#)).unwrap().error, None);
        assert!(load(format!(r#"{{{entry},"version":"2.0"}}"#)).unwrap().error.is_some());
        assert!(load(r#"{"timestamp_utc":"t","backups":[]}"#).unwrap().error.is_some());
    }

    #[test]
    fn manifests_come_in_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["backup_manifest_2.json", "backup_manifest_1.json", "other.json", "backup_manifest_3.json.tmp"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names: Vec<_> = manifests(dir.path()).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["backup_manifest_1.json", "backup_manifest_2.json"]);
        assert!(matches!(manifests(&dir.path().join("none")), Err(Error::NoStore { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = load(bytes);
        }
    }
}
