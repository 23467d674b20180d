//! The text beside an exported set: how to restore it with `cp` and `tar` alone, on a machine that has never heard of lrl.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::incomplete_notice;
use crate::format::snapshot::Snapshot;
use crate::set::layout::Names;
use crate::set::manifest::Missing;
use crate::store::SnapshotName;

/// Writes the text.
pub(super) fn text(
    names: &Names,
    copies: &[PathBuf],
    name: &SnapshotName,
    snapshot: &Snapshot,
    missing: Option<&Missing>,
) -> String {
    let file = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let assets = file(&names.assets);
    let mut out = format!(
        "# Restoring this set by hand\n\n\
         Little Research Lab as it was at {} UTC (snapshot {}). Nothing but `cp`, `mv` and `tar` is needed.\n\
         `data` is the directory with `lrl.db` and `assets/`, `./data` unless `LAB_DATA_DIR` says otherwise.\n\n",
        snapshot.timestamp,
        name.id.short()
    );
    out.push_str(&incomplete_notice::text(names, missing));
    for (part, what) in [(snapshot.has_databases(), "database"), (snapshot.files.is_some(), "uploads")] {
        if !part {
            let _ = writeln!(out, "**This set holds no {what}.** Those of the application stay as they are.\n");
        }
    }
    out.push_str("1. Stop the application. Nothing may have the database open.\n");
    out.push_str("2. In the application's directory, with the path of this directory in `SET`, run:\n\n```sh\n");
    out.push_str("set=${SET:?say where the set is, as in SET=/media/usb/lab}\n");
    out.push_str("data=${LAB_DATA_DIR:-./data}\nmkdir -p \"$data\"\n");
    for (copy, part) in copies.iter().zip(&snapshot.databases) {
        let (copy, path) = (file(copy), String::from_utf8_lossy(&part.path));
        let _ = write!(
            out,
            "\n# The database. An old -wal or -journal beside a new database would destroy it: they move away together.\n\
             echo \"{}  $set/{copy}\" | sha256sum -c\n\
             for part in '' -wal -shm -journal; do\n  \
             if [ -e \"$data/{path}$part\" ]; then mv -i \"$data/{path}$part\" \"$data/{path}.pre-restore$part\"; fi\n\
             done\n\
             cp \"$set/{copy}\" \"$data/{path}\"\n",
            part.sha256.as_deref().unwrap_or_default()
        );
    }
    if let Some(part) = &snapshot.files {
        let sha256 = part.archive.as_ref().map(|archive| archive.sha256.clone()).unwrap_or_default();
        let _ = write!(out, "\n# The uploads.\necho \"{sha256}  $set/{assets}\" | sha256sum -c\n");
        if part.roots.contains_key("assets") {
            let _ = write!(
                out,
                "if [ -e \"$data/assets\" ]; then mv -i \"$data/assets\" \"$data/assets.pre-restore\"; fi\n\
                 tar -xzf \"$set/{assets}\" -C \"$data\" assets\n"
            );
        }
        if part.roots.contains_key("storage") {
            let _ = write!(
                out,
                "\n# The second directory of uploads, STORAGE_PATH.\n\
                 storage=${{STORAGE_PATH:-./storage}}\n\
                 if [ -e \"$storage\" ]; then mv -i \"$storage\" \"${{storage%/}}.pre-restore\"; fi\n\
                 mkdir -p \"$storage\"\n\
                 tar -xzf \"$set/{assets}\" -C \"$storage\" --strip-components=1 storage\n"
            );
        }
    }
    out.push_str("```\n\n3. Let the files belong to the user that the application runs as, for example:\n\n");
    out.push_str("       chown -R appuser: \"$data\"\n\n");
    out.push_str(
        "4. If the application is newer than this set, run its migrations. Then start it.\n\
         5. When all is well, remove what ends in `.pre-restore`.\n\n\
         With lrl all of this is one command: ",
    );
    let _ = writeln!(out, "`lrl restore --manifest {}{}`.", file(&names.manifest), incomplete_notice::flag(missing));
    out
}
