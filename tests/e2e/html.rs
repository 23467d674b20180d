//! Reads pages for tests: whether they are well-formed, and what they ask a browser to do.

// What is skipped is told.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Elements without an end.
const VOID: [&str; 5] = ["meta", "input", "br", "hr", "link"];

/// One element's tag and attributes.
#[derive(Debug, Clone)]
pub struct Element {
    /// The tag.
    pub tag: String,
    /// The attributes, as they are written.
    pub attributes: BTreeMap<String, String>,
}

/// Takes a page apart; fails the test where an element is not closed in its place, or an attribute not quoted.
#[track_caller]
pub fn elements(html: &str) -> Vec<Element> {
    let mut found = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = html.strip_prefix("<!doctype html>").expect("a doctype");
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a bare > before {:?}", &rest[at..(at + 40).min(rest.len())]);
        rest = &rest[at + 1..];
        let end = tag_end(rest);
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in its place");
            continue;
        }
        let element = element(tag);
        if element.tag == "style" {
            let end = rest.find("</style>").unwrap();
            assert!(!rest[..end].contains('<'));
            rest = &rest[end..];
        }
        if !VOID.contains(&element.tag.as_str()) {
            open.push(element.tag.clone());
        }
        found.push(element);
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    found
}

fn tag_end(text: &str) -> usize {
    let mut quoted = false;
    text.bytes()
        .position(|byte| {
            quoted ^= byte == b'"';
            byte == b'>' && !quoted
        })
        .expect("a tag has an end")
}

fn element(tag: &str) -> Element {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{tag}");
    let mut attributes = BTreeMap::new();
    while !rest.trim().is_empty() {
        let (key, after) = rest.trim_start().split_once("=\"").unwrap_or_else(|| panic!("unquoted: {tag}"));
        let (value, after) = after.split_once('"').unwrap();
        assert!(!value.contains('<'), "{tag}");
        assert!(attributes.insert(key.into(), value.into()).is_none(), "twice: {tag}");
        rest = after;
    }
    Element { tag: name.into(), attributes }
}

/// Fails the test if a page could run a script, ask for anything, or send anything anywhere but to itself.
#[track_caller]
pub fn expect_inert(html: &str) -> Vec<Element> {
    let all = elements(html);
    let policy = all.iter().find(|e| e.attributes.get("http-equiv").is_some_and(|it| it == "Content-Security-Policy"));
    let policy = &policy.expect("a policy").attributes["content"];
    assert!(policy.starts_with("default-src &#39;none&#39;; style-src &#39;sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for element in &all {
        assert!(
            !["script", "iframe", "object", "embed", "img", "link", "base", "video"].contains(&element.tag.as_str())
        );
        for (key, value) in &element.attributes {
            assert!(!key.starts_with("on") && key != "style" && key != "src", "{element:?}");
            if ["href", "action", "formaction"].contains(&key.as_str()) {
                let within = value.starts_with(['#', '?']) || value.starts_with('/') && !value.starts_with("//");
                assert!(within, "{element:?}");
            }
        }
    }
    all
}

/// Returns the browser, if there is one.
pub fn chromium() -> Option<PathBuf> {
    let found =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser"].map(PathBuf::from).into_iter().find(|it| it.exists());
    if found.is_none() {
        assert!(
            std::env::var_os("LRL_REQUIRE_CHROMIUM").is_none(),
            "there is no chromium, and LRL_REQUIRE_CHROMIUM is set"
        );
        println!("skipped: there is no chromium (Debian's package chromium) to show the page");
    }
    found
}

/// Shows a page in a browser without a window, and returns what it wrote about it: messages of the console among them.
pub fn show(browser: &Path, profile: &Path, more: &[&str], url: &str) -> (String, String) {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(more)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
