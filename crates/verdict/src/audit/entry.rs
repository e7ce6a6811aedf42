//! Reads one entry of a log without verification: leaf hash, envelope, and the kind that the entry claims.
//!
//! The reader needs no other entry, so a second thread can parse entries before the audit needs them ([`each`]).

use std::{sync::mpsc, thread};

use documents::{
    Base64, EnvelopeSignature, Hash, Malformed, PREDICATE_BASE, Predicate, Signed, canonical,
    merkle,
};

/// Entry of a log, parsed but not verified.
pub struct LogEntry {
    data: Vec<u8>,
    hash: Hash,
    parts: Result<EntryParts, String>,
}

pub(crate) struct EntryParts {
    pub(super) signatures: Vec<EnvelopeSignature>,
    pub(super) payload: Vec<u8>,
}

impl LogEntry {
    /// Hashes an entry and parses its envelope.
    pub fn of(data: Vec<u8>) -> Self {
        Self {
            hash: merkle::leaf_hash(&data),
            parts: EntryParts::read(&data),
            data,
        }
    }

    /// Returns the bytes that were hashed.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Returns the leaf hash (RFC 6962, section 2.1).
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Returns the signatures and the payload, or the reason why the entry is not a valid envelope.
    pub(super) fn parts(&self) -> Result<&EntryParts, &String> {
        self.parts.as_ref()
    }

    /// Returns the kind of statement that the payload claims to be. The claim only selects a parser, and the parser
    /// then checks the type of the statement.
    pub(super) fn kind(&self) -> Option<&str> {
        const KEY: &[u8] = b"\"predicateType\":\"";
        let payload = &self.parts.as_ref().ok()?.payload;
        // A canonical statement ends with `predicateType` and the subjects, so search from the end.
        let at = payload
            .windows(KEY.len())
            .rposition(|window| window == KEY)?;
        let rest = &payload[at + KEY.len()..];
        let kind = std::str::from_utf8(&rest[..rest.iter().position(|&c| c == b'"')?]).ok()?;
        kind.strip_prefix(PREDICATE_BASE)?.strip_suffix("/v1")
    }
}

/// Passes each entry of `batches` to `take`, in order. A second thread parses the next batch at the same time.
///
/// # Errors
/// Returns the first error of a batch or of `take`. All entries before the error were already passed to `take`.
pub fn each<E>(
    batches: impl IntoIterator<Item = Result<Vec<Vec<u8>>, E>>,
    mut take: impl FnMut(&LogEntry) -> Result<(), E>,
) -> Result<(), E> {
    let apart = |batch: Vec<Vec<u8>>| batch.into_iter().map(LogEntry::of).collect::<Vec<_>>();
    let mut batches = batches.into_iter();
    thread::scope(|scope| {
        let (to, raw) = mpsc::sync_channel(1);
        let (out, from) = mpsc::sync_channel(1);
        let work = move || raw.into_iter().try_for_each(|batch| out.send(apart(batch)));
        if thread::Builder::new()
            .name("entries".to_owned())
            .spawn_scoped(scope, work)
            .is_err()
        {
            // If the second thread can't be started, this thread parses all entries, which takes longer.
            return batches.try_for_each(|batch| apart(batch?).iter().try_for_each(&mut take));
        }
        let (mut ahead, mut failed) = (0, None);
        loop {
            while ahead < 2 && failed.is_none() {
                match batches.next() {
                    // The second thread ends early only if it panics. The scope then propagates the panic.
                    Some(Ok(batch)) => match to.send(batch) {
                        Ok(()) => ahead += 1,
                        Err(_) => return Ok(()),
                    },
                    Some(Err(error)) => failed = Some(error),
                    None => break,
                }
            }
            if ahead == 0 {
                return failed.map_or(Ok(()), Err);
            }
            let Ok(entries) = from.recv() else {
                return Ok(());
            };
            ahead -= 1;
            entries.iter().try_for_each(&mut take)?;
        }
    })
}

impl EntryParts {
    pub(super) fn signed<P: Predicate>(&self) -> Result<Signed<P>, Malformed> {
        Signed::from_parts(&self.payload, &self.signatures, Base64::Strict)
    }

    /// Reads the envelope of an entry and decodes the payload. The entry must be the canonical form of an envelope of
    /// this program. In canonical JSON a field has only one spelling, so a plain text search finds the field. In strict
    /// base64 a payload has only one encoding.
    fn read(data: &[u8]) -> Result<Self, String> {
        let other = || "the entry is not an envelope in canonical form".to_owned();
        let rest = data
            .strip_prefix(BEFORE_PAYLOAD.as_bytes())
            .ok_or_else(other)?;
        // Search from the end, because the payload is long. The base64 decoder later rejects invalid characters in the
        // payload.
        let after = AFTER_PAYLOAD.as_bytes();
        let end = rest
            .windows(after.len())
            .rposition(|window| window == after)
            .ok_or_else(other)?;
        let (payload, rest) = rest.split_at(end);
        let signatures = rest
            .strip_prefix(after)
            .and_then(|rest| rest.strip_suffix(b"}"))
            .and_then(canonical::read_exact::<Vec<EnvelopeSignature>>)
            .ok_or_else(other)?;
        let payload = std::str::from_utf8(payload).map_err(|_| other())?;
        let payload = Base64::Strict
            .decode("/payload", payload)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            signatures,
            payload,
        })
    }
}

const BEFORE_PAYLOAD: &str = r#"{"payload":""#;
const AFTER_PAYLOAD: &str = r#"","payloadType":"application/vnd.in-toto+json","signatures":"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_passed_in_order_and_all_entries_before_an_error_are_passed() {
        let batches = |failing: bool| {
            (0..40_u8).map(move |batch| {
                if failing && batch == 7 {
                    Err("cut")
                } else {
                    Ok((0..batch % 5).map(|at| vec![batch, at]).collect())
                }
            })
        };
        let expected =
            |end: u8| (0..end).flat_map(|batch| (0..batch % 5).map(move |at| vec![batch, at]));
        let mut taken = Vec::new();
        let all = each(batches(false), |entry| {
            assert_eq!(entry.hash(), merkle::leaf_hash(entry.data()));
            taken.push(entry.data().to_vec());
            Ok(())
        });
        assert_eq!((all, &taken), (Ok(()), &expected(40).collect()));

        taken.clear();
        let cut = each(batches(true), |entry| {
            taken.push(entry.data().to_vec());
            Ok(())
        });
        assert_eq!((cut, taken), (Err("cut"), expected(7).collect()));

        let refused = each(batches(false), |entry| {
            if entry.data()[0] == 3 {
                Err("no")
            } else {
                Ok(())
            }
        });
        assert_eq!(refused, Err("no"));
        assert_eq!(
            each(std::iter::empty::<Result<_, ()>>(), |_| Ok(())),
            Ok(())
        );
    }
}
