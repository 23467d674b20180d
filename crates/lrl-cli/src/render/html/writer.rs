//! Elements, written in order. Markup is `'static`, so it cannot come from a name or a row; everything else is escaped. An element is closed by
//! the call that opened it.

use crate::render::units::safe;

/// What was written so far.
#[derive(Debug, Default)]
pub struct Html {
    out: String,
}

/// Attributes that a browser follows.
const LINKS: [&str; 3] = ["href", "action", "src"];

impl Html {
    /// Writes an element with attributes, and what is inside.
    pub fn el(&mut self, tag: &'static str, attributes: &[(&'static str, &str)], inside: impl FnOnce(&mut Self)) {
        self.open(tag, attributes);
        inside(self);
        self.out.extend(["</", tag, ">"]);
    }

    /// Writes an element that has no inside and no end, as `meta` and `input`.
    pub fn void(&mut self, tag: &'static str, attributes: &[(&'static str, &str)]) {
        self.open(tag, attributes);
    }

    /// Writes an element of this class around a text; no class if it is empty.
    pub fn leaf(&mut self, tag: &'static str, class: &str, text: &str) {
        let class = ("class", class);
        self.el(tag, if class.1.is_empty() { &[] } else { std::slice::from_ref(&class) }, |h| h.text(text));
    }

    /// Writes a text. What would not be seen, or would turn the text around it, is shown as an escape.
    pub fn text(&mut self, text: &str) {
        escape(&safe(text), &mut self.out);
    }

    /// Writes lines as they are, for `pre`.
    pub fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            self.text(line);
            self.out.push('\n');
        }
    }

    /// Writes a style sheet. It must not come from outside.
    pub fn style(&mut self, sheet: &'static str) {
        self.out.extend(["<style>", sheet, "</style>"]);
    }

    /// Begins a document.
    pub fn doctype(&mut self) {
        self.out.push_str("<!doctype html>\n");
    }

    /// Ends a line: pages can be read as text.
    pub fn newline(&mut self) {
        self.out.push('\n');
    }

    /// Returns what was written.
    pub fn finish(self) -> String {
        self.out
    }

    fn open(&mut self, tag: &'static str, attributes: &[(&'static str, &str)]) {
        self.out.extend(["<", tag]);
        for (name, value) in attributes {
            let leads_away = LINKS.contains(name) && !is_within(value);
            self.out.extend([" ", name, "=\""]);
            escape(&safe(if leads_away { "#" } else { value }), &mut self.out);
            self.out.push('"');
        }
        self.out.push('>');
    }
}

/// Returns whether a link stays on the page or its server: `#part`, `/path`, `?query`.
fn is_within(link: &str) -> bool {
    link.starts_with(['#', '?']) || link.starts_with('/') && !link.starts_with("//") && !link.contains('\\')
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Html;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Html)) -> String {
        let mut html = Html::default();
        write(&mut html);
        html.finish()
    }

    #[test]
    fn texts_and_attributes_are_escaped() {
        let html = written(|h| {
            h.el("p", &[("title", "a\" onclick=\"x")], |h| h.text("<img onerror='x'> & \u{202e}\n"));
        });
        assert_eq!(html, "<p title=\"a&quot; onclick=&quot;x\">&lt;img onerror=&#39;x&#39;&gt; &amp; \\u{202e}\\n</p>");
        assert_eq!(written(|h| h.lines(["a<", "b"])), "a&lt;\nb\n");
        assert_eq!(written(|h| h.leaf("b", "", "x")), "<b>x</b>");
    }

    #[test]
    fn no_link_leads_away() {
        for (link, kept) in [
            ("/ls?path=a", true),
            ("#top", true),
            ("?page=2", true),
            ("//elsewhere", false),
            ("/\\elsewhere", false),
            ("javascript:alert(1)", false),
            ("http://elsewhere", false),
            ("", false),
        ] {
            let html = written(|h| h.el("a", &[("href", link)], |_| {}));
            assert_eq!(html == format!("<a href=\"{link}\"></a>"), kept, "{html}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_written_becomes_markup(text in "\\PC{0,40}", value in "\\PC{0,40}") {
            let html = written(|h| h.el("p", &[("title", &value)], |h| h.text(&text)));
            prop_assert_eq!(html.matches(['<', '>']).count(), 4);
            prop_assert_eq!(html.matches('"').count(), 2);
        }
    }
}
