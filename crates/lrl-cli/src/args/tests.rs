//! Command lines that are accepted and refused.

use clap::FromArgMatches;

use super::{Cli, Verb, command};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let matches = super::parse(&line.split(' ').map(Into::into).collect::<Vec<_>>())?;
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

fn refusal(line: &str) -> String {
    super::parse(&line.split(' ').map(Into::into).collect::<Vec<_>>()).unwrap_err().to_string()
}

#[test]
fn nobody_is_told_to_have_meant_a_command_that_destroys() {
    for line in ["lrl history", "lrl serve", "lrl restor", "lrl forgot", "lrl prun", "lrl key remov", "lrl store"] {
        let text = refusal(line);
        assert!(text.contains("unrecognized subcommand"), "{text}");
        for verb in super::DESTROYING {
            assert!(!text.contains(&format!("'{verb}'")), "{line}: {text}");
        }
    }
    assert!(refusal("lrl backp").contains("'backup'"));
}

#[test]
fn the_commands_own_options_come_before_shared_settings_and_short_help_is_short() {
    let backup = super::command().find_subcommand("backup").unwrap().clone();
    let mut all = super::command();
    all.build();
    let mut built = all.find_subcommand("backup").unwrap().clone();
    let long = built.render_long_help().to_string();
    let at = |text: &str| long.find(text).unwrap_or_else(|| panic!("no {text} in {long}"));
    assert!(at("\nOptions:") < at(super::SETTINGS) && at(super::SETTINGS) < at(super::SHARED));
    assert!(at(super::SHARED) < at(super::COMMON) && at(super::COMMON) < at("EXAMPLES"));
    assert!(at("--keep-sets") < at(super::SHARED) && at("--store-id") > at(super::SHARED));

    let short = built.render_help().to_string();
    assert!(!short.contains(super::SHARED) && !short.contains("EXAMPLES") && short.contains("lrl help settings"));
    assert!(short.lines().count() < 80, "{short}");
    assert!(backup.get_arguments().all(|arg| !arg.get_help().unwrap().to_string().contains(". ")));
}

#[test]
fn the_help_topic_of_settings_has_each_of_them_once() {
    let help = parse("lrl help settings").unwrap_err();
    assert_eq!(help.exit_code(), 0);
    let help = help.to_string();
    let all = command();
    let own = all.get_subcommands().flat_map(clap::Command::get_arguments);
    for key in all.get_arguments().chain(own).filter_map(super::key) {
        let flags =
            help.lines().filter(|line| line.trim_start().split([' ', '[', '=']).next() == Some(&format!("--{key}")));
        assert_eq!(flags.count(), 1, "{key}: {help}");
    }
    assert!(help.contains("lrl backup, lrl restore, lrl diff, lrl run, lrl schedule, lrl watch:"), "{help}");
}

#[test]
fn a_help_text_breaks_where_the_terminal_does() {
    assert_eq!(super::paragraphs("a\nb\n\nEXAMPLES\n  x\n  y"), "a b\n\nEXAMPLES\n  x\n  y");
    let mut command = super::command().term_width(60);
    let help = command.find_subcommand_mut("prune").unwrap().clone().term_width(60).render_long_help().to_string();
    let paragraph = help.split("\n\n").find(|text| text.starts_with("It locks the store")).unwrap().to_string();
    let lines: Vec<&str> = paragraph.lines().collect();
    // A line that is broken twice leaves a short one in the middle.
    assert!(lines[..lines.len() - 1].iter().all(|line| line.len() > 40), "{paragraph}");
}
