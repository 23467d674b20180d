//! Who may ask for what. A server on a machine's own address is reached by every page that its browser shows, and by every other user: names that
//! a foreign page could have resolved here, requests that another page started, and whoever does not know the token get nothing.

use std::sync::atomic::{AtomicBool, Ordering};

/// The longest address that is read.
const MOST_ADDRESS: usize = 4096;
/// The cookie that the token is exchanged for.
pub const COOKIE: &str = "lrl-ui";
/// The path that takes the token.
pub const OPEN: &str = "/open";

/// What of a request decides.
#[derive(Debug, Default, Clone)]
pub struct Asked<'a> {
    /// `GET` and the like.
    pub method: &'a str,
    /// Path and query, as they were sent.
    pub address: &'a str,
    /// Whether the address names a server too, as one for a proxy does.
    pub is_absolute: bool,
    /// Every `Host`.
    pub hosts: Vec<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// Every `Cookie`.
    pub cookies: Vec<&'a str>,
    /// Whether it has a body.
    pub has_body: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Pass,
    /// The token is right, for the first time.
    Open,
    /// It is refused with this status and reason.
    Refuse(u16, &'static str),
}

/// The secrets of one server.
pub struct Guard {
    token: String,
    cookie: String,
    base: String,
    used: AtomicBool,
}

impl Guard {
    /// Takes the token of the printed address, what it is exchanged for, and the path that all pages are below.
    pub fn new(token: String, cookie: String, base: String) -> Self {
        Self { token, cookie, base, used: AtomicBool::new(false) }
    }

    /// Returns the path that all pages are below. The cookie is sent there only: to no other server of this machine.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the header that sets the cookie.
    pub fn set_cookie(&self) -> String {
        format!("{COOKIE}={}; Path={}/; HttpOnly; SameSite=Strict", self.cookie, self.base)
    }

    /// Decides about a request.
    pub fn decide(&self, asked: &Asked<'_>) -> Verdict {
        match asked.hosts.as_slice() {
            [host] if is_here(host) && !asked.is_absolute => {}
            _ => return Verdict::Refuse(421, "lrl ui answers to 127.0.0.1, localhost and [::1] only"),
        }
        if asked.method != "GET" {
            return Verdict::Refuse(405, "lrl ui shows, and changes nothing: GET only");
        }
        if asked.has_body {
            return Verdict::Refuse(400, "a request here has no body");
        }
        if asked.address.len() > MOST_ADDRESS {
            return Verdict::Refuse(414, "the address is too long");
        }
        let own = |origin: &str| {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            host.is_some_and(|host| asked.hosts.iter().any(|own| own.eq_ignore_ascii_case(host)))
        };
        // A browser that does not send it yet is held by SameSite alone.
        let is_foreign = asked.fetch_site.is_some_and(|site| !matches!(site, "none" | "same-origin"));
        if is_foreign || asked.origin.is_some_and(|origin| !own(origin)) {
            return Verdict::Refuse(403, "another page started this request: open the address by itself");
        }
        let (path, query) = asked.address.split_once('?').unwrap_or((asked.address, ""));
        if path == OPEN {
            let token = query.strip_prefix("token=").unwrap_or_default();
            return match same(token, &self.token) {
                true if !self.used.swap(true, Ordering::SeqCst) => Verdict::Open,
                true => Verdict::Refuse(
                    403,
                    "this address has been used: it opens one browser, once. End lrl ui and start it again",
                ),
                false => Verdict::Refuse(403, UNKNOWN),
            };
        }
        let named =
            asked.cookies.iter().flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut known = named.filter(|(name, _)| *name == COOKIE).map(|(_, value)| same(value, &self.cookie));
        if !known.any(|is_same| is_same) {
            return Verdict::Refuse(403, UNKNOWN);
        }
        match path.strip_prefix(&self.base) {
            Some(rest) if rest.starts_with('/') => Verdict::Pass,
            _ => Verdict::Refuse(404, "there is no such page"),
        }
    }
}

const UNKNOWN: &str = "open the address that lrl ui printed, in this browser";

/// Returns whether a `Host` names this machine by itself. Any port: a tunnel has its own, and a foreign name is what an attack needs.
fn is_here(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (if address == "::1" { "::1" } else { "" }, port),
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let port = port.strip_prefix(':').map_or(port.is_empty(), |port| port.parse::<u16>().is_ok());
    port && (name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "::1"))
}

/// Compares secrets in a time that depends on their lengths only.
fn same(given: &str, secret: &str) -> bool {
    let differs = given.bytes().zip(secret.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    given.len() == secret.len() && differs == 0 && !secret.is_empty()
}

#[cfg(test)]
mod tests {
    use super::{Asked, Guard, Verdict, is_here};

    fn guard() -> Guard {
        Guard::new("t0ken".into(), "c00kie".into(), "/p".into())
    }

    fn asked<'a>(address: &'a str, cookie: &'a str) -> Asked<'a> {
        Asked { method: "GET", address, hosts: vec!["127.0.0.1:8080"], cookies: vec![cookie], ..Asked::default() }
    }

    fn status(verdict: Verdict) -> u16 {
        match verdict {
            Verdict::Pass => 200,
            Verdict::Open => 303,
            Verdict::Refuse(status, _) => status,
        }
    }

    #[test]
    fn only_names_of_this_machine_are_here() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:80"] {
            assert!(is_here(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "0.0.0.0:80",
            "localhost:",
            "localhost:x",
            "localhost:80:80",
            "[::2]:80",
            "[::1",
            "[::1]x",
            "127.1",
            "localhost:99999",
            "evil@localhost",
        ] {
            assert!(!is_here(host), "{host}");
        }
    }

    #[test]
    fn a_token_opens_once_and_a_cookie_always() {
        let guard = guard();
        assert_eq!(status(guard.decide(&asked("/p/", ""))), 403);
        assert_eq!(status(guard.decide(&asked("/open?token=wrong", ""))), 403);
        assert_eq!(status(guard.decide(&asked("/open?token=", ""))), 403);
        assert_eq!(guard.decide(&asked("/open?token=t0ken", "")), Verdict::Open);
        assert_eq!(status(guard.decide(&asked("/open?token=t0ken", ""))), 403);
        assert_eq!(guard.decide(&asked("/p/", "a=b; lrl-ui=c00kie")), Verdict::Pass);
        for cookie in ["lrl-ui=c00ki", "lrl-ui=", "lrl-ui", "x-lrl-ui=c00kie"] {
            assert_eq!(status(guard.decide(&asked("/p/", cookie))), 403, "{cookie}");
        }
        for path in ["/", "/p", "/pp/", "/favicon.ico"] {
            assert_eq!(status(guard.decide(&asked(path, "lrl-ui=c00kie"))), 404, "{path}");
        }
        assert!(guard.set_cookie().contains("HttpOnly; SameSite=Strict"));
    }

    #[test]
    fn what_another_page_could_start_is_refused() {
        let fine = || asked("/p/", "lrl-ui=c00kie");
        let long = format!("/p/?q={}", "a".repeat(5000));
        for (asked, expected) in [
            (Asked { hosts: vec!["evil.example"], ..fine() }, 421),
            (Asked { hosts: vec![], ..fine() }, 421),
            (Asked { hosts: vec!["localhost", "localhost"], ..fine() }, 421),
            (Asked { is_absolute: true, ..fine() }, 421),
            (Asked { method: "POST", ..fine() }, 405),
            (Asked { method: "DELETE", ..fine() }, 405),
            (Asked { method: "HEAD", ..fine() }, 405),
            (Asked { has_body: true, ..fine() }, 400),
            (Asked { address: &long, ..fine() }, 414),
            (Asked { fetch_site: Some("cross-site"), ..fine() }, 403),
            (Asked { fetch_site: Some("same-site"), ..fine() }, 403),
            (Asked { origin: Some("http://evil.example"), ..fine() }, 403),
            (Asked { origin: Some("null"), ..fine() }, 403),
            (Asked { origin: Some("http://127.0.0.1:9"), ..fine() }, 403),
            (Asked { origin: Some("http://127.0.0.1:8080"), ..fine() }, 200),
            (Asked { fetch_site: Some("same-origin"), ..fine() }, 200),
            (Asked { fetch_site: Some("none"), ..fine() }, 200),
        ] {
            assert_eq!(status(guard().decide(&asked)), expected, "{asked:?}");
        }
    }
}
