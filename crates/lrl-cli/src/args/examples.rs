//! The text at the end of each command's help: what the flags do not say, and examples. Text only.

/// After `lrl --help`.
pub const TOP: &str = "\
EXAMPLES
  lrl backup                        snapshot and set of ./data, into ./backups
  lrl drill                         prove that the newest set can be restored
  lrl restore                       restore the newest good snapshot
  lrl restore 20260114_120000       or an older one
  lrl run                           what is due: backup, copy, drill, forget, prune, check
  lrl status --max-age 26h          for monitoring: exit 4 if the backup is too old

MORE HELP
  lrl COMMAND --help                a command in detail, with examples
  lrl COMMAND -h                    its options at a glance
  lrl help settings                 all settings: flags, variables and keys of lrl.toml

EXIT CODES
  0 done · 1 failed · 2 usage · 3 done, but something was left out
  4 a drill or check found something wrong · 5 stored, but not the set or the second store
  10 no such directory or store · 11 locked · 12 wrong key · 130 interrupted";

/// After `lrl -h`.
pub const TOP_SHORT: &str = "\
EXAMPLES
  lrl backup                        snapshot and set of ./data, into ./backups
  lrl drill                         prove that the newest set can be restored
  lrl restore                       restore the newest good snapshot

Details: `lrl --help`, `lrl COMMAND --help`. Settings: `lrl help settings`.";

/// After the `-h` of every command.
pub const SHORT: &str = "Details and examples: --help. Settings of every command: `lrl help settings`.";

/// After `lrl help settings`.
pub const SETTINGS: &str = "\
A flag wins over a variable, a variable over lrl.toml. An empty variable counts as unset. `lrl config`
shows each setting in force, and where it comes from.

lrl.toml is read from the current directory, else from lrl/ in the user's configuration directory. It and
the directories above it must not be writable by other users; --config FILE reads a file in any case.
A key is the flag's name without the dashes; a flag that may be repeated takes a list. The table [policy],
which `lrl run` and `lrl forget` use, is in `lrl run --help`, the table [watch] in `lrl watch --help`.

EXAMPLE OF lrl.toml
  exclude = [\"*.tmp\", \"*.part\"]
  lock-wait = \"5m\"
  keep-sets = 7
  store = \"s3://my-bucket/lab?region=eu-central-1\"
  key-file = \"/root/lrl.key\"";

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

/// After `lrl snapshots --help`.
pub const SNAPSHOTS: &str = "\
Lists all sources, unless --source or lrl.toml names one. `proven` shows when the last drill of the
snapshot or of its set passed.

EXAMPLES
  lrl snapshots
  lrl snapshots --last 10
  lrl snapshots --tag before-upgrade --since 2026-11-01
  lrl snapshots --json | jq -r '.snapshots[] | select(.proven | not).id'";

/// After `lrl ls --help`.
pub const LS: &str = "\
EXAMPLES
  lrl ls latest
  lrl ls 20260114_120000 assets/ab12";

/// After `lrl diff --help`.
pub const DIFF: &str = "\
With --rows a table's rows are paired by its primary key, else by a unique key without NULL, else they
are compared as a whole. Values are the same if their type and bytes are. Virtual tables are left out.
--sql needs SQLite 3.37 or newer to be run; of a table without a key it may change the order of rows.

EXAMPLES
  lrl diff latest~1 latest
  lrl diff yesterday latest --rows               how many rows of each table differ
  lrl diff yesterday latest --rows posts         and each of them
  lrl diff good live --rows                      against the live database
  lrl diff latest latest~1 --rows --sql          the statements that lead back";

/// After `lrl find --help`.
pub const FIND: &str = "\
EXAMPLES
  lrl find photo.jpg
  lrl find 'assets/ab12/*.pdf'";

/// After `lrl dump --help`.
pub const DUMP: &str = "\
Only the bytes of the file are written: there is no --json. Of a table SQL is written: its definition,
rows, indexes and triggers. --into leaves indexes and triggers out; where the table's own definition
refuses a row or needs the application, the new table has only its columns and types.

EXAMPLES
  lrl dump latest assets/ab12/photo.jpg > photo.jpg
  lrl dump latest lrl.db > copy.db
  lrl dump yesterday --table posts > posts.sql
  lrl dump 3d --table posts --where 'author = 7' --csv > posts.csv
  lrl dump good --table posts --into posts.sqlite";

/// After `lrl sql --help`.
pub const SQL: &str = "\
The query runs in a private copy of the database, which is gone when lrl ends. It can read, and nothing
else: no ATTACH, no PRAGMA that changes anything, no extension. A value is at most 8 MiB long.

For people NULL is written as NULL and a blob as x'00ff'. In CSV NULL is nothing and an empty text is
\"\". In JSON a row is a list, a blob is {\"blob\": \"00ff\"}, a text that is not UTF-8 {\"text\": \"ff\"}.

EXAMPLES
  lrl sql latest 'SELECT count(*) FROM users'
  lrl sql yesterday 'SELECT id, title FROM posts WHERE author = 7' --csv > posts.csv
  lrl sql good --database data/app.db --json 'SELECT * FROM settings'
  lrl sql 20260114_120000 - < query.sql";

/// After `lrl rows --help`.
pub const ROWS: &str = "\
Counts come from the records of drills where there are any, else from the snapshot's database. Beside a
count is how much more or less it is than in the line above.

EXAMPLES
  lrl rows                                       the tables that changed, in the last 30 snapshots
  lrl rows posts comments --last 200
  lrl rows --database data/app.db --json";

/// After `lrl check --help`.
pub const CHECK: &str = "\
Exits 4 if something is wrong; with --repair, if something is still wrong afterwards.

--repair deletes nothing: good data is saved first, then what is damaged is moved to the directory
quarantine in the store. It locks the store. If it was killed, or ran out of disk space, run it again.
The next `lrl backup` stores again what was lost and is still in the source.

EXAMPLES
  lrl check                             structure: every snapshot's chunks exist
  lrl check --read-data                 and every byte is intact
  lrl check --read-data-subset 2/7      a seventh of the data, on the second day of the week
  lrl check --read-data --repair        repair what is found; run it without --repair first
  lrl check --read-data --repair --from /media/usb/lab  also look for lost data in sets, live data, another store";

/// After `lrl copy --help`.
pub const COPY: &str = "\
Snapshots are copied oldest first. What the other store already has is not sent, and a snapshot is
listed once everything it needs is there. A run that was killed resumes. Snapshots keep their numbers
where they are free, and never overtake newer ones.

Without names, snapshots of all sources are copied, unless --source or lrl.toml names one: also those
that were forgotten in the other store. Exits 3 if a damaged snapshot was left out.

EXAMPLES
  lrl copy --from ./backups/store --to /mnt/usb/store
  lrl copy --from ./backups/store --to 's3://bucket/lab?endpoint=URL' --limit-upload 500K
  lrl copy --from 's3://bucket/lab?endpoint=URL' latest     one, into ./backups/store
  lrl copy --from 's3://bucket/lab?endpoint=URL' --dry-run  what is missing here";

/// After `lrl forget --help`.
pub const FORGET: &str = "\
A snapshot that no rule keeps is removed. Rules apply to each source separately; --source or lrl.toml
name one. These are always kept: the newest with a good database, the newest with good uploads, the
newest that passed a drill, and those with a time in the future.

Snapshots that are not good do not count towards a rule. They are kept until newer good ones
hold each of their parts, and for --keep-bad-within. The same is true of those that a restore of rows
made of what was there before (tag before-restore).

Sets and records of drills are not removed. `lrl prune` frees the disk space.

EXAMPLES
  lrl forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
  lrl forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --prune
  lrl forget --keep-within 30d --keep-tag before-upgrade
  lrl forget --keep all:1h,minutely:24h,hourly:7d,daily:30d      what `lrl watch` made, thinned by age
  lrl forget 3f9a 20260114_120000        these two";

/// After `lrl prune --help`.
pub const PRUNE: &str = "\
It locks the store: other commands wait, or exit with 11 (--lock-wait). Packs without live data are
deleted first, so it works on a full disk. Live data of wasteful packs is moved to new ones, and small
packs are merged. In doubt nothing is deleted, and the message says why.

A bucket has no locks. There a prune only schedules dead data for deletion. A later prune deletes it,
if it is still dead, after --grace and once each source has made a backup since.

EXAMPLES
  lrl prune --dry-run
  lrl prune
  lrl prune --retired old-lab            in a bucket: its machine is gone for good
  lrl prune --max-unused 0               as small as possible
  lrl prune --max-unused unlimited       as fast as possible: repack nothing because of waste";

/// After `lrl stats --help`.
pub const STATS: &str = "\
EXAMPLES
  lrl stats
  lrl stats --json";

/// After `lrl status --help`.
pub const STATUS: &str = "\
Exits 4 if the newest snapshot is not good, the newest drill or check failed, there is no good backup,
or a limit is exceeded. Each is a line; with -q nothing else is printed.

A backup is good if nothing is missing from it, its database could be read, it did not shrink
suspiciously, and no drill or check failed on it. One with a time in the future does not count for the
age.

A `*` at the end of --store shows every store one level below, with a line for each source; a store
that cannot be read counts as having no good backup.

EXAMPLES
  lrl status
  lrl status --store 's3://bucket/*?endpoint=URL' --max-age 26h   all stores of a bucket
  lrl status -q --max-age 26h --max-drill-age 8d --min-free 10%   silent if all is well
  lrl status --metrics                                            metrics for Prometheus
  lrl status --max-age 26h || mail -s 'the backup is late' ops@example.org";

/// After `lrl init --help`.
pub const INIT: &str = "\
`lrl backup` creates an unencrypted local store on first use; `lrl init` creates one in advance. For an
encrypted store it prints a recovery sheet: keep it, and the key, away from this machine.

EXAMPLES
  lrl init --encrypt --password-file /root/lrl.pass
  LRL_KEY_FILE=/root/lrl.key lrl init --encrypt --store 's3://bucket/lab?region=eu-central-1'
  lrl init --store /mnt/backup/lab
  lrl init --no-encryption --store 's3://bucket/lab?endpoint=https://s3.example.org'";

/// After `lrl key --help`.
pub const KEY: &str = "\
Each key opens the same store. Removing one does not lock out a user who has already opened the store
with it. --writer makes a write-only key, for a machine that only adds snapshots; docs/REMOTE.md says
what it can do.

EXAMPLES
  lrl key list
  lrl key make-file /root/lab.key
  lrl key add --writer --label 'the web server' --new-key-file /root/lab.key
  lrl key add --new-password-file /root/second.pass
  lrl key change --new-password-file /root/new.pass
  lrl key remove 3f9a";

/// After `lrl setup --help`.
pub const SETUP: &str = "\
Reads names, sizes, the first 100 bytes of possible databases and the names of their tables. It follows
no links and changes nothing; --write makes one file, and never replaces one.

A directory with lrl.db and assets/ has the operations manual's layout, and needs no lrl.toml.

EXAMPLES
  lrl setup /srv/vaultwarden/data             print a proposal
  lrl setup --write                           write it to ./lrl.toml
  lrl setup --app rails /srv/shop             by the preset, whatever is found
  lrl setup --list-apps                       applications with a preset";

/// After `lrl config --help`.
pub const CONFIG: &str = "\
It also takes the flag of every setting, and shows it in force. `lrl help settings` lists them.
--expand shows what flags, lrl.toml and the preset come to: databases, files and checks, in a form that
can be put into an lrl.toml.

EXAMPLES
  lrl config --root /srv/blog --app linkding --expand
  lrl config
  lrl config --config /etc/lrl.toml --json";

/// After `lrl completions --help`.
pub const COMPLETIONS: &str = "\
The script asks lrl for what fits: commands, flags, and from the store of the line or of lrl.toml the
snapshots, sources and paths. A store that does not answer within 2 seconds completes nothing.

EXAMPLES
  lrl completions bash > ~/.local/share/bash-completion/completions/lrl
  lrl completions zsh > ~/.zfunc/_lrl
  lrl completions fish > ~/.config/fish/completions/lrl.fish";

/// After `lrl man --help`.
pub const MAN: &str = "\
Packages have these pages already.

EXAMPLES
  lrl man ~/.local/share/man/man1
  lrl man /tmp/pages && man -l /tmp/pages/lrl-restore.1";

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

/// After `lrl report --help`.
pub const REPORT: &str = "\
Writes one page that needs nothing else: no script, no request. It can be mailed, put into a bucket, or
opened from the copy of a machine that is gone. What counts as wrong is what `lrl status` counts, with
the same limits. However bad things are, the exit code is 0 once the page is written; `lrl status` has
the code. A store that cannot be opened makes a page that says so, and that failure's exit code.

With `report = \"FILE\"` in the table [policy], `lrl run` writes it as its last step; `report-redact = true`
leaves names out there.

EXAMPLES
  lrl report --out backups.html                     this store, all of its sources
  lrl report --out /var/www/backups.html --redact   for others: no names, and no messages of errors
  lrl report --out - | mail -a 'Content-Type: text/html' -s backups ops@example.org
  lrl report --store '/srv/backups/*' --out all.html    every store one level below
  lrl report --out backups.html --max-age 26h --max-drill-age 8d";

/// After `lrl ui --help`.
pub const UI: &str = "\
Prints an address that opens one browser, once, and serves pages to it until nothing is asked for any
more, or Ctrl-C: the page of `lrl report`, snapshots at any time, their files and databases to look at
and to download, a search, and what differs between two. Nothing can be changed there: where something
is to be done, the page shows the command to copy. It listens on 127.0.0.1 only.

From another machine: ssh -L 8000:127.0.0.1:8000 HOST, start `lrl ui --port 8000` there, and open the
address here.

EXAMPLES
  lrl ui                                 any free port; ends after 15 minutes without a request
  lrl ui --port 8000 --idle 1h           a fixed port, for ssh -L
  lrl ui --store 's3://bucket/lab?region=eu-central-1'";

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
