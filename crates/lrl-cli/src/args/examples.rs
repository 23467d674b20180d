//! The examples at the end of each command's help. Owns text only.

/// After `lrl --help`.
pub const TOP: &str = "\
EXAMPLES
  lrl backup                        snapshot and set of ./data, into ./backups
  lrl drill                         prove that the newest set can be restored
  lrl restore                       put the newest snapshot back
  lrl restore 20260114_120000       or an older one
  lrl status --max-age 26h          for monitoring: exit 4 when the backup is too old

EXIT CODES
  0 done · 1 failed · 2 usage · 3 done, but something was left out
  4 a drill or check found something wrong · 5 stored, but not the set or the second store
  10 no such directory or store · 11 locked · 12 wrong key · 130 interrupted";

/// After `lrl backup --help`.
pub const BACKUP: &str = "\
EXAMPLES
  lrl backup                                     ./data into ./backups
  lrl backup --data-dir /srv/lab --out /backups  other places
  lrl backup --snapshot-only --tag hourly        cheap: no set, `lrl export` makes it later
  lrl backup --if-older-than 20h                 at boot, on a machine without cron
  lrl backup --keep-sets 3                       older sets go; lrl export makes them again
  lrl backup --reserve 200MB                     so much of the disk stays free for the application
  lrl backup --copy-to 's3://bucket/lab?endpoint=URL'  and off the machine
  lrl backup --exclude '*.tmp' --dry-run         what would be stored, and whether it fits";

/// After `lrl restore --help`.
pub const RESTORE: &str = "\
Stop the application first. What is replaced is kept as lrl.db.pre-restore and assets.pre-restore;
--undo changes it back, and keeps what had been restored as lrl.db.undone and assets.undone. It knows
the last restore only. After a restore that was killed, run it again, or --undo. --clean removes what is
kept. Uploads that are right already are not written again.
Uploads of the second adapter go to $STORAGE_PATH, else to ./storage; with --data-dir and no
STORAGE_PATH to DIR/storage, and with --target always there.

EXAMPLES
  lrl restore --dry-run                          what would happen
  lrl restore                                    the newest good snapshot, both parts
  lrl restore latest~1 --db-only                 yesterday's database, today's uploads
  lrl restore 3f9a --path assets/ab12/photo.jpg  one file
  lrl restore --manifest ./backups/backup_manifest_20260114_120000.json
  lrl restore --target ./restored                beside the live data, to look at it
  lrl restore --skip-damaged                     from a damaged store: everything else, and a list
  lrl restore --undo --dry-run                   what would come back
  lrl restore --undo                             as it was before the last restore
  lrl restore --clean --older-than 7d            remove what older restores kept";

/// After `lrl drill --help`.
pub const DRILL: &str = "\
Exits 4 when a check fails, 1 when there is no set to drill. A record of each drill goes into the
store, where there is one; `lrl snapshots` shows which snapshots are proven. A snapshot that fails
stops no other. A query runs in the restored copy, read-only, for at most a minute. In lrl.toml:
  assert = [[\"SELECT count(*) FROM users\", \">= 1\"]]

EXAMPLES
  lrl drill --backup ./backups                              the newest set
  lrl drill --manifest ./backups/backup_manifest_*.json     every set, one after another
  lrl drill --snapshot latest                               straight from the store
  lrl drill --all                                           the whole history
  lrl drill --oldest-first --limit 3 --max-time 10m         every night a few, those that have waited longest
  lrl drill --assert 'SELECT count(*) FROM users' '>= 1'    =, !=, <, <=, >, >= and a number or 'text'
  lrl drill --json                                          for automation";

/// After `lrl export --help`.
pub const EXPORT: &str = "\
EXAMPLES
  lrl export --out /media/usb/lab                the newest good snapshot, with a RESTORE.md beside it
  lrl export 20260114_120000 --out ./january";

/// After `lrl import --help`.
pub const IMPORT: &str = "\
Oldest first, each verified before it is kept; sets that are there already are passed over.
A set older than the newest snapshot is refused, so that `latest` stays the newest: --source puts
such sets into a history of their own.

EXAMPLES
  lrl import ./old-backups --backup ./backups    sets of scripts/backup.py become snapshots
  lrl import ./old-backups --source before       beside a history that lrl has begun already";

/// After `lrl snapshots --help`.
pub const SNAPSHOTS: &str = "\
Lists those of every source, unless --source or lrl.toml names one. `proven` says when the last drill
passed: of the snapshot itself, or of its set.

EXAMPLES
  lrl snapshots
  lrl snapshots --json | jq -r '.snapshots[] | select(.proven | not).id'";

/// After `lrl ls --help`.
pub const LS: &str = "\
EXAMPLES
  lrl ls latest
  lrl ls 20260114_120000 assets/ab12";

/// After `lrl diff --help`.
pub const DIFF: &str = "\
EXAMPLES
  lrl diff latest~1 latest";

/// After `lrl find --help`.
pub const FIND: &str = "\
EXAMPLES
  lrl find photo.jpg
  lrl find 'assets/ab12/*.pdf'";

/// After `lrl dump --help`.
pub const DUMP: &str = "\
The bytes of the file are all that is written: there is no --json.

EXAMPLES
  lrl dump latest assets/ab12/photo.jpg > photo.jpg
  lrl dump latest lrl.db > copy.db";

/// After `lrl check --help`.
pub const CHECK: &str = "\
--repair deletes nothing: what is damaged is moved to the directory quarantine in the store, and what is
still good in it is saved first. Nobody else uses the store meanwhile. Run it again if it was killed, or
stopped for want of room. Afterwards `lrl backup` stores again what was lost and the source still has.
Exits 4 when something is wrong; with --repair, when something stays so.

EXAMPLES
  lrl check                             structure: every snapshot leads to chunks that are there
  lrl check --read-data                 and every byte is what it was
  lrl check --read-data-subset 2/7      a seventh of it, on the second day of the week
  lrl check --read-data --repair        and repair what is found; look at it without --repair first
  lrl check --read-data --repair --from /media/usb/lab  look for what is lost in sets, live data, another store";

/// After `lrl copy --help`.
pub const COPY: &str = "\
Oldest first. A snapshot is listed when all that it needs is there; what the other store has already is
not sent. A run that was killed goes on where it was. Snapshots keep their numbers where they are free,
and never overtake what is newer. Without names those of all sources are copied, unless --source or
lrl.toml names one: also such as were forgotten there. Exits 3 when one is damaged and left out.

EXAMPLES
  lrl copy --from ./backups/store --to /mnt/usb/store
  lrl copy --from ./backups/store --to 's3://bucket/lab?endpoint=URL' --limit-upload 500K
  lrl copy --from 's3://bucket/lab?endpoint=URL' latest     one, into ./backups/store
  lrl copy --from 's3://bucket/lab?endpoint=URL' --dry-run  what is missing here";

/// After `lrl forget --help`.
pub const FORGET: &str = "\
Each rule keeps what it keeps, in each source for itself (--source or lrl.toml name one alone): what no
rule keeps is removed. The newest with a good database, the newest with good uploads and the newest that
passed a drill always stay, and so does one whose time is in the future. Snapshots that are not good
take no place in a rule; they stay while nothing newer is good, and for --keep-bad-within. Sets and records of drills stay, too;
`lrl prune` gives the room back.

EXAMPLES
  lrl forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
  lrl forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --prune
  lrl forget --keep-within 30d --keep-tag before-upgrade
  lrl forget 3f9a 20260114_120000        these two";

/// After `lrl prune --help`.
pub const PRUNE: &str = "\
Nobody else uses the store meanwhile: others wait, or end with 11 (--lock-wait). Packs of which nothing
is needed go first, so a full disk is no hindrance. What is needed of wasteful packs is moved into new
ones, and many small packs become few. In doubt nothing is deleted, and the message says why.

In a bucket nobody can be made to wait. There a prune writes down what is dead, and deletes nothing. A
later one deletes it: after --grace, when each source has made a backup since, and if it is still dead.

EXAMPLES
  lrl prune --dry-run
  lrl prune
  lrl prune --retired old-lab            in a bucket: its machine is gone for good
  lrl prune --max-unused 0               as small as it gets
  lrl prune --max-unused unlimited       as fast as it gets: move nothing because of waste";

/// After `lrl stats --help`.
pub const STATS: &str = "\
EXAMPLES
  lrl stats
  lrl stats --json";

/// After `lrl status --help`.
pub const STATUS: &str = "\
Exits 4 when the newest snapshot is not good, the newest drill or check failed, there is no good
backup, or a limit is passed; each is a line, and with -q nothing else is printed. A backup is good
when nothing is missing from it, its database could be read, it did not shrink suspiciously, and no
drill or check failed on it; one with a time in the future does not count for the age. A `*` at the end of --store shows every store one level below, a line
for each source; one that cannot be read counts as having no good backup.

EXAMPLES
  lrl status
  lrl status --store 's3://bucket/*?endpoint=URL' --max-age 26h   the whole fleet
  lrl status -q --max-age 26h --max-drill-age 8d --min-free 10%   silent when all is well
  lrl status --max-age 26h || mail -s 'the backup is late' ops@example.org";

/// After `lrl init --help`.
pub const INIT: &str = "\
`lrl backup` makes a plain local store itself at first use; this makes one in advance. An encrypted one
prints its recovery sheet: keep it, and the passphrase, away from this machine.

EXAMPLES
  lrl init --encrypt --password-file /root/lrl.pass
  LRL_KEY_FILE=/root/lrl.key lrl init --encrypt --store 's3://bucket/lab?region=eu-central-1'
  lrl init --store /mnt/backup/lab
  lrl init --no-encryption --store 's3://bucket/lab?endpoint=https://s3.example.org'";

/// After `lrl key --help`.
pub const KEY: &str = "\
A key opens the same store in its own way: removing one keeps nobody out who has seen the store open.
A key of a machine that only writes is made with --writer; docs/REMOTE.md tells what it can do.

EXAMPLES
  lrl key list
  lrl key make-file /root/lab.key
  lrl key add --writer --label 'the web server' --new-key-file /root/lab.key
  lrl key add --new-password-file /root/second.pass
  lrl key change --new-password-file /root/new.pass
  lrl key remove 3f9a";

/// After `lrl config --help`.
pub const CONFIG: &str = "\
Takes every setting's flag as well and shows it in force. A flag wins over the environment, that
over the file.

EXAMPLES
  lrl config
  lrl config --config /etc/lrl.toml --json";

/// After `lrl completions --help`.
pub const COMPLETIONS: &str = "\
EXAMPLES
  lrl completions bash > ~/.local/share/bash-completion/completions/lrl
  lrl completions fish > ~/.config/fish/completions/lrl.fish";
