//! Whether the store's disk has enough room.

use std::path::Path;

use lrl_store::backend::location::Location;
use lrl_store::fs::space::{Reserve, free_at};

use crate::args::max_age::MaxAgeArgs;
use crate::args::values::MinFree;
use crate::exit::Result;
use crate::render::names::Names;
use crate::render::units;
use crate::resolve::Paths;

/// Tells that the store's disk has too little room, where a limit was given and it has.
pub fn not_enough(limits: &MaxAgeArgs, paths: &Paths, names: Names) -> Result<Option<String>> {
    let Some(limit) = limits.min_free else { return Ok(None) };
    let dir = match &paths.store {
        Location::Directory(path) => path.as_path(),
        Location::Bucket(_) if paths.backup_dir.is_dir() => &paths.backup_dir,
        Location::Bucket(_) => return Ok(None),
    };
    room_below(dir, limit, names)
}

fn room_below(dir: &Path, limit: MinFree, names: Names) -> Result<Option<String>> {
    let free = free_at(dir, Reserve::NONE)?;
    let Some(total) = free.total() else { return Ok(None) };
    let wanted = match limit {
        MinFree::Percent(percent) => (total as f64 * percent / 100.0) as u64,
        MinFree::Bytes(bytes) => bytes,
    };
    let percent = free.bytes as f64 * 100.0 / total.max(1) as f64;
    Ok((free.bytes < wanted).then(|| {
        format!(
            "the disk of {} has {} free ({percent:.1} %), less than {}",
            names.or(dir.display().to_string(), "the store"),
            units::size(free.bytes),
            units::size(wanted)
        )
    }))
}
