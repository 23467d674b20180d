//! Owns the manifest of a set: the manual's fields, values, order and layout (Python's `json.dump(…, indent=2)`), and where the
//! files that it names are looked for: beside it, nowhere else. Never opens those files.

pub mod read;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The layout's version that the manual documents.
pub const VERSION: &str = "1.0";
/// Longer files are no manifests; real ones have a kilobyte.
const MAX_BYTES: u64 = 4 << 20;

/// One set's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// UTC second as `YYYYMMDD_HHMMSS`, as in the files' names.
    #[serde(default)]
    pub timestamp_utc: String,
    /// The same or a later moment in ISO 8601, with offset.
    #[serde(default)]
    pub created_at: String,
    /// [`VERSION`].
    #[serde(default)]
    pub version: String,
    /// What the set holds.
    pub backups: Vec<ManifestEntry>,
    /// What lrl adds; not in the sets that other programs wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lrl: Option<Origin>,
}

/// Where a set comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The snapshot's id, 64 hexadecimal digits.
    #[serde(default)]
    pub snapshot: String,
    /// Its source.
    #[serde(default)]
    pub source: String,
    /// The program that wrote the set, e.g. `lrl 0.1.0`.
    #[serde(default)]
    pub program: String,
}

/// One file of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestEntry {
    /// The copy of the database.
    Database(Database),
    /// The archive of the uploads.
    Assets(Assets),
    /// Something that this version does not know.
    Unknown {
        /// Its `type`.
        kind: String,
        /// Its file, as it is written.
        backup: Option<String>,
    },
}

/// The copy of the database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Database {
    /// The database's path as the user gave it.
    pub source: String,
    /// The copy's path as the user gave it; only its file name counts.
    pub backup: String,
    /// The copy's length in bytes; always written.
    pub size_bytes: Option<u64>,
    /// Lower-case hex; without it nothing can be proved.
    pub sha256: Option<String>,
}

/// The archive of the uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assets {
    /// The uploads' path as the user gave it.
    pub source: String,
    /// The archive's path as the user gave it; only its file name counts.
    pub backup: String,
    /// Regular files in the archive; always written.
    pub file_count: Option<u64>,
    /// Their bytes; always written.
    pub total_source_size_bytes: Option<u64>,
    /// The archive's length in bytes; always written.
    pub archive_size_bytes: Option<u64>,
    /// Lower-case hex; without it nothing can be proved.
    pub sha256: Option<String>,
}

/// An entry as it stands in the file; a key that is there twice is an error.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    source: Option<String>,
    backup: Option<String>,
    size_bytes: Option<u64>,
    file_count: Option<u64>,
    total_source_size_bytes: Option<u64>,
    archive_size_bytes: Option<u64>,
    sha256: Option<String>,
}

impl<'de> Deserialize<'de> for ManifestEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let source = raw.source.unwrap_or_default();
        let backup = |backup: Option<String>| backup.ok_or_else(|| D::Error::missing_field("backup"));
        Ok(match raw.kind.as_str() {
            "database" => Self::Database(Database {
                source,
                backup: backup(raw.backup)?,
                size_bytes: raw.size_bytes,
                sha256: raw.sha256,
            }),
            "assets" => Self::Assets(Assets {
                source,
                backup: backup(raw.backup)?,
                file_count: raw.file_count,
                total_source_size_bytes: raw.total_source_size_bytes,
                archive_size_bytes: raw.archive_size_bytes,
                sha256: raw.sha256,
            }),
            _ => Self::Unknown { kind: raw.kind, backup: raw.backup },
        })
    }
}

impl Serialize for ManifestEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Backup", 7)?;
        match self {
            Self::Database(database) => {
                out.serialize_field("type", "database")?;
                out.serialize_field("source", &database.source)?;
                out.serialize_field("backup", &database.backup)?;
                optional::<S>(&mut out, "size_bytes", database.size_bytes.as_ref())?;
                optional::<S>(&mut out, "sha256", database.sha256.as_ref())?;
            }
            Self::Assets(assets) => {
                out.serialize_field("type", "assets")?;
                out.serialize_field("source", &assets.source)?;
                out.serialize_field("backup", &assets.backup)?;
                optional::<S>(&mut out, "file_count", assets.file_count.as_ref())?;
                optional::<S>(&mut out, "total_source_size_bytes", assets.total_source_size_bytes.as_ref())?;
                optional::<S>(&mut out, "archive_size_bytes", assets.archive_size_bytes.as_ref())?;
                optional::<S>(&mut out, "sha256", assets.sha256.as_ref())?;
            }
            Self::Unknown { kind, backup } => {
                out.serialize_field("type", kind)?;
                optional::<S>(&mut out, "backup", backup.as_ref())?;
            }
        }
        out.end()
    }
}

fn optional<S: Serializer>(
    out: &mut S::SerializeStruct,
    key: &'static str,
    value: Option<&impl Serialize>,
) -> Result<(), S::Error> {
    value.map_or(Ok(()), |value| out.serialize_field(key, value))
}

impl Manifest {
    /// Writes it as Python's `json.dump(…, indent=2)` does: ASCII only, no newline at the end.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and numbers in known structs: there is nothing that could fail to become JSON.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_ascii() && c != '\x7f' {
                out.push(c);
            } else {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| _ = write!(out, "\\u{unit:04x}"));
            }
        }
        out.into_bytes()
    }

    /// Reads one from a file. Whatever is not a manifest with one entry of each type is [`Error::Corrupt`].
    pub fn read(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).map_err(Error::io("read", path))?;
        if !meta.is_file() || meta.len() > MAX_BYTES {
            return Err(Error::corrupt(path.display(), "is no manifest: those are regular files of a kilobyte or so"));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io("read", path))?;
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        Self::decode(&bytes, path)
    }

    /// Decodes one; `path` is for messages.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        let malformed = |e: serde_json::Error| Error::corrupt(path.display(), format!("is not a manifest: {e}"));
        let manifest: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if !manifest.version.is_empty() && manifest.version.split('.').next() != VERSION.split('.').next() {
            let version = manifest.version.chars().take(40).collect::<String>();
            return Err(Error::Unsupported { what: format!("manifest version {version} ({})", path.display()) });
        }
        let count = |is: fn(&ManifestEntry) -> bool| manifest.backups.iter().filter(|backup| is(backup)).count();
        if count(|b| matches!(b, ManifestEntry::Database(_))) > 1
            || count(|b| matches!(b, ManifestEntry::Assets(_))) > 1
        {
            return Err(Error::corrupt(path.display(), "names two files of one type"));
        }
        Ok(manifest)
    }

    /// Returns the entry of the database.
    pub fn database(&self) -> Option<&Database> {
        self.backups
            .iter()
            .find_map(|backup| if let ManifestEntry::Database(found) = backup { Some(found) } else { None })
    }

    /// Returns the entry of the uploads.
    pub fn assets(&self) -> Option<&Assets> {
        self.backups
            .iter()
            .find_map(|backup| if let ManifestEntry::Assets(found) = backup { Some(found) } else { None })
    }
}

/// Returns the path of a file that a manifest names: its file name beside the manifest, whatever directories stand before it.
/// [`Error::Corrupt`] if that is no name, [`Error::Missing`] if there is no such file, [`Error::Refused`] if it is no regular file.
pub fn find_beside(manifest: &Path, backup: &str) -> Result<PathBuf> {
    let name = backup.rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "." | "..") || name.len() > 255 || backup.contains('\0') {
        let shown: String = backup.chars().take(80).collect();
        return Err(Error::corrupt(manifest.display(), format!("names a file that cannot be one: {shown:?}")));
    }
    let path = manifest.with_file_name(name);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(path),
        // A link could lead to any file of this machine.
        Ok(_) => Err(Error::Refused(format!("{} is not a regular file; sets hold nothing else", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::Missing { object: path.display().to_string() })
        }
        Err(e) => Err(Error::io("look at", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Assets, Database, Manifest, ManifestEntry, Origin, find_beside};
    use crate::error::Error;
    use crate::progress::Silent;
    use crate::set::sha256::sha256_of;
    use std::path::Path;

    fn sample() -> Manifest {
        Manifest {
            timestamp_utc: "20260114_120000".into(),
            created_at: "2026-01-14T12:00:00+00:00".into(),
            version: "1.0".into(),
            backups: vec![
                ManifestEntry::Database(Database {
                    source: "./d\u{e4}ta/\u{1f600}\"\\\n\u{7f}\u{1}/lrl.db".into(),
                    backup: "./backups/lrl_db_20260114_120000.sqlite".into(),
                    size_bytes: Some(118_784),
                    sha256: Some("abc123".into()),
                }),
                ManifestEntry::Assets(Assets {
                    source: "./data/assets".into(),
                    backup: "./backups/lrl_assets_20260114_120000.tar.gz".into(),
                    file_count: Some(15),
                    total_source_size_bytes: Some(512_000),
                    archive_size_bytes: Some(245_760),
                    sha256: Some("def456".into()),
                }),
            ],
            lrl: Some(Origin { snapshot: "00".into(), source: "lab".into(), program: "lrl 0.1.0".into() }),
        }
    }

    #[test]
    fn it_is_what_python_writes() {
        let text = String::from_utf8(sample().encode()).unwrap();
        let expected = r#"{
  "timestamp_utc": "20260114_120000",
  "created_at": "2026-01-14T12:00:00+00:00",
  "version": "1.0",
  "backups": [
    {
      "type": "database",
      "source": "./d\u00e4ta/\ud83d\ude00\"\\\n\u007f\u0001/lrl.db",
      "backup": "./backups/lrl_db_20260114_120000.sqlite",
      "size_bytes": 118784,
      "sha256": "abc123"
    },
    {
      "type": "assets",
      "source": "./data/assets",
      "backup": "./backups/lrl_assets_20260114_120000.tar.gz",
      "file_count": 15,
      "total_source_size_bytes": 512000,
      "archive_size_bytes": 245760,
      "sha256": "def456"
    }
  ],
  "lrl": {
    "snapshot": "00",
    "source": "lab",
    "program": "lrl 0.1.0"
  }
}"#;
        assert_eq!(text, expected);
        assert_eq!(Manifest::decode(text.as_bytes(), Path::new("m")).unwrap(), sample());
        let script = "import json,sys\nsys.stdout.write(json.dumps(json.loads(sys.argv[1]), indent=2))";
        if let Ok(python) = std::process::Command::new("python3").args(["-c", script, &text]).output() {
            assert_eq!(String::from_utf8(python.stdout).unwrap(), text);
        }
        let empty = Manifest { backups: Vec::new(), lrl: None, ..sample() };
        assert!(String::from_utf8(empty.encode()).unwrap().ends_with("\"backups\": []\n}"));
    }

    #[test]
    fn older_and_smaller_ones_are_read() {
        let text =
            br#"{"backups": [{"type": "assets", "backup": "a.tar.gz"}, {"type": "logs", "x": [1]}], "more": {}}"#;
        let manifest = Manifest::decode(text, Path::new("m")).unwrap();
        assert_eq!(manifest.assets().unwrap().sha256, None);
        assert_eq!(manifest.database(), None);
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
