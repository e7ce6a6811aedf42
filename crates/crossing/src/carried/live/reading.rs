//! Readers of a recording.

use std::{io, time::Instant};

use tokio::sync::watch;

use crate::{Cursor, NextPiece, OrderPosition, Piece, Recording, SLICE};
use documents::{StreamName, locked};

impl Recording {
    /// Passes the recorded bytes of one stream to `to`, piece by piece.
    ///
    /// # Errors
    /// Returns an error if the spool can't be read.
    pub fn copy(
        &self,
        stream: StreamName,
        mut to: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let state = locked(&self.state);
        let (mut at, mut position) = (0, OrderPosition::default());
        while let Some(piece) = position.next(&state.order.bytes) {
            if piece.stream == stream {
                to(&state.source(at, piece.length)?.read()?)?;
            }
            at += u64::from(piece.length);
        }
        Ok(())
    }

    /// Returns the next piece after `cursor`, or states whether more output may follow.
    pub fn next(&self, cursor: &mut Cursor) -> NextPiece {
        let mut state = locked(&self.state);
        let mut position = cursor.position;
        let mut found = position.next(&state.order.bytes);
        if found.is_none() && state.open.is_some() {
            if state.sliced.is_some_and(|sliced| sliced.elapsed() < SLICE) {
                return NextPiece::Soon;
            }
            state.sliced = Some(Instant::now());
            state.complete();
            found = position.next(&state.order.bytes);
        }
        match found {
            Some(piece) => NextPiece::Piece(cursor.step(piece, position)),
            None if state.closed => NextPiece::End,
            None => NextPiece::NotYet,
        }
    }

    /// Returns the bytes of a piece.
    ///
    /// # Errors
    /// Returns an error if the spool can't be read.
    pub fn bytes(&self, piece: &Piece) -> io::Result<Vec<u8>> {
        // The file is read without the lock, so that a reader never delays the run.
        let source = locked(&self.state).source(piece.at, piece.length)?;
        source.read()
    }

    /// Returns a receiver that wakes at each change of the recording.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }
}
