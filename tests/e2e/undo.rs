//! `lrl restore --undo`, also after kills from outside: restores the old data byte for byte, or changes nothing.

// A log says what could not be tried here, and how many states were.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::common::{Lab, Run};
use crate::faults::{each_kill_point, killed};
use crate::helpers::{Seen, assert_same, look, names, there_is};

/// A lab whose state differs from its snapshot, with what a dead application leaves beside its database.
fn changed() -> Lab {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.database().execute("DELETE FROM users", []).unwrap();
    lab.write("data/assets/later", b"later\n");
    lab.write("data/lrl.db-journal", b"");
    lab
}

/// What is in place, without what is kept beside it.
fn live(lab: &Lab) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = look(&lab.path("data"));
    seen.retain(|path, _| {
        let first = path.split(|b| *b == b'/').next().unwrap_or_default();
        matches!(first, b"assets" | b"lrl.db" | b"lrl.db-wal" | b"lrl.db-journal" | b"lrl.db-shm")
    });
    seen
}

#[test]
fn what_was_there_comes_back_and_a_second_undo_takes_that_back() {
    let lab = changed();
    let old = live(&lab);
    let run = lab.lrl("restore --undo").expect(1);
    assert!(run.stderr.contains("nothing to undo in ./data"), "{}", run.stderr);
    let run = lab.lrl("restore").expect(0);
    assert!(run.stdout.contains("it takes ") && run.stdout.contains("lrl restore --undo"), "{}", run.stdout);
    let new = live(&lab);
    assert!(new != old);
    let mode = |name: &str| fs::metadata(lab.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data/.lrl-undo.json"), 0o600);
    let before = look(&lab.path(""));
    let run = lab.lrl("restore --undo --dry-run").expect(0);
    assert!(run.stdout.contains("Would undo the restore from snapshot") && run.stdout.contains("Nothing was changed"));
    assert_same(&look(&lab.path("")), &before, "a dry run");
    let run = lab.lrl("restore --undo").expect(0);
    assert!(run.stdout.contains("./data/lrl.db is kept as ./data/lrl.db.undone"), "{}", run.stdout);
    assert_same(&live(&lab), &old, "as it was before the restore");
    let json = lab.lrl("restore --undo --json").expect(0).json();
    assert!(json["restored_again"] == true && json["returned"][0]["part"] == "database", "{json}");
    assert_same(&live(&lab), &new, "as it was after the restore");
    // The last restore alone is on record, and a word tells what earlier ones left.
    let run = lab.lrl("restore --db-only").expect(0);
    assert!(run.stderr.contains("earlier restores left"), "{}", run.stderr);
    lab.lrl("restore --undo").expect(0);
    assert_same(&live(&lab), &new, "as it was after the first restore");
    for flag in ["--db-only", "--assets-only", "--path assets/x", "--manifest x", "latest", "--owner 0:0"] {
        lab.lrl(&format!("restore --undo {flag}")).expect(2);
    }
}

#[test]
fn sets_and_second_roots_and_copies_of_a_lab_are_undone_too() {
    let mut lab = changed();
    lab.write("keys/k.bin", b"before");
    lab.set("STORAGE_PATH", "keys");
    lab.lrl("backup").expect(0);
    lab.write("keys/k.bin", b"after");
    let old = live(&lab);
    let manifest = crate::helpers::outputs(&lab, "backups", ".json").pop().unwrap();
    lab.run(["restore".as_ref(), "--manifest".as_ref(), manifest.as_os_str()]).expect(0);
    assert_eq!(fs::read(lab.path("keys/k.bin")).unwrap(), b"before");
    lab.set("STORAGE_PATH", "elsewhere");
    let run = lab.lrl("restore --undo").expect(1);
    assert!(run.stderr.contains("set STORAGE_PATH as it was"), "{}", run.stderr);
    lab.set("STORAGE_PATH", "keys");
    // On another disk the inodes are others.
    assert!(Command::new("cp").args(["-a", "data", "copy"]).current_dir(lab.path("")).status().unwrap().success());
    fs::remove_dir_all(lab.path("data")).unwrap();
    fs::rename(lab.path("copy"), lab.path("data")).unwrap();
    lab.lrl("restore --undo").expect(0);
    assert_eq!(fs::read(lab.path("keys/k.bin")).unwrap(), b"after");
    assert_same(&live(&lab), &old, "as it was before the restore");
}

#[test]
fn an_undo_is_refused_while_somebody_has_the_files_open_or_a_copy_is_gone() {
    let lab = changed();
    lab.lrl("restore").expect(0);
    let mut holder = Command::new("tail");
    holder.args(["-f", "data/lrl.db"]).current_dir(lab.path("")).stdout(Stdio::null()).stdin(Stdio::null());
    let mut holder = holder.spawn().unwrap();
    while fs::read_dir(format!("/proc/{}/fd", holder.id())).unwrap().count() < 4 {
        std::thread::yield_now();
    }
    let before = look(&lab.path("data"));
    let run = lab.lrl("restore --undo").expect(1);
    assert!(run.stderr.contains(&format!("process {}", holder.id())), "{}", run.stderr);
    assert_same(&look(&lab.path("data")), &before, "refused");
    lab.lrl("restore --undo --force").expect(0);
    holder.kill().unwrap();
    holder.wait().unwrap();
    fs::remove_dir_all(lab.path("data/assets.undone")).unwrap();
    let run = lab.lrl("restore --undo").expect(1);
    assert!(run.stderr.contains("assets.undone is not there any more"), "{}", run.stderr);
}

#[test]
fn a_restore_killed_half_way_is_no_state_to_back_up() {
    if !there_is("strace") {
        return;
    }
    let mut refused = 0;
    for n in 1..20 {
        let lab = changed();
        let old = live(&lab);
        if !killed(&lab, "restore", "renameat2", n) {
            break;
        }
        let run = lab.lrl("backup");
        if run.code == 1 {
            assert!(run.stderr.contains("killed half way"), "{}", run.stderr);
            lab.lrl("backup --dry-run").expect(1);
            refused += 1;
        }
        lab.lrl("restore --undo").expect(0);
        assert_same(&live(&lab), &old, &format!("killed at {n}"));
        lab.lrl("backup").expect(0);
    }
    assert!(refused > 0);
}

#[test]
fn an_undo_that_is_killed_leaves_old_or_new_after_the_next_command() {
    if !there_is("strace") {
        return;
    }
    let lab = changed();
    lab.write("data/lrl.db-wal", b"");
    let old = live(&lab);
    lab.lrl("restore").expect(0);
    let new = live(&lab);
    let points = each_kill_point(|call, n| {
        let was = live(&lab);
        let was_killed = killed(&lab, "restore --undo", call, n);
        if lab.path("data/.lrl-restore.json").exists() {
            assert!(was_killed);
            lab.lrl("restore --undo").expect(0);
            assert!(live(&lab) != was || !was_killed, "killed at {call} {n}: {:?}", names(lab.path("data")));
        }
        let now = live(&lab);
        assert!(now == old || now == new, "killed at {call} {n}: {:?}", names(lab.path("data")));
        was_killed
    });
    assert!(points > 5, "{points} kill points");
    println!("{points} kill points of restore --undo");
}

#[test]
fn who_holds_a_lock_is_found_where_proc_does_not_show_it() {
    let lab = changed();
    fs::remove_file(lab.path("data/lrl.db-journal")).unwrap();
    // A process namespace of its own, as a container has.
    let lrl = |line: &str| -> Run {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", env!("CARGO_BIN_EXE_lrl")]).args(line.split_whitespace());
        command.current_dir(lab.path("")).env("HOME", lab.path("home")).env_remove("STORAGE_PATH");
        command.output().unwrap().into()
    };
    if !there_is("unshare") || lrl("--version").code != 0 {
        println!("skipped: no process namespaces here");
        return;
    }
    let script = "import sqlite3, sys; c = sqlite3.connect('data/lrl.db'); c.execute('pragma journal_mode = wal'); \
                  c.execute('select 1 from users').fetchall(); print('open', flush=True); sys.stdin.read()";
    let mut holder = Command::new("python3");
    holder.args(["-c", script]).current_dir(lab.path("")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
    let before = look(&lab.path("data"));
    let run = lrl("restore").expect(1);
    assert!(run.stderr.contains("a process that cannot be seen from here"), "{}", run.stderr);
    assert_same(&look(&lab.path("data")), &before, "refused");
    // Where it can be seen it is named, once.
    let run = lab.lrl("restore").expect(1);
    assert!(
        run.stderr.contains(&format!("process {}", holder.id())) && !run.stderr.contains("more:"),
        "{}",
        run.stderr
    );
    drop(holder.stdin.take());
    holder.wait().unwrap();
    lrl("restore").expect(0);
}
