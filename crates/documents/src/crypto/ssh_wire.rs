//! SSH's wire format (RFC 4251, section 5): a reader of values, and a writer of strings.

/// Reads SSH's wire format (RFC 4251, section 5) from the start of a byte slice.
pub struct WireReader<'a>(
    /// The bytes that are not yet read.
    pub &'a [u8],
);

impl<'a> WireReader<'a> {
    /// Reads one byte, or returns `None` at the end.
    pub fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Reads a number of four bytes, the highest byte first, or returns `None` at the end.
    pub fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    /// Reads a string with its length, or returns `None` if the bytes end before the string ends.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

pub fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // All values are short: namespaces, hashes and keys.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}
