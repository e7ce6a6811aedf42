//! Keeps the recorded output that a server on the agent's machine has read, so that the server reads each byte only
//! once.

use std::ops::Range;

use documents::{ContentDigest, Sha256Stream, Stream};

/// Maximum number of bytes that the server keeps of one stream.
const MAX_KEPT_BYTES: u64 = 32 << 20;
/// Maximum number of bytes in one request. If a request fails, only its bytes are read again.
const PIECE_BYTES: u64 = 1 << 20;

/// The reading of one stream, from its first byte to its last.
///
/// No byte is returned before the digest of all bytes was compared with the digest in the receipt. If a call ends
/// before the last byte, the next call for the same stream continues the reading.
#[derive(Default)]
pub struct OutputReading {
    /// The stream, as its receipt states it.
    stream: Option<Stream>,
    /// The bytes to keep: all, or the part that the agent asked for if the stream is too large.
    wanted: Range<u64>,
    kept: Vec<u8>,
    read: u64,
    digest: Sha256Stream,
    is_checked: bool,
}

impl OutputReading {
    /// Begins to read a stream. If an earlier call began to read the same stream and keeps the bytes of `part`, the
    /// reading continues.
    pub fn begin(&mut self, stream: &Stream, part: &Range<u64>) {
        let covers = self.wanted.start <= part.start && part.end <= self.wanted.end;
        if self.stream.as_ref() != Some(stream) || !covers {
            let wanted = if stream.recorded <= MAX_KEPT_BYTES {
                0..stream.recorded
            } else {
                part.clone()
            };
            *self = Self {
                stream: Some(stream.clone()),
                wanted,
                ..Self::default()
            };
        }
    }

    /// Returns the bytes that the next request asks for. Empty after the last byte.
    pub fn next(&self) -> Range<u64> {
        let recorded = self.stream.as_ref().map_or(0, |stream| stream.recorded);
        self.read..self.read.saturating_add(PIECE_BYTES).min(recorded)
    }

    /// Adds the bytes that [`Self::next`] named.
    pub fn add(&mut self, piece: &[u8]) {
        let end = self.read + piece.len() as u64;
        let place =
            |byte: u64| usize::try_from(byte.clamp(self.read, end) - self.read).unwrap_or_default();
        self.kept
            .extend_from_slice(&piece[place(self.wanted.start)..place(self.wanted.end)]);
        self.digest.update(piece);
        self.read = end;
    }

    /// Returns the bytes of `part` after all bytes of the stream were read. Returns `None`, and forgets the bytes, if
    /// their digest differs from the digest in the receipt.
    pub fn checked(&mut self, part: &Range<u64>) -> Option<Vec<u8>> {
        if !self.is_checked {
            let digest = ContentDigest::from_bytes(std::mem::take(&mut self.digest).finish());
            self.is_checked = self
                .stream
                .as_ref()
                .is_some_and(|stream| stream.sha256 == digest);
        }
        if !self.is_checked {
            *self = Self::default();
            return None;
        }
        let place = |byte: u64| {
            usize::try_from(byte.saturating_sub(self.wanted.start)).unwrap_or(usize::MAX)
        };
        self.kept
            .get(place(part.start)..place(part.end))
            .map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(bytes: &[u8]) -> Stream {
        let mut digest = Sha256Stream::default();
        digest.update(bytes);
        let size = bytes.len() as u64;
        Stream {
            bytes: size,
            recorded: size,
            sha256: ContentDigest::from_bytes(digest.finish()),
            ..Stream::empty()
        }
    }

    /// Reads on, and returns the number of requests.
    fn read_on(reading: &mut OutputReading, bytes: &[u8], most: usize) -> usize {
        for count in 0..most {
            let next = reading.next();
            if next.is_empty() {
                return count;
            }
            let piece = usize::try_from(next.start).unwrap()..usize::try_from(next.end).unwrap();
            reading.add(&bytes[piece]);
        }
        most
    }

    #[test]
    fn each_byte_of_an_output_is_read_once_and_reading_goes_on_where_it_ended() {
        let bytes: Vec<u8> = (0..5_u32 << 18).flat_map(u32::to_le_bytes).collect();
        let (text, pieces) = (stream(&bytes), bytes.len().div_ceil(1 << 20));
        let mut reading = OutputReading::default();
        reading.begin(&text, &(0..10));
        assert_eq!(read_on(&mut reading, &bytes, 2), 2);
        reading.begin(&text, &(100..200));
        assert_eq!(read_on(&mut reading, &bytes, 99), pieces - 2);
        for part in [0..10, 100..200, 3_000_000..3_000_100] {
            reading.begin(&text, &part);
            assert!(reading.next().is_empty());
            let place = usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap();
            assert_eq!(reading.checked(&part).as_deref(), Some(&bytes[place]));
        }
        let other = stream(b"other");
        reading.begin(&other, &(0..5));
        assert_eq!(reading.next(), 0..5);
        reading.add(b"OTHER");
        assert_eq!(reading.checked(&(0..5)), None);
        reading.begin(&other, &(0..5));
        reading.add(b"other");
        assert_eq!(reading.checked(&(1..3)).as_deref(), Some(&b"th"[..]));
    }

    #[test]
    fn of_a_very_large_output_only_the_asked_part_is_kept() {
        let bytes = vec![b'x'; (33 << 20) + 7];
        let text = stream(&bytes);
        let last = text.recorded - 7..text.recorded;
        let mut reading = OutputReading::default();
        reading.begin(&text, &last);
        read_on(&mut reading, &bytes, 20);
        reading.begin(&text, &last);
        assert_eq!(read_on(&mut reading, &bytes, 99), 14);
        assert_eq!(reading.checked(&last).as_deref(), Some(&b"xxxxxxx"[..]));
        assert_eq!(reading.kept.len(), 7);
        reading.begin(&text, &(0..9));
        assert_eq!(reading.next().start, 0);
    }
}
