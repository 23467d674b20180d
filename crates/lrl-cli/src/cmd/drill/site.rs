//! What `lrl.toml` and the preset say of a site, as a drill uses it.

use std::path::PathBuf;

use lrl_store::ops::drill::{RequiredTables, RowsCheck};

use crate::context::Context;
use crate::exit::{Failure, Result};

/// The checks that a site's description asks for.
pub(super) struct SiteChecks {
    /// `require-tables` of `[[database]]`.
    pub(super) required: Vec<RequiredTables>,
    /// `[[check]]`.
    pub(super) checks: Vec<RowsCheck>,
    /// The root, for absolute paths in rows.
    pub(super) root: Option<PathBuf>,
}

impl SiteChecks {
    /// Reads them from the settings in force.
    pub(super) fn of(context: &Context<'_>) -> Result<Self> {
        let site = context.site()?;
        let rules = site.databases.iter().filter(|rule| !rule.require_tables.is_empty());
        let required = rules.map(|rule| RequiredTables::new(rule.place.text(), rule.require_tables.clone()));
        let checks = site.checks.iter().map(|check| RowsCheck {
            name: check.name.clone(),
            database: check.database.clone().map(String::into_bytes),
            query: check.rows.clone(),
        });
        Ok(Self {
            required: required
                .collect::<std::result::Result<_, _>>()
                .map_err(|error| Failure::Usage(format!("[[database]]: {error}")))?,
            checks: checks.collect(),
            root: site.root.as_ref().and_then(|root| std::path::absolute(root).ok()),
        })
    }
}
