//! Paths of uploads on the command line: what `ls` prints can be typed, excluded and followed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, lchown, symlink};

use crate::common::Lab;
use crate::helpers::look;

/// Returns the paths that `ls` prints.
fn listed(lab: &Lab, snapshot: &str) -> Vec<String> {
    let run = lab.run(["ls", snapshot]).expect(0);
    let path = |line: &str| line.split(" assets/").nth(1).map(|path| format!("assets/{path}"));
    run.stdout.lines().filter_map(path).collect()
}

#[test]
fn what_is_printed_can_be_typed() {
    let lab = Lab::small();
    let names: [&[u8]; 9] = [
        b"new\nline.txt",
        b"back\\slash.txt",
        b"back\\nslash.txt",
        b"back\nslash.txt",
        b"not\xff\xfeutf8.txt",
        b"bell\x07 and \x1b[2J.txt",
        "right\u{202e}left.txt".as_bytes(),
        b"\\x41.txt",
        b"[1] a*b?.txt",
    ];
    for name in names {
        fs::write(lab.path("data/assets/ab12").join(OsStr::from_bytes(name)), name).unwrap();
    }
    lab.lrl("backup -q --snapshot-only").expect(0);
    let shown: Vec<String> =
        listed(&lab, "latest").into_iter().filter(|path| path.starts_with("assets/ab12/")).collect();
    assert_eq!(shown.len(), names.len() + 2);
    let mut dumped: Vec<Vec<u8>> = Vec::new();
    for path in shown.iter().filter(|path| !path.contains("/v")) {
        assert!(!path.contains(char::is_control), "{path:?}");
        dumped.push(lab.run(["dump", "latest", path]).expect(0).stdout_bytes);
        assert_eq!(lab.run(["ls", "latest", path]).expect(0).stdout.lines().count(), 1, "{path}");
        let found = lab.run(["find", path]).expect(0).stdout;
        assert!(found.lines().any(|line| line == path), "{path}: {found}");
        let away = lab.run(["restore", "--path", path, "--data-dir", "again"]).expect(0);
        assert!(away.stderr.is_empty(), "{}", away.stderr);
    }
    dumped.sort();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    expected.sort();
    assert_eq!(dumped, expected);
    for name in names {
        let restored = lab.path("again/assets/ab12").join(OsStr::from_bytes(name));
        assert_eq!(fs::read(restored).unwrap(), name);
        // The name itself does as well, where it means nothing else.
        let path = [b"assets/ab12/", name].concat();
        if name != b"back\\nslash.txt" {
            assert_eq!(
                lab.run(["dump".as_ref(), "latest".as_ref(), OsStr::from_bytes(&path)]).expect(0).stdout_bytes,
                name
            );
        }
    }
}

#[test]
fn a_pattern_matches_the_paths_that_are_listed() {
    let lab = Lab::small();
    lab.write("data/assets/cache/big", "big");
    lab.write("data/assets/deep/cache/big", "big");
    let left = |line: &str| {
        let run = lab.lrl(&format!("backup --snapshot-only {line}")).expect(0);
        assert!(!run.stderr.contains("leaves nothing out"), "{}", run.stderr);
        let paths = listed(&lab, "latest");
        (paths.iter().any(|path| path == "assets/cache/big"), paths.iter().any(|path| path == "assets/deep/cache/big"))
    };
    assert_eq!(left("--exclude assets/cache"), (false, true));
    assert_eq!(left("--exclude /assets/cache/"), (false, true));
    assert_eq!(left("--exclude /cache"), (false, true));
    assert_eq!(left("--exclude assets/deep/cache"), (true, false));
    assert_eq!(left("--exclude cache"), (false, false));
    assert_eq!(left("--exclude cache --exclude !assets/cache"), (true, false));
    let line = "backup --snapshot-only --exclude storage/cache --exclude *.bak --exclude cache";
    for line in [line.to_string(), format!("{line} --dry-run")] {
        let run = lab.lrl(&line).expect(0);
        for pattern in ["storage/cache", "*.bak"] {
            let note = format!("the exclude pattern {pattern:?} leaves nothing out");
            assert_eq!(run.stderr.matches(&note).count(), 1, "{}", run.stderr);
        }
        assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
    }
    assert!(lab.lrl(&format!("{line} -q")).expect(0).stderr.is_empty());
    // A file of patterns may serve more than one lab.
    lab.write("patterns", "*.bak\nassets/cache\n");
    let run = lab.lrl("backup --snapshot-only --exclude-file patterns").expect(0);
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    assert!(!listed(&lab, "latest").iter().any(|path| path.starts_with("assets/cache")));
    let run = lab.lrl("backup -v --snapshot-only --exclude-file patterns").expect(0);
    assert!(run.stderr.contains("\"*.bak\" leaves nothing out"), "{}", run.stderr);
}

#[test]
fn a_link_out_of_the_uploads_is_stored_with_a_note_or_followed() {
    let lab = Lab::small();
    lab.write("big/media/film.bin", "film");
    lab.write("big/media/deep/part.bin", "part");
    symlink("../../big/media", lab.path("data/assets/media")).unwrap();
    symlink("ab12/v1.txt", lab.path("data/assets/inside")).unwrap();
    symlink("nowhere", lab.path("data/assets/dangling")).unwrap();
    let only_link = "media: leads out of the uploads: only the link is stored; the files behind it are NOT backed up";
    for line in ["backup", "backup", "backup --snapshot-only", "backup --dry-run"] {
        let run = lab.lrl(line).expect(0);
        assert_eq!(run.stderr.matches("NOT backed up").count(), 1, "{line}: {}", run.stderr);
        assert!(
            run.stderr.contains(only_link) && run.stderr.contains("--follow-link 'assets/media'"),
            "{}",
            run.stderr
        );
    }
    assert!(lab.lrl("backup -q").expect(0).stderr.is_empty());
    let run = lab.lrl("backup --follow-link assets/media").expect(0);
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    assert!(listed(&lab, "latest").contains(&"assets/media/deep/part.bin".to_string()));
    // In lrl.toml too. An unchanged file behind it is not read again; a changed one is.
    lab.write("lrl.toml", "follow-link = ['assets/media/']");
    lab.write("big/media/film.bin", "another film");
    lab.lrl("backup").expect(0);
    assert_eq!(lab.lrl("dump latest assets/media/film.bin").expect(0).stdout, "another film");
    lab.lrl("drill").expect(0);
    lab.lrl("restore --data-dir again").expect(0);
    assert!(lab.path("again/assets/media").symlink_metadata().unwrap().is_dir());
    let left = look(&lab.path("big/media"));
    let right = look(&lab.path("again/assets/media"));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
}

#[test]
fn a_followed_link_never_stores_anything_twice() {
    let lab = Lab::small();
    lab.write("big/a/one.bin", "one");
    lab.write("big/b/two.bin", "two");
    symlink("..", lab.path("big/a/up")).unwrap();
    symlink(lab.path("big"), lab.path("data/assets/all")).unwrap();
    symlink(lab.path("big/a"), lab.path("data/assets/part")).unwrap();
    symlink(lab.path("data"), lab.path("data/assets/self")).unwrap();
    symlink("ab12", lab.path("data/assets/inner")).unwrap();
    symlink(lab.path("backups"), lab.path("data/assets/zz")).unwrap();
    lab.lrl("backup -q").expect(0);
    let follow = "all part self inner zz all/a/up"
        .split(' ')
        .flat_map(|name| ["--follow-link".into(), format!("assets/{name}")]);
    let line = ["backup".to_string(), "--snapshot-only".to_string()].into_iter().chain(follow);
    lab.run(line).expect(0);
    let paths = listed(&lab, "latest");
    for name in ["one.bin", "two.bin", "v1.txt", "v2.txt"] {
        assert_eq!(paths.iter().filter(|path| path.ends_with(name)).count(), 1, "{name}: {paths:?}");
    }
    assert!(!paths.iter().any(|path| path.contains("lrl.db") || path.contains("packs/")), "{paths:?}");
    lab.lrl("drill --snapshot latest").expect(0);
}

#[test]
fn a_link_that_cannot_be_followed_is_missing_from_the_backup() {
    let lab = Lab::small();
    lab.write("one.txt", "one");
    symlink("nowhere", lab.path("data/assets/dangling")).unwrap();
    symlink(lab.path("one.txt"), lab.path("data/assets/file")).unwrap();
    for (link, why) in [
        ("assets/dangling", "leads nowhere"),
        ("assets/file", "does not lead to a directory"),
        ("assets/none", "there is no such link"),
    ] {
        let run = lab.lrl(&format!("backup --snapshot-only --follow-link {link}")).expect(3);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
    let run = lab.lrl("backup --snapshot-only --follow-link assets/ab12").expect(0);
    assert!(run.stderr.contains("is no link"), "{}", run.stderr);
    // A user who can write the uploads must not decide which of root's files are backed up.
    lab.write("private/key", "secret");
    symlink(lab.path("private"), lab.path("data/assets/planted")).unwrap();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    lchown(lab.path("data/assets/planted"), Some(65534), Some(65534)).unwrap();
    let run = lab.lrl("backup --snapshot-only --follow-link assets/planted").expect(3);
    assert!(run.stderr.contains("belongs to user 65534"), "{}", run.stderr);
    assert!(!listed(&lab, "latest").contains(&"assets/planted/key".to_string()));
}

#[test]
fn a_snapshot_with_the_last_number_stops_no_backup() {
    let lab = Lab::small();
    lab.lrl("backup -q --snapshot-only").expect(0);
    let snapshots = lab.path("backups/store/snapshots/lab");
    let one = fs::read_dir(&snapshots).unwrap().next().unwrap().unwrap().path();
    let id = one.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().1.to_string();
    for number in ["ffffffffffffffff", "0001000000000000"] {
        fs::copy(&one, snapshots.join(format!("{number}-{id}"))).unwrap();
    }
    let run = lab.lrl("backup --json --snapshot-only").expect(0);
    assert_eq!(run.json()["sequence"], 2);
    let run = lab.lrl("check").expect(4);
    assert!(run.stdout.contains("ffffffffffffffff") && run.stdout.contains("0001000000000000"), "{}", run.stdout);
    lab.lrl("check --repair").expect(0);
    assert_eq!(lab.lrl("backup --json --snapshot-only").expect(0).json()["sequence"], 3);
    lab.lrl("check").expect(0);
}

#[test]
fn an_exclude_file_without_end_is_an_error() {
    let lab = Lab::small();
    let run = lab.lrl("backup --snapshot-only --exclude-file /dev/zero").expect(1);
    assert!(run.stderr.contains("/dev/zero") && run.stderr.contains("longer than 1 MiB"), "{}", run.stderr);
    assert!(std::process::Command::new("mkfifo").arg(lab.path("pipe")).status().unwrap().success());
    let run = lab.lrl("backup --snapshot-only --exclude-file pipe").expect(1);
    assert!(run.stderr.contains("nobody writes to the pipe"), "{}", run.stderr);
    // What a shell makes of <(…) is read.
    let mut command = std::process::Command::new("bash");
    let own = lab.command([""; 0]);
    command.current_dir(own.get_current_dir().unwrap());
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let script =
        format!("exec {} backup --snapshot-only --exclude-file <(echo '*.bin')", own.get_program().to_str().unwrap());
    let run = crate::common::Run::from(command.args(["-c", &script]).output().unwrap()).expect(0);
    assert!(!run.stderr.contains("excludes nothing"), "{}", run.stderr);
    let listed = lab.lrl("ls latest").expect(0).stdout;
    assert!(!listed.contains("v1.bin") && listed.contains("v1.txt"), "{listed}");
}
