//! Which steps are due, by `[policy]` and by what earlier runs did.

use std::time::Duration;

use super::due::{Due, due};
use super::history::{History, Past};
use crate::args::step::Step;
use crate::args::{RunArgs, Verb};
use crate::cmd::shared::line::line;
use crate::config::policy::Interval;
use crate::context::Context;
use crate::exit::{Failure, Result};

const DAY: u64 = 86_400;

/// One step, and when it is due.
pub struct Planned {
    /// The step.
    pub step: Step,
    /// How often it is done.
    pub interval: Interval,
    /// When it is due.
    pub due: Due,
    /// What is known of it.
    pub past: Option<Past>,
}

/// Plans a run; with `--only`, of these steps, whether due or not.
pub fn plan(context: &Context<'_>, args: &RunArgs, history: &History, now: i64) -> Result<Vec<Planned>> {
    let has_copy_to = match line(context, "backup", &[])?.cli.command {
        Verb::Backup(backup) => backup.copy_to.is_some(),
        _ => false,
    };
    let mut planned = Vec::with_capacity(Step::ALL.len());
    for step in Step::ALL {
        let is_named = args.only.contains(&step);
        if !is_named && !args.only.is_empty() {
            continue;
        }
        let interval = context.file.policy.interval(step.name()).unwrap_or_else(|| default_interval(context, step));
        let past = history.of(step).cloned();
        let last_success = past.as_ref().and_then(|past| past.last_success);
        let due = match step {
            Step::Copy if !has_copy_to => Due::Lacks("no second store is set (copy-to)"),
            Step::Report if context.file.policy.report().is_none() => Due::Lacks("[policy] names no report"),
            Step::Forget if !context.file.policy.has_retention() => Due::Lacks("[policy] has no keep- rule"),
            _ if is_named => Due::Now,
            _ => due(interval, last_success, past.as_ref().is_some_and(Past::failed), now),
        };
        if let (Due::Lacks(what), true) = (due, is_named) {
            return Err(Failure::Usage(format!("--only {}: {what}", step.name())));
        }
        planned.push(Planned { step, interval, due, past });
    }
    Ok(planned)
}

fn default_interval(context: &Context<'_>, step: Step) -> Interval {
    let days = |days| Interval::Every(Duration::from_secs(days * DAY));
    match step {
        Step::Backup | Step::Copy | Step::Forget | Step::Report => Interval::Always,
        Step::Drill => days(7),
        // Where nothing is forgotten there is next to nothing to delete.
        Step::Prune if context.file.policy.has_retention() => days(7),
        Step::Prune => Interval::Never,
        Step::Check => days(30),
    }
}
