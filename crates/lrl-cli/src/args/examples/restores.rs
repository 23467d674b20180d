//! Restores and drills.

/// After `lrl restore --help`.
pub const RESTORE: &str = "\
Stop the application first. What is replaced is kept as lrl.db.pre-restore and assets.pre-restore.
Uploads that are already right are not written again.

--undo undoes the last restore, and keeps what had been restored as lrl.db.undone and assets.undone.
After a restore that was killed, run it again, or --undo. --clean removes what is kept.

A site goes back below its root, where --data-dir or lrl.toml names that, through links and into mounts;
what is there and not in the snapshot stays. Several databases are replaced together or not at all.

Uploads of the second adapter go to $STORAGE_PATH, else to ./storage. With --data-dir and without
STORAGE_PATH they go to DIR/storage, and with --target always there.

--table writes rows into the live database, while the application runs: tried on a copy, then a snapshot of
now, then one transaction. Rows that are not in the snapshot stay. Files that the rows name come with them.

EXAMPLES
  lrl restore --dry-run                          what would happen
  lrl restore                                    the newest good snapshot, database and uploads
  lrl restore latest~1 --db-only                 yesterday's database, today's uploads
  lrl restore 3f9a --only assets/ab12/photo.jpg  one file
  lrl restore --only data/a.sqlite --only media  a database and a directory of a site
  lrl restore --manifest ./backups/backup_manifest_20260114_120000.json
  lrl restore --target ./restored                beside the live data, to look at it
  lrl restore --manifest SET.json --root /srv/site --only data/users
                                                 a directory of a site's set, with the databases in it
  lrl restore --skip-damaged                     from a damaged store: everything else, and a list
  lrl restore --undo --dry-run                   what --undo would do
  lrl restore --undo                             as it was before the last restore
  lrl restore --clean --older-than 7d            remove what older restores kept
  lrl restore yesterday --table posts --where 'author = 7'        the plan
  lrl restore yesterday --table posts --missing-only              rows that are gone come back";

/// After `lrl drill --help`.
pub const DRILL: &str = "\
Exits 4 if a check fails, and 1 if there is no set to drill. Each drill is recorded in the store;
`lrl snapshots` shows which snapshots are proven. A snapshot that fails does not stop the others. A
query runs in the restored copy, read-only, for at most a minute. In lrl.toml:
  assert = [[\"SELECT count(*) FROM users\", \">= 1\"]]

EXAMPLES
  lrl drill --backup ./backups                              the newest set
  lrl drill --manifest ./backups/backup_manifest_*.json     every set
  lrl drill --snapshot latest                               straight from the store
  lrl drill --all                                           the whole history
  lrl drill --oldest-first --limit 3 --max-time 10m         a few every night, the least recently drilled first
  lrl drill --assert 'SELECT count(*) FROM users' '>= 1'    =, !=, <, <=, >, >= and a number or 'text'
  lrl drill --json                                          for automation";
