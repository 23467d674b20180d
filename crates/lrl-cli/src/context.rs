//! What every verb works with.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use clap::ArgMatches;
use lrl_store::backend::Backend;
use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::format::key::Credential;

use crate::args::{Cli, CopyArgs, Verb};
use crate::config::File;
use crate::credential;
use crate::exit::{Failure, Result};
use crate::render::units;
use crate::resolve::Paths;
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
    /// What flags, file and preset say of the site together, or what is wrong with it.
    pub site: std::result::Result<Site, String>,
    /// Where output goes; also the engine's observer.
    pub term: &'a Term,
    /// What the run leaves for those who are told of it.
    pub left: Left,
}

/// What a run leaves for the metrics, so that they cost little.
#[derive(Default)]
pub struct Left {
    /// The backend of the store in use, unlocked.
    pub backend: RefCell<Option<Arc<dyn Backend>>>,
    /// For how many seconds the application could not write to its database.
    pub read_lock: Cell<Option<f64>>,
}

impl Context<'_> {
    /// Reads the passphrase or the key file that was named.
    pub fn credential(&self) -> Result<Option<Credential>, Error> {
        credential::given(&self.cli.global)
    }

    /// Returns the description of the site.
    pub fn site(&self) -> Result<&Site> {
        self.site.as_ref().map_err(|why| Failure::Usage(why.clone()))
    }

    /// Returns the store in force as it is shown to others: without credentials.
    pub fn store_name(&self) -> String {
        self.store_in_use().map_or_else(|_| String::new(), |place| without_user(&place.to_string()))
    }

    /// Returns the store that the command works on: a copy's may be another one than that in force.
    pub fn store_in_use(&self) -> Result<Location> {
        match &self.cli.command {
            Verb::Copy(CopyArgs { to: Some(to), .. }) => Ok(Location::parse(to.clone())?),
            _ => Ok(self.paths()?.store),
        }
    }

    /// Resolves where everything is.
    pub fn paths(&self) -> Result<Paths> {
        let mut paths = Paths::resolve(self.cli)?;
        let is_of_data = match &self.cli.command {
            Verb::Backup(_) | Verb::Restore(_) | Verb::Run(_) | Verb::Schedule(_) | Verb::Watch(_) => true,
            Verb::Diff(args) => args.to == "live",
            _ => false,
        };
        if let (true, Some(root)) = (is_of_data, &self.site()?.root) {
            paths.data_dir.clone_from(root);
        }
        Ok(paths)
    }
}

/// Returns a URL without the user and password before its host.
pub fn without_user(place: &str) -> String {
    let Some((scheme, rest)) = place.split_once("://") else { return place.into() };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or(host))
}

/// Returns a store as a word of a command, for any directory to run it in; without credentials.
pub fn store_word(store: &Location) -> String {
    match store {
        Location::Directory(path) => {
            units::shell_word(&std::path::absolute(path).unwrap_or_else(|_| path.clone()).to_string_lossy())
        }
        Location::Bucket(url) => units::shell_word(&without_user(url)),
    }
}

#[cfg(test)]
mod tests {
    use super::without_user;

    #[test]
    fn a_store_is_shown_without_credentials() {
        assert_eq!(without_user("s3://user:pa55@bucket/a@b"), "s3://bucket/a@b");
        assert_eq!(without_user("/srv/a@b"), "/srv/a@b");
    }
}
