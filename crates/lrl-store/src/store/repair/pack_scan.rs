//! The directories of packs that no sound index lists, in a temporary database on disk, so that
//! memory does not grow with them. Reads packs only, writes nothing to the store.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, params};

use crate::backend::Backend;
use crate::budget::SCAN_CACHE_KIB;
use crate::error::{Error, Result};
use crate::format::bytes::Reader;
use crate::format::pack::{self, FOOTER_LEN, HEADER, Record};
use crate::fs::temp_db::{self, Rollback};
use crate::id::{ChunkId, PackId};
use crate::store::index::{ChunkCopy, IndexSlot, Location};
use crate::store::names::{pack_id, pack_name};

const PURPOSE: &str = "the packs' directories cannot be gathered";

/// The chunks of packs that no index lists.
pub(crate) struct PackScan {
    db: Mutex<Connection>,
}

/// Reads a pack's directory: each chunk's offset and record, in order; the chunks fill the pack without gaps.
pub(crate) fn directory(backend: &dyn Backend, id: &PackId) -> Result<Vec<(u64, Record)>> {
    let name = pack_name(id);
    let object = backend.object_location(&name);
    let (at, tail) = read_tail(backend, &name, &object)?;
    let keys = backend.keys();
    let head = backend.read_range(&name, 0, pack::head_len(keys))?;
    match keys {
        Some(keys) => pack::open_tail(keys, &head, &tail, at, &object),
        None => pack::decode_tail(&head, &tail, at, &object),
    }
}

/// Reads what can be told apart in a damaged pack's directory: nothing of it is certain until its chunk has been verified.
pub(crate) fn damaged_directory(backend: &dyn Backend, id: &PackId) -> Result<Vec<(u64, Record)>> {
    let name = pack_name(id);
    match read_tail(backend, &name, &name) {
        // Without its tag nothing of a sealed one is believed.
        Ok(_) if backend.keys().is_some() => Ok(Vec::new()),
        Ok((at, tail)) => Ok(pack::decode_damaged(&tail, at)),
        Err(error) if error.is_damage() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reads a pack's bytes from its directory on; returns their offset too.
fn read_tail(backend: &dyn Backend, name: &str, object: &str) -> Result<(u64, Vec<u8>)> {
    let len = backend.len(name)?;
    let footer_at =
        len.checked_sub((FOOTER_LEN + HEADER.len()) as u64).ok_or_else(|| Error::corrupt(object, "ends too early"))?
            + HEADER.len() as u64;
    let footer = backend.read_range(name, footer_at, FOOTER_LEN)?;
    let at = pack::directory_offset(&footer, len, object)?;
    // A directory is longer than this only if its footer lies: no run puts more than 65,536 chunks into a pack.
    const LONGEST: u64 = 16 << 20;
    let tail_len = usize::try_from(len - at).ok().filter(|_| len - at <= LONGEST);
    let tail_len = tail_len.ok_or_else(|| Error::corrupt(object, "has an impossible footer"))?;
    Ok((at, backend.read_range(name, at, tail_len)?))
}

impl PackScan {
    /// Reads the directories of all packs but those in `listed`; a pack whose own directory is damaged stays out.
    pub(crate) fn build(backend: &dyn Backend, listed: &HashSet<PackId>) -> Result<Self> {
        let schema = "CREATE TABLE chunks(id BLOB, pack BLOB, offset INTEGER, record BLOB)";
        let db = temp_db::create(PURPOSE, schema, SCAN_CACHE_KIB, Rollback::Never)?;
        backend.list("packs", &mut |name, _| {
            let Some(id) = pack_id(name).filter(|id| !listed.contains(id)) else { return Ok(()) };
            let records = match directory(backend, &id) {
                Err(Error::Corrupt { .. } | Error::Missing { .. } | Error::Io { .. }) => return Ok(()),
                other => other?,
            };
            let mut insert = db.prepare_cached("INSERT INTO chunks VALUES(?,?,?,?)").map_err(failed)?;
            for (offset, record) in records {
                let mut bytes = Vec::with_capacity(64);
                record.encode_tail(&mut bytes);
                insert.execute(params![record.id.as_bytes(), id.as_bytes(), offset as i64, bytes]).map_err(failed)?;
            }
            Ok(())
        })?;
        db.execute_batch("CREATE INDEX by_id ON chunks(id); COMMIT;").map_err(failed)?;
        Ok(Self { db: Mutex::new(db) })
    }

    /// Finds every copy of a chunk.
    pub(crate) fn find(&self, id: &ChunkId) -> Result<Vec<ChunkCopy>> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement =
            db.prepare_cached("SELECT rowid, pack, offset, record FROM chunks WHERE id=?").map_err(failed)?;
        let rows = statement.query_map([id.as_bytes()], |row| {
            let (at, pack, offset) = (row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?);
            Ok((at as u64, PackId::from_bytes(pack), offset as u64, row.get::<_, Vec<u8>>(3)?))
        });
        let mut copies = Vec::new();
        for row in rows.map_err(failed)? {
            let (at, pack, offset, bytes) = row.map_err(failed)?;
            let record = Record::decode_tail(*id, &mut Reader::new(&bytes, "the salvaged directory"))?;
            copies.push(ChunkCopy { slot: IndexSlot { file: 0, at }, place: Location { pack, offset, record } });
        }
        Ok(copies)
    }
}

fn failed(error: rusqlite::Error) -> Error {
    temp_db::failed(PURPOSE, &error)
}
