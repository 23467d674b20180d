//! Programs that have the database open.

use super::*;
use crate::ops::restore::LockHolder;
use crate::ops::restore::open_files::{Process, refuse_open};

#[test]
fn who_has_it_open_is_named_and_force_goes_on() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    lab.write("assets/x", b"new");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    for (path, what) in [
        ("lrl.db", What::DbOnly),
        ("assets/x", What::AssetsOnly),
        ("assets/x", What::Paths(vec![b"assets/x".to_vec()])),
    ] {
        let file = lab.data().join(path);
        fs::write(&file, b"old").unwrap();
        let mut holder =
            std::process::Command::new("sleep").arg("60").stdin(File::open(&file).unwrap()).spawn().unwrap();
        let refused = lab.restore(&snapshot, what.clone());
        let dry = lab.restore_with(&snapshot, &Options { dry_run: true, ..lab.options(what.clone()) }).unwrap();
        let forced = lab.restore_with(&snapshot, &Options { force: true, ..lab.options(what) });
        let pid = holder.id();
        holder.kill().unwrap();
        holder.wait().unwrap();
        let Err(Error::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(
            text.text().contains("sleep") && text.text().contains(&pid.to_string()) && text.text().contains(path),
            "{text}"
        );
        assert_eq!(dry.holders[0].pid, Some(pid));
        assert_eq!(forced.unwrap().holders.len(), 1);
        assert_ne!(fs::read(&file).unwrap(), b"old");
    }
}

#[test]
fn a_program_that_is_just_being_started_holds_nothing() {
    // Until it runs, a child shares what any thread of its parent has open.
    let lab = Lab::new();
    lab.write("lrl.db", &[3; 3000]);
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data()).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let done = AtomicBool::new(false);
    // It looks for its program in many places first.
    let path = "/nowhere:".repeat(20_000);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Command::new("no-such-program").env("PATH", &path).status();
                }
            });
        }
        let options = Options { dry_run: true, ..lab.options(What::Whole) };
        let found: usize = (0..30)
            .map(|_| {
                let open = File::open(lab.data().join("lrl.db")).unwrap();
                std::thread::sleep(Duration::from_millis(5));
                drop(open);
                lab.restore_with(&snapshot, &options).unwrap().holders.len()
            })
            .sum();
        done.store(true, Ordering::Relaxed);
        assert_eq!(found, 0);
    });
}

#[test]
#[ignore = "the other run in the test below"]
fn holds_what_it_was_given_for_a_while() {
    std::thread::sleep(Duration::from_secs(20));
}

#[test]
fn another_run_of_the_same_program_is_named() {
    let lab = Lab::new();
    lab.write("lrl.db", &[3; 3000]);
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data()).unwrap();
    let database = lab.data().join("lrl.db");
    fs::write(&database, b"old").unwrap();
    // No child of this process: the shell's.
    let script =
        "\"$0\" --ignored --exact ops::restore::tests::open_files::holds_what_it_was_given_for_a_while <\"$1\" >&2 &
                  echo $!; wait";
    let program = std::env::current_exe().unwrap();
    let mut shell = Command::new("sh")
        .args(["-c", script])
        .args([&program, &database])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    while fs::read_link(format!("/proc/{pid}/exe")).unwrap() != program {
        std::thread::sleep(Duration::from_millis(1));
    }
    let dry = lab.restore_with(&snapshot, &Options { dry_run: true, ..lab.options(What::Whole) }).unwrap();
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    shell.wait().unwrap();
    assert_eq!(dry.holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [Some(pid)]);
}

#[test]
fn each_process_that_holds_something_is_named() {
    let process = |pid, command: &str| Process { pid, command: command.into(), path: "/data/lrl.db".into() };
    let refused = |holders: &[Process]| match refuse_open(holders) {
        Err(Error::Refused(text)) => text.text().to_string(),
        other => panic!("{other:?}"),
    };
    refuse_open(&[]).unwrap();
    let rest = "stop it before restoring; nothing was changed";
    let app = "app (process 7) has /data/lrl.db open";
    assert_eq!(refused(&[process(Some(7), "app")]), format!("{app}: {rest}"));
    let three = [process(Some(7), "app"), process(Some(9), "sh"), process(None, "")];
    let others = "sh (process 9) has /data/lrl.db open; a process that cannot be seen from here (in another container?) has \
                  /data/lrl.db open";
    assert_eq!(refused(&three), format!("{app} (and 2 more: {others}): {rest}"));
}

#[test]
fn who_holds_a_lock_on_the_database_is_named_also_where_it_cannot_be_seen() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data()).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let found = |locks| {
        let options = Options { dry_run: true, locks, ..lab.options(What::Whole) };
        lab.restore_with(&snapshot, &options).unwrap().holders
    };
    assert_eq!(found(None), []);
    assert_eq!(found(Some(|_| Ok(None))), []);
    assert_eq!(found(Some(|_| Err(std::io::ErrorKind::PermissionDenied.into()))), []);
    let path = fs::canonicalize(lab.data().join("lrl.db")).unwrap();
    let unseen = Process { pid: None, command: String::new(), path: path.clone() };
    assert_eq!(found(Some(|_| Ok(Some(LockHolder::Unseen)))), [unseen]);
    let holders = found(Some(|_| Ok(Some(LockHolder::Process(1)))));
    assert_eq!(holders.iter().map(|one| (one.pid, &one.path)).collect::<Vec<_>>(), [(Some(1), &path)]);
    let locks: Option<crate::ops::restore::AskLocks> = Some(|_| Ok(Some(LockHolder::Unseen)));
    let refused = lab.restore_with(&snapshot, &Options { locks, ..lab.options(What::Whole) });
    assert!(matches!(&refused, Err(Error::Refused(text)) if text.text().contains("another container")), "{refused:?}");
    assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"old");
}

#[test]
fn a_program_that_has_a_file_mapped_holds_it() {
    let lab = Lab::new();
    lab.write("assets/x", b"new");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    // A program that runs has itself mapped, and no descriptor of it.
    let program = lab.data().join("assets/sleep");
    fs::copy("/bin/sleep", &program).unwrap();
    set_mode(&program, 0o755);
    // A child that another test has just forked may still have it open to write.
    let start = || Command::new(&program).arg("60").spawn();
    let mut holder = loop {
        match start() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            started => break started.unwrap(),
        }
    };
    let dry = Options { dry_run: true, ..lab.options(What::AssetsOnly) };
    let found = lab.restore_with(&snapshot, &dry).unwrap().holders;
    let pid = holder.id();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let path = fs::canonicalize(&program).unwrap();
    assert_eq!(found, [Process { pid: Some(pid), command: "sleep".into(), path }]);
    assert!(lab.restore_with(&snapshot, &dry).unwrap().holders.is_empty());
}
