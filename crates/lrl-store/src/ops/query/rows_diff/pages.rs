//! Which tables have not changed, without reading their rows: those whose pages are all the same in both states.

use std::ops::Range;

use crate::error::Result;
use crate::format::snapshot::Database;
use crate::source::database::Inspector;
use crate::source::database::table_shape::TableShape;
use crate::store::Store;
use crate::store::tree::diff;

/// The places in which two images differ.
pub struct Unchanged {
    page_size: u64,
    /// Ascending, without gaps between neighbours.
    changed: Vec<Range<u64>>,
    /// Both images have all bytes before this one.
    common: u64,
}

impl Unchanged {
    /// Compares the trees of two images; `None` where their pages have different sizes.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::error::Error::Corrupt) or [`Error::Missing`](crate::error::Error::Missing) if the store is damaged.
    pub fn between(store: &Store, from: &Database, to: &Database) -> Result<Option<Self>> {
        if from.page_size != to.page_size || from.page_size == 0 {
            return Ok(None);
        }
        let mut changed: Vec<Range<u64>> = Vec::new();
        diff::changed_ranges(store, &from.root, &to.root, &mut |range| match changed.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => changed.push(range),
        })?;
        let common = from.size_bytes.min(to.size_bytes);
        Ok(Some(Self { page_size: from.page_size.into(), changed, common }))
    }

    fn has(&self, page: u32) -> bool {
        let start = u64::from(page.saturating_sub(1)) * self.page_size;
        let after = self.changed.partition_point(|range| range.end <= start);
        let differs = self.changed.get(after).is_some_and(|range| range.start < start + self.page_size);
        page > 0 && start + self.page_size <= self.common && !differs
    }

    /// Returns whether a table is the same b-tree, page by page: then its rows are the same.
    pub(super) fn holds(&self, inspector: &Inspector<'_>, from: &TableShape, to: &TableShape) -> Result<bool> {
        if from.root_page != to.root_page || !self.has(from.root_page) {
            return Ok(false);
        }
        inspector.each_page(&from.name, &mut |page| self.has(page))
    }
}

#[cfg(test)]
mod tests {
    use super::Unchanged;

    #[test]
    fn a_page_is_the_same_only_where_nothing_of_it_differs() {
        let unchanged = Unchanged { page_size: 100, changed: vec![100..200, 450..500], common: 700 };
        let same: Vec<u32> = (0..10).filter(|page| unchanged.has(*page)).collect();
        assert_eq!(same, [1, 3, 4, 6, 7]);
    }
}
