//! Faults from outside: signals and kills at any moment, full disks, locks, damaged objects. Snapshots that were listed stay whole,
//! the next run completes. `LRL_TEST_ROUNDS=all` tries every system call as a kill point.

// A log says what could not be tried here, and how many states were.
#![allow(clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Lab, Run, noise};
use crate::helpers::{Disk, assert_same, assert_whole, files_with, look, names, outputs, strace, there_is};
use crate::python_sets::change;

/// The calls that change something on a disk; a kill point is the n-th of one of them in any one thread.
const MUTATING: [&str; 16] = [
    "rename",
    "renameat",
    "renameat2",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "syncfs",
    "fchmod",
    "utimensat",
];

fn lab_of_some_size() -> Lab {
    let lab = Lab::small();
    for n in 0..120 {
        lab.write(format!("data/assets/d{}/{n}", n % 10), noise(20_000 + n as usize * 300, n));
    }
    lab
}

/// Runs `attempt` at kill points until it says that the command was not killed any more: at all, or at some far apart.
/// Returns how many there were.
pub fn each_kill_point(mut attempt: impl FnMut(&str, u32) -> bool) -> u32 {
    let all = std::env::var("LRL_TEST_ROUNDS").as_deref() == Ok("all");
    let mut points = 0;
    for call in MUTATING {
        let mut n = 1;
        while attempt(call, n) {
            points += 1;
            n += if all { 1 } else { 2 * n };
        }
    }
    points
}

/// Runs a command that is killed before one thread's n-th use of a system call; returns whether it got that far.
pub fn killed(lab: &Lab, line: &str, call: &str, n: u32) -> bool {
    // The question mark: not every machine has every one of them.
    let (trace, inject) = (format!("trace=?{call}"), format!("inject=?{call}:signal=KILL:when={n}"));
    let status = strace(lab, &["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject], line).status;
    assert!(matches!(status.code(), None | Some(0)), "{call} {n}: {status}");
    status.code().is_none()
}

/// Runs a command in which one thread's n-th use of a system call fails; returns how it ended, or `None` if it never got that far.
fn failing(lab: &Lab, line: &str, call: &str, error: &str, n: u32) -> Option<Run> {
    let log = lab.path("strace.log");
    let (trace, inject) = (format!("trace=?{call}"), format!("inject=?{call}:error={error}:when={n}"));
    let run = strace(lab, &["-f", "-qq", "-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject], line);
    let hit = fs::read_to_string(&log).unwrap().contains("(INJECTED)");
    let run: Run = run.into();
    assert!(!run.stderr.contains("panicked"), "{error} of {call} {n}: {}", run.stderr);
    assert!(hit || run.code == 0, "{line}: {} {}", run.code, run.stderr);
    hit.then_some(run)
}

/// Runs `attempt` with one call that fails: EIO and ENOSPC at every use of every call that changes something, or one of them at some.
fn each_failing_call(attempt: impl Fn(&str, &str, u32) -> bool) -> usize {
    let all = std::env::var("LRL_TEST_ROUNDS").as_deref() == Ok("all");
    let mut tried = 0;
    each_kill_point(|call, n| {
        let errors: &[&str] = match n {
            _ if all => &["ENOSPC", "EIO"],
            1 => &["ENOSPC"],
            _ => &["EIO"],
        };
        let hit = errors.iter().filter(|error| attempt(call, error, n)).count();
        tried += hit;
        hit > 0
    });
    tried
}

#[test]
fn a_call_that_fails_is_told_and_nothing_half_is_published() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let points = each_failing_call(|call, error, n| {
        let what = format!("{error} of {call} {n}");
        lab.write(format!("data/assets/fails/{call}-{n}"), noise(3000, n.into()));
        lab.database().execute("UPDATE users SET status = ?1", [n]).unwrap();
        let before = names(lab.path("backups/store/snapshots/lab")).len();
        let Some(run) = failing(&lab, "backup", call, error, n) else { return false };
        let after = names(lab.path("backups/store/snapshots/lab")).len();
        assert!([0, 1, 3, 5].contains(&run.code), "{what}: {} {}", run.code, run.stderr);
        assert!(![0, 3, 5].contains(&run.code) || after == before + 1, "{what}: {} {}", run.code, run.stderr);
        assert_whole(&lab, "backups");
        lab.lrl("backup").expect(0);
        lab.lrl("restore --data-dir new").expect(0);
        assert_same(&look(&lab.path("new/assets")), &look(&lab.path("data/assets")), &what);
        fs::remove_dir_all(lab.path("new")).unwrap();
        true
    });
    assert!(points > 5, "{points} calls");
    println!("{points} failing calls of backup");
}

#[test]
fn a_sync_that_fails_leaves_no_part_of_a_set() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let mut n = 1;
    loop {
        lab.write("data/assets/changes", noise(3000, n.into()));
        lab.database().execute("UPDATE users SET status = ?1", [n]).unwrap();
        let Some(run) = failing(&lab, "backup", "fsync", "EIO", n) else { break };
        let counts = [".sqlite", ".tar.gz", ".json"].map(|end| outputs(&lab, "backups", end).len());
        assert!(counts.iter().all(|count| *count == counts[0]), "{n}: {counts:?} {}", run.stderr);
        n += 1;
    }
    assert!(n > 5, "{n} syncs");
}

#[test]
fn a_restore_in_which_a_call_fails_changes_nothing_or_is_done() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let live = |data: &str| (look(&lab.path(data).join("assets")), fs::read(lab.path(data).join("lrl.db")).unwrap());
    let new = live("data");
    lab.database().execute("DELETE FROM users", []).unwrap();
    lab.write("data/assets/later", b"later");
    let old = live("data");
    let points = each_failing_call(|call, error, n| {
        let _ = fs::remove_dir_all(lab.path("target"));
        let copied = Command::new("cp").args(["-a", "data", "target"]).current_dir(lab.path("")).status().unwrap();
        assert!(copied.success());
        let Some(run) = failing(&lab, "restore --data-dir target", call, error, n) else { return false };
        let what = format!("{error} of {call} {n}: {} {}", run.code, run.stderr);
        // What was taken back may have failed half-way too; then the message names the way.
        let undone = run.stderr.contains("lrl restore --undo");
        if run.code != 0 && undone {
            lab.lrl("restore --undo --data-dir target").expect(0);
        }
        let found = live("target");
        assert!([0, 1].contains(&run.code), "{what}");
        assert!(if run.code == 0 { found == new } else { found == old || !undone && found == new }, "{what}");
        lab.lrl("restore --data-dir target").expect(0);
        assert!(live("target") == new, "{what}");
        true
    });
    assert!(points > 5, "{points} calls");
    println!("{points} failing calls of restore");
}

#[test]
fn a_prune_in_which_a_call_fails_deletes_nothing_that_is_needed() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    for n in 0..6 {
        lab.write("data/assets/changes", noise(50_000, n));
        lab.write(format!("data/assets/new/{n}"), noise(3000, n + 500));
        lab.lrl("backup --snapshot-only").expect(0);
    }
    let right = look(&lab.path("data/assets"));
    lab.lrl("forget --keep-last 2").expect(0);
    fs::rename(lab.path("backups"), lab.path("worn")).unwrap();
    let points = each_failing_call(|call, error, n| {
        let _ = fs::remove_dir_all(lab.path("backups"));
        assert!(
            Command::new("cp").args(["-a", "worn", "backups"]).current_dir(lab.path("")).status().unwrap().success()
        );
        let Some(run) = failing(&lab, "prune --max-unused 0", call, error, n) else { return false };
        let what = format!("{error} of {call} {n}");
        assert!([0, 1].contains(&run.code), "{what}: {} {}", run.code, run.stderr);
        lab.lrl("check --read-data").expect(0);
        lab.lrl("backup --snapshot-only").expect(0);
        lab.lrl("prune --max-unused 0").expect(0);
        lab.lrl("check --read-data").expect(0);
        lab.lrl("restore --data-dir new").expect(0);
        assert_same(&look(&lab.path("new/assets")), &right, &what);
        fs::remove_dir_all(lab.path("new")).unwrap();
        true
    });
    assert!(points > 5, "{points} calls");
    println!("{points} failing calls of prune");
}

#[test]
fn a_kill_at_any_change_of_the_disk_loses_nothing_that_was_listed() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let points = each_kill_point(|call, n| {
        lab.write(format!("data/assets/kill/{call}-{n}"), noise(3000, n.into()));
        lab.database().execute("UPDATE users SET status = ?1", [n]).unwrap();
        if !killed(&lab, "backup", call, n) {
            return false;
        }
        lab.lrl("check --read-data").expect(0);
        lab.lrl("drill").expect(0);
        lab.lrl("backup").expect(0);
        lab.lrl("restore --data-dir new").expect(0);
        assert_same(&look(&lab.path("new/assets")), &look(&lab.path("data/assets")), &format!("killed at {call} {n}"));
        fs::remove_dir_all(lab.path("new")).unwrap();
        true
    });
    assert!(points > 5, "{points} kill points");
    assert_whole(&lab, "backups");
    println!("{points} kill points of backup");
}

#[test]
fn a_restore_that_is_killed_leaves_old_or_new() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let new = (look(&lab.path("data/assets")), fs::read(lab.path("data/lrl.db")).unwrap());
    lab.database().execute("DELETE FROM users", []).unwrap();
    lab.write("data/assets/later", b"later");
    let old = (look(&lab.path("data/assets")), fs::read(lab.path("data/lrl.db")).unwrap());
    let points = each_kill_point(|call, n| {
        let _ = fs::remove_dir_all(lab.path("target"));
        assert!(
            Command::new("cp").args(["-a", "data", "target"]).current_dir(lab.path("")).status().unwrap().success()
        );
        lab.write("target/lrl.db-journal", b"");
        let was_killed = killed(&lab, "restore --data-dir target", call, n);
        let uploads = look(&lab.path("target/assets"));
        assert!(uploads == new.0 || uploads == old.0, "killed at {call} {n}: {:?}", names(lab.path("target")));
        let database = fs::read(lab.path("target/lrl.db")).unwrap();
        assert!(database == new.1 || database == old.1, "killed at {call} {n}");
        if !was_killed {
            return false;
        }
        // Everything was in place: then it counts as done, though the run could not say so any more.
        let was_done = uploads == new.0 && database == new.1;
        lab.lrl("restore --data-dir target").expect(0);
        assert_same(&look(&lab.path("target/assets")), &new.0, &format!("killed at {call} {n}"));
        assert!(fs::read(lab.path("target/lrl.db")).unwrap() == new.1);
        let kept = outputs(&lab, "target", ".pre-restore").len();
        assert!(kept >= 2, "killed at {call} {n}: {:?}", names(lab.path("target")));
        lab.lrl("restore --undo --data-dir target").expect(0);
        let (assets, database) = if was_done { &new } else { &old };
        assert_same(&look(&lab.path("target/assets")), assets, &format!("undone after {call} {n}"));
        assert!(fs::read(lab.path("target/lrl.db")).unwrap() == *database, "undone after {call} {n}");
        true
    });
    assert!(points > 5, "{points} kill points");
    println!("{points} kill points of restore");
}

#[test]
fn a_signal_at_any_moment_ends_with_130_and_leaves_no_litter() {
    let lab = lab_of_some_size();
    lab.lrl("backup").expect(0);
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    let from_set = format!("restore --data-dir target --manifest {}", manifest.display());
    let lines = ["backup", "restore --data-dir target", "drill", "export --out copy", "check --read-data", &from_set];
    let mut interrupted = 0;
    for (round, delay) in [5, 30, 70, 150].into_iter().enumerate() {
        for (at, line) in lines.iter().enumerate() {
            lab.write(format!("data/assets/new/{round}-{at}"), noise(900_000, delay + at as u64));
            let mut child =
                lab.command(line.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            let signal = ["-INT", "-TERM", "-HUP"][(round + at) % 3];
            let _ =
                Command::new("kill").arg(signal).arg(child.id().to_string()).stderr(Stdio::null()).status().unwrap();
            let status = child.wait().unwrap();
            // A signal that comes before lrl listens ends it as the system does.
            assert!(matches!(status.code(), Some(0 | 130) | None), "{line}: {status}");
            interrupted += u32::from(status.code() == Some(130));
            let _ = fs::remove_dir_all(lab.path("copy"));
            if status.code().is_some() {
                for place in ["", "backups", "backups/store", "target"].map(|place| lab.path(place)) {
                    let found = if place.exists() { names(&place) } else { Vec::new() };
                    // The record that --undo reads is no litter.
                    let litter = found.iter().any(|name| name.starts_with('.') && name != ".lrl-undo.json");
                    assert!(!litter, "{line} after {delay} ms: {found:?}");
                }
            }
        }
    }
    assert!(interrupted > 2, "only {interrupted} runs were interrupted");
    assert_whole(&lab, "backups");
    lab.lrl("backup").expect(0);
    lab.lrl("restore --data-dir target").expect(0);
    assert_same(&look(&lab.path("target/assets")), &look(&lab.path("data/assets")), "restored");
    println!("{interrupted} of 24 runs were interrupted");
}

#[test]
fn a_full_disk_keeps_what_is_listed_and_needs_only_room() {
    let lab = lab_of_some_size();
    let Some(disk) = Disk::mount(lab.path("backups"), "12m") else { return };
    lab.lrl("backup").expect(0);
    let mut codes = Vec::new();
    for n in 0..12 {
        lab.write(format!("data/assets/more/{n}"), noise(700_000, 1000 + n));
        let run = lab.lrl("backup --reserve 0");
        if run.code != 0 {
            // Told by the system, or before it came to that.
            let told = run.stderr.matches("No space left").count() + run.stderr.matches("are needed").count();
            assert!(told == 1 && !run.stderr.contains("panic"), "{}", run.stderr);
            assert_eq!(run.stderr.matches(".tmp-").count(), 0, "a temporary name says nothing: {}", run.stderr);
        }
        codes.push(run.code);
        lab.lrl("check --read-data").expect(0);
        let litter = files_with(&lab.path("backups"), ".tmp");
        assert!(litter.is_empty(), "{litter:?}");
        assert_eq!(outputs(&lab, "backups", ".tar.gz").len(), outputs(&lab, "backups", ".json").len());
    }
    assert!(codes.iter().all(|code| [0, 1, 5].contains(code)) && codes.iter().any(|code| *code != 0), "{codes:?}");
    // No byte free at all: reading works.
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k"])
        .arg(format!("of={}", lab.path("backups/fill").display()))
        .output();
    let run = lab.lrl("backup --reserve 0");
    assert!([1, 5].contains(&run.code), "{}", run.code);
    for line in ["check --read-data", "snapshots", "restore --data-dir new", "drill --snapshot latest"] {
        lab.lrl(line).expect(0);
    }
    fs::remove_file(lab.path("backups/fill")).unwrap();
    disk.remount("size=80m");
    lab.lrl("backup").expect(0);
    assert_whole(&lab, "backups");
    println!("exit codes while the disk filled up: {codes:?}");
}

#[test]
fn a_locked_store_is_exit_11_and_no_store_is_exit_10() {
    let lab = Lab::small();
    for line in [
        "snapshots",
        "restore",
        "check",
        "stats",
        "ls latest",
        "export --out copy",
        "drill --snapshot latest",
        "drill",
        "forget --keep-last 1",
        "prune",
        "prune --dry-run",
    ] {
        lab.lrl(line).expect(10);
    }
    lab.write("foreign/backups/readme", b"");
    for line in ["snapshots", "restore", "check"] {
        lab.lrl(&format!("{line} --backup foreign/backups")).expect(10);
    }
    lab.lrl("backup --out foreign --store foreign/backups").expect(1);
    lab.lrl("backup").expect(0);
    let script = "import fcntl, sys; f = open('backups/store/lock', 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()";
    let mut holder = Command::new("python3");
    let holder = holder.args(["-c", script]).current_dir(lab.path("")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
    let lines =
        ["backup", "restore", "snapshots", "check", "check --repair", "export --out copy", "drill --snapshot latest"];
    for line in lines.into_iter().chain(["forget --keep-last 1", "forget latest --dry-run", "prune", "prune --dry-run"])
    {
        let run = lab.lrl(&format!("{line} --lock-wait 1s"));
        assert_eq!(run.code, 11, "{line}: {}", run.stderr);
        assert!(run.stderr.contains("backups/store/lock"), "{line}: {}", run.stderr);
    }
    drop(holder.stdin.take());
    holder.wait().unwrap();
    lab.lrl("backup").expect(0);
    assert!(!lab.path("copy").exists());
}

/// Damages every object, each in several ways: check finds it and names it, restore gives right bytes or none.
#[test]
fn damage_to_any_object_is_found_named_and_never_restored() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.upload("ab12/v3.txt", &noise(9000, 5));
    lab.lrl("backup").expect(0);
    let right = (look(&lab.path("data/assets")), fs::read(lab.path("data/lrl.db")).unwrap());
    let store = lab.path("backups/store");
    let objects = files_with(&store, "");
    let objects: Vec<_> = objects
        .iter()
        .filter(|path| !path.to_string_lossy().contains("/lock") && !path.starts_with(store.join("cache")))
        .collect();
    assert!(objects.len() >= 7, "{objects:?}");
    let mut states = 0;
    for object in objects {
        let name = object.strip_prefix(&store).unwrap().to_string_lossy().into_owned();
        let good = fs::read(object).unwrap();
        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            Some(bytes)
        };
        let ways = [
            None,
            Some(Vec::new()),
            Some(good[..good.len() - 1].to_vec()),
            flipped(0),
            flipped(good.len() / 2),
            flipped(good.len() - 1),
        ];
        for (way, bytes) in ways.into_iter().enumerate() {
            match &bytes {
                None => fs::remove_file(object).unwrap(),
                Some(bytes) => fs::write(object, bytes).unwrap(),
            }
            states += 1;
            // A snapshot or index that is gone leaves no trace but in what refers to it.
            let run = lab.lrl("check --read-data");
            let unseen = bytes.is_none()
                && (name.starts_with("snapshots") || name.starts_with("index") || name.starts_with("drills"));
            assert!(run.code == 4 || unseen, "{name}, way {way}: {} {} {}", run.code, run.stdout, run.stderr);
            assert!(
                unseen || format!("{}{}", run.stdout, run.stderr).contains(&name),
                "{name}, way {way}: {}{}",
                run.stdout,
                run.stderr
            );
            let _ = fs::remove_dir_all(lab.path("new"));
            // Without a name an older one is taken, in which a check found no damage.
            let run = lab.lrl("restore latest --force --data-dir new");
            assert!([0, 1, 10].contains(&run.code), "{name}, way {way}: {} {}", run.code, run.stderr);
            if run.code == 0 && !name.starts_with("snapshots") {
                assert_same(&look(&lab.path("new/assets")), &right.0, &format!("{name}, way {way}"));
                assert!(fs::read(lab.path("new/lrl.db")).unwrap() == right.1, "{name}, way {way}");
            } else {
                assert!(!lab.path("new/lrl.db").exists() || run.code == 0, "{name}, way {way}");
            }
            fs::write(object, &good).unwrap();
        }
    }
    assert_whole(&lab, "backups");
    println!("{states} damaged states");
}

#[test]
fn what_cannot_be_read_back_is_never_listed() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let mut snapshots = names(lab.path("backups/store/snapshots/lab")).len();
    let pack = files_with(&lab.path("backups/store"), "packs/").remove(0);
    let good = fs::read(&pack).unwrap();
    for archive in outputs(&lab, "backups", ".tar.gz") {
        fs::remove_file(archive).unwrap();
    }
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    for bytes in [Some(bad), None] {
        match &bytes {
            Some(bytes) => fs::write(&pack, bytes).unwrap(),
            None => fs::remove_file(&pack).unwrap(),
        }
        // Stored again from the source, or refused: never a snapshot that lacks something.
        let run = lab.lrl("backup");
        let listed = names(lab.path("backups/store/snapshots/lab")).len();
        match run.code {
            0 => drop(lab.lrl("drill --snapshot latest").expect(0)),
            code => assert!(code == 1 && listed == snapshots && run.stderr.contains("packs/"), "{code} {}", run.stderr),
        }
        snapshots = listed;
    }
    fs::write(&pack, &good).unwrap();
    lab.lrl("backup").expect(0);
    // The sets whose archives went on purpose are another matter.
    lab.lrl("check --read-data --store backups/store --backup none").expect(0);
}

#[test]
fn a_truncated_archive_and_a_manifest_that_points_elsewhere_fail_the_drill() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let archive = outputs(&lab, "backups", ".tar.gz").remove(0);
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    let good = fs::read(&archive).unwrap();
    for len in [0, 10, good.len() / 2, good.len() - 1] {
        fs::write(&archive, &good[..len]).unwrap();
        lab.lrl("drill").expect(4);
    }
    fs::remove_file(&archive).unwrap();
    lab.lrl("drill").expect(4);
    symlink("/etc/hostname", &archive).unwrap();
    lab.lrl("drill").expect(4);
    fs::remove_file(&archive).unwrap();
    fs::write(&archive, &good).unwrap();
    lab.lrl("drill").expect(0);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::create_dir(lab.path("elsewhere")).unwrap();
    let name = archive.file_name().unwrap().to_str().unwrap();
    fs::rename(&archive, lab.path("elsewhere").join(name)).unwrap();
    for place in ["./elsewhere/", "../elsewhere/", lab.path("elsewhere/").to_str().unwrap()] {
        fs::write(&manifest, text.replace(&format!("./backups/{name}"), &format!("{place}{name}"))).unwrap();
        lab.lrl("drill").expect(4);
        let before = look(&lab.path("data"));
        lab.run(["restore".as_ref(), "--manifest".as_ref(), manifest.as_os_str()]).expect(1);
        assert_same(&look(&lab.path("data")), &before, "the tree as it was");
    }
    change(&lab, &manifest, |bytes| bytes.truncate(20));
    lab.run(["drill".as_ref(), "--manifest".as_ref(), manifest.as_os_str()]).expect(4);
    lab.lrl("drill --backup elsewhere").expect(1);
    assert!(Path::new(&archive).parent().unwrap().exists());
}

#[test]
fn a_flush_that_fails_while_a_set_is_written_is_not_forgotten_by_the_last_sync() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    lab.write("data/assets/large", noise(20 << 20, 1));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "trace", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]);
    command.arg(env!("CARGO_BIN_EXE_lrl")).arg("backup").current_dir(lab.path("")).env_remove("STORAGE_PATH");
    let output = command.env("HOME", lab.path("home")).output().unwrap();
    assert!(fs::read_to_string(lab.path("trace")).unwrap().contains("INJECTED"), "no file was large enough");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 5)), "{:?} {text}", output.status);
    assert!(text.contains("cannot sync"), "{text}");
    for ending in [".json", ".tar.gz", ".sqlite"] {
        assert!(outputs(&lab, "backups", ending).is_empty(), "{ending}");
    }
    lab.lrl("backup").expect(0);
    lab.lrl("drill").expect(0);
}
