//! Signed notes and tlog-proofs, which are text formats of C2SP.
//!
//! A note is a text, a blank line, and signature lines `— <name> <base64(key id ‖ signature)>` (c2sp.org/signed-note).
//! A checkpoint of the log is a note. A tlog-proof has the index of an entry, its inclusion path and a checkpoint
//! (c2sp.org/tlog-proof). The key id in a note has 4 bytes and is not the `KeyId` of OpenSSH.
//!
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
//!
//! Tiles of the log (C2SP tlog-tiles, height 8): their paths, and the entries in a tile of entries.

use std::fmt;

use base64::{Engine as _, display::Base64Display, engine::general_purpose::STANDARD};

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
fn key_hash_of(algorithm: u8, name: &str, key: &PublicKey) -> [u8; 4] {
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

fn vkey_of(algorithm: u8, name: &str, key: &PublicKey) -> String {
    let mut bytes = vec![algorithm];
    bytes.extend_from_slice(key.as_bytes());
    format!(
        "{name}+{}+{}",
        hex(&key_hash_of(algorithm, name, key)),
        STANDARD.encode(bytes)
    )
}

/// A text with signature lines below the text. The signatures are not verified yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq)]
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
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
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
    let signature = sign(text.as_bytes()).map_err(SignNoteError::Signer)?;
    Ok(Note {
        text: text.to_owned(),
        signatures: vec![NoteSignature::new(name, key_hash(name, key), &signature)],
    })
}

/// Text that a known key signed. Only [`verify_note`] constructs this value.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct SignedText<'a>(&'a str);

impl<'a> SignedText<'a> {
    /// Returns the text, including its last line feed.
    pub fn as_str(&self) -> &'a str {
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
    for raw in note.signatures.iter().filter_map(|line| line.of(name, id)) {
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
#[derive(Debug, PartialEq, thiserror::Error)]
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
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub enum SignNoteError<E> {
    /// The text or the name cannot be part of a note.
    Note(NoteError),
    /// The signer failed.
    Signer(E),
}

/// Proof that an entry is in the log of a checkpoint, in the format `c2sp.org/tlog-proof@v1`.
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
            .and_then(plain_number);
        let index = index.ok_or(NoteError::Proof(
            "`index <number>` in the second line, and no `extra` line",
        ))?;
        let hashes = lines
            .map(decode_hash)
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
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
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

/// Reads a decimal number, which must be written without a sign or a leading zero.
pub(crate) fn plain_number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

pub(crate) fn decode_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

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

/// The algorithm byte of Ed25519 cosignatures, in key ids and vkeys.
const COSIGNATURE: u8 = 4;

/// The public key and the name of a witness.
#[derive(Clone)]
pub struct WitnessKey {
    name: String,
    key: PublicKey,
}

/// A verified cosignature. Only a verification by [`WitnessKey`] constructs this value.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub struct VerifiedCosignature(u64);

impl VerifiedCosignature {
    /// Time at which the witness signed the checkpoint, by the clock of the witness: seconds since 1970, at most 2^63 -
    /// 1.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl WitnessKey {
    /// Reads a vkey of the form `<name>+<8 hex of the id>+<base64(0x04 ‖ key)>`.
    ///
    /// # Errors
    /// Returns an error if the text is malformed, the key is weak, or the id does not match the name and the key.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NoteError::Vkey);
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Vkey)?;
        let key = bytes
            .strip_prefix(&[COSIGNATURE])
            .and_then(|key| key.try_into().ok())
            .and_then(|key| PublicKey::from_bytes(key).ok());
        let witness = Self::new(name, key.ok_or(NoteError::Vkey)?);
        if is_name(name) && hex(&witness.id()) == id {
            Ok(witness)
        } else {
            Err(NoteError::Vkey)
        }
    }

    /// Returns the witness key with this name. Only signing checks whether the name can be part of a note.
    pub fn new(name: &str, key: PublicKey) -> Self {
        Self {
            name: name.to_owned(),
            key,
        }
    }

    fn id(&self) -> [u8; 4] {
        key_hash_of(COSIGNATURE, &self.name, &self.key)
    }

    /// Returns the vkey text.
    pub fn vkey(&self) -> String {
        vkey_of(COSIGNATURE, &self.name, &self.key)
    }

    /// Returns the name of the witness.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the public key. Two witness names with the same public key count as one witness.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Verifies the cosignatures of this witness on a note. Every signature line of this key must be valid. Returns the
    /// cosignature with the earliest time, or `None` if the note has no line of this key. The caller must check that
    /// the note is a checkpoint of the right log.
    ///
    /// # Errors
    /// Returns an error if a signature line of this key is not valid.
    pub fn verify(&self, note: &Note) -> Result<Option<VerifiedCosignature>, NoteError> {
        let cosigned: Vec<_> = self
            .lines(note.signatures())
            .map(|line| self.verify_line(note, line))
            .collect::<Result<_, _>>()?;
        Ok(cosigned.into_iter().min())
    }

    /// Returns the signature lines of this key, without verification.
    pub fn lines<'a>(
        &self,
        lines: &'a [NoteSignature],
    ) -> impl Iterator<Item = &'a NoteSignature> + use<'a> {
        let (name, id) = (self.name.clone(), self.id());
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
        let bytes = line
            .of(&self.name, self.id())
            .ok_or(NoteError::BadSignature)?;
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
        Ok(NoteSignature::new(
            &self.name,
            self.id(),
            &[&seconds.to_be_bytes()[..], &signature].concat(),
        ))
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
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

/// Number of hashes or entries in a full tile.
pub const TILE_WIDTH: u16 = 256;

/// Number of tree levels in one tile.
pub const TILE_HEIGHT: u8 = 8;

/// Maximum size of an entry, in bytes. A tile stores the length of each entry in 16 bits.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// The content of a tile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TileKind {
    /// Hashes of the tree level 8 × `level`. The value is the level of the tile (0 to 63).
    Hashes(u8),
    /// Log entries, each with its length before it.
    Entries,
}

/// One tile of C2SP tlog-tiles, with the path `tile/<level>/<index>[.p/<width>]` or `tile/entries/<index>[.p/<width>]`.
/// The index is written in groups of three digits, with an `x` before each group except the last:
/// `tile/0/x001/x234/067`.
#[derive(Debug, PartialEq)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

impl TilePath {
    /// Returns the tile with this number of hashes or entries (1 to 256). Returns `None` for other widths or for levels
    /// over 63.
    pub fn new(kind: TileKind, index: u64, width: u16) -> Option<Self> {
        let level_ok = !matches!(kind, TileKind::Hashes(64..));
        (level_ok && (1..=TILE_WIDTH).contains(&width)).then_some(Self { kind, index, width })
    }

    /// Parses a path in its canonical form. Returns `None` for any other form.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, place) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = if kind == "entries" {
            TileKind::Entries
        } else {
            TileKind::Hashes(kind.parse().ok()?)
        };
        let (place, width) = match place.split_once(".p/") {
            Some((place, width)) => (
                place,
                width
                    .parse()
                    .ok()
                    .filter(|&width: &u16| width < TILE_WIDTH)?,
            ),
            None => (place, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for group in place.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|c| c.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        // Write the path again and compare, to reject leading zeros, missing or extra `x` groups, and signs.
        Self::new(kind, index, width).filter(|tile| tile.to_string() == path)
    }

    /// Returns the content.
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Returns the index of the tile in its level.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Returns the number of hashes or entries in the tile. A tile of 256 is full and never changes.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Returns the tree level of the tile's hashes, and the range of their indexes in this level. For a tile of
    /// entries, the result is level 0 and the range of leaf indexes. Returns `None` if the range lies beyond every
    /// possible tree.
    pub fn subtrees(&self) -> Option<(u8, std::ops::Range<u64>)> {
        let level = match self.kind {
            TileKind::Entries => 0,
            TileKind::Hashes(tile_level) => tile_level
                .checked_mul(TILE_HEIGHT)
                .filter(|&level| level < 64)?,
        };
        let start = self.index.checked_mul(u64::from(TILE_WIDTH))?;
        let end = start.checked_add(u64::from(self.width))?;
        // The last subtree must end within the first 2^64 leaves.
        ((end - 1) <= u64::MAX >> level).then_some((level, start..end))
    }

    /// Returns true if a tree of `size` leaves contains the whole tile.
    pub fn is_within(&self, size: u64) -> bool {
        self.subtrees()
            .is_some_and(|(level, range)| range.end <= size >> level)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (at, group) in groups.iter().enumerate().rev() {
            if at > 0 {
                write!(f, "x{group:03}/")?;
            } else {
                write!(f, "{group:03}")?;
            }
        }
        if self.width < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The error for an entry that is longer than [`MAX_ENTRY_BYTES`].
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("a log entry has {bytes} bytes, at most {MAX_ENTRY_BYTES} are allowed")]
pub struct EntryTooLarge {
    /// Length of the entry in bytes.
    pub bytes: usize,
}

/// Appends an entry to a tile of entries: first its length (16 bits, big-endian), then its bytes.
///
/// # Errors
/// Returns an error if the entry is too long. The tile is then unchanged.
pub fn push_entry(tile: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLarge> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLarge { bytes: entry.len() })?;
    tile.extend_from_slice(&length.to_be_bytes());
    tile.extend_from_slice(entry);
    Ok(())
}

/// Returns the entries of a tile of entries. Returns `None` if the tile ends within an entry or has more than
/// [`TILE_WIDTH`] entries.
pub fn split_entries(mut tile: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !tile.is_empty() {
        if entries.len() == usize::from(TILE_WIDTH) {
            return None;
        }
        let (length, rest) = tile.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        tile = rest;
    }
    Some(entries)
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
    const ORIGIN: &str = "prod-eu/99ea8cfc9ae177e1";

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
        refused(&PROOF.replacen("index 4", "extra AAAA\nindex 4", 1));
        refused(&PROOF.replacen("index 4", "index 4\nextra AAAA", 1));
        refused(&PROOF.replacen("index 4", "index 04", 1));
        refused(&PROOF.replacen("index 4", "index +4", 1));
        refused(&PROOF.replacen("index 4", "index", 1));
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

#[cfg(test)]
mod cosignature_tests {
    use std::convert::Infallible;

    use super::*;
    use crate::{SecretKey, parse_signatures, verify_note, vkey};
    use proptest::prelude::*;

    const GOLDEN: &str = include_str!("../../../../tests/conformance/golden/valid/log/checkpoint");
    const ORIGIN: &str = "prod-eu/99ea8cfc9ae177e1";

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

#[cfg(test)]
mod tlog_tiles_tests {
    use super::*;

    #[test]
    fn a_tile_path_has_only_one_accepted_form() {
        for (path, kind, index, width) in [
            ("tile/0/000.p/5", TileKind::Hashes(0), 0, 5),
            ("tile/entries/000", TileKind::Entries, 0, 256),
            ("tile/2/x001/x234/067", TileKind::Hashes(2), 1_234_067, 256),
            ("tile/entries/x001/000.p/255", TileKind::Entries, 1000, 255),
            (
                "tile/63/x018/x446/x744/x073/x709/x551/615",
                TileKind::Hashes(63),
                u64::MAX,
                256,
            ),
        ] {
            let tile = TilePath::new(kind, index, width).expect(path);
            assert_eq!(
                (TilePath::parse(path), tile.to_string()),
                (Some(tile), path.to_owned())
            );
        }
        let bad = "tile/ tile/0 tile/0/ tile/0/0 tile/0/0000 tile/00/000 tile/+0/000 tile/64/000 \
                   tile/256/000 tile/0/x000/000 tile/0/001/000 tile/0/x001 tile/0/x001/x000 tile/0/000.p/0 \
                   tile/0/000.p/256 tile/0/000.p/05 tile/0/000.p/+5 tile/0/000.p/ tile/0/000.p/5/ \
                   /tile/0/000 tile/0/000/ tile/entry/000 tile/0/x018/x446/x744/x073/x709/x551/616 \
                   tile/0/../000 tile/0/000.p/5.p/5 tile/0/00a tile/0//000";
        for bad in bad.split(' ').chain([""]) {
            assert_eq!(TilePath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_tile_returns_the_subtrees_that_it_contains() {
        let tile = |path: &str| TilePath::parse(path).expect(path);
        assert_eq!(tile("tile/1/002.p/3").subtrees(), Some((8, 512..515)));
        assert_eq!(tile("tile/8/000").subtrees(), None);
        assert_eq!(
            tile("tile/63/x018/x446/x744/x073/x709/x551/615").subtrees(),
            None
        );
        assert!(tile("tile/0/000.p/5").is_within(5));
        assert!(!tile("tile/0/000.p/6").is_within(5));
        assert!(tile("tile/1/000.p/1").is_within(256));
        assert!(!tile("tile/1/000.p/1").is_within(255));
    }

    #[test]
    fn an_entry_has_at_most_65535_bytes() {
        let mut tile = Vec::new();
        assert_eq!(push_entry(&mut tile, &[1; 65_535]), Ok(()));
        assert_eq!(
            push_entry(&mut tile, &[1; 65_536]),
            Err(EntryTooLarge { bytes: 65_536 })
        );
        assert_eq!(split_entries(&tile).map(|entries| entries.len()), Some(1));
        assert_eq!(split_entries(&tile[..65_536]), None);
        assert_eq!(split_entries(&[0]), None);
    }

    #[test]
    fn a_tile_has_at_most_256_entries() {
        assert_eq!(
            split_entries(&[0; 2 * 256]).map(|entries| entries.len()),
            Some(256)
        );
        assert_eq!(split_entries(&[0; 2 * 257]), None);
        assert_eq!(split_entries(&[0; 16 << 20]), None);
    }
}
