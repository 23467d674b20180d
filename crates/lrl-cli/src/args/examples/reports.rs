//! Whether all is well: in a terminal, on a page, in a browser.

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
