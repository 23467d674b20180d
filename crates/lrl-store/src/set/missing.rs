//! The list of what a set lacks: what its snapshot holds, and the store had lost when the set was written. A file beside the set, for people,
//! with an entry of its own in the manifest, so that no program takes the set for whole.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// The largest number of paths that are kept and listed; more are only counted.
pub(crate) const MOST: usize = 100_000;
/// Bytes of a list that are read.
const MOST_BYTES: u64 = 4 << 20;

/// Something that was not restored or exported because the store has lost it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Skip {
    /// Its path in the snapshot; of a damaged part of the list of uploads the first path in it. Non-UTF-8 bytes are replaced.
    pub path: String,
    /// 1, or the number of entries in the damaged part of the list.
    pub entries: u64,
    /// What is damaged.
    pub reason: String,
}

/// Writes a list: lines of comments, then one line for each path with the number of entries and the reason, between tabs.
pub(crate) fn write(out: &mut dyn Write, of: &str, skipped: &[Skip], more: u64) -> std::io::Result<()> {
    writeln!(out, "# {of} holds this, and the set beside this file does not: it was damaged in the store.")?;
    writeln!(
        out,
        "# A line has a path, the number of entries that are missing from it on, and the reason, between tabs."
    )?;
    for skip in skipped {
        writeln!(out, "{}\t{}\t{}", one_line(&skip.path), skip.entries, one_line(&skip.reason))?;
    }
    if more > 0 {
        writeln!(out, "# and {more} more")?;
    }
    Ok(())
}

/// Reads a list that [`write`] wrote, as far as it is one.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read.
pub(crate) fn read(path: &Path) -> Result<Vec<Skip>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut found = Vec::new();
    for line in BufReader::new(file.take(MOST_BYTES)).split(b'\n').take(MOST) {
        let line = line.map_err(Error::io("read", path))?;
        let line = String::from_utf8_lossy(&line);
        let mut fields = line.splitn(3, '\t');
        if let (Some(path), Some(Ok(entries)), Some(reason)) =
            (fields.next(), fields.next().map(str::parse), fields.next())
        {
            found.push(Skip { path: path.into(), entries, reason: reason.into() });
        }
    }
    Ok(found)
}

/// Returns a text without the characters that end lines and fields.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Skip, read, write};

    #[test]
    fn a_list_is_read_as_it_was_written_and_other_files_as_nothing() {
        let skip = |path: &str, entries, reason: &str| Skip { path: path.into(), entries, reason: reason.into() };
        let skipped =
            [skip("assets/ä b", 1, "chunk 12 is damaged"), skip("assets/c", 300, "missing"), skip("# x", 1, "")];
        let mut text = Vec::new();
        write(&mut text, "Snapshot 1 of lab", &skipped, 7).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path).unwrap(), skipped);
        assert!(String::from_utf8(text).unwrap().ends_with("# and 7 more\n"));
        let mut text = Vec::new();
        write(&mut text, "x", &[skip("a\tb\nc", 1, "d\u{7f}")], 0).unwrap();
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path).unwrap(), [skip("a\\tb\\nc", 1, "d\\u{7f}")]);
        for other in [&b"\xff\xfe\n\n\t\t\t"[..], b"", b"a\tb\tc\n"] {
            std::fs::write(&path, other).unwrap();
            assert_eq!(read(&path).unwrap(), []);
        }
        assert!(read(dir.path()).is_err());
    }
}
