//! What is in the snapshots.

/// After `lrl snapshots --help`.
pub const SNAPSHOTS: &str = "\
Lists all sources, unless --source or lrl.toml names one. `proven` shows when the last drill of the
snapshot or of its set passed.

EXAMPLES
  lrl snapshots
  lrl snapshots --last 10
  lrl snapshots --tag before-upgrade --since 2026-11-01
  lrl snapshots --json | jq -r '.snapshots[] | select(.proven | not).id'";

/// After `lrl ls --help`.
pub const LS: &str = "\
EXAMPLES
  lrl ls latest
  lrl ls 20260114_120000 assets/ab12";

/// After `lrl diff --help`.
pub const DIFF: &str = "\
With --rows a table's rows are paired by its primary key, else by a unique key without NULL, else they
are compared as a whole. Values are the same if their type and bytes are. Virtual tables are left out.
--sql needs SQLite 3.37 or newer to be run; of a table without a key it may change the order of rows.

EXAMPLES
  lrl diff latest~1 latest
  lrl diff yesterday latest --rows               how many rows of each table differ
  lrl diff yesterday latest --rows posts         and each of them
  lrl diff good live --rows                      against the live database
  lrl diff latest latest~1 --rows --sql          the statements that lead back";

/// After `lrl find --help`.
pub const FIND: &str = "\
EXAMPLES
  lrl find photo.jpg
  lrl find 'assets/ab12/*.pdf'";

/// After `lrl dump --help`.
pub const DUMP: &str = "\
Only the bytes of the file are written: there is no --json. Of a table SQL is written: its definition,
rows, indexes and triggers. --into leaves indexes and triggers out; where the table's own definition
refuses a row or needs the application, the new table has only its columns and types.

EXAMPLES
  lrl dump latest assets/ab12/photo.jpg > photo.jpg
  lrl dump latest lrl.db > copy.db
  lrl dump yesterday --table posts > posts.sql
  lrl dump 3d --table posts --where 'author = 7' --csv > posts.csv
  lrl dump good --table posts --into posts.sqlite";

/// After `lrl sql --help`.
pub const SQL: &str = "\
The query runs in a private copy of the database, which is gone when lrl ends. It can read, and nothing
else: no ATTACH, no PRAGMA that changes anything, no extension. A value is at most 8 MiB long.

For people NULL is written as NULL and a blob as x'00ff'. In CSV NULL is nothing and an empty text is
\"\". In JSON a row is a list, a blob is {\"blob\": \"00ff\"}, a text that is not UTF-8 {\"text\": \"ff\"}.

EXAMPLES
  lrl sql latest 'SELECT count(*) FROM users'
  lrl sql yesterday 'SELECT id, title FROM posts WHERE author = 7' --csv > posts.csv
  lrl sql good --database data/app.db --json 'SELECT * FROM settings'
  lrl sql 20260114_120000 - < query.sql";

/// After `lrl rows --help`.
pub const ROWS: &str = "\
Counts come from the records of drills where there are any, else from the snapshot's database. Beside a
count is how much more or less it is than in the line above.

EXAMPLES
  lrl rows                                       the tables that changed, in the last 30 snapshots
  lrl rows posts comments --last 200
  lrl rows --database data/app.db --json";
