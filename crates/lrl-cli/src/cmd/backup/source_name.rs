//! A source that has no snapshot yet: a new history is announced, and a name that looks mistyped stops the run.

use lrl_store::store::Store;

use crate::args::BackupArgs;
use crate::cmd::shared::choose;
use crate::context::Context;
use crate::exit::{Failure, Result};
use crate::render::units::safe;

/// Sources of the store that are named.
const SHOWN: usize = 5;

/// Fails where the source is new and its name is nearly that of another one, unless that is meant.
pub fn check(context: &Context<'_>, args: &BackupArgs, store: &Store) -> Result<()> {
    let name = context.cli.global.source.as_str();
    // In a bucket each listing is a request, and the default cannot be mistyped.
    let is_free = !store.storage().capabilities().cost_per_request;
    if !(is_free || choose::named_source(context).is_some()) || !store.snapshot_names(Some(name))?.is_empty() {
        return Ok(());
    }
    let others = store.sources()?;
    if others.is_empty() {
        return Ok(());
    }
    if let Some(near) = others.iter().find(|other| is_near_miss(other, name)).filter(|_| !args.new_source) {
        return Err(Failure::Usage(format!(
            "there is no source `{name}` yet, but one called `{near}`: give its name with --source, or --new-source if `{name}` is another one"
        )));
    }
    let mut shown: Vec<_> = others.iter().take(SHOWN).map(|other| safe(other)).collect();
    if others.len() > SHOWN {
        shown.push(format!("{} more", others.len() - SHOWN).into());
    }
    context.term.note(format!("begins a new history: source `{name}`; this store also has {}", shown.join(", ")));
    Ok(())
}

/// Returns whether one name is probably the other, mistyped. Names that differ in their digits or last letter alone are meant: `shop1` and
/// `shop2`, `site-a` and `site-b`.
fn is_near_miss(other: &str, name: &str) -> bool {
    if other.eq_ignore_ascii_case(name) {
        return true;
    }
    let letters = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>().to_lowercase();
    let start = |text: &str| text.chars().take(text.chars().count().saturating_sub(1)).collect::<String>();
    let (len, is_as_long) = (name.chars().count(), name.chars().count() == other.chars().count());
    let is_counted = letters(other) == letters(name) || (is_as_long && start(other) == start(name));
    let most = if len < 6 { 1 } else { 2 };
    len > 2 && !is_counted && strsim::damerau_levenshtein(other, name) <= most
}

#[cfg(test)]
mod tests {
    use super::is_near_miss;

    #[test]
    fn slips_are_told_from_names_that_are_meant() {
        for (other, name) in [("lab", "labb"), ("lab", "alb"), ("lab", "Lab"), ("vaultwarden", "valutwardn")] {
            assert!(is_near_miss(other, name), "{other} {name}");
        }
        for (other, name) in [
            ("lab", "lab2"),
            ("shop1", "shop2"),
            ("lab", "shop"),
            ("blog", "wiki"),
            ("gitea", "grafana"),
            ("a", "b"),
            ("ab", "cb"),
            ("site-a", "site-b"),
        ] {
            assert!(!is_near_miss(other, name), "{other} {name}");
        }
    }
}
