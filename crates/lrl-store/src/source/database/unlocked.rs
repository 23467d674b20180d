//! A database in rollback mode read without keeping its writers waiting: in short read transactions between which they may commit. If none
//! did, what was read is one version, and nobody waited for it. If one did, it is still nearly the image: the caller compares it with one that is
//! read under the lock.
//!
//! That nobody committed is shown by the header's change counter, which every commit in rollback mode moves (SQLite's file format, section 1.3.5),
//! by the number of pages, and by the file's inode, size and times; all of them are read inside the first and every later transaction.

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use super::connect::{Refusal, open_live};
use super::model::ImageSink;
use super::pages::{page_size, read_pages};
use super::state::Stamp;
use crate::budget::{PIECE_BYTES, TURN_BYTES};
use crate::error::Result;
use crate::progress::{Observer, checkpoint};

/// A version of a database in rollback mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(super) header: Vec<u8>,
    pub(super) pages: u64,
    stamp: Option<Stamp>,
}

impl Version {
    /// Takes the version that a transaction sees, whose first page begins with `header`.
    pub(super) fn of(db: &Path, header: &[u8], pages: u64) -> Result<Self> {
        Ok(Self { header: header.to_vec(), pages, stamp: Stamp::of(db)? })
    }
}

/// What reading without a lasting lock gave.
#[derive(Debug)]
pub(crate) enum Unlocked {
    /// All of it is this version.
    One(Version),
    /// Others committed meanwhile.
    Mixed,
    /// It cannot be read so: the sink holds nothing.
    Refused,
}

/// Reads a database in rollback mode. `wait` sleeps a moment for a writer that has been in the way since then, or fails.
pub(super) fn read(
    db: &Path,
    wait: &dyn Fn(Instant) -> Result<()>,
    sink: &mut dyn ImageSink,
    observer: &dyn Observer,
) -> Result<Unlocked> {
    let Ok(conn) = open_live(db) else { return Ok(Unlocked::Refused) };
    let mut bytes = Vec::with_capacity(TURN_BYTES);
    let mut first: Option<Version> = None;
    let (mut next, mut is_one) = (1, true);
    let mut since = Instant::now();
    loop {
        checkpoint(observer)?;
        bytes.clear();
        let turn = turn(&conn, next, &mut bytes).map_err(Refusal::from);
        let version = turn.map(|(header, pages)| Version::of(db, &header, pages));
        let _ = conn.execute_batch("ROLLBACK");
        let version = match version {
            Ok(version) => version?,
            Err(Refusal::Busy) => {
                wait(since)?;
                continue;
            }
            Err(_) => return sink.restart().map(|()| Unlocked::Refused),
        };
        let page_bytes = page_size(&version.header) as usize;
        // Without any page there would be no end.
        let has_pages = next > version.pages || !bytes.is_empty();
        let is_whole = has_pages && page_bytes > 0 && bytes.len().is_multiple_of(page_bytes);
        let is_same_size = first.as_ref().is_none_or(|first| page_size(&first.header) as usize == page_bytes);
        if !is_whole || !is_same_size {
            return sink.restart().map(|()| Unlocked::Refused);
        }
        // Nothing is locked while the sink works.
        bytes.chunks(PIECE_BYTES).try_for_each(|piece| sink.bytes(piece))?;
        next += (bytes.len() / page_bytes) as u64;
        let first = first.get_or_insert_with(|| version.clone());
        is_one &= *first == version;
        if next > version.pages {
            return Ok(if is_one { Unlocked::One(version) } else { Unlocked::Mixed });
        }
        since = Instant::now();
    }
}

/// Reads pages from `next` on in one transaction, which the caller ends; returns the header and the number of pages.
fn turn(conn: &Connection, next: u64, bytes: &mut Vec<u8>) -> rusqlite::Result<(Vec<u8>, u64)> {
    conn.execute_batch("BEGIN")?;
    let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page: u32 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = u64::try_from(pages).unwrap_or(0);
    let last = pages.min(next + (TURN_BYTES / page.max(512) as usize) as u64 - 1);
    let mut header = Vec::new();
    read_pages(conn, 1, 1, &mut header)?;
    header.truncate(100);
    if next <= last {
        read_pages(conn, next, last, bytes)?;
    }
    Ok((header, pages))
}
