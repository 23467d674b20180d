//! The text at the end of each command's help: what the flags do not say, and examples. Text only.

mod backups;
mod reports;
mod restores;
mod setup;
mod snapshots;
mod stores;

pub use backups::{BACKUP, EXPORT, IMPORT, RUN, SCHEDULE, WATCH};
pub use reports::{REPORT, STATUS, UI};
pub use restores::{DRILL, RESTORE};
pub use setup::{COMPLETIONS, CONFIG, MAN, SETUP};
pub use snapshots::{DIFF, DUMP, FIND, LS, ROWS, SNAPSHOTS, SQL};
pub use stores::{CHECK, COPY, FORGET, INIT, KEY, PRUNE, STATS};

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
