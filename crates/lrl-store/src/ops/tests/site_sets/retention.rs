//! Which sets go, and that all of their files go together.

use std::fs;

use super::{DATABASES, Site, names};

#[test]
fn all_files_of_a_sites_set_are_removed_together() {
    let site = Site::new();
    let first = site.back_up(0, Some(2));
    site.rows(b"data/users/a.sqlite", 3);
    let leftover = site.at("out/lrl_db-x_20200101_000000.sqlite");
    fs::write(&leftover, b"left").unwrap();
    let _ = site.back_up(1, Some(2));
    let third = site.back_up(2, Some(2));
    let sets = third.sets.unwrap();
    assert_eq!(sets.removed.iter().map(|set| &set.timestamp).collect::<Vec<_>>(), [&first.snapshot.timestamp]);
    assert_eq!(sets.count, 2);
    assert!(sets.kept.iter().any(|kept| kept.name == "20200101_000000" && kept.reason.contains("no manifest")));
    let here = names(&site.at("out"));
    assert!(here.iter().all(|name| !name.contains(&first.snapshot.timestamp)), "{here:?}");
    assert_eq!(here.len(), 2 * (DATABASES.len() + 2) + 1, "{here:?}");
    assert!(leftover.exists());
    // One that was edited stays whole.
    let edited = &third.set.unwrap().databases[5].path;
    let mut bytes = fs::read(edited).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(edited, bytes).unwrap();
    let _ = site.back_up(3, Some(1));
    let last = site.back_up(4, Some(1)).sets.unwrap();
    let kept = last.kept.iter().find(|kept| kept.name.contains(&third.snapshot.timestamp)).unwrap();
    assert!(kept.reason.contains("was changed"), "{kept:?}");
    assert_eq!(last.count, 2);
}
