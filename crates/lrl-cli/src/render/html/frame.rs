//! The frame of every page: its head, its style, and the policy under which a browser shows it.

use std::sync::OnceLock;

use lrl_store::units::base64;
use sha2::{Digest, Sha256};

use super::writer::Html;

/// Who wrote a page.
const GENERATOR: &str = concat!("lrl ", env!("CARGO_PKG_VERSION"));

const SHEET: &str = include_str!("page.css");

/// Where the forms of a page may send what is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forms {
    /// Nowhere: it has none.
    Nowhere,
    /// To the server that the page came from.
    Here,
}

/// Returns the content security policy of a page: nothing but its own style, which is named by its digest.
pub fn policy(forms: Forms) -> String {
    static DIGEST: OnceLock<String> = OnceLock::new();
    let digest = DIGEST.get_or_init(|| base64(&Sha256::digest(SHEET)));
    let forms = if forms == Forms::Here { "'self'" } else { "'none'" };
    format!("default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action {forms}")
}

/// Writes a page: its title, and what is in its body.
pub fn page(title: &str, forms: Forms, body: impl FnOnce(&mut Html)) -> String {
    let mut html = Html::default();
    html.doctype();
    html.el("html", &[("lang", "en")], |h| {
        h.el("head", &[], |h| {
            h.void("meta", &[("charset", "utf-8")]);
            h.void("meta", &[("name", "generator"), ("content", GENERATOR)]);
            h.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy(forms))]);
            h.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
            h.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
            h.void("meta", &[("name", "robots"), ("content", "noindex, nofollow")]);
            h.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
            h.leaf("title", "", title);
            h.style(SHEET);
        });
        h.newline();
        h.el("body", &[], body);
    });
    html.newline();
    html.finish()
}
