//! Records of checks in the store. Removes only those that a newer record replaces.

use super::handle::Store;
use crate::backend::{Payload, collect};
use crate::error::{Error, Result};
use crate::format::check::{self, Check, Depth};
use crate::id::CheckId;

/// The name of a check's record, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckName {
    /// When the check began, in seconds since 1970.
    pub time: u64,
    /// The record's id.
    pub id: CheckId,
}

impl CheckName {
    /// Returns the object's name.
    pub(crate) fn object(&self) -> String {
        format!("checks/{:016x}-{}", self.time, self.id)
    }

    /// Takes an object's name apart; `None` for what is no record's name.
    pub(crate) fn parse(object: &str) -> Option<Self> {
        let (time, id) = object.strip_prefix("checks/")?.split_once('-')?;
        let time = u64::from_str_radix(time, 16).ok().filter(|_| time.len() == 16)?;
        Some(Self { time, id: CheckId::from_hex(id).ok()? })
    }
}

impl Store {
    /// Writes a check's record, and removes those that it replaces: all older ones if every pack was read, else older ones that found
    /// nothing and read no more.
    pub(crate) fn add_check(&self, check: &Check) -> Result<CheckName> {
        let (id, bytes) = check::encode(check, self.ids())?;
        let name = CheckName { time: u64::try_from(check.time.secs).unwrap_or_default(), id };
        self.backend.put(&name.object(), Payload::Bytes(&bytes))?;
        for other in self.check_names()?.into_iter().filter(|other| *other != name) {
            let read_more = |old: &Check| check.depth == Depth::All || old.passed && old.depth <= check.depth;
            let is_older = |old: &Check| {
                let is_unnumbered = check.number.is_some() && old.number.is_none();
                is_unnumbered || !old.rank().is_after(check.rank())
            };
            let replaced = |old: &Check| is_older(old) && read_more(old);
            if self.check_record(&other).is_ok_and(|old| replaced(&old)) {
                self.backend.remove(&other.object())?;
            }
        }
        Ok(name)
    }

    /// Lists the names of the records of checks, oldest first.
    pub(crate) fn check_names(&self) -> Result<Vec<CheckName>> {
        let mut names = collect(&*self.backend, "checks", CheckName::parse)?;
        names.sort();
        Ok(names)
    }

    /// Returns the highest number of a record of a check that can be read.
    pub(crate) fn last_check_number(&self) -> Result<u64> {
        let mut last = 0;
        for name in self.check_names()? {
            match self.check_record(&name) {
                Ok(check) => last = last.max(check.number.unwrap_or_default()),
                Err(error) if error.is_unreadable_document() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(last)
    }

    /// Reads one record, verified against its name.
    pub(crate) fn check_record(&self, name: &CheckName) -> Result<Check> {
        let object = name.object();
        let shown = self.backend.object_location(&object);
        let found = check::decode(&self.backend.read(&object)?, &name.id, self.ids(), &shown)?;
        if u64::try_from(found.time.secs).unwrap_or_default() != name.time {
            return Err(Error::corrupt(shown, "has another record's name"));
        }
        Ok(found)
    }
}
