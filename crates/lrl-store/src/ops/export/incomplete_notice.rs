//! What the text beside a set says if the set is not whole.

use crate::set::layout::Names;
use crate::set::manifest::Missing;

/// Returns the warning at the beginning; nothing if the set is whole.
pub(super) fn text(names: &Names, missing: Option<&Missing>) -> String {
    let Some(missing) = missing else { return String::new() };
    let list = names.missing.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "**This set is not whole.** {} of what its snapshot holds was damaged in the store, and is not here: `{list}` lists it. A drill of \
         this set fails for that reason. What you restore over is kept as `*.pre-restore`, and may have what is missing: do not remove \
         it.\n\n",
        missing.entries.unwrap_or_default()
    )
}

/// Returns the flag with which lrl restores such a set.
pub(super) fn flag(missing: Option<&Missing>) -> &'static str {
    if missing.is_some() { " --skip-damaged" } else { "" }
}
