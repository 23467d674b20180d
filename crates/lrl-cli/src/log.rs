//! The last part of what a run printed, kept for those who are told of it.

use std::collections::VecDeque;

/// Bytes that are kept at most: as much as healthchecks.io takes.
pub const MOST_BYTES: usize = 100_000;
/// A longer line is replaced by its length: the tail is cut between lines, so that no secret is cut in half.
const MOST_LINE: usize = 8 << 10;

/// The last lines that were printed.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    /// Adds what was printed: one line, or several.
    pub fn push(&mut self, text: &str) {
        for line in plain(text).split('\n') {
            let line = match line.len() {
                len if len > MOST_LINE => format!("(a line of {len} bytes)"),
                _ => line.to_string(),
            };
            self.bytes += line.len() + 1;
            self.lines.push_back(line);
        }
        while self.bytes > MOST_BYTES {
            let Some(first) = self.lines.pop_front() else { return };
            self.bytes -= first.len() + 1;
        }
    }

    /// Returns the lines, each with its end.
    pub fn text(&self) -> String {
        self.lines.iter().fold(String::with_capacity(self.bytes), |text, line| text + line + "\n")
    }
}

/// Takes colours out.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_string();
    parts.for_each(|part| out.push_str(part.split_once('m').map_or(part, |(_, rest)| rest)));
    out
}

#[cfg(test)]
mod tests {
    use super::{MOST_BYTES, Tail};

    #[test]
    fn the_last_lines_are_kept_whole() {
        let mut tail = Tail::default();
        tail.push("\x1b[31ma\x1b[0m\nb");
        tail.push("");
        assert_eq!(tail.text(), "a\nb\n\n");
        tail.push(&"x".repeat(9000));
        assert!(tail.text().ends_with("(a line of 9000 bytes)\n"));
        (0..20_000).for_each(|n| tail.push(&format!("line {n}")));
        let text = tail.text();
        assert!(text.len() <= MOST_BYTES && text.len() > MOST_BYTES - 100 && text.ends_with("line 19999\n"));
        assert!(text.starts_with("line 1"));
    }
}
