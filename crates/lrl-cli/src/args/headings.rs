//! The headings under which flags are listed; two of them make a flag a key of `lrl.toml` as well.

/// The heading of a command's own flags that `lrl.toml` can set under the same name.
pub const SETTINGS: &str = "Settings (each is also a key of lrl.toml)";
/// The heading of flags of every command that `lrl.toml` can set under the same name.
pub const SHARED: &str = "Settings of every command (each is also a key of lrl.toml)";
/// The heading of flags of every command that only count for one run.
pub const COMMON: &str = "Common options";
