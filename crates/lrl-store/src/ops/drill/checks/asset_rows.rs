//! Checks that every row of `assets` leads to a stored file of its size and SHA-256.

use crate::error::Result;
use crate::format::entry::is_clean_path;
use crate::ops::drill::files::{Facts, Files};
use crate::ops::drill::finding::finding;
use crate::ops::drill::uploads::Uploads;
use crate::ops::drill::verification::{ASSET_ROWS, Check};
use crate::source::database::{AssetRow, AssetRows, Inspector};

/// Up to this many bad rows are described; all are counted.
const DESCRIBED: usize = 20;

#[derive(Default)]
struct Tally {
    empty: u64,
    bad: u64,
    described: Vec<String>,
}

pub(crate) fn check(inspector: &Inspector<'_>, uploads: &Uploads) -> Result<Check> {
    let files = match uploads {
        Uploads::Known(files) => files,
        Uploads::Absent(why) => return Ok(Check::not_applicable(ASSET_ROWS, why)),
        Uploads::Unreadable => {
            return Ok(Check::without_uploads(
                ASSET_ROWS,
                "the uploads could not be read, so no row could be followed",
            ));
        }
    };
    let mut tally = Tally::default();
    let rows = inspector.asset_rows(&mut |row| {
        if row.storage_path.is_empty() && row.long_path.is_none() {
            tally.empty += 1;
        } else if let Some(problem) = follow(&row, files)? {
            tally.bad += 1;
            if tally.described.len() < DESCRIBED {
                let path = String::from_utf8_lossy(&row.storage_path);
                tally.described.push(format!("{path} (row {}): {problem}", row.id));
            }
        }
        Ok(())
    });
    let count = match finding(rows)? {
        Ok(AssetRows::Rows(count)) => count,
        Ok(AssetRows::NotApplicable(why)) => return Ok(Check::not_applicable(ASSET_ROWS, why)),
        Err(error) => return Ok(Check::new(ASSET_ROWS, Some(error))),
    };
    let error = (tally.bad > 0)
        .then(|| format!("{} of {count} rows lead to no stored file of their size and SHA-256", tally.bad));
    let mut check = Check::new(ASSET_ROWS, error).with("rows", count).with("empty_paths", tally.empty);
    if tally.empty > 0 {
        check.note = Some(format!("{} rows have no file yet: their storage_path is empty", tally.empty));
    }
    if tally.bad > 0 {
        check = check.with("bad_rows", tally.bad).with("findings", tally.described);
    }
    Ok(check)
}

/// Follows one row; returns what is wrong, if anything.
fn follow(row: &AssetRow, files: &Files) -> Result<Option<String>> {
    if let Some(bytes) = row.long_path {
        return Ok(Some(format!("its path has {bytes} bytes, which no file's has")));
    }
    let parts: Vec<&[u8]> =
        row.storage_path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    let path = parts.join(&b'/');
    if row.storage_path.starts_with(b"/") || !is_clean_path(&path) {
        return Ok(Some("its path leads out of the uploads".into()));
    }
    let places = [
        [b"assets/", path.as_slice()].concat(),
        [b"storage/", path.as_slice()].concat(),
        [b"storage/", path.as_slice(), b".bin"].concat(),
    ];
    let mut first = None;
    for place in places {
        let Some(Facts { size, sha256, .. }) = files.find(&place)? else { continue };
        let problem = compare(row, size, sha256.map(|digest| crate::units::hex(&digest)).as_deref());
        if problem.is_none() {
            return Ok(None);
        }
        first = first.or(problem);
    }
    Ok(Some(first.unwrap_or_else(|| "no such file".into())))
}

fn compare(row: &AssetRow, size: u64, sha256: Option<&str>) -> Option<String> {
    if let Some(expected) = row.size_bytes.filter(|expected| u64::try_from(*expected) != Ok(size)) {
        return Some(format!("the file has {size} bytes, the row says {expected}"));
    }
    let sha256 = sha256?;
    let expected = row.sha256.as_deref().filter(|expected| !expected.eq_ignore_ascii_case(sha256))?;
    Some(format!("the file's SHA-256 is {sha256}, the row says {expected}"))
}
