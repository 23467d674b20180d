//! What came of a step, in a few words, from the document that its verb wrote.

use lrl_store::units::size;
use serde_json::Value;

use crate::args::step::Step;
use crate::render::units::{count, safe};

/// Findings of one step that are written on standard error at most.
const MOST_FINDINGS: usize = 5;
/// A reason is cut to this many characters in a summary; standard error has all of it.
const MOST_CHARS: usize = 160;

/// Tells what a successful step did; empty where its documents do not say.
pub fn done(step: Step, documents: &[Value]) -> String {
    let first = documents.first().unwrap_or(&Value::Null);
    let number = |key: &str| first[key].as_u64();
    let text = match step {
        Step::Backup => match (first["reason"].as_str(), first["snapshot"].as_str(), number("added_bytes")) {
            (Some(reason), ..) => Some(reason.to_string()),
            (None, Some(id), Some(added)) => {
                Some(format!("snapshot {}, {} added", id.get(..8).unwrap_or(id), size(added)))
            }
            _ => None,
        },
        Step::Copy => first["copied"]
            .as_array()
            .zip(first["store"].as_str())
            .map(|(copied, store)| format!("{} copied to {}", count(copied.len() as u64, "snapshot"), safe(store))),
        Step::Drill => Some(drilled(documents)),
        Step::Forget => number("removed")
            .zip(number("kept"))
            .map(|(removed, kept)| format!("{} removed, {kept} kept", count(removed, "snapshot"))),
        Step::Prune => number("freed_bytes").map(|freed| format!("{} given back", size(freed))),
        Step::Report => first["report"].as_str().map(|path| {
            let wrong = first["wrong"].as_array().map_or(0, Vec::len);
            let well =
                if wrong == 0 { "all is well".into() } else { format!("{} wrong", count(wrong as u64, "thing")) };
            format!("{}: {well}", safe(path))
        }),
        Step::Check => first["checked"]["snapshots"].as_u64().map(|checked| count(checked, "snapshot")),
    };
    text.unwrap_or_default()
}

fn drilled(documents: &[Value]) -> String {
    let (mut passed, mut all) = (0, 0);
    for set in documents.iter().filter_map(|document| document["sets"].as_array()).flatten() {
        all += 1;
        passed += u64::from(set["success"] == true);
    }
    format!("{passed} of {all} passed")
}

/// Lists what a drill or check found, in its own words.
pub fn findings(document: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut all: Vec<String> = list(&document["errors"]).iter().filter_map(finding).collect();
    all.extend(list(&document["verifications"]).iter().flat_map(|file| {
        // The directory is that of the backups.
        let name = file["file"].as_str().map(|path| path.rsplit('/').next().unwrap_or(path));
        let name = name.or(file["snapshot"].as_str()).map(|name| format!("{}: ", safe(name))).unwrap_or_default();
        let error = file["error"].as_str().map(|error| format!("{name}{}", safe(error)));
        let checks = list(&file["checks"]).into_iter().filter(|check| check["passed"] == false);
        error.into_iter().chain(checks.map(|check| format!("{name}{}", failed_check(&check)))).collect::<Vec<_>>()
    }));
    let more = all.len().saturating_sub(MOST_FINDINGS);
    all.truncate(MOST_FINDINGS);
    all.extend((more > 0).then(|| count(more as u64, "more finding")));
    all
}

fn failed_check(check: &Value) -> String {
    let part = |key: &str| check[key].as_str().map(safe);
    let note = part("note").map(|note| format!(" ({note})")).unwrap_or_default();
    let error = part("error").map(|error| format!(": {error}")).unwrap_or_default();
    format!("{}{note} failed{error}", part("name").unwrap_or_default())
}

fn finding(error: &Value) -> Option<String> {
    let (object, detail) = (error["object"].as_str(), error["detail"].as_str());
    match (error.as_str(), object.zip(detail)) {
        (Some(text), _) => Some(safe(text).into_owned()),
        (None, Some((object, detail))) => {
            let detail = detail.strip_prefix(&format!("{object} ")).unwrap_or(detail);
            Some(format!("{}: {}", safe(object), safe(detail)))
        }
        (None, None) => None,
    }
}

/// Tells why a step ended badly, from the first thing that its document names.
pub fn why(document: &Value) -> Option<String> {
    let message = |value: &Value| value["message"].as_str().map(str::to_string);
    let problem = |value: &Value| Some(format!("{}: {}", value["path"].as_str()?, value["reason"].as_str()?));
    let first = |key: &str| document[key].as_array().and_then(|list| list.first());
    let set_error = || document["set_error"].as_str().map(str::to_string);
    let shrunk = || document["shrunk"].as_str().map(str::to_string);
    message(&document["error"])
        .or_else(|| findings(document).into_iter().next())
        .or_else(set_error)
        .or_else(|| first("problems").and_then(problem))
        .or_else(|| first("failed").and_then(|failed| failed["reason"].as_str().map(str::to_string)))
        .or_else(shrunk)
}

/// Shortens a reason to one line.
pub fn short(reason: &str) -> String {
    let line = safe(reason.lines().next().unwrap_or_default()).into_owned();
    match line.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::{findings, short, why};
    use serde_json::json;

    #[test]
    fn the_first_thing_that_a_document_names_is_the_reason() {
        for (document, reason) in [
            (json!({ "error": { "message": "locked" }, "problems": [] }), Some("locked")),
            (json!({ "errors": ["row counts differ"] }), Some("row counts differ")),
            (
                json!({ "errors": [{ "object": "packs/ab", "detail": "packs/ab is cut short" }] }),
                Some("packs/ab: is cut short"),
            ),
            (json!({ "error": null, "problems": [{ "path": "a", "reason": "gone" }] }), Some("a: gone")),
            (json!({ "set_error": "no room" }), Some("no room")),
            (
                json!({ "errors": [], "verifications": [{ "checks": [
                    { "name": "a", "passed": true }, { "name": "b", "note": "x > 1", "passed": false, "error": "it gives 0" },
                ] }] }),
                Some("b (x > 1) failed: it gives 0"),
            ),
            (
                json!({ "verifications": [{ "file": "/b/lrl_db_1.sqlite", "checks": [{ "name": "a", "passed": false }] }] }),
                Some("lrl_db_1.sqlite: a failed"),
            ),
            (json!({ "success": false }), None),
        ] {
            assert_eq!(why(&document).as_deref(), reason, "{document}");
        }
    }

    #[test]
    fn many_findings_are_counted() {
        let many: Vec<String> = (0..9).map(|n| format!("error {n}")).collect();
        let lines = findings(&json!({ "errors": many }));
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (6, Some("4 more findings")));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(short("one\ntwo"), "one");
        assert_eq!(short(&"é".repeat(300)).chars().count(), 161);
    }
}
