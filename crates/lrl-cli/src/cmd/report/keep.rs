//! Which snapshots and sets the settings in force keep.

use super::model::Keep;
use crate::args::Verb;
use crate::args::values::{self, KeepSets};
use crate::cmd::shared::line::line;
use crate::context::Context;
use crate::exit::Result;
use crate::render::names::Names;

/// The settings, and what they mean for the sets.
pub struct InForce {
    /// What the page shows.
    pub rules: Keep,
    /// How many sets are kept.
    pub sets: KeepSets,
}

/// Reads the settings.
pub fn keep(context: &Context<'_>, names: Names) -> Result<InForce> {
    let policy = &context.file.policy;
    let of_backup = match line(context, "backup", &[])?.cli.command {
        Verb::Backup(args) => args.keep_sets,
        _ => KeepSets::All,
    };
    let sets = policy.keep_sets().and_then(|text| values::keep_sets(text).ok()).unwrap_or(of_backup);
    let mut rules = Keep {
        sets: match sets {
            KeepSets::All => "all".into(),
            KeepSets::Newest(most) => format!("the newest {most}"),
        },
        ..Keep::default()
    };
    for (key, values) in policy.all().filter(|(key, _)| *key != "keep-sets") {
        let is_name = matches!(key, "keep-tag" | "report");
        let shown = if is_name { names.or(values.join(", "), "(not shown)") } else { values.join(", ") };
        let list = if key.starts_with("keep-") { &mut rules.rules } else { &mut rules.others };
        list.push(format!("{key} = {shown}"));
    }
    Ok(InForce { rules, sets })
}
