//! `docs/CLI.md`, generated from the command line itself; a test compares it.

use std::fmt::Write;

use clap::Command;

use crate::args;
use crate::exit::TABLE;

/// Returns the whole document.
pub fn cli_reference() -> String {
    let mut command = args::command().term_width(100);
    command.build();
    let mut text = String::from(
        "# The command line\n\n<!-- Generated from the help texts: UPDATE_DOCS=1 cargo test -p lrl-cli --test e2e docs -->\n",
    );
    section(&mut text, &mut command.clone(), "lrl");
    for sub in command.get_subcommands() {
        section(&mut text, &mut sub.clone(), &format!("lrl {}", sub.get_name()));
    }
    text.push_str("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (exit, meaning) in TABLE {
        let _ = writeln!(text, "| {} | {meaning} |", exit.code());
    }
    text
}

fn section(text: &mut String, command: &mut Command, name: &str) {
    let help = command.render_help().to_string();
    let _ = write!(text, "\n## {name}\n\n```text\n");
    for line in help.trim_end().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str("```\n");
}
