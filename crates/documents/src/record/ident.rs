//! Names and ids. Each name and each id is parsed once, when the program receives the text.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Timestamp, hex};

/// The error for a name or an id of the wrong form.
#[derive(Debug, thiserror::Error)]
#[error("{given:?} is not {expected}")]
pub struct IdentError {
    /// The expected form.
    pub expected: &'static str,
    /// The given text, cut to 80 characters.
    pub given: String,
}

fn refuse(expected: &'static str, given: &str) -> IdentError {
    IdentError {
        expected,
        given: given.chars().take(80).collect(),
    }
}

macro_rules! text_type {
    // Patterns cannot express lengths, so the schema states them separately.
    ($(#[$doc:meta])* $name:ident, $pattern:expr, $lengths:expr, $expected:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the text as documents contain it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentError;
            fn from_str(text: &str) -> Result<Self, IdentError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(refuse($expected, text)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        written_as_text!($name, |this, serializer| serializer.serialize_str(&this.0), {
                    "type": "string",
                    "pattern": $pattern,
                    "minLength": ($lengths).start(),
                    "maxLength": ($lengths).end(),
                });
    };
}

/// A type for ids with this prefix and a UUIDv7.
macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $whose:literal) => {
        text_type!(
            $(#[$doc])*
            $name,
            concat!("^", $prefix, "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
            40..=40,
            concat!($whose, " id: ", $prefix, " and a UUIDv7"),
            |text| is_uuid7(text, $prefix)
        );

        impl $name {
            /// Makes an id from `millis` since 1970 and ten random bytes (UUIDv7, RFC 9562 section 5.7).
            pub fn new(millis: u64, random: [u8; 10]) -> Self {
                let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
                Self(format!("{}{uuid}", $prefix).into())
            }

            /// Returns the time in the id, in milliseconds since 1970.
            pub fn millis(&self) -> u64 {
                let digits = self.0[4..].bytes().filter(u8::is_ascii_hexdigit).take(12);
                digits.fold(0, |millis, digit| {
                    millis << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or(0))
                })
            }

            /// Returns the time in the id, in whole seconds.
            pub fn end(&self) -> Timestamp {
                Timestamp::from_unix((self.millis() / 1000).cast_signed())
            }
        }
    };
}

fn lower_hex(c: u8) -> bool {
    matches!(c, b'0'..=b'9' | b'a'..=b'f')
}

fn lower_or_digit(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

pub fn is_name(text: &str, extra: &[u8]) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && lower_or_digit(bytes[0])
        && bytes
            .iter()
            .all(|&c| lower_or_digit(c) || extra.contains(&c))
}

fn is_boundary_name(text: &str) -> bool {
    let mut segments = text.split('/');
    let plain = |segment: &str, extra: &[u8]| {
        !segment.is_empty()
            && segment
                .bytes()
                .all(|c| lower_or_digit(c) || extra.contains(&c))
    };
    text.len() <= 40
        && segments.next().is_some_and(|first| plain(first, b".-"))
        && segments.all(|segment| plain(segment, b"._-"))
}

fn is_ref_path(text: &str) -> bool {
    let char_ok = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    !text.is_empty()
        && text.split('/').all(|segment| {
            !segment.is_empty() && segment.bytes().all(char_ok) && segment != "." && segment != ".."
        })
}

fn is_step_ref(text: &str) -> bool {
    text.len() <= 255
        && text
            .rsplit_once(':')
            .is_some_and(|(path, id)| is_ref_path(path) && is_word(id, 64, is_word_start, b".-"))
}

/// Returns true if the text is `prefix` and then a UUIDv7 in lower case (RFC 9562).
fn is_uuid7(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|uuid| {
        let bytes = uuid.as_bytes();
        bytes.len() == 36
            && bytes.iter().enumerate().all(|(at, &c)| match at {
                8 | 13 | 18 | 23 => c == b'-',
                14 => c == b'7',
                19 => b"89ab".contains(&c),
                _ => lower_hex(c),
            })
    })
}

fn is_id_ending(text: &str) -> bool {
    let digits = text.bytes().filter(|c| *c != b'-');
    text.len() <= 36
        && digits.clone().count() >= 6
        && !text.contains("--")
        && digits.into_iter().all(lower_hex)
}

/// Returns the 24 bytes of a nonce, or `None` if the text is no nonce.
fn nonce_bytes(text: &str) -> Option<[u8; 24]> {
    let mut bytes = [0; 24];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    let is_time = bytes[..8] <= Timestamp::LAST.unix().to_be_bytes()[..];
    (length == bytes.len() && is_time).then_some(bytes)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(lower_hex)
}

text_type!(
    /// Name of a person, token, proposer or operator: `[a-z0-9][a-z0-9._@-]*`, at most 64 bytes.
    Name,
    "^[a-z0-9][a-z0-9._@-]{0,63}$",
    1..=64,
    "a name: [a-z0-9][a-z0-9._@-]*, at most 64 bytes",
    |text| is_name(text, b"._@-")
);
text_type!(
    /// Name of a group of approvers: `[a-z0-9][a-z0-9._@-]*`, at most 64 bytes.
    GroupName,
    "^[a-z0-9][a-z0-9._@-]{0,63}$",
    1..=64,
    "a group's name: [a-z0-9][a-z0-9._@-]*, at most 64 bytes",
    |text| is_name(text, b"._@-")
);
text_type!(
    /// Name of a boundary: `[a-z0-9.-]+(/[a-z0-9._-]+)*`, at most 40 bytes.
    BoundaryName,
    "^[a-z0-9.-]+(?:/[a-z0-9._-]+)*$",
    1..=40,
    "a boundary's name: [a-z0-9.-]+(/[a-z0-9._-]+)*, at most 40 bytes",
    is_boundary_name
);
text_type!(
    /// Reference to a step: path of its runbook without the format's ending, `:`, and the step's id; at most 255 bytes.
    StepRef,
    "^(?!(?:[^:]*/)?\\.{1,2}[/:])[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*:[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$",
    3..=255,
    "a step's ref: path/of/runbook:step-id, of letters, digits and . _ -, at most 255 bytes",
    is_step_ref
);
uuid_type!(
    /// Id of a proposal: `prp_` and a UUIDv7, whose time is the end of the window.
    ProposalId,
    "prp_",
    "a proposal's"
);
text_type!(
    /// The last characters of a proposal's id, which a person can type instead of the whole id: at least 6 hex digits,
    /// with the dashes between them. Six digits have 16.7 million values, so a proposer cannot easily create two
    /// proposals with the same ending.
    ProposalIdEnding,
    "^-?(?:[0-9a-f]-?){6,32}$",
    6..=36,
    "the ending of a proposal's id: at least 6 of its last digits",
    is_id_ending
);
text_type!(
    /// Id of a receipt: the receipt of `prp_X` has the id `rcp_X`.
    ReceiptId,
    "^rcp_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    40..=40,
    "a receipt's id: rcp_ and a UUIDv7",
    |text| is_uuid7(text, "rcp_")
);
text_type!(
    /// A nonce: 24 bytes as base64url without padding. The first 8 bytes are its end in seconds since 1970 (big-endian), and
    /// 16 random bytes follow. One run spends the nonce.
    Nonce,
    "^AAAA[A-Za-z0-9_-]{28}$",
    32..=32,
    "a nonce: 8 bytes of its end (seconds since 1970, big-endian) and 16 random bytes, in base64url without padding",
    |text| nonce_bytes(text).is_some()
);
text_type!(
    /// An epoch: 32 hex digits. A new epoch makes every older authorization void.
    Epoch,
    "^[0-9a-f]{32}$",
    32..=32,
    "an epoch: 32 lower-case hex digits",
    |text| is_hex(text, 32)
);
text_type!(
    /// Random value of 64 hex digits that makes the genesis seal unique, and therefore also the boundary's id.
    GenesisSalt,
    "^[0-9a-f]{64}$",
    64..=64,
    "a genesis value: 64 lower-case hex digits",
    |text| is_hex(text, 64)
);

impl StepRef {
    /// Returns the path of the runbook, without the ending of the format.
    pub fn path(&self) -> &str {
        self.0.rsplit_once(':').map_or(&*self.0, |(path, _)| path)
    }

    /// Returns the id of the step in its runbook.
    pub fn step(&self) -> &str {
        self.0.rsplit_once(':').map_or("", |(_, id)| id)
    }
}

impl ProposalId {
    /// Makes the id of a proposal whose window ends at `end`, with ten random bytes.
    pub fn ending(end: Timestamp, random: [u8; 10]) -> Self {
        Self::new(end.unix().unsigned_abs() * 1000, random)
    }

    /// Returns the id of this proposal's receipt.
    pub fn receipt(&self) -> ReceiptId {
        ReceiptId(format!("rcp_{}", &self.0[4..]).into())
    }
}

impl ProposalIdEnding {
    /// Returns true if this proposal's id ends with the given text.
    pub fn is_of(&self, id: &ProposalId) -> bool {
        id.as_str().ends_with(self.as_str())
    }
}

impl ReceiptId {
    /// Returns the id of the proposal to which the receipt belongs.
    pub fn proposal(&self) -> ProposalId {
        ProposalId(format!("prp_{}", &self.0[4..]).into())
    }
}

impl Nonce {
    /// Makes a nonce from its end and 128 random bits. The end comes first, so that a store deletes old nonces by a range
    /// of keys.
    pub fn new(end: Timestamp, random: [u8; 16]) -> Self {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&end.unix().to_be_bytes());
        bytes[8..].copy_from_slice(&random);
        Self(URL_SAFE_NO_PAD.encode(bytes).into())
    }

    /// Returns a nonce with the same random bytes and another end.
    pub fn until(&self, end: Timestamp) -> Self {
        let mut random = [0; 16];
        random.copy_from_slice(&self.to_bytes()[8..]);
        Self::new(end, random)
    }

    /// Returns the raw bytes of the nonce, which are its key in the store.
    pub fn to_bytes(&self) -> [u8; 24] {
        nonce_bytes(&self.0).unwrap_or_default()
    }

    /// Returns the time from which on nobody can spend the nonce.
    pub fn end(&self) -> Timestamp {
        let seconds = self.to_bytes().into_iter().take(8);
        Timestamp::from_unix(seconds.fold(0, |number, byte| number << 8 | i64::from(byte)))
    }
}

impl Epoch {
    /// Makes an epoch from 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(hex(&random).into())
    }
}

impl GenesisSalt {
    /// Makes a genesis value from 32 random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(hex(&random).into())
    }
}

fn is_word_start(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

fn is_letter(c: u8) -> bool {
    c.is_ascii_alphabetic() || c == b'_'
}

fn is_word(text: &str, most: usize, first: fn(u8) -> bool, more: &[u8]) -> bool {
    let bytes = text.as_bytes();
    (1..=most).contains(&bytes.len())
        && first(bytes[0])
        && bytes.iter().all(|&c| is_word_start(c) || more.contains(&c))
}

fn is_relative(text: &str) -> bool {
    let plain =
        |segment: &str| (1..=255).contains(&segment.len()) && segment != "." && segment != "..";
    text.len() <= 1024 && text.split('/').all(plain) && !text.chars().any(char::is_control)
}

fn is_host_path(text: &str) -> bool {
    text.len() <= 1024 && text.strip_prefix('/').is_some_and(is_relative)
}

fn is_program(text: &str) -> bool {
    let name = (1..=128).contains(&text.len()) && text != "." && text != "..";
    name && !text.chars().any(char::is_control)
}

/// Text that means every program in the run's own work directory, as a name and as a path.
pub const OWN_PROGRAMS: &str = "{work}/**";

uuid_type!(
    /// Id of a grant: `grt_` and a UUIDv7.
    GrantId,
    "grt_",
    "a grant's"
);
uuid_type!(
    /// Id of a session: `ses_` and a UUIDv7, whose time is the end of the session.
    SessionId,
    "ses_",
    "a session's"
);

text_type!(
    /// Name of a file that a run receives: `[A-Za-z0-9_][A-Za-z0-9._-]*`, at most 128 bytes.
    ArtifactName,
    "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
    1..=128,
    "an artifact's name: [A-Za-z0-9_][A-Za-z0-9._-]*, at most 128 bytes",
    |text| is_word(text, 128, is_word_start, b".-")
);
text_type!(
    /// Name of a secret: `[A-Za-z0-9_][A-Za-z0-9._-]*`, at most 64 bytes.
    SecretName,
    "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$",
    1..=64,
    "a secret's name: [A-Za-z0-9_][A-Za-z0-9._-]*, at most 64 bytes",
    |text| is_word(text, 64, is_word_start, b".-")
);
text_type!(
    /// Name of an environment variable that a step chooses.
    Variable,
    "^(?!PARAM_|COUNTERSIGN_)[A-Za-z_][A-Za-z0-9_]{0,63}$",
    1..=64,
    "a variable: [A-Za-z_][A-Za-z0-9_]*, at most 64 bytes, not beginning PARAM_ or COUNTERSIGN_",
    |text| is_word(text, 64, is_letter, b"") && !text.starts_with("PARAM_") && !text.starts_with("COUNTERSIGN_")
);
text_type!(
    /// Name of an output of a step. The rule for this name is the same as for the name of a parameter.
    OutputName,
    "^[A-Za-z_][A-Za-z0-9_-]{0,63}$",
    1..=64,
    "an output's name: [A-Za-z_][A-Za-z0-9_-]*, at most 64 bytes",
    |text| is_word(text, 64, is_letter, b"-")
);
text_type!(
    /// A path below a directory, without the segments `.` and `..`.
    RelativePath,
    "^(?!\\.{1,2}(?:/|$))(?!.*/\\.{1,2}(?:/|$))[^/\\u0000-\\u001f\\u007f-\\u009f]+(?:/[^/\\u0000-\\u001f\\u007f-\\u009f]+)*$",
    1..=1024,
    "a relative path of at most 1,024 bytes without control characters: each segment has 1 to 255 bytes and is not `.` \
     or `..`",
    is_relative
);
text_type!(
    /// A path of the host in plain form.
    HostPath,
    "^(?!.*/\\.{1,2}(?:/|$))(?:/[^/\\u0000-\\u001f\\u007f-\\u009f]+)+$",
    2..=1024,
    "a path of the host that begins with /: at most 1,024 bytes, without control characters and without a segment `.` \
     or `..`",
    is_host_path
);
text_type!(
    /// Program in the definition of a step: a name, or every program in the run's own directory.
    Program,
    "^(?!\\.{1,2}$)[^\\u0000-\\u001f\\u007f-\\u009f]+$",
    1..=128,
    "a program: {work}/** or a name of at most 128 bytes without control characters",
    is_program
);
text_type!(
    /// Place of a listed program: a path of the host, or every program in the run's own directory.
    ProgramPath,
    "^(?:\\{work\\}/\\*\\*|(?!.*/\\.{1,2}(?:/|$))(?:/[^/\\u0000-\\u001f\\u007f-\\u009f]+)+)$",
    2..=1024,
    "the path of a program: {work}/** or a path of the host in its plain form",
    |text| text == OWN_PROGRAMS || is_host_path(text)
);

/// Returns the name of a program in a list: the last segment of a name or path, or `{work}/**`.
pub fn listed_name(program: &Program) -> Program {
    if program.as_str() == OWN_PROGRAMS {
        return program.clone();
    }
    let last = program.as_str().rsplit('/').next().unwrap_or_default();
    last.parse().unwrap_or_else(|_| program.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_named_after_its_proposal() {
        let proposal = ProposalId::new(1_763_631_000_000, [7; 10]);
        assert!(proposal.as_str().parse::<ProposalId>().is_ok());
        assert_eq!(proposal.receipt().proposal(), proposal);
        assert!(proposal.receipt().as_str().parse::<ReceiptId>().is_ok());
        assert!(
            "prp_019aa0b0-5c00-4000-8000-000000000001"
                .parse::<ProposalId>()
                .is_err(),
            "version 4"
        );
        assert!(
            "prp_019AA0B0-5c00-7000-8000-000000000001"
                .parse::<ProposalId>()
                .is_err(),
            "upper case"
        );
    }

    #[test]
    fn a_nonce_and_the_id_of_a_proposal_carry_their_end() {
        for end in [0, 1_800_000_000, Timestamp::LAST.unix()].map(Timestamp::from_unix) {
            let nonce = Nonce::new(end, [0xff; 16]);
            assert_eq!(nonce.as_str().parse::<Nonce>().ok(), Some(nonce.clone()));
            assert_eq!(
                (nonce.end(), &nonce.to_bytes()[8..]),
                (end, &[0xff; 16][..])
            );
            let id = ProposalId::ending(end, [7; 10]);
            assert_eq!(id.millis(), end.unix().unsigned_abs() * 1000);
        }
        let of = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes).parse::<Nonce>();
        let mut late = Nonce::new(Timestamp::LAST, [0; 16]).to_bytes();
        late[7] += 1;
        for bad in [
            &late[..],
            &[0; 16],
            &[0; 22],
            &[0; 23],
            &[0; 25],
            &[0xff; 24],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert!(
            "A".repeat(33).parse::<Nonce>().is_err(),
            "a base64 text of no length"
        );
    }

    #[test]
    fn the_last_digits_of_an_id_are_at_least_6_digits() {
        let id: ProposalId = "prp_019aa0b0-5c00-7000-8000-0000004f2a9c"
            .parse()
            .expect("an id");
        for good in [
            "4f2a9c",
            "0000004f2a9c",
            "8000-0000004f2a9c",
            "-0000004f2a9c",
            &id.as_str()[4..],
        ] {
            assert!(
                good.parse::<ProposalIdEnding>()
                    .is_ok_and(|ending| ending.is_of(&id)),
                "{good}"
            );
        }
        assert!(
            !"4f2a9d"
                .parse::<ProposalIdEnding>()
                .expect("an ending")
                .is_of(&id)
        );
        for bad in [
            "",
            "4f2a9",
            "-f2a9c",
            "4F2A9C",
            "4f2a9g",
            "4f--2a9c",
            "4f2a9c ",
            id.as_str(),
            &"0".repeat(37),
        ] {
            assert!(bad.parse::<ProposalIdEnding>().is_err(), "{bad}");
        }
    }
}

#[cfg(test)]
mod extension_names_tests {
    use super::*;

    #[test]
    fn paths_with_parent_segments_are_refused() {
        for good in ["a", "a/b", ".env", "a..b/...", "ä/b c"] {
            assert!(good.parse::<RelativePath>().is_ok(), "{good}");
            assert!(format!("/{good}").parse::<HostPath>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", "a\nb", "a\u{85}", &long,
        ] {
            assert!(bad.parse::<RelativePath>().is_err(), "{bad:?}");
            assert!(format!("/{bad}").parse::<HostPath>().is_err(), "{bad:?}");
        }
        assert!("a/b".parse::<HostPath>().is_err());
    }

    #[test]
    fn a_step_cannot_take_a_variable_that_the_boundary_sets() {
        assert!("DB_PASSWORD".parse::<Variable>().is_ok());
        for bad in ["PARAM_X", "COUNTERSIGN_OUTPUT", "1A", "A-B", ""] {
            assert!(bad.parse::<Variable>().is_err(), "{bad}");
        }
    }
}
