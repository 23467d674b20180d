//! Precedence, types and unknown keys of `lrl.toml`. The environment's place is tested end to end: a test must not change its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::FromArgMatches;
use proptest::prelude::*;

use super::{File, Origin, Setting, in_force, load, parse_over, read};
use crate::args::values::KeepSets;
use crate::args::{Cli, Verb, parse};

fn file(text: &str) -> File {
    read(Path::new("lab.toml"), text).unwrap()
}

fn refusal(text: &str) -> String {
    read(Path::new("lab.toml"), text).unwrap_err()
}

fn arguments(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn cli(file: &File, line: &str) -> Cli {
    let arguments = arguments(line);
    let first = parse(&arguments).unwrap();
    Cli::from_arg_matches(&parse_over(file, &arguments, &first).unwrap()).unwrap()
}

fn setting(file: &File, line: &str, key: &str) -> Setting {
    let arguments = arguments(line);
    let first = parse(&arguments).unwrap();
    let matches = parse_over(file, &arguments, &first).unwrap();
    in_force(file, &matches).into_iter().find(|s| s.key == key).unwrap()
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let with = file(
        "data-dir = '/srv/lab'\nsource = 'prod'\nsnapshot-only = true\nexclude = ['*.tmp', '*.bak']\nlock-wait = '5m'",
    );
    let Verb::Backup(backup) = cli(&with, "lrl backup").command else { panic!() };
    assert_eq!(backup.data.data_dir, Path::new("/srv/lab"));
    assert_eq!(backup.exclude, ["*.tmp", "*.bak"]);
    assert!(backup.snapshot_only);
    let over = cli(&with, "lrl backup --data-dir d --snapshot-only=false --exclude x --source s");
    assert_eq!((over.global.source.as_str(), over.global.lock_wait.as_secs()), ("s", 300));
    let Verb::Backup(backup) = over.command else { panic!() };
    assert_eq!((backup.data.data_dir.as_path(), backup.snapshot_only), (Path::new("d"), false));
    assert_eq!(backup.exclude, ["x"]);
    let Verb::Backup(backup) = cli(&File::default(), "lrl backup").command else { panic!() };
    assert_eq!(backup.data.data_dir, Path::new("./data"));
}

#[test]
fn a_number_of_sets_needs_no_quotes() {
    for text in ["keep-sets = 3", "keep-sets = '3'"] {
        let Verb::Backup(backup) = cli(&file(text), "lrl backup").command else { panic!() };
        assert_eq!(backup.keep_sets, KeepSets::Newest(3.try_into().unwrap()));
        let Verb::Backup(backup) = cli(&file(text), "lrl backup --keep-sets all").command else { panic!() };
        assert_eq!(backup.keep_sets, KeepSets::All);
    }
}

#[test]
fn out_and_backup_name_one_place() {
    let place = |text: &str, line: &str| {
        let cli = cli(&file(text), line);
        match cli.command {
            Verb::Backup(args) => args.out.unwrap_or(cli.global.backup),
            _ => cli.global.backup,
        }
    };
    for (text, line, expected) in [
        ("", "lrl backup", "./backups"),
        ("out = 'o'", "lrl backup", "o"),
        ("out = 'o'", "lrl drill", "o"),
        ("backup = 'b'", "lrl backup", "b"),
        ("backup = 'b'", "lrl drill", "b"),
        ("backup = 'b'\nout = 'o'", "lrl backup", "o"),
        ("backup = 'b'\nout = 'o'", "lrl drill", "b"),
        ("backup = 'b'\nout = 'o'", "lrl backup --out f", "f"),
        ("backup = 'b'\nout = 'o'", "lrl backup --backup f", "f"),
        ("out = 'o'", "lrl drill --backup f", "f"),
    ] {
        assert_eq!(place(text, line), PathBuf::from(expected), "{text:?} {line}");
    }
}

#[test]
fn the_file_never_sets_where_an_export_goes() {
    let with = file("out = 'o'");
    assert!(parse(&arguments("lrl export")).is_err());
    let Verb::Export(export) = cli(&with, "lrl export --out e").command else { panic!() };
    assert_eq!(export.out, Path::new("e"));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    assert_eq!(
        refusal("source = 'x'\ndata_dir = 'y'"),
        "lab.toml:2: unknown key \"data_dir\"; the nearest known key is \"data-dir\""
    );
    assert!(refusal("dry-run = true").contains("only be given as a flag"));
    assert!(refusal("[encryption]\nkey = 'x'").contains("unknown key \"encryption\""));
}

#[test]
fn a_wrong_type_or_value_is_named_with_its_place() {
    for (text, expected) in [
        ("source = 3", "lab.toml:1: source expects one string"),
        ("\nexclude = '*.tmp'", "lab.toml:2: exclude expects a list of strings"),
        ("exclude = ['a', 3]", "exclude expects a list of strings"),
        ("snapshot-only = 'yes'", "snapshot-only expects true or false"),
        ("lock-wait = '5 parsecs'", "lock-wait cannot be \"5 parsecs\": expected a number and a unit"),
        ("source = '../x'", "source cannot be \"../x\""),
        ("store = ''", "store cannot be \"\""),
        ("tag = ['ok', '']", "tag cannot be \"\""),
        ("source = 'a'\nsource = 'b'", "lab.toml:2: duplicate key"),
        ("source = ", "lab.toml:1: "),
        ("keep-sets = 0", "keep-sets cannot be \"0\": the set that was just written always stays"),
        ("keep-sets = 1.5", "keep-sets expects one string"),
        ("rescan-every = 'often'", "rescan-every cannot be \"often\": expected a number and a unit"),
    ] {
        let message = refusal(text);
        assert!(message.contains(expected), "{text:?}: {message}");
    }
}

#[test]
fn every_setting_tells_where_it_comes_from() {
    let with = file("source = 'prod'\nexclude = ['a', 'b']");
    let origin = |line: &str, key: &str| setting(&with, line, key).origin;
    assert_eq!(origin("lrl config", "source"), Origin::File("lab.toml".into()));
    assert_eq!(origin("lrl config --source x", "source"), Origin::Flag);
    assert_eq!(origin("lrl --source x config", "source"), Origin::Flag);
    assert_eq!(origin("lrl config", "lock-wait"), Origin::Default);
    assert_eq!(setting(&with, "lrl config", "exclude").values, ["a", "b"]);
    assert_eq!(setting(&with, "lrl config", "lock-wait").values, ["60s"]);
    assert_eq!(setting(&with, "lrl config", "owner").values, Vec::<String>::new());
    assert_eq!(setting(&with, "lrl config --backup b", "out").values, ["b"]);
}

#[test]
fn a_file_that_was_named_must_be_there_and_others_need_not() {
    let empty = tempfile::tempdir().unwrap();
    assert!(load(Some(&empty.path().join("no.toml")), None).unwrap_err().contains("no.toml"));
    assert_eq!(load(None, Some(empty.path())).unwrap(), File::default());
    std::fs::create_dir(empty.path().join("lrl")).unwrap();
    std::fs::write(empty.path().join("lrl/lrl.toml"), "source = 'mine'").unwrap();
    assert_eq!(load(None, Some(empty.path())).unwrap().values["source"], ["mine"]);
}

#[test]
fn a_file_that_is_none_is_refused() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("big"), "#".repeat((1 << 20) + 1)).unwrap();
    std::fs::write(place.path().join("binary"), b"\xff\xfe").unwrap();
    for name in ["big", "binary", "."] {
        let message = load(Some(&place.path().join(name)), None).unwrap_err();
        assert!(message.starts_with("cannot read "), "{message}");
    }
    assert!(!refusal(&"[".repeat(100_000)).is_empty());
    assert!(!refusal(&format!("exclude = {}", "[".repeat(100_000))).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_read_or_refused(key in "[a-z-]{0,12}", value in "\\PC{0,40}") {
        let _ = read(Path::new("lab.toml"), &format!("{key} = {value}"));
        let _ = read(Path::new("lab.toml"), &value);
        let _ = read(Path::new("lab.toml"), &format!("source = '{value}'"));
    }
}
