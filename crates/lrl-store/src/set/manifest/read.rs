//! The one reader of manifests that anybody wrote: lrl, the old script, or an attacker. A field that is not what it should be does not
//! keep the others from being read; `Manifest::read` refuses it, [`FoundSet::load`] goes on without it, and has the reason of
//! `Manifest::read` as its error. Opens no file that a manifest names.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document::{Document, DocumentEntry, DocumentOrigin, Field};
use super::files::file_name;
use super::model::{
    Assets, Database, Layout, MISSING, Manifest, ManifestEntry, Missing, Origin, VERSION, database_path,
};
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::time::Time;

impl Manifest {
    /// Reads a manifest from a file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not a manifest with at most one archive and one database of each path, [`Error::Unsupported`] if its version is unknown.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::of(Document::read(path)?, path)
    }

    /// Decodes a manifest; `path` is for messages.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        Self::of(Document::decode(bytes, path)?, path)
    }

    fn of(document: Document, path: &Path) -> Result<Self> {
        let malformed = |why: String| Error::corrupt(path.display(), format!("is not a manifest: {why}"));
        // Without one a restore has all that it needs.
        let is_no_time = |stamp: &&String| !stamp.is_empty() && Time::of_stamp(stamp).is_none();
        if let Some(stamp) = document.timestamp_utc.as_ref().filter(is_no_time) {
            return Err(malformed(format!("its timestamp_utc {stamp:.80?} is no time")));
        }
        let origin = Field::strict(document.lrl, "lrl").map_err(malformed)?;
        let backups = document.backups.into_iter().map(DocumentEntry::strict).collect::<Result<Vec<_>, String>>();
        let manifest = Self {
            timestamp_utc: document.timestamp_utc.unwrap_or_default(),
            created_at: Field::strict(document.created_at, "created_at").map_err(malformed)?.unwrap_or_default(),
            version: Field::strict(document.version, "version").map_err(malformed)?.unwrap_or_default(),
            backups: backups.map_err(malformed)?,
            lrl: origin.map(|DocumentOrigin { snapshot, source, program, modes }| {
                let modes = Field::typed(modes).unwrap_or_default();
                Origin { snapshot, source, program, modes }
            }),
        };
        if !manifest.version.is_empty() && manifest.version.split('.').next() != VERSION.split('.').next() {
            let version = manifest.version.chars().take(40).collect::<String>();
            return Err(Error::Unsupported { what: format!("manifest version {version} ({})", path.display()).into() });
        }
        let assets = manifest.backups.iter().filter(|backup| matches!(backup, ManifestEntry::Assets(_)));
        let mut paths = HashSet::new();
        if assets.count() > 1 || !manifest.databases().all(|database| paths.insert(&database.path)) {
            return Err(Error::corrupt(path.display(), "names two files of one type, or two databases of one path"));
        }
        Ok(manifest)
    }
}

impl DocumentEntry {
    fn strict(self) -> Result<ManifestEntry, String> {
        let kind = Field::strict(self.kind, "type")?.ok_or("an entry has no type")?;
        let path = Field::strict(self.path, "path")?;
        if database_path(path.as_deref()).is_none() {
            return Err("a database's path leads elsewhere".into());
        }
        let layout: Option<String> = Field::strict(self.layout, "layout")?;
        let unknown =
            || format!("its layout {:.40?} is not one that this lrl knows", layout.as_deref().unwrap_or_default());
        let layout = Layout::of(layout.as_deref()).ok_or_else(unknown)?;
        let source = Field::strict(self.source, "source")?.unwrap_or_default();
        let backup = Field::strict(self.backup, "backup")?;
        let size_bytes = Field::strict(self.size_bytes, "size_bytes")?;
        let file_count = Field::strict(self.file_count, "file_count")?;
        let total_source_size_bytes = Field::strict(self.total_source_size_bytes, "total_source_size_bytes")?;
        let archive_size_bytes = Field::strict(self.archive_size_bytes, "archive_size_bytes")?;
        let entries = Field::strict(self.entries, "entries")?;
        let databases: Vec<String> = Field::strict(self.databases, "databases")?.unwrap_or_default();
        if databases.iter().any(|path| database_path(Some(path)).is_none()) {
            return Err("a database's path leads elsewhere".into());
        }
        let sha256 = Field::strict(self.sha256, "sha256")?;
        let none = "an entry has no backup";
        Ok(match kind.as_str() {
            "database" => {
                ManifestEntry::Database(Database { path, source, backup: backup.ok_or(none)?, size_bytes, sha256 })
            }
            "assets" => ManifestEntry::Assets(Assets {
                layout,
                source,
                backup: backup.ok_or(none)?,
                file_count,
                total_source_size_bytes,
                archive_size_bytes,
                sha256,
            }),
            MISSING => ManifestEntry::Missing(Missing {
                source,
                backup: backup.ok_or(none)?,
                entries,
                databases,
                size_bytes,
                sha256,
            }),
            _ => ManifestEntry::Unknown { kind, backup },
        })
    }

    fn found(self, dir: &Path) -> FoundFile {
        let stated = Field::typed(self.backup).unwrap_or_default();
        let kind = Field::typed(self.kind).unwrap_or_default();
        let (size_bytes, archive_size_bytes) = (Field::typed(self.size_bytes), Field::typed(self.archive_size_bytes));
        let of_archive = archive_size_bytes.filter(|_| kind == "assets");
        FoundFile {
            kind,
            path: file_name(&stated, dir).map(|name| dir.join(name)),
            list_path: Field::typed(self.path),
            layout: self.layout.map(|field| match field {
                Field::Typed(text) => text,
                Field::Other(value) => value.to_string(),
            }),
            source: Field::typed(self.source),
            // Something else than text is compared as well, and never equal.
            sha256: self.sha256.map(|field| match field {
                Field::Typed(text) => text,
                Field::Other(value) => value.to_string(),
            }),
            size_bytes: of_archive.or(size_bytes).or(archive_size_bytes),
            file_count: Field::typed(self.file_count),
            missing: Field::typed(self.entries),
            source_bytes: Field::typed(self.total_source_size_bytes),
            stated,
        }
    }
}

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
    /// `path` of a database: its path below the root, as text.
    pub list_path: Option<String>,
    /// `layout` of an archive, if stated.
    pub layout: Option<String>,
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
    /// How many entries a list of what is missing stands for, if stated.
    pub missing: Option<u64>,
}

impl FoundFile {
    /// Returns the path of a database in the snapshot; `None` if it leads elsewhere.
    pub(crate) fn database_path(&self) -> Option<Vec<u8>> {
        database_path(self.list_path.as_deref())
    }

    /// Returns how the members of an archive are named; `None` if this version does not know it.
    pub(crate) fn layout(&self) -> Option<Layout> {
        Layout::of(self.layout.as_deref())
    }

    /// Returns the file's own name for people.
    pub(crate) fn name(&self) -> String {
        match self.path.as_deref().and_then(Path::file_name) {
            Some(name) => name.to_string_lossy().into_owned(),
            None => self.stated.clone(),
        }
    }

    /// Returns the file's path if a regular file is there.
    pub(crate) fn there(&self) -> Option<&Path> {
        self.path.as_deref().filter(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file()))
    }
}

impl FoundSet {
    /// Reads a manifest as far as it can be read.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Corrupt`] if it is no manifest.
    pub fn load(manifest: &Path) -> Result<Self> {
        let document = Document::read(manifest)?;
        let refused = Manifest::of(document.clone(), manifest).err().map(|error| match error {
            Error::Corrupt { detail, .. } => detail.to_string(),
            other => other.to_string(),
        });
        let no_timestamp = || Error::corrupt(manifest.display(), "has no timestamp_utc");
        let timestamp = document.timestamp_utc.ok_or_else(no_timestamp)?;
        let dir = manifest.parent().unwrap_or(Path::new(""));
        let files: Vec<FoundFile> = document.backups.into_iter().map(|entry| entry.found(dir)).collect();
        let unknown = |version: String| format!("its version {version} is not one that this lrl knows");
        let error = match document.version {
            None => None,
            Some(Field::Typed(version)) if version == "1" || version.starts_with("1.") => None,
            Some(Field::Typed(version)) => Some(unknown(Value::String(version).to_string())),
            Some(Field::Other(version)) => Some(unknown(version.to_string())),
        };
        let error = error.or_else(|| files.is_empty().then(|| "it lists no files".to_string())).or(refused);
        let snapshot = Field::typed(document.lrl).map(|origin| origin.snapshot);
        Ok(Self {
            manifest: manifest.to_path_buf(),
            timestamp,
            created_at: Field::typed(document.created_at),
            error,
            files,
            snapshot: snapshot.and_then(|id| SnapshotId::from_hex(&id).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::FoundSet;
    use crate::error::Error;
    use crate::set::manifest::{Manifest, ManifestEntry};

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
    fn older_and_smaller_ones_are_read() {
        let text =
            br#"{"backups": [{"type": "assets", "backup": "a.tar.gz"}, {"type": "logs", "x": [1]}], "more": {}}"#;
        let manifest = Manifest::decode(text, Path::new("m")).unwrap();
        assert_eq!(manifest.assets().unwrap().sha256, None);
        assert_eq!(manifest.databases().count(), 0);
        assert_eq!(manifest.backups[1], ManifestEntry::Unknown { kind: "logs".into(), backup: None });
    }

    #[test]
    fn hostile_ones_are_refused() {
        let database = r#"{"type": "database", "backup": "x"}"#;
        let bad = [
            String::new(),
            "null".into(),
            "[]".into(),
            "[".repeat(1 << 20),
            "{\"backups\":".repeat(1 << 10),
            "{}".into(),
            r#"{"backups": {}}"#.into(),
            r#"{"backups": [{"type": "database"}]}"#.into(),
            r#"{"backups": [{"backup": "x"}]}"#.into(),
            r#"{"backups": [{"type": "database", "backup": 5}]}"#.into(),
            r#"{"backups": [{"type": "database", "backup": "x", "size_bytes": -1}]}"#.into(),
            r#"{"backups": [{"type": "database", "backup": "x", "backup": "y"}]}"#.into(),
            r#"{"backups": [], "backups": []}"#.into(),
            format!(r#"{{"backups": [{database}, {database}]}}"#),
            format!(r#"{{"backups": [{database}]}} {{}}"#),
        ];
        for text in bad {
            let result = Manifest::decode(text.as_bytes(), Path::new("m"));
            assert!(matches!(result, Err(Error::Corrupt { .. })), "{:.60}: {result:?}", text);
        }
        let future = Manifest::decode(br#"{"version": "2.0", "backups": []}"#, Path::new("m"));
        assert!(matches!(future, Err(Error::Unsupported { .. })));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        assert!(matches!(Manifest::read(&path), Err(Error::Io { .. })));
        assert!(matches!(Manifest::read(dir.path()), Err(Error::Corrupt { .. })));
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(Manifest::read(&path), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_later_version_and_an_empty_list_are_no_trust() {
        let entry = r#""timestamp_utc":"20260114_120000","backups":[{"type":"database","backup":"a"}]"#;
        assert_eq!(load(format!(r#"{{{entry},"version":"1.0"}}"#)).unwrap().error, None);
        assert!(load(format!(r#"{{{entry},"version":"2.0"}}"#)).unwrap().error.is_some());
        assert!(load(r#"{"timestamp_utc":"t","backups":[]}"#).unwrap().error.is_some());
    }

    #[test]
    fn what_a_restore_refuses_is_no_trust() {
        let database = |more: &str| format!(r#"{{"type":"database","backup":"a"{more}}}"#);
        let set = |stamp: &str, more: &str, entries: &str| {
            format!(r#"{{"timestamp_utc":"{stamp}","backups":[{entries}]{more}}}"#)
        };
        let good = "20260114_120000";
        assert_eq!(load(set(good, "", &database(""))).unwrap().error, None);
        for bad in [
            set("../../x", "", &database("")),
            set("20261314_120000", "", &database("")),
            set(good, r#","created_at":5"#, &database("")),
            set(good, r#","lrl":5"#, &database("")),
            set(good, "", &database(r#","size_bytes":1e30"#)),
            set(good, "", &database(r#","file_count":-1"#)),
            set(good, "", &database(r#","path":"/x""#)),
            set(good, "", &[database(""), database("")].join(",")),
        ] {
            assert!(load(&bad).unwrap().error.is_some(), "{bad}");
            assert!(Manifest::decode(bad.as_bytes(), Path::new("m")).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = load(bytes);
        }
    }
}
