//! Little-endian reading with bounds checks, and its counterpart for writing.

use crate::error::{Error, Result};

/// Reads fields from the front of a byte slice; every method fails instead of reading past the end.
pub struct Reader<'a> {
    rest: &'a [u8],
    object: &'a str,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`; `object` names them in errors.
    pub(crate) fn new(bytes: &'a [u8], object: &'a str) -> Self {
        Self { rest: bytes, object }
    }

    /// Returns what names the bytes in errors.
    pub(crate) fn object(&self) -> &str {
        self.object
    }

    /// Makes the error for malformed input.
    pub(crate) fn malformed(&self, detail: &str) -> Error {
        Error::corrupt(self.object, detail)
    }

    /// Takes the next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.malformed("ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes a fixed number of bytes as an array.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed("ends too early"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// Reads one byte.
    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Reads a 16-bit number.
    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Reads a 32-bit number.
    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Reads a 64-bit number.
    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a LEB128 number of at most 64 bits.
    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("holds a number of more than 64 bits"))
    }

    /// Reads a length (LEB128) and that many bytes.
    pub(crate) fn blob(&mut self) -> Result<&'a [u8]> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| self.malformed("ends too early"))?)
    }

    /// Returns how many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Succeeds only if everything was read.
    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("holds bytes after its end")) }
    }
}

/// Appends a LEB128 number.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length (LEB128) and the bytes.
pub(crate) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::{Reader, put_varint};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out, "test");
            prop_assert_eq!(reader.varint().unwrap(), value);
            prop_assert!(reader.finish().is_ok());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes, "test");
            let _ = reader.varint();
            let _ = reader.blob();
            let _ = reader.u32();
        }
    }
}
