//! The difference as SQL: statements that turn the older state into the newer one. Rows are deleted before any is written, so that no unique
//! value is there twice on the way; triggers of the tables concerned are dropped first and made again, because both states have what they did.

use super::model::{SchemaChange, Session};
use super::pair;
use super::plan::{Shapes, schema_changes};
use super::statement::{delete, insert, update};
use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};
use crate::source::database::Inspector;
use crate::source::database::cell::Encoding;
use crate::source::database::definition::is_single;
use crate::source::database::merge::{RowChange, Selection, merge};
use crate::source::database::sql_text::quoted;
use crate::source::database::table_shape::{SchemaItem, TableKind, TableShape};

/// What `ANALYZE` finds. Not every SQLite makes the second of these tables.
const STATISTICS: [(&str, &[&str]); 2] =
    [("sqlite_stat1", &["tbl", "idx", "stat"]), ("sqlite_stat4", &["tbl", "idx", "neq", "nlt", "ndlt", "sample"])];

/// Receives the statements, as text.
type Out<'o> = dyn FnMut(&str) -> Result<()> + 'o;

/// A table of both states whose rows differ.
struct Touched<'s> {
    selection: Selection,
    from: &'s TableShape,
    /// Rows are replaced by deleting and inserting them: another unique value may be on its way from row to row.
    replaces: bool,
}

/// Writes the statements; returns the tables whose rows are not among them, and why.
///
/// # Errors
/// As [`super::compare`].
pub fn write_sql(
    session: &Session<'_>,
    tables: &[String],
    out: &mut Out<'_>,
    observer: &dyn Observer,
) -> Result<Vec<(String, String)>> {
    let shapes = Shapes::of(session)?;
    let is_wanted = |name: &str| tables.is_empty() || tables.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
    if let Some(wanted) =
        tables.iter().find(|wanted| !shapes.pairs().any(|(name, ..)| name.eq_ignore_ascii_case(wanted)))
    {
        return Err(Error::not_found(format!("neither has a table {wanted}")));
    }
    let items = session.to.schema()?;
    let is_virtual = |name: &str| {
        shapes.from.iter().chain(&shapes.to).any(|shape| shape.name == name && shape.kind != TableKind::Ordinary)
    };
    let table_of = |kind: &str, name: &str| -> Option<String> {
        let all = session.from.schema().ok()?.into_iter().chain(items.iter().cloned());
        all.into_iter().find(|item| item.kind == kind && item.name == name).map(|item| item.table)
    };
    let mut left_out = Vec::new();
    let mut changes = Vec::new();
    for change in schema_changes(session, &shapes)? {
        let table = table_of(&change.kind, &change.name).unwrap_or_default();
        match change.kind.as_str() {
            "table" if is_virtual(&change.name) => left_out.push((change.name, "a virtual table".into())),
            "pragma" | "view" if tables.is_empty() => changes.push(change),
            "table" | "index" | "trigger" if is_wanted(&table) => changes.push(change),
            _ => {}
        }
    }
    let is_changed = |name: &str| changes.iter().any(|change| change.kind == "table" && change.name == name);
    let mut touched = Vec::new();
    for (name, from, to) in shapes.pairs().filter(|(name, ..)| is_wanted(name)) {
        let (Some(from), Some(to)) = (from, to) else { continue };
        if pair::left_out(to).or_else(|| pair::left_out(from)).is_some() || is_changed(name) {
            continue;
        }
        if let Some(unchanged) = session.unchanged
            && unchanged.holds(session.from, from, to)?
        {
            continue;
        }
        match pair::selection((session.from, from), (session.to, to))? {
            Err(why) => left_out.push((name.to_string(), why)),
            Ok(selection) if selection.key == 0 && from.rowid_name().is_none() => {
                left_out.push((name.to_string(), "it has no key, and columns with all names of the rowid".into()));
            }
            Ok(selection) => match differs(session, &selection, shapes.encoding)
                .and_then(|differs| if differs { session.to.check_writable(name).map(|()| true) } else { Ok(false) })
            {
                Ok(false) => {}
                Ok(true) => {
                    touched.push(Touched { selection, from, replaces: to.unique_constraints > 1 || to.keys.is_empty() })
                }
                Err(error) => left_out.push((name.to_string(), pair::refusal(error)?)),
            },
        }
    }
    let mut script = Script { session, out, encoding: shapes.encoding, observer };
    script.line("PRAGMA foreign_keys=OFF;")?;
    script.line("BEGIN IMMEDIATE;")?;
    let is_touched = |table: &str| touched.iter().any(|one| one.selection.table == table);
    script.drop_old(&changes, &session.from.schema()?, &is_touched)?;
    let mut made = Vec::new();
    for change in changes.iter().filter(|change| change.kind == "table") {
        if let Some(sql) = &change.to {
            script.define(sql)?;
            made.push(change.name.as_str());
            if let Some(shape) = shapes.to.iter().find(|shape| shape.name == change.name)
                && let Err(error) = script.insert_all(shape)
            {
                return Err(Error::refused(format!("{}: {}", shape.name, pair::refusal(error)?)));
            }
        }
    }
    for one in &touched {
        script.delete(one)?;
    }
    for one in &touched {
        script.write(one)?;
    }
    script.make_new(&changes, &items, &is_touched, &made)?;
    for shape in &shapes.to {
        let mut changed = touched.iter().map(|one| one.selection.table.as_str()).chain(made.iter().copied());
        if changed.any(|table| shape.indexes(table)) {
            let name = quoted(&shape.name);
            script.line(&format!("INSERT INTO {name}({name}) VALUES('rebuild');"))?;
        }
    }
    if tables.is_empty() {
        script.sequences(&shapes)?;
        for (name, columns) in STATISTICS {
            if let Err(error) = script.statistics(name, columns, !changes.is_empty()) {
                left_out.push((name.into(), pair::refusal(error)?));
            }
        }
    }
    for change in changes.iter().filter(|change| change.kind == "pragma") {
        script.line(&format!("PRAGMA {}={};", change.name, change.to.as_deref().unwrap_or("0")))?;
    }
    script.line("COMMIT;")?;
    Ok(left_out)
}

/// Returns whether any row differs.
fn differs(session: &Session<'_>, selection: &Selection, encoding: Encoding) -> Result<bool> {
    let mut found = false;
    let merged = merge(session.from, session.to, selection, encoding, &mut |_| {
        found = true;
        // One is enough.
        Err(Error::Interrupted)
    });
    if found { Ok(true) } else { merged.map(|()| false) }
}

struct Script<'s, 'o> {
    session: &'s Session<'s>,
    out: &'s mut Out<'o>,
    encoding: Encoding,
    observer: &'s dyn Observer,
}

impl Script<'_, '_> {
    fn line(&mut self, text: &str) -> Result<()> {
        checkpoint(self.observer)?;
        (self.out)(text)?;
        (self.out)("\n")
    }

    /// Writes a definition, which is nothing but that.
    fn define(&mut self, sql: &str) -> Result<()> {
        if !is_single(sql) {
            let start: String = sql.chars().take(60).collect();
            return Err(Error::refused(format!("a definition of the schema is not one statement: {start}…")));
        }
        self.line(&format!("{sql};"))
    }

    /// Drops what is gone or was defined otherwise, and the triggers of tables whose rows change.
    fn drop_old(
        &mut self,
        changes: &[SchemaChange],
        before: &[SchemaItem],
        is_touched: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let is_old = |kind: &str, name: &str| {
            changes.iter().any(|change| change.kind == kind && change.name == name && change.from.is_some())
        };
        for kind in ["trigger", "view", "index", "table"] {
            for item in before.iter().filter(|item| item.kind == kind) {
                let table_goes = kind != "table" && kind != "view" && is_old("table", &item.table);
                let goes = is_old(kind, &item.name) || kind == "trigger" && is_touched(&item.table);
                if goes && !table_goes {
                    self.line(&format!("DROP {} {};", kind.to_uppercase(), quoted(&item.name)))?;
                }
            }
        }
        Ok(())
    }

    /// Makes what is new, was dropped, or went with its table.
    fn make_new(
        &mut self,
        changes: &[SchemaChange],
        after: &[SchemaItem],
        is_touched: &dyn Fn(&str) -> bool,
        made: &[&str],
    ) -> Result<()> {
        for kind in ["index", "view", "trigger"] {
            for item in after.iter().filter(|item| item.kind == kind) {
                let is_new = changes.iter().any(|change| change.kind == kind && change.name == item.name);
                let went = made.contains(&item.table.as_str()) || kind == "trigger" && is_touched(&item.table);
                if is_new || went {
                    self.define(&item.sql)?;
                }
            }
        }
        Ok(())
    }

    fn insert_all(&mut self, shape: &TableShape) -> Result<()> {
        let columns: Vec<String> = shape.stored().map(|column| column.name.clone()).collect();
        let (out, encoding) = (&mut *self.out, self.encoding);
        self.session
            .to
            .each_row(&shape.name, &columns, None, &mut |cells| out(&insert(&shape.name, &columns, cells, encoding)))
    }

    fn delete(&mut self, one: &Touched<'_>) -> Result<()> {
        let (out, encoding) = (&mut *self.out, self.encoding);
        let selection = &one.selection;
        merge(self.session.from, self.session.to, selection, encoding, &mut |change| match change {
            RowChange::Removed(row) => out(&delete(selection, one.from.rowid_name(), row, encoding)),
            RowChange::Changed(row, _) if one.replaces => out(&delete(selection, one.from.rowid_name(), row, encoding)),
            _ => Ok(()),
        })
    }

    fn write(&mut self, one: &Touched<'_>) -> Result<()> {
        let (out, encoding) = (&mut *self.out, self.encoding);
        let selection = &one.selection;
        merge(self.session.from, self.session.to, selection, encoding, &mut |change| match change {
            RowChange::Added(row) => out(&insert(&selection.table, &selection.columns, row, encoding)),
            RowChange::Changed(_, row) if one.replaces => {
                out(&insert(&selection.table, &selection.columns, row, encoding))
            }
            RowChange::Changed(old, new) => out(&update(selection, old, new, encoding)),
            RowChange::Removed(_) => Ok(()),
        })
    }

    /// Brings the counters of AUTOINCREMENT to where they are.
    fn sequences(&mut self, shapes: &Shapes) -> Result<()> {
        let counts =
            |list: &[TableShape]| list.iter().any(|shape| shape.sql.to_ascii_uppercase().contains("AUTOINCREMENT"));
        if !counts(&shapes.to) {
            return Ok(());
        }
        let read = |inspector: &Inspector<'_>| self.inserts(inspector, "sqlite_sequence", &["name", "seq"]);
        let now = read(self.session.to)?;
        // A table that was made again has lost its counter.
        if counts(&shapes.from) && read(self.session.from)? == now && shapes.from == shapes.to {
            return Ok(());
        }
        self.line("DELETE FROM sqlite_sequence;")?;
        now.iter().try_for_each(|statement| (self.out)(statement))
    }

    /// Brings one table of statistics to what it is. A table or index that is dropped takes its rows with it.
    fn statistics(&mut self, table: &str, columns: &[&str], schema_changes: bool) -> Result<()> {
        let (from, to) = (self.session.from, self.session.to);
        let read = |inspector: &Inspector<'_>| match inspector.has_table(table)? {
            true => self.inserts(inspector, table, columns).map(Some),
            false => Ok(None),
        };
        match (read(from)?, read(to)?) {
            (before, now) if before == now && !schema_changes => Ok(()),
            (Some(_), None) => self.line(&format!("DROP TABLE {table};")),
            (None, Some(_)) if table != "sqlite_stat1" => Ok(()),
            (before, Some(now)) => {
                if before.is_none() {
                    // This makes the tables, and looks at no other.
                    self.line("ANALYZE sqlite_schema;")?;
                }
                self.line(&format!("DELETE FROM {table};"))?;
                now.iter().try_for_each(|statement| (self.out)(statement))
            }
            (None, None) => Ok(()),
        }
    }

    /// Returns the statements that add a table's rows.
    fn inserts(&self, inspector: &Inspector<'_>, table: &str, columns: &[&str]) -> Result<Vec<String>> {
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let mut inserts = Vec::new();
        inspector.each_row(table, &columns, None, &mut |cells| {
            inserts.push(insert(table, &columns, cells, self.encoding));
            Ok(())
        })?;
        Ok(inserts)
    }
}
