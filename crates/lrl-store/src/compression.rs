//! Compression of chunks. The only user of zstd. What it encodes it decodes again; ids never depend on it.

use std::borrow::Cow;
use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, CParameter, DCtx};

use crate::error::{Error, Result};

/// How a chunk is encoded in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Stored,
    /// One zstd frame.
    Zstd,
    /// One zstd frame whose window begins with the plain bytes of the base chunks, in order.
    Delta,
}

impl Encoding {
    /// Returns the code on disk.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Zstd => 1,
            Self::Delta => 2,
        }
    }

    /// Reads the code on disk.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Stored,
            1 => Self::Zstd,
            2 => Self::Delta,
            _ => return None,
        })
    }
}

/// A chunk is at most this long, in bytes: the content-defined cutter's upper bound.
pub(crate) const MAX_CHUNK: usize = 4 << 20;
/// Bases of a delta, at most.
pub(crate) const MAX_BASES: usize = 4;

const LEVEL: i32 = 3;
/// The longest window of that level. Up to this length of a chunk and its bases a shared context will do; to make one takes longer than a delta.
const LEVEL_WINDOW: usize = 2 << 20;
/// Longer chunks are probed. To compress shorter ones is as cheap, and a database's extents, which are no longer, mostly shrink.
const PROBE_ABOVE: usize = 64 << 10;
const PROBE_SAMPLE: usize = 4 << 10;
/// What begins so zstd takes for a dictionary in its own format, where it is not told otherwise.
const DICTIONARY_MAGIC: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();

thread_local! {
    // A context holds about a megabyte of tables; making one for each of a million small files would cost more than the files.
    static ENCODER: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECODER: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Compresses `plain`, or returns nothing if that does not make it smaller.
pub fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() > PROBE_ABOVE && !looks_compressible(plain) {
        return None;
    }
    compress_at(plain, LEVEL)
}

fn compress_at(plain: &[u8], level: i32) -> Option<Vec<u8>> {
    ENCODER.with_borrow_mut(|context| {
        context.set_parameter(CParameter::CompressionLevel(level)).ok()?;
        // One byte less than the input: what does not shrink does not fit, and is stored as it is.
        let mut out = Vec::with_capacity(plain.len().saturating_sub(1));
        context.compress2(&mut out, plain).ok()?;
        out.shrink_to_fit();
        Some(out)
    })
}

/// Three samples of a picture or an archive tell for the whole of it; a wrong guess costs space, never data.
fn looks_compressible(plain: &[u8]) -> bool {
    [0, plain.len() / 2, plain.len() - PROBE_SAMPLE].iter().any(|&at| {
        let end = (at + PROBE_SAMPLE).min(plain.len());
        compress_at(&plain[at..end], 1).is_some_and(|out| out.len() < (end - at) / 100 * 97)
    })
}

/// Compresses `plain` against `bases`; nothing if that does not make it smaller, or decodes to something else.
pub fn compress_delta(plain: &[u8], bases: &[&[u8]]) -> Option<Vec<u8>> {
    let prefix = &*joined(bases);
    let mut out = Vec::with_capacity(plain.len().saturating_sub(1));
    let encoded = if prefix.len() + plain.len() <= LEVEL_WINDOW && !prefix.starts_with(&DICTIONARY_MAGIC) {
        ENCODER.with_borrow_mut(|context| context.compress_using_dict(&mut out, plain, prefix, LEVEL))
    } else {
        let mut context = CCtx::create();
        let window = CParameter::WindowLog(window_log(prefix.len() + plain.len()));
        // The usual tables forget most of so long a base.
        for one in [CParameter::CompressionLevel(LEVEL), window, CParameter::EnableLongDistanceMatching(true)] {
            context.set_parameter(one).ok()?;
        }
        context.ref_prefix(prefix).and_then(|_| context.compress2(&mut out, plain))
    };
    encoded.ok()?;
    out.shrink_to_fit();
    let back = decompress_delta(&out, prefix, plain.len()).ok()?;
    (back == plain).then_some(out)
}

/// Decodes a delta of `plain_len` bytes, or returns zstd's code of the error.
fn decompress_delta(encoded: &[u8], prefix: &[u8], plain_len: usize) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(plain_len);
    if prefix.starts_with(&DICTIONARY_MAGIC) {
        let mut context = DCtx::create();
        context.ref_prefix(prefix).and_then(|_| context.decompress(&mut out, encoded))?;
    } else {
        DECODER.with_borrow_mut(|context| context.decompress_using_dict(&mut out, encoded, prefix))?;
    }
    Ok(out)
}

/// What precedes a delta in its window: the bases one after the other.
fn joined<'a>(bases: &[&'a [u8]]) -> Cow<'a, [u8]> {
    match bases {
        [one] => Cow::Borrowed(one),
        _ => Cow::Owned(bases.concat()),
    }
}

/// The window must reach from a chunk's last byte to its bases' first.
fn window_log(bytes: usize) -> u32 {
    bytes.next_power_of_two().trailing_zeros().clamp(10, 27)
}

/// Decodes one chunk of `plain_len` bytes; `object` names it in errors. The caller verifies the result against the chunk's id.
pub fn decode(
    encoding: Encoding,
    encoded: Vec<u8>,
    plain_len: usize,
    bases: &[&[u8]],
    object: &str,
) -> Result<Vec<u8>> {
    if plain_len > MAX_CHUNK {
        return Err(Error::corrupt(object, "claims to be longer than any chunk"));
    }
    let plain = match encoding {
        Encoding::Stored => encoded,
        Encoding::Zstd => DECODER.with_borrow_mut(|context| {
            let mut out = Vec::with_capacity(plain_len);
            context.decompress(&mut out, &encoded).map(|_| out).map_err(|code| broken_frame(object, code))
        })?,
        Encoding::Delta => {
            decompress_delta(&encoded, &joined(bases), plain_len).map_err(|code| broken_frame(object, code))?
        }
    };
    if plain.len() == plain_len { Ok(plain) } else { Err(Error::corrupt(object, "decodes to another length")) }
}

fn broken_frame(object: &str, code: usize) -> Error {
    Error::corrupt(object, format!("cannot be decompressed: {}", zstd::zstd_safe::get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use super::{DICTIONARY_MAGIC, Encoding, LEVEL_WINDOW, compress, compress_delta, decode};
    use crate::testing::rng::noise;
    use proptest::prelude::*;

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|i| b"the quick brown fox "[(i * i / 7) % 20]).collect()
    }

    #[test]
    fn a_delta_against_a_like_chunk_is_tiny_and_decodes() {
        let base = text(64 << 10);
        let mut plain = base.clone();
        plain[30_000..30_010].copy_from_slice(b"0123456789");
        let delta = compress_delta(&plain, &[&base]).unwrap();
        assert!(delta.len() < 100, "{}", delta.len());
        assert_eq!(decode(Encoding::Delta, delta.clone(), plain.len(), &[&base], "t").unwrap(), plain);
        assert!(decode(Encoding::Delta, delta, plain.len() - 1, &[&base], "t").is_err());
    }

    #[test]
    fn a_base_that_begins_like_a_dictionary_is_a_base_like_any_other() {
        for len in [200, 64 << 10] {
            let base = [&DICTIONARY_MAGIC[..], &text(len - 4)].concat();
            let plain = [&base[..], b"and a little more", &base].concat();
            let delta = compress_delta(&plain, &[&base]).unwrap();
            assert_eq!(decode(Encoding::Delta, delta, plain.len(), &[&base], "t").unwrap(), plain, "{len}");
        }
    }

    #[test]
    fn a_base_is_found_however_far_before_it_begins() {
        for len in [64 << 10, LEVEL_WINDOW / 2 - 1, LEVEL_WINDOW / 2, LEVEL_WINDOW, super::MAX_CHUNK] {
            let base = noise(1, len);
            let mut plain = base.clone();
            plain[len / 2] ^= 1;
            let delta = compress_delta(&plain, &[&base]).unwrap();
            assert!(delta.len() < len / 50, "{len}: {}", delta.len());
            assert_eq!(decode(Encoding::Delta, delta, len, &[&base], "t").unwrap(), plain);
        }
    }

    #[test]
    fn random_bytes_are_left_as_they_are() {
        assert!(compress(&noise(1, 200_000)).is_none());
        assert!(compress(&[]).is_none());
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(plain in proptest::collection::vec(0u8..4, 0..5000), base in proptest::collection::vec(0u8..4, 0..5000)) {
            if let Some(out) = compress(&plain) {
                prop_assert_eq!(&decode(Encoding::Zstd, out, plain.len(), &[], "t").unwrap(), &plain);
            }
            let (head, tail) = base.split_at(base.len() / 2);
            if let Some(out) = compress_delta(&plain, &[head, tail]) {
                prop_assert_eq!(&decode(Encoding::Delta, out, plain.len(), &[head, tail], "t").unwrap(), &plain);
            }
        }

        #[test]
        fn one_context_encodes_many(bases in proptest::collection::vec(proptest::collection::vec(0u8..4, 1..3000), 1..6)) {
            let plain = bases.concat();
            for base in &bases {
                for plain in [&plain[..], &plain[plain.len() / 2..], &base[base.len() / 2..]] {
                    if let Some(out) = compress_delta(plain, &[base]) {
                        prop_assert_eq!(&decode(Encoding::Delta, out, plain.len(), &[base], "t").unwrap(), plain);
                    }
                    let _ = compress(plain);
                }
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>, len in 0usize..10_000) {
            let _ = decode(Encoding::Zstd, bytes.clone(), len, &[], "t");
            let _ = decode(Encoding::Delta, bytes, len, &[b"abc"], "t");
        }
    }
}
