//! The store: its creation, keys, copies, checks, and what is removed from it.

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
