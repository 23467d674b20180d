//! The texts after the help of each command.

use super::examples;

/// Ends the short help of a command with a line that says where the rest is; a command without examples names its parent's.
pub(super) fn point_to_long_help(command: clap::Command) -> clap::Command {
    let parent = format!("Examples: `lrl {} --help`.", command.get_name());
    command.after_help(examples::SHORT).mut_subcommands(|sub| {
        let sub = if sub.get_after_long_help().is_none() { sub.after_long_help(parent.clone()) } else { sub };
        point_to_long_help(sub)
    })
}

/// Joins the lines of each paragraph after the help: the terminal's width is where they break, not the source's as well.
pub(super) fn unwrap_help(command: clap::Command) -> clap::Command {
    let text = command.get_after_long_help().map(|text| paragraphs(&text.to_string()));
    let command = command.mut_subcommands(unwrap_help);
    match text {
        Some(text) => command.after_long_help(text),
        None => command,
    }
}

/// Joins the lines of each paragraph; what is indented stays as it is.
pub(super) fn paragraphs(text: &str) -> String {
    let is_text = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let mut out = String::with_capacity(text.len());
    let mut before = "";
    for (n, line) in text.lines().enumerate() {
        if n > 0 {
            out.push(if is_text(before) && is_text(line) { ' ' } else { '\n' });
        }
        out.push_str(line);
        before = line;
    }
    out
}
