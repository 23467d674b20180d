//! Keeps the history of a watch small: forgets by `--keep`, as `lrl forget` does, and prunes.

use std::time::SystemTime;

use lrl_store::ops::forget::{self, Options};
use lrl_store::time::time_of;

use crate::args::Verb;
use crate::args::WatchArgs;
use crate::cmd::shared::line::{Line, line};
use crate::cmd::shared::open;
use crate::cmd::{forget as forget_verb, prune};
use crate::context::Context;
use crate::exit::{Failure, Result};
use crate::term::Term;

/// The command lines of both verbs. Neither keeps the watch waiting for long: it comes back.
pub struct Thin {
    forget: Line,
    prune: Line,
}

const WAIT: &str = "--lock-wait=2s";

impl Thin {
    /// Takes the flags of the watch; `None` where nothing is to be forgotten.
    pub fn new(context: &Context<'_>, args: &WatchArgs) -> Result<Option<Self>> {
        if args.when.keep.is_none() {
            return Ok(None);
        }
        let extra = [format!("--source={}", context.cli.global.source), WAIT.to_string()];
        Ok(Some(Self { forget: line(context, "forget", &extra)?, prune: line(context, "prune", &extra)? }))
    }

    /// Forgets what no rule keeps; returns the number of snapshots that went.
    pub fn forget(&self, context: &Context<'_>) -> Result<u64> {
        within(context, &self.forget, |context| {
            let Verb::Forget(args) = &context.cli.command else {
                return Err(Failure::Usage("a watch forgets as `lrl forget` does".into()));
            };
            let store = open::open_to_delete(context, &context.paths()?, false)?;
            let mut policy = forget_verb::policy(args);
            policy.bad_within_secs = args.keep_bad_within.as_secs();
            let mut options = Options::new(policy, time_of(SystemTime::now()));
            options.source = Some(context.cli.global.source.clone());
            let plan = forget::plan(&store, &options, context.term)?;
            forget::apply(&store, &plan, context.term)?;
            Ok(plan.removed().count() as u64)
        })
    }

    /// Prunes the store.
    pub fn prune(&self, context: &Context<'_>) -> Result {
        within(context, &self.prune, |context| match &context.cli.command {
            Verb::Prune(args) => prune::run(context, args),
            _ => Err(Failure::Usage("a watch prunes as `lrl prune` does".into())),
        })
    }
}

fn within<T>(context: &Context<'_>, line: &Line, act: impl FnOnce(&Context<'_>) -> Result<T>) -> Result<T> {
    let term = Term::of_round(&context.cli.global);
    act(&line.context(context, &term))
}
