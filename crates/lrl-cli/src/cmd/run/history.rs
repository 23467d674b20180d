//! What earlier runs did: for each step its last success and its last try, in a small file beside the other records of the store. Losing
//! it makes every step due.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lrl_store::error::Error;
use lrl_store::fs::lock::{Guard, LockMode, lock_file};
use serde::{Deserialize, Serialize};

use crate::args::step::Step;
use crate::cmd::shared::run_record;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::signal;

/// The steps of one source, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// Every step that was ever tried.
    #[serde(default)]
    steps: BTreeMap<String, Past>,
    /// How the last run ended.
    #[serde(default)]
    last_run: Option<LastRun>,
}

/// What is known of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When it last ended with exit code 0, in seconds since 1970; untouched by a failure.
    pub last_success: Option<i64>,
    /// When it was last tried.
    pub last_try: i64,
    /// How that ended.
    pub exit: u8,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// When it ended.
    pub finished: i64,
    /// Its exit code.
    pub exit: u8,
}

impl Past {
    /// Returns whether the last try was no success.
    pub fn failed(&self) -> bool {
        self.exit != Exit::Done.code()
    }
}

impl History {
    /// Reads what is known of a source; nothing where no run was.
    pub fn read(context: &Context<'_>) -> Self {
        let text = run_record::place(context, &name(context, "json")).and_then(|path| fs::read(path).ok());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Returns what is known of a step.
    pub fn of(&self, step: Step) -> Option<&Past> {
        self.steps.get(step.name())
    }

    /// Notes how a step ended, and writes it.
    pub fn note(&mut self, context: &Context<'_>, step: Step, now: i64, exit: Exit, error: Option<&str>) {
        let past = self.steps.entry(step.name().into()).or_default();
        (past.last_try, past.exit, past.error) = (now, exit.code(), error.map(str::to_string));
        if exit == Exit::Done {
            past.last_success = Some(now);
        }
        self.write(context);
    }

    /// Notes how a run ended; where that cannot be written, returns the directory.
    pub fn end(&mut self, context: &Context<'_>, run: LastRun) -> Result<(), PathBuf> {
        self.last_run = Some(run);
        if self.write(context) {
            return Ok(());
        }
        Err(run_record::place(context, "").and_then(|path| path.parent().map(Path::to_path_buf)).unwrap_or_default())
    }

    fn write(&self, context: &Context<'_>) -> bool {
        let path = run_record::place(context, &name(context, "json"));
        path.and_then(|path| run_record::put(&path, self)).is_some()
    }
}

fn name(context: &Context<'_>, extension: &str) -> String {
    format!("steps-{}.{extension}", context.cli.global.source)
}

/// Keeps two runs of one source apart, as far as there is a place for a lock: before the first backup there is none.
pub fn lock(context: &Context<'_>) -> Result<Option<Box<dyn Guard>>> {
    let Some(path) = run_record::place(context, &name(context, "lock")) else { return Ok(None) };
    match lock_file(&path, LockMode::Exclusive, context.cli.global.lock_wait, &signal::interrupted) {
        Ok(guard) => Ok(guard),
        Err(error @ (Error::Locked { .. } | Error::Interrupted)) => Err(error.into()),
        // A store that cannot be written fails in its steps, each with its own reason.
        Err(error) => {
            context.term.detail(format!("runs are not kept apart: {error}"));
            Ok(None)
        }
    }
}
