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
use crate::progress::{Observer, Quiet, checkpoint};
use crate::source::database::source::SIDE_FILES;
use crate::source::database::state::side_file;
use crate::source::files::walk::{Stat, walk};
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
    // The walk has no other way to end early. The snapshot tells what cannot be read.
    let mut is_proved = true;
    let walked = walk(roots, &options.excludes, &options.skip, &Quiet(observer), &mut |found| {
        checkpoint(observer)?;
        let is_index = found.path.ends_with(SIDE_FILES[2].as_bytes());
        is_proved = is_index || stat_is_older(&found.stat, limit);
        if is_proved { Ok(()) } else { Err(Error::Interrupted) }
    });
    match walked {
        Err(Error::Interrupted) if !is_proved => Ok(false),
        Err(error) => Err(error),
        // What cannot be read may have changed.
        Ok(problems) => Ok(!problems.iter().any(|problem| problem.lost)),
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
}
