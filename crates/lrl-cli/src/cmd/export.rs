//! `lrl export`: a snapshot as a set that needs no lrl.

use lrl_store::ops::export::{self, GUIDE, Report, Sameness};
use lrl_store::ops::select::Need;
use serde_json::json;

use super::shared::{choose, open};
use crate::args::ExportArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::units;

/// Writes the set.
pub fn run(context: &Context<'_>, args: &ExportArgs) -> Result {
    let store = open::open_default(context)?;
    let (name, snapshot) = choose::choose(context, &store, &args.snapshot, Need::default(), args.force)?;
    let program = concat!("lrl ", env!("CARGO_PKG_VERSION"));
    let report = export::export(&store, &name, snapshot, &args.out, args.free.reserve, program, context.term)?;
    let term = context.term;
    let exit = if report.sameness == Some(Sameness::Differs) { Exit::Incomplete } else { Exit::Done };
    term.say(format!(
        "Exported snapshot {} ({}) to {}",
        name.id.short(),
        report.snapshot.timestamp,
        args.out.display()
    ));
    let paths = report.names.databases(&report.snapshot.databases);
    for (path, part) in paths.iter().zip(&report.snapshot.databases) {
        term.say(format!("  -> {} ({} bytes)", path.display(), part.size_bytes));
    }
    if let Some((half, archive)) = report.snapshot.files.as_ref().and_then(|half| Some((half, half.archive.as_ref()?)))
    {
        let path = report.names.assets.display();
        term.say(format!("  -> {path} ({} files, {} bytes)", half.files, archive.size_bytes));
    }
    term.say(format!("Manifest: {}", report.names.manifest.display()));
    term.say(format!("{} tells how to restore it with cp and tar alone", args.out.join(GUIDE).display()));
    explain(context, &report);
    if term.is_json() {
        term.json(&json!({
            "success": exit == Exit::Done,
            "snapshot": name.id,
            "timestamp": report.snapshot.timestamp,
            "manifest": report.names.manifest.display().to_string(),
            "databases": paths.iter().zip(&report.snapshot.databases).map(|(path, part)| json!({
                "path": path.display().to_string(), "size_bytes": part.size_bytes, "sha256": part.sha256,
            })).collect::<Vec<_>>(),
            "assets": report.snapshot.files.as_ref().map(|half| json!({
                "path": report.names.assets.display().to_string(), "file_count": half.files,
                "archive_size_bytes": half.archive.as_ref().map(|archive| archive.size_bytes),
                "sha256": half.archive.as_ref().map(|archive| &archive.sha256),
                "compared": report.sameness,
            })),
            "problems": report.problems,
        }))?;
    }
    Ok(exit)
}

fn explain(context: &Context<'_>, report: &Report) {
    let term = context.term;
    if report.snapshot.databases.is_empty() {
        term.note("the snapshot holds no database: the set is its uploads alone");
    }
    if report.snapshot.files.is_none() {
        term.note("the snapshot holds no uploads: the set is its database alone");
    }
    match &report.sameness {
        Some(Sameness::OtherCoder { coder }) => term.note(format!(
            "the archive has the same contents as that of the backup run, but other bytes: {} made that one",
            units::safe(coder)
        )),
        Some(Sameness::Differs) => term.warn(
            "the archive's contents are verified, but its bytes are not those of the backup run, though the same program made both; \
             please report this",
        ),
        Some(Sameness::Same | Sameness::FirstOfItsKind) | None => {}
    }
}
