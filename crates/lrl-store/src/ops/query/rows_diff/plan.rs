//! The comparison: the schema, then table by table.

use std::collections::BTreeSet;

use super::model::{Compared, Counts, DiffSink, SchemaChange, Session};
use super::pair;
use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};
use crate::source::database::cell::Encoding;
use crate::source::database::merge::{RowChange, merge};
use crate::source::database::table_shape::{SchemaItem, TableKind, TableShape};

/// Both states' descriptions of their tables.
pub(super) struct Shapes {
    pub(super) from: Vec<TableShape>,
    pub(super) to: Vec<TableShape>,
    pub(super) encoding: Encoding,
}

impl Shapes {
    /// Reads them.
    pub(super) fn of(session: &Session<'_>) -> Result<Self> {
        let encoding = session.to.encoding()?;
        if session.from.encoding()? != encoding {
            return Err(Error::Refused(
                "the two databases encode texts differently: their rows are not compared".into(),
            ));
        }
        Ok(Self { from: session.from.shapes()?, to: session.to.shapes()?, encoding })
    }

    /// Returns each table's name with what both states say of it, by name.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, Option<&TableShape>, Option<&TableShape>)> {
        let names: BTreeSet<&str> = self.from.iter().chain(&self.to).map(|shape| shape.name.as_str()).collect();
        let find = |list: &'_ [TableShape], name: &str| list.iter().position(|shape| shape.name == name);
        names.into_iter().map(move |name| {
            (name, find(&self.from, name).map(|at| &self.from[at]), find(&self.to, name).map(|at| &self.to[at]))
        })
    }
}

/// Compares two states; the rows of `tables` are given one by one, those of others are counted. No names: all are counted.
///
/// # Errors
/// [`Error::NotFound`] for a name that neither state has, [`Error::Corrupt`] for what SQLite cannot read, the error of `sink`.
pub fn compare(
    session: &Session<'_>,
    tables: &[String],
    sink: &mut dyn DiffSink,
    observer: &dyn Observer,
) -> Result<()> {
    let shapes = Shapes::of(session)?;
    let is_named = |name: &str| tables.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
    for wanted in tables {
        if !shapes.pairs().any(|(name, ..)| name.eq_ignore_ascii_case(wanted)) {
            let known: Vec<&str> = shapes.pairs().map(|(name, ..)| name).take(30).collect();
            return Err(Error::not_found(format!("neither has a table {wanted}; there are {}", known.join(", "))));
        }
    }
    for change in schema_changes(session, &shapes)? {
        sink.schema(&change)?;
    }
    for (name, from, to) in shapes.pairs() {
        checkpoint(observer)?;
        if !tables.is_empty() && !is_named(name) {
            continue;
        }
        if let Some(why) = from.into_iter().chain(to).find_map(pair::left_out) {
            // The tables behind a virtual one go without saying, unless one is named.
            let is_shadow = from.or(to).is_some_and(|shape| shape.kind == TableKind::Shadow);
            if !is_shadow || is_named(name) {
                sink.left_out(name, &why)?;
            }
            continue;
        }
        let compared = table(session, (from, to), shapes.encoding, is_named(name), sink)?;
        sink.end(name, &compared)?;
    }
    Ok(())
}

fn table(
    session: &Session<'_>,
    (from, to): (Option<&TableShape>, Option<&TableShape>),
    encoding: Encoding,
    with_rows: bool,
    sink: &mut dyn DiffSink,
) -> Result<Compared> {
    let (from, to) = match (from, to) {
        (Some(from), Some(to)) => (from, to),
        (Some(only), None) => return one_sided(session, only, true, with_rows, sink),
        (None, Some(only)) => return one_sided(session, only, false, with_rows, sink),
        (None, None) => return Ok(Compared::Unread),
    };
    if let Some(unchanged) = session.unchanged
        && from.sql == to.sql
        && unchanged.holds(session.from, from, to)?
    {
        return Ok(Compared::Unread);
    }
    let selection = match pair::selection((session.from, from), (session.to, to))? {
        Ok(selection) => selection,
        Err(why) => return Ok(Compared::Refused(why)),
    };
    if with_rows {
        sink.begin(&to.name, &selection.columns, selection.key)?;
    }
    let mut rows = Rows::new(with_rows, sink);
    let merged = merge(session.from, session.to, &selection, encoding, &mut |change| rows.take(&change));
    rows.end(merged, |counts| match selection.key {
        0 => Compared::WholeRows(counts),
        key => Compared::ByKey(selection.columns[..key].to_vec(), counts),
    })
}

/// Gives all rows of a table that only one state has.
fn one_sided(
    session: &Session<'_>,
    shape: &TableShape,
    is_removed: bool,
    with_rows: bool,
    sink: &mut dyn DiffSink,
) -> Result<Compared> {
    let inspector = if is_removed { session.from } else { session.to };
    let columns: Vec<String> = shape.stored().map(|column| column.name.clone()).collect();
    if with_rows {
        sink.begin(&shape.name, &columns, 0)?;
    }
    let mut rows = Rows::new(with_rows, sink);
    let read = inspector.each_row(&shape.name, &columns, None, &mut |cells| {
        rows.take(&if is_removed { RowChange::Removed(cells) } else { RowChange::Added(cells) })
    });
    rows.end(read, Compared::OneSided)
}

/// The changed rows of one table: counted, and given to the sink where they are wanted.
struct Rows<'a> {
    with_rows: bool,
    sink: &'a mut dyn DiffSink,
    counts: Counts,
    /// The error of the sink, which is no reason of the database's to refuse the table.
    failed: Option<Error>,
}

impl<'a> Rows<'a> {
    fn new(with_rows: bool, sink: &'a mut dyn DiffSink) -> Self {
        Self { with_rows, sink, counts: Counts::default(), failed: None }
    }

    fn take(&mut self, change: &RowChange<'_>) -> Result<()> {
        self.counts.add(change);
        if !self.with_rows {
            return Ok(());
        }
        self.sink.row(change).map_err(|error| {
            self.failed = Some(error);
            Error::Interrupted
        })
    }

    /// Ends the table, which was read with this result.
    fn end(self, read: Result<()>, compared: impl FnOnce(Counts) -> Compared) -> Result<Compared> {
        match (self.failed, read) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(compared(self.counts)),
            (None, Err(error)) => pair::refusal(error).map(Compared::Refused),
        }
    }
}

/// Compares the definitions, and the numbers that applications give their schemas.
pub(super) fn schema_changes(session: &Session<'_>, shapes: &Shapes) -> Result<Vec<SchemaChange>> {
    let is_shadow = |name: &str| {
        shapes.from.iter().chain(&shapes.to).any(|shape| shape.name == name && shape.kind == TableKind::Shadow)
    };
    let (from, to) = (session.from.schema()?, session.to.schema()?);
    let find = |list: &[SchemaItem], wanted: &SchemaItem| -> Option<String> {
        list.iter().find(|item| item.kind == wanted.kind && item.name == wanted.name).map(|item| item.sql.clone())
    };
    let mut changes = Vec::new();
    let change = |item: &SchemaItem, from: Option<String>, to: Option<String>| SchemaChange {
        kind: item.kind.clone(),
        name: item.name.clone(),
        from,
        to,
    };
    for item in from.iter().filter(|item| !is_shadow(&item.table)) {
        let now = find(&to, item);
        if now.as_ref() != Some(&item.sql) {
            changes.push(change(item, Some(item.sql.clone()), now));
        }
    }
    for item in to.iter().filter(|item| !is_shadow(&item.table) && find(&from, item).is_none()) {
        changes.push(change(item, None, Some(item.sql.clone())));
    }
    let (before, after) = (session.from.versions()?, session.to.versions()?);
    for (name, before, after) in [("user_version", before.0, after.0), ("application_id", before.1, after.1)] {
        if before != after {
            let (from, to) = (Some(before.to_string()), Some(after.to_string()));
            changes.push(SchemaChange { kind: "pragma".into(), name: name.into(), from, to });
        }
    }
    Ok(changes)
}
