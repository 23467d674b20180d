//! `docs/CLI.md`, generated from the command line itself; a test compares it.

use std::fmt::Write;

use clap::{Arg, Command};

use crate::args;
use crate::exit::TABLE;

/// Returns the whole document.
pub fn cli_reference() -> String {
    let mut command = args::command().term_width(100);
    command.build();
    let mut text = String::from(
        "# The command line\n\nThe help of every command, as `--help` prints it. Settings and options of every command are shown once, in the \
         first section.\n\n<!-- Generated from the help texts: UPDATE_DOCS=1 cargo test --workspace --test e2e -- docs format -->\n",
    );
    section(&mut text, &mut command.clone(), "lrl");
    commands(&mut text, &command, "lrl");
    section(&mut text, &mut args::settings_topic().term_width(100), "lrl help settings");
    text.push_str("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (exit, meaning) in TABLE {
        let _ = writeln!(text, "| {} | {meaning} |", exit.code());
    }
    text
}

/// Writes a section for each command below `parent`. Flags of every command are in the first section only.
fn commands(text: &mut String, parent: &Command, name: &str) {
    for sub in parent.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let is_shared = |arg: &Arg| matches!(arg.get_help_heading(), Some(args::SHARED | args::COMMON));
        let mut own = sub.clone().mut_args(|arg| if is_shared(&arg) { arg.hide(true) } else { arg });
        let name = format!("{name} {}", sub.get_name());
        section(text, &mut own, &name);
        commands(text, sub, &name);
    }
}

fn section(text: &mut String, command: &mut Command, name: &str) {
    let help = command.render_long_help().to_string();
    let _ = write!(text, "\n## {name}\n\n```text\n");
    for line in help.trim_end().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str("```\n");
}
