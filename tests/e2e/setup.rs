//! `lrl setup`: what it recognises, proposes and writes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lrl_cli::config;
use lrl_cli::site::preset;
use lrl_cli::site::rules::Place;
use rusqlite::Connection;
use serde_json::Value;

use crate::common::Lab;
use crate::helpers::as_nobody;
use crate::site_fixtures::{self, BODY, MD5, MD5_BASE64, SHA256};

/// Returns the names of everything in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a check's query and returns the files that its rows name.
fn run_rows(database: &Path, rows: &str) -> BTreeSet<String> {
    let conn = Connection::open(database).unwrap();
    let mut statement = conn.prepare(rows).unwrap();
    let columns: Vec<String> = statement.column_names().map(str::to_string).collect();
    assert_eq!(columns[0], "path", "{rows}");
    let mut found = BTreeSet::new();
    let mut cursor = statement.query([]).unwrap();
    while let Some(row) = cursor.next().unwrap() {
        for (n, column) in columns.iter().enumerate().skip(1) {
            let expected = match column.as_str() {
                "size" => BODY.len().to_string(),
                "sha256" => SHA256.into(),
                "md5" => MD5.into(),
                "md5_base64" => MD5_BASE64.into(),
                other => panic!("{rows}: a column {other}"),
            };
            let value: Option<String> = match row.get_ref(n).unwrap() {
                rusqlite::types::ValueRef::Integer(number) => Some(number.to_string()),
                _ => row.get(n).unwrap(),
            };
            assert!(value.as_ref().is_none_or(|value| *value == expected), "{rows}: {column} is {value:?}");
        }
        found.insert(row.get::<_, String>(0).unwrap());
    }
    found
}

#[test]
fn every_preset_has_a_site() {
    let presets: Vec<&str> = preset::all().iter().map(|preset| preset.name.as_str()).collect();
    assert_eq!(site_fixtures::SITES.iter().map(|site| site.app).collect::<Vec<_>>(), presets);
}

#[test]
fn every_application_is_recognised_and_its_checks_find_the_files() {
    for site in site_fixtures::SITES {
        let app = site.app;
        let lab = Lab::empty();
        let dir = lab.path("site");
        site_fixtures::site(app, &dir);
        let run = if app == "lab" { lab.lrl("setup site --app lab --json") } else { lab.lrl("setup site --json") };
        let document = run.expect(0).json();
        assert_eq!(document["app"]["name"], app, "{document:#}");
        let proposal = document["proposal"].as_str().unwrap();
        let file = config::read(&dir.join("lrl.toml"), proposal).unwrap_or_else(|e| panic!("{app}: {e}\n{proposal}"));
        let tables = file.tables();
        let first = site.databases[0];
        if let Some(databases) = &tables.databases {
            assert!(
                databases.iter().any(|rule| lrl_cli::site::proposal::covers(&rule.place, first.as_bytes())),
                "{app}"
            );
        }
        let found: BTreeSet<&str> = document["databases"]["found"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["path"].as_str().unwrap())
            .collect();
        assert_eq!(found, site.databases.iter().copied().collect(), "{app}");
        let mut rows = BTreeSet::new();
        for check in tables.checks.iter().flatten() {
            rows.extend(run_rows(&dir.join(check.database.as_deref().unwrap_or(first)), &check.rows));
        }
        assert_eq!(rows, site.named().into_iter().collect(), "{app}");
        for check in document["checks"].as_array().unwrap() {
            assert_eq!(check["unfit"], Value::Null, "{app}: {check}");
        }
        let left_out: u64 =
            document["excluded"].as_array().unwrap().iter().map(|one| one["files"].as_u64().unwrap()).sum();
        assert_eq!(left_out, site.left_out.len() as u64, "{app}: {document:#}");
        let files = site.named().len() + site.others.len();
        assert_eq!(document["files"]["count"], files as u64, "{app}");
        assert_eq!(document["oddities"]["found"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn an_expanded_proposal_is_the_site_that_the_preset_describes() {
    for site in site_fixtures::SITES {
        let lab = Lab::empty();
        site_fixtures::site(site.app, &lab.path("site"));
        let by_preset = lab.lrl(&format!("config --root site --app {} --expand", site.app)).expect(0).stdout;
        lab.write("again.toml", &by_preset);
        assert_eq!(lab.lrl("config --config again.toml --expand").expect(0).stdout, by_preset, "{}", site.app);
    }
}

#[test]
fn an_unknown_directory_gets_a_proposal_with_everything_that_was_found() {
    let lab = Lab::empty();
    let dir = lab.path("site");
    fs::create_dir_all(dir.join("deep/cache")).unwrap();
    fs::create_dir(dir.join("outside")).unwrap();
    let conn = Connection::open(dir.join("deep/main.bin")).unwrap();
    conn.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(x); INSERT INTO t VALUES (1)").unwrap();
    Connection::open(dir.join("plain.db")).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    lab.write("site/deep/cache/a", "0123456789");
    lab.write("site/server.key", "key");
    lab.write("site/notes.db", "no database at all, but with the name of one");
    lab.write("elsewhere/a", "a");
    symlink(lab.path("elsewhere"), dir.join("out")).unwrap();
    symlink("deep/cache", dir.join("in")).unwrap();
    symlink("../../nowhere", dir.join("deep/dangling")).unwrap();
    let before = (names(&dir), names(&dir.join("deep")));
    let run = lab.lrl("setup site").expect(0);
    assert_eq!((names(&dir), names(&dir.join("deep"))), before);
    drop(conn);
    let text = &run.stdout;
    for line in [
        "# No application was recognised",
        "root = \".\"",
        "path = \"deep/main.bin\"",
        "path = \"plain.db\"",
        "# deep/main.bin: 4.0 KiB, pages of 4.0 KiB, WAL of ",
        "# plain.db: 8.0 KiB, pages of 4.0 KiB, rollback journal",
        "    # \"/deep/cache/\",  # 10 B in 1 file",
        "secret = [\"*.key\"]",
        "#   server.key",
        "#   deep/dangling is a link to ../../nowhere, out of this directory",
        "#   out is a link to ",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    assert!(!text.contains("notes.db") && !text.contains("in is a link"), "{text}");
    assert!(run.stderr.contains("nothing was written"), "{}", run.stderr);
    let file = config::read(&dir.join("lrl.toml"), text).unwrap();
    assert_eq!(file.tables().databases.as_ref().unwrap().len(), 2);
    let files = &file.tables().files.as_ref().unwrap()[0];
    assert_eq!((&files.place, files.exclude.len()), (&Place::Path(".".into()), 0));
}

#[test]
fn write_makes_the_file_once_and_replaces_nothing() {
    let lab = Lab::empty();
    site_fixtures::site("linkding", &lab.path("site"));
    let printed = lab.lrl("setup site").expect(0).stdout;
    let run = lab.lrl("setup site --write").expect(0);
    assert!(run.stdout.contains("Wrote site/lrl.toml: linkding with 1 database"), "{}", run.stdout);
    assert!(run.stdout.contains("lrl backup --config site/lrl.toml --dry-run"), "{}", run.stdout);
    let written = fs::read_to_string(lab.path("site/lrl.toml")).unwrap();
    assert_eq!(written, printed);
    let run = lab.lrl("setup site --write").expect(2);
    assert!(run.stderr.contains("is there already") && run.stdout.is_empty(), "{}", run.stderr);
    assert_eq!(fs::read_to_string(lab.path("site/lrl.toml")).unwrap(), written);
    // A dangling link is there as well.
    fs::remove_file(lab.path("site/lrl.toml")).unwrap();
    symlink("nowhere", lab.path("site/lrl.toml")).unwrap();
    lab.lrl("setup site --write").expect(2);
    assert!(!lab.path("site/nowhere").exists());
    let expanded = |line: &str| lab.lrl(line).expect(0).stdout;
    fs::remove_file(lab.path("site/lrl.toml")).unwrap();
    lab.lrl("setup site --write").expect(0);
    // The root is the file's directory, wherever the command runs.
    assert!(expanded("config --config site/lrl.toml --expand").starts_with("root = \"site\"\napp = \"linkding\""));
}

#[test]
fn the_manuals_layout_needs_nothing() {
    let lab = Lab::small();
    let run = lab.lrl("setup data --write").expect(0);
    assert!(run.stdout.contains("nothing is needed") && run.stdout.contains("lrl backup"), "{}", run.stdout);
    assert!(!lab.path("data/lrl.toml").exists());
    assert_eq!(lab.lrl("setup data --json").expect(0).json()["layout"], "manual");
}

#[test]
fn apps_are_listed_and_an_unknown_one_is_met_with_the_nearest() {
    let lab = Lab::empty();
    let list = lab.lrl("setup --list-apps").expect(0).stdout;
    for (name, read_from) in
        [("vaultwarden", "46d71107"), ("gitea, forgejo", "go-gitea/gitea"), ("campfire-app", "9310b00")]
    {
        let line = list.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}\n{list}"));
        assert!(line.contains(read_from), "{line}");
    }
    let document = lab.lrl("setup --list-apps --json").expect(0).json();
    assert_eq!(document["apps"].as_array().unwrap().len(), preset::all().len());
    for line in ["setup --app vaultwardn", "backup --root . --app vaultwardn"] {
        let run = lab.lrl(line).expect(2);
        assert!(run.stderr.contains("the nearest one is \"vaultwarden\""), "{}", run.stderr);
    }
    lab.write("lrl.toml", "app = 'djngo'");
    assert!(lab.lrl("config").expect(2).stderr.contains("the nearest one is \"django\""));
    lab.lrl("setup nowhere").expect(10);
}

#[test]
fn a_preset_can_be_chosen_whatever_is_found() {
    let lab = Lab::empty();
    fs::create_dir(lab.path("empty")).unwrap();
    let text = lab.lrl("setup empty --app forgejo").expect(0).stdout;
    assert!(text.contains("app = \"gitea\"") && text.contains("# not found now"), "{text}");
    config::read(&lab.path("empty/lrl.toml"), &text).unwrap();
}

#[test]
fn an_application_one_level_below_is_pointed_to() {
    let lab = Lab::empty();
    site_fixtures::site("vaultwarden", &lab.path("srv/data"));
    let text = lab.lrl("setup srv").expect(0).stdout;
    assert!(text.contains("srv/data looks like Vaultwarden: `lrl setup srv/data`"), "{text}");
}

#[test]
fn a_check_that_does_not_fit_the_database_is_commented_out() {
    let lab = Lab::empty();
    site_fixtures::site("rails", &lab.path("site"));
    let conn = Connection::open(lab.path("site/storage/production.sqlite3")).unwrap();
    conn.execute_batch("DROP TABLE active_storage_blobs").unwrap();
    let text = lab.lrl("setup site").expect(0).stdout;
    assert!(text.contains("# This check does not fit the database: no such table: active_storage_blobs"), "{text}");
    assert!(config::read(Path::new("lrl.toml"), &text).unwrap().tables().checks.is_none(), "{text}");
}

#[test]
fn hostile_names_stay_comments_and_strings() {
    let lab = Lab::empty();
    let dir = lab.path("site");
    for name in ["a\nroot = \"/etc\"", "b\"\nplain = ['*']\n#.db", "c\u{202e}*[x]", "d\\"] {
        fs::create_dir_all(dir.join(name).join("cache")).unwrap();
        fs::write(dir.join(name).join("cache/x"), "x").unwrap();
        Connection::open(dir.join(name).join("x.db")).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        symlink("/etc/passwd", dir.join(name).join("out.pem")).unwrap();
        fs::write(dir.join(name).join("x.pem"), "x").unwrap();
    }
    let text = lab.lrl("setup site").expect(0).stdout;
    let file = config::read(&dir.join("lrl.toml"), &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(file.value("root").map(Path::new), Some(dir.as_path()));
    assert!(!file.sets("plain") && file.tables().databases.as_ref().unwrap().len() == 4, "{text}");
}

#[test]
fn what_cannot_be_read_is_named_and_exits_3() {
    let lab = Lab::empty();
    lab.write("site/closed/a", "a");
    lab.write("site/open/a", "a");
    let Some(nobody) = as_nobody(&lab) else { return };
    std::os::unix::fs::chown(lab.path("site/closed"), Some(0), Some(0)).unwrap();
    fs::set_permissions(lab.path("site/closed"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let run = nobody("setup site").expect(3);
    assert!(run.stdout.contains("#   closed cannot be read: "), "{}", run.stdout);
    assert!(run.stderr.contains("site/closed cannot be read"), "{}", run.stderr);
}

#[test]
fn what_is_lrls_own_is_proposed_neither_as_database_nor_as_files() {
    let lab = Lab::small();
    fs::create_dir_all(lab.path("site/old")).unwrap();
    for name in ["app.db", "app.db.pre-restore", ".lrl-undo-rows"] {
        fs::copy(lab.path("data/lrl.db"), lab.path("site").join(name)).unwrap();
    }
    lab.write("site/old/keep.txt", "this is data");
    lab.lrl("backup --root site --out site/old --source old").expect(0);
    let found = lab.lrl("setup site --json").expect(0).json();
    let databases: Vec<&str> =
        found["databases"]["found"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(databases, ["app.db"], "{found:#}");
    let text = lab.lrl("setup site").expect(0).stdout;
    assert!(text.contains("\"/old/store/\"") && text.contains("\"/old/lrl_db_*.sqlite\""), "{text}");
    lab.lrl("setup site --write").expect(0);
    let run = lab.lrl("backup --config site/lrl.toml --backup backups").expect(0);
    assert!(!run.stderr.contains("excludes nothing"), "{}", run.stderr);
    let listed = lab.lrl("ls latest --source site").expect(0).stdout;
    assert!(listed.contains("app.db") && listed.contains("old/keep.txt"), "{listed}");
    for own in ["lrl_db_", "lrl_assets_", "backup_manifest_", "store", "pre-restore", ".lrl-undo-rows"] {
        assert!(!listed.contains(own), "{own}: {listed}");
    }
    let set = names(&lab.path("site/old")).into_iter().find(|name| name.starts_with("lrl_db_")).unwrap();
    for own in ["old/store/cache/cache.db", &format!("old/{set}"), "app.db.pre-restore", ".lrl-undo-rows"] {
        lab.write("own.toml", format!("root = \"site\"\n[[database]]\npath = \"{own}\"\n"));
        let run = lab.lrl("backup --config own.toml").expect(2);
        assert!(run.stderr.contains(own) && run.stderr.contains("no database of the site"), "{}", run.stderr);
        lab.run(["backup", "--root", "site", "--database", own]).expect(2);
    }
}
