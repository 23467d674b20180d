//! Checks that every row of a user's query leads to a stored file of its size and digest, and counts the files that no row names.

use std::path::Path;
use std::time::Duration;

use super::row_list::RowList;
use super::row_path::{below_root, common_directory};
use super::rows_query::RowsCheck;
use crate::error::Result;
use crate::format::path_text;
use crate::ops::drill::files::{Facts, Files};
use crate::ops::drill::finding::finding;
use crate::ops::drill::subject::Subject;
use crate::ops::drill::uploads::Uploads;
use crate::ops::drill::verification::{Check, ROWS};
use crate::ops::query::limit;
use crate::progress::{Observer, checkpoint};
use crate::source::database::{FileFacts, FileRow, Inspector, RowPath};
use crate::units::{base64, hex};

/// Up to this many rows of each kind, and files without a row, are named; all are counted.
const NAMED: usize = 20;

/// Rows of one kind.
#[derive(Default)]
struct Group {
    count: u64,
    named: Vec<String>,
}

impl Group {
    fn add(&mut self, path: &[u8], what: impl std::fmt::Display) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{}: {what}", clipped(path)));
        }
    }
}

/// What is wrong with a row's file.
enum Fault {
    Size(String),
    Digest(String),
}

#[derive(Default)]
struct Tally {
    empty: u64,
    /// Rows with a digest of a file whose digest is not known.
    unknown: u64,
    outside: Group,
    missing: Group,
    size: Group,
    digest: Group,
    /// The directory that all rows' files are below.
    directory: Option<Vec<u8>>,
}

/// Runs one check in the restored database.
pub(crate) fn check(
    inspector: &Inspector<'_>,
    wanted: &RowsCheck,
    subject: &Subject<'_>,
    uploads: &Uploads,
    (temp, time_limit): (&Path, Duration),
    observer: &dyn Observer,
) -> Result<Check> {
    let shown = wanted.shown();
    let of = |check: Check| check.with("check", shown.as_str()).with("query", wanted.query.as_str());
    let failed = |error: String| Ok(of(Check::new(ROWS, Some(error))).noted(shown.as_str()));
    let files = match uploads {
        Uploads::Known(files) => files,
        Uploads::Absent(why) => {
            return Ok(of(Check::not_applicable(ROWS, why)).noted(format!("{shown}: not applicable: {why}")));
        }
        Uploads::Unreadable => {
            let check = Check::without_uploads(ROWS, "the files could not be read, so no row could be followed");
            return Ok(of(check).noted(shown.as_str()));
        }
    };
    let (list, mut tally) = (RowList::new()?, Tally::default());
    let stop = limit::limit(temp, time_limit);
    let count = inspector.file_rows(&wanted.query, &stop, &mut |row| tally.gather(row, subject, &list));
    let count = match finding(count)? {
        Ok(count) => count,
        Err(error) => return failed(error),
    };
    let mark = files.new_mark();
    let mut orphans = Group::default();
    let mut compare = || -> Result<()> {
        list.each(&mut |path, facts| {
            checkpoint(observer)?;
            tally.follow(path, &facts, files, mark)
        })?;
        let Some(directory) = &tally.directory else { return Ok(()) };
        files.each_unmarked(directory, mark, &mut |path| {
            checkpoint(observer)?;
            orphans.count += 1;
            if orphans.named.len() < NAMED {
                orphans.named.push(clipped(path));
            }
            Ok(())
        })
    };
    match finding(compare())? {
        Ok(()) => Ok(of(tally.check(&shown, count, orphans))),
        Err(error) => failed(error),
    }
}

impl Tally {
    /// Takes a row as the query gives it.
    fn gather(&mut self, row: FileRow, subject: &Subject<'_>, list: &RowList) -> Result<()> {
        match row.path {
            RowPath::Empty => self.empty += 1,
            RowPath::TooLong(bytes) => {
                self.outside.add(b"a row", format_args!("its path has {bytes} bytes, which no file's has"));
            }
            RowPath::Bytes(path) => match below_root(&path, &subject.roots) {
                Ok(place) => list.add(&place, &row.facts)?,
                Err(outside) => self.outside.add(&path, outside),
            },
        }
        Ok(())
    }

    /// Looks for the file of a row.
    fn follow(&mut self, path: &[u8], row: &FileFacts, files: &Files, mark: u32) -> Result<()> {
        let found = files.find_at(path)?;
        let place = found.as_ref().map_or(path, |(place, _)| place);
        self.directory = Some(common_directory(self.directory.take(), place));
        let Some((place, facts)) = &found else {
            self.missing.add(path, "no such file");
            return Ok(());
        };
        files.mark(place, mark)?;
        match self.compare(row, facts) {
            Some(Fault::Size(text)) => self.size.add(path, text),
            Some(Fault::Digest(text)) => self.digest.add(path, text),
            None => {}
        }
        Ok(())
    }

    fn compare(&mut self, row: &FileFacts, file: &Facts) -> Option<Fault> {
        match &row.size {
            Some(Ok(size)) if *size != file.size => {
                return Some(Fault::Size(format!("the file has {} bytes, the row says {size}", file.size)));
            }
            Some(Err(text)) => return Some(Fault::Size(format!("the row's size is no number of bytes: {text:?}"))),
            _ => {}
        }
        let sha256 = file.sha256.map(|digest| hex(&digest));
        let md5 = file.md5.map(|digest| hex(&digest));
        let md5_base64 = file.md5.map(|digest| base64(&digest));
        let is_same = |a: &str, b: &str, is_base64: bool| match is_base64 {
            true => a.trim_end_matches('=') == b.trim_end_matches('='),
            false => a.eq_ignore_ascii_case(b),
        };
        let digests = [
            ("SHA-256", &row.sha256, sha256, false),
            ("MD5", &row.md5, md5, false),
            ("MD5", &row.md5_base64, md5_base64, true),
        ];
        for (name, expected, actual, is_base64) in digests {
            match (expected, actual) {
                (Some(expected), Some(actual)) if !is_same(expected, &actual, is_base64) => {
                    return Some(Fault::Digest(format!("the file's {name} is {actual}, the row says {expected}")));
                }
                (Some(_), None) => self.unknown += 1,
                _ => {}
            }
        }
        None
    }

    fn check(self, shown: &str, count: u64, orphans: Group) -> Check {
        let kinds = [
            ("missing", &self.missing, "missing"),
            ("wrong_size", &self.size, "of another size"),
            ("wrong_digest", &self.digest, "of another digest"),
            ("outside", &self.outside, "outside the root"),
        ];
        let bad: u64 = kinds.iter().map(|(_, group, _)| group.count).sum();
        let said = kinds.iter().filter(|(_, group, _)| group.count > 0);
        let said: Vec<String> = said.map(|(_, group, words)| format!("{} {words}", group.count)).collect();
        let error = (bad > 0).then(|| {
            let rows = if count == 1 { "row leads" } else { "rows lead" };
            format!("{bad} of {count} {rows} to no stored file of their size and digest: {}", said.join(", "))
        });
        let mut check = Check::new(ROWS, error).with("rows", count);
        for (key, group, _) in kinds {
            check = check.with(key, group.count);
        }
        check = check.with("empty_paths", self.empty).with("orphans", orphans.count);
        let mut notes = vec![format!("{shown}: {count} {}", if count == 1 { "row" } else { "rows" })];
        if self.empty > 0 {
            notes.push(format!("{} without a path", self.empty));
        }
        if self.unknown > 0 {
            notes.push(format!("digests that could not be compared: {}", self.unknown));
        }
        if let (Some(first), Some(directory)) = (orphans.named.first(), &self.directory) {
            let below = if directory.is_empty() { "the root".into() } else { clipped(directory) };
            notes.push(format!("{} without a row below {below}, as {first}", files(orphans.count)));
            check = check.with("orphans_below", path_text::encode(directory)).with("orphan_files", orphans.named);
        }
        if bad > 0 {
            let findings = kinds.into_iter().flat_map(|(_, group, _)| group.named.iter().cloned());
            check = check.with("findings", findings.collect::<Vec<_>>());
        }
        check.noted(notes.join("; "))
    }
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".into() } else { format!("{count} files") }
}

/// Returns a path for people, cut where it is long.
fn clipped(path: &[u8]) -> String {
    const MOST: usize = 300;
    let text = path_text::encode(path);
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
