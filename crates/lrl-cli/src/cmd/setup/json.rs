//! The proposal as a JSON document.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::render::entry;
use crate::site::found::{FoundDatabase, Heap, LinkOut, Listed, Oddity};
use crate::site::proposal::Proposal;
use crate::site::rules;

/// Returns the whole document.
pub fn document(dir: &Path, proposal: &Proposal<'_>, written: Option<&Path>) -> Value {
    let scan = proposal.scan;
    let app = proposal.app.map(
        |app| json!({ "name": app.name, "title": app.title, "read_from": app.read_from, "recognised_by": proposal.by }),
    );
    let database = |one: &FoundDatabase| {
        let mut object = named(&one.path);
        object.insert("size_bytes".into(), one.size_bytes.into());
        object.insert("wal_bytes".into(), one.wal_bytes.into());
        object.insert("page_size".into(), one.page_size.into());
        object.insert("journal".into(), if one.is_wal { "wal" } else { "rollback" }.into());
        Value::Object(object)
    };
    let link = |one: &LinkOut| {
        let mut object = named(&one.path);
        entry::put_name(&mut object, "target", &one.target);
        Value::Object(object)
    };
    let odd = |one: &Oddity| {
        let mut object = named(&one.path);
        object.insert("reason".into(), one.reason.clone().into());
        object.insert("lost".into(), one.lost.into());
        Value::Object(object)
    };
    let heap = |heap: &Heap| json!({ "pattern": heap.pattern, "files": heap.files, "bytes": heap.bytes });
    let cache = |one: &Heap| heap(&Heap { pattern: rules::literal(&one.pattern), ..one.clone() });
    let secrets: Vec<Value> =
        scan.secrets.iter().flat_map(|list| &list.items).map(|path| Value::Object(named(path))).collect();
    let checks: Vec<Value> =
        proposal.checks.iter().map(|one| json!({ "check": one.check, "unfit": one.unfit })).collect();
    json!({
        "success": scan.is_whole(),
        "dir": dir.display().to_string(),
        "layout": "site",
        "app": app,
        "databases": list(&scan.databases, database),
        "files": { "count": scan.files, "bytes": scan.bytes, "directories": scan.directories },
        "excluded": scan.excluded.iter().map(heap).collect::<Vec<_>>(),
        "own": scan.own,
        "caches": list(&scan.caches, cache),
        "secrets": { "patterns": proposal.secrets(), "found": secrets, "more": scan.secrets.iter().map(|list| list.more).sum::<u64>() },
        "links_out": list(&scan.links_out, link),
        "oddities": list(&scan.oddities, odd),
        "notes": proposal.notes,
        "checks": checks,
        "proposal": proposal.text(),
        "written": written.map(|path| path.display().to_string()),
    })
}

fn named(path: &[u8]) -> Map<String, Value> {
    let mut object = Map::new();
    entry::put_name(&mut object, "path", path);
    object
}

fn list<T>(listed: &Listed<T>, item: impl Fn(&T) -> Value) -> Value {
    json!({ "found": listed.items.iter().map(item).collect::<Vec<_>>(), "more": listed.more })
}
