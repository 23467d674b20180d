//! Programs that have the database open.

use super::*;

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
