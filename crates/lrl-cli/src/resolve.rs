//! Turns flags, configuration and environment into plain paths, which stay as the user gave them: they are printed.
//! Knows the application's layout; touches the disk only to see whether `./storage` is there, and who an owner is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lrl_store::backend::location::Location;
use lrl_store::error::Error;

use crate::args::values::Owner;
use crate::args::{Cli, Verb};

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The directory with `lrl.db` and `assets/`.
    pub data_dir: PathBuf,
    /// The directory with the sets.
    pub backup_dir: PathBuf,
    /// The store.
    pub store: Location,
    /// The second uploads root (`STORAGE_PATH`); see [`Storage`].
    pub storage: Storage,
}

/// The uploads root of the application's second storage adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// `STORAGE_PATH` names it.
    Named(PathBuf),
    /// The variable is not set, but its documented default is there: backed up as well.
    Found(PathBuf),
    /// Neither: nothing to back up, and this is where a restore would put it.
    Absent(PathBuf),
}

/// The documented default of `STORAGE_PATH`.
pub const STORAGE_DEFAULT: &str = "./storage";

impl Storage {
    /// Looks at the variable's value and, where there is none, for the default in `current_directory`.
    pub fn find(variable: Option<OsString>, current_directory: &Path) -> Self {
        match variable.filter(|value| !value.is_empty()) {
            Some(path) => Self::Named(path.into()),
            None if current_directory.join(STORAGE_DEFAULT).is_dir() => Self::Found(STORAGE_DEFAULT.into()),
            None => Self::Absent(STORAGE_DEFAULT.into()),
        }
    }

    /// Looks at this process's environment and current directory.
    pub fn of_environment() -> Self {
        Self::find(std::env::var_os("STORAGE_PATH"), Path::new("."))
    }

    /// Returns the root that a backup reads, if there is one.
    pub fn to_back_up(&self) -> Option<&Path> {
        match self {
            Self::Named(path) | Self::Found(path) => Some(path),
            Self::Absent(_) => None,
        }
    }

    /// Returns the directory that a restore writes `storage/…` to.
    pub fn to_restore(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Found(path) | Self::Absent(path) => path,
        }
    }

    /// Returns the line that tells of a root nobody named.
    pub fn notice(&self) -> Option<String> {
        match self {
            Self::Found(path) => {
                Some(format!("{} is there: it is backed up too, as if STORAGE_PATH named it", path.display()))
            }
            Self::Named(_) | Self::Absent(_) => None,
        }
    }
}

impl Paths {
    /// Resolves a command line that has its configuration below it.
    pub fn resolve(cli: &Cli) -> Result<Self, Error> {
        let data_dir = match &cli.command {
            Verb::Backup(args) => &args.data.data_dir,
            Verb::Watch(args) => &args.backup.data.data_dir,
            Verb::Restore(args) => &args.data.data_dir,
            Verb::Run(args) => &args.data.data_dir,
            Verb::Schedule(args) => &args.data.data_dir,
            Verb::Diff(args) => &args.data.data_dir,
            _ => Path::new("./data"),
        };
        let backup_dir = match &cli.command {
            Verb::Backup(args) => args.out.as_ref().unwrap_or(&cli.global.backup),
            Verb::Watch(args) => args.backup.out.as_ref().unwrap_or(&cli.global.backup),
            _ => &cli.global.backup,
        };
        let store = Location::parse(cli.global.store.clone().unwrap_or_else(|| default_store(backup_dir)))?;
        if store.all_below().is_some() && !matches!(cli.command, Verb::Status(_) | Verb::Report(_) | Verb::Config(_)) {
            return Err(Error::refused(format!(
                "{store} means many stores, which only `lrl status` and `lrl report` look at: name one"
            )));
        }
        let (data_dir, backup_dir) = (data_dir.to_path_buf(), backup_dir.clone());
        Ok(Self { data_dir, backup_dir, store, storage: Storage::of_environment() })
    }

    /// Returns the database's path.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("lrl.db")
    }

    /// Returns the path of the first uploads root.
    pub fn assets(&self) -> PathBuf {
        self.data_dir.join("assets")
    }
}

/// Returns where the store is when nothing names it.
pub fn default_store(backup_dir: &Path) -> PathBuf {
    backup_dir.join("store")
}

/// Finds the numbers of an owner's user and group in `/etc/passwd` and `/etc/group`.
pub fn owner_ids(owner: &Owner) -> Result<(u32, u32), Error> {
    Ok((id_of(&owner.user, "user", "/etc/passwd")?, id_of(&owner.group, "group", "/etc/group")?))
}

fn id_of(name: &str, what: &str, database: &str) -> Result<u32, Error> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let text = std::fs::read_to_string(database).map_err(Error::io("read", database))?;
    find_id(&text, name).ok_or_else(|| {
        Error::not_found(format!("there is no {what} {name:?} in {database}; a number works without a name"))
    })
}

/// Both files hold `name:password:id:…` in each line.
fn find_id(text: &str, name: &str) -> Option<u32> {
    text.lines().map(|line| line.split(':')).find_map(|mut fields| {
        let (first, id) = (fields.next()?, fields.nth(1)?);
        if first == name { id.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::{Paths, Storage, find_id};
    use crate::args::{Cli, parse};
    use clap::FromArgMatches;
    use std::path::Path;

    fn paths(line: &str) -> Paths {
        let arguments: Vec<_> = line.split(' ').map(Into::into).collect();
        Paths::resolve(&Cli::from_arg_matches(&parse(&arguments).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn paths_are_printed_as_they_were_given() {
        let default = paths("lrl backup");
        assert_eq!(default.database().to_str(), Some("./data/lrl.db"));
        assert_eq!(default.assets().to_str(), Some("./data/assets"));
        assert_eq!(default.store.to_string(), "./backups/store");
        let given = paths("lrl backup --data-dir data/ --out ../out");
        assert_eq!(given.database().to_str(), Some("data/lrl.db"));
        assert_eq!(given.store.to_string(), "../out/store");
        assert_eq!(paths("lrl snapshots --store /s --backup b").store.directory(), Some(Path::new("/s")));
        let bucket = paths("lrl snapshots --store s3://lab/history/?endpoint=http://localhost:9000").store;
        assert_eq!((bucket.directory(), bucket.to_string().as_str()), (None, "s3://lab/history"));
    }

    #[test]
    fn only_status_looks_at_many_stores() {
        assert!(paths("lrl status --store /srv/backups/*").store.all_below().is_some());
        let arguments: Vec<_> = "lrl backup --store /b/*".split(' ').map(Into::into).collect();
        let cli = Cli::from_arg_matches(&parse(&arguments).unwrap()).unwrap();
        assert!(Paths::resolve(&cli).unwrap_err().to_string().contains("many stores"));
    }

    #[test]
    fn a_second_root_is_named_or_found_or_absent() {
        let place = tempfile::tempdir().unwrap();
        let find = |value: Option<&str>| Storage::find(value.map(Into::into), place.path());
        assert_eq!(find(None), Storage::Absent("./storage".into()));
        assert_eq!(find(Some("")), Storage::Absent("./storage".into()));
        std::fs::create_dir(place.path().join("storage")).unwrap();
        assert_eq!(find(None), Storage::Found("./storage".into()));
        assert!(find(None).notice().is_some());
        assert_eq!(find(Some("/srv/keys")).to_back_up(), Some(Path::new("/srv/keys")));
        assert_eq!(find(Some("/srv/keys")).notice(), None);
    }

    #[test]
    fn owners_are_looked_up_by_their_whole_name() {
        let text = "root:x:0:0:root:/root:/bin/sh\napp:x:33:33::/:/bin/sh\nbroken\n";
        assert_eq!(find_id(text, "app"), Some(33));
        assert_eq!(find_id(text, "ap"), None);
        assert_eq!(find_id(text, "broken"), None);
    }
}
