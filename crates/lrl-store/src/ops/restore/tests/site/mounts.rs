//! Mounts inside a site.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

#[test]
fn a_mount_in_a_directory_is_restored_into_and_one_that_is_left_out_stays() {
    let site = Site::new();
    let taken = site.backup();
    let wanted = site.stored();
    site.change();
    let mounts = [site.root().join("data/files"), site.root().join("data/cache")];
    if !mounts.iter().all(|at| mount("rw", at)) {
        println!("skipped: mounting is not permitted here");
        return;
    }
    fs::write(mounts[0].join("on the disk"), b"disk").unwrap();
    fs::write(mounts[1].join("hot"), b"hot").unwrap();
    let done = catch_unwind(AssertUnwindSafe(|| {
        let report = site.restore(&taken, What::Whole);
        assert!(report.notes.iter().any(|note| note.text().contains("a mount (")), "{:?}", report.notes);
        assert_eq!(versions(&site), [Some(true); 3]);
        for path in ["data/files/x.txt", "data/users/a.sqlite", "storage/ab/blob"] {
            let bytes = &wanted.get(path.as_bytes()).unwrap().4;
            assert_eq!(fs::read(site.root().join(path)).unwrap(), *bytes, "{path}");
        }
        assert_eq!(fs::read(mounts[1].join("hot")).unwrap(), b"hot");
        assert_eq!(fs::read(mounts[0].join(".lrl.pre-restore/on the disk")).unwrap(), b"disk");
        site.undo().unwrap();
        assert_eq!(versions(&site), [Some(false); 3]);
        assert_eq!(fs::read(mounts[0].join("on the disk")).unwrap(), b"disk");
    }));
    mounts.iter().for_each(|mount| _ = Command::new("umount").arg("--lazy").arg(mount).status());
    done.unwrap();
}
