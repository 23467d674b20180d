//! The records of drills: what they say of snapshots, and the entry of a new one, beside which earlier ones are set.

use lrl_store::error::{Error, Result};
use lrl_store::ops::drill::Report;
use lrl_store::ops::drill::past_drills::Evidence;
use lrl_store::store::Store;
use lrl_store::time::Time;

use crate::context::Context;
use crate::hint;

const PROGRAM: &str = concat!("lrl ", env!("CARGO_PKG_VERSION"));

/// The records of one source of one store at a time, read once.
#[derive(Default)]
pub struct Books {
    open: Option<(String, String, Evidence)>,
}

impl Books {
    /// Returns what the records of a source say.
    pub fn of(&mut self, context: &Context<'_>, store: &Store, source: &str, now: Time) -> Result<&mut Evidence> {
        let place = store.storage().location();
        if self.open.as_ref().is_none_or(|(at, of, _)| *at != place || of != source) {
            let evidence = Evidence::read(store, source, now, context.term)?;
            self.open = Some((place, source.to_string(), evidence));
        }
        let open = self.open.as_mut().map(|(.., evidence)| evidence);
        open.ok_or_else(|| Error::Missing { object: "the records of drills".into() })
    }

    /// Compares a drill with the one before, and writes its record where there is a store that can be written; a drill is none the worse
    /// without.
    pub fn enter(&mut self, context: &Context<'_>, report: &mut Report, store: Result<&Store, String>, now: Time) {
        let entered =
            store.and_then(|store| self.write(context, report, store, now).map_err(|error| hint::error(&error)));
        if let Err(why) = entered {
            context.term.note(format!("the drill is not recorded: {why}"));
        }
    }

    fn write(&mut self, context: &Context<'_>, report: &mut Report, store: &Store, now: Time) -> Result<()> {
        let source = report.snapshot.as_ref().map_or(&context.cli.global.source, |name| &name.source).clone();
        let evidence = self.of(context, store, &source, now)?;
        report.compare(store, evidence)?;
        if store.is_read_only() {
            return Err(Error::Refused("the store cannot be written".into()));
        }
        let record = report.record(&source, now, PROGRAM);
        evidence.add(&store.add_drill(&record)?, &record);
        Ok(())
    }
}
