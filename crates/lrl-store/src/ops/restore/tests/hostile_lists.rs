//! Lists of entries that are hostile, or of which some are lost.

use super::*;

#[test]
fn a_hostile_list_is_refused_and_leaves_nothing() {
    let lab = Lab::new();
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let link = |target: &str| Kind::Symlink { target: target.as_bytes().to_vec() };
    let further = |target: &str| Kind::Hardlink { target: target.as_bytes().to_vec() };
    let dir = || entry("assets", Kind::Dir);
    let through = outside.to_str().unwrap();
    let lists = [
        ("a file below a link", vec![dir(), entry("assets/l", link(through)), entry("assets/l/f", file())]),
        ("a directory below a link", vec![dir(), entry("assets/l", link(through)), entry("assets/l/d", Kind::Dir)]),
        ("a file below a file", vec![dir(), entry("assets/f", file()), entry("assets/f/g", file())]),
        ("a root that is a link", vec![entry("assets", link(through)), entry("assets/f", file())]),
        ("no root", vec![entry("assets/f", file())]),
        ("no parent", vec![dir(), entry("assets/d/f", file())]),
        ("one name twice", vec![dir(), entry("assets/f", file()), entry("assets/f", file())]),
        ("disorder", vec![dir(), entry("assets/g", file()), entry("assets/f", file())]),
        ("another root", vec![dir(), entry("etc", Kind::Dir)]),
        ("a hard link to nothing", vec![dir(), entry("assets/h", further("assets/none"))]),
        ("of a directory", vec![dir(), entry("assets/d", Kind::Dir), entry("assets/h", further("assets/d"))]),
        (
            "of something through a link",
            vec![dir(), entry("assets/h", further("assets/l/f")), entry("assets/l", link(through))],
        ),
        ("of something outside", vec![dir(), entry("assets/h", further("../outside/f"))]),
        ("nothing", vec![]),
        (
            "a size that is not true",
            vec![
                dir(),
                entry(
                    "assets/f",
                    Kind::File {
                        size: 5,
                        content: Content::Tree(
                            TreeBuilder::<Piece>::new(&WriteSession::new(&lab.store), None).finish().unwrap(),
                        ),
                    },
                ),
            ],
        ),
    ];
    fs::write(outside.join("f"), b"outside").unwrap();
    for (what, list) in lists {
        let before = look_inside(lab.dir.path());
        let result = lab.restore(&lab.snapshot_of(list), What::Whole);
        assert!(matches!(result, Err(Error::Corrupt { .. } | Error::Missing { .. })), "{what}: {result:?}");
        assert_eq!(look_inside(lab.dir.path()), before, "{what}");
    }
}

#[test]
fn further_names_of_what_is_lost_are_skipped_and_listed() {
    let lab = Lab::new();
    let further = |target: &str| Kind::Hardlink { target: target.as_bytes().to_vec() };
    let snapshot = lab.snapshot_of(vec![
        entry("assets", Kind::Dir),
        entry("assets/f", file()),
        entry("assets/of-a-lost-directory", further("assets/d/f")),
        entry("assets/of-a-lost-file", further("assets/e")),
        entry("assets/right", further("assets/f")),
    ]);
    assert!(matches!(lab.restore(&snapshot, What::Whole), Err(Error::Corrupt { .. })));
    let options = Options { skip_damaged: true, ..lab.options(What::Whole) };
    let report = lab.restore_with(&snapshot, &options).unwrap();
    let skipped: Vec<_> = report.skipped.iter().map(|skip| (&*skip.path, skip.entries)).collect();
    assert_eq!(skipped, [("assets/of-a-lost-directory", 1), ("assets/of-a-lost-file", 1)]);
    assert_eq!(names_in(&lab.data().join("assets")), ["f", "right"]);
}

#[test]
fn pieces_that_do_not_make_up_the_file_are_corrupt() {
    let lab = Lab::new();
    let pieces = |pieces: &[(&[u8], u64)]| {
        let session = WriteSession::new(&lab.store);
        let mut builder = TreeBuilder::new(&session, None);
        for (bytes, len) in pieces {
            builder.push(Piece::Data { id: session.put(bytes, &[]).unwrap(), len: *len }).unwrap();
        }
        let content = Content::Tree(builder.finish().unwrap());
        session.seal().unwrap();
        content
    };
    let restored = |size, content| {
        let list = vec![entry("assets", Kind::Dir), entry("assets/f", Kind::File { size, content })];
        let result = lab.restore(&lab.snapshot_of(list), What::Whole);
        assert_eq!(result.is_ok(), lab.data().exists());
        result.map(drop)
    };
    let long = [(b"abc".as_slice(), 3), (b"defg".as_slice(), 4)];
    for (what, size, parts) in [
        ("too many", 6, long.as_slice()),
        ("too few", 8, &long),
        ("a chunk that is shorter than the list says", 8, &[long[0], (b"defg", 5)]),
        ("a chunk that is longer than the list says", 6, &[long[0], (b"defg", 3)]),
    ] {
        let result = restored(size, pieces(parts));
        assert!(matches!(result, Err(Error::Corrupt { .. })), "{what}: {result:?}");
    }
    restored(7, pieces(&long)).unwrap();
    assert_eq!(fs::read(lab.data().join("assets/f")).unwrap(), b"abcdefg");
}

#[test]
fn a_path_that_leaves_the_selection_is_corrupt() {
    let lab = Lab::new();
    for path in ["assets/../x", "assets//x", "assets/./x", "assets/"] {
        let list = vec![entry("assets", Kind::Dir), entry(path, file())];
        let result = lab.restore(&lab.snapshot_of(list), What::Whole);
        assert!(matches!(result, Err(Error::Corrupt { .. })), "{path}: {result:?}");
        assert!(!lab.data().exists(), "{path}");
    }
}
