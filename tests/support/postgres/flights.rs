//! Recognises flights and COMMITs in the messages of PostgreSQL's protocol 3.

use std::collections::HashSet;
use std::time::Instant;

/// The progress of a connection.
#[derive(Default)]
pub struct Progress {
    /// True after the login.
    logged_in: bool,
    /// The client has sent bytes since the last delayed answer.
    pub asked: bool,
    /// An answer has been sent to the client, so the next bytes of the client are a new flight.
    answered: bool,
    /// The flight contains the message Flush, which requests answers before the end of the flight.
    flushes: bool,
    /// The flight contains a COMMIT.
    commits: bool,
    /// Names of the prepared statements that are a COMMIT.
    prepared: HashSet<Vec<u8>>,
    from_client: Messages,
    from_server: Messages,
    /// The connection ends after this flight, and the client gets no more bytes.
    pub cut: bool,
    /// The time of the last bytes of the client.
    pub last_bytes: Option<Instant>,
}

impl Progress {
    /// Returns whether these bytes begin a flight, and whether they contain the first COMMIT of their flight.
    pub fn client_sent(&mut self, bytes: &[u8]) -> (bool, bool) {
        self.last_bytes = Some(Instant::now());
        self.asked = true;
        if !self.logged_in {
            return (false, false);
        }
        let messages = self.from_client.read(bytes);
        // The message Terminate gets no answer.
        if let [(b'X', _)] = &*messages {
            return (false, false);
        }
        let begins = std::mem::take(&mut self.answered);
        if begins {
            (self.flushes, self.commits) = (false, false);
        }
        let already = self.commits;
        for (kind, body) in &messages {
            let mut texts = body.split(|byte| *byte == 0);
            let (first, second) = (
                texts.next().unwrap_or_default(),
                texts.next().unwrap_or_default(),
            );
            match kind {
                // Query: the statements. Parse: name and statement. Bind: portal and name.
                b'Q' => self.commits |= is_commit(first),
                b'P' if is_commit(second) => _ = self.prepared.insert(first.to_vec()),
                b'P' => _ = self.prepared.remove(first),
                b'B' => self.commits |= self.prepared.contains(second),
                b'H' => self.flushes = true,
                _ => {}
            }
        }
        (begins, self.commits && !already)
    }

    /// Notes an answer.
    pub fn server_sent(&mut self, bytes: &[u8]) {
        self.answered |= self.flushes;
        for (kind, _) in self.from_server.read(bytes) {
            self.logged_in |= kind == b'Z';
            // ReadyForQuery, and the two answers after which COPY goes on.
            self.answered |= matches!(kind, b'Z' | b'G' | b'W');
        }
    }
}

/// Returns whether statements contain a COMMIT.
fn is_commit(text: &[u8]) -> bool {
    // `READ COMMITTED` is no commit.
    let at = |at: usize| {
        text.get(at..at + 6)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"COMMIT"))
    };
    (0..text.len()).any(|i| at(i) && !text.get(i + 6).is_some_and(u8::is_ascii_alphabetic))
}

/// Finds the messages in bytes that arrive in pieces.
#[derive(Default)]
struct Messages {
    /// The beginning of a message: its type, its length and at most `SEEN` bytes of its body.
    head: Vec<u8>,
    /// Number of bytes until the next message.
    skipped: usize,
}

/// Number of bytes of a body that are looked at.
const SEEN: usize = 300;

impl Messages {
    /// Returns type and beginning of the body of each message whose beginning is complete now.
    fn read(&mut self, mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let skipped = self.skipped.min(bytes.len());
            self.skipped -= skipped;
            bytes = &bytes[skipped..];
            let Some((byte, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            self.head.push(*byte);
            let Some(length) = self.head.get(1..5) else {
                continue;
            };
            let whole = 1 + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if self.head.len() == whole.min(5 + SEEN) {
                found.push((self.head[0], self.head[5..].to_vec()));
                self.skipped = whole - self.head.len();
                self.head.clear();
            }
        }
        found
    }
}
