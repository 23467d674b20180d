//! Gathers what a page shows: of one store with all that this machine knows of it, or of every store one level below a place.

use std::path::Path;
use std::time::SystemTime;

use lrl_store::backend::location::Location;
use lrl_store::error::{Error, Place};
use lrl_store::ops::report;
use lrl_store::set::directory;
use lrl_store::store::Store;
use lrl_store::time::{Time, time_of};

use super::model::{Page, SourcePage, StorePage};
use super::restore::{self, Facts};
use super::{keep, space};
use crate::args::max_age::MaxAgeArgs;
use crate::args::values::MinFree;
use crate::cmd::shared::open;
use crate::cmd::shared::run_record::{self, COMMANDS};
use crate::cmd::status::source::{self, Listed, SourceStatus};
use crate::cmd::status::{probe, room};
use crate::context::{Context, without_user};
use crate::exit::{Failure, Result};
use crate::render::names::Names;
use crate::render::units;
use crate::resolve::Paths;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What counts as wrong.
    pub limits: &'a MaxAgeArgs,
    /// Whether names are shown.
    pub names: Names,
    /// The store in force where it is open already: then this leaves no trace.
    pub opened: Option<&'a Store>,
}

/// Gathers a page. A store that cannot be opened is on it as what is wrong, and returned as the failure that it is.
pub fn page(context: &Context<'_>, asked: Asked<'_>) -> Result<(Page, Option<Failure>)> {
    let paths = context.paths()?;
    let now = time_of(SystemTime::now());
    let mut page = Page {
        now,
        names: asked.names,
        limits: asked.limits.limits(),
        judged_by: judged_by(asked.limits),
        stores: Vec::new(),
        keep: None,
    };
    if let Some(above) = paths.store.all_below() {
        page.stores = stores_below(context, asked, &above, now)?;
        return Ok((page, None));
    }
    let keep = keep::keep(context, asked.names)?;
    let name = asked.names.or(without_user(&paths.store.to_string()), "the store");
    let of = |store: &Store| in_force(context, asked, &paths, store, &keep, name.clone(), now);
    let gathered = match asked.opened {
        Some(store) => of(store),
        None => open::open(context, &paths).and_then(|store| of(&store)),
    };
    let failure = match gathered {
        Ok(store) => {
            page.stores.push(store);
            None
        }
        Err(Failure::Engine(Error::Interrupted)) => return Err(Error::Interrupted.into()),
        Err(failure) => {
            let why = asked.names.or(format!("the store cannot be read: {}", failure.message()), UNREADABLE);
            page.stores.push(StorePage::empty(name, why));
            Some(failure)
        }
    };
    page.keep = Some(keep.rules);
    Ok((page, failure))
}

const UNREADABLE: &str = "the store cannot be read";

fn in_force(
    context: &Context<'_>,
    asked: Asked<'_>,
    paths: &Paths,
    store: &Store,
    keep: &keep::InForce,
    name: String,
    now: Time,
) -> Result<StorePage> {
    let mut page = StorePage::empty(name, String::new());
    page.wrong.clear();
    let backup_dir = directory::look(&paths.backup_dir).ok();
    let has_sets = backup_dir.as_ref().is_some_and(|dir| dir.sets() > 0);
    let sets = std::path::absolute(&paths.backup_dir).ok().filter(|_| has_sets);
    for (n, source) in source::sources(context, store)?.iter().enumerate() {
        let known = Known { place: &paths.store, store, is_in_force: true, sets: sets.as_deref() };
        page.sources.push(of_source(context, asked, &known, (n, source), now)?);
    }
    page.wrong.extend(room::not_enough(asked.limits, paths, asked.names)?);
    page.notes = notes(store, &page.sources);
    let histories: Vec<_> = page.sources.iter().map(|source| &source.history).collect();
    let place = space::Place { paths, store, backup_dir: backup_dir.as_ref() };
    page.space = Some(space::measure(context, &place, &histories, (keep.sets, asked.opened.is_none()), now)?);
    Ok(page)
}

/// A store, with what is the same for each of its sources.
#[derive(Clone, Copy)]
struct Known<'a> {
    place: &'a Location,
    store: &'a Store,
    is_in_force: bool,
    sets: Option<&'a Path>,
}

fn of_source(
    context: &Context<'_>,
    asked: Asked<'_>,
    known: &Known<'_>,
    (n, listed): (usize, &Listed),
    now: Time,
) -> Result<SourcePage, Error> {
    let (Known { place, store, is_in_force, sets }, source) = (*known, listed.name.as_str());
    let (status, history) = report::history(store, source, &listed.snapshots, now, context.term)?;
    let with = (now, asked.names);
    let stand = SourceStatus::with(context, asked.limits, (store, listed), status, is_in_force, with)?;
    let run = |command: &&str| run_record::read_of(context, command, source).filter(|_| is_in_force);
    // How a run as a whole ended is told by its steps: this page may be one of them.
    let runs: Vec<_> = COMMANDS.iter().filter(|command| **command != "run").filter_map(run).collect();
    let data = runs.iter().find_map(|run| run.data_dir.clone());
    let facts = Facts {
        store: place,
        is_encrypted: store.config().is_encrypted(),
        source,
        history: &history,
        data: data.as_deref(),
        sets,
    };
    let restore = restore::advice(&facts, asked.names);
    let lacks_copy = is_in_force && context.file.sets("copy-to") && stand.copies.is_empty();
    let name = asked.names.or(source, format!("source {}", n + 1));
    Ok(SourcePage { name, stand, history, runs, lacks_copy, restore })
}

/// Gathers what each store one level below says; one that cannot be read says why.
fn stores_below(context: &Context<'_>, asked: Asked<'_>, above: &Location, now: Time) -> Result<Vec<StorePage>> {
    let mut pages = Vec::new();
    for place in open::locations_below(context, above)? {
        let name = asked.names.or(without_user(&place.to_string()), format!("store {}", pages.len() + 1));
        let found = probe::store(context, &place).and_then(|store| match store {
            None => Ok(None),
            Some(store) => below(context, asked, (&place, &store), name.clone(), now).map(Some),
        });
        match found {
            Ok(None) => {}
            Ok(Some(page)) => pages.push(page),
            Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
            Err(error) => pages.push(StorePage::empty(name, asked.names.or(probe::reason(&error), UNREADABLE))),
        }
    }
    if pages.is_empty() {
        return Err(Error::NoStore { what: Place::StoreBelow, path: above.to_string().into() }.into());
    }
    Ok(pages)
}

fn below(
    context: &Context<'_>,
    asked: Asked<'_>,
    (place, store): (&Location, &Store),
    name: String,
    now: Time,
) -> Result<StorePage, Error> {
    let mut page = StorePage::empty(name, "no snapshot".into());
    let sources = source::sources(context, store)?;
    if source::is_empty(store, &sources) {
        return Ok(page);
    }
    page.wrong.clear();
    for (n, source) in sources.iter().enumerate() {
        let known = Known { place, store, is_in_force: false, sets: None };
        page.sources.push(of_source(context, asked, &known, (n, source), now)?);
    }
    page.notes = notes(store, &page.sources);
    Ok(page)
}

/// Tells what does not count in the judgement.
fn notes(store: &Store, sources: &[SourcePage]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |number: usize, what: &str| {
        if number > 0 {
            notes.push(units::count(number as u64, what));
        }
    };
    let sum = |of: &dyn Fn(&SourcePage) -> usize| sources.iter().map(of).sum();
    note(sum(&|page| page.stand.status.unreadable.len()), "unreadable document");
    note(sum(&|page| page.stand.status.future.len()), "time in the future|times in the future");
    note(store.damaged_indexes().len(), "damaged index file");
    notes
}

fn judged_by(limits: &MaxAgeArgs) -> Vec<String> {
    let ages = [
        (limits.max_age, "a good backup"),
        (limits.max_drill_age, "a passed drill"),
        (limits.max_check_age, "a check"),
        (limits.max_copy_age, "the second store"),
    ];
    let age = |(limit, what): (Option<std::time::Duration>, &str)| {
        limit.map(|limit| format!("{what} at most {} old", units::duration(limit)))
    };
    let free = limits.min_free.map(|free| match free {
        MinFree::Percent(percent) => format!("{percent} % of the disk free"),
        MinFree::Bytes(bytes) => format!("{} of the disk free", units::size(bytes)),
    });
    ages.into_iter().filter_map(age).chain(free).collect()
}

impl StorePage {
    fn empty(name: String, wrong: String) -> Self {
        Self { name, wrong: vec![wrong], notes: Vec::new(), sources: Vec::new(), space: None }
    }
}
