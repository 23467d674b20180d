//! `lrl check`: what is damaged in the store, and whom that concerns.

use std::sync::Arc;
use std::time::SystemTime;

use lrl_store::ops::check::{self, Checked, Finding, Options, ReadData, Report};
use lrl_store::storage::local::Local;
use serde_json::json;

use super::{Context, store};
use crate::args::CheckArgs;
use crate::args::values::Subset;
use crate::exit::{Exit, Result};
use crate::render::units;
use crate::term::Colour;

/// Checks the store; exit 4 when anything is wrong.
pub fn run(context: &Context<'_>, args: &CheckArgs) -> Result {
    let paths = context.paths()?;
    store::require_backup_dir(context, &paths)?;
    let read_data = match (args.read_data, args.read_data_subset) {
        (true, _) => ReadData::All,
        (false, None) => ReadData::No,
        (false, Some(Subset::Slice { part, of })) => ReadData::Slice { part, of },
        (false, Some(Subset::Percent(percent))) => ReadData::Percent(percent),
        (false, Some(Subset::Bytes(bytes))) => ReadData::Bytes(bytes),
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let options = Options { read_data, seed: since.as_nanos() as u64, lock_wait: context.cli.global.lock_wait };
    let report = check::check(Arc::new(Local::new(&paths.store)), &options, context.term)?;
    render(context, &paths.store.display().to_string(), read_data, &report)
}

fn render(context: &Context<'_>, place: &str, read_data: ReadData, report: &Report) -> Result {
    let term = context.term;
    let exit = if report.wrong { Exit::Wrong } else { Exit::Done };
    let (wrong, notes): (Vec<_>, Vec<_>) = report.findings.iter().partition(|finding| finding.wrong);
    if term.is_json() {
        term.json(&json!({
            "success": exit == Exit::Done, "store": place, "checked": report.checked, "errors": wrong, "notes": notes,
            "more_findings": report.more,
        }))?;
        return Ok(exit);
    }
    for finding in &report.findings {
        for line in lines(context, finding) {
            term.line(line)?;
        }
    }
    if report.more > 0 {
        term.line(format!("{} are not shown", units::count(report.more, "more finding")))?;
    }
    term.say(looked_at(&report.checked, read_data));
    match exit {
        Exit::Done => term.say(term.paint(Colour::Green, "No errors found.")),
        _ => {
            let count = units::count(wrong.len() as u64, "thing is|things are");
            term.line(term.paint(Colour::Red, &format!("{count} wrong in {place}.")))?;
        }
    }
    Ok(exit)
}

fn lines(context: &Context<'_>, finding: &Finding) -> Vec<String> {
    let label = match finding.wrong {
        true => context.term.paint(Colour::Red, "error"),
        false => context.term.paint(Colour::Yellow, "note"),
    };
    let detail = finding.detail.strip_prefix(&format!("{} ", finding.object)).unwrap_or(&finding.detail);
    let mut lines = vec![format!("{label}: {}: {}", units::safe(&finding.object), units::safe(detail))];
    let mut more = |what: &str, names: &[String], more: u64| {
        if names.is_empty() {
            return;
        }
        let names: Vec<_> = names.iter().map(|name| units::safe(name)).collect();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("  {what}: {}{rest}", names.join(", ")));
    };
    more("affects the snapshots", &finding.snapshots, finding.more_snapshots);
    more("files that are lost there", &finding.files, finding.more_files);
    lines
}

fn looked_at(checked: &Checked, read_data: ReadData) -> String {
    let mut text = format!(
        "Checked {}, {} with {}, {} of {}",
        units::count(checked.snapshots, "snapshot"),
        units::count(checked.index_files, "index|indexes"),
        units::count(checked.index_records, "chunk"),
        units::count(checked.packs, "pack"),
        units::size(checked.pack_bytes)
    );
    text.push_str(&match read_data {
        ReadData::No => "; the data in them was not read (--read-data does)".into(),
        _ => format!(
            "; read {} whole ({}), and {} against its SHA-256",
            units::count(checked.packs_read, "pack"),
            units::size(checked.bytes_read),
            units::count(checked.databases_read, "newest database")
        ),
    });
    text
}
