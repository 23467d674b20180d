//! What a scheduled run needs: the same program, directory, file, flags and variables as now, the paths that it writes, and its secrets.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use clap::parser::ValueSource;
use lrl_store::backend::location::Location;
use lrl_store::error::Error;

use crate::args::{BackupArgs, Verb};
use crate::cmd::shared::{line, open};
use crate::context::Context;
use crate::exit::{Failure, Result};
use crate::trust::{self, Refusal};
use crate::{args, config, credential, known_stores, s3_credentials};

/// What a scheduled run needs. All paths are absolute.
#[derive(Debug)]
pub struct Needs {
    /// This program.
    pub program: PathBuf,
    /// The directory in which it runs: relative paths mean there what they mean here.
    pub directory: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Flags that were given, for `lrl run`.
    pub flags: Vec<OsString>,
    /// Variables that set something.
    pub variables: Vec<(String, OsString)>,
    /// Files with secrets.
    pub secrets: Vec<Secret>,
    /// Directories that it writes to.
    pub writes: Vec<PathBuf>,
    /// lrl's own directories for state and cache.
    pub own: Vec<PathBuf>,
    /// Other paths that it reads.
    pub reads: Vec<PathBuf>,
    /// It speaks to a bucket or to who is told of it, or runs a program that may speak to anything.
    pub network: bool,
    /// A bucket is among its stores.
    pub bucket: bool,
}

/// A file with a secret.
#[derive(Debug)]
pub struct Secret {
    /// The name of the credential.
    pub credential: &'static str,
    /// The file.
    pub file: PathBuf,
}

impl Needs {
    /// Finds out what the settings in force need.
    pub fn of(context: &Context<'_>) -> Result<Self> {
        let directory = std::env::current_dir().map_err(Error::io("find", "."))?;
        let config = context.file.path.as_deref().ok_or_else(no_file)?;
        // A timer names the file, and one that is named is not judged any more: root would obey whoever can write it.
        match trust::open_unnamed(config) {
            Err(Refusal::Untrusted(why)) => {
                return Err(Error::refused(format!("{} is not trusted: {why}", config.display())).into());
            }
            Err(Refusal::Io(error)) => return Err(Error::io("read", config)(error).into()),
            Err(Refusal::Interrupted) => return Err(Error::Interrupted.into()),
            Ok(_) => {}
        }
        let line = line::line(context, "backup", &[])?;
        let Verb::Backup(backup) = &line.cli.command else {
            return Err(Failure::Usage("a run begins with a backup".into()));
        };
        let global = &line.cli.global;
        let paths = context.paths()?;
        let second = backup.copy_to.clone().map(Location::parse).transpose()?;
        let stores = [Some(&paths.store), second.as_ref()];
        let bucket = stores.into_iter().flatten().any(|store| store.directory().is_none());
        let mut writes = vec![paths.backup_dir.clone()];
        writes.extend(stores.into_iter().flatten().filter_map(|store| store.directory().map(Path::to_path_buf)));
        // Who reads a database in WAL mode writes the `-shm` beside it, also where a link leads.
        writes.push(paths.data_dir.clone());
        let database = std::fs::canonicalize(paths.database()).ok();
        writes.extend(database.as_deref().and_then(Path::parent).map(Path::to_path_buf));
        let mut own = Vec::from_iter(known_stores::state_dir(global));
        let secrets = secrets(context, backup)?;
        let command = global.password_command.as_deref().and_then(shlex::split);
        if bucket || command.is_some() || !secrets.is_empty() {
            own.extend(open::cache_dir(context).ok());
        }
        writes.extend(own.iter().cloned());
        let notify = &backup.notify;
        // They are replaced by rename.
        let replaced = [notify.metrics_file.as_deref(), context.file.policy.report().map(Path::new)];
        writes.extend(replaced.into_iter().flatten().filter_map(Path::parent).map(
            |dir| match dir.as_os_str().is_empty() {
                true => directory.clone(),
                false => dir.to_path_buf(),
            },
        ));
        let hooks = [&notify.on_start, &notify.on_success, &notify.on_failure];
        let is_told =
            notify.ping_url.is_some() || notify.ping_url_file.is_some() || hooks.iter().any(|it| !it.is_empty());
        let variables = variables(&line.matches);
        if variables.iter().any(|(name, _)| name == "LRL_PING_URL") {
            return Err(Failure::Usage(
                "LRL_PING_URL is set, and everybody can read a unit: put the URL into a file that only its owner can read, and name that as \
                 ping-url-file in lrl.toml"
                    .into(),
            ));
        }
        // A service may write to those that every system has.
        let is_own = |dir: &OsString| dir != "/tmp" && dir != "/var/tmp";
        writes
            .extend(variables.iter().filter(|(name, dir)| name == "TMPDIR" && is_own(dir)).map(|(_, dir)| dir.into()));
        let mut reads = vec![std::env::current_exe().map_err(Error::io("find", "/proc/self/exe"))?];
        reads.extend([directory.clone(), absolute(config)?]);
        reads.extend(paths.storage.to_back_up().map(Path::to_path_buf));
        reads.extend(backup.exclude_file.iter().cloned());
        let words = command.iter().chain(hooks).flatten();
        reads.extend(words.filter(|word| word.starts_with('/')).map(PathBuf::from));
        reads.extend(notify.ping_url_file.clone());
        Ok(Self {
            program: reads[0].clone(),
            directory,
            config: absolute(config)?,
            flags: flags(context),
            variables,
            secrets,
            writes: outermost(writes.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?),
            own: own.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
            reads: reads.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
            network: bucket || command.is_some() || is_told,
            bucket,
        })
    }

    /// Returns whether any path that a run needs is below one of these directories.
    pub fn is_below(&self, tops: &[&str]) -> bool {
        let all = self.writes.iter().chain(&self.reads);
        all.into_iter().any(|path| tops.iter().any(|top| path.starts_with(top)))
    }
}

fn no_file() -> Failure {
    Failure::Usage(format!(
        "there is no {}: a scheduled run takes its settings from it; write one here or name it with --config",
        config::FILE
    ))
}

/// The state and the local copies of what is in buckets are where they are now, whatever home directory the service has.
fn flags(context: &Context<'_>) -> Vec<OsString> {
    let mut flags = line::given(context, "run");
    let is_set = |key: &str, flags: &[OsString]| {
        context.file.sets(key) || flags.iter().any(|flag| flag.to_string_lossy().starts_with(&format!("--{key}=")))
    };
    let places =
        [("state-dir", known_stores::state_dir(&context.cli.global)), ("cache-dir", open::cache_dir(context).ok())];
    for (key, dir) in places {
        if let (false, Some(dir)) = (is_set(key, &flags), dir) {
            let mut flag = OsString::from(format!("--{key}="));
            flag.push(absolute(&dir).unwrap_or(dir));
            flags.push(flag);
        }
    }
    flags
}

/// Lists the variables that set something of a backup, and those that the layout and temporary files have.
fn variables(matches: &clap::ArgMatches) -> Vec<(String, OsString)> {
    let matches = matches.subcommand().map_or(matches, |(_, sub)| sub);
    let command = args::command();
    let of_backup = command.find_subcommand("backup").into_iter().flat_map(clap::Command::get_arguments);
    let set = command.get_arguments().chain(of_backup).filter(|arg| {
        let id = arg.get_id().as_str();
        matches.try_get_raw(id).is_ok() && matches.value_source(id) == Some(ValueSource::EnvVariable)
    });
    let mut names: Vec<String> = set.filter_map(|arg| Some(arg.get_env()?.to_str()?.to_string())).collect();
    names.extend(["STORAGE_PATH".into(), "TMPDIR".into()]);
    let value = |name: String| std::env::var_os(&name).filter(|value| !value.is_empty()).map(|value| (name, value));
    names.into_iter().filter_map(value).collect()
}

fn secrets(context: &Context<'_>, backup: &BackupArgs) -> Result<Vec<Secret>> {
    let global = &context.cli.global;
    let named = [
        (credential::PASSWORD_FILE, &global.password_file),
        (credential::KEY_FILE, &global.key_file),
        (s3_credentials::CREDENTIAL, &global.s3_credentials_file),
        (credential::COPY_TO_PASSWORD_FILE, &backup.copy_to_password_file),
        (credential::COPY_TO_KEY_FILE, &backup.copy_to_key_file),
    ];
    let mut secrets = Vec::new();
    for (credential, file) in named {
        if let Some(file) = file.as_deref().filter(|file| !file.as_os_str().is_empty()) {
            secrets.push(Secret { credential, file: absolute(file)? });
        }
    }
    Ok(secrets)
}

/// Returns the absolute path without `..`, which units do not take; after a link that leads elsewhere than it looks.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let mut out = PathBuf::new();
    for part in std::path::absolute(path).map_err(Error::io("find", path))?.components() {
        match part {
            Component::ParentDir => {
                out = std::fs::canonicalize(&out).unwrap_or(out);
                out.pop();
            }
            part => out.push(part),
        }
    }
    Ok(out)
}

/// Leaves out what is below another one: each path of a unit becomes a mount of its own, and lrl renames within its directories.
fn outermost(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && path.starts_with(other)));
    paths
}
