//! A user's query with any number of rows and columns, streamed. Runs under the limits of every user's query.

use rusqlite::Batch;

use super::cell::Cell;
use super::inspect::{Inspector, Stop};
use super::user_query::{begins_query, check_query, only};
use crate::error::{Error, Result};

/// Receives the result of a query.
pub trait RowSink {
    /// Takes the names of the columns, once, before the rows.
    fn columns(&mut self, names: &[String]) -> Result<()>;
    /// Takes one row.
    fn row(&mut self, cells: &[Cell<'_>]) -> Result<()>;
}

impl Inspector<'_> {
    /// Runs a user's query, and gives its rows to `sink`; returns how many there were. `stop` is asked often; a query for which it has a reason
    /// ends.
    ///
    /// # Errors
    /// [`Error::Refused`] with what is wrong with the query, the error of `sink`, [`Error::Interrupted`].
    pub(crate) fn select(&self, sql: &str, stop: &Stop<'_>, sink: &mut dyn RowSink) -> Result<u64> {
        let sql = without_comments(sql);
        if !begins_query(sql) {
            let text = "only queries are run, which begin with SELECT, WITH or VALUES: a snapshot is never changed";
            return Err(Error::Refused(text.into()));
        }
        check_query(sql).map_err(|why| Error::refused(format!("the query {why}")))?;
        let (mut refused, mut count) = (None, 0);
        let run = self.limited(stop, |conn| {
            let mut statements = Batch::new(conn, sql);
            let Some(mut statement) = only(&mut statements)? else {
                refused = Some(Error::Refused("it must be one query".into()));
                return Ok(());
            };
            if !statement.readonly() {
                refused = Some(Error::Refused("the query must read, and nothing else".into()));
                return Ok(());
            }
            let names: Vec<String> = statement.column_names().map(String::from).collect();
            refused = sink.columns(&names).err();
            if refused.is_some() {
                return Ok(());
            }
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let mut cells = Vec::with_capacity(names.len());
                for at in 0..names.len() {
                    cells.push(Cell::from(row.get_ref(at)?));
                }
                if let Err(error) = sink.row(&cells) {
                    refused = Some(error);
                    break;
                }
                count += 1;
            }
            Ok(())
        });
        refused.map_or(run.map(|()| count), Err)
    }
}

/// Strips blanks and comments before a query: a file of SQL often begins with them.
pub(crate) fn without_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start_matches(['\u{feff}']).trim_start();
    loop {
        let after = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(comment), _) => comment.split_once('\n').map_or("", |(_, after)| after),
            (None, Some(comment)) => comment.split_once("*/").map_or("", |(_, after)| after),
            (None, None) => return rest,
        };
        rest = after.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{RowSink, without_comments};
    use crate::error::Result;
    use crate::progress::Silent;
    use crate::source::database::cell::{Cell, Encoding};
    use crate::source::database::inspect::Inspector;

    #[derive(Default)]
    struct Text(String);

    impl RowSink for Text {
        fn columns(&mut self, names: &[String]) -> Result<()> {
            self.0 = names.join(",");
            Ok(())
        }

        fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
            self.0.push('\n');
            for cell in cells {
                cell.write_sql(Encoding::Utf8, &mut self.0);
                self.0.push(' ');
            }
            Ok(())
        }
    }

    #[test]
    fn queries_of_every_kind_run_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(
                "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1, NULL), (2, '');
                 CREATE VIEW v AS SELECT b FROM t;
                 CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('some words');
                 CREATE VIRTUAL TABLE f4 USING fts4(x); INSERT INTO f4 VALUES('some words');
                 CREATE VIRTUAL TABLE r USING rtree(id, a, b); INSERT INTO r VALUES(1, 2, 3);",
            )
            .unwrap();
        let inspector = Inspector::open(&path, &Silent).unwrap();
        let run = |sql: &str| {
            let mut text = Text::default();
            inspector.select(sql, &|| None, &mut text).map(|count| (count, text.0)).map_err(|error| error.to_string())
        };
        for (sql, expected) in [
            ("SELECT a, b FROM t", "a,b\n1 NULL \n2 '' "),
            ("-- why\n/* and */ select count(*) AS n FROM v;", "n\n2 "),
            ("SELECT x FROM f WHERE f MATCH 'words'", "x\n'some words' "),
            ("SELECT x FROM f4 WHERE f4 MATCH 'words'", "x\n'some words' "),
            ("SELECT id FROM r WHERE a > 1", "id\n1 "),
            ("SELECT name FROM pragma_table_info('t')", "name\n'a' \n'b' "),
            (
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2) SELECT i FROM n",
                "i\n1 \n2 ",
            ),
            ("SELECT value FROM json_each('[7]')", "value\n7 "),
        ] {
            assert_eq!(run(sql).map(|(_, text)| text).as_deref(), Ok(expected), "{sql}");
        }
        for sql in [
            "DELETE FROM t",
            "PRAGMA user_version = 1",
            "ATTACH '/etc/passwd' AS p",
            "VACUUM INTO '/tmp/x'",
            "EXPLAIN SELECT 1",
            "SELECT 1; SELECT 2",
            "SELECT load_extension('x')",
            "SELECT * FROM pragma_journal_mode('wal')",
            "SELECT * FROM pragma_database_list",
            "WITH a AS (SELECT 1) DELETE FROM t",
            "",
            "-- nothing",
        ] {
            assert!(run(sql).is_err(), "{sql}: {:?}", run(sql));
        }
        assert_eq!(run("SELECT a FROM t").unwrap().0, 2, "the connection serves after refusals");
    }

    #[test]
    fn comments_before_a_query_are_no_part_of_it() {
        for (sql, query) in
            [("SELECT 1", "SELECT 1"), (" --x\n /* y\n */ SELECT 1", "SELECT 1"), ("--", ""), ("/*", "")]
        {
            assert_eq!(without_comments(sql), query);
        }
    }
}
