//! Replaces the secrets of a run in the output of the run.
//!
//! A secret is found as it is, and in base64, hexadecimal digits, percent-encoding and string escapes. Each line of a
//! secret with several lines is found too. Masking protects against accidents: a step that changes a secret in another
//! way prints it without a mask.

mod needle_trie;
mod secret_forms;

use std::{collections::VecDeque, fmt, sync::Arc};

use zeroize::Zeroizing;

use crate::sessions::secret_masks::{
    needle_trie::{Needle, NeedleTrie, SymbolBits, TrieState},
    secret_forms::{FormEvent, FormReader, SecretForm, folded},
};
use documents::{Executions, ProgramFacts, SecretName, SecretValue};

/// Minimum size of a secret, and of a line of a secret that is masked on its own, in bytes. Shorter texts occur in
/// ordinary output by chance.
pub const MIN_MASKED: usize = 6;

/// The secrets of one run, in all forms in which output may contain them.
pub struct SecretMasks {
    names: Vec<SecretName>,
    /// The text that replaces each secret.
    labels: Vec<String>,
    bytes: NeedleTrie,
    hex: NeedleTrie,
    base64: NeedleTrie,
}

impl SecretMasks {
    /// Prepares the masks. Returns `None` if there is no secret.
    pub fn new<'a>(
        secrets: impl Iterator<Item = (&'a SecretName, &'a SecretValue)>,
    ) -> Option<Self> {
        let mut secrets = secrets.peekable();
        secrets.peek()?;
        let mut masks = Self {
            names: Vec::new(),
            labels: Vec::new(),
            bytes: NeedleTrie::new(),
            hex: NeedleTrie::new(),
            base64: NeedleTrie::new(),
        };
        for (name, value) in secrets {
            let secret = masks.names.len();
            masks.names.push(name.clone());
            for text in texts_of(value.expose()) {
                masks.insert(&text, secret);
            }
        }
        for trie in [&mut masks.bytes, &mut masks.hex, &mut masks.base64] {
            trie.finish();
        }
        // The label itself must not contain a secret, such as the word `secret`.
        masks.labels = masks
            .names
            .iter()
            .map(|name| {
                let label = format!("[secret {}]", name.as_str());
                if masks.find(label.as_bytes()).is_none() {
                    label
                } else {
                    "[***]".to_owned()
                }
            })
            .collect();
        Some(masks)
    }

    fn insert(&mut self, text: &[u8], secret: usize) {
        let whole = |length| Needle {
            length,
            secret,
            before: None,
            after: None,
        };
        self.bytes
            .insert(text.iter().copied().map(folded), whole(text.len()));
        self.hex.insert(
            text.iter().flat_map(|byte| [byte >> 4, byte & 15]),
            whole(2 * text.len()),
        );
        for bytes_before in 0..3 {
            let (digits, before, after) = base64_digits(text, bytes_before);
            self.base64.insert(
                digits.iter().copied(),
                Needle {
                    length: digits.len(),
                    secret,
                    before,
                    after,
                },
            );
        }
    }

    fn trie(&self, form: SecretForm) -> &NeedleTrie {
        match form {
            SecretForm::Plain | SecretForm::Percent | SecretForm::Escaped => &self.bytes,
            SecretForm::Hex => &self.hex,
            SecretForm::Base64 => &self.base64,
        }
    }

    /// Returns the name of a secret that `bytes` contains in one of the forms.
    pub fn find(&self, bytes: &[u8]) -> Option<&SecretName> {
        let mut hits = Vec::new();
        for form in SecretForm::ALL {
            let mut search = FormSearch::new(form);
            for (byte, at) in bytes.iter().zip(0..) {
                search.read(*byte, at, self, &mut hits);
            }
            search.finish(self, &mut hits);
            if let Some(hit) = hits.first() {
                return self.names.get(hit.secret);
            }
        }
        None
    }

    /// Removes each path that contains a secret. Its executions stay counted.
    pub fn without_paths(&self, mut programs: ProgramFacts) -> ProgramFacts {
        for executions in [&mut programs.refused, &mut programs.started]
            .into_iter()
            .flatten()
        {
            let Executions { paths, more } = executions;
            paths.retain(|one| {
                let is_clear = !self.contains(one.path.as_str().as_bytes());
                if !is_clear {
                    *more = more.saturating_add(one.count);
                }
                is_clear
            });
        }
        programs
    }

    /// Returns true if `bytes` contains a secret in one of the forms.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.find(bytes).is_some()
    }
}

/// Returns the texts of a secret that are masked: the whole secret with each kind of line end, and its lines.
fn texts_of(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut texts = vec![Zeroizing::new(value.to_vec())];
    let lines: Vec<&[u8]> = value.split(|byte| *byte == b'\n').collect();
    if lines.len() > 1 {
        let lines = lines
            .into_iter()
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        for end in [&b"\n"[..], b"\r\n"] {
            texts.push(lines.clone().collect::<Vec<_>>().join(end).into());
        }
        texts.extend(lines.map(|line| Zeroizing::new(line.trim_ascii().to_vec())));
    }
    let quoted: Vec<_> = texts.iter().flat_map(|text| quoted_forms(text)).collect();
    texts.extend(quoted);
    texts.retain(|text| text.len() >= MIN_MASKED);
    texts
}

/// Returns the forms of a text in quotes of a shell: inside single quotes, inside double quotes, and with a backslash
/// before each special character. A form that equals the text is left out.
fn quoted_forms(text: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let replaced = |is_special: &dyn Fn(u8) -> bool, with: &dyn Fn(u8) -> Vec<u8>| {
        let byte = |&byte: &u8| {
            if is_special(byte) {
                with(byte)
            } else {
                vec![byte]
            }
        };
        Zeroizing::new(text.iter().flat_map(byte).collect::<Vec<u8>>())
    };
    let backslash = |byte: u8| vec![b'\\', byte];
    let quote = |byte: u8| byte == b'\'';
    let word = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"@%_+=:,./-".contains(&byte) || !byte.is_ascii()
    };
    let mut forms = vec![
        replaced(&quote, &|_| b"'\\''".to_vec()),
        replaced(&quote, &|_| b"'\"'\"'".to_vec()),
        replaced(&|byte| b"$`\"\\".contains(&byte), &backslash),
        replaced(&|byte| !word(byte), &backslash),
    ];
    forms.retain(|form| form[..] != *text);
    forms.dedup();
    forms
}

/// Returns the base64 digits that depend only on `text`, if `bytes_before` bytes (0 to 2) are before it in its group of
/// three bytes. The digits at both ends may also contain bits of other bytes.
fn base64_digits(
    text: &[u8],
    bytes_before: usize,
) -> (Zeroizing<Vec<u8>>, Option<SymbolBits>, Option<SymbolBits>) {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len() * 4 / 3 + 2));
    // Bits that do not fill a digit yet, and their number.
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut bytes = text.iter();
    let shared = [0, 4, 2][bytes_before];
    let before = (shared > 0).then(|| {
        let first = u32::from(bytes.next().copied().unwrap_or_default());
        count = 8 - shared;
        bits = first & ((1 << count) - 1);
        SymbolBits {
            mask: (1 << shared) - 1,
            value: (first >> count) as u8,
        }
    });
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 6 {
            count -= 6;
            digits.push((bits >> count) as u8 & 63);
            bits &= (1 << count) - 1;
        }
    }
    let after = (count > 0).then(|| SymbolBits {
        mask: (((1 << count) - 1) << (6 - count)) as u8,
        value: (bits << (6 - count)) as u8,
    });
    (digits, before, after)
}

/// A secret in the stream.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    start: u64,
    end: u64,
    secret: usize,
    /// True if this is the last digit of the hit before.
    continues: bool,
}

/// Search for the secrets in one form of a stream.
struct FormSearch {
    reader: FormReader,
    matcher: FormMatcher,
}

/// Finds the secrets in the symbols of one form.
struct FormMatcher {
    form: SecretForm,
    state: TrieState,
    /// Places and values of the last symbols: one more than the symbols that may still become a secret.
    recent: VecDeque<(u64, u8)>,
    /// Bits of a secret that the next symbol may contain.
    after: Option<(SymbolBits, usize)>,
}

impl FormSearch {
    const fn new(form: SecretForm) -> Self {
        Self {
            reader: FormReader::new(form),
            matcher: FormMatcher {
                form,
                state: 0,
                recent: VecDeque::new(),
                after: None,
            },
        }
    }

    fn read(&mut self, byte: u8, at: u64, masks: &SecretMasks, hits: &mut Vec<Hit>) {
        let matcher = &mut self.matcher;
        self.reader
            .read(byte, at, &mut |event| matcher.step(event, masks, hits));
    }

    fn finish(&mut self, masks: &SecretMasks, hits: &mut Vec<Hit>) {
        let matcher = &mut self.matcher;
        self.reader
            .finish(&mut |event| matcher.step(event, masks, hits));
        matcher.step(FormEvent::Break, masks, hits);
    }

    /// Returns the place of the first byte that may still become a secret.
    fn held_from(&self, masks: &SecretMasks) -> Option<u64> {
        let FormMatcher {
            form,
            state,
            recent,
            ..
        } = &self.matcher;
        let trie = masks.trie(*form);
        let candidate = recent.len().saturating_sub(trie.depth(*state));
        let with_bits = candidate
            .checked_sub(1)
            .filter(|at| trie.may_come_before(recent[*at].1));
        let held = recent
            .get(with_bits.unwrap_or(candidate))
            .map(|(start, _)| *start);
        held.into_iter().chain(self.reader.undecided()).min()
    }
}

impl FormMatcher {
    fn step(&mut self, event: FormEvent, masks: &SecretMasks, hits: &mut Vec<Hit>) {
        let (trie, expected) = (masks.trie(self.form), self.after.take());
        let FormEvent::Symbol { symbol, start, end } = event else {
            self.state = 0;
            self.recent.clear();
            return;
        };
        if let Some((_, secret)) = expected.filter(|(bits, _)| bits.fits(symbol)) {
            hits.push(Hit {
                start,
                end,
                secret,
                continues: true,
            });
        }
        self.state = trie.next(self.state, symbol);
        let recent = &mut self.recent;
        recent.push_back((start, symbol));
        while recent.len() > trie.depth(self.state) + 1 {
            recent.pop_front();
        }
        let Some(needle) = trie.found(self.state) else {
            return;
        };
        let mut first = recent.len() - needle.length;
        if let Some(bits) = needle.before
            && let Some((_, symbol)) = first.checked_sub(1).and_then(|at| recent.get(at))
            && bits.fits(*symbol)
        {
            first -= 1;
        }
        hits.push(Hit {
            start: recent[first].0,
            end,
            secret: needle.secret,
            continues: false,
        });
        self.after = needle.after.map(|bits| (bits, needle.secret));
    }
}

/// Masks one stream of a run.
pub struct StreamMasker {
    masks: Arc<SecretMasks>,
    searches: [FormSearch; SecretForm::ALL.len()],
    /// The bytes that were not passed on yet, and the place of the first of them in the stream.
    held: Zeroizing<Vec<u8>>,
    held_at: u64,
    hits: Vec<Hit>,
    /// Place in the stream up to which the bytes are masked.
    masked_to: u64,
    redactions: u64,
}

impl fmt::Debug for StreamMasker {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "StreamMasker({} bytes held)", self.held.len())
    }
}

impl StreamMasker {
    /// Masks a stream from its first byte.
    pub fn new(masks: Arc<SecretMasks>) -> Self {
        Self {
            masks,
            searches: SecretForm::ALL.map(FormSearch::new),
            held: Zeroizing::default(),
            held_at: 0,
            hits: Vec::new(),
            masked_to: 0,
            redactions: 0,
        }
    }

    /// Reads the next bytes of the stream, and appends to `out` the bytes that can't become a secret any more. The
    /// others are held back, at most as many as the longest form of a secret has.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for (byte, at) in bytes.iter().zip(self.held_at + self.held.len() as u64..) {
            for search in &mut self.searches {
                search.read(*byte, at, &self.masks, &mut self.hits);
            }
        }
        self.held.extend_from_slice(bytes);
        let end = self.held_at + self.held.len() as u64;
        let held_from = self
            .searches
            .iter()
            .filter_map(|search| search.held_from(&self.masks))
            .min();
        self.pass_on(held_from.unwrap_or(end), out);
    }

    /// Ends the stream, and appends the rest of its bytes to `out`.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        for search in &mut self.searches {
            search.finish(&self.masks, &mut self.hits);
        }
        self.pass_on(self.held_at + self.held.len() as u64, out);
    }

    /// Returns the number of secrets that were replaced.
    pub fn redactions(&self) -> u64 {
        self.redactions
    }

    /// Passes on the bytes before the place `until`, and drops the masked bytes.
    fn pass_on(&mut self, until: u64, out: &mut Vec<u8>) {
        self.hits.sort_unstable();
        let ready = self.hits.partition_point(|hit| hit.start < until);
        for hit in self.hits.drain(..ready).collect::<Vec<_>>() {
            let is_new = !hit.continues && hit.start >= self.masked_to;
            if hit.end <= self.masked_to {
                continue;
            }
            out.extend(self.taken_to(hit.start));
            if is_new {
                out.extend_from_slice(self.masks.labels[hit.secret].as_bytes());
                self.redactions += 1;
            }
            drop(self.taken_to(hit.end));
            self.masked_to = hit.end;
        }
        out.extend(self.taken_to(until));
    }

    /// Takes the bytes before the place `until`.
    fn taken_to(&mut self, until: u64) -> std::vec::Drain<'_, u8> {
        let count = usize::try_from(until.saturating_sub(self.held_at))
            .unwrap_or(0)
            .min(self.held.len());
        self.held_at += count as u64;
        self.held.drain(..count)
    }
}

#[cfg(test)]
mod tests;
