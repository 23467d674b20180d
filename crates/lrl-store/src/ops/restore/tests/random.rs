//! Random trees come back as they were.

use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

use super::*;

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u16, i32, u32),
    Dir(Vec<(Vec<u8>, Node)>, u16, i32, u32),
    Link(Vec<u8>),
    Again,
}

fn name_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>().prop_filter("no separators", |b| *b != 0 && *b != b'/'), 1..6)
        .prop_filter("a name", |name| name != b"." && name != b"..")
}

fn node() -> impl Strategy<Value = Node> {
    let nanos = 0..1_000_000_000u32;
    let leaf = proptest::prop_oneof![
        (prop::collection::vec(any::<u8>(), 0..300), 0..0o1000u16, any::<i32>(), nanos.clone())
            .prop_map(|(bytes, mode, secs, nanos)| Node::File(bytes, mode, secs, nanos)),
        name_bytes().prop_map(Node::Link),
        proptest::prelude::Just(Node::Again),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let children = prop::collection::vec((name_bytes(), inner), 0..6);
        (children, 0..0o2000u16, any::<i32>(), nanos.clone())
            .prop_map(|(children, mode, secs, nanos)| Node::Dir(children, mode, secs, nanos))
    })
}

// Root looks into everything; others must be able to compare.
fn seen(mode: u16, needed: u32) -> u32 {
    u32::from(mode) | if rustix::process::geteuid().is_root() { 0 } else { needed }
}

fn make(path: &Path, node: &Node, first: &mut Option<PathBuf>) {
    if fs::symlink_metadata(path).is_ok() {
        return;
    }
    match node {
        Node::File(bytes, mode, secs, nanos) => {
            fs::write(path, bytes).unwrap();
            set_mode(path, seen(*mode, 0o400));
            set_mtime(path, i64::from(*secs), *nanos);
            first.get_or_insert_with(|| path.to_path_buf());
        }
        Node::Dir(children, mode, secs, nanos) => {
            fs::create_dir(path).unwrap();
            for (name, child) in children {
                make(&path.join(OsStr::from_bytes(name)), child, first);
            }
            set_mode(path, seen(*mode, 0o500));
            set_mtime(path, i64::from(*secs), *nanos);
        }
        Node::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
        Node::Again => {
            if let Some(first) = first {
                fs::hard_link(first, path).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

    #[test]
    fn random_trees_come_back(children in prop::collection::vec((name_bytes(), node()), 0..6), secs in any::<i32>()) {
        let lab = Lab::new();
        let root = Node::Dir(children, 0o755, secs, 1);
        make(&lab.source().join("assets"), &root, &mut None);
        let snapshot = lab.snapshot();
        let _ = lab.restore(&snapshot, What::Whole).unwrap();
        prop_assert_eq!(look(&lab.data().join("assets")), look(&lab.source().join("assets")));
    }
}
