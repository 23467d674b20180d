//! A restore that is interrupted.

use super::*;

#[test]
fn an_interrupted_restore_changes_nothing() {
    let lab = Lab::new();
    lab.write("lrl.db", &[3; 300_000]);
    (0..20).for_each(|n| _ = lab.write(&format!("assets/{n}/file"), &[n; 1000]));
    fs::hard_link(lab.source().join("assets/3/file"), lab.source().join("assets/4/again")).unwrap();
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let before = look_inside(&lab.data());
    let mut after = 0;
    loop {
        let observer = Impatient(after.into());
        match restore(&lab.store, &name(), &snapshot, &lab.options(What::Whole), &observer) {
            Err(Error::Interrupted) => assert_eq!(look_inside(&lab.data()), before, "after {after}"),
            other => break other.map(drop).unwrap(),
        }
        after += 1;
    }
    assert!(after > 60, "was only asked {after} times");
}

#[test]
fn an_interruption_is_no_damage_to_be_skipped() {
    /// Interrupts once, and later questions as if nothing had been.
    struct Once(std::sync::atomic::AtomicI32);
    impl Observer for Once {
        fn interrupted(&self) -> bool {
            self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0
        }
    }
    let lab = Lab::new();
    lab.write("lrl.db", &[3; 300_000]);
    lab.write("assets/ab/file", b"x");
    let snapshot = lab.snapshot();
    let options = Options { skip_damaged: true, ..lab.options(What::Whole) };
    for after in 0.. {
        match restore(&lab.store, &name(), &snapshot, &options, &Once(after.into())) {
            Err(Error::Interrupted) => assert!(!lab.data().join("lrl.db").exists(), "after {after}"),
            other => {
                assert!(after > 10 && other.unwrap().skipped.is_empty(), "after {after}");
                break;
            }
        }
    }
}
