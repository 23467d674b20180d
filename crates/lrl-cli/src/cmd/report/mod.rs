//! `lrl report`: one page that shows whether all is well and why, and what to type if not. The judgement is that of `lrl status`.

pub mod gather;
mod keep;
pub mod model;
mod out;
pub mod page;
mod restore;
mod space;

use std::path::PathBuf;

use serde_json::json;

use self::gather::Asked;
use crate::args::report::ReportArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::names::Names;
use crate::render::units;

/// Writes the page. How the backups are is no exit code here: `lrl status` has that. A store that cannot be opened is a page as well, so that no
/// earlier one stays there and looks fine.
pub fn run(context: &Context<'_>, args: &ReportArgs) -> Result {
    let names = if args.redact || context.file.policy.redacts_report() { Names::Redacted } else { Names::Shown };
    let out = match &args.out {
        _ if args.to_stdout() && context.term.is_json() => {
            return Err(Failure::Usage(
                "--out - writes the page to standard output, where --json writes a document".into(),
            ));
        }
        _ if args.to_stdout() => None,
        Some(out) => Some(out.clone()),
        None => Some(context.file.policy.report().map(PathBuf::from).ok_or_else(no_file)?),
    };
    // Before anything is read: a mistyped name is told at once.
    let target = out.as_deref().map(out::target).transpose()?;
    let (page, failure) = gather::page(context, Asked { limits: &args.limits, names, opened: None })?;
    let html = page::html(&page);
    let wrong = page.all_wrong();
    match &target {
        Some((path, mode)) => out::write(path, *mode, &html)?,
        None => context.term.bytes(html.as_bytes())?,
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let Some(out) = out else { return Ok(Exit::Done) };
    if context.term.is_json() {
        context.term.json(&json!({
            "success": true, "report": out.display().to_string(), "bytes": html.len(), "fine": wrong.is_empty(), "wrong": wrong,
            "sources": page.sources(),
        }))?;
    } else {
        let well = match wrong.len() {
            0 => "all is well".to_string(),
            number => format!("{} wrong", units::count(number as u64, "thing")),
        };
        context.term.say(format!(
            "Report: {} ({}): {well}",
            units::safe(&out.display().to_string()),
            units::size(html.len() as u64)
        ));
    }
    Ok(Exit::Done)
}

fn no_file() -> Failure {
    Failure::Usage(
        "no file is named: give --out FILE (- for standard output), or set report in the table [policy] of lrl.toml"
            .into(),
    )
}
