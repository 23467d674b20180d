//! The members of a site's archive, in a temporary database: what is in which directory, found without reading the archive again.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::barriers::LinksInPlace;
use super::listing::Listing;
use super::selection::is_below;
use super::target::Target;
use crate::budget::SET_LIST_CACHE_KIB;
use crate::error::{Error, Result};
use crate::format::path_text;
use crate::fs::dir::{components, split};
use crate::fs::temp_db::{self, Rollback};
use crate::hint::Message;
use crate::set::archive::paths::check;
use crate::set::archive::read::{MemberKind, walk};

/// Names directly in a root that restores of lrl use themselves.
const OWN: [&[u8]; 2] = [b".lrl-", b".lrl."];
const PURPOSE: &str = "the members of the archive cannot be listed";
const SCHEMA: &str =
    "CREATE TABLE members(parent BLOB, name BLOB, kind INTEGER, size INTEGER, PRIMARY KEY(parent, name)) WITHOUT ROWID";
/// The kind of a directory, which members may be below.
const DIR: i64 = 2;
/// The kind of a regular file.
const FILE: i64 = 1;
/// The kind of anything else.
const OTHER: i64 = 0;

/// The members of an archive.
pub(super) struct SetList {
    db: Connection,
    /// Databases of the set, which are in no archive.
    databases: Vec<Vec<u8>>,
}

impl SetList {
    /// Reads an archive, if there is one; notes names directly in its root that stay out.
    pub(crate) fn read(archive: Option<&Path>, databases: Vec<Vec<u8>>, notes: &mut Vec<Message>) -> Result<Self> {
        let db = temp_db::create(PURPOSE, SCHEMA, SET_LIST_CACHE_KIB, Rollback::Never)?;
        let list = Self { db, databases };
        let Some(archive) = archive else { return Ok(list) };
        let mut own: Vec<Vec<u8>> = Vec::new();
        let mut last = Vec::new();
        walk(archive, &|_| Ok(()), &mut |member, data| {
            let why = |why| {
                let name = String::from_utf8_lossy(&member.path);
                Error::corrupt(archive.display(), format!("its member {name} {why}"))
            };
            let checked = check(member).map_err(why)?;
            let first = components(&checked.path).next().unwrap_or_default();
            if OWN.iter().any(|start| first.starts_with(start)) {
                if !own.iter().any(|known| known == first) {
                    own.push(first.to_vec());
                }
            } else if !checked.path.is_empty() {
                let kind = match member.kind {
                    MemberKind::Dir => DIR,
                    MemberKind::File => FILE,
                    _ => OTHER,
                };
                list.add(&checked.path, kind, member.size, &mut last)?;
            }
            while data.run()?.is_some() {}
            Ok(())
        })?;
        for name in own {
            let name = path_text::encode(&name);
            notes.push(
                format!("the archive holds `{name}`, a name that restores use themselves: it was not restored").into(),
            );
        }
        Ok(list)
    }

    /// Adds a member and the directories that it is in; `last` is the directory of the one before.
    fn add(&self, path: &[u8], kind: i64, size: u64, last: &mut Vec<u8>) -> Result<()> {
        let parent = split(path).0;
        if parent != last.as_slice() {
            let mut above = parent;
            while !above.is_empty() {
                self.insert(above, DIR, 0)?;
                above = split(above).0;
            }
            *last = parent.to_vec();
        }
        self.insert(path, kind, size)
    }

    fn insert(&self, path: &[u8], kind: i64, size: u64) -> Result<()> {
        const INSERT: &str = "INSERT INTO members VALUES(?1, ?2, ?3, ?4)
                              ON CONFLICT DO UPDATE SET kind = max(kind, excluded.kind), size = max(size, excluded.size)";
        let (parent, name) = split(path);
        let added = self.db.prepare_cached(INSERT).and_then(|mut insert| {
            insert.execute(params![parent, name, kind, i64::try_from(size).unwrap_or(i64::MAX)])
        });
        added.map(drop).map_err(|error| temp_db::failed(PURPOSE, &error))
    }

    /// Returns the number of files at and below a path, and their bytes.
    pub(crate) fn measure(&self, path: &[u8]) -> Result<(u64, u64)> {
        const SUM: &str = "SELECT count(*), coalesce(sum(size), 0) FROM members
                           WHERE kind = 1 AND (parent = ?1 OR parent > ?2 AND parent < ?3 OR parent = ?4 AND name = ?5)";
        let (parent, name) = split(path);
        let (from, to) = below(path);
        let sum = self.db.prepare_cached(SUM).and_then(|mut sum| {
            sum.query_row(params![path, from, to, parent, name], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
        });
        let (files, bytes) = sum.map_err(|error| temp_db::failed(PURPOSE, &error))?;
        Ok((files.unsigned_abs(), bytes.unsigned_abs()))
    }
}

/// Returns the bounds of the directories that are below a path.
fn below(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([path, b"/"].concat(), [path, b"0"].concat())
}

impl Listing for SetList {
    fn children(&self, dir: &[u8]) -> Result<Vec<(Vec<u8>, bool)>> {
        let list = || -> rusqlite::Result<Vec<(Vec<u8>, bool)>> {
            let mut select =
                self.db.prepare_cached("SELECT name, kind FROM members WHERE parent = ?1 ORDER BY name")?;
            let rows = select.query_map([dir], |row| {
                let name: Vec<u8> = row.get(0)?;
                let path = if dir.is_empty() { name } else { [dir, b"/", &name].concat() };
                Ok((path, row.get::<_, i64>(1)? == DIR))
            })?;
            rows.collect()
        };
        list().map_err(|error| temp_db::failed(PURPOSE, &error))
    }

    fn find(&self, path: &[u8]) -> Result<Option<bool>> {
        let (parent, name) = split(path);
        let kind = self
            .db
            .prepare_cached("SELECT kind FROM members WHERE parent = ?1 AND name = ?2")
            .and_then(|mut select| select.query_row(params![parent, name], |row| row.get::<_, i64>(0)).optional());
        Ok(kind.map_err(|error| temp_db::failed(PURPOSE, &error))?.map(|kind| kind == DIR))
    }

    fn links_in_place(&self, path: &[u8], target: &Target) -> Result<Vec<Vec<u8>>> {
        const DIRS: &str = "SELECT parent, name FROM members WHERE kind = 2 AND (parent = ?1 OR parent > ?2 AND parent < ?3) ORDER BY parent, name";
        let Some(mut links) = LinksInPlace::new(target, path) else { return Ok(Vec::new()) };
        let (from, to) = below(path);
        links.add_dir(path);
        let mut look = || -> rusqlite::Result<()> {
            let mut select = self.db.prepare_cached(DIRS)?;
            let mut rows = select.query(params![path, from, to])?;
            while let Some(row) = rows.next()? {
                let (parent, name): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
                links.add_dir(&[parent.as_slice(), b"/", &name].concat());
            }
            Ok(())
        };
        look().map_err(|error| temp_db::failed(PURPOSE, &error))?;
        let inside = self.databases.iter().filter(|database| is_below(database, path));
        inside.for_each(|database| links.add_database(database));
        Ok(links.found)
    }
}
