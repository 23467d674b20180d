//! Writes the wanted rows, in a transaction that is open. The trial does just the same as the restore.

use std::collections::HashMap;

use rusqlite::{Connection, params_from_iter};
use sha2::{Digest, Sha256};

use super::model::{Counts, Mode};
use super::record::Recorder;
use super::stopped::Stopped;
use super::target::Target;
use crate::error::{Error, Result};
use crate::hint::{AddHint, Hint};
use crate::progress::{Observer, checkpoint};
use crate::source::database::Inspector;
use crate::source::database::cell::{Encoding, OwnedCell};
use crate::source::database::merge::cells;

/// Rows without a key are looked for in the whole table, each of them.
const MOST_WITHOUT_KEY: u64 = 10_000;

/// Writes the rows of `wanted`, recording what was there and what is.
pub(super) fn apply(
    conn: &Connection,
    wanted: &Inspector<'_>,
    target: &Target,
    mode: Mode,
    recorder: &mut Recorder,
    observer: &dyn Observer,
) -> Result<Counts, Stopped> {
    target.create(conn)?;
    let mut counts = Counts::default();
    let mut stopped = None;
    let mut writer = Writer::new(conn, target)?;
    let read = wanted.each_row(&target.table, &target.columns, None, &mut |row| {
        checkpoint(observer)?;
        writer.take(row, mode, &mut counts, recorder).map_err(|why| {
            stopped = Some(why);
            // Only has to stop.
            Error::Interrupted
        })
    });
    drop(writer);
    if let Some(why) = stopped {
        return Err(why);
    }
    read?;
    if counts.come + counts.change > 0 {
        target.rebuild(conn)?;
    }
    target.create_rest(conn)?;
    recorder.finish(conn, target)?;
    Ok(counts)
}

struct Writer<'c> {
    select: rusqlite::Statement<'c>,
    insert: rusqlite::Statement<'c>,
    update: Option<rusqlite::Statement<'c>>,
    found_by: Vec<usize>,
    values: Vec<usize>,
    has_key: bool,
    /// Digests of rows without a key that came before: those that are alike are counted.
    before: HashMap<[u8; 32], u64>,
    taken: u64,
}

impl<'c> Writer<'c> {
    fn new(conn: &'c Connection, target: &Target) -> rusqlite::Result<Self> {
        Ok(Self {
            select: conn.prepare(&target.select())?,
            insert: conn.prepare(&target.insert())?,
            update: target.update().filter(|_| !target.key.is_empty()).map(|sql| conn.prepare(&sql)).transpose()?,
            found_by: target.found_by(),
            values: target.values(),
            has_key: !target.key.is_empty(),
            before: HashMap::new(),
            taken: 0,
        })
    }

    fn take(
        &mut self,
        row: &[OwnedCell],
        mode: Mode,
        counts: &mut Counts,
        recorder: &mut Recorder,
    ) -> Result<(), Stopped> {
        if !self.has_key {
            return self.take_whole(row, counts, recorder);
        }
        let key: Vec<&OwnedCell> = self.found_by.iter().map(|at| &row[*at]).collect();
        let there = {
            let mut rows = self.select.query(params_from_iter(&key))?;
            rows.next()?.map(cells).transpose()?
        };
        match there {
            None => {
                self.insert.execute(params_from_iter(row))?;
                counts.come += 1;
                recorder.add(None, row)?;
            }
            Some(there) if there == row => counts.stay += 1,
            Some(there) => match (mode, &mut self.update) {
                (Mode::Replace, Some(update)) => {
                    let values = self.values.iter().map(|at| &row[*at]).chain(key);
                    update.execute(params_from_iter(values))?;
                    counts.change += 1;
                    recorder.add(Some(&there), row)?;
                }
                _ => counts.differ += 1,
            },
        }
        Ok(())
    }

    fn take_whole(&mut self, row: &[OwnedCell], counts: &mut Counts, recorder: &mut Recorder) -> Result<(), Stopped> {
        self.taken += 1;
        if self.taken > MOST_WITHOUT_KEY {
            let text = format!(
                "the table has no key, so that each of its rows is looked for in all of it: more than {MOST_WITHOUT_KEY} are too many"
            );
            return Err(Error::refused(text.hint(Hint::WhereRows)).into());
        }
        let mut text = String::new();
        row.iter().for_each(|cell| {
            cell.as_cell().write_sql(Encoding::Utf8, &mut text);
            text.push(',');
        });
        let nth = self.before.entry(Sha256::digest(text.as_bytes()).into()).or_default();
        *nth += 1;
        let nth = *nth;
        let mut alike = 0u64;
        let mut rows = self.select.query(params_from_iter(row))?;
        while let Some(there) = rows.next()? {
            alike += u64::from(cells(there)? == row);
        }
        drop(rows);
        if alike >= nth {
            counts.stay += 1;
            return Ok(());
        }
        self.insert.execute(params_from_iter(row))?;
        counts.come += 1;
        Ok(recorder.add(None, row)?)
    }
}
