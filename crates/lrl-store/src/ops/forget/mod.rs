//! The verb `forget`: removes snapshots, by name or by policy; plan, then apply. Never touches chunks (`prune` does), nor sets, nor records
//! of drills: they are evidence of what was proved when. If in doubt it removes nothing.

mod policy;

use crate::error::{Error, Result};
use crate::format::snapshot::{Snapshot, is_before_restore};
use crate::hint::{AddHint, Hint};
use crate::id::SnapshotId;
use crate::ops::judgement::{Judge, Judgement, State};
use crate::ops::select::{self, Need};
use crate::progress::{Observer, checkpoint};
use crate::store::run_cache::RunCache;
use crate::store::{SnapshotName, Store};
use crate::time::Time;
pub use policy::{Candidate, Period, Policy, Reason};

/// Snapshots that are removed at once, at most: a run is killed or interrupted before or after them.
const AT_ONCE: usize = 128;

/// What to forget.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// One source's; `None` means each source for itself.
    pub source: Option<String>,
    /// These and no others; empty means: by policy.
    pub names: Vec<String>,
    /// What to keep, where no names are given.
    pub policy: Policy,
    /// Removes also what is protected: the newest that passed a drill; if it was named, the newest with a part, and one that cannot be read.
    pub force: bool,
    /// Now, in seconds since 1970.
    pub now: i64,
}

impl Options {
    /// Forgets in every source what the policy does not keep.
    #[must_use]
    pub fn new(policy: Policy, now: Time) -> Self {
        Self { source: None, names: Vec::new(), policy, force: false, now: now.secs }
    }
}

/// What becomes of one snapshot.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The snapshot.
    pub name: SnapshotName,
    /// Its timestamp and moment in seconds since 1970; `None` if it cannot be read.
    pub time: Option<(String, i64)>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its state.
    pub state: State,
    /// Why it is kept; none means that it is removed.
    pub kept: Vec<Reason>,
    /// True if it is removed.
    pub remove: bool,
}

/// What would be done.
#[derive(Debug)]
pub struct Plan {
    /// All candidates, by source and then oldest first.
    pub decisions: Vec<Decision>,
}

impl Plan {
    /// Returns the names of those that go, oldest first in each source.
    pub fn removed(&self) -> impl Iterator<Item = &SnapshotName> {
        self.decisions.iter().filter(|decision| decision.remove).map(|decision| &decision.name)
    }
}

/// Decides what to forget; changes nothing.
///
/// # Errors
///
/// [`Error::Refused`] if a policy keeps nothing, a named snapshot is protected, or a document cannot be read; [`Error::NotFound`] for a name or
/// source that is not there.
pub fn plan(store: &Store, options: &Options, observer: &dyn Observer) -> Result<Plan> {
    store.check_readable()?;
    if options.names.is_empty() { by_policy(store, options, observer) } else { by_name(store, options, observer) }
}

/// Removes what the plan says, oldest first: a run that is killed has removed a part of it, and nothing else.
///
/// # Errors
///
/// [`Error::Interrupted`](crate::error::Error::Interrupted) between two snapshots, and those of the backend.
pub fn apply(store: &Store, plan: &Plan, observer: &dyn Observer) -> Result<()> {
    let removed: Vec<&SnapshotName> = plan.removed().collect();
    let done = removed.chunks(AT_ONCE).try_for_each(|some| {
        checkpoint(observer)?;
        store.forget_all(some)
    });
    // What is removed on purpose is not missed by the next backup.
    let cache = store.storage().cache_dir().and_then(|dir| RunCache::open(&dir));
    for name in plan.removed() {
        if let Some(cache) = cache.as_ref().filter(|cache| cache.newest(&name.source) == Some((name.sequence, name.id)))
        {
            let _ = cache.put_newest(&name.source, None);
        }
    }
    done.and(store.storage().sync("snapshots"))
}

fn by_policy(store: &Store, options: &Options, observer: &dyn Observer) -> Result<Plan> {
    let mut decisions = Vec::new();
    let mut names = store.snapshot_names(options.source.as_deref())?;
    if let (true, Some(source)) = (names.is_empty(), &options.source) {
        let others = store.sources()?;
        // A name that was mistyped must not look like one that has nothing to forget.
        if !others.is_empty() {
            return Err(Error::not_found(format!(
                "there is no snapshot of `{source}`; there are some of {}",
                others.join(", ")
            )));
        }
    }
    let mut judge = Judge::new(store, Time { secs: options.now, nanos: 0 });
    while let Some(source) = names.first().map(|name| name.source.clone()) {
        let of_source = names.partition_point(|name| name.source == source);
        let later = names.split_off(of_source);
        let group = std::mem::replace(&mut names, later);
        let (mut found, mut stamps) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for name in store.reading(group.iter()) {
            checkpoint(observer)?;
            let snapshot = store.snapshot(name).map_err(|error| unreadable(store, name, error))?;
            let judgement = judge.of(name, &snapshot, observer)?;
            found.push(Details::of(&snapshot, &judgement));
            stamps.push(snapshot.timestamp.into_boxed_str());
        }
        let candidates: Vec<_> = group.into_iter().zip(found).map(|(name, found)| found.candidate(name)).collect();
        let mut reasons = policy::apply(&options.policy, &candidates, options.now);
        if !reasons.iter().flatten().any(Reason::is_policy) {
            let text = format!(
                "the policy keeps none of the {} snapshots of source `{source}`: nothing was forgotten; perhaps a tag is mistyped, \
                 or another source is meant",
                candidates.len()
            );
            return Err(Error::refused(text.hint(Hint::NameSource)));
        }
        if !options.force
            && let Some(proven) = newest_proven(store, &source, &candidates)?
        {
            reasons[proven].push(Reason::Proven);
        }
        decisions.extend(candidates.into_iter().zip(stamps).zip(reasons).map(|((candidate, stamp), kept)| Decision {
            time: Some((stamp.into_string(), candidate.created)),
            name: candidate.name,
            tags: candidate.tags,
            state: candidate.state,
            remove: kept.is_empty(),
            kept,
        }));
    }
    Ok(Plan { decisions })
}

fn by_name(store: &Store, options: &Options, observer: &dyn Observer) -> Result<Plan> {
    let mut wanted = Vec::new();
    for word in &options.names {
        wanted.push(find(store, options, word, observer)?);
    }
    let mut decisions = Vec::new();
    let mut judge = Judge::new(store, Time { secs: options.now, nanos: 0 });
    let mut sources: Vec<&str> = wanted.iter().map(|name| name.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    for source in sources {
        let mut candidates = Vec::new();
        let mut stamps = Vec::new();
        for name in store.snapshot_names(Some(source))? {
            checkpoint(observer)?;
            // One that cannot be read holds nothing that another could be forgotten for.
            let read = match store.snapshot(&name) {
                Ok(snapshot) => Some(snapshot),
                Err(Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. }) => None,
                Err(error) => return Err(error),
            };
            candidates.push(match &read {
                Some(snapshot) => Details::of(snapshot, &judge.of(&name, snapshot, observer)?).candidate(name.clone()),
                None => {
                    let (state, none) = (State::Damaged, Need::default());
                    Candidate { name: name.clone(), created: 0, tags: Vec::new(), state, holds: none, good: none }
                }
            });
            stamps.push(read.map(|snapshot| (snapshot.timestamp, snapshot.created.secs)));
        }
        let mut protected = policy::newest_parts(&candidates);
        if !options.force {
            protected.extend(newest_proven(store, source, &candidates)?.map(|at| (at, Reason::Proven)));
        }
        for (at, (candidate, time)) in candidates.into_iter().zip(stamps).enumerate() {
            let remove = wanted.contains(&candidate.name);
            let kept: Vec<Reason> = protected.iter().filter(|(n, _)| *n == at).map(|(_, why)| why.clone()).collect();
            if let (true, false, Some(why)) = (remove, options.force, kept.first()) {
                let which = candidate.name.id.short();
                let text = format!("snapshot {which} is the {why} of source `{source}`: nothing was forgotten");
                return Err(Error::refused(text.hint(Hint::Force)));
            }
            let kept = if remove { Vec::new() } else { kept };
            let Candidate { name, tags, state, .. } = candidate;
            decisions.push(Decision { name, time, tags, state, kept, remove });
        }
    }
    Ok(Plan { decisions })
}

/// Finds the snapshot that is meant; with force also one that cannot be read, by its id.
fn find(store: &Store, options: &Options, word: &str, observer: &dyn Observer) -> Result<SnapshotName> {
    let mut judge = Judge::new(store, Time { secs: options.now, nanos: 0 });
    let found = select::select(store, options.source.as_deref(), word, Need::default(), &mut judge, observer);
    let error = match found {
        Ok(selected) => return Ok(selected.name),
        Err(error @ (Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. })) => error,
        Err(error) => return Err(error),
    };
    let mut names = store.snapshot_names(options.source.as_deref())?;
    names.retain(|name| name.id.to_string().starts_with(word));
    match (names.pop(), names.is_empty()) {
        (Some(name), true) if options.force => Ok(name),
        (Some(name), true) => Err(unreadable(store, &name, error)),
        _ => Err(error),
    }
}

fn unreadable(store: &Store, name: &SnapshotName, error: Error) -> Error {
    if !error.is_unreadable() {
        return error;
    }
    let text = format!(
        "{error}: nothing was forgotten, because nobody can tell what {} holds; bring it back from a copy of the store, or give it up",
        store.storage().object_location(&name.object())
    );
    Error::refused(text.hint(Hint::GiveUp(name.id.short())))
}

/// What a policy looks at, without the name.
struct Details {
    created: i64,
    tags: Vec<String>,
    state: State,
    holds: Need,
    good: Need,
}

impl Details {
    fn of(snapshot: &Snapshot, judgement: &Judgement) -> Self {
        Self {
            created: snapshot.created.secs,
            tags: snapshot.tags.clone(),
            state: judgement.state,
            holds: Need::default().of(snapshot),
            good: judgement.good,
        }
    }

    fn candidate(self, name: SnapshotName) -> Candidate {
        let Self { created, tags, state, holds, good } = self;
        Candidate { name, created, tags, state, holds, good }
    }
}

/// Finds the newest snapshot, by sequence, of which a record says that its drill passed; one of what was there before rows were restored only
/// where there is no other.
fn newest_proven(store: &Store, source: &str, candidates: &[Candidate]) -> Result<Option<usize>> {
    let mut newest: Option<usize> = None;
    let positions: std::collections::HashMap<SnapshotId, usize> =
        candidates.iter().enumerate().map(|(at, candidate)| (candidate.name.id, at)).collect();
    for record in store.drill_names(source)? {
        let drill = store.drill(&record).map_err(|error| match error {
            error if !error.is_unreadable() => error,
            error => {
                let why = "nothing was forgotten, because that record may say which snapshot is proven; move it away, or force it";
                Error::refused(format!("{error}: {why}").hint(Hint::Force))
            }
        })?;
        let proven = drill.snapshot.filter(|_| drill.passed).and_then(|id| positions.get(&id).copied());
        let rank = |at: &usize| (!is_before_restore(&candidates[*at].tags), &candidates[*at].name);
        newest = newest.into_iter().chain(proven).max_by_key(rank);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests;
