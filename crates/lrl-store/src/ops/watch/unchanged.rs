//! The proof, from the data alone, that nothing has changed since a moment: no program can set a ctime, so what has changed has a later one.
//!
//! It opens no store and writes nothing. A clock that was set back breaks it: the caller looks out for that. Directories count as well, since
//! names come and go in them; lrl's own reading may make them look changed (SQLite makes and removes side files), never unchanged.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::ops::backup::Options;
use crate::progress::{Observer, Problem, Quiet, checkpoint};
use crate::source::database::source::{SIDE_FILES, can_be_database, database_of};
use crate::source::database::state::side_file;
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::{Found, FoundKind, Root, Stat, walk};
use crate::time::{Time, time_of};

/// A database is never written through a mapping: only the granularity of the file system's clock counts.
const GRAIN: Duration = Duration::from_secs(2);

/// Returns whether it is proved that nothing has changed since `since`, when a snapshot with these options was begun.
///
/// # Errors
/// [`Error::Interrupted`], and those of a walk that cannot begin.
pub fn unchanged_since(options: &Options, since: SystemTime, observer: &dyn Observer) -> Result<bool> {
    let before = |age: Duration| since.checked_sub(age).map(time_of).unwrap_or_default();
    for database in options.databases.iter().filter(|_| options.stores_databases) {
        for suffix in ["", "-wal", "-journal"] {
            if !is_older(&side_file(&database.file, suffix), before(GRAIN), suffix.is_empty()) {
                return Ok(false);
            }
        }
    }
    let Some(roots) = &options.uploads else { return Ok(options.discover.is_none()) };
    let limit = before(options.settle.max(GRAIN));
    if !roots.iter().all(|root| is_older(&root.path, limit, true)) {
        return Ok(false);
    }
    let is_older = |found: &Found| {
        let is_index = found.path.ends_with(SIDE_FILES[2].as_bytes());
        is_index || stat_is_older(&found.stat, limit)
    };
    match walk_until(roots, &options.excludes, options, observer, &is_older)? {
        // What cannot be read may have changed.
        Some(problems) if !problems.iter().any(|problem| problem.lost) => {
            no_database_changed(options, before(GRAIN), observer)
        }
        _ => Ok(false),
    }
}

/// Returns whether no database where no files are stored has changed or come since `limit`.
fn no_database_changed(options: &Options, limit: Time, observer: &dyn Observer) -> Result<bool> {
    let Some((discover, excludes)) = options.elsewhere() else { return Ok(true) };
    let roots = [Root { name: String::new(), path: discover.root.clone() }];
    let is_older = |found: &Found| {
        let is_beside = database_of(&found.path).is_some() && !found.path.ends_with(SIDE_FILES[2].as_bytes());
        let counts = found.kind == FoundKind::Dir || is_beside || can_be_database(&found.path, found.stat.size);
        !counts || stat_is_older(&found.stat, limit)
    };
    // What cannot be searched is in no snapshot.
    Ok(walk_until(&roots, &excludes, options, observer, &is_older)?.is_some())
}

/// Walks as long as everything found is older, and returns the problems; `None` if something is not. The snapshot tells what cannot be read.
fn walk_until(
    roots: &[Root],
    excludes: &Excludes,
    options: &Options,
    observer: &dyn Observer,
    is_older: &dyn Fn(&Found) -> bool,
) -> Result<Option<Vec<Problem>>> {
    // The walk has no other way to end early.
    let mut is_proved = true;
    let walked = walk(roots, excludes, &options.skip, &Quiet(observer), &mut |found| {
        checkpoint(observer)?;
        is_proved = is_older(&found);
        if is_proved { Ok(()) } else { Err(Error::Interrupted) }
    });
    match walked {
        Err(Error::Interrupted) if !is_proved => Ok(None),
        walked => walked.map(Some),
    }
}

fn is_older(path: &Path, limit: Time, is_needed: bool) -> bool {
    match fs::metadata(path) {
        Ok(meta) => {
            let time = |secs, nanos: i64| Time { secs, nanos: nanos as u32 };
            time(meta.mtime(), meta.mtime_nsec()) < limit && time(meta.ctime(), meta.ctime_nsec()) < limit
        }
        Err(error) => !is_needed && error.kind() == ErrorKind::NotFound,
    }
}

fn stat_is_older(stat: &Stat, limit: Time) -> bool {
    stat.mtime < limit && stat.ctime < limit
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::unchanged_since;
    use crate::ops::backup::Options;
    use crate::progress::Silent;
    use crate::source::files::exclude::Excludes;
    use crate::source::files::include::Includes;

    #[test]
    fn only_what_is_older_than_the_moment_is_proved() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("assets/a")).unwrap();
        fs::write(path("lrl.db"), "x").unwrap();
        fs::write(path("assets/a/x"), "x").unwrap();
        let mut options = Options::new(dir.path(), path("backups"), SystemTime::UNIX_EPOCH);
        options.settle = Duration::from_secs(5);
        let made = SystemTime::now();
        let proved = |options: &Options, since: Duration| unchanged_since(options, made + since, &Silent).unwrap();
        let later = Duration::from_secs(60);
        assert!(proved(&options, later));
        assert!(!proved(&options, Duration::from_secs(1)), "too close to tell");
        assert!(!proved(&options, Duration::from_secs(4)), "the uploads have not settled");
        options.uploads = None;
        assert!(proved(&options, Duration::from_secs(4)));
        // A database that is missing is for the backup to tell.
        fs::remove_file(path("lrl.db")).unwrap();
        assert!(!proved(&options, later));
    }

    #[test]
    fn databases_count_also_where_no_files_are_stored() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        ["data", "state/deep"].iter().for_each(|name| fs::create_dir_all(path(name)).unwrap());
        fs::write(path("state/log"), "a line").unwrap();
        let mut options = Options::site(dir.path(), path("backups"), SystemTime::UNIX_EPOCH);
        options.excludes = Excludes::none().and_only(Includes::new(&["data".into()]).unwrap());
        options.settle = Duration::from_secs(2);
        let made = SystemTime::now();
        let proved = |options: &Options| unchanged_since(options, made, &Silent).unwrap();
        // No program can set a ctime: what is old enough is what was there before this moment.
        assert!(!proved(&options));
        let made = made + Duration::from_secs(60);
        let proved = |options: &Options| unchanged_since(options, made, &Silent).unwrap();
        assert!(proved(&options));
        let ahead = |name: &str, bytes: &[u8]| {
            fs::write(path(name), bytes).unwrap();
            fs::File::options().write(true).open(path(name)).unwrap().set_modified(made).unwrap();
        };
        ahead("state/log", b"another line");
        assert!(proved(&options), "a log is no database");
        ahead("state/log", &[0; 1024]);
        assert!(!proved(&options), "it may be one");
        ahead("state/log", b"a line");
        ahead("state/deep/queue-wal", b"commits");
        assert!(!proved(&options));
        options.stores_databases = false;
        assert!(proved(&options));
    }
}
