//! What every verb works with.

use clap::ArgMatches;
use lrl_store::error::Error;
use lrl_store::format::key::Credential;

use crate::args::Cli;
use crate::config::File;
use crate::credential;
use crate::exit::Result;
use crate::resolve::Paths;
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

    /// Resolves where everything is.
    pub fn paths(&self) -> Result<Paths> {
        Ok(Paths::resolve(self.cli)?)
    }
}
