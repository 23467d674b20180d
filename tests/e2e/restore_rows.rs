//! `lrl restore --table`: rows back into the database of a running application, with their files, and taken back by --undo.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;

use crate::common::{Lab, Run};

/// Everything that a query gives, as text.
fn all(lab: &Lab, sql: &str) -> String {
    let conn = lab.database();
    let mut statement = conn.prepare(sql).unwrap();
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let cells = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at).map(|value| format!("{value:?}")));
        cells.collect::<Result<Vec<_>, _>>().map(|cells| cells.join(" "))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

fn count(lab: &Lab, table: &str) -> i64 {
    lab.database().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn restore(lab: &Lab, more: &str) -> Run {
    lab.lrl(&format!("restore latest --table {more}"))
}

/// Restores a table at a terminal, where somebody answers.
fn answered(lab: &Lab, answer: &str, code: i32) -> Run {
    let command = lab.command([""; 0]);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{program} restore latest --table assets"), "/dev/null"]);
    script.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::piped()).stdout(Stdio::piped());
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = script.spawn().unwrap();
    running.stdin.take().unwrap().write_all(format!("{answer}\n").as_bytes()).unwrap();
    let run = Run::from(running.wait_with_output().unwrap());
    assert!(run.stdout.contains("Go on? [y/N]"), "{}", run.stdout);
    run.expect(code)
}

/// Writes rows as an application does, in another process than lrl's, while `work` runs; returns how many.
fn while_the_application_writes(lab: &Lab, work: impl FnOnce()) -> u64 {
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    lab.database()
        .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS busy(n INTEGER PRIMARY KEY)")
        .unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let conn = lab.database();
            conn.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
            while !stop.load(Ordering::Relaxed) {
                conn.execute("INSERT INTO busy DEFAULT VALUES", []).unwrap();
                written.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        done.unwrap();
    });
    written.into_inner()
}

#[test]
fn rows_come_back_with_their_files_and_undo_takes_them_away_again() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    let whole = all(&lab, "SELECT * FROM assets ORDER BY id");
    lab.database().execute_batch("DELETE FROM assets WHERE id LIKE 'ab12/%'").unwrap();
    fs::remove_dir_all(lab.path("data/assets/ab12")).unwrap();
    let less = all(&lab, "SELECT * FROM assets ORDER BY id");
    let written = while_the_application_writes(&lab, || {
        // The plan changes nothing, and neither does a restore to which somebody at a terminal says no.
        for at_terminal in [false, true] {
            let run = if at_terminal { answered(&lab, "n", 1) } else { restore(&lab, "assets --dry-run").expect(0) };
            assert!(run.stdout.contains("       2  come") && run.stdout.contains("       1  stay"), "{}", run.stdout);
            assert!(run.stdout.contains("assets/ab12/v1.txt"), "{}", run.stdout);
            assert_eq!(all(&lab, "SELECT * FROM assets ORDER BY id"), less);
            assert!(!lab.path("data/assets/ab12").exists());
        }
        let run = answered(&lab, "y", 0);
        assert!(run.stdout.contains("Snapshot of now") && run.stdout.contains("2 rows came"), "{}", run.stdout);
        assert_eq!(all(&lab, "SELECT * FROM assets ORDER BY id"), whole);
        assert_eq!(fs::read(lab.path("data/assets/ab12/v1.txt")).unwrap(), b"a few words\n");
        for (line, rows, there) in [("undo", &less, false), ("redo", &whole, true), ("undo", &less, false)] {
            let run = lab.lrl("restore --undo --dry-run").expect(0);
            assert!(run.stdout.contains("Nothing was changed"), "{}", run.stdout);
            let run = lab.lrl("restore --undo").expect(0);
            assert!(run.stdout.contains("2 rows of assets"), "{line} {}", run.stdout);
            assert_eq!(all(&lab, "SELECT * FROM assets ORDER BY id"), **rows, "{line}");
            assert_eq!(lab.path("data/assets/ab12/v1.txt").exists(), there, "{line}");
        }
    });
    assert_eq!(count(&lab, "busy"), written as i64, "nothing that the application wrote is lost");
    assert_eq!(all(&lab, "PRAGMA integrity_check"), "Text(\"ok\")");
    let tagged = lab.lrl("snapshots --tag before-restore --json").expect(0).json();
    assert_eq!(tagged["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn a_table_that_was_dropped_is_made_again_while_the_application_runs() {
    let lab = Lab::small();
    lab.database()
        .execute_batch(
            "CREATE TABLE posts(id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, length AS (length(title)), UNIQUE(title));
             CREATE INDEX by_title ON posts(title COLLATE NOCASE); CREATE TABLE log(what);
             CREATE TRIGGER logged AFTER UPDATE ON posts BEGIN INSERT INTO log VALUES(new.id); END;
             INSERT INTO posts(title) VALUES('one'), ('two''s'), ('three');",
        )
        .unwrap();
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    let schema = "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = 'posts' ORDER BY name";
    let before = (all(&lab, schema), all(&lab, "SELECT * FROM posts"));
    lab.database().execute_batch("DROP TABLE posts").unwrap();
    while_the_application_writes(&lab, || {
        let run = restore(&lab, "posts").expect(0);
        assert!(run.stdout.contains("it is made, with its indexes and triggers"), "{}", run.stdout);
        assert_eq!((all(&lab, schema), all(&lab, "SELECT * FROM posts")), before);
        lab.lrl("restore --undo").expect(0);
        assert_eq!(all(&lab, schema), "");
        lab.lrl("restore --undo").expect(0);
        assert_eq!((all(&lab, schema), all(&lab, "SELECT * FROM posts")), before);
        // What came since stays.
        lab.database().execute("INSERT INTO posts(title) VALUES('new')", []).unwrap();
        let run = lab.lrl("restore --undo").expect(1);
        assert!(run.stderr.contains("1 rows have come since"), "{}", run.stderr);
        assert_eq!(count(&lab, "posts"), 4);
    });
}

#[test]
fn rows_that_are_there_with_other_values_are_asked_about() {
    let lab = Lab::small();
    lab.database().execute_batch("CREATE TABLE notes(id INTEGER PRIMARY KEY, body, data); INSERT INTO notes VALUES(1,'a',x'00'),(2,'b',1.5),(3,'c',NULL)").unwrap();
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    let now = "UPDATE notes SET body = 'B' WHERE id = 2; DELETE FROM notes WHERE id = 3; INSERT INTO notes VALUES(9, 'new', 0)";
    lab.database().execute_batch(now).unwrap();
    let notes = || all(&lab, "SELECT id, body FROM notes ORDER BY id");
    let changed = notes();
    let run = restore(&lab, "notes").expect(1);
    assert!(run.stderr.contains("--missing-only") && run.stderr.contains("--replace"), "{}", run.stderr);
    assert_eq!(notes(), changed);
    restore(&lab, "notes --missing-only").expect(0);
    assert_eq!(
        notes(),
        "Integer(1) Text(\"a\")\nInteger(2) Text(\"B\")\nInteger(3) Text(\"c\")\nInteger(9) Text(\"new\")"
    );
    lab.lrl("restore --undo").expect(0);
    assert_eq!(notes(), changed);
    let run = lab.run(["restore", "latest", "--table", "NOTES", "--where", "id < 3", "--replace"]).expect(0);
    assert!(run.stdout.contains("1 changed"), "{}", run.stdout);
    assert_eq!(notes(), "Integer(1) Text(\"a\")\nInteger(2) Text(\"b\")\nInteger(9) Text(\"new\")");
    // A row that has changed since keeps all from being undone.
    lab.database().execute("UPDATE notes SET body = 'later' WHERE id = 2", []).unwrap();
    let run = lab.lrl("restore --undo").expect(1);
    assert!(run.stderr.contains("1 of the rows have changed since"), "{}", run.stderr);
    lab.database().execute("UPDATE notes SET body = 'b' WHERE id = 2", []).unwrap();
    lab.lrl("restore --undo").expect(0);
    assert_eq!(notes(), changed);
    let run = restore(&lab, "notes --where id=1").expect(0);
    assert!(run.stdout.contains("There is nothing to restore"), "{}", run.stdout);
    lab.lrl("restore --clean").expect(0);
    lab.lrl("restore --undo").expect(1);
}

#[test]
fn triggers_full_text_indexes_and_foreign_keys_are_seen_to() {
    let lab = Lab::small();
    lab.database()
        .execute_batch(
            "CREATE TABLE authors(id INTEGER PRIMARY KEY, name); INSERT INTO authors VALUES(1, 'Ada'), (2, 'Bob');
             CREATE TABLE posts(id INTEGER PRIMARY KEY, author REFERENCES authors(id), body);
             CREATE VIRTUAL TABLE fts USING fts5(body, content=posts, content_rowid=id);
             CREATE TABLE log(id);
             CREATE TRIGGER logged AFTER INSERT ON posts BEGIN INSERT INTO log VALUES(new.id); END;
             INSERT INTO posts VALUES(1, 1, 'first words'), (2, 2, 'second words'); INSERT INTO fts(fts) VALUES('rebuild');",
        )
        .unwrap();
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    lab.database()
        .execute_batch("PRAGMA foreign_keys=OFF; DELETE FROM posts; DELETE FROM log; DELETE FROM authors WHERE id = 2; INSERT INTO fts(fts) VALUES('rebuild')")
        .unwrap();
    let run = restore(&lab, "posts").expect(1);
    assert!(run.stderr.contains("rows of authors that are not there: restore those first"), "{}", run.stderr);
    let run = restore(&lab, "posts --where author=1").expect(0);
    assert!(run.stdout.contains("run: what else they change is not undone: logged"), "{}", run.stdout);
    assert_eq!((count(&lab, "posts"), count(&lab, "log")), (1, 1));
    assert_eq!(count(&lab, "fts WHERE fts MATCH 'first'"), 1);
    lab.lrl("restore --undo").expect(0);
    assert_eq!((count(&lab, "posts"), count(&lab, "fts WHERE fts MATCH 'first'")), (0, 0));
    lab.lrl("restore latest --table authors").expect(0);
    lab.lrl("restore latest --table posts --no-triggers").expect(0);
    assert_eq!((count(&lab, "posts"), count(&lab, "log")), (2, 1));
    assert_eq!(count(&lab, "fts WHERE fts MATCH 'words'"), 2);
}

#[test]
fn what_cannot_be_done_safely_is_refused_and_nothing_changes() {
    let lab = Lab::small();
    let conn = lab.database();
    conn.create_collation("theirs", |a, b| a.cmp(b)).unwrap();
    conn.execute_batch(
        "CREATE TABLE odd(k TEXT COLLATE theirs PRIMARY KEY); INSERT INTO odd VALUES('a');
         CREATE TABLE sorted(k TEXT COLLATE theirs PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO sorted VALUES('a', 1);
         CREATE TABLE bare(x, y); INSERT INTO bare VALUES(1, 1), (1, 1), (1.0, 1), (NULL, 'a');
         CREATE TABLE wide(a); INSERT INTO wide VALUES(1);
         CREATE VIRTUAL TABLE fts USING fts5(body); INSERT INTO fts VALUES('words');
         CREATE TABLE strict(a CHECK(a > 0)); INSERT INTO strict VALUES(1);",
    )
    .unwrap();
    drop(conn);
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    let conn = lab.database();
    conn.create_collation("theirs", |a, b| a.cmp(b)).unwrap();
    conn.execute_batch(
        "DELETE FROM odd; DELETE FROM bare WHERE rowid > 1; ALTER TABLE wide ADD COLUMN b; DELETE FROM wide",
    )
    .unwrap();
    drop(conn);
    let before = fs::read(lab.path("data/lrl.db")).unwrap();
    for (more, why) in [
        ("odd", "no such collation sequence"),
        ("sorted", "only the application registers"),
        ("bare --replace", "it has no key"),
        ("wide", "its columns are not what they were"),
        ("fts", "it is a virtual table"),
        ("fts_data", "keeps its own data"),
        ("nothing", "there is no table nothing"),
        ("bare --where nope=1", "no such column"),
    ] {
        let run = restore(&lab, more).expect(1);
        assert!(run.stderr.contains(why), "{more}: {}", run.stderr);
        let document = restore(&lab, &format!("{more} --json")).expect(1).json();
        assert_eq!(document["success"], false);
    }
    assert_eq!(fs::read(lab.path("data/lrl.db")).unwrap(), before);
    for line in [
        "restore latest --where a=1",
        "restore latest --table a --missing-only --replace",
        "restore --table a --db-only",
        "restore --yes",
    ] {
        lab.lrl(line).expect(2);
    }
    // Rows without a key come back as often as they were there.
    let run = restore(&lab, "bare").expect(0);
    assert!(run.stdout.contains("3 rows came") && run.stdout.contains("as whole rows"), "{}", run.stdout);
    assert_eq!(all(&lab, "SELECT * FROM bare ORDER BY x, typeof(x)").lines().count(), 4);
    lab.lrl("restore --undo").expect(0);
    assert_eq!(count(&lab, "bare"), 1);
    // A link could lead lrl to write elsewhere.
    fs::rename(lab.path("data/lrl.db"), lab.path("elsewhere.db")).unwrap();
    std::os::unix::fs::symlink(lab.path("elsewhere.db"), lab.path("data/lrl.db")).unwrap();
    let run = restore(&lab, "bare").expect(1);
    assert!(run.stderr.contains("not through a link"), "{}", run.stderr);
}

#[test]
fn rows_of_a_sites_database_bring_the_files_that_a_check_names() {
    let lab = Lab::empty();
    fs::create_dir_all(lab.path("site/media")).unwrap();
    ["a.jpg", "b.jpg", "c.jpg"]
        .iter()
        .for_each(|name| fs::write(lab.path("site/media").join(name), "a picture").unwrap());
    let db = || Connection::open(lab.path("site/app.db")).unwrap();
    db().execute_batch("CREATE TABLE media(id INTEGER PRIMARY KEY, file TEXT); INSERT INTO media VALUES(1, 'a.jpg')")
        .unwrap();
    let root = lab.path("site").display().to_string();
    lab.write(
        "lrl.toml",
        format!("root = {root:?}\n[[check]]\nrows = \"SELECT 'media/' || file AS path FROM media\"\n"),
    );
    lab.lrl("backup --snapshot-only").expect(0);
    db().execute_batch("DELETE FROM media").unwrap();
    fs::remove_file(lab.path("site/media/a.jpg")).unwrap();
    let run = lab.lrl("restore latest --table media --source site").expect(0);
    assert!(run.stdout.contains("media/a.jpg"), "{}", run.stdout);
    assert_eq!(fs::read(lab.path("site/media/a.jpg")).unwrap(), b"a picture");
    let rows = || db().query_row("SELECT count(*) FROM media", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(rows(), 1);
    lab.lrl("restore --undo").expect(0);
    assert_eq!((rows(), lab.path("site/media/a.jpg").exists()), (0, false));
    // The record of it is no part of the site.
    lab.lrl("backup --snapshot-only --source site").expect(0);
    assert!(!lab.lrl("ls latest --source site").expect(0).stdout.contains("undo-rows"));
}

#[test]
fn undo_is_about_the_last_restore_whatever_it_restored() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.database().execute_batch("DELETE FROM users; DELETE FROM content_items WHERE id > 9").unwrap();
    restore(&lab, "users").expect(0);
    assert_eq!((count(&lab, "users"), count(&lab, "content_items")), (1, 10));
    lab.lrl("restore good --db-only").expect(0);
    assert_eq!((count(&lab, "users"), count(&lab, "content_items")), (1, 20));
    let run = lab.lrl("restore --undo").expect(0);
    assert!(run.stdout.contains("Undone: the restore from"), "{}", run.stdout);
    assert_eq!((count(&lab, "users"), count(&lab, "content_items")), (1, 10));
}

#[test]
fn undo_leaves_foreign_keys_broken_that_were_so_before_and_breaks_no_others() {
    let lab = Lab::small();
    lab.database()
        .execute_batch(
            "CREATE TABLE authors(id INTEGER PRIMARY KEY, name); INSERT INTO authors VALUES(1, 'Ada'), (2, 'Bob');
             CREATE TABLE posts(id INTEGER PRIMARY KEY, author REFERENCES authors(id)); INSERT INTO posts VALUES(1, 1), (2, 2);",
        )
        .unwrap();
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    lab.database().execute_batch("PRAGMA foreign_keys=OFF; DELETE FROM authors").unwrap();
    restore(&lab, "authors").expect(0);
    for authors in [0, 2, 0, 2] {
        lab.lrl("restore --undo").expect(0);
        assert_eq!(count(&lab, "authors"), authors);
    }
    // As many as before, but not the same: what the application wrote since would lose what it refers to.
    lab.database().execute_batch("DELETE FROM posts WHERE id = 1; INSERT INTO posts VALUES(3, 1)").unwrap();
    let run = lab.lrl("restore --undo").expect(1);
    assert!(run.stderr.contains("1 of posts would refer to rows of authors that are not there"), "{}", run.stderr);
    assert_eq!(count(&lab, "authors"), 2);
    lab.database().execute_batch("DELETE FROM posts WHERE id = 3").unwrap();
    lab.lrl("restore --undo").expect(0);
    assert_eq!(count(&lab, "authors"), 0);
}

#[test]
fn undo_after_a_restore_that_had_nothing_to_do_is_not_about_an_earlier_one() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    let first = lab.lrl("snapshots --json").expect(0).json()["snapshots"][0]["id"].as_str().unwrap().to_string();
    let restore = |lab: &Lab, table: &str| lab.lrl(&format!("restore {first} --table {table}"));
    restore(&lab, "users").expect(0);
    let run = lab.lrl("restore --undo").expect(1);
    assert!(run.stderr.contains("nothing to undo"), "there was never anything to undo: {}", run.stderr);
    lab.database().execute_batch("DELETE FROM users").unwrap();
    restore(&lab, "users").expect(0);
    restore(&lab, "content_items").expect(0);
    for (line, told) in [("restore --undo --dry-run", "`lrl restore --undo` is about"), ("restore --undo", "once more")]
    {
        let run = lab.lrl(line).expect(1);
        assert!(run.stderr.contains("rows of content_items") && run.stderr.contains(told), "{}", run.stderr);
        assert_eq!(count(&lab, "users"), 1);
    }
    // Nothing of the earlier one is lost.
    lab.lrl("restore --undo").expect(0);
    assert_eq!(count(&lab, "users"), 0);
    // The same after a restore of files, and a restore that does something is the last one again.
    lab.lrl(&format!("restore {first} --assets-only")).expect(0);
    restore(&lab, "content_items").expect(0);
    lab.lrl("restore --undo").expect(1);
    let run = lab.lrl("restore --undo").expect(0);
    assert!(run.stdout.contains("Undone: the restore from"), "{}", run.stdout);
    restore(&lab, "content_items").expect(0);
    restore(&lab, "users").expect(0);
    lab.lrl("restore --undo").expect(0);
    assert_eq!(count(&lab, "users"), 0);
}

#[test]
fn the_snapshot_before_a_restore_of_rows_is_taken_by_its_id_only() {
    let lab = Lab::small();
    let ids = || -> Vec<String> {
        let listed = lab.lrl("snapshots --json").expect(0).json();
        let short = |snapshot: &serde_json::Value| snapshot["short_id"].as_str().unwrap().to_string();
        listed["snapshots"].as_array().unwrap().iter().map(short).collect()
    };
    let kept = |flags: &str| -> Vec<(String, String)> {
        let plan = lab.lrl(&format!("forget {flags} --dry-run --json")).expect(0).json();
        let all = plan["snapshots"].as_array().unwrap().iter().filter(|one| one["action"] == "keep");
        all.map(|one| (one["short_id"].as_str().unwrap().into(), one["reasons"].to_string())).collect()
    };
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    lab.database().execute_batch("DELETE FROM content_items WHERE id > 3").unwrap();
    restore(&lab, "content_items").expect(0);
    let [backup, before] = &ids()[..] else { panic!("{:?}", ids()) };
    for line in [
        "restore --db-only --dry-run",
        "restore --dry-run",
        "restore good --dry-run",
        "restore latest --dry-run",
        "restore 0s --dry-run",
        "restore latest --table content_items --dry-run",
        "drill --snapshot good",
        "export --out as-a-set",
        "export latest --out as-another-set",
    ] {
        let run = lab.lrl(line).expect(0);
        let named = ["restore", "drill --snapshot", "export"].map(|verb| format!("`lrl {verb} {before}"));
        assert!(run.stdout.contains(backup) && !run.stdout.contains(before), "{line}: {}", run.stdout);
        let is_told = run.stderr.contains("before-restore") && named.iter().any(|named| run.stderr.contains(named));
        assert!(is_told, "{line}: {}", run.stderr);
    }
    lab.lrl("restore --db-only").expect(0);
    assert_eq!(count(&lab, "content_items"), 20);
    let run = lab.lrl(&format!("restore {before} --db-only --dry-run")).expect(0);
    assert!(run.stdout.contains(before) && !run.stderr.contains("passed over"), "{}{}", run.stdout, run.stderr);
    let status = lab.lrl("status --json").expect(0).json();
    for part in ["newest", "last_good_backup", "database"] {
        assert!(status[part]["snapshot"].as_str().unwrap().starts_with(backup), "{part}: {status:#}");
    }
    // It fills no rule's place, and goes when something newer is there and it is old.
    let plan = kept("--keep-last 1");
    assert_eq!(plan.iter().map(|(id, _)| id).collect::<Vec<_>>(), [backup, before]);
    assert!(plan[0].1.contains("last") && plan[1].1.contains("before a restore, but"), "{plan:?}");
    let run = lab.lrl(&format!("forget {backup}")).expect(1);
    assert!(run.stderr.contains("newest database"), "{}", run.stderr);
    lab.lrl("backup --db-only --snapshot-only").expect(0);
    let newer = &ids()[2];
    let plan = kept("--keep-last 1 --force");
    assert_eq!(plan.iter().map(|(id, _)| id).collect::<Vec<_>>(), [before, newer]);
    assert!(plan[0].1.contains("before a restore, and young"), "{plan:?}");
    let plan = kept("--keep-last 1 --force --keep-bad-within 0d");
    assert_eq!(plan.iter().map(|(id, _)| id).collect::<Vec<_>>(), [newer]);
    // Where nothing else is left it counts.
    lab.lrl(&format!("forget {backup} {newer} --force")).expect(0);
    let run = lab.lrl("restore --db-only --dry-run").expect(0);
    assert!(run.stdout.contains(before), "{}", run.stdout);
    assert!(kept("--keep-last 1")[0].1.contains("last"));
}
