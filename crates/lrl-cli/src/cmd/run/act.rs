//! Does one step: calls the verb's own function, with the flags of the run over the same file, and keeps the document that it writes.

use std::time::{Duration, Instant};

use lrl_store::set::directory::manifests;
use serde_json::Value;

use super::outcome;
use crate::args::Verb;
use crate::args::step::Step;
use crate::cmd::shared::line::{Line, line};
use crate::cmd::shared::run_record;
use crate::cmd::{backup, check, drill, forget, prune, report};
use crate::config::policy::CheckData;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::notify;
use crate::term::Term;

/// How many snapshots a drill takes from the store, where `[policy]` does not say.
const DRILL_OLDEST: u64 = 3;

/// How a step ended.
pub struct Ended {
    /// Its exit code, the worst of its calls.
    pub exit: Exit,
    /// Why it failed, or what is missing.
    pub error: Option<String>,
    /// The documents that the verbs wrote.
    pub documents: Vec<Value>,
    /// How long it took.
    pub took: Duration,
}

impl Ended {
    /// Returns whether steps that need this one are not done.
    pub fn failed(&self) -> bool {
        // With 3 the snapshot is stored, and `forget` judges it; with 5 only what is beside the snapshot is missing.
        !matches!(self.exit, Exit::Done | Exit::Incomplete | Exit::SetFailed)
    }
}

/// Does a step; failures are told on standard error at once.
pub fn act(context: &Context<'_>, step: Step) -> Ended {
    let started = Instant::now();
    let mut ended = Ended { exit: Exit::Done, error: None, documents: Vec::new(), took: Duration::ZERO };
    let calls = calls(context, step).unwrap_or_else(|failure| {
        add(context, step, &mut ended, Err(failure), None);
        Vec::new()
    });
    for line in &calls {
        if ended.exit != Exit::Interrupted {
            let term = Term::of_step(&context.cli.global);
            let of_step = line.context(context, &term);
            let result = call(&of_step, step);
            // The metrics of the run are measured in the store that its steps have unlocked.
            if let Some(backend) = of_step.left.backend.take() {
                context.left.backend.replace(Some(backend));
            }
            add(context, step, &mut ended, result, term.document());
        }
    }
    if ended.exit == Exit::Wrong {
        context.term.note(format!("`lrl {}` tells more", step.name()));
    }
    ended.took = started.elapsed();
    ended
}

fn call(context: &Context<'_>, step: Step) -> Result {
    let began = Instant::now();
    let result = match &context.cli.command {
        Verb::Backup(args) if step == Step::Copy => return backup::copy_alone(context, args),
        Verb::Backup(args) => backup::run(context, args),
        Verb::Drill(args) => drill::run(context, args),
        Verb::Forget(args) => forget::run(context, args),
        Verb::Prune(args) => prune::run(context, args),
        Verb::Check(args) => check::run(context, args),
        Verb::Report(args) => report::run(context, args),
        _ => Err(Failure::Usage(format!("{} is no step of a run", step.name()))),
    };
    let exit = result.as_ref().map_or_else(|failure| failure.exit(is_proving(step)), |exit| *exit);
    let error = result.as_ref().err().map(Failure::message);
    run_record::write(context, &notify::Ended { code: exit.code(), error, took: began.elapsed() });
    result
}

/// Returns whether damage is what a step looks for.
fn is_proving(step: Step) -> bool {
    matches!(step, Step::Drill | Step::Check)
}

fn add(context: &Context<'_>, step: Step, ended: &mut Ended, result: Result, document: Option<Value>) {
    let (term, name) = (context.term, step.name());
    let exit = match &result {
        Ok(exit) => *exit,
        Err(failure) => {
            term.error(format!("{name}: {}", failure.message()));
            term.hint(failure);
            failure.exit(is_proving(step))
        }
    };
    if exit == Exit::Wrong && result.is_ok() {
        // The verb has its findings in its document only.
        let findings = document.as_ref().map(outcome::findings).unwrap_or_default();
        findings.iter().for_each(|finding| term.error(format!("{name}: {finding}")));
    }
    let why = match &result {
        Err(failure) => Some(failure.message()),
        Ok(Exit::Done) => None,
        Ok(_) => document.as_ref().and_then(outcome::why),
    };
    if ended.exit.worse(exit) != ended.exit || ended.error.is_none() {
        ended.error = why.or(ended.error.take());
    }
    ended.exit = ended.exit.worse(exit);
    ended.documents.extend(document);
}

/// Returns the command lines that make up a step.
fn calls(context: &Context<'_>, step: Step) -> Result<Vec<Line>> {
    let policy = &context.file.policy;
    let of = |verb: &str, extra: &[String]| line(context, verb, &with_source(context, extra));
    match step {
        Step::Backup => {
            let keep_sets = policy.keep_sets().map(|number| format!("--keep-sets={number}"));
            let mut line = of("backup", &Vec::from_iter(keep_sets))?;
            if let Verb::Backup(args) = &mut line.cli.command {
                args.copy_to = None;
            }
            Ok(vec![line])
        }
        Step::Copy => Ok(vec![of("backup", &[])?]),
        Step::Drill => {
            let mut calls = Vec::new();
            let oldest = policy.drill_oldest().unwrap_or(DRILL_OLDEST);
            if makes_sets(&of("backup", &[])?) && !manifests(&context.paths()?.backup_dir)?.is_empty() {
                calls.push(of("drill", &[])?);
            }
            if oldest > 0 {
                calls.push(of("drill", &["--oldest-first".into(), format!("--limit={oldest}")])?);
            } else if calls.is_empty() {
                calls.push(of("drill", &["--snapshot=latest".into()])?);
            }
            Ok(calls)
        }
        Step::Forget => Ok(vec![of("forget", &[])?]),
        Step::Prune => Ok(vec![of("prune", &[])?]),
        Step::Check => {
            let data = match policy.check_data() {
                CheckData::Nothing => None,
                CheckData::All => Some("--read-data".to_string()),
                CheckData::Part(part) => Some(format!("--read-data-subset={part}")),
            };
            Ok(vec![of("check", &Vec::from_iter(data))?])
        }
        // The file is the one that `[policy]` names.
        Step::Report => Ok(vec![of("report", &[])?]),
    }
}

/// A run is of one source: it neither drills nor forgets what other labs have in the store.
fn with_source(context: &Context<'_>, extra: &[String]) -> Vec<String> {
    let source = format!("--source={}", context.cli.global.source);
    extra.iter().cloned().chain([source]).collect()
}

fn makes_sets(backup: &Line) -> bool {
    matches!(&backup.cli.command, Verb::Backup(args) if !args.snapshot_only)
}
