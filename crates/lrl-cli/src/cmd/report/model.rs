//! What a page shows, gathered before any of it is written.

use lrl_store::ops::report::History;
use lrl_store::ops::status::Limits;
use lrl_store::time::Time;

use super::space::Space;
use crate::cmd::shared::run_record::RunRecord;
use crate::cmd::status::source::SourceStatus;
use crate::render::names::Names;

/// All that one page shows.
pub struct Page {
    /// When it was gathered.
    pub now: Time,
    /// Whether names are shown.
    pub names: Names,
    /// From when on something is too old.
    pub limits: Limits,
    /// The limits in force, a line each.
    pub judged_by: Vec<String>,
    /// The stores.
    pub stores: Vec<StorePage>,
    /// What is kept; none where these settings are not those of the stores.
    pub keep: Option<Keep>,
}

/// One store.
pub struct StorePage {
    /// Its name on the page.
    pub name: String,
    /// What is wrong with it as a whole, a line each.
    pub wrong: Vec<String>,
    /// What is worth a look.
    pub notes: Vec<String>,
    /// Its sources.
    pub sources: Vec<SourcePage>,
    /// What it takes, and how full its disk is; none where that is not known here.
    pub space: Option<Space>,
}

/// One source.
pub struct SourcePage {
    /// Its name on the page.
    pub name: String,
    /// The judgement on it.
    pub stand: SourceStatus,
    /// Its history.
    pub history: History,
    /// How the last run of each command ended; nothing where that is not known here.
    pub runs: Vec<RunRecord>,
    /// Whether a second store is set, and nothing has come there yet.
    pub lacks_copy: bool,
    /// How to restore it.
    pub restore: Vec<Advice>,
}

/// Commands to copy, and what they are for.
pub struct Advice {
    /// What for.
    pub what: String,
    /// The commands, a line each.
    pub commands: Vec<String>,
}

/// Which snapshots and sets are kept.
#[derive(Default)]
pub struct Keep {
    /// The rules for snapshots, as `lrl.toml` has them.
    pub rules: Vec<String>,
    /// The other keys of `[policy]`.
    pub others: Vec<String>,
    /// How many sets are kept.
    pub sets: String,
}

impl StorePage {
    /// Returns how many things are wrong with it and its sources.
    pub fn wrong(&self) -> usize {
        self.wrong.len() + self.sources.iter().map(|source| source.stand.wrong.len()).sum::<usize>()
    }
}

impl Page {
    /// Returns how many things are wrong.
    pub fn wrong(&self) -> usize {
        self.stores.iter().map(StorePage::wrong).sum()
    }

    /// Returns how many sources there are.
    pub fn sources(&self) -> usize {
        self.stores.iter().map(|store| store.sources.len()).sum()
    }

    /// Returns everything that is wrong, a line each, with the store and source where there are several.
    pub fn all_wrong(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for store in &self.stores {
            let of_store = if self.stores.len() > 1 { format!("{}: ", store.name) } else { String::new() };
            lines.extend(store.wrong.iter().map(|wrong| format!("{of_store}{wrong}")));
            for source in &store.sources {
                let of = if self.sources() > 1 { format!("{of_store}{}: ", source.name) } else { of_store.clone() };
                lines.extend(source.stand.wrong.iter().map(|wrong| format!("{of}{wrong}")));
            }
        }
        lines
    }
}
