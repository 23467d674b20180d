//! The requests by which each kind of service is told of a run. Makes none.

use super::event::{End, Event};
use crate::args::values::PingKind;
use crate::log::MOST_BYTES;
use crate::render::units::percent_encoded;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The URL: a secret.
    pub url: String,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent with `POST`; without it the request is a `GET`.
    pub body: Option<String>,
}

/// The most that ntfy shows as a message: more would become an attachment.
const NTFY_BYTES: usize = 3800;
/// What Uptime Kuma shows in one line.
const KUMA_CHARS: usize = 200;

/// Returns the request that tells of an event, if this kind of service is told of it.
pub fn request(kind: PingKind, url: &str, event: &Event) -> Option<Request> {
    let url = url.replace("{verb}", event.verb).replace("{source}", &encoded(&event.source));
    let text = ("Content-Type", "text/plain; charset=utf-8".to_string());
    match (kind, &event.end) {
        (PingKind::Healthchecks, None) => {
            let url = with_query(&with_path(&url, "start"), &format!("rid={}", event.run));
            Some(Request { url, headers: vec![text], body: Some(String::new()) })
        }
        (PingKind::Healthchecks, Some(end)) => {
            let url = with_query(&with_path(&url, &end.code.to_string()), &format!("rid={}", event.run));
            let head = event.summary();
            let body = format!("{head}\n\n{}", last(&end.log, MOST_BYTES.saturating_sub(head.len() + 2)));
            Some(Request { url, headers: vec![text], body: Some(body) })
        }
        (PingKind::Kuma, Some(end)) => {
            let base = url.split(['?', '#']).next().unwrap_or(&url);
            let state = if end.is_success() { "up" } else { "down" };
            let message: String = event.summary().chars().take(KUMA_CHARS).collect();
            let query = format!("status={state}&msg={}&ping={:.0}", encoded(&message), end.seconds * 1000.0);
            Some(Request { url: with_query(base, &query), headers: Vec::new(), body: None })
        }
        (PingKind::Ntfy, Some(end)) => Some(ntfy(url, event, end)),
        (PingKind::Get, Some(end)) if end.is_success() => Some(Request { url, headers: Vec::new(), body: None }),
        (PingKind::Json, _) => Some(Request {
            url,
            headers: vec![("Content-Type", "application/json".into())],
            body: Some(event.document().to_string()),
        }),
        (PingKind::Kuma | PingKind::Ntfy, None) | (PingKind::Get, _) => None,
    }
}

fn ntfy(url: String, event: &Event, end: &End) -> Request {
    let (priority, tag) = if end.is_success() { ("2", "white_check_mark") } else { ("4", "rotating_light") };
    let outcome = if end.is_success() { "done".to_string() } else { format!("exit code {}", end.code) };
    let title: String = format!("lrl {} on {}: {outcome}", event.verb, event.host);
    // A header is ASCII.
    let title = title.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
    let head = event.summary();
    let log = if end.is_success() { "" } else { last(&end.log, NTFY_BYTES.saturating_sub(head.len())) };
    Request {
        url,
        headers: vec![("Title", title), ("Priority", priority.into()), ("Tags", tag.into())],
        body: Some(format!("{head}\n\n{log}").trim_end().to_string()),
    }
}

/// Returns the last whole lines of a text that fit.
fn last(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let from = (text.len() - most..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let tail = &text[from..];
    tail.find('\n').map_or(tail, |end| &tail[end + 1..])
}

fn with_path(url: &str, name: &str) -> String {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let path = format!("{}/{name}", path.trim_end_matches('/'));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

fn with_query(url: &str, query: &str) -> String {
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
}

/// Encodes a text for a part of a URL.
fn encoded(text: &str) -> String {
    percent_encoded(text.as_bytes(), b"-_.~")
}

#[cfg(test)]
mod tests {
    use lrl_store::time::Time;

    use super::{Request, request};
    use crate::args::values::PingKind;
    use crate::notify::event::{End, Event};

    fn event(code: Option<u8>, log: &str) -> Event {
        let end = |code| End {
            finished: Time::default(),
            seconds: 1.5,
            code,
            error: (code != 0).then(|| "it broke".into()),
            log: log.into(),
        };
        Event {
            run: "r1".into(),
            verb: "backup",
            source: "l\u{e4}b".into(),
            store: "/s".into(),
            host: "h".into(),
            started: Time::default(),
            end: code.map(end),
        }
    }

    fn get(kind: PingKind, url: &str, code: Option<u8>) -> Option<Request> {
        request(kind, url, &event(code, "a\nb\n"))
    }

    #[test]
    fn each_service_is_told_in_its_own_way() {
        let of = |kind, url, code| get(kind, url, code).map(|request| request.url);
        let start = of(PingKind::Healthchecks, "https://h/ping/{verb}-{source}/?create=1", None);
        assert_eq!(start.as_deref(), Some("https://h/ping/backup-l%C3%A4b/start?create=1&rid=r1"));
        let failed = get(PingKind::Healthchecks, "https://h/x", Some(4)).unwrap();
        assert_eq!(failed.url, "https://h/x/4?rid=r1");
        assert_eq!(failed.body.as_deref(), Some("lrl backup of l\u{e4}b: exit code 4: it broke\n\na\nb\n"));
        let up = of(PingKind::Kuma, "https://k/api/push/T?status=up&msg=OK&ping=", Some(0));
        assert_eq!(
            up.as_deref(),
            Some("https://k/api/push/T?status=up&msg=lrl%20backup%20of%20l%C3%A4b%3A%20done%20in%202%20s&ping=1500")
        );
        assert!(of(PingKind::Kuma, "https://k/T", Some(3)).unwrap().contains("?status=down&msg="));
        assert_eq!(of(PingKind::Kuma, "https://k/T", None), None);
        let told = get(PingKind::Ntfy, "https://ntfy/t", Some(1)).unwrap();
        assert!(told.headers.contains(&("Title", "lrl backup on h: exit code 1".into())), "{told:?}");
        assert!(told.body.unwrap().ends_with("it broke\n\na\nb"));
        assert_eq!(of(PingKind::Get, "https://g", Some(0)).as_deref(), Some("https://g"));
        assert_eq!(of(PingKind::Get, "https://g", Some(1)), None);
        let body = get(PingKind::Json, "https://j", Some(5)).unwrap().body.unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["exit_code"], &body["event"], &body["log"]), (&5.into(), &"end".into(), &"a\nb\n".into()));
    }

    #[test]
    fn a_long_log_is_cut_to_what_the_service_takes() {
        let log = "0123456789 \u{e4}\n".repeat(9000);
        let body = |kind| request(kind, "https://h", &event(Some(1), &log)).unwrap().body.unwrap();
        let sent = body(PingKind::Healthchecks);
        assert!(sent.len() <= 100_000 && sent.len() > 99_000 && sent.ends_with("\u{e4}\n"));
        assert!(body(PingKind::Ntfy).len() < 4096);
    }
}
