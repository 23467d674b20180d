//! The command `lrl`: parse → resolve → one engine call → render. A library only so that tests and documents can use its parts.

pub mod args;
pub mod cmd;
pub mod complete;
pub mod config;
pub mod context;
pub mod credential;
pub mod docs;
pub mod exit;
pub mod hint;
pub mod known_stores;
pub mod locks;
pub mod log;
pub mod memory_limit;
pub mod metrics;
pub mod notify;
pub mod render;
pub mod replace;
pub mod resolve;
pub mod s3_credentials;
pub mod signal;
pub mod site;
pub mod term;
pub mod trust;
pub mod umask;
pub mod when;

use std::ffi::OsString;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use clap::FromArgMatches;
use clap::error::{ContextKind, ContextValue};

use crate::context::{Context, Left};
use args::{Cli, Verb};
use config::File;
use exit::{Exit, Failure};
use lrl_store::fs::missing_features;
use notify::Ended;
use site::model::Site;
use term::Term;

/// Runs one command line, whose first argument is the program's name.
pub fn run(arguments: &[OsString]) -> Exit {
    if let Some(exit) = locks::answer(arguments) {
        return exit;
    }
    let first = match args::parse(arguments) {
        Ok(matches) => matches,
        Err(error) => return usage(arguments, error),
    };
    let early = match Cli::from_arg_matches(&first) {
        Ok(cli) => cli,
        Err(error) => return usage(arguments, error),
    };
    // A completion script must not depend on the directory in which it is made, nor a proposal on another one's settings.
    let file = match early.command {
        Verb::Completions { .. } | Verb::Man(_) | Verb::Setup(_) => Ok(File::default()),
        _ => config::load(early.global.config.as_deref(), config::user_directory().as_deref()),
    };
    let file = match file {
        Ok(file) => file,
        Err(text) => return end(&Term::new(&early.global), Err(Failure::Usage(text)), false),
    };
    let parsed = config::parse_over(&file, arguments, &first)
        .and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (matches, cli)));
    let (matches, mut cli) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage(arguments, error),
    };
    // What is wrong with the description of a site is told by the verb that needs it.
    let site = site::merge::of_verb(&matches, &file);
    if let Ok(Site { source: Some(source), .. }) = &site {
        cli.global.source.clone_from(source);
    }
    let term = Term::new(&cli.global);
    if let Some(path) = &file.path {
        term.detail(format!("settings from {}", path.display()));
    }
    let context = Context { cli: &cli, matches: &matches, file: &file, site, term: &term, left: Left::default() };
    let telling = notify::begin(&context);
    let begun = Instant::now();
    let result = panic::catch_unwind(AssertUnwindSafe(|| cmd::run(&context)));
    if let Some(path) = missing_features::unsynced() {
        term.note(format!(
            "{} cannot be synced: its file system (such as CIFS or vboxsf) does not support it; a power cut can take back the newest names there",
            path.display()
        ));
    }
    let (result, panicked) = match result {
        Ok(result) => (result, None),
        Err(panic) => (Ok(Exit::Failed), Some(panic)),
    };
    let error = match &result {
        Err(failure) => Some(failure.message()),
        Ok(_) => panicked.as_ref().map(|_| "internal error".to_string()),
    };
    let exit = end(&term, result, matches!(cli.command, Verb::Check(_) | Verb::Drill(_)));
    // What follows tells how the run ended, and changes nothing about that.
    let ended = Ended { code: exit.code(), error, took: begun.elapsed() };
    let record = cmd::shared::run_record::write(&context, &ended);
    cmd::status::metrics::write(&context, exit, record.as_ref());
    if let Some(telling) = telling {
        telling.end(&context, &ended);
    }
    match panicked {
        Some(panic) => panic::resume_unwind(panic),
        None => exit,
    }
}

/// Reports a failure, writes out what is buffered, and decides the exit code.
fn end(term: &Term, result: exit::Result, proving: bool) -> Exit {
    let exit = result.unwrap_or_else(|failure| {
        let exit = failure.exit(proving);
        term.failure(&failure, exit.code());
        exit
    });
    match term.finish() {
        Err(failure) if exit == Exit::Done => {
            let exit = failure.exit(proving);
            term.failure(&failure, exit.code());
            exit
        }
        _ => exit,
    }
}

/// Commands that overwrite or delete.
const DESTRUCTIVE: [&str; 4] = ["restore", "forget", "prune", "remove"];

/// Whoever mistyped a command that reads must not be led to one that overwrites or deletes.
fn suggest_no_harm(error: &mut clap::Error) {
    let kind = ContextKind::SuggestedSubcommand;
    let is_harmless = |name: &str| !DESTRUCTIVE.contains(&name);
    let left: Vec<String> = match error.get(kind) {
        Some(ContextValue::String(name)) => Some(name.clone()).into_iter().filter(|name| is_harmless(name)).collect(),
        Some(ContextValue::Strings(names)) => names.iter().filter(|name| is_harmless(name)).cloned().collect(),
        _ => return,
    };
    // An empty list would still be printed as a tip.
    match left.is_empty() {
        true => _ = error.remove(kind),
        false => _ = error.insert(kind, ContextValue::Strings(left)),
    }
}

/// Help and version end well; everything else that the parser says is a usage error, with `--json` also as a document.
fn usage(arguments: &[OsString], mut error: clap::Error) -> Exit {
    suggest_no_harm(&mut error);
    // Nobody is left to tell when this fails.
    let _ = error.print();
    if error.exit_code() == 0 {
        return Exit::Done;
    }
    // The parser gave no flags back, so they are looked for by hand; what follows `--` is no flag.
    if arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string();
        let document = Failure::Usage(message).json(Exit::Usage.code());
        let document = serde_json::json!({ "success": false, "error": document });
        let _ = writeln!(std::io::stdout(), "{document:#}");
    }
    Exit::Usage
}

/// Runs `job`; a panic becomes one line on standard error and exit code 1.
pub fn guard(job: impl FnOnce() -> Exit) -> Exit {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message").replace('\n', " ");
        let place = info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "lrl: internal error: {text}{place}; please report this line and the command that you ran"
        );
    }));
    panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or(Exit::Failed)
}

#[cfg(test)]
mod tests {
    use super::{Exit, guard};

    #[test]
    fn a_panic_is_exit_1_and_nothing_else() {
        assert_eq!(guard(|| Exit::Locked), Exit::Locked);
        assert_eq!(guard(|| panic!("on purpose")), Exit::Failed);
        let _ = std::panic::take_hook();
    }
}
