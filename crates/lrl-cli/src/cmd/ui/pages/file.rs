//! A file or a database of a snapshot: what it is, how it begins, and all of it.

use lrl_store::error::Error;
use lrl_store::format::entry::{Content, Kind};
use lrl_store::format::snapshot::Snapshot;
use lrl_store::ops::ls;

use super::super::answer::Answer;
use super::site::Asked;
use super::{browse, frame, sql};
use crate::cmd::report::page::text;
use crate::exit::Result;
use crate::render::html::Html;
use crate::render::units;

/// How much of a text is shown.
const MOST_TEXT: u64 = 64 << 10;
/// How much of other bytes is shown.
const MOST_HEX: usize = 512;

/// What is at a path.
enum Found {
    /// Bytes: where they are, how many, and when they were changed.
    Bytes(Content, u64, i64),
    /// A link, and where it leads.
    Link(Vec<u8>),
    /// A directory.
    Dir,
}

fn find(asked: &Asked<'_>, snapshot: &Snapshot, path: &[u8]) -> Result<Found> {
    if let Some(part) = snapshot.database(path) {
        return Ok(Found::Bytes(Content::Tree(part.root), part.size_bytes, part.mtime.secs));
    }
    let mut entry = ls::find(asked.store, snapshot, path)?;
    if let Kind::Hardlink { target } = &entry.kind {
        entry = ls::find(asked.store, snapshot, target)?;
    }
    Ok(match entry.kind {
        Kind::File { size, content } => Found::Bytes(content, size, entry.mtime.secs),
        Kind::Symlink { target } => Found::Link(target),
        Kind::Dir => Found::Dir,
        Kind::Hardlink { .. } => return Err(Error::corrupt(units::path(path), "is a hard link to a hard link").into()),
    })
}

/// Shows what is at a path.
pub fn page(asked: &Asked<'_>) -> Result<Answer> {
    let (name, snapshot) = asked.snapshot("snapshot")?;
    let path = ls::clean(asked.address.bytes("path").unwrap_or_default());
    let found = find(asked, &snapshot, &path)?;
    if matches!(found, Found::Dir) {
        return Ok(Answer::Other(asked.link("browse", &name, &path), None));
    }
    let shown = units::path(&path);
    let beginning = match &found {
        Found::Bytes(content, size, _) if snapshot.database(&path).is_none() => {
            let mut bytes = Vec::new();
            asked.store.read_content(content, 0, (*size).min(MOST_TEXT), &mut |piece| {
                bytes.extend_from_slice(piece);
                lrl_store::progress::checkpoint(asked.limited)
            })?;
            bytes
        }
        _ => Vec::new(),
    };
    let html = frame::page(asked.site, &shown, |h| {
        h.leaf("h1", "", shown.rsplit('/').next().unwrap_or(&shown));
        frame::trail(h, asked, &name, &path);
        match &found {
            Found::Bytes(_, size, changed) => {
                h.el("p", &[], |h| {
                    h.text(&format!("{} ({size} bytes), changed ", units::size(*size)));
                    text::minute(h, *changed);
                    h.text(", in the snapshot of ");
                    text::minute(h, snapshot.created.secs);
                    h.text(". ");
                });
                h.el("p", &[], |h| {
                    let link = asked.link("download", &name, &path);
                    h.el("a", &[("class", "button"), ("href", &link)], |h| h.text("Download"));
                    h.text(" ");
                    let query = [("source", name.source.as_bytes()), ("q", &path[..])];
                    h.el("a", &[("href", &asked.site.base.link("search", &query))], |h| h.text("All versions of it"));
                });
                match snapshot.database(&path) {
                    Some(part) => sql::tables(h, asked, &name, part),
                    None => beginning_of(h, &beginning, *size),
                }
            }
            Found::Link(target) => {
                h.leaf("p", "", &format!("A symbolic link to {}", units::path(target)));
            }
            Found::Dir => {}
        }
        browse::restore(h, asked, &name, &path);
        let command = format!(
            "lrl dump {} {} {} > FILE",
            name.id.short(),
            units::shell_word(&shown),
            asked.site.flags(&name.source)
        );
        frame::command(h, "Write it to a file", &command);
    });
    Ok(Answer::Page(200, html))
}

fn beginning_of(h: &mut Html, bytes: &[u8], size: u64) {
    let is_all = bytes.len() as u64 == size;
    h.leaf("h2", "", if is_all { "Contents" } else { "How it begins" });
    match as_text(bytes) {
        Some(text) => h.el("pre", &[("class", "contents"), ("tabindex", "0")], |h| h.lines(text.lines())),
        None => h.el("pre", &[("class", "contents"), ("tabindex", "0")], |h| {
            let lines: Vec<String> = bytes[..bytes.len().min(MOST_HEX)].chunks(16).enumerate().map(hex_line).collect();
            h.lines(lines.iter().map(String::as_str));
        }),
    }
}

/// Returns the text that bytes are, without a last character that is cut in two; `None` for what is no text.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    (!text.contains('\0')).then_some(text)
}

fn hex_line((n, bytes): (usize, &[u8])) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let seen: String = bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
    format!("{:06x}  {:<47}  {seen}", n * 16, hex.join(" "))
}

/// Sends all of it.
pub fn download(asked: &Asked<'_>) -> Result<Answer> {
    let (_, snapshot) = asked.snapshot("snapshot")?;
    let path = ls::clean(asked.address.bytes("path").unwrap_or_default());
    let Found::Bytes(_, size, _) = find(asked, &snapshot, &path)? else {
        return Err(Error::Refused("only files and databases can be downloaded".into()).into());
    };
    let (site, backend) = (asked.site, std::sync::Arc::clone(&asked.site.backend));
    Ok(site.downloads.start(backend, snapshot, path, size, site.context.cli.global.lock_wait))
}

#[cfg(test)]
mod tests {
    use super::{as_text, hex_line};

    #[test]
    fn text_is_told_from_other_bytes() {
        assert_eq!(as_text("grün".as_bytes()), Some("grün"));
        assert_eq!(as_text(&"grün".as_bytes()[..3]), Some("gr"), "cut in two");
        assert_eq!(as_text(b"a\0b"), None);
        assert_eq!(as_text(b"\xff\xfe"), None);
        assert_eq!(hex_line((1, b"a<\x00")), "000010  61 3c 00                                         a<.");
    }
}
