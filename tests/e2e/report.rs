//! `lrl report`: a page that shows what `lrl status` says, and that no name can turn into anything else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rusqlite::Connection;

use crate::bucket::{Bucket, Fault, KEY};
use crate::common::Lab;
use crate::html::{chromium, expect_inert, show};

/// A name that would run a script.
const EVIL: &str = "<img src=x onerror=alert(1)>\"'&";

fn read(lab: &Lab, page: &str) -> String {
    let html = fs::read_to_string(lab.path(page)).unwrap();
    expect_inert(&html);
    html
}

#[test]
fn a_page_says_what_status_says() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("drill").expect(0);
    let run = lab.lrl("report --out backups.html").expect(0);
    assert!(
        run.stdout.starts_with("Report: backups.html (") && run.stdout.ends_with("all is well\n"),
        "{}",
        run.stdout
    );
    let html = read(&lab, "backups.html");
    for text in ["All is well", "Last good backup", "Last proven restorable", "1 of 1 snapshot", "Rows", "lrl restore "]
    {
        assert!(html.contains(text), "{text}: {html}");
    }
    assert!(html.contains(lab.path("backups/store").to_str().unwrap()), "the commands name the store");
    assert!(html.contains(&format!("--data-dir {}", lab.path("data").canonicalize().unwrap().display())), "{html}");

    // What the page says to type works, in another directory too.
    let words =
        html.split("<pre tabindex=\"0\">").skip(1).flat_map(|part| part.split("</pre>").next().unwrap().lines());
    let commands: Vec<&str> = words.filter(|line| line.starts_with("lrl ") && !line.contains("PATH")).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    fs::create_dir(lab.path("elsewhere")).unwrap();
    for command in commands {
        let run = lab.command(command.split(' ').skip(1)).current_dir(lab.path("elsewhere")).output().unwrap();
        assert!(run.status.success(), "{command}: {}", String::from_utf8_lossy(&run.stderr));
        // Each shows a way of its own to the same place.
        let _ = fs::remove_dir_all(lab.path("elsewhere/restored"));
    }

    // The same limit makes both red; the exit code is the report's own.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let status = lab.lrl("status --max-age 1s --json").expect(4).json();
    let run = lab.lrl("report --out backups.html --max-age 1s --json").expect(0).json();
    assert_eq!((&run["fine"], run["wrong"].as_array().unwrap().len()), (&false.into(), 1));
    let wrong = status["wrong"][0].as_str().unwrap();
    assert!(wrong.contains("more than 1 s"), "{wrong}");
    let html = read(&lab, "backups.html");
    assert!(html.contains("Something is wrong") && html.contains("old, more than 1 s"), "{html}");
    let quiet = lab.lrl("report --out backups.html --quiet").expect(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn everything_that_is_wrong_is_on_the_page() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let archive = fs::read_dir(lab.path("backups")).unwrap().map(|entry| entry.unwrap().path());
    let archive = archive.into_iter().find(|path| path.to_string_lossy().ends_with(".tar.gz")).unwrap();
    fs::write(archive, "nonsense").unwrap();
    lab.lrl("drill").expect(4);
    let status = lab.lrl("status --json").expect(4).json();
    lab.lrl("report --out backups.html").expect(0);
    let html = read(&lab, "backups.html");
    let wrong = status["wrong"].as_array().unwrap();
    assert!(
        html.contains(&format!("{} things are wrong", wrong.len()))
            && html.contains("FAILED")
            && html.contains("Since "),
        "{html}"
    );
    assert!(html.contains("exit 4") && html.contains("never ended well yet"), "the run is told too: {html}");
}

#[test]
fn names_are_escaped_or_left_out() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let name = format!("data/assets/{}", EVIL.replace('/', ""));
    lab.write(&name, "x");
    fs::set_permissions(lab.path(&name), fs::Permissions::from_mode(0o000)).unwrap();
    let sql =
        format!("CREATE TABLE \"{}\" (a); INSERT INTO \"{}\" VALUES (1)", EVIL.replace('"', ""), EVIL.replace('"', ""));
    lab.database().execute_batch(&sql).unwrap();
    // A file that changes into something that cannot be read: its name is a reason.
    fs::remove_file(lab.path(&name)).unwrap();
    std::os::unix::fs::symlink("nowhere", lab.path(&name)).unwrap();
    let out = ["backup", "--tag", EVIL, "--snapshot-only"];
    lab.run(out).expect(0);
    lab.lrl("drill --snapshot latest").expect(0);
    lab.lrl("report --out backups.html").expect(0);
    let html = read(&lab, "backups.html");
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;"), "the tag and the table: {html}");
    assert!(!html.contains("<img"), "{html}");

    let run = lab.lrl("report --out redacted.html --redact").expect(0);
    assert!(run.stdout.contains("all is well"));
    let html = read(&lab, "redacted.html");
    let store = lab.path("").to_string_lossy().into_owned();
    for name in ["onerror", &store, "content_items", "--source lab", "lrl.db"] {
        assert!(!html.contains(name), "{name}: {html}");
    }
    assert!(html.contains("lrl restore --target ./restored --store STORE --source SOURCE"), "{html}");
}

#[test]
fn redacted_pages_leave_reasons_and_errors_out() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.database().execute_batch("DROP TABLE users; DROP TABLE content_items; DROP TABLE assets").unwrap();
    lab.lrl("backup --snapshot-only").expect(3);
    lab.lrl("report --out full.html").expect(0);
    lab.lrl("report --out redacted.html --redact").expect(0);
    let (full, redacted) = (read(&lab, "full.html"), read(&lab, "redacted.html"));
    assert!(full.contains("0 tables in the database") && full.contains("the newest snapshot"), "{full}");
    assert!(!redacted.contains("0 tables") && redacted.contains("the newest snapshot"), "{redacted}");
}

#[test]
fn out_is_the_page_whatever_backup_directory_is_named() {
    let lab = Lab::small();
    lab.lrl("backup --out elsewhere").expect(0);
    lab.lrl("report --backup elsewhere --out page.html").expect(0);
    assert!(read(&lab, "page.html").contains("lrl"));
    lab.lrl("report --backup elsewhere --out page.html --max-age 26h").expect(0);
    lab.write("lrl.toml", "max-age = \"26h\"\n");
    lab.lrl("schedule systemd --backup elsewhere --out units --name site").expect(0);
    assert!(lab.path("units/site.service").exists());
}

#[test]
fn a_page_is_replaced_as_a_whole_and_nothing_else_is_overwritten() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("report --out page.html").expect(0);
    let mode = |path: &str| fs::metadata(lab.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("page.html"), 0o600);
    fs::set_permissions(lab.path("page.html"), fs::Permissions::from_mode(0o644)).unwrap();
    symlink("page.html", lab.path("link.html")).unwrap();
    fs::write(lab.path("empty.html"), "").unwrap();
    for out in ["link.html", "empty.html"] {
        lab.lrl(&format!("report --out {out}")).expect(0);
    }
    assert!(fs::symlink_metadata(lab.path("link.html")).unwrap().is_symlink());
    assert_eq!(mode("page.html"), 0o644, "the mode of the page that was there");
    for (out, told) in
        [("data/lrl.db", "is no report"), ("data", "is no regular file"), ("/dev/null", "is no regular file")]
    {
        let before = fs::read(lab.path("data/lrl.db")).unwrap();
        let run = lab.lrl(&format!("report --out {out}")).expect(2);
        assert!(run.stderr.contains(told), "{}", run.stderr);
        assert_eq!(fs::read(lab.path("data/lrl.db")).unwrap(), before);
    }
    assert!(lab.lrl("report --out none/page.html").expect(1).stderr.contains("none/page.html"));
    assert!(lab.lrl("report").expect(2).stderr.contains("--out FILE"));
    lab.lrl("report --out - --json").expect(2);
    let page = lab.lrl("report --out -").expect(0);
    expect_inert(&page.stdout);
    let left = fs::read_dir(lab.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".new")), "nothing is left beside");
}

#[test]
fn a_store_that_is_gone_leaves_no_page_that_looks_fine() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("report --out page.html").expect(0);
    fs::rename(lab.path("backups"), lab.path("unmounted")).unwrap();
    let run = lab.lrl("report --out page.html").expect(10);
    assert!(run.stderr.contains("is not there"), "{}", run.stderr);
    let html = read(&lab, "page.html");
    assert!(html.contains("Something is wrong") && html.contains("the store cannot be read"), "{html}");
    assert!(!html.contains("All is well"));
}

#[test]
fn a_run_writes_the_page_last() {
    let lab = Lab::small();
    lab.write("lrl.toml", "max-age = \"26h\"\n[policy]\nkeep-daily = 7\nreport = \"out/backups.html\"\n");
    // What cannot be written is told, and stops nothing else.
    let run = lab.lrl("run --json").expect(1).json();
    let step = |run: &serde_json::Value, name: &str| {
        let steps = run["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == name).unwrap()["state"].clone()
    };
    assert_eq!((step(&run, "report"), step(&run, "check")), ("failed".into(), "done".into()), "{run:#}");
    fs::create_dir(lab.path("out")).unwrap();
    let told = lab.lrl("run").expect(0).stdout;
    assert!(
        told.lines()
            .any(|line| line.starts_with("report  done in ") && line.ends_with("out/backups.html: all is well"))
    );
    let html = read(&lab, "out/backups.html");
    assert!(html.contains("keep-daily = 7") && html.contains("lrl backup"), "{html}");
    assert!(
        html.contains("a good backup at most 26 h old") || html.contains("a good backup at most 1 d 2 h old"),
        "{html}"
    );
    lab.lrl("report --quiet").expect(0);

    // A failed backup is on the page of the same run.
    fs::rename(lab.path("data/lrl.db"), lab.path("away.db")).unwrap();
    fs::rename(lab.path("data/assets"), lab.path("away")).unwrap();
    let run = lab.lrl("run --json").expect(1).json();
    assert_eq!(step(&run, "report"), "done", "{run:#}");
    assert!(read(&lab, "out/backups.html").contains("exit 1"), "the run of today");
    lab.write("lrl.toml", "[policy]\nreport = \"out/backups.html\"\nreport-redact = true\n");
    lab.lrl("run --only report --quiet").expect(0);
    assert!(read(&lab, "out/backups.html").contains("--store STORE"));
    lab.write("lrl.toml", "[policy]\nreport = 7\n");
    assert!(lab.lrl("run").expect(2).stderr.contains("report expects the path of a file"));
}

#[test]
fn several_sources_and_a_fleet_are_one_page() {
    let bucket = Bucket::start();
    let mut lab = Lab::small();
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    for name in ["ada", "bob", "new"] {
        lab.lrl(&format!("init --no-encryption --store {}", bucket.url(&format!("labs/{name}")))).expect(0);
    }
    let ada = bucket.url("labs/ada");
    lab.lrl(&format!("backup --snapshot-only --store {ada}")).expect(0);
    lab.lrl(&format!("backup --snapshot-only --store {ada} --source second")).expect(0);
    lab.lrl(&format!("backup --snapshot-only --store {}", bucket.url("labs/bob"))).expect(0);
    lab.lrl(&format!("report --store {ada} --out ada.html")).expect(0);
    let one = read(&lab, "ada.html");
    assert!(
        one.contains("second") && one.contains("href=\"#source-0-1\"") && one.contains("id=\"source-0-1\""),
        "{one}"
    );
    let fleet = bucket.url("labs/*");
    bucket.fault(|_, target| target.contains("labs/bob").then_some(Fault::Says(403, "AccessDenied")));
    lab.lrl(&format!("report --store {fleet} --out all.html")).expect(0);
    let all = read(&lab, "all.html");
    for text in ["labs/ada", "labs/bob", "labs/new", "no snapshot", "the key may not", "2 things are wrong"] {
        assert!(all.contains(text), "{text}: {all}");
    }
    lab.lrl(&format!("report --store {fleet} --out all.html --redact")).expect(0);
    let all = read(&lab, "all.html");
    assert!(!all.contains("labs/") && !all.contains("second") && all.contains("store 2"), "{all}");
}

#[test]
fn a_report_lists_a_bucket_once_and_its_packs_once_a_day() {
    let bucket = Bucket::start();
    let url = bucket.url("cost");
    let mut lab = Lab::small();
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.lrl(&format!("init --no-encryption --store {url}")).expect(0);
    for source in ["one", "two", "three"] {
        lab.lrl(&format!("backup --snapshot-only --store {url} --source {source}")).expect(0);
        lab.lrl(&format!("drill --snapshot latest --store {url} --source {source}")).expect(0);
    }
    let report = || {
        bucket.take_log();
        let run = lab.lrl(&format!("report --store {url} --out page.html --json")).expect(0).json();
        assert_eq!(run["sources"], 3);
        bucket.take_log()
    };
    let lists =
        |log: &[String], of: &str| log.iter().filter(|line| line.contains("prefix=") && line.contains(of)).count();
    let first = report();
    assert_eq!(lists(&first, "packs"), 1, "{first:#?}");
    for log in [report(), report()] {
        for (of, most) in [("packs", 0), ("snapshots", 1), ("drills", 3), ("checks", 3)] {
            assert!(lists(&log, of) <= most, "{of}: {log:#?}");
        }
        assert!(log.len() <= 20, "{log:#?}");
    }
    let before = read(&lab, "page.html");
    lab.database().execute("INSERT INTO users VALUES ('u2', '', '', hex(randomblob(400000)), '')", []).unwrap();
    lab.lrl(&format!("backup --snapshot-only --store {url} --source one")).expect(0);
    let log = report();
    assert_eq!(lists(&log, "packs"), 0, "{log:#?}");
    assert_ne!(before, read(&lab, "page.html"), "what was added since counts");
}

#[test]
fn an_encrypted_store_says_that_a_key_is_needed() {
    let mut lab = Lab::small();
    lab.secret("pass", "a long passphrase\n");
    lab.set("LRL_PASSWORD_FILE", "pass");
    fs::create_dir_all(lab.path("backups")).unwrap();
    lab.lrl("init --encrypt").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("report --out page.html").expect(0);
    let html = read(&lab, "page.html");
    assert!(html.contains("--key-file KEY") && !html.contains("a long passphrase"), "{html}");
    lab.secret("pass", "another passphrase\n");
    lab.lrl("report --out page.html").expect(12);
    assert!(read(&lab, "page.html").contains("the store cannot be read"));
}

#[test]
fn a_browser_shows_the_page_without_a_complaint() {
    let Some(browser) = chromium() else { return };
    let lab = Lab::small();
    for n in 0..3 {
        Connection::open(lab.path("data/lrl.db"))
            .unwrap()
            .execute("INSERT INTO users VALUES (?1, '', '', '', '')", [n])
            .unwrap();
        lab.lrl("backup").expect(0);
    }
    lab.lrl("drill").expect(0);
    lab.lrl("report --out page.html").expect(0);
    let url = format!("file://{}", lab.path("page.html").display());
    let (dom, log) = show(&browser, &lab.path("profile"), &["--dump-dom"], &url);
    assert!(dom.contains("All is well"), "{dom}\n{log}");
    assert!(!log.contains("CONSOLE") && !log.contains("Refused to"), "{log}");
}
