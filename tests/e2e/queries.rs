//! Commands that look into databases: sql, rows, diff --rows, dump --table.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::common::{Lab, Run};

/// Two snapshots: in the second, rows were removed, changed and added.
fn lab() -> Lab {
    let lab = Lab::small();
    lab.database()
        .execute_batch(
            "CREATE TABLE notes(id INTEGER PRIMARY KEY, body, data BLOB);
             INSERT INTO notes VALUES(1, 'one', x'00ff'), (2, '', NULL), (3, char(27) || '[2Jthree', 1.5), (4, 'NULL', -7);",
        )
        .unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.database()
        .execute_batch(
            "DELETE FROM notes WHERE id = 1; UPDATE notes SET body = 'zwei' WHERE id = 2; INSERT INTO notes VALUES(9, 'nine', NULL);
             DELETE FROM content_items WHERE id >= 5; CREATE TABLE later(x);",
        )
        .unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    lab
}

fn sql(lab: &Lab, arguments: &[&str]) -> Run {
    lab.run(["sql"].iter().chain(arguments))
}

fn temp_files(lab: &Lab) -> usize {
    fs::read_dir(lab.path("tmp")).unwrap().count()
}

/// The statements make one of the two newest states of the other, and the way back.
fn assert_script_leads_there_and_back(lab: &Lab) {
    for (from, to) in [("latest~1", "latest"), ("latest", "latest~1")] {
        let script = lab.lrl(&format!("diff {from} {to} --rows --sql")).expect(0).stdout;
        let copies = [from, to].map(|name| {
            let path = lab.path(format!("copy-{}", name.len()));
            fs::write(&path, lab.lrl(&format!("dump {name} lrl.db")).expect(0).stdout_bytes).unwrap();
            path
        });
        Connection::open(&copies[0]).unwrap().execute_batch(&script).unwrap_or_else(|e| panic!("{e}\n{script}"));
        assert_eq!(dump(&copies[0]), dump(&copies[1]), "{script}");
    }
}

#[test]
fn a_query_runs_in_a_snapshot_and_null_is_told_from_nothing() {
    let lab = lab();
    let query = "SELECT id, body, data FROM notes ORDER BY id";
    let run = sql(&lab, &["latest~1", query]).expect(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", run.stdout);
    assert!(lines[1].contains("one") && lines[1].ends_with("x'00ff'"), "{}", run.stdout);
    assert!(lines[2].ends_with("NULL") && !lines[2].contains("''"), "{}", run.stdout);
    assert!(!run.stdout.contains('\u{1b}') && lines[3].contains("\\u{1b}[2Jthree"), "{}", run.stdout);
    assert!(lines[4].contains("'NULL'"), "{}", run.stdout);
    assert!(run.stderr.contains("4 rows"), "{}", run.stderr);
    let csv = sql(&lab, &["latest~1", query, "--csv"]).expect(0).stdout;
    assert!(csv.starts_with("id,body,data\n1,one,x'00ff'\n2,\"\",\n3,"), "{csv}");
    let document = sql(&lab, &["latest~1", query, "--json"]).expect(0).json();
    assert_eq!(document["columns"], json!(["id", "body", "data"]));
    assert_eq!(document["rows"][0], json!([1, "one", { "blob": "00ff" }]));
    assert_eq!(document["rows"][1], json!([2, "", null]));
    assert_eq!((&document["count"], &document["success"]), (&json!(4), &json!(true)));
    // The other snapshot is another state.
    let count = sql(&lab, &["latest", "SELECT count(*) AS n FROM notes", "--json"]).expect(0).json();
    assert_eq!(count["rows"], json!([[4]]));
    let empty = sql(&lab, &["latest", "SELECT 1 AS n WHERE 0"]).expect(0);
    assert_eq!(empty.stdout, "n\n");
}

#[test]
fn a_query_is_read_from_standard_input() {
    let lab = lab();
    let mut child = lab.command(["sql", "latest", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"-- why\nSELECT 'from stdin' AS x;\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "x\nfrom stdin\n");
}

#[test]
fn only_queries_run_and_nothing_else_is_reached() {
    let lab = lab();
    let before = fs::read(lab.path("data/lrl.db")).unwrap();
    let secret = lab.path("other.db");
    Connection::open(&secret).unwrap().execute_batch("CREATE TABLE s(x)").unwrap();
    for query in [
        "DELETE FROM notes",
        "DROP TABLE notes",
        "PRAGMA journal_mode=DELETE",
        &format!("ATTACH '{}' AS o", secret.display()),
        "SELECT load_extension('x')",
        "SELECT 1; DELETE FROM notes",
        "SELECT",
        "SELECT * FROM nothing_like_it",
        "",
    ] {
        let run = sql(&lab, &["latest", query]).expect(1);
        assert!(run.stderr.starts_with("lrl: error: "), "{query}: {}", run.stderr);
        let document = sql(&lab, &["latest", query, "--json"]).expect(1).json();
        assert_eq!(document["success"], false, "{query}");
    }
    assert!(sql(&lab, &["latest", "DELETE FROM notes"]).stderr.contains("begin with SELECT"));
    assert_eq!(fs::read(lab.path("data/lrl.db")).unwrap(), before);
    sql(&lab, &["nothing", "SELECT 1"]).expect(1);
    sql(&lab, &["latest", "SELECT 1", "--database", "other.db"]).expect(1);
}

#[test]
fn the_image_is_private_and_gone_whatever_ends_the_query() {
    let mut lab = lab();
    fs::create_dir(lab.path("tmp")).unwrap();
    let temp = lab.path("tmp").display().to_string();
    lab.set("TMPDIR", &temp);
    sql(&lab, &["latest", "SELECT count(*) FROM notes"]).expect(0);
    assert_eq!(temp_files(&lab), 0);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let run = sql(&lab, &["latest", endless, "--time-limit", "1s"]).expect(1);
    assert!(run.stderr.contains("ran for more than 1 s"), "{}", run.stderr);
    assert_eq!(temp_files(&lab), 0);
    // A hostile query that keeps much in memory is refused, and one that is interrupted leaves nothing.
    let large = "SELECT group_concat(hex(zeroblob(4000000))) FROM notes, content_items";
    sql(&lab, &["latest", large]).expect(1);
    let mut child = lab.command(["sql", "latest", endless]).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    // Once the image is open it has no name.
    while began.elapsed() < Duration::from_millis(700) {
        for entry in fs::read_dir(lab.path("tmp")).unwrap().flatten() {
            if let Ok(meta) = entry.metadata() {
                assert_eq!(meta.permissions().mode() & 0o077, 0, "{:?}", entry.path());
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child.id() as i32).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(temp_files(&lab), 0);
    let mut child = lab.command(["sql", "latest", endless]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(temp_files(&lab), 0, "nothing is left even of a killed run");
}

#[test]
fn rows_are_counted_snapshot_by_snapshot() {
    let lab = lab();
    let run = lab.lrl("rows").expect(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", run.stdout);
    assert!(lines[0].contains("content_items") && lines[0].contains("later"), "{}", run.stdout);
    assert!(lines[2].contains("5 (-15)") && lines[2].contains("0 (new)"), "{}", run.stdout);
    let run = lab.lrl("rows NOTES --json").expect(0).json();
    let listed = run["snapshots"].as_array().unwrap();
    assert_eq!(listed[0]["rows"], json!({ "notes": 4 }));
    assert_eq!((&listed[0]["from"], &listed[1]["from"]), (&json!("image"), &json!("image")));
    // The record of a drill is used, and a snapshot with the same database is not read again.
    lab.lrl("drill --snapshot latest");
    lab.upload("later.txt", b"x");
    lab.database().execute("DELETE FROM assets WHERE id = 'later.txt'", []).unwrap();
    lab.lrl("backup --assets-only --snapshot-only").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("backup --snapshot-only --rescan").expect(0);
    let run = lab.lrl("rows --json").expect(0).json();
    let from: Vec<&Value> = run["snapshots"].as_array().unwrap().iter().map(|one| &one["from"]).collect();
    assert_eq!(from, ["image", "drill", "image", "same"].map(Value::from).iter().collect::<Vec<_>>());
    assert_eq!(lab.lrl("rows --last 1 --json").expect(0).json()["snapshots"].as_array().unwrap().len(), 1);
    let run = lab.lrl("rows nothing").expect(1);
    assert!(run.stderr.contains("content_items"), "{}", run.stderr);
    lab.lrl("rows --source other").expect(1);
}

#[test]
fn a_diff_of_rows_counts_names_and_leads_back() {
    let lab = lab();
    let run = lab.lrl("diff latest~1 latest --rows").expect(0);
    assert!(run.stdout.contains("+ table later"), "{}", run.stdout);
    assert!(run.stdout.contains("notes: +1 -1 ~1  (by id)"), "{}", run.stdout);
    assert!(run.stdout.contains("content_items: +0 -15 ~0"), "{}", run.stdout);
    assert!(!run.stdout.contains("users"), "{}", run.stdout);
    let run = lab.lrl("diff latest~1 latest --rows notes").expect(0);
    assert!(run.stdout.contains("   - id=1 body='one' data=x'00ff'"), "{}", run.stdout);
    assert!(run.stdout.contains("   ~ id=2: body: '' -> 'zwei'"), "{}", run.stdout);
    assert!(run.stdout.contains("   + id=9 body='nine' data=NULL"), "{}", run.stdout);
    let document = lab.lrl("diff latest~1 latest --json --rows notes").expect(0).json();
    let table = &document["tables"][0];
    assert_eq!((&table["added"], &table["removed"], &table["changed"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(table["rows"][0]["from"]["data"], json!({ "blob": "00ff" }));
    let same = lab.lrl("diff latest latest --rows").expect(0);
    assert!(same.stdout.contains("nothing was read"), "{}", same.stdout);
    lab.lrl("diff latest~1 latest --rows nothing").expect(1);
    lab.lrl("diff latest~1 latest --sql").expect(2);
    lab.lrl("diff latest live").expect(2);

    assert_script_leads_there_and_back(&lab);
}

#[test]
fn the_live_database_is_compared_and_not_touched() {
    let lab = lab();
    let live = lab.database();
    live.execute_batch("PRAGMA journal_mode=WAL; UPDATE notes SET body = 'live' WHERE id = 9; DELETE FROM users;")
        .unwrap();
    let before = fs::read(lab.path("data/lrl.db")).unwrap();
    let run = lab.lrl("diff latest live --rows").expect(0);
    assert!(run.stdout.contains("notes: +0 -0 ~1") && run.stdout.contains("users: +0 -1 ~0"), "{}", run.stdout);
    let run = lab.lrl("diff latest live --data-dir ./data --rows notes").expect(0);
    assert!(run.stdout.contains("body: 'nine' -> 'live'"), "{}", run.stdout);
    assert_eq!(fs::read(lab.path("data/lrl.db")).unwrap(), before);
    drop(live);
    lab.lrl("diff latest live --data-dir ./elsewhere --rows").expect(1);
}

#[test]
fn a_table_is_dumped_as_sql_csv_and_a_database() {
    let lab = lab();
    let script = lab.lrl("dump latest~1 --table Notes").expect(0);
    assert!(!script.stdout.contains('\u{1b}'), "{}", script.stdout);
    let copy = lab.path("copy.db");
    Connection::open(&copy).unwrap().execute_batch(&script.stdout).unwrap();
    let rows = |path: &Path, table: &str| {
        let conn = Connection::open(path).unwrap();
        let sql = format!(
            "SELECT group_concat(id || quote(body) || quote(data), ';') FROM (SELECT * FROM {table} ORDER BY id)"
        );
        conn.query_row(&sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    let all = rows(&copy, "notes");
    assert!(all.starts_with("1'one'X'00FF';2''NULL;"), "{all}");
    let some =
        lab.run(["dump", "latest~1", "--table", "notes", "--where", "id > 2 -- not the rest", "--csv"]).expect(0);
    assert_eq!(some.stdout.lines().count(), 3, "{}", some.stdout);
    let into = lab.lrl("dump latest~1 --table notes --into small.sqlite").expect(0);
    assert_eq!(into.stdout, "4 rows of notes -> small.sqlite\n");
    assert_eq!(rows(&lab.path("small.sqlite"), "notes"), all);
    assert_eq!(fs::metadata(lab.path("small.sqlite")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = lab.lrl("dump latest~1 --table notes --into small.sqlite").expect(1);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
    for (arguments, code) in [
        (vec!["dump", "latest", "--table", "nothing"], 1),
        (vec!["dump", "latest", "--table", "notes", "--where", "1); DELETE FROM notes; --"], 1),
        (vec!["dump", "latest", "--table", "notes", "--where", "nothing = 1"], 1),
        (vec!["dump", "latest", "--table", "notes", "--json"], 2),
        (vec!["dump", "latest"], 2),
        (vec!["dump", "latest", "lrl.db", "--csv"], 2),
        (vec!["dump", "latest", "lrl.db", "--table", "notes"], 2),
    ] {
        lab.run(&arguments).expect(code);
    }
    let left: Vec<_> = fs::read_dir(lab.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".lrl-dump")), "{left:?}");
}

/// What an application that is not here has registered, full text indexes, and a definition that holds more than it should.
#[test]
fn what_cannot_be_done_safely_is_refused_with_the_way_that_works() {
    let lab = Lab::small();
    let conn = lab.database();
    conn.create_collation("theirs", |a, b| a.cmp(b)).unwrap();
    conn.create_scalar_function("theirs", 1, Default::default(), |_| Ok(1)).unwrap();
    conn.execute_batch(
        "CREATE TABLE odd(k TEXT COLLATE theirs PRIMARY KEY, v CHECK(theirs(v))); INSERT INTO odd VALUES('a', 1), ('b', 2);
         CREATE TABLE sorted(k TEXT COLLATE theirs PRIMARY KEY) WITHOUT ROWID; INSERT INTO sorted VALUES('a'), ('b');
         CREATE VIRTUAL TABLE fts USING fts5(title, content=content_items, content_rowid=id);
         INSERT INTO fts(fts) VALUES('rebuild');",
    )
    .unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    conn.execute_batch("DELETE FROM odd WHERE k = 'a'; UPDATE content_items SET title = 'Other' WHERE id = 1").unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    // Rows can be read without the collation; statements that write them need it.
    // Where the table itself is in the collation's order they are counted.
    let run = lab.lrl("diff latest~1 latest --rows").expect(3);
    assert!(run.stdout.contains("odd: +0 -1 ~0  (by k)"), "{}", run.stdout);
    assert!(
        run.stdout.contains("sorted: not compared: it needs what only the application registers"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("content_items: +0 -0 ~1") && run.stdout.contains("fts: left out"), "{}", run.stdout);
    let rows = lab.lrl("rows --json").expect(0).json();
    assert_eq!((&rows["snapshots"][0]["rows"]["odd"], &rows["snapshots"][0]["rows"]["sorted"]), (&json!(2), &json!(2)));
    let script = lab.lrl("diff latest~1 latest --rows --sql").expect(3);
    assert!(
        script.stdout.contains("VALUES('rebuild')") && script.stderr.contains("odd is not among"),
        "{}",
        script.stderr
    );
    let into = lab.lrl("dump latest --table odd --into odd.sqlite").expect(0);
    assert!(into.stderr.contains("no constraints"), "{}", into.stderr);
    let count: i64 = Connection::open(lab.path("odd.sqlite"))
        .unwrap()
        .query_row("SELECT count(*) FROM odd", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 1);
    let found = sql(&lab, &["latest", "SELECT title FROM fts WHERE fts MATCH 'title' LIMIT 1", "--csv"]).expect(0);
    assert_eq!(found.stdout.lines().count(), 2, "{}", found.stdout);
}

#[test]
fn one_of_several_databases_is_named() {
    let lab = Lab::empty();
    fs::create_dir_all(lab.path("site/db")).unwrap();
    for (name, rows) in [("a.db", 1), ("b.db", 2)] {
        let conn = Connection::open(lab.path("site/db").join(name)).unwrap();
        conn.execute_batch("CREATE TABLE t(x)").unwrap();
        (0..rows).for_each(|n| assert_eq!(conn.execute("INSERT INTO t VALUES(?1)", [n]).unwrap(), 1));
    }
    lab.lrl("backup --root site --snapshot-only").expect(0);
    Connection::open(lab.path("site/db/b.db")).unwrap().execute_batch("DELETE FROM t WHERE x = 0").unwrap();
    lab.lrl("backup --root site --snapshot-only").expect(0);
    let run = lab.run(["sql", "latest", "SELECT 1", "--source", "site"]).expect(2);
    assert!(run.stderr.contains("db/a.db, db/b.db"), "{}", run.stderr);
    let run =
        lab.run(["sql", "latest~1", "SELECT count(*) AS n FROM t", "--source", "site", "--database", "./db/b.db"]);
    assert_eq!(run.expect(0).stdout, "n\n2\n");
    let run = lab.lrl("diff latest~1 latest --source site --rows --database db/b.db").expect(0);
    assert!(run.stdout.contains("t: +0 -1 ~0  (no key: whole rows)"), "{}", run.stdout);
    let run = lab.lrl("diff latest~1 live --source site --root site --rows --database db/b.db").expect(0);
    assert!(run.stdout.contains("t: +0 -1 ~0"), "{}", run.stdout);
    let run = lab.lrl("rows t --source site --database db/b.db").expect(0);
    assert!(run.stdout.contains("1 (-1)"), "{}", run.stdout);
}

/// The schema of a shop for music, as the well-known sample has it, and a busy year of changes.
#[test]
fn a_shops_database_is_led_from_state_to_state() {
    let lab = Lab::empty();
    fs::create_dir(lab.path("data")).unwrap();
    lab.database().execute_batch(SHOP).unwrap();
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    lab.database()
        .execute_batch(
            "UPDATE Track SET UnitPrice = 1.29 WHERE TrackId % 7 = 0; DELETE FROM InvoiceLine WHERE InvoiceLineId % 5 = 0;
             UPDATE Customer SET Email = 'c' || (CustomerId % 40 + 1) || '@x' WHERE 0;
             DELETE FROM PlaylistTrack WHERE TrackId < 9; INSERT INTO PlaylistTrack SELECT 3, TrackId FROM Track WHERE TrackId < 20;
             INSERT INTO Artist(Name) VALUES('Bj\u{f6}rk'), ('AC/DC'), (NULL); ALTER TABLE Album ADD COLUMN Year INTEGER DEFAULT 1999;
             PRAGMA foreign_keys=OFF; DROP TABLE Genre; DELETE FROM Invoice WHERE InvoiceId = 7; DROP TABLE Customer; PRAGMA user_version = 3;",
        )
        .unwrap();
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    let run = lab.lrl("diff latest~1 latest --rows").expect(3);
    for line in [
        "- table Genre",
        "~ table Album",
        "~ user_version 0 -> 3",
        "Album: not compared: its columns are not the same",
        "Artist: +3 -0 ~0  (by ArtistId)",
        "Track: +0 -0 ~",
        "PlaylistTrack: +19 -8 ~0  (by PlaylistId, TrackId)",
    ] {
        assert!(run.stdout.contains(line), "{line}\n{}", run.stdout);
    }
    assert_script_leads_there_and_back(&lab);
}

/// Everything in a database, as lines in an order that does not depend on rowids that nobody declared.
fn dump(path: &Path) -> Vec<String> {
    let conn = Connection::open(path).unwrap();
    let strings = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut all = strings(
        "SELECT type || ' ' || name || ' ' || sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name",
    );
    for table in strings("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name") {
        let columns = strings(&format!(
            "SELECT 'typeof(\"' || name || '\") || quote(\"' || name || '\")' FROM pragma_table_info('{table}')"
        ));
        let mut rows = strings(&format!("SELECT {} FROM \"{table}\"", columns.join(" || ' ' || ")));
        rows.sort();
        all.push(table);
        all.extend(rows);
    }
    all.extend(strings("SELECT 'version ' || user_version FROM pragma_user_version"));
    all.extend(strings("PRAGMA integrity_check"));
    all
}

const SHOP: &str = "
CREATE TABLE Artist(ArtistId INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, Name NVARCHAR(120));
CREATE TABLE Album(AlbumId INTEGER PRIMARY KEY NOT NULL, Title NVARCHAR(160) NOT NULL, ArtistId INTEGER NOT NULL REFERENCES Artist(ArtistId));
CREATE TABLE Genre(GenreId INTEGER PRIMARY KEY NOT NULL, Name NVARCHAR(120));
CREATE TABLE Track(TrackId INTEGER PRIMARY KEY NOT NULL, Name NVARCHAR(200) NOT NULL, AlbumId INTEGER REFERENCES Album(AlbumId),
                   Milliseconds INTEGER NOT NULL, Bytes INTEGER, UnitPrice NUMERIC(10,2) NOT NULL);
CREATE TABLE Customer(CustomerId INTEGER PRIMARY KEY NOT NULL, Email NVARCHAR(60) NOT NULL UNIQUE, Photo BLOB);
CREATE TABLE Invoice(InvoiceId INTEGER PRIMARY KEY NOT NULL, CustomerId INTEGER NOT NULL REFERENCES Customer(CustomerId), Total NUMERIC(10,2));
CREATE TABLE InvoiceLine(InvoiceLineId INTEGER PRIMARY KEY NOT NULL, InvoiceId INTEGER NOT NULL, TrackId INTEGER NOT NULL, Quantity INTEGER NOT NULL);
CREATE TABLE PlaylistTrack(PlaylistId INTEGER NOT NULL, TrackId INTEGER NOT NULL, CONSTRAINT PK PRIMARY KEY(PlaylistId, TrackId)) WITHOUT ROWID;
CREATE TABLE Log(At, What);
CREATE INDEX AlbumOfArtist ON Album(ArtistId); CREATE INDEX TrackOfAlbum ON Track(AlbumId);
CREATE VIEW Sold AS SELECT TrackId, sum(Quantity) AS n FROM InvoiceLine GROUP BY TrackId;
CREATE TRIGGER Logged AFTER UPDATE ON Track BEGIN INSERT INTO Log VALUES(new.TrackId, 'price ' || new.UnitPrice); END;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO Artist(Name) SELECT 'Artist ''' || i FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90) INSERT INTO Album SELECT i, 'Album ' || i, i % 40 + 1 FROM n;
INSERT INTO Genre VALUES(1, 'Rock'), (2, 'Jazz');
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) INSERT INTO Track SELECT i, 'Track ' || i, i % 90 + 1, i * 1000, i * 7, 0.99 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO Customer SELECT i, 'c' || i || '@x', zeroblob(i) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO Invoice SELECT i, i % 40 + 1, i * 0.99 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) INSERT INTO InvoiceLine SELECT i, i % 200 + 1, i, 1 FROM n;
INSERT INTO PlaylistTrack SELECT 1, TrackId FROM Track;
";
