//! Takes the last restore of rows back, or does it again: each row must be as the record says that it is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params_from_iter};

use super::checks::{Orphans, newly_lost, orphans, refuse_unsound};
use super::record::{self, each, turn};
use super::stopped::{Stopped, in_transaction};
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::path_text;
use crate::hint::{AddHint, Hint};
use crate::progress::{Observer, checkpoint};
use crate::source::database::cell::OwnedCell;
use crate::source::database::merge::cells;
use crate::source::database::sql_text::quoted;
use crate::source::database::{Inspector, writer};

/// What was taken back, or done again.
#[derive(Debug, Clone)]
pub struct Undone {
    /// What had been restored, in words.
    pub from: String,
    /// The table.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// The restore is in place again: an undo was undone.
    pub restored_again: bool,
    /// Files were restored with the rows: they are undone by themselves.
    pub files: bool,
    /// Nothing was changed.
    pub dry_run: bool,
}

/// Takes the last restore of rows in a data directory back, or does it again if that is undone.
///
/// # Errors
/// [`Error::Refused`] if rows have changed since or other rows depend on them: then nothing was changed.
pub fn undo(data_dir: &Path, busy: Duration, dry_run: bool, observer: &dyn Observer) -> Result<Undone> {
    let (record, mut about) = record::open(data_dir, observer)?;
    let target = Target::from(about.target.clone());
    let path = path_text::decode(&about.database)
        .filter(|path| crate::format::entry::is_clean_path(path))
        .ok_or_else(|| Error::corrupt(record::path(data_dir).display(), "names no database below the directory"))?;
    let live = writer::open_live(&data_dir.join(OsStr::from_bytes(&path)), busy, about.triggers, observer)?;
    let back = about.restored;
    let mut count = 0;
    each(&record, target.columns.len(), &mut |_, _| {
        count += 1;
        Ok(())
    })?;
    let undone = |dry_run| Undone {
        from: about.from.clone(),
        table: target.table.clone(),
        rows: count,
        restored_again: !back,
        files: about.files,
        dry_run,
    };
    if dry_run {
        return Ok(undone(true));
    }
    in_transaction(&live, &target.table, |conn| turn_rows(conn, &record, &target, (back, &about.orphans), observer))?;
    let undone = undone(false);
    about.restored = !back;
    turn(data_dir, &about)?;
    Ok(undone)
}

fn turn_rows(
    conn: &Connection,
    record: &Inspector<'_>,
    target: &Target,
    (back, of_old): (bool, &Orphans),
    observer: &dyn Observer,
) -> Result<(), Stopped> {
    let creates = !target.definitions.is_empty();
    if creates && !back {
        target.create(conn)?;
    }
    let before = orphans(conn)?;
    let (mut stopped, mut changed) = (None, 0u64);
    let mut find = conn.prepare(&target.select())?;
    let read = each(record, target.columns.len(), &mut |was, is| {
        checkpoint(observer)?;
        let (here, there) = if back { (Some(is), was) } else { (was, Some(is)) };
        turn_row(conn, target, &mut find, (here, there), is, &mut changed).map_err(|why| {
            stopped = Some(why);
            // Only has to stop.
            Error::Interrupted
        })
    });
    drop(find);
    if let Some(why) = stopped {
        return Err(why.into());
    }
    read?;
    let refused = |why: String| -> Stopped {
        let text = format!("the restore of rows of {} is not undone: {why}. Nothing was changed", target.table);
        Error::refused(text.hint(Hint::CompareRows(target.table.clone()))).into()
    };
    if changed > 0 {
        return Err(refused(format!("{changed} of the rows have changed since")));
    }
    if creates && back {
        let table = quoted(&target.table);
        let left: i64 = conn.query_row(&format!("SELECT count(*) FROM main.{table}"), [], |row| row.get(0))?;
        if left > 0 {
            return Err(refused(format!("the table was made by it, and {left} rows have come since")));
        }
        conn.execute(&format!("DROP TABLE main.{table}"), [])?;
    } else {
        target.rebuild(conn)?;
        if creates {
            target.create_rest(conn)?;
        }
        refuse_unsound(conn, &target.table)?;
    }
    // Rows that had nothing to refer to before the restore may be so again.
    newly_lost(&[&before, of_old], &orphans(conn)?).map_or(Ok(()), |(rows, child, parent)| {
        Err(refused(format!("{rows} of {child} would refer to rows of {parent} that are not there any more")))
    })
}

/// Turns one row from what is `here` to what is to be `there`; counts it as changed where it is neither.
fn turn_row(
    conn: &Connection,
    target: &Target,
    find: &mut rusqlite::Statement<'_>,
    (here, there): (Option<&[OwnedCell]>, Option<&[OwnedCell]>),
    row: &[OwnedCell],
    changed: &mut u64,
) -> rusqlite::Result<()> {
    let key: Vec<&OwnedCell> = target.found_by().into_iter().map(|at| &row[at]).collect();
    let now = {
        let mut rows = find.query(params_from_iter(&key))?;
        rows.next()?.map(cells).transpose()?
    };
    // Without a key a row that is to come may have a twin.
    let is_expected = now.as_deref() == here || target.key.is_empty() && here.is_none();
    if !is_expected {
        *changed += 1;
        return Ok(());
    }
    let written = match (here, there) {
        (Some(_), None) => conn.prepare_cached(&target.delete())?.execute(params_from_iter(&key))?,
        (None, Some(there)) => conn.prepare_cached(&target.insert())?.execute(params_from_iter(there))?,
        (Some(_), Some(there)) => match target.update() {
            Some(update) => {
                let values: Vec<&OwnedCell> = target.values().into_iter().map(|at| &there[at]).chain(key).collect();
                conn.prepare_cached(&update)?.execute(params_from_iter(values))?
            }
            None => 1,
        },
        (None, None) => 1,
    };
    *changed += u64::from(written != 1);
    Ok(())
}
