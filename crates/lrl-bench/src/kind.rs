//! What uploads consist of.

use crate::rng::{Rng, Words};

/// What is in memory of a file that is being made: this program has to stay smaller than what it measures.
const PIECE: usize = 64 << 10;

/// What an upload is.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Incompressible.
    Picture,
    /// Incompressible, too.
    Document,
    /// Sentences.
    Text,
    /// JSON.
    Records,
    /// Coordinates.
    Drawing,
}

impl Kind {
    /// Those that do not compress.
    pub const NOISE: [Self; 3] = [Self::Picture, Self::Picture, Self::Document];
    /// Those that do.
    pub const TEXT: [Self; 3] = [Self::Text, Self::Records, Self::Drawing];

    /// Returns the ending of its name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Picture => "jpg",
            Self::Document => "pdf",
            Self::Text => "txt",
            Self::Records => "json",
            Self::Drawing => "svg",
        }
    }

    /// Returns its MIME type.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Picture => "image/jpeg",
            Self::Document => "application/pdf",
            Self::Text => "text/plain",
            Self::Records => "application/json",
            Self::Drawing => "image/svg+xml",
        }
    }

    /// Appends at least [`PIECE`] bytes of its kind.
    pub fn fill(self, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) {
        while out.len() < PIECE {
            match self {
                Self::Picture | Self::Document => rng.noise(PIECE, out),
                Self::Text => words.text(rng, PIECE, out),
                Self::Records => {
                    let (id, value, title) = (rng.id(), rng.below(100_000), words.string(rng, 60));
                    out.extend_from_slice(
                        format!("{{\"id\": \"{id}\", \"value\": {value}, \"title\": {title:?}}},\n").as_bytes(),
                    );
                }
                Self::Drawing => {
                    let [a, b, c, d] = [(); 4].map(|()| rng.below(1000));
                    out.extend_from_slice(format!("<line x1=\"{a}\" y1=\"{b}\" x2=\"{c}\" y2=\"{d}\"/>\n").as_bytes());
                }
            }
        }
    }
}
