//! What a database says of its tables: columns, keys, and which tables hold an application's own rows.

use rusqlite::Connection;

use super::cell::Encoding;
use super::connect::text_of;
use super::inspect::Inspector;
use super::sql_text::quoted;
use crate::error::{Error, Result};

/// What kind of table it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// It holds rows of its own.
    Ordinary,
    /// Its rows are what a module makes of other tables; the module's name.
    Virtual(String),
    /// A virtual table keeps its own data in it.
    Shadow,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name.
    pub name: String,
    /// Its type as it was declared.
    pub declared: String,
    /// Whether it is `NOT NULL`.
    pub not_null: bool,
    /// SQLite computes it from others.
    pub generated: bool,
}

/// Columns that tell rows apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UniqueKey {
    /// Their names.
    pub columns: Vec<String>,
    /// SQLite allows NULL in it, any number of times.
    pub nullable: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableShape {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub sql: String,
    /// Its kind.
    pub kind: TableKind,
    /// Number of the root page of its b-tree.
    pub root_page: u32,
    /// It is a `WITHOUT ROWID` table.
    pub without_rowid: bool,
    /// Its columns, hidden ones left out.
    pub columns: Vec<Column>,
    /// The column that is the rowid, as in `INTEGER PRIMARY KEY`.
    pub rowid_alias: Option<String>,
    /// Its keys, the primary key first; in a rowid table without `INTEGER PRIMARY KEY` there may be none.
    pub keys: Vec<UniqueKey>,
    /// How many of its constraints and indexes hold values to be unique, the primary key included.
    pub unique_constraints: usize,
}

/// An index, trigger, view or table of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaItem {
    /// `table`, `index`, `trigger` or `view`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table that it is of.
    pub table: String,
    /// Its definition.
    pub sql: String,
}

impl TableShape {
    /// Returns whether it is a full text index of a table's rows. SQLite compares names without case.
    pub(crate) fn indexes(&self, table: &str) -> bool {
        matches!(&self.kind, TableKind::Virtual(module) if module.to_ascii_lowercase().starts_with("fts"))
            && indexed_table(&self.sql).is_some_and(|of| of.eq_ignore_ascii_case(table))
    }

    /// Returns the columns whose values are stored as they were given.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.generated)
    }

    /// Returns a name under which the rowid can be asked for; `None` where columns have all of its names.
    pub(crate) fn rowid_name(&self) -> Option<&'static str> {
        let is_taken = |name: &str| self.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        ["rowid", "_rowid_", "oid"].into_iter().find(|name| !self.without_rowid && !is_taken(name))
    }
}

impl Inspector<'_> {
    /// Returns how the database encodes texts.
    pub(crate) fn encoding(&self) -> Result<Encoding> {
        let name = self.watched(|conn| conn.query_row("PRAGMA encoding", [], |row| row.get::<_, String>(0)))?;
        Ok(match name.as_str() {
            "UTF-16le" => Encoding::Utf16Le,
            "UTF-16be" => Encoding::Utf16Be,
            _ => Encoding::Utf8,
        })
    }

    /// Returns `user_version` and `application_id`, which applications number their schemas with.
    pub(crate) fn versions(&self) -> Result<(i64, i64)> {
        self.watched(|conn| {
            let pragma = |name: &str| conn.query_row(&format!("PRAGMA main.{name}"), [], |row| row.get::<_, i64>(0));
            Ok((pragma("user_version")?, pragma("application_id")?))
        })
    }

    /// Lists the schema in the order in which it was made; what SQLite makes by itself is left out.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it cannot be read, or holds what is absurdly long.
    pub(crate) fn schema(&self) -> Result<Vec<SchemaItem>> {
        self.watched(schema)
    }

    /// Describes the tables, by name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the schema cannot be read.
    pub(crate) fn shapes(&self) -> Result<Vec<TableShape>> {
        self.watched(shapes)
    }

    /// Returns the tables that a table's foreign keys name.
    pub(crate) fn refers_to(&self, table: &str) -> Result<Vec<String>> {
        let sql = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(?1, 'main') ORDER BY 1";
        self.watched(|conn| column(conn, sql, [table]))
    }

    /// Compiles statements that would write to a table, and runs none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with what SQLite lacks: a collation or function of the application.
    pub(crate) fn check_writable(&self, table: &str) -> Result<()> {
        let table = quoted(table);
        self.watched(|conn| {
            conn.prepare(&format!("DELETE FROM main.{table}"))?;
            conn.prepare(&format!("INSERT INTO main.{table} DEFAULT VALUES")).map(drop)
        })
    }

    /// Describes one table, whatever the case of its name's letters.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such table.
    pub(crate) fn shape(&self, name: &str) -> Result<TableShape> {
        let shapes = self.shapes()?;
        let known: Vec<&str> =
            shapes.iter().filter(|shape| shape.kind != TableKind::Shadow).map(|s| s.name.as_str()).take(30).collect();
        let known = known.join(", ");
        shapes
            .into_iter()
            .find(|shape| shape.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::not_found(format!("there is no table {name}; there are {known}")))
    }
}

/// A definition is read up to this length, in bytes.
const SQL_BYTES: usize = 256 << 10;

/// Lists the schema of a connection's main database.
pub(crate) fn schema(conn: &Connection) -> rusqlite::Result<Vec<SchemaItem>> {
    let sql = format!(
        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema
         WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND octet_length(sql) <= {SQL_BYTES} ORDER BY rowid"
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |at: usize| text_of(row.get_ref(at)?);
        items.push(SchemaItem { kind: text(0)?, name: text(1)?, table: text(2)?, sql: text(3)? });
    }
    Ok(items)
}

/// Describes the tables of a connection's main database, by name.
pub(crate) fn shapes(conn: &Connection) -> rusqlite::Result<Vec<TableShape>> {
    let items = schema(conn)?.into_iter().filter(|item| item.kind == "table");
    let modules: Vec<String> = column(conn, "SELECT name FROM pragma_module_list", [])?;
    let mut tables = Vec::new();
    for item in items {
        let (root, wr, kind): (i64, i64, String) = conn.query_row(
            "SELECT s.rootpage, ifnull(l.wr, 0), ifnull(l.type, 'table') FROM main.sqlite_schema AS s
             LEFT JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = s.name WHERE s.type = 'table' AND s.name = ?1",
            [&item.name],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let kind = match (root, kind.as_str()) {
            (0, _) => TableKind::Virtual(module(&item.sql).to_string()),
            (_, "shadow") => TableKind::Shadow,
            _ => TableKind::Ordinary,
        };
        // Without its module SQLite does not know what a virtual table's columns are.
        let is_readable = !matches!(&kind, TableKind::Virtual(module) if !modules.iter().any(|known| known.eq_ignore_ascii_case(module)));
        let mut shape = TableShape {
            name: item.name,
            sql: item.sql,
            kind,
            root_page: u32::try_from(root).unwrap_or(0),
            without_rowid: wr != 0,
            columns: Vec::new(),
            rowid_alias: None,
            keys: Vec::new(),
            unique_constraints: 0,
        };
        if is_readable {
            describe(conn, &mut shape)?;
        }
        tables.push(shape);
    }
    // SQLite tells shadow tables only where it knows the module.
    let unknown: Vec<String> = tables
        .iter()
        .filter(|table| matches!(&table.kind, TableKind::Virtual(_)) && table.columns.is_empty())
        .map(|table| format!("{}_", table.name))
        .collect();
    for table in tables.iter_mut().filter(|table| table.kind == TableKind::Ordinary) {
        if unknown.iter().any(|prefix| table.name.starts_with(prefix)) {
            table.kind = TableKind::Shadow;
        }
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

fn describe(conn: &Connection, shape: &mut TableShape) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid",
    )?;
    let mut key: Vec<(i64, String)> = Vec::new();
    let mut rows = statement.query([&shape.name])?;
    while let Some(row) = rows.next()? {
        let name = text_of(row.get_ref(0)?)?;
        let declared = text_of(row.get_ref(1)?)?;
        let (not_null, pk, hidden): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        if pk > 0 {
            key.push((pk, name.clone()));
        }
        shape.columns.push(Column { name, declared, not_null: not_null != 0, generated: hidden > 1 });
    }
    drop(rows);
    if shape.kind != TableKind::Ordinary && shape.kind != TableKind::Shadow {
        return Ok(());
    }
    key.sort();
    let columns: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
    let mut indexes: Vec<(String, String, bool)> = Vec::new();
    let mut statement = conn.prepare_cached(
        "SELECT name, origin, partial FROM pragma_index_list(?1, 'main') WHERE \"unique\" ORDER BY seq DESC",
    )?;
    let mut rows = statement.query([&shape.name])?;
    while let Some(row) = rows.next()? {
        indexes.push((text_of(row.get_ref(0)?)?, text_of(row.get_ref(1)?)?, row.get::<_, i64>(2)? != 0));
    }
    shape.unique_constraints = indexes.len();
    let never_null = |columns: &[String]| {
        columns.iter().all(|name| shape.columns.iter().any(|column| column.name == *name && column.not_null))
    };
    let has_own_index = indexes.iter().any(|(_, origin, _)| origin == "pk");
    if !columns.is_empty() {
        if !has_own_index && !shape.without_rowid && columns.len() == 1 {
            shape.rowid_alias = Some(columns[0].clone());
            shape.unique_constraints += 1;
        }
        let nullable = shape.rowid_alias.is_none() && !shape.without_rowid && !never_null(&columns);
        shape.keys.push(UniqueKey { columns, nullable });
    }
    for (index, origin, partial) in indexes {
        if partial || origin == "pk" {
            continue;
        }
        let columns: Vec<Option<String>> =
            column(conn, "SELECT name FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno", [&index])?;
        // A part of the key that is no column is an expression.
        let Some(columns) = columns.into_iter().collect::<Option<Vec<String>>>() else { continue };
        if never_null(&columns) {
            shape.keys.push(UniqueKey { columns, nullable: false });
        }
    }
    Ok(())
}

/// Returns the name of a virtual table's module, as its definition has it.
fn module(sql: &str) -> &str {
    let lower = sql.to_ascii_lowercase();
    let after = lower.find(" using ").map_or("", |at| &sql[at + 7..]).trim_start();
    after
        .split(|c: char| c == '(' || c.is_whitespace() || c == ';')
        .next()
        .unwrap_or_default()
        .trim_matches(['"', '`', '[', ']', '\''])
}

fn column<T: rusqlite::types::FromSql>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare(sql)?;
    statement.query_map(params, |row| row.get(0))?.collect()
}

/// Returns the table whose rows a full text index reads, as its definition names it: `content=posts`.
fn indexed_table(sql: &str) -> Option<String> {
    let lower = sql.to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) = lower[from..].find("content").map(|at| at + from) {
        from = at + 7;
        let is_word = !lower[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let Some(value) = sql[from..].trim_start().strip_prefix('=').filter(|_| is_word) else { continue };
        let value = value.trim_start();
        let name = match value.chars().next()? {
            quote @ ('\'' | '"' | '`') => value[1..].split(quote).next()?,
            '[' => value[1..].split(']').next()?,
            _ => value.split(|c: char| c == ',' || c == ')' || c.is_whitespace()).next()?,
        };
        return Some(name.to_string()).filter(|name| !name.is_empty());
    }
    None
}

/// Writes names for SQL, quoted and joined by commas.
pub(crate) fn name_list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{TableKind, indexed_table, module, shapes};

    #[test]
    fn tables_are_described_with_their_keys() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE a(id INTEGER PRIMARY KEY, x TEXT UNIQUE NOT NULL, y UNIQUE, z AS (x || y), w AS (y) STORED);
             CREATE TABLE b(k TEXT PRIMARY KEY, v) ;
             CREATE TABLE c(k TEXT, l TEXT, PRIMARY KEY(l, k)) WITHOUT ROWID;
             CREATE TABLE d(rowid, oid, _rowid_, v);
             CREATE TABLE e(id INTEGER PRIMARY KEY DESC, v);
             CREATE TABLE f(a NOT NULL, b NOT NULL);
             CREATE UNIQUE INDEX f1 ON f(a, b); CREATE UNIQUE INDEX f2 ON f(a) WHERE b > 1; CREATE UNIQUE INDEX f3 ON f(a + 1);
             CREATE VIRTUAL TABLE t USING fts5(x, content='a', content_rowid=id);
             CREATE VIRTUAL TABLE \"r\" USING rtree(id, a, b);",
        )
        .unwrap();
        let shapes = shapes(&conn).unwrap();
        let of = |name: &str| shapes.iter().find(|shape| shape.name == name).unwrap();
        let keys = |name: &str| -> Vec<(String, bool)> {
            of(name).keys.iter().map(|key| (key.columns.join("+"), key.nullable)).collect()
        };
        assert_eq!(keys("a"), [("id".to_string(), false), ("x".to_string(), false)]);
        assert_eq!(of("a").rowid_alias.as_deref(), Some("id"));
        assert_eq!(of("a").stored().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "x", "y"]);
        assert_eq!(keys("b"), [("k".to_string(), true)]);
        assert_eq!((keys("c"), of("c").without_rowid), (vec![("l+k".to_string(), false)], true));
        assert_eq!((of("d").rowid_name(), of("b").rowid_name(), of("c").rowid_name()), (None, Some("rowid"), None));
        assert_eq!((keys("e"), of("e").rowid_alias.as_deref()), (vec![("id".to_string(), true)], None));
        assert_eq!((keys("f"), of("f").unique_constraints), (vec![("a+b".to_string(), false)], 3));
        assert_eq!(of("t").kind, TableKind::Virtual("fts5".into()));
        assert_eq!(of("t_data").kind, TableKind::Shadow);
        assert_eq!(of("r_node").kind, TableKind::Shadow);
    }

    #[test]
    fn a_full_text_index_names_its_table() {
        for (sql, table) in [
            ("CREATE VIRTUAL TABLE f USING fts5(x, content=posts, content_rowid='id')", Some("posts")),
            ("create virtual table f using FTS5(content_x, content = 'my posts')", Some("my posts")),
            ("CREATE VIRTUAL TABLE f USING fts4(x, content=\"p\")", Some("p")),
            ("CREATE VIRTUAL TABLE f USING fts5(x, content='')", None),
            ("CREATE VIRTUAL TABLE f USING fts5(x)", None),
        ] {
            assert_eq!(indexed_table(sql).as_deref(), table, "{sql}");
        }
        assert_eq!(module("CREATE VIRTUAL TABLE f USING \"fts5\"(x)"), "fts5");
        assert_eq!(module("CREATE VIRTUAL TABLE f"), "");
    }
}
