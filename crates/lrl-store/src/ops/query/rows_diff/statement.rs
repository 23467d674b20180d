//! The statement for one row.

use super::model::differences;
use crate::source::database::cell::{Encoding, OwnedCell};
use crate::source::database::merge::Selection;
use crate::source::database::sql_text::quoted;
use crate::source::database::table_shape::name_list;

/// Returns the statement that adds a row.
pub(super) fn insert(table: &str, columns: &[String], row: &[OwnedCell], encoding: Encoding) -> String {
    let mut sql = format!("INSERT INTO {}({}) VALUES(", quoted(table), name_list(columns.iter().map(String::as_str)));
    for (at, cell) in row.iter().enumerate() {
        sql.push_str(if at > 0 { "," } else { "" });
        cell.as_cell().write_sql(encoding, &mut sql);
    }
    sql.push_str(");\n");
    sql
}

/// Returns the statement that gives a row its new values.
pub(super) fn update(selection: &Selection, old: &[OwnedCell], new: &[OwnedCell], encoding: Encoding) -> String {
    let mut sql = format!("UPDATE {} SET ", quoted(&selection.table));
    for (n, (at, _, now)) in differences(old, new).enumerate() {
        sql.push_str(if n > 0 { ", " } else { "" });
        sql.push_str(&format!("{}=", quoted(&selection.columns[at])));
        now.as_cell().write_sql(encoding, &mut sql);
    }
    sql.push_str(" WHERE ");
    condition(&selection.columns[..selection.key], old, false, encoding, &mut sql);
    sql.push_str(";\n");
    sql
}

/// Returns the statement that removes a row; `rowid` is a name of the rowid, for a table without a key.
pub(super) fn delete(selection: &Selection, rowid: Option<&str>, row: &[OwnedCell], encoding: Encoding) -> String {
    let table = quoted(&selection.table);
    let mut sql = format!("DELETE FROM {table} WHERE ");
    match (selection.key, rowid) {
        // One of those that are alike.
        (0, Some(rowid)) => {
            sql.push_str(&format!("{rowid}=(SELECT {rowid} FROM {table} WHERE "));
            condition(&selection.columns, row, true, encoding, &mut sql);
            sql.push_str(" LIMIT 1)");
        }
        (key, _) => condition(&selection.columns[..key], row, false, encoding, &mut sql),
    }
    sql.push_str(";\n");
    sql
}

/// Adds the condition that columns have just these values; `typed` where 1 and 1.0 are different rows.
fn condition(columns: &[String], row: &[OwnedCell], typed: bool, encoding: Encoding, sql: &mut String) {
    for (at, (name, cell)) in columns.iter().zip(row).enumerate() {
        sql.push_str(if at > 0 { " AND " } else { "" });
        let name = quoted(name);
        sql.push_str(&format!("{name} IS "));
        cell.as_cell().write_sql(encoding, sql);
        if matches!(cell, OwnedCell::Text(_)) {
            sql.push_str(" COLLATE BINARY");
        }
        if typed {
            sql.push_str(&format!(" AND typeof({name})='{}'", cell.as_cell().type_name()));
        }
    }
}
