//! Snapshots of which a part is missing, was unreadable or is lost.

use super::*;

#[test]
fn a_missing_part_is_said_and_left_alone() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("no uploads")), "{:?}", report.notes);
    assert_eq!(names_in(&lab.data()), ["assets", "lrl.db"]);
    assert!(matches!(lab.restore(&snapshot, What::AssetsOnly), Err(Error::NotFound(_))));
    assert!(matches!(lab.restore(&snapshot, What::Paths(vec![b"assets/x".to_vec()])), Err(Error::NotFound(_))));
    let mut neither = snapshot.clone();
    neither.databases.clear();
    assert!(matches!(lab.restore(&neither, What::DbOnly), Err(Error::NotFound(_))));
    assert!(matches!(lab.restore(&neither, What::Whole), Err(Error::NotFound(_))));
}

#[test]
fn uploads_that_were_unreadable_are_named() {
    let lab = Lab::new();
    lab.write("assets/x", b"x");
    let mut snapshot = lab.snapshot();
    snapshot.problems.push(Problem { path: "assets/secret".into(), reason: "denied".into(), lost: true });
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("assets/secret")), "{:?}", report.notes);
}

#[test]
fn what_is_lost_as_a_whole_is_skipped_and_replaces_nothing() {
    let lab = Lab::new();
    lab.write("storage/key", b"key");
    let session = WriteSession::new(&lab.store);
    let mut list = Vec::new();
    scan(&session, &lab.source(), &lab.source().join("storage"), &mut list);
    // Of the other root nothing is listed.
    let roots = ["assets", "storage"].map(|root| (root.to_string(), format!("./data/{root}")));
    let uploads = lab.uploads(&session, roots.into(), list);
    session.seal().unwrap();
    let snapshot = document(None, Some(uploads));
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("assets/mine"), b"mine").unwrap();
    let options = Options { skip_damaged: true, ..lab.options(What::AssetsOnly) };
    let _ = lab.restore_with(&snapshot, &options).unwrap();
    assert_eq!(names_in(&lab.data()), ["assets"]);
    assert_eq!(fs::read(lab.data().join("assets/mine")).unwrap(), b"mine");
    assert_eq!(fs::read(lab.dir.path().join("kept/storage/key")).unwrap(), b"key");
}

#[test]
fn a_path_that_is_not_there_or_was_not_given_is_not_found() {
    let lab = Lab::new();
    lab.write("assets/x", b"x");
    let snapshot = lab.snapshot();
    let paths = |paths: &[&str]| What::Paths(paths.iter().map(|path| path.as_bytes().to_vec()).collect());
    for (what, text) in [
        (paths(&[]), "no path was given"),
        (paths(&["lrl.db"]), "holds no database"),
        (What::DbOnly, "holds no database"),
        (paths(&["assets/x", "assets/none"]), "assets/none"),
    ] {
        let result = lab.restore(&snapshot, what.clone());
        assert!(matches!(&result, Err(Error::NotFound(why)) if why.text().contains(text)), "{what:?}: {result:?}");
        assert!(!lab.data().join("assets").exists(), "{what:?}");
    }
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("holds no database")), "{:?}", report.notes);
}
