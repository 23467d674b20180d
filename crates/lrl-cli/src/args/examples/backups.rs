//! Backups: at once, on a schedule, whenever the data changes; and sets, in and out.

/// After `lrl backup --help`.
pub const BACKUP: &str = "\
EXAMPLES
  lrl backup                                     ./data into ./backups
  lrl backup --data-dir /srv/lab --out /backups  other places
  lrl backup --snapshot-only --tag hourly        cheap: no set, `lrl export` makes it later
  lrl backup --if-older-than 20h                 at boot, on a machine without cron
  lrl backup --keep-sets 3                       keep three sets; `lrl export` reproduces older ones
  lrl backup --reserve 200MB                     leave 200 MB of the disk to the application
  lrl backup --copy-to 's3://bucket/lab?endpoint=URL'  and off the machine
  lrl backup --exclude '*.tmp' --dry-run         what would be stored, and whether it fits";

/// After `lrl run --help`.
pub const RUN: &str = "\
Does what is due, in this order: backup, copy, drill, forget, prune, check. Each step is the command of
that name, with the settings of lrl.toml; what it does not need to tell is left out (-v shows more).

A step that failed, or that was missed, is due again at the next run. After a backup that failed nothing
is copied or forgotten, and after a drill that failed nothing is forgotten or pruned; the other steps
still run. The exit code is that of the step that ended worst. A second run at the same time waits, and
exits with 11 (--lock-wait).

How often, and what is kept, is in the table [policy] of lrl.toml; these are the defaults:
  [policy]
  backup = \"always\"        # at every run; or hourly, daily, weekly, monthly, yearly, 36h, never
  copy = \"always\"          # if copy-to is set
  drill = \"weekly\"         # the newest set, and
  drill-oldest = 3         # as many snapshots, the least recently drilled first
  prune = \"weekly\"         # if there is a keep- rule, else never
  check = \"monthly\"
  check-data = false       # what it reads: true, or a part: \"2/7\", \"5%\", \"500M\"

Without any of these rules nothing is forgotten. `lrl forget` uses them too, if its flags do not:
  keep-last = 3 · keep-hourly = 24 · keep-daily = 7 · keep-weekly = 5 · keep-monthly = 12
  keep-yearly = 3 · keep-within = \"30d\" · keep-tag = [\"before-upgrade\"]
  keep = \"all:1h,minutely:24h,hourly:7d,daily:30d\"
  keep-sets = 3            # for the backups of runs, in place of the setting of that name

Steps are due a sixth of their interval early, at most 4 hours, so that a run which begins a little
earlier than the last one misses nothing. A month has 30 days.

EXAMPLES
  lrl run                                what is due
  lrl run --list                         what is due when
  lrl run --only drill --only check      these now, due or not
  lrl run --quiet                        silent if all is well, as cron likes it
  lrl forget --dry-run                   what the rules of [policy] keep";

/// After `lrl schedule --help`.
pub const SCHEDULE: &str = "\
Writes lrl-run.service and lrl-run.timer, or a file for cron, which do `lrl run` with the settings that
are in force here: this directory, this lrl.toml, these flags and variables. It shows what to type next.
A file that it did not write is never overwritten (exit 2).

The service of the system may write to the backup directory, the stores, the data directory (a reader of
a database in WAL mode writes its -shm), and lrl's own state and cache. Files with passphrases and keys
are handed to it by systemd (LoadCredential=). Keys of buckets belong into /etc/lrl/environment. Changes
of your own belong into a drop-in: `systemctl edit lrl-run.service`.

A run that was missed is made up for when the machine starts. cron does not do that; what is due stays due.

EXAMPLES
  lrl schedule print                                 show all of it, write nothing
  lrl schedule systemd                               every night at 3
  lrl schedule systemd --at hourly --on-failure-unit alarm@%n.service
  lrl schedule systemd --user                        without root
  lrl schedule systemd --watch                       and lrl-watch.service, for `lrl watch`
  lrl schedule cron --at 02:30 --at 14:30            /etc/cron.d/lrl
  lrl schedule cron --user                           a line for crontab -e
  lrl --config /srv/b/lrl.toml schedule systemd --name lrl-b    a second site
  lrl schedule systemd --remove";

/// After `lrl watch --help`.
pub const WATCH: &str = "\
Stays in the foreground and sleeps until the system tells of a change in the databases or files. Each
snapshot is what `lrl backup` with the same flags makes; --quiet-for 2s, --at-most-every 10s and so on
say when. If nothing changes, nothing is asked of the store.

A snapshot that fails (the store cannot be reached, the disk is full) is told once and tried again,
later each time. `lrl status` shows that a watch runs, and its lag: the age of the oldest change that
no snapshot has. SIGTERM and Ctrl-C make a last snapshot and end it; a second one ends it at once.

One watch of a source can run; a second one waits, and exits with 11 (--lock-wait). Backups, restores,
drills and prunes can run beside it.

In lrl.toml:
  [watch]
  at-most-every = \"1m\"
  keep = \"all:1h,minutely:24h,hourly:7d,daily:30d\"

EXAMPLES
  lrl watch                                              sets every 24 h, snapshots between
  lrl watch --snapshot-only --keep all:1h,minutely:24h,hourly:7d,daily:30d
  lrl watch --store 's3://bucket/lab?endpoint=URL' --snapshot-only --at-most-every 1m
  lrl watch --snapshot-only -- ./server --port 8080      with the application as its child
  lrl watch --once --snapshot-only                       one snapshot, after the first change
  lrl schedule systemd --watch                           as a service";

/// After `lrl export --help`.
pub const EXPORT: &str = "\
EXAMPLES
  lrl export --out /media/usb/lab                the newest good snapshot, with a RESTORE.md beside it
  lrl export 20260114_120000 --out ./january
  lrl export SNAPSHOT --force --skip-damaged --out ./rest
                                                 from a damaged store: everything else, and a list";

/// After `lrl import --help`.
pub const IMPORT: &str = "\
Sets are imported oldest first, and each is verified first; sets that are already in the store are
skipped. A set older than the newest snapshot is refused, so that `latest` stays the newest: --source
imports such sets into a history of their own.

EXAMPLES
  lrl import ./old-backups --backup ./backups    sets of scripts/backup.py become snapshots
  lrl import ./old-backups --source before       beside a history that lrl has already begun";
