//! Signed notes and tlog-proofs, which are text formats of C2SP.
//!
//! A note is a text, a blank line, and signature lines `— <name> <base64(key id ‖ signature)>` (c2sp.org/signed-note).
//! A checkpoint of the log is a note. A tlog-proof has the index of an entry, its inclusion path and a checkpoint
//! (c2sp.org/tlog-proof). The key id in a note has 4 bytes and is not the `KeyId` of OpenSSH.

use std::fmt;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;

use crate::{Hash, PublicKey, Sha256Stream, hex};

/// Maximum size of a note in bytes. A checkpoint is much smaller.
pub const MAX_NOTE_BYTES: usize = 64 << 10;

/// Maximum number of signature lines in a note, because a note from a stranger must not cause much work in a verifier.
pub const MAX_SIGNATURES: usize = 64;

/// The algorithm byte of Ed25519 in key ids and vkeys.
const ED25519: u8 = 1;

/// Returns the id of a note key. The id is the first 4 bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key).
pub fn key_hash(name: &str, key: &PublicKey) -> [u8; 4] {
    key_hash_of(ED25519, name, key)
}

/// Returns the id of a note key with this algorithm byte.
pub(crate) fn key_hash_of(algorithm: u8, name: &str, key: &PublicKey) -> [u8; 4] {
    let mut hash = Sha256Stream::default();
    hash.update(name.as_bytes());
    hash.update(&[b'\n', algorithm]);
    hash.update(key.as_bytes());
    let digest = hash.finish();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Returns the key as a vkey, the text form that other programs read: `<name>+<8 hex of its id>+<base64(0x01 ‖ key)>`.
pub fn vkey(name: &str, key: &PublicKey) -> String {
    vkey_of(ED25519, name, key)
}

pub(crate) fn vkey_of(algorithm: u8, name: &str, key: &PublicKey) -> String {
    let mut bytes = vec![algorithm];
    bytes.extend_from_slice(key.as_bytes());
    format!(
        "{name}+{}+{}",
        hex(&key_hash_of(algorithm, name, key)),
        STANDARD.encode(bytes)
    )
}

/// Reads the name and the key from a vkey.
///
/// # Errors
/// Returns an error if the text is not a vkey of a strong Ed25519 key, or if the id does not match the name and the
/// key.
pub(crate) fn parse_vkey_of(algorithm: u8, text: &str) -> Result<(String, PublicKey), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::Vkey);
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Vkey)?;
    let key = match bytes.split_first() {
        Some((found, key)) if *found == algorithm => key
            .try_into()
            .ok()
            .and_then(|key| PublicKey::from_bytes(key).ok()),
        _ => None,
    };
    let key = key.ok_or(NoteError::Vkey)?;
    if !is_name(name) || hex(&key_hash_of(algorithm, name, &key)) != id {
        return Err(NoteError::Vkey);
    }
    Ok((name.to_owned(), key))
}

/// A text with signature lines below the text. The signatures are not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    /// Key id (4 bytes), then the signature in the form of the key's algorithm.
    bytes: Vec<u8>,
}

impl NoteSignature {
    /// Returns the name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn new(name: &str, id: [u8; 4], signature: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            bytes: [&id[..], signature].concat(),
        }
    }

    /// Returns the bytes after the key id, or `None` if the line belongs to another key.
    pub(crate) fn of(&self, name: &str, id: [u8; 4]) -> Option<&[u8]> {
        if self.name == name {
            self.bytes.strip_prefix(&id)
        } else {
            None
        }
    }
}

/// Reads signature lines without the text of the note. Each signature line ends with a line feed.
///
/// # Errors
/// Returns an error if a line is malformed, if the input has no line, or if it has more than [`MAX_SIGNATURES`] lines.
pub fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
    if lines.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLarge);
    }
    let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
    let signatures = lines
        .split('\n')
        .map(parse_line)
        .collect::<Result<Vec<_>, _>>()?;
    if signatures.len() > MAX_SIGNATURES {
        return Err(NoteError::TooLarge);
    }
    Ok(signatures)
}

impl Note {
    /// Reads a note. The last blank line separates the text from the signature lines.
    ///
    /// # Errors
    /// Returns an error if the note is malformed or too large.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        check_text(text)?;
        Ok(Self {
            text: text.to_owned(),
            signatures: parse_signatures(lines)?,
        })
    }

    /// Returns the text, unverified. [`verify_note`] returns the verified text.
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// Returns the signature lines of the note, in order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Returns the note with one additional signature line.
    ///
    /// # Errors
    /// Returns an error if the note would have more than [`MAX_SIGNATURES`] lines.
    pub fn with(mut self, signature: NoteSignature) -> Result<Self, NoteError> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(NoteError::TooLarge);
        }
        self.signatures.push(signature);
        Ok(self)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            writeln!(
                f,
                "{LINE_START}{} {}",
                signature.name,
                STANDARD.encode(&signature.bytes)
            )?;
        }
        Ok(())
    }
}

/// Signs `text`, which must end with a line feed, under the name `name`. `key` is the public key that belongs to `sign`.
///
/// # Errors
/// Returns an error if the text or the name cannot be part of a note, or if `sign` fails.
pub fn sign_note<E>(
    text: &str,
    name: &str,
    key: &PublicKey,
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
) -> Result<Note, SignNoteError<E>> {
    check_text(text).map_err(SignNoteError::Note)?;
    if !is_name(name) {
        return Err(SignNoteError::Note(NoteError::Name));
    }
    let mut bytes = key_hash(name, key).to_vec();
    bytes.extend_from_slice(&sign(text.as_bytes()).map_err(SignNoteError::Signer)?);
    Ok(Note {
        text: text.to_owned(),
        signatures: vec![NoteSignature {
            name: name.to_owned(),
            bytes,
        }],
    })
}

/// Text that a known key signed. Only [`verify_note`] constructs this value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct SignedText<'a>(&'a str);

impl<'a> SignedText<'a> {
    /// Returns the text, including its last line feed.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

/// Verifies that `key`, under the name `name`, signed the note. At least one signature line with this name and key id
/// must exist, and all such lines must be valid. Other signature lines are ignored.
///
/// # Errors
/// Returns an error if the note has no signature line of this key, or if such a line is not valid.
pub fn verify_note<'a>(
    note: &'a Note,
    name: &str,
    key: &PublicKey,
) -> Result<SignedText<'a>, NoteError> {
    let id = key_hash(name, key);
    let mut found = false;
    for signature in note
        .signatures
        .iter()
        .filter(|signature| signature.name == name)
    {
        let Some(raw) = signature.bytes.strip_prefix(&id) else {
            continue;
        };
        let raw = raw.try_into().map_err(|_| NoteError::BadSignature)?;
        let _proof = key
            .verify(note.text.as_bytes(), raw)
            .map_err(|_| NoteError::BadSignature)?;
        found = true;
    }
    if found {
        Ok(SignedText(&note.text))
    } else {
        Err(NoteError::NotSignedBy(name.to_owned()))
    }
}

/// Reason why a text is not a note, a vkey or a tlog-proof, or why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The note has too many bytes ([`MAX_NOTE_BYTES`]) or signature lines ([`MAX_SIGNATURES`]).
    #[error(
        "the note is larger than {MAX_NOTE_BYTES} bytes or has over {MAX_SIGNATURES} signatures"
    )]
    TooLarge,
    /// The text is empty, does not end with a line feed, or contains control characters.
    #[error(
        "the text of the note is empty, does not end with a line feed, or contains control characters"
    )]
    Text,
    /// The name of a key is empty, too long, or contains a space or a plus.
    #[error("a note key name must have 1 to 255 bytes, without spaces and plus signs")]
    Name,
    /// The note has no blank line with signature lines after it.
    #[error("the note has no signature lines after a blank line")]
    NoSignatures,
    /// A signature line is malformed.
    #[error("a signature line of the note is not `— <name> <base64>`")]
    SignatureLine,
    /// A signature line of the known key is not valid.
    #[error("a signature of the known key over the note is not valid; the note was changed")]
    BadSignature,
    /// The note has no signature of the key with this name.
    #[error("the note is not signed by the known key of {0:?}")]
    NotSignedBy(String),
    /// The text is not a vkey of a strong Ed25519 key.
    #[error(
        "the verifier key must have the form `<name>+<8 hex digits>+<base64>` and contain an Ed25519 key"
    )]
    Vkey,
    /// The tlog-proof is malformed. The value names the expected part.
    #[error("the tlog-proof is malformed: expected {0}")]
    Proof(&'static str),
}

/// Reason why a note could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub enum SignNoteError<E> {
    /// The text or the name cannot be part of a note.
    Note(NoteError),
    /// The signer failed.
    Signer(E),
}

/// Proof that an entry is in the log of a checkpoint, in the format `c2sp.org/tlog-proof@v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The entry's index.
    pub index: u64,
    /// The inclusion path, lowest hash first.
    pub hashes: Vec<Hash>,
    /// Signed note of the checkpoint, not parsed yet.
    pub checkpoint: String,
}

impl TlogProof {
    /// Reads a proof. The checkpoint begins after the first blank line. Lines with `extra` data are refused.
    ///
    /// # Errors
    /// Returns an error that names the expected part of the proof.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge);
        }
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(NoteError::Proof("a blank line before the checkpoint"))?;
        if checkpoint.is_empty() {
            return Err(NoteError::Proof("a checkpoint after the blank line"));
        }
        let mut lines = head.split('\n');
        if lines.next() != Some(PROOF_HEADER) {
            return Err(NoteError::Proof("c2sp.org/tlog-proof@v1 in the first line"));
        }
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(|digits| {
                // The index must be written without a sign or a leading zero.
                digits
                    .parse::<u64>()
                    .ok()
                    .filter(|index| index.to_string() == digits)
            });
        let index = index.ok_or(NoteError::Proof(
            "`index <number>` in the second line, and no `extra` line",
        ))?;
        let hashes = lines
            .map(|line| {
                STANDARD
                    .decode(line)
                    .ok()
                    .and_then(|hash| Hash::try_from(hash).ok())
            })
            .collect::<Option<Vec<_>>>()
            .filter(|hashes| hashes.len() <= MAX_PATH)
            .ok_or(NoteError::Proof("at most 63 lines of a base64 hash each"))?;
        Ok(Self {
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF_HEADER}\nindex {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", Base64Display::new(hash, &STANDARD))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";
const LINE_START: &str = "— ";

/// Maximum number of hashes in an inclusion path, because a tlog-proof has tree sizes of at most 63 bits.
const MAX_PATH: usize = 63;

fn check_text(text: &str) -> Result<(), NoteError> {
    let control = |c: char| c.is_control() && c != '\n';
    if text.len() < 2 || !text.ends_with('\n') || text.chars().any(control) {
        Err(NoteError::Text)
    } else {
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn parse_line(line: &str) -> Result<NoteSignature, NoteError> {
    let (name, encoded) = line
        .strip_prefix(LINE_START)
        .and_then(|rest| rest.split_once(' '))
        .ok_or(NoteError::SignatureLine)?;
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|_| NoteError::SignatureLine)?;
    // Key id, and at least one byte of the signature.
    if !is_name(name) || bytes.len() < 5 {
        return Err(NoteError::SignatureLine);
    }
    Ok(NoteSignature {
        name: name.to_owned(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use proptest::prelude::*;
    use std::convert::Infallible;

    const GOLDEN: &str = include_str!("../../../../tests/conformance/golden/valid/log/checkpoint");
    const PROOF: &str =
        include_str!("../../../../tests/conformance/golden/valid/log/proof/receipt.tlog-proof");
    const ORIGIN: &str = "prod-eu/d363c67c13917a7b";

    fn boundary() -> SecretKey {
        SecretKey::from_seed([3; 32])
    }

    fn sign(text: &str, name: &str, seed: u8) -> Note {
        let key = SecretKey::from_seed([seed; 32]);
        sign_note(text, name, &key.public(), |message| {
            Ok::<_, Infallible>(key.sign(message))
        })
        .expect("a note")
    }

    #[test]
    fn unknown_signatures_are_ignored_but_an_invalid_signature_of_the_known_key_is_refused() {
        let key = boundary().public();
        let text = "origin\n1\nroot\n";
        let good = sign(text, ORIGIN, 3);
        let line_of = |note: &Note| {
            note.to_string()
                .rsplit_once("\n\n")
                .expect("lines")
                .1
                .to_owned()
        };
        let with =
            |lines: &[String]| Note::parse(&format!("{text}\n{}", lines.concat())).expect("note");
        let stranger = line_of(&sign(text, "witness.example", 4));
        let namesake = line_of(&sign(text, ORIGIN, 4));
        let bad = line_of(&sign("something else\n", ORIGIN, 3));
        let mut short_bytes = key_hash(ORIGIN, &key).to_vec();
        short_bytes.extend_from_slice(&[0; 63]);
        let short = format!("— {ORIGIN} {}\n", STANDARD.encode(short_bytes));
        assert_eq!(
            verify_note(
                &with(&[stranger.clone(), namesake.clone(), line_of(&good)]),
                ORIGIN,
                &key
            )
            .map(|t| t.as_str()),
            Ok(text)
        );
        assert_eq!(
            verify_note(&with(&[line_of(&good), bad]), ORIGIN, &key),
            Err(NoteError::BadSignature)
        );
        assert_eq!(
            verify_note(&with(&[line_of(&good), short]), ORIGIN, &key),
            Err(NoteError::BadSignature)
        );
        assert_eq!(
            verify_note(&with(&[stranger, namesake]), ORIGIN, &key),
            Err(NoteError::NotSignedBy(ORIGIN.into()))
        );
        assert!(
            verify_note(&good, "prod-us/e49d5ff1e1633eb0", &key).is_err(),
            "the name is part of the key"
        );
    }

    #[test]
    fn a_note_is_split_at_its_last_blank_line() {
        let text = "a\n\n— prod-eu AAAAAAAA\n\nb\n";
        let note = Note::parse(&sign(text, ORIGIN, 3).to_string()).expect("note");
        assert_eq!((note.unverified_text(), note.signatures().len()), (text, 1));
        assert!(verify_note(&note, ORIGIN, &boundary().public()).is_ok());
    }

    #[test]
    fn malformed_notes_are_refused() {
        let refused = |text: &str| Note::parse(text).expect_err(text);
        for bad in ["", "a\n", "a\n\n", "a\n\n\n", GOLDEN.trim_end()] {
            assert_eq!(refused(bad), NoteError::NoSignatures, "{bad:?}");
        }
        for bad in [
            "a\n\n- x AAAAAAA=\n",
            "a\n\n— x\n",
            "a\n\n— x AAAA\n",
            "a\n\n— x AAAAAAA\n",
            "a\n\n—  AAAAAAA=\n",
            "a\n\n— x+y AAAAAAA=\n",
            "a\n\n— x AAAAAAA=\nb\n",
            "a\n\n— x AAAAAAB=\n",
        ] {
            assert_eq!(refused(bad), NoteError::SignatureLine, "{bad:?}");
        }
        assert_eq!(refused("\n\n— x AAAAAAA=\n"), NoteError::Text);
        assert_eq!(refused("a\r\n\n— x AAAAAAA=\n"), NoteError::Text);
        assert_eq!(
            refused(&format!("a\n\n{}", "— x AAAAAAA=\n".repeat(65))),
            NoteError::TooLarge
        );
        assert_eq!(
            refused(&"a".repeat(MAX_NOTE_BYTES + 1)),
            NoteError::TooLarge
        );
        let key = boundary();
        let attempt = |text: &str, name: &str| {
            sign_note(text, name, &key.public(), |m| {
                Ok::<_, Infallible>(key.sign(m))
            })
        };
        assert_eq!(
            attempt("no end", "n"),
            Err(SignNoteError::Note(NoteError::Text))
        );
        assert_eq!(
            attempt("a\n", "n n"),
            Err(SignNoteError::Note(NoteError::Name))
        );
    }

    #[test]
    fn a_proof_has_only_one_accepted_form() {
        let refused = |text: &str| {
            assert!(
                matches!(TlogProof::parse(text), Err(NoteError::Proof(_))),
                "{text}"
            )
        };
        refused("");
        refused(&PROOF.replacen("@v1", "@v2", 1));
        refused(&PROOF.replacen("index 3", "extra AAAA\nindex 3", 1));
        refused(&PROOF.replacen("index 3", "index 3\nextra AAAA", 1));
        refused(&PROOF.replacen("index 3", "index 03", 1));
        refused(&PROOF.replacen("index 3", "index +3", 1));
        refused(&PROOF.replacen("index 3", "index", 1));
        let line = PROOF.lines().nth(2).expect("hash");
        // The last two bits of the last character are not part of the hash.
        let mut other = line.as_bytes().to_vec();
        other[42] += 1;
        refused(&PROOF.replacen(line, std::str::from_utf8(&other).expect("ASCII"), 1));
        refused(&PROOF.replacen(line, &format!("{line} "), 1));
        refused(&PROOF.replacen("\n\n", "\n", 1).replacen("\n\n", "\n", 1));
        refused(PROOF.split_inclusive("\n\n").next().expect("head"));
        refused(&PROOF.replacen(line, &[line; 64].join("\n"), 1));
    }

    proptest! {
        #[test]
        fn a_golden_note_with_a_changed_character_is_refused(at in 0..GOLDEN.len(), bit in 0..7_u8) {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            if let Some(note) = std::str::from_utf8(&bytes).ok().and_then(|text| Note::parse(text).ok()) {
                prop_assert!(verify_note(&note, ORIGIN, &boundary().public()).is_err());
            }
        }
    }
}
