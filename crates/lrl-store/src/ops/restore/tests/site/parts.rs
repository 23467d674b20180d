//! Parts of a site.

use super::*;

#[test]
fn a_part_leaves_the_rest_alone() {
    let site = Site::new();
    let taken = site.backup();
    let row = |path: &str| site.open(path).query_row("SELECT x FROM t", [], |row| row.get::<_, String>(0)).unwrap();
    let unused = |path: &str| fs::remove_file(site.root().join(format!("{path}-wal"))).unwrap();
    site.change();
    let _ = site.restore(&taken, What::AssetsOnly);
    DATABASES.into_iter().for_each(unused);
    assert_eq!(DATABASES.map(row), ["second"; 3]);
    assert_eq!(fs::read(site.root().join("data/files/y.txt")).unwrap(), b"x");
    assert_eq!(fs::read(site.root().join("storage/ab/blob")).unwrap(), [7; 5000]);
    site.write("data/files/x.txt", b"changed");
    let _ = site.restore(&taken, What::DbOnly);
    assert_eq!(DATABASES.map(row), ["first"; 3]);
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"changed");

    site.change();
    DATABASES.into_iter().for_each(unused);
    let paths = ["storage", "rsa_key.pem"].map(|path| path.as_bytes().to_vec()).to_vec();
    let _ = site.restore(&taken, What::Paths(paths));
    assert_eq!(DATABASES.map(row), ["second", "second", "first"]);
    assert!(site.root().join("rsa_key.pem").exists() && site.root().join("data/files/later.txt").exists());
    let _ = site.restore(&taken, What::Paths(vec![b"data/users/a.sqlite".to_vec()]));
    assert_eq!(row("data/users/a.sqlite"), "first");
    for missing in ["data/none", "../etc", "", "/etc/passwd", "data/users/a.sqlite/x"] {
        let result = site.restore_with(&taken, &site.options(What::Paths(vec![missing.into()])));
        assert!(matches!(result, Err(Error::NotFound(_))), "{missing}: {result:?}");
    }
}

#[test]
fn databases_alone_come_with_their_directories_into_nothing() {
    let site = Site::new();
    let taken = site.backup();
    let target = site.lab.dir.path().join("target");
    let options = Options { what: What::DbOnly, only_below: true, ..Options::new(&target) };
    let _ = site.restore_with(&taken, &options).unwrap();
    for path in DATABASES {
        assert_eq!(fs::read(target.join(path)).unwrap(), fs::read(site.root().join(path)).unwrap(), "{path}");
    }
    let mode = |path: &str| fs::metadata(target.join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("data"), target.join("data/files").exists()), (0o750, false));
    // Two with one name, each in its own directory that is there.
    let first = site.restore_with(&taken, &options).unwrap();
    assert_eq!(first.restored.iter().filter(|one| one.part == Part::Database).count(), 3);
}
