//! What an undo, or a dry run of one, says of what it finds.

use super::*;
use crate::hint::Hint;

fn texts(notes: &[String]) -> String {
    notes.join("; ")
}

#[test]
fn what_came_later_under_a_kept_name_stays_and_is_named() {
    let (lab, _) = restored_lab();
    let later = lab.data().join("lrl.db.pre-restore-shm");
    fs::write(&later, b"later").unwrap();
    let undone = lab.undo().unwrap();
    let expected = format!("{} came later and stays where it is", later.display());
    assert!(undone.notes.contains(&expected), "{:?}", undone.notes);
    assert_eq!(fs::read(&later).unwrap(), b"later");
    assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"old");
    assert!(!lab.data().join("lrl.db-shm").exists());
}

#[test]
fn dry_runs_tell_that_a_killed_restore_would_be_settled_and_change_nothing() {
    let mut states = 0;
    for at in (0..).step_by(4) {
        let (lab, snapshot) = old_lab();
        let dry = Options { dry_run: true, ..lab.options(What::Whole) };
        let told = |lab: &Lab| {
            let report = lab.restore_with(&snapshot, &dry).unwrap();
            report.notes.iter().any(|note| note.text().contains("it would be taken back first"))
        };
        faults::arm(at, true);
        let run = catch_unwind(AssertUnwindSafe(|| lab.restore(&snapshot, What::Whole).map(drop)));
        if !faults::disarm() {
            run.unwrap().unwrap();
            assert!(!told(&lab));
            break;
        }
        assert_eq!(told(&lab), lab.is_unfinished(), "step {at}");
        if !lab.is_unfinished() {
            continue;
        }
        states += 1;
        let before = look_inside(&lab.data());
        let would = lab.undo_with(true).unwrap();
        assert!(would.dry_run && texts(&would.notes).contains("would be settled first"), "step {at}: {would:?}");
        assert_eq!(look_inside(&lab.data()), before, "step {at}");
        let undone = lab.undo().unwrap();
        assert!(!undone.dry_run && !texts(&undone.notes).contains("would be"), "step {at}: {undone:?}");
        let paths = |of: &Undone| of.returned.iter().map(|one| one.path.clone()).collect::<Vec<_>>();
        assert_eq!((paths(&would), would.restored_again), (paths(&undone), undone.restored_again), "step {at}");
    }
    assert!(states > 0, "no kill left it unfinished");
}

#[test]
fn directories_that_are_gone_or_elsewhere_now_are_named() {
    let (lab, snapshot) = old_lab();
    let Options { data_dir, storage_dir, .. } = lab.options(What::Whole);
    let undo_in = |storage_dir: &Path| {
        let (data_dir, storage_dir) = (data_dir.clone(), storage_dir.to_path_buf());
        undo(&UndoOptions { data_dir, storage_dir, dry_run: false, force: false, locks: None })
    };
    let is_of_storage = |undone: &Result<Undone>| matches!(undone, Err(Error::Refused(why)) if matches!(why.hints(), [Hint::StorageAsBefore]));
    let _ = lab.restore(&snapshot, What::Paths(vec![b"storage/x".to_vec()])).unwrap();
    let before = look(lab.dir.path());
    let elsewhere = undo_in(&lab.dir.path().join("kept/other"));
    assert!(is_of_storage(&elsewhere), "{elsewhere:?}");
    assert_eq!(look(lab.dir.path()), before);
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    fs::remove_dir_all(storage_dir.parent().unwrap()).unwrap();
    let gone = undo_in(&storage_dir);
    assert!(is_of_storage(&gone), "{gone:?}");
    set_mode(&lab.source().join("assets"), 0o755);
    lab.write("assets/d/x", b"new");
    let _ = lab.restore(&lab.snapshot(), What::AssetsOnly);
    let _ = lab.restore(&lab.snapshot(), What::Paths(vec![b"assets/d/x".to_vec()])).unwrap();
    set_mode(&lab.data().join("assets"), 0o755);
    fs::remove_dir_all(lab.data().join("assets/d")).unwrap();
    let gone = undo_in(&storage_dir);
    assert!(matches!(&gone, Err(Error::Refused(why)) if why.text().contains("is not there any more")), "{gone:?}");
}
