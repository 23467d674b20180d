//! Writes a manifest, laid out as by Python's `json.dump(…, indent=2)`.

use std::fmt::Write as _;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use super::model::{MISSING, Manifest, ManifestEntry};

impl Serialize for ManifestEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Backup", 7)?;
        match self {
            Self::Database(database) => {
                out.serialize_field("type", "database")?;
                optional::<S>(&mut out, "path", database.path.as_ref())?;
                out.serialize_field("source", &database.source)?;
                out.serialize_field("backup", &database.backup)?;
                optional::<S>(&mut out, "size_bytes", database.size_bytes.as_ref())?;
                optional::<S>(&mut out, "sha256", database.sha256.as_ref())?;
            }
            Self::Assets(assets) => {
                out.serialize_field("type", "assets")?;
                optional::<S>(&mut out, "layout", assets.layout.key().as_ref())?;
                out.serialize_field("source", &assets.source)?;
                out.serialize_field("backup", &assets.backup)?;
                optional::<S>(&mut out, "file_count", assets.file_count.as_ref())?;
                optional::<S>(&mut out, "total_source_size_bytes", assets.total_source_size_bytes.as_ref())?;
                optional::<S>(&mut out, "archive_size_bytes", assets.archive_size_bytes.as_ref())?;
                optional::<S>(&mut out, "sha256", assets.sha256.as_ref())?;
            }
            Self::Missing(missing) => {
                out.serialize_field("type", MISSING)?;
                out.serialize_field("source", &missing.source)?;
                out.serialize_field("backup", &missing.backup)?;
                optional::<S>(&mut out, "entries", missing.entries.as_ref())?;
                out.serialize_field("databases", &missing.databases)?;
                optional::<S>(&mut out, "size_bytes", missing.size_bytes.as_ref())?;
                optional::<S>(&mut out, "sha256", missing.sha256.as_ref())?;
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
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use crate::set::manifest::{Assets, Database, Layout, Manifest, ManifestEntry, Origin};

    fn modes() -> BTreeMap<String, String> {
        [("lrl.db".to_string(), "0640".to_string())].into()
    }

    fn sample() -> Manifest {
        Manifest {
            timestamp_utc: "20260114_120000".into(),
            created_at: "2026-01-14T12:00:00+00:00".into(),
            version: "1.0".into(),
            backups: vec![
                ManifestEntry::Database(Database {
                    path: None,
                    source: "./d\u{e4}ta/\u{1f600}\"\\\n\u{7f}\u{1}/lrl.db".into(),
                    backup: "./backups/lrl_db_20260114_120000.sqlite".into(),
                    size_bytes: Some(118_784),
                    sha256: Some("abc123".into()),
                }),
                ManifestEntry::Assets(Assets {
                    layout: Layout::Manual,
                    source: "./data/assets".into(),
                    backup: "./backups/lrl_assets_20260114_120000.tar.gz".into(),
                    file_count: Some(15),
                    total_source_size_bytes: Some(512_000),
                    archive_size_bytes: Some(245_760),
                    sha256: Some("def456".into()),
                }),
            ],
            lrl: Some(Origin {
                snapshot: "00".into(),
                source: "lab".into(),
                program: "lrl 0.1.0".into(),
                modes: modes(),
            }),
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
    "program": "lrl 0.1.0",
    "modes": {
      "lrl.db": "0640"
    }
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
}
