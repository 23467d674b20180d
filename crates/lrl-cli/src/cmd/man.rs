//! `lrl man`: the manual pages, made from the command line itself.

use std::fs;
use std::path::Path;

use clap::{Arg, Command};
use clap_mangen::Man;
use lrl_store::error::Error;
use serde_json::json;

use crate::args::man::ManArgs;
use crate::args::{self, COMMON, SHARED};
use crate::context::Context;
use crate::exit::{Exit, Result, TABLE};
use crate::render::units;

/// Writes `lrl.1`, and a page for each command.
pub fn run(context: &Context<'_>, args: &ManArgs) -> Result {
    fs::create_dir_all(&args.dir).map_err(Error::io("create", &args.dir))?;
    let mut written = Vec::new();
    for (name, text) in pages()? {
        let path = args.dir.join(format!("{name}.1"));
        fs::write(&path, text).map_err(Error::io("write", &path))?;
        written.push(path.display().to_string());
    }
    if context.term.is_json() {
        context.term.json(&json!({ "success": true, "pages": written }))?;
    }
    let count = units::count(written.len() as u64, "manual page");
    context.term.say(format!("{count} in {}; read one with `man -l {}`", args.dir.display(), path_of(&args.dir)));
    Ok(Exit::Done)
}

fn path_of(dir: &Path) -> String {
    dir.join("lrl.1").display().to_string()
}

/// Returns the name and the text of each page.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    // Paragraphs are filled by the reader, at its own width.
    let mut command = args::command();
    command.build();
    let mut pages = vec![("lrl".to_string(), page(&command, "lrl")?)];
    below(&command, "lrl", &mut pages)?;
    Ok(pages)
}

fn below(parent: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for sub in parent.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        // Options of every command are on the first page only.
        let is_shared = |arg: &Arg| matches!(arg.get_help_heading(), Some(SHARED | COMMON));
        let own = sub.clone().mut_args(|arg| if is_shared(&arg) { arg.hide(true) } else { arg });
        let name = format!("{name}-{}", sub.get_name());
        pages.push((name.clone(), page(&own, &name)?));
        below(sub, &name, pages)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> Result<Vec<u8>> {
    let failed = Error::io("write", name);
    let man = Man::new(command.clone().display_name(name.to_string()))
        .title(name.to_uppercase())
        .source(concat!("lrl ", env!("CARGO_PKG_VERSION")))
        .manual("lrl manual");
    let mut text = Vec::new();
    let sections = man
        .render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| match command.has_subcommands() {
            true => man.render_subcommands_section(&mut text),
            false => Ok(()),
        });
    sections.map_err(failed)?;
    if let Some(more) = command.get_after_long_help() {
        text.extend_from_slice(more_sections(&more.to_string()).as_bytes());
    }
    text.extend_from_slice(b".SH \"EXIT STATUS\"\n");
    for (exit, meaning) in TABLE {
        text.extend_from_slice(format!(".TP\n{}\n{}\n", exit.code(), escaped(meaning)).as_bytes());
    }
    let others = if name == "lrl" { "the pages of the commands, such as lrl\\-backup(1)" } else { "lrl(1)" };
    text.extend_from_slice(format!(".SH \"SEE ALSO\"\n{others}\n").as_bytes());
    Ok(text)
}

/// Writes what follows the options in `--help`: paragraphs are filled, indented lines stay as they are, a line in capitals is a heading.
fn more_sections(help: &str) -> String {
    let mut out = String::from(".SH NOTES\n");
    let mut as_is = false;
    for line in help.lines() {
        let is_indented = line.starts_with(' ');
        if is_indented != as_is && !line.is_empty() {
            out.push_str(if is_indented { ".PP\n.nf\n" } else { ".fi\n" });
            as_is = is_indented;
        }
        let is_heading = !line.is_empty() && line.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
        match line {
            "" => out.push_str(".PP\n"),
            _ if is_heading => out.push_str(&format!(".SH \"{line}\"\n")),
            _ => out.push_str(&format!("{}\n", escaped(line))),
        }
    }
    out.push_str(if as_is { ".fi\n" } else { "" });
    // A page whose notes are only examples has no notes.
    out.replace(".SH NOTES\n.SH", ".SH")
}

/// Escapes what a formatter would obey.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\\\").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::more_sections;

    #[test]
    fn examples_keep_their_lines_and_prose_is_filled() {
        let page = more_sections("Some words.\n\nEXAMPLES\n  lrl a --b\n  lrl c\\d\n\n.more");
        let wanted = ".SH NOTES\nSome words.\n.PP\n.SH \"EXAMPLES\"\n.PP\n.nf\n  lrl a \\-\\-b\n  lrl c\\\\d\n.PP\n.fi\n\\&.more\n";
        assert_eq!(page, wanted);
        assert!(more_sections("EXAMPLES\n  lrl").starts_with(".SH \"EXAMPLES\""));
    }
}
