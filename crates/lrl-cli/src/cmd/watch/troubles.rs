//! What goes wrong in a watch: told once for each kind, and again when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::round::Fault;
use crate::render::units;
use crate::term::Term;

/// Failures that go on, by what failed.
#[derive(Default)]
pub struct Troubles(BTreeMap<&'static str, Trouble>);

struct Trouble {
    since: Instant,
    tries: u64,
    kinds: BTreeSet<String>,
}

/// More kinds than this are told as one: a message that is different each time is none.
const MOST_KINDS: usize = 20;

impl Troubles {
    /// Tells of a failure, unless one of its kind was told; returns whether it was.
    pub fn failed(&mut self, term: &Term, what: &'static str, fault: &Fault, next: &str) -> bool {
        let new = || Trouble { since: Instant::now(), tries: 0, kinds: BTreeSet::new() };
        let trouble = self.0.entry(what).or_insert_with(new);
        trouble.tries += 1;
        let is_new = trouble.kinds.len() < MOST_KINDS && trouble.kinds.insert(fault.kind.clone());
        if is_new {
            term.error(format!("{what}: {}; {next}", fault.message));
            fault.hint.iter().for_each(|hint| term.hint_text(hint));
        }
        is_new
    }

    /// Tells that all is well again, if it was not; returns whether it was not.
    pub fn done(&mut self, term: &Term, what: &'static str) -> bool {
        let Some(trouble) = self.0.remove(what) else { return false };
        let tries = units::count(trouble.tries, "failed try|failed tries");
        term.say(format!("{what}: well again, after {} and {tries}", units::duration(trouble.since.elapsed())));
        true
    }

    /// Returns how often something was tried in vain.
    pub fn tries(&self, what: &str) -> u64 {
        self.0.get(what).map_or(0, |trouble| trouble.tries)
    }

    /// Returns whether all is well.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
