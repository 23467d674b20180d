//! One file per verb: each resolves its arguments, makes one engine call and renders the result.

mod backup;
mod check;
mod completions;
mod config;
mod copy;
mod diff;
mod drill;
mod dump;
mod export;
mod find;
mod forget;
mod import;
mod init;
mod key;
mod ls;
mod man;
mod prune;
mod report;
mod restore;
mod rows;
mod run;
mod schedule;
mod setup;
pub mod shared;
mod snapshots;
mod sql;
mod stats;
pub mod status;
#[cfg(feature = "ui")]
mod ui;
mod watch;

use lrl_store::fs::temp_dir;
use lrl_store::ops::{drill as drill_engine, import as import_engine};
use lrl_store::source::database::COPIES;

use crate::args::Verb;
use crate::context::Context;
use crate::exit::Result;

/// Removes what killed runs left unpacked: nobody may drill or import again for a long time.
fn reclaim(context: &Context<'_>) {
    let backups = context.paths().ok().map(|paths| paths.backup_dir);
    for dir in std::iter::once(std::env::temp_dir()).chain(backups) {
        [drill_engine::SCRATCH, import_engine::SCRATCH, COPIES]
            .iter()
            .for_each(|prefix| temp_dir::reclaim(&dir, prefix));
    }
}

/// Runs the verb.
pub fn run(context: &Context<'_>) -> Result {
    if !matches!(context.cli.command, Verb::Completions { .. } | Verb::Man(_)) {
        reclaim(context);
    }
    match &context.cli.command {
        Verb::Backup(args) => backup::run(context, args),
        Verb::Restore(args) => restore::run(context, args),
        Verb::Drill(args) => drill::run(context, args),
        Verb::Import(args) => import::run(context, args),
        Verb::Status(args) => status::run(context, args),
        Verb::Snapshots(args) => snapshots::run(context, args),
        Verb::Ls(args) => ls::run(context, args),
        Verb::Diff(args) => diff::run(context, args),
        Verb::Find(args) => find::run(context, args),
        Verb::Dump(args) => dump::run(context, args),
        Verb::Sql(args) => sql::run(context, args),
        Verb::Rows(args) => rows::run(context, args),
        Verb::Check(args) => check::run(context, args),
        Verb::Copy(args) => copy::run(context, args),
        Verb::Export(args) => export::run(context, args),
        Verb::Forget(args) => forget::run(context, args),
        Verb::Prune(args) => prune::run(context, args),
        Verb::Report(args) => report::run(context, args),
        #[cfg(feature = "ui")]
        Verb::Ui(args) => ui::run(context, args),
        #[cfg(not(feature = "ui"))]
        Verb::Ui(_) => Err(crate::exit::Failure::Usage(
            "this lrl was built without pages: install it with the feature `ui`".into(),
        )),
        Verb::Run(args) => run::run(context, args),
        Verb::Schedule(args) => schedule::run(context, args),
        Verb::Watch(args) => watch::run(context, args),
        Verb::Stats => stats::run(context),
        Verb::Init(args) => init::run(context, args),
        Verb::Key(args) => key::run(context, args),
        Verb::Setup(args) => setup::run(context, args),
        Verb::Config(args) => config::run(context, args),
        Verb::Man(args) => man::run(context, args),
        Verb::Completions { shell } => completions::run(context, *shell),
    }
}
