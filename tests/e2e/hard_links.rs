//! Uploads with many hard links, whose targets are anywhere in the list.

use std::fs;

use crate::common::Lab;
use crate::helpers::{look, outputs};

/// More look-ups, each in another node of the list, than are made one by one.
const LINKS: usize = 300;

#[test]
fn targets_all_over_the_list_are_found_and_changed_ones_too() {
    let lab = Lab::small();
    let at = |name: String| lab.path("data/assets").join(name);
    for n in 0..2000 {
        lab.upload(&format!("first/{n:04}"), format!("content {n}").as_bytes());
    }
    fs::create_dir(at("links".into())).unwrap();
    let target = |n: usize| format!("first/{:04}", (n * 977) % 2000);
    for n in 0..LINKS {
        fs::hard_link(at(target(n)), at(format!("links/{n:04}"))).unwrap();
    }
    lab.lrl("backup").expect(0);
    // The next archive takes over most of the one before.
    fs::write(at(target(7)), b"changed").unwrap();
    lab.upload("first/0000a", b"one more");
    lab.lrl("backup").expect(0);
    let manifest = outputs(&lab, "backups", ".json").pop().unwrap();
    lab.run(["restore".as_ref(), "--manifest".as_ref(), manifest.as_os_str(), "--data-dir".as_ref(), "set".as_ref()])
        .expect(0);
    let (before, after) = (look(&lab.path("data/assets")), look(&lab.path("set/assets")));
    assert_eq!(before.len(), after.len());
    for (name, seen) in &before {
        assert_eq!(after[name].contents, seen.contents, "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(after[b"links/0007".as_slice()].contents, after[target(7).as_bytes()].contents);
}
