//! A site restored into another directory: nothing leads out of it.

use super::*;

#[test]
fn elsewhere_everything_is_below_the_target_and_no_link_leads_out() {
    let site = Site::new();
    set_mode(&site.root(), 0o751);
    let taken = site.backup();
    let wanted = site.stored();
    let target = site.lab.dir.path().join("deep/target");
    let elsewhere = Options { only_below: true, ..Options::new(&target) };
    let _ = site.restore_with(&taken, &elsewhere).unwrap();
    let mut seen = live(&target);
    assert_eq!(seen.get(b"".as_slice()).unwrap().0 & 0o7777, 0o751);
    assert_eq!(seen, wanted);
    assert_eq!(fs::metadata(site.lab.dir.path().join("deep")).unwrap().mode() & 0o7777, 0o700);

    let outside = site.lab.dir.path().join("outside");
    fs::create_dir_all(outside.join("users")).unwrap();
    let nothing = look(&outside);
    fs::remove_dir_all(target.join("data")).unwrap();
    symlink(&outside, target.join("data")).unwrap();
    let through = |path: &str| Options { what: What::Paths(vec![path.as_bytes().to_vec()]), ..elsewhere.clone() };
    for path in ["data/users/a.sqlite", "data/files/x.txt", "data/users"] {
        let refused = site.restore_with(&taken, &through(path));
        assert!(matches!(refused, Err(Error::Refused(_))), "{path}: {refused:?}");
    }
    let _ = site.restore_with(&taken, &elsewhere).unwrap();
    assert_eq!(look(&outside), nothing);
    seen = live(&target);
    assert_eq!(seen, wanted);
    assert!(fs::symlink_metadata(target.join("data.pre-restore")).unwrap().is_symlink());
}

#[test]
fn a_record_that_leads_out_of_the_site_is_refused() {
    let site = Site::new();
    let taken = site.backup();
    site.change();
    let _ = site.restore(&taken, What::Whole);
    let record = site.root().join(".lrl-undo.json");
    let text = fs::read_to_string(&record).unwrap();
    let changed = live(&site.root());
    for (from, to) in [("\"rsa_key.pem\"", "\"..\""), ("\"rsa_key.pem\"", "\"../x\""), ("data.pre-restore\"", "data\"")]
    {
        assert!(text.contains(from), "{text}");
        fs::write(&record, text.replacen(from, to, 1)).unwrap();
        assert!(site.undo().is_err(), "{to}");
        assert_eq!(live(&site.root()), changed);
    }
}
