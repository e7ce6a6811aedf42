//! One entry of a log, taken apart: its leaf's hash, its envelope, the kind that it claims. Nothing of it is verified.
//!
//! What an entry needs of no other is done here, so that a second core can do it ahead of whoever decides ([`each`]).

use std::sync::mpsc;
use std::thread;

use crate::crypto::canonical;
use crate::crypto::merkle::{self, Hash};
use crate::record::document::PREDICATE_BASE;
use crate::record::envelope::{Base64, EnvelopeSignature};

/// An entry as it was read.
#[derive(Debug)]
pub struct Entry {
    data: Vec<u8>,
    hash: Hash,
    parts: Result<Parts, String>,
}

/// What its envelope holds.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) signatures: Vec<EnvelopeSignature>,
    pub(super) payload: Vec<u8>,
}

impl Entry {
    /// Hashes an entry and takes it apart, as far as it can be.
    #[must_use]
    pub fn of(data: Vec<u8>) -> Self {
        Self { hash: merkle::leaf_hash(&data), parts: Parts::read(&data), data }
    }

    /// Its bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The hash of its leaf (RFC 6962, 2.1).
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Signatures and payload; or why it is no entry of ours.
    pub(super) const fn parts(&self) -> Result<&Parts, &String> {
        self.parts.as_ref()
    }

    /// Which kind of statement its payload claims to be. Only a guess at which reader to ask: that one checks the type
    /// itself.
    pub(super) fn kind(&self) -> Option<&str> {
        const KEY: &[u8] = b"\"predicateType\":\"";
        let payload = &self.parts.as_ref().ok()?.payload;
        // The last field but one of a canonical statement: what follows it are the subjects.
        let at = payload.windows(KEY.len()).rposition(|window| window == KEY)?;
        let rest = &payload[at + KEY.len()..];
        let kind = std::str::from_utf8(&rest[..rest.iter().position(|&c| c == b'"')?]).ok()?;
        kind.strip_prefix(PREDICATE_BASE)?.strip_suffix("/v1")
    }
}

/// Gives each entry of `batches` to `take`, in order; the next batch is taken apart on a second thread meanwhile.
///
/// # Errors
/// The first one, of a batch or of `take`: what stands before it was taken.
pub fn each<E>(
    batches: impl IntoIterator<Item = Result<Vec<Vec<u8>>, E>>,
    mut take: impl FnMut(&Entry) -> Result<(), E>,
) -> Result<(), E> {
    let apart = |batch: Vec<Vec<u8>>| batch.into_iter().map(Entry::of).collect::<Vec<_>>();
    let mut batches = batches.into_iter();
    thread::scope(|scope| {
        let (to, raw) = mpsc::sync_channel(1);
        let (out, from) = mpsc::sync_channel(1);
        let work = move || raw.into_iter().try_for_each(|batch| out.send(apart(batch)));
        if thread::Builder::new().name("entries".to_owned()).spawn_scoped(scope, work).is_err() {
            // Where no thread is to be had it takes longer.
            return batches.try_for_each(|batch| apart(batch?).iter().try_for_each(&mut take));
        }
        let (mut ahead, mut failed) = (0, None);
        loop {
            while ahead < 2 && failed.is_none() {
                match batches.next() {
                    // The thread ends first only by a panic, which goes on where the scope ends.
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
            let Ok(entries) = from.recv() else { return Ok(()) };
            ahead -= 1;
            entries.iter().try_for_each(&mut take)?;
        }
    })
}

impl Parts {
    /// The envelope in an entry, whose bytes must be its canonical form, and its payload. The form is so narrow that it is
    /// read by its own text: what stands between is base64, which has no other spelling either.
    fn read(data: &[u8]) -> Result<Self, String> {
        let other = || "not the canonical form of an envelope of ours".to_owned();
        let rest = data.strip_prefix(BEFORE_PAYLOAD.as_bytes()).ok_or_else(other)?;
        // From the end, which is near: the payload is long, and is held to its alphabet when it is decoded.
        let after = AFTER_PAYLOAD.as_bytes();
        let end = rest.windows(after.len()).rposition(|window| window == after).ok_or_else(other)?;
        let (payload, rest) = rest.split_at(end);
        let signatures = rest
            .strip_prefix(AFTER_PAYLOAD.as_bytes())
            .and_then(|rest| rest.strip_suffix(b"}"))
            .and_then(canonical::read_exact::<Vec<EnvelopeSignature>>)
            .ok_or_else(other)?;
        let payload = std::str::from_utf8(payload).map_err(|_| other())?;
        let payload = Base64::Strict.decode("/payload", payload).map_err(|error| error.to_string())?;
        Ok(Self { signatures, payload })
    }
}

const BEFORE_PAYLOAD: &str = r#"{"payload":""#;
const AFTER_PAYLOAD: &str = r#"","payloadType":"application/vnd.in-toto+json","signatures":"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_in_order_and_entries_before_an_error_are_accepted() {
        let batches = |failing: bool| {
            (0..40_u8).map(move |batch| {
                if failing && batch == 7 { Err("cut") } else { Ok((0..batch % 5).map(|at| vec![batch, at]).collect()) }
            })
        };
        let expected = |end: u8| (0..end).flat_map(|batch| (0..batch % 5).map(move |at| vec![batch, at]));
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

        let refused = each(batches(false), |entry| if entry.data()[0] == 3 { Err("no") } else { Ok(()) });
        assert_eq!(refused, Err("no"));
        assert_eq!(each(std::iter::empty::<Result<_, ()>>(), |_| Ok(())), Ok(()));
    }
}
