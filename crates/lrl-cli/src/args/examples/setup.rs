//! Settings, completions and manual pages.

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
