//! One round of a watch: what `lrl backup` with the same flags does, told in its outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lrl_store::backend::Backend;
use serde_json::Value;

use crate::args::Verb;
use crate::cmd::backup;
use crate::cmd::run::outcome;
use crate::cmd::shared::line::{Line, line};
use crate::cmd::shared::run_record::{self, RunRecord};
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::notify;
use crate::term::{Term, kind_of};

/// The command lines of the rounds.
pub struct Rounds {
    plain: Line,
    with_set: Option<Line>,
    last_exit: Exit,
}

/// How a round ended.
pub struct Outcome {
    /// As a backup's.
    pub exit: Exit,
    /// What went wrong, if something did.
    pub fault: Option<Fault>,
    /// The newest snapshot.
    pub snapshot: Option<String>,
    /// No snapshot was added: the newest one has everything.
    pub unchanged: bool,
    /// Bytes that it added to the store.
    pub added: u64,
    /// The databases that it holds, as they are documented; unknown where no snapshot was added.
    pub databases: Option<Vec<Value>>,
    /// A set was written.
    pub wrote_set: bool,
    /// How long it took.
    pub took: Duration,
    /// What was recorded of it.
    pub record: Option<RunRecord>,
    /// The backend that it unlocked.
    pub backend: Option<Arc<dyn Backend>>,
}

/// What went wrong.
pub struct Fault {
    /// The same for faults that are alike.
    pub kind: String,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Fault {
    /// Returns that of a verb that failed.
    pub fn of(failure: &Failure) -> Self {
        let message = failure.message();
        let kind = format!("{} {}", failure.kind(), kind_of(&message));
        Self { kind, message, hint: failure.hint().map(Into::into) }
    }
}

impl Outcome {
    /// Returns whether everything that could be read is durable.
    pub fn is_saved(&self) -> bool {
        matches!(self.exit, Exit::Done | Exit::Incomplete | Exit::SetFailed)
    }
}

impl Rounds {
    /// Takes the flags of the watch.
    pub fn new(context: &Context<'_>) -> Result<Self> {
        let of = |extra: &[String]| -> Result<(Line, bool)> {
            let mut line = line(context, "backup", extra)?;
            let mut snapshot_only = true;
            if let Verb::Backup(args) = &mut line.cli.command {
                // When a watch acts is its own matter.
                args.if_older_than = None;
                snapshot_only = args.snapshot_only;
            }
            Ok((line, snapshot_only))
        };
        let source = format!("--source={}", context.cli.global.source);
        let (as_given, snapshot_only) = of(std::slice::from_ref(&source))?;
        if snapshot_only {
            return Ok(Self { plain: as_given, with_set: None, last_exit: Exit::Done });
        }
        let (plain, _) = of(&[source, "--snapshot-only=true".into()])?;
        Ok(Self { plain, with_set: Some(as_given), last_exit: Exit::Done })
    }

    /// Returns whether sets are written at all.
    pub fn has_sets(&self) -> bool {
        self.with_set.is_some()
    }

    /// Does a round, with a set or without.
    pub fn run(&mut self, context: &Context<'_>, set: bool) -> Outcome {
        let line = self.with_set.as_ref().filter(|_| set).unwrap_or(&self.plain);
        let term = Term::of_round(&context.cli.global);
        let of_round = line.context(context, &term);
        let began = Instant::now();
        let result = match &line.cli.command {
            Verb::Backup(args) => backup::run_as(&of_round, args, !set),
            _ => Err(Failure::Usage("a round of a watch is a backup".into())),
        };
        let took = began.elapsed();
        let exit = result.as_ref().map_or_else(|failure| failure.exit(false), |exit| *exit);
        let error = result.as_ref().err().map(Failure::message);
        let document = term.document().unwrap_or_default();
        let mut outcome = outcome(exit, &result, &document, took);
        // Where nothing happens, nothing is written.
        if !outcome.unchanged || exit != self.last_exit {
            outcome.record = run_record::write(&of_round, &notify::Ended { code: exit.code(), error, took });
        }
        outcome.backend = of_round.left.backend.take();
        self.last_exit = exit;
        self.forget_once(outcome.is_saved());
        outcome
    }

    /// What was asked for once is done once.
    fn forget_once(&mut self, is_saved: bool) {
        for line in [Some(&mut self.plain), self.with_set.as_mut()].into_iter().flatten().filter(|_| is_saved) {
            if let Verb::Backup(args) = &mut line.cli.command {
                (args.rescan, args.accept_shrink, args.new_source) = (false, false, false);
            }
        }
    }
}

fn outcome(exit: Exit, result: &Result, document: &Value, took: Duration) -> Outcome {
    let fault = match result {
        Err(failure) => Some(Fault::of(failure)),
        Ok(Exit::Done) => None,
        Ok(exit) => {
            let message = outcome::why(document).unwrap_or_else(|| format!("exit code {}", exit.code()));
            Some(Fault { kind: format!("{} {}", exit.code(), kind_of(&message)), message, hint: None })
        }
    };
    let databases = document["backups"].as_array().map(|parts| {
        let databases = parts.iter().filter(|part| part["type"] == "database");
        databases.map(|part| part["source"].clone()).collect()
    });
    Outcome {
        exit,
        fault,
        databases,
        snapshot: document["snapshot"].as_str().map(str::to_string),
        unchanged: document["unchanged"] == true,
        added: document["added_bytes"].as_u64().unwrap_or_default(),
        wrote_set: document["manifest"].is_string(),
        took,
        record: None,
        backend: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::outcome;
    use crate::exit::Exit;

    #[test]
    fn a_round_without_a_snapshot_tells_nothing_of_databases() {
        let of = |document| outcome(Exit::Done, &Ok(Exit::Done), &document, Duration::ZERO);
        assert_eq!(of(json!({ "success": true, "unchanged": true, "snapshot": "ab" })).databases, None);
        let parts = json!([{ "type": "database", "source": "site/a.db" }, { "type": "assets", "source": "site" }]);
        assert_eq!(of(json!({ "snapshot": "ab", "backups": parts })).databases, Some(vec![json!("site/a.db")]));
        assert_eq!(of(json!({ "snapshot": "ab", "backups": [] })).databases, Some(Vec::new()));
    }
}
