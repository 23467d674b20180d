//! What is told of a run: that it starts, or how it ended.

use lrl_store::time::Time;
use serde_json::{Value, json};

use crate::exit::TABLE;
use crate::render::entry;

/// A run.
#[derive(Debug, Clone)]
pub struct Event {
    /// The run's random id, which pairs its start with its end.
    pub run: String,
    /// The command.
    pub verb: &'static str,
    /// The source.
    pub source: String,
    /// The store, without credentials.
    pub store: String,
    /// The machine's name.
    pub host: String,
    /// When it started.
    pub started: Time,
    /// How it ended; `None` of one that starts.
    pub end: Option<End>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct End {
    /// When.
    pub finished: Time,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its exit code.
    pub code: u8,
    /// The error that ended it, if one did.
    pub error: Option<String>,
    /// The last part of what it printed, without secrets.
    pub log: String,
}

impl End {
    /// Returns whether all is well.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
}

impl Event {
    /// Says in one line how the run ended, or that it starts.
    pub fn summary(&self) -> String {
        let run = format!("lrl {} of {}", self.verb, self.source);
        match &self.end {
            None => format!("{run} starts"),
            Some(end) if end.is_success() => format!("{run}: done in {:.0} s", end.seconds),
            Some(end) => {
                let why = end.error.clone().or_else(|| meaning(end.code).map(str::to_string)).unwrap_or_default();
                format!("{run}: exit code {}: {why}", end.code)
            }
        }
    }

    /// Returns all of it as a document.
    pub fn document(&self) -> Value {
        let mut document = json!({
            "event": if self.end.is_some() { "end" } else { "start" },
            "run": self.run,
            "command": self.verb,
            "source": self.source,
            "store": self.store,
            "host": self.host,
            "program": concat!("lrl ", env!("CARGO_PKG_VERSION")),
            "started": entry::iso(self.started),
        });
        if let Some(end) = &self.end {
            document["finished"] = json!(entry::iso(end.finished));
            document["seconds"] = json!(end.seconds);
            document["success"] = json!(end.is_success());
            document["exit_code"] = json!(end.code);
            document["meaning"] = json!(meaning(end.code));
            document["error"] = json!(end.error);
            document["summary"] = json!(self.summary());
            document["log"] = json!(end.log);
        }
        document
    }
}

fn meaning(code: u8) -> Option<&'static str> {
    TABLE.iter().find(|(exit, _)| exit.code() == code).map(|(_, meaning)| *meaning)
}
