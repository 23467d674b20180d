//! `lrl export`: a snapshot as a set that needs no lrl.

use lrl_store::error::Error;
use lrl_store::ops::export::{self, GUIDE, Options, Report, Sameness};
use lrl_store::ops::select::Need;
use serde_json::json;

use super::shared::{choose, open};
use crate::args::ExportArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::hint;
use crate::render::units;

/// Writes the set.
pub fn run(context: &Context<'_>, args: &ExportArgs) -> Result {
    let store = open::open_default(context)?;
    let (name, snapshot) = choose::choose(context, &store, &args.snapshot, Need::default(), args.force)?;
    let mut options = Options::new(&args.out, concat!("lrl ", env!("CARGO_PKG_VERSION")));
    options.reserve = args.free.reserve;
    options.skip_damaged = args.skip_damaged;
    let report =
        export::export(&store, &name, snapshot, &options, context.term).map_err(|error| advised(error, args))?;
    let term = context.term;
    let is_whole = report.skipped.is_empty();
    let exit = if is_whole && report.sameness != Some(Sameness::Differs) { Exit::Done } else { Exit::Incomplete };
    term.say(format!(
        "Exported snapshot {} ({}) to {}",
        name.id.short(),
        report.snapshot.timestamp,
        args.out.display()
    ));
    let paths = &report.copies;
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
    missing(context, &report);
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
            "problems": hint::problems(&report.problems),
            "missing": (!is_whole).then(|| report.names.missing.display().to_string()),
            "skipped": report.skipped, "more_skipped": report.more_skipped,
        }))?;
    }
    Ok(exit)
}

/// Says of damage what works all the same.
fn advised(error: Error, args: &ExportArgs) -> Failure {
    let is_damage = matches!(error, Error::Corrupt { .. } | Error::Missing { .. });
    if !is_damage || args.skip_damaged {
        return error.into();
    }
    let message = hint::error(&error);
    let hint = "everything else can be exported: `lrl export --skip-damaged`; `lrl check --read-data --repair --from DIR` looks for what \
                is lost in sets, live data or another store";
    Failure::Advised { message, hint: Some(hint.into()), error }
}

/// Lists what is not in the set.
fn missing(context: &Context<'_>, report: &Report) {
    /// Damaged paths that are printed; `--json` and the list beside the set have more.
    const SHOWN: usize = 1000;
    let term = context.term;
    for skip in report.skipped.iter().take(SHOWN) {
        let more =
            if skip.entries > 1 { format!(" and what follows it, {} in all", skip.entries) } else { String::new() };
        term.warn(format!("not exported: {}{more}: {}", skip.path, skip.reason));
    }
    let count = report.skipped.iter().map(|skip| skip.entries).sum::<u64>() + report.more_skipped;
    if count > 0 {
        term.warn(format!(
            "the set is not whole: {} could not be exported, because the store has lost them; {} lists them, and a drill of the set fails",
            units::count(count, "path"),
            report.names.missing.display()
        ));
    }
}

fn explain(context: &Context<'_>, report: &Report) {
    let term = context.term;
    if report.snapshot.databases.is_empty() {
        term.note("the set holds no database: it is the uploads alone");
    }
    if report.snapshot.files.is_none() {
        term.note("the set holds no uploads: it is the database alone");
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
