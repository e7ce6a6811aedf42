//! Cosignatures: signatures of witnesses over checkpoints, each with a time.
//!
//! A witness stores the last checkpoint of a log, verifies that each new checkpoint continues the stored one, and signs
//! the new checkpoint with the time (c2sp.org/tlog-cosignature, Ed25519). The cosignature is a signature line of the
//! checkpoint's note, with these bytes:
//! ```text
//! key id (4) ‖ seconds since 1970 (8, big-endian) ‖ Ed25519 signature (64)
//! ```
//! The signature covers `cosignature/v1\ntime <seconds>\n` and the text of the note. The algorithm byte 0x04 is part of
//! the key id, so a witness's key cannot be used as the key of a log. In contrast to the specification, the lines of
//! ML-DSA cosignatures (0x06) are treated as lines of unknown keys.

use std::fmt;

use crate::{
    Note, NoteSignature, PublicKey,
    crypto::note::{NoteError, key_hash_of, parse_vkey_of, vkey_of},
};

/// The algorithm byte of Ed25519 cosignatures, in key ids and vkeys.
const COSIGNATURE: u8 = 4;

/// The public key and the name of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: PublicKey,
}

/// A verified cosignature. Only a verification by [`WitnessKey`] constructs this value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub struct VerifiedCosignature(u64);

impl VerifiedCosignature {
    /// Time at which the witness signed the checkpoint, by the clock of the witness: seconds since 1970, at most 2^63 -
    /// 1.
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl WitnessKey {
    /// Reads a vkey of the form `<name>+<8 hex of the id>+<base64(0x04 ‖ key)>`.
    ///
    /// # Errors
    /// Returns an error if the text is malformed, the key is weak, or the id does not match the name and the key.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        parse_vkey_of(COSIGNATURE, vkey).map(|(name, key)| Self { name, key })
    }

    /// Returns the witness key with this name. Only signing checks whether the name can be part of a note.
    pub fn new(name: &str, key: PublicKey) -> Self {
        Self {
            name: name.to_owned(),
            key,
        }
    }

    /// Returns the vkey text.
    pub fn vkey(&self) -> String {
        vkey_of(COSIGNATURE, &self.name, &self.key)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the public key. Two witness names with the same public key count as one witness.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Verifies the cosignatures of this witness on a note. Every signature line of this key must be valid. Returns the
    /// cosignature with the earliest time, or `None` if the note has no line of this key. The caller must check that
    /// the note is a checkpoint of the right log.
    ///
    /// # Errors
    /// Returns an error if a signature line of this key is not valid.
    pub fn verify(&self, note: &Note) -> Result<Option<VerifiedCosignature>, NoteError> {
        let mut earliest = None;
        for line in self.lines(note.signatures()) {
            let cosigned = self.verify_line(note, line)?;
            earliest =
                Some(earliest.map_or(cosigned, |before: VerifiedCosignature| before.min(cosigned)));
        }
        Ok(earliest)
    }

    /// Returns the signature lines of this key, without verification.
    pub fn lines<'a>(
        &self,
        lines: &'a [NoteSignature],
    ) -> impl Iterator<Item = &'a NoteSignature> + use<'a> {
        let (name, id) = (
            self.name.clone(),
            key_hash_of(COSIGNATURE, &self.name, &self.key),
        );
        lines
            .iter()
            .filter(move |line| line.of(&name, id).is_some())
    }

    /// Verifies one signature line, which must belong to this key.
    ///
    /// # Errors
    /// Returns an error if the signature line is not valid.
    pub fn verify_line(
        &self,
        note: &Note,
        line: &NoteSignature,
    ) -> Result<VerifiedCosignature, NoteError> {
        let id = key_hash_of(COSIGNATURE, &self.name, &self.key);
        let bytes = line.of(&self.name, id).ok_or(NoteError::BadSignature)?;
        let (time, signature) = bytes
            .split_first_chunk::<8>()
            .ok_or(NoteError::BadSignature)?;
        let seconds = u64::from_be_bytes(*time);
        let signature = signature.try_into().map_err(|_| NoteError::BadSignature)?;
        // c2sp.org/tlog-cosignature about the time: "It MUST NOT exceed 2^63 - 1".
        if i64::try_from(seconds).is_err() {
            return Err(NoteError::BadSignature);
        }
        let message = message(seconds, note.unverified_text());
        let _proof = self
            .key
            .verify(message.as_bytes(), signature)
            .map_err(|_| NoteError::BadSignature)?;
        Ok(VerifiedCosignature(seconds))
    }

    /// Makes the signature line with which this witness cosigns `note` at this time. The function `sign` makes the raw
    /// Ed25519 signature.
    ///
    /// # Errors
    /// Returns the errors of `sign`.
    pub fn cosign<E>(
        &self,
        note: &Note,
        seconds: u64,
        sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
    ) -> Result<NoteSignature, E> {
        let signature = sign(message(seconds, note.unverified_text()).as_bytes())?;
        let id = key_hash_of(COSIGNATURE, &self.name, &self.key);
        Ok(NoteSignature::new(
            &self.name,
            id,
            &[&seconds.to_be_bytes()[..], &signature].concat(),
        ))
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.vkey())
    }
}

/// Returns the number of signature lines that do not belong to the log's own key. Each may be a cosignature, but none
/// is verified.
pub fn lines_of_others(note: &str) -> u64 {
    Note::parse(note).map_or(0, |note| {
        let origin = note.unverified_text().lines().next().unwrap_or_default();
        note.signatures()
            .iter()
            .filter(|line| line.name() != origin)
            .count() as u64
    })
}

/// Returns the signed message, for example: `cosignature/v1\ntime 1679315147\nexample.com/log\n20852163\nCsUYapGG…\n`
fn message(seconds: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::{SecretKey, parse_signatures, verify_note, vkey};
    use proptest::prelude::*;

    const GOLDEN: &str = include_str!("../../../../tests/conformance/golden/valid/log/checkpoint");
    const ORIGIN: &str = "prod-eu/d363c67c13917a7b";

    fn witness(name: &str, seed: u8) -> (WitnessKey, SecretKey) {
        let secret = SecretKey::from_seed([seed; 32]);
        (WitnessKey::new(name, secret.public()), secret)
    }

    fn cosigned(note: &Note, name: &str, seed: u8, at: u64) -> Note {
        let (key, secret) = witness(name, seed);
        let line = key
            .cosign(note, at, |message| {
                Ok::<_, Infallible>(secret.sign(message))
            })
            .expect("signed");
        note.clone().with(line).expect("room")
    }

    #[test]
    fn witness_keys_and_log_keys_are_not_interchangeable() {
        let (_, secret) = witness("w.example/1", 7);
        assert!(WitnessKey::parse(&vkey("w.example/1", &secret.public())).is_err());
        // A plain note signature of the same key is not a cosignature.
        let plain = Note::parse(GOLDEN).expect("note");
        assert!(
            verify_note(
                &cosigned(&plain, ORIGIN, 3, 5),
                ORIGIN,
                &SecretKey::from_seed([3; 32]).public()
            )
            .is_ok()
        );
        assert!(verify_note(&cosigned(&plain, "x", 7, 5), "x", &secret.public()).is_err());
    }

    #[test]
    fn an_answer_of_a_witness_contains_only_signature_lines() {
        let plain = Note::parse(GOLDEN).expect("note");
        let note = cosigned(&plain, "w.example/1", 7, 5);
        let line = note.to_string().lines().last().expect("line").to_owned();
        assert_eq!(
            parse_signatures(&format!("{line}\n")).expect("lines"),
            note.signatures()[1..]
        );
        for bad in [
            "",
            "\n",
            &line,
            &format!("\n{line}\n"),
            &format!("{line}\n\n"),
            "409\n",
            &format!("{line}\r\n"),
        ] {
            assert!(parse_signatures(bad).is_err(), "{bad:?}");
        }
        assert!(parse_signatures(&format!("{line}\n").repeat(65)).is_err());
    }

    proptest! {
        #[test]
        fn a_cosignature_with_a_changed_character_does_not_count(at in 0..130_usize, bit in 0..7_u8, seconds in any::<u32>()) {
            let plain = Note::parse(GOLDEN).expect("note");
            let text = cosigned(&plain, "w.example/1", 7, u64::from(seconds)).to_string();
            let line = text.trim_end().rfind('\n').expect("lines") + 1;
            let mut bytes = text.into_bytes();
            let at = line + at % (bytes.len() - line);
            bytes[at] ^= 1 << bit;
            let read = std::str::from_utf8(&bytes).ok().and_then(|text| Note::parse(text).ok());
            if let Some(note) = read {
                let counted = witness("w.example/1", 7).0.verify(&note);
                prop_assert!(!matches!(counted, Ok(Some(_))), "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}
