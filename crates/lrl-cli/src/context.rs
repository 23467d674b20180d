//! What every verb works with.

use clap::ArgMatches;
use lrl_store::error::Error;
use lrl_store::format::key::Credential;

use crate::args::{Cli, Verb};
use crate::config::File;
use crate::credential;
use crate::exit::{Failure, Result};
use crate::resolve::Paths;
use crate::site::merge;
use crate::site::model::Site;
use crate::term::Term;

/// What every verb works with.
pub struct Context<'a> {
    /// The flags.
    pub cli: &'a Cli,
    /// The flags as they were parsed, with the source of each value.
    pub matches: &'a ArgMatches,
    /// The configuration file.
    pub file: &'a File,
    /// Where output goes; also the engine's observer.
    pub term: &'a Term,
}

impl Context<'_> {
    /// Reads the passphrase or the key file that was named.
    pub fn credential(&self) -> Result<Option<Credential>, Error> {
        credential::given(&self.cli.global)
    }

    /// Merges what flags, file and preset say of the site.
    pub fn site(&self) -> Result<Site> {
        merge::of_verb(self.matches, self.file).map_err(Failure::Usage)
    }

    /// Resolves where everything is.
    pub fn paths(&self) -> Result<Paths> {
        let mut paths = Paths::resolve(self.cli)?;
        let is_of_data =
            matches!(self.cli.command, Verb::Backup(_) | Verb::Restore(_) | Verb::Run(_) | Verb::Schedule(_));
        if let (true, Some(root)) = (is_of_data, self.site()?.root) {
            paths.data_dir = root;
        }
        Ok(paths)
    }
}
