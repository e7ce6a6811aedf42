//! The order in which the pieces of a run's output arrived, with stream, length and time of each piece.
//!
//! The recording of a run in progress and the store use the same bytes, so a reader continues at the same position
//! after the end of the run. The bytes begin with four zeros. Each piece follows as two variable-length numbers
//! (LEB128): the length with the stream in the lowest bit, and the milliseconds since the piece before. Version 0.1
//! stored each piece as one little-endian word of four bytes with length and stream, which is never zero.

use documents::StreamName;

/// The first bytes of an order with times.
const MARK: [u8; 4] = [0; 4];

/// The pieces of an output in the order of their arrival.
#[derive(Debug, Default)]
pub struct OutputOrder {
    bytes: Vec<u8>,
    pieces: usize,
    /// Time of the last piece.
    elapsed_ms: u64,
}

/// Position between two pieces of an order.
#[derive(Debug, Clone, Copy, Default)]
pub struct OrderPosition {
    byte: usize,
    elapsed_ms: u64,
}

/// A piece of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderedPiece {
    /// The stream to which the piece belongs.
    pub stream: StreamName,
    /// Length in bytes.
    pub length: u32,
    /// Time from the start of the recording to the first byte of the piece, in milliseconds. Version 0.1 stored no
    /// times.
    pub elapsed_ms: Option<u64>,
}

impl OutputOrder {
    /// Returns the number of pieces.
    pub const fn pieces(&self) -> usize {
        self.pieces
    }

    /// Adds a piece. The time never decreases.
    pub fn push(&mut self, stream: StreamName, length: u32, elapsed_ms: u64) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&MARK);
        }
        let since = elapsed_ms.saturating_sub(self.elapsed_ms);
        put(
            &mut self.bytes,
            u64::from(length) << 1 | u64::from(stream == StreamName::Stderr),
        );
        put(&mut self.bytes, since);
        self.elapsed_ms += since;
        self.pieces += 1;
    }

    /// Returns the bytes for the store. Without pieces, there are no bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl OrderPosition {
    /// Returns the piece after this position and moves the position behind the piece. Returns `None` at the end, and
    /// if the bytes are not an order.
    pub fn next(&mut self, order: &[u8]) -> Option<OrderedPiece> {
        if !order.starts_with(&MARK) {
            let word: [u8; 4] = order
                .get(self.byte..self.byte.checked_add(4)?)?
                .try_into()
                .ok()?;
            self.byte += 4;
            return Some(piece(u64::from(u32::from_le_bytes(word)), None));
        }
        let mut at = self.byte.max(MARK.len());
        let word = take(order, &mut at)?;
        let elapsed_ms = self.elapsed_ms.checked_add(take(order, &mut at)?)?;
        (self.byte, self.elapsed_ms) = (at, elapsed_ms);
        Some(piece(word, Some(elapsed_ms)))
    }
}

fn piece(word: u64, elapsed_ms: Option<u64>) -> OrderedPiece {
    let stream = if word & 1 == 1 {
        StreamName::Stderr
    } else {
        StreamName::Stdout
    };
    OrderedPiece {
        stream,
        length: u32::try_from(word >> 1).unwrap_or(u32::MAX),
        elapsed_ms,
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80); // the low seven bits, and the mark that more follow
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(order: &[u8]) -> Vec<OrderedPiece> {
        let mut at = OrderPosition::default();
        std::iter::from_fn(|| at.next(order)).collect()
    }

    #[test]
    fn an_order_of_version_0_1_is_read_without_times() {
        // 3 bytes of stdout, 128 bytes of stderr, 128 bytes of stdout (whose first byte is zero).
        let words: Vec<u8> = [6_u32, 257, 256]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let pieces: Vec<_> = read(&words)
            .iter()
            .map(|piece| (piece.stream, piece.length, piece.elapsed_ms))
            .collect();
        let (out, err) = (StreamName::Stdout, StreamName::Stderr);
        assert_eq!(pieces, [(out, 3, None), (err, 128, None), (out, 128, None)]);
        assert_eq!(
            read(&words[8..]).len(),
            1,
            "an order may begin with a zero byte"
        );
    }

    proptest! {
        #[test]
        fn an_order_is_read_back(pieces in prop::collection::vec((any::<bool>(), 1_u32..1 << 31, 0_u64..1 << 40), 0..40)) {
            let (mut order, mut expected, mut now) = (OutputOrder::default(), Vec::new(), 0);
            for (error, length, since) in pieces {
                now += since;
                let stream = if error { StreamName::Stderr } else { StreamName::Stdout };
                order.push(stream, length, now);
                expected.push(OrderedPiece { stream, length, elapsed_ms: Some(now) });
            }
            prop_assert_eq!(order.pieces(), expected.len());
            prop_assert_eq!(read(order.bytes()), expected);
        }

        #[test]
        fn bytes_that_are_not_an_order_end_it(bytes in prop::collection::vec(any::<u8>(), 0..80), marked in any::<bool>()) {
            let bytes = if marked { [&MARK[..], &bytes].concat() } else { bytes };
            prop_assert!(read(&bytes).len() <= bytes.len());
        }
    }
}
