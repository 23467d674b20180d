//! The text beside an exported set of a site: how to restore it with `cp` and `tar` alone.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::incomplete_notice;
use crate::format::path_text;
use crate::format::snapshot::{Database, Snapshot};
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
    let manifest = file_name(&names.manifest);
    let copies: Vec<String> = copies.iter().map(|path| file_name(path)).collect();
    let databases: Vec<(&Database, String)> = snapshot.databases.iter().zip(copies).collect();
    let commands = commands(names, snapshot, &databases);
    let fence = fence(&commands);
    let mut out = format!(
        "# Restoring this set by hand\n\n\
         {} as it was at {} UTC (snapshot {}). Nothing but `cp`, `mv`, `mkdir`, `sha256sum` and `tar` is needed.\n\n",
        name.source,
        snapshot.timestamp,
        name.id.short()
    );
    out.push_str(&incomplete_notice::text(names, missing));
    for (part, what) in [(snapshot.has_databases(), "databases"), (snapshot.files.is_some(), "files")] {
        if !part {
            let _ = writeln!(out, "**This set holds no {what}.** Those of the application stay as they are.\n");
        }
    }
    let unnamed: Vec<&(&Database, String)> =
        databases.iter().filter(|(part, _)| quoted(&part.path).is_none()).collect();
    if !unnamed.is_empty() {
        out.push_str(
            "**The paths of these databases cannot be typed into a shell safely.** The commands below leave them out; \
             `lrl restore` takes them:\n\n",
        );
        for (part, copy) in unnamed {
            let shown: String = path_text::encode(&part.path).chars().flat_map(char::escape_debug).collect();
            let _ = writeln!(out, "- {copy}: {shown}");
        }
        out.push('\n');
    }
    let flag = incomplete_notice::flag(missing);
    let _ = write!(
        out,
        "1. Stop the application. Nothing may have a database open.\n\
         2. Choose the directory to restore into: best a new one, which then takes the place of the application's. In one that has \
         files, those of the same names are overwritten and others stay; an old database is kept as `*.pre-restore`.\n\
         3. With the path of this directory in `SET` and of that one in `ROOT`, run:\n\n\
         {fence}sh\n{commands}{fence}\n\n\
         4. Let the files belong to the user that the application runs as. Run as root, the commands have set the owners that were \
         recorded; on another machine the numbers may mean somebody else: `chown -R appuser: \"$ROOT\"`\n\
         5. If the application is newer than this set, run its migrations. Then start it.\n\
         6. When all is well, remove what ends in `.pre-restore`.\n\n\
         With lrl all of this is one command: `lrl restore --manifest {manifest}{flag}`.\n"
    );
    out
}

/// Returns the commands: in a subshell, so that the first that fails ends them and nothing else.
fn commands(names: &Names, snapshot: &Snapshot, databases: &[(&Database, String)]) -> String {
    let mut out = String::from(
        "(\nset -eu\n\
         set=${SET:?say where the set is, as in SET=/media/usb/site}\n\
         root=${ROOT:?say where to restore it, as in ROOT=/srv/site.restored}\n\
         \n# Before anything is changed: is every file whole?\n",
    );
    let archive = snapshot.files.as_ref().and_then(|part| part.archive.as_ref());
    let assets = file_name(&names.assets);
    let sums = databases.iter().map(|(part, copy)| (part.sha256.as_deref().unwrap_or_default(), copy));
    for (sha256, file) in sums.chain(archive.map(|made| (made.sha256.as_str(), &assets))) {
        let _ = writeln!(out, "(cd \"$set\" && echo '{sha256}  {file}' | sha256sum -c)");
    }
    out.push_str("\nmkdir -p \"$root\"\n");
    if archive.is_some() {
        let _ = write!(out, "\n# The files.\ntar -xpzf \"$set/{assets}\" -C \"$root\"\n");
    }
    let named: Vec<_> = databases.iter().filter_map(|(part, copy)| Some((part, copy, quoted(&part.path)?))).collect();
    if !named.is_empty() {
        out.push_str(
            "\n# The databases. An old -wal or -journal beside a new database would destroy it: they move away together.\n\
             put() {\n  \
             for part in '' -wal -shm -journal; do\n    \
             if [ -e \"$root/$2$part\" ] || [ -L \"$root/$2$part\" ]; then mv -i \"$root/$2$part\" \"$root/$2.pre-restore$part\"; fi\n  \
             done\n  \
             mkdir -p \"$(dirname \"$root/$2\")/\"\n  \
             (umask 077 && cp \"$set/$1\" \"$root/$2\")\n  \
             if [ \"$(id -u)\" = 0 ]; then chown \"$4\" \"$root/$2\"; fi\n  \
             chmod \"$3\" \"$root/$2\"\n\
             }\n",
        );
    }
    for (part, copy, path) in named {
        let Database { mode, uid, gid, .. } = part;
        let _ = writeln!(out, "put {copy} {path} {:04o} {uid}:{gid}", mode & 0o777);
    }
    out.push_str(")\n");
    out
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns a path as one word of a shell; `None` if it is no text, or has characters that a terminal takes for commands.
fn quoted(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    // `dirname` in a substitution would lose them.
    let ends_in_newline = text.split('/').any(|part| part.ends_with('\n'));
    let is_typed = !ends_in_newline && text.chars().all(|c| c == '\n' || !c.is_control());
    is_typed.then(|| format!("'{}'", text.replace('\'', r"'\''")))
}

/// Returns a fence that no path in the commands ends.
fn fence(commands: &str) -> String {
    let longest = commands.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat((longest + 1).max(3))
}
