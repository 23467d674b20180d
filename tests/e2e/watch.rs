//! `lrl watch`: a real writer beside it, and everything that ends or disturbs it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{Lab, Run, noise};
use crate::helpers::{look, strace, there_is};
use crate::receiver::Receiver;

/// Nothing that a watch is waited for takes nearly as long, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
const QUICK: &str = "watch --snapshot-only --quiet-for 100ms --at-most-every 200ms";

/// A watch that runs, and what it prints, in files of the lab.
struct Watch<'a> {
    lab: &'a Lab,
    child: Child,
}

impl<'a> Watch<'a> {
    fn start(lab: &'a Lab, line: &str) -> Self {
        Self::spawn(lab, lab.command(line.split_whitespace()))
    }

    fn spawn(lab: &'a Lab, mut command: Command) -> Self {
        let file = |name: &str| fs::File::create(lab.path(name)).unwrap();
        let child = command.stdout(file("watch.out")).stderr(file("watch.err")).spawn().unwrap();
        Self { lab, child }
    }

    /// Starts one and waits until it has looked at everything.
    fn begun(lab: &'a Lab, line: &str) -> Self {
        let mut watch = Self::start(lab, line);
        // An earlier watch may have left its state.
        let pid = watch.child.id();
        watch.until("the first snapshot", |lab| {
            let seen = status(lab);
            seen["pid"] == pid && seen["last_look"].is_string()
        });
        watch
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&Lab) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self.lab) {
            assert!(Instant::now() < until, "{what} does not come\n{}", self.printed());
            if let Some(ended) = self.child.try_wait().unwrap() {
                panic!("the watch ended with {ended} before {what}\n{}", self.printed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the newest snapshot has everything, and there are more than `before`.
    #[track_caller]
    fn until_more_than(&mut self, before: usize) {
        self.until("a snapshot", |lab| snapshots(lab).len() > before && status(lab)["lag_seconds"] == 0);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    fn end(mut self) -> Run {
        let until = Instant::now() + PATIENCE;
        let ended = loop {
            match self.child.try_wait().unwrap() {
                Some(ended) => break ended,
                None => assert!(Instant::now() < until, "the watch does not end\n{}", self.printed()),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let read = |name: &str| fs::read(self.lab.path(name)).unwrap();
        std::process::Output { status: ended, stdout: read("watch.out"), stderr: read("watch.err") }.into()
    }

    #[track_caller]
    fn stop(self) -> Run {
        self.signal(Signal::TERM);
        self.end()
    }

    fn printed(&self) -> String {
        ["watch.out", "watch.err"].map(|name| fs::read_to_string(self.lab.path(name)).unwrap()).join("\n")
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns what `lrl status` says of the watch.
fn status(lab: &Lab) -> Value {
    let run = lab.lrl("status --json");
    serde_json::from_slice::<Value>(&run.stdout_bytes).map_or(Value::Null, |status| status["watch"].clone())
}

/// Lists the snapshots, without lrl: a name is all that is asked for.
fn snapshots(lab: &Lab) -> Vec<String> {
    names_in(&lab.path("backups/store/snapshots"))
}

fn names_in(dir: &Path) -> Vec<String> {
    let below = look_names(dir);
    below.into_iter().filter(|name| !name.contains(".tmp")).collect()
}

fn look_names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names = Vec::new();
    for entry in entries.flatten() {
        if entry.path().is_dir() {
            names.extend(look_names(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

fn rows(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    assert_eq!(connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
    connection.query_row("SELECT count(*) FROM content_items", [], |row| row.get(0)).unwrap()
}

fn insert(connection: &Connection, n: i64) {
    let body = "words ".repeat(50);
    let sql = "INSERT INTO content_items VALUES (?1, ?2, 'Title', ?3)";
    connection.execute(sql, (n, format!("slug-{n}"), body)).unwrap();
}

#[test]
fn what_is_committed_and_uploaded_is_saved_while_the_application_writes() {
    for mode in ["wal", "delete"] {
        let lab = Lab::small();
        let connection = lab.database();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
        let mut watch = Watch::begun(&lab, QUICK);
        assert_eq!(snapshots(&lab).len(), 1);
        for n in 100..140 {
            insert(&connection, n);
            std::thread::sleep(Duration::from_millis(10));
        }
        lab.write("data/assets/new/deep/file.bin", noise(50_000, 7));
        watch.until_more_than(1);
        insert(&connection, 140);
        // What is unsaved is saved at the end.
        watch.stop().expect(0);
        let seen = status(&lab);
        assert_eq!((&seen["running"], &seen["died"]), (&false.into(), &false.into()), "{mode}: {seen}");
        lab.lrl("restore latest --target out").expect(0);
        assert_eq!(rows(&lab.path("out/lrl.db")), 61, "{mode}");
        assert_eq!(fs::read(lab.path("out/assets/new/deep/file.bin")).unwrap(), noise(50_000, 7));
        lab.lrl("check").expect(0);
    }
}

/// Reads a number of /proc/PID/io.
fn io(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap().parse().unwrap()
}

#[test]
fn a_wal_that_begins_anew_between_two_snapshots_costs_no_reading_of_the_whole_database() {
    let lab = Lab::small();
    let connection = lab.database();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 40; CREATE TABLE pads (pad BLOB)")
        .unwrap();
    (0..64).for_each(|n| _ = connection.execute("INSERT INTO pads VALUES (?1)", [noise(128 << 10, n)]).unwrap());
    let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let mut watch = Watch::begun(&lab, "watch --snapshot-only --quiet-for 100ms --at-most-every 1s");
    let (pid, before) = (watch.child.id(), snapshots(&lab).len());
    let read_before = io(pid, "rchar");
    let mut n = 1000;
    // Never quiet.
    watch.until("enough snapshots", |lab| {
        insert(&connection, n);
        n += 1;
        snapshots(lab).len() >= before + 6
    });
    let (read, made) = (io(pid, "rchar") - read_before, (snapshots(&lab).len() - before) as u64);
    assert!(read < made * u64::from(pages) * 4096 / 2, "{read} bytes for {made} snapshots of {pages} pages");
    watch.stop().expect(0);
    lab.lrl("restore latest --target out").expect(0);
    assert_eq!(rows(&lab.path("out/lrl.db")), rows(&lab.path("data/lrl.db")));
}

#[test]
fn an_application_that_goes_on_writing_does_not_keep_a_watch_from_ending() {
    let lab = Lab::small();
    let watch = Watch::begun(&lab, "watch --snapshot-only --quiet-for 2s --at-most-every 3s");
    // It outlasts the patience with the watch.
    let (ended, until) = (AtomicBool::new(false), Instant::now() + 2 * PATIENCE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let connection = lab.database();
            connection.busy_timeout(Duration::from_secs(20)).unwrap();
            let goes_on = || !ended.load(Ordering::Relaxed) && Instant::now() < until;
            (1000..).take_while(|_| goes_on()).for_each(|n| insert(&connection, n));
        });
        std::thread::sleep(Duration::from_secs(1));
        let before = snapshots(&lab).len();
        watch.signal(Signal::TERM);
        let run = watch.end();
        ended.store(true, Ordering::Relaxed);
        run.expect(0);
        assert!(snapshots(&lab).len() <= before + 2, "{} snapshots, {before} before", snapshots(&lab).len());
    });
}

#[test]
fn where_nothing_changes_nothing_is_written_and_no_snapshot_is_made() {
    let lab = Lab::small();
    let connection = lab.database();
    connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(())).unwrap();
    insert(&connection, 100);
    // Asleep: not a single system call that writes.
    let watch = Watch::begun(&lab, QUICK);
    std::thread::sleep(Duration::from_millis(500));
    let pid = watch.child.id();
    let before = (look(&lab.path("backups")), io(pid, "syscw"), io(pid, "syscr"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(before, (look(&lab.path("backups")), io(pid, "syscw"), io(pid, "syscr")));
    watch.stop().expect(0);
    assert_eq!(snapshots(&lab).len(), 1);
    // Looks that find nothing leave no snapshot either, and nothing but the time of the look.
    let mut watch = Watch::begun(&lab, &format!("{QUICK} --at-least-every 100ms"));
    std::thread::sleep(Duration::from_secs(5));
    let without_state = || {
        let mut all = look(&lab.path("backups"));
        all.retain(|name, _| !String::from_utf8_lossy(name).contains("cache"));
        all
    };
    let (before, looked) = (without_state(), status(&lab)["last_look"].clone());
    watch.until("another look", |lab| status(lab)["last_look"] != looked);
    assert!(before == without_state());
    watch.stop().expect(0);
    assert_eq!(snapshots(&lab).len(), 1);
}

#[test]
fn what_lrl_writes_below_a_root_does_not_wake_it() {
    let lab = Lab::empty();
    fs::create_dir_all(lab.path("site/users")).unwrap();
    lab.write("site/lrl.toml", "root = \".\"\nbackup = \"./site/backups\"\nmetrics-file = \"site/metrics.prom\"\n");
    // No connection stays: SQLite makes and removes its side files for each reader, in a directory that is backed up.
    let write = |n: i64| {
        let connection = Connection::open(lab.path("site/users/db.sqlite")).unwrap();
        connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS t(a)").unwrap();
        connection.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
    };
    write(1);
    let store = lab.path("site/backups/store/snapshots");
    let mut watch =
        Watch::start(&lab, &format!("--config site/lrl.toml {QUICK} --at-least-every 1s --ping-every 100ms"));
    watch.until("the first snapshot", |_| names_in(&store).len() == 1);
    std::thread::sleep(Duration::from_secs(1));
    write(2);
    watch.until("the second snapshot", |_| names_in(&store).len() == 2);
    std::thread::sleep(Duration::from_secs(6));
    let number = names_in(&store).len();
    // One more where the directory's own time changed by reading; none after that.
    assert!(number <= 3, "{number} snapshots\n{}", watch.printed());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(names_in(&store).len(), number, "{}", watch.printed());
    assert!(fs::read_to_string(lab.path("site/metrics.prom")).unwrap().contains("lrl_watch_running{"));
    watch.stop().expect(0);
    let metrics = fs::read_to_string(lab.path("site/metrics.prom")).unwrap();
    let running = metrics.lines().find(|line| line.starts_with("lrl_watch_running{")).unwrap();
    assert!(running.ends_with(" 0"), "{running}");
}

#[test]
fn databases_are_watched_wherever_they_lie() {
    let lab = Lab::empty();
    lab.write("site/lrl.toml", "root = \".\"\n[[files]]\npath = \"uploads\"\n");
    let write = |name: &str| {
        fs::create_dir_all(lab.path(name).parent().unwrap()).unwrap();
        let connection = Connection::open(lab.path(name)).unwrap();
        connection.execute_batch("CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES (1)").unwrap();
    };
    lab.write("site/uploads/a", "a");
    write("site/state/queue");
    let store = || names_in(&lab.path("site/backups/store/snapshots")).len();
    let line = format!("--config site/lrl.toml --backup site/backups {QUICK}");
    let mut watch = Watch::start(&lab, &format!("{line} --at-least-every 1h"));
    watch.until("the first snapshot", |_| store() == 1);
    write("site/state/queue");
    watch.until("a snapshot of what no file is stored of", |_| store() == 2);
    // A new one beside it is found by the next round, and is watched from then on.
    write("site/other/cache");
    write("site/state/queue");
    watch.until("a snapshot with the new one", |_| store() >= 3);
    std::thread::sleep(Duration::from_secs(1));
    let before = store();
    write("site/other/cache");
    watch.until("a snapshot of the new one", |_| store() > before);
    watch.stop().expect(0);
    // A look tells them as well, where no event does.
    let mut watch = Watch::start(&lab, &format!("{line} --at-least-every 1s"));
    watch.until("the first look", |_| fs::read_to_string(lab.path("watch.out")).unwrap().contains("Watching"));
    std::thread::sleep(Duration::from_secs(4));
    let before = store();
    write("site/third/late");
    watch.until("a snapshot of one that came", |_| store() > before);
    watch.stop().expect(0);
}

#[test]
fn a_watch_that_was_killed_is_seen_to_be_dead_and_another_one_goes_on() {
    let lab = Lab::small();
    let watch = Watch::begun(&lab, QUICK);
    let text = lab.lrl("status").expect(0).stdout;
    assert!(text.contains("Watch: runs (process ") && text.contains("all is saved"), "{text}");
    let metrics = lab.lrl("status --metrics").expect(0).stdout;
    assert!(metrics.contains("\nlrl_watch_running{") && metrics.contains("\nlrl_watch_lag_seconds{"), "{metrics}");
    watch.signal(Signal::KILL);
    watch.end();
    let run = lab.lrl("status").expect(4);
    assert!(run.stdout.contains("Watch: DIED") && run.stderr.contains("start it again"), "{}", run.stdout);
    assert_eq!(status(&lab)["died"], true);
    insert(&lab.database(), 100);
    let mut watch = Watch::start(&lab, QUICK);
    watch.until_more_than(1);
    watch.stop().expect(0);
    assert!(lab.lrl("status").expect(0).stdout.contains("Watch: ended"));
    lab.lrl("restore latest --target out").expect(0);
    assert_eq!(rows(&lab.path("out/lrl.db")), 21);
}

#[test]
fn the_application_gets_signals_and_its_exit_code_is_told_after_a_last_snapshot() {
    let lab = Lab::small();
    let run = |script: &str| {
        let words = QUICK.split_whitespace().chain(["--", "sh", "-c", script]);
        Watch::spawn(&lab, lab.command(words))
    };
    run("echo late > data/assets/late.txt; exit 7").end().expect(7);
    let mut watch =
        run("trap 'echo bye > data/assets/bye.txt; exit 3' TERM; echo on > on; while :; do sleep 0.05; done");
    watch.until("the application", |lab| lab.path("on").exists());
    watch.stop().expect(3);
    for file in ["late.txt", "bye.txt"] {
        lab.run(["dump", "latest", &format!("assets/{file}")]).expect(0);
    }
    // The caller's umask is the application's, and the supervisor's socket is not.
    let mut command =
        lab.command(QUICK.split_whitespace().chain(["--", "sh", "-c", "umask > umask; env > env; kill -9 $$"]));
    command.env("NOTIFY_SOCKET", "/none");
    Watch::spawn(&lab, command).end().expect(137);
    let (umask, env) = (fs::read_to_string(lab.path("umask")).unwrap(), fs::read_to_string(lab.path("env")).unwrap());
    assert!(umask.trim() != "0077" && !env.contains("NOTIFY_SOCKET"), "{umask} {env}");
    lab.run(["watch", "--", "/none/such"]).expect(1);
}

#[test]
fn other_commands_work_beside_a_watch_and_a_second_watch_does_not_start() {
    let lab = Lab::small();
    let mut watch = Watch::begun(&lab, QUICK);
    let second = lab.lrl("watch --snapshot-only --lock-wait 0").expect(11);
    assert!(second.stderr.contains("watch-lab.lock"), "{}", second.stderr);
    let beside = ["backup", "drill", "prune", "check", "restore --target out", "forget --keep-last 9"];
    for (n, line) in beside.into_iter().enumerate() {
        insert(&lab.database(), 100 + n as i64);
        lab.lrl(line).expect(0);
    }
    watch.until("the last rows", |lab| status(lab)["lag_seconds"] == 0);
    // A restore in place gives the watch a new database and new directories.
    lab.lrl("restore latest --force").expect(0);
    lab.write("data/assets/after/restore.txt", "x");
    watch.until("what came after the restore", |lab| lab.lrl("dump latest assets/after/restore.txt").code == 0);
    watch.stop().expect(0);
    lab.lrl("check --read-data").expect(0);
}

#[test]
fn a_failure_is_told_once_and_so_is_its_end() {
    let receiver = Receiver::start();
    let mut lab = Lab::small();
    lab.secret("ping", receiver.url("/token"));
    lab.set("LRL_PING_URL_FILE", "ping");
    let mut watch = Watch::begun(&lab, &format!("{QUICK} --lock-wait 0"));
    // The application holds its database for itself.
    let connection = lab.database();
    connection.execute_batch("BEGIN EXCLUSIVE; INSERT INTO users VALUES ('u2', '', '', '', '')").unwrap();
    lab.write("data/assets/changed.txt", "x");
    watch.until("several failures", |lab| status(lab)["failing"]["tries"].as_u64() > Some(1));
    let run = lab.lrl("status").expect(4);
    assert!(run.stderr.contains("the watch fails since"), "{}", run.stderr);
    connection.execute_batch("COMMIT").unwrap();
    watch.until("the end of the failure", |lab| status(lab)["failing"].is_null() && status(lab)["lag_seconds"] == 0);
    lab.lrl("status").expect(0);
    let run = watch.stop().expect(0);
    assert_eq!(run.stderr.matches("error: snapshot: ").count(), 1, "{}", run.stderr);
    assert!(run.stdout.contains("snapshot: well again"), "{}", run.stdout);
    let told: Vec<String> = receiver.take().into_iter().map(|request| request.line).collect();
    let codes: Vec<&str> = told.iter().filter_map(|line| line.split('?').next()?.rsplit('/').next()).collect();
    assert_eq!(codes, ["0", "1", "0"], "{told:?}");
}

#[test]
fn systemd_is_told_how_it_goes() {
    let lab = Lab::small();
    let path = lab.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = lab.command(QUICK.split_whitespace());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let watch = Watch::spawn(&lab, command);
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    let mut hear = |word: &str| {
        while !heard.iter().any(|line: &String| line.starts_with(word)) {
            let len = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{word}: {e}\n{heard:?}"));
            heard.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
        }
    };
    hear("READY=1");
    hear("STATUS=all is saved");
    hear("WATCHDOG=1");
    watch.signal(Signal::TERM);
    hear("STOPPING=1");
    watch.end().expect(0);
}

#[test]
fn a_timer_takes_the_place_of_watches_that_the_system_does_not_give() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    let inject = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=inotify_add_watch", "-e"];
    let inject = [&inject[..], &["inject=inotify_add_watch:error=ENOSPC"]].concat();
    let (line, before) = (format!("{QUICK} --once"), snapshots(&lab).len());
    let run: Run = std::thread::scope(|scope| {
        let watch = scope.spawn(|| strace(&lab, &inject, &line));
        let until = Instant::now() + PATIENCE;
        while status(&lab)["last_look"].is_null() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        insert(&lab.database(), 100);
        watch.join().unwrap().into()
    });
    let run = run.expect(0);
    assert!(run.stderr.contains("limit of watches") && run.stderr.contains("a timer looks"), "{}", run.stderr);
    assert_eq!(snapshots(&lab).len(), before + 1);
    lab.lrl("restore latest --target out").expect(0);
    assert_eq!(rows(&lab.path("out/lrl.db")), 21);
}

#[test]
fn once_makes_one_snapshot_and_an_idle_watch_ends() {
    let lab = Lab::small();
    let run = lab.lrl(&format!("{QUICK} --once --json")).expect(0).json();
    assert_eq!((&run["success"], &run["snapshots"]), (&true.into(), &1.into()), "{run}");
    let mut watch = Watch::begun(&lab, &format!("{QUICK} --once"));
    watch.until("a look", |lab| status(lab)["lag_seconds"] == 0);
    assert_eq!(snapshots(&lab).len(), 1, "nothing has changed");
    lab.write("data/assets/x", "x");
    watch.end().expect(0);
    assert_eq!(snapshots(&lab).len(), 2);
    lab.lrl(&format!("{QUICK} --exit-when-idle 300ms")).expect(0);
    assert_eq!(snapshots(&lab).len(), 2);
}

#[test]
fn a_second_signal_ends_it_without_the_last_snapshot() {
    let lab = Lab::small();
    let mut watch = Watch::begun(&lab, QUICK);
    // The last snapshot waits for the application, which holds its database.
    let connection = lab.database();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    lab.write("data/assets/x", "x");
    watch.until("the change", |lab| status(lab)["lag_seconds"] != 0 || status(lab)["unsaved_since"].is_string());
    watch.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(watch.child.try_wait().unwrap().is_none());
    watch.signal(Signal::INT);
    watch.end().expect(130);
    assert_eq!(snapshots(&lab).len(), 1);
}

#[test]
fn sets_are_written_on_their_own_interval() {
    let lab = Lab::small();
    let sets = || names_in(&lab.path("backups")).iter().filter(|name| name.starts_with("backup_manifest")).count();
    let quick = QUICK.replace(" --snapshot-only", "");
    let mut watch = Watch::begun(&lab, &format!("{quick} --set-every 1h"));
    insert(&lab.database(), 100);
    watch.until_more_than(1);
    watch.stop().expect(0);
    assert_eq!((sets(), snapshots(&lab).len()), (1, 2));
    // Snapshots since then owe one, changes or not.
    let mut watch = Watch::begun(&lab, &format!("{quick} --set-every 100ms"));
    watch.until("the second set", |_| sets() == 2);
    watch.stop().expect(0);
    lab.lrl("drill").expect(0);
    let watch = Watch::begun(&lab, &format!("{quick} --set-every never"));
    lab.write("data/assets/x", "x");
    watch.stop().expect(0);
    assert_eq!(sets(), 2);
}

#[test]
fn the_history_is_thinned() {
    let lab = Lab::small();
    for n in 0..4 {
        insert(&lab.database(), 100 + n);
        lab.lrl("backup --snapshot-only").expect(0);
    }
    let mut watch = Watch::begun(&lab, &format!("{QUICK} --keep daily:7d"));
    watch.until("one snapshot", |lab| snapshots(lab).len() == 1);
    watch.stop().expect(0);
    lab.lrl("check").expect(0);
    // The rules of the table are those of `lrl forget` as well.
    lab.write("lrl.toml", "[watch]\nkeep = \"all:1h,daily:7d\"\nat-most-every = \"1m\"\n");
    let run = lab.lrl("forget --dry-run").expect(0);
    assert!(run.stdout.contains("daily, within"), "{}", run.stdout);
    assert!(lab.lrl("config").expect(0).stdout.contains("watch.at-most-every"));
    for (text, wanted) in [
        ("[watch]\nkeeep = \"daily:7d\"", "nearest known key is \"keep\""),
        ("[watch]\nkeep = \"daily\"", "expected rules"),
        ("[watch]\nquiet-for = 2", "one string in quotes"),
        ("[watch]\nquiet-for = \"1ms\"", "at least 100ms"),
        ("quiet-for = \"2s\"", "belongs into the table [watch]"),
        ("[policy]\nkeep = \"hourly\"", "expected rules"),
    ] {
        lab.write("lrl.toml", text);
        let run = lab.lrl("status").expect(2);
        assert!(run.stderr.contains(wanted), "{text}: {}", run.stderr);
    }
}

#[test]
fn what_cannot_be_watched_is_refused_at_once() {
    let lab = Lab::small();
    lab.lrl("watch --data-dir none").expect(10);
    lab.lrl("watch --dry-run").expect(2);
    lab.lrl("watch --if-older-than 1h").expect(2);
    lab.lrl("watch --at-most-every 1ms").expect(2);
    lab.lrl("watch --quiet-for 20").expect(2);
    lab.secret("key", "x");
    lab.lrl("watch --store encrypted --key-file key").expect(1);
}
