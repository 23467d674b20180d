//! Colours of a terminal.

/// A colour with one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Good.
    Green,
    /// Worth a look.
    Yellow,
    /// Bad.
    Red,
    /// Beside the point.
    Dim,
}

impl Colour {
    pub(super) fn paint(self, on: bool, text: &str) -> String {
        let code = match self {
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
            Self::Dim => 2,
        };
        if on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
