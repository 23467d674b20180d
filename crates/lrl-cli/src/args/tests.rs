//! Command lines that are accepted and refused.

use super::{Cli, Verb, command};
use clap::FromArgMatches;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(line.split(' '))?;
    Cli::from_arg_matches(&matches)
}

#[test]
fn the_command_tree_is_sound() {
    command().debug_assert();
}

#[test]
fn a_glob_after_one_flag_names_several_manifests() {
    let cli = parse("lrl drill --manifest a.json b.json c.json --json").unwrap();
    let Verb::Drill(drill) = cli.command else { panic!() };
    assert_eq!(drill.manifest.len(), 3);
    assert!(cli.global.json);
}

#[test]
fn flags_that_contradict_are_refused() {
    for line in [
        "lrl backup --db-only --assets-only",
        "lrl backup --out a --backup b",
        "lrl restore abc --manifest m.json",
        "lrl restore --path assets/a --db-only",
        "lrl drill --manifest m.json --snapshot latest",
        "lrl check --read-data --read-data-subset 1/2",
        "lrl snapshots -q -v",
        "lrl export",
        "lrl backup --if-older-than 20",
        "lrl backup --exclude=",
        "lrl backup --keep-sets 0",
        "lrl backup --keep-sets -1",
        "lrl backup --keep-sets some",
        "lrl backup --rescan-every sometimes",
        "lrl",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn common_flags_stand_before_or_after_the_command() {
    for line in ["lrl --backup /b snapshots", "lrl snapshots --backup /b"] {
        assert_eq!(parse(line).unwrap().global.backup.to_str(), Some("/b"), "{line}");
    }
}

#[test]
fn a_boolean_setting_can_be_turned_off_again() {
    for (line, expected) in [
        ("lrl backup", false),
        ("lrl backup --snapshot-only", true),
        ("lrl backup --snapshot-only=false", false),
        ("lrl backup --snapshot-only --dry-run", true),
    ] {
        let Verb::Backup(backup) = parse(line).unwrap().command else { panic!() };
        assert_eq!(backup.snapshot_only, expected, "{line}");
    }
}
