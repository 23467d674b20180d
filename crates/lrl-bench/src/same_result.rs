//! Whether what was restored is what was backed up: every row of every table, every byte of every upload.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use walkdir::WalkDir;

use crate::error::{At, Result};

/// Fails with the first difference between two data directories.
pub fn lab(source: &Path, restored: &Path) -> Result<()> {
    database(&source.join("lrl.db"), &restored.join("lrl.db"))?;
    tree(&source.join("assets"), &restored.join("assets"))
}

/// Fails unless the restored database is sound and has the same schema and the same rows in the same order.
pub fn database(source: &Path, restored: &Path) -> Result<()> {
    let open = |path: &Path| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).at(path);
    let (a, b) = (open(source)?, open(restored)?);
    let verdict: String = b.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).at(restored)?;
    if verdict != "ok" {
        return Err(format!("{}: {verdict}", restored.display()).into());
    }
    same_rows(&a, &b, "SELECT type, name, sql FROM sqlite_schema ORDER BY name").at(restored)?;
    let mut names = a.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    for name in names.query_map([], |row| row.get::<_, String>(0))? {
        let name = name?;
        same_rows(&a, &b, &format!("SELECT rowid, * FROM \"{name}\" ORDER BY rowid")).at(restored)?;
    }
    Ok(())
}

fn same_rows(a: &Connection, b: &Connection, sql: &str) -> Result<()> {
    let (mut left, mut right) = (a.prepare(sql)?, b.prepare(sql)?);
    let columns = left.column_count();
    let (mut left, mut right) = (left.query([])?, right.query([])?);
    for number in 1.. {
        match (left.next()?, right.next()?) {
            (None, None) => break,
            (Some(x), Some(y)) => {
                for column in 0..columns {
                    if x.get_ref(column)? != y.get_ref(column)? {
                        return Err(format!("row {number} of {sql} is another one").into());
                    }
                }
            }
            _ => return Err(format!("{sql} gives another number of rows").into()),
        }
    }
    Ok(())
}

/// Fails unless both trees have the same names, and the same bytes behind them.
pub fn tree(source: &Path, restored: &Path) -> Result<()> {
    let (a, b) = (names(source)?, names(restored)?);
    if let Some(name) = a.keys().chain(b.keys()).find(|name| a.get(*name) != b.get(*name)) {
        return Err(format!(
            "{}: is missing, or is too much, or is another kind of file",
            restored.join(name).display()
        )
        .into());
    }
    for name in a.iter().filter(|(_, is_file)| **is_file).map(|(name, _)| name) {
        if !same_bytes(&source.join(name), &restored.join(name))? {
            return Err(format!("{}: has other bytes", restored.join(name).display()).into());
        }
    }
    Ok(())
}

fn names(root: &Path) -> Result<BTreeMap<PathBuf, bool>> {
    let relative = |found: walkdir::Result<walkdir::DirEntry>| {
        let found = found?;
        Ok((found.path().strip_prefix(root)?.to_owned(), found.file_type().is_file()))
    };
    WalkDir::new(root).into_iter().map(relative).collect()
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool> {
    let (mut left, mut right) = (File::open(a).at(a)?, File::open(b).at(b)?);
    if left.metadata().at(a)?.len() != right.metadata().at(b)?.len() {
        return Ok(false);
    }
    let (mut x, mut y) = ([0; 32 << 10], [0; 32 << 10]);
    loop {
        let len = left.read(&mut x).at(a)?;
        if len == 0 {
            return Ok(true);
        }
        right.read_exact(&mut y[..len]).at(b)?;
        if x[..len] != y[..len] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::lab;
    use crate::corpus::Lab;

    type Spoil<'a> = (&'a str, &'a dyn Fn(&Path));

    #[test]
    fn every_kind_of_difference_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| Lab::tiny_files(&dir.path().join(name), 1, 0.0005).unwrap();
        let source = make("source");
        let spoilt: [Spoil<'_>; 5] = [
            ("a row", &|root| {
                let database = rusqlite::Connection::open(root.join("lrl.db")).unwrap();
                database.execute("UPDATE users SET status = 'gone' WHERE rowid = 3", []).unwrap();
            }),
            ("a table", &|root| {
                let database = rusqlite::Connection::open(root.join("lrl.db")).unwrap();
                database.execute("DROP TABLE assets", []).unwrap();
            }),
            ("a file", &|root| fs::write(root.join("assets/more"), b"").unwrap()),
            ("a byte", &|root| {
                let file = fs::read_dir(root.join("assets/00/00")).unwrap().next().unwrap().unwrap().path();
                let mut bytes = fs::read(&file).unwrap();
                bytes[100] ^= 1;
                fs::write(file, bytes).unwrap();
            }),
            ("a page", &|root| {
                let mut bytes = fs::read(root.join("lrl.db")).unwrap();
                let len = bytes.len();
                bytes[len - 60_000..].fill(7);
                fs::write(root.join("lrl.db"), bytes).unwrap();
            }),
        ];
        for (what, spoil) in spoilt {
            let copy = make(what);
            lab(source.root(), copy.root()).unwrap();
            spoil(copy.root());
            assert!(lab(source.root(), copy.root()).is_err(), "{what}");
        }
    }
}
