//! Names in parts of sessions, artifacts, outputs, secrets, programs and grants. Each name is parsed once, like
//! the names in `ident`.

use std::fmt;
use std::str::FromStr;

use crate::{
    IdentError,
    record::ident::{is_uuid7, uuid7},
};

const fn is_letter(c: u8) -> bool {
    c.is_ascii_alphabetic() || c == b'_'
}

fn is_word(text: &str, most: usize, first: fn(u8) -> bool, more: &[u8]) -> bool {
    let bytes = text.as_bytes();
    (1..=most).contains(&bytes.len())
        && first(bytes[0])
        && bytes
            .iter()
            .all(|&c| c.is_ascii_alphanumeric() || c == b'_' || more.contains(&c))
}

fn is_relative(text: &str) -> bool {
    let plain =
        |segment: &str| (1..=255).contains(&segment.len()) && segment != "." && segment != "..";
    text.len() <= 1024 && text.split('/').all(plain) && !text.chars().any(char::is_control)
}

fn is_program(text: &str) -> bool {
    let name = (1..=128).contains(&text.len()) && text != "." && text != "..";
    name && !text.chars().any(char::is_control)
}

/// Text that means every program in the run's own work directory, as a name and as a path.
pub const OWN_PROGRAMS: &str = "{work}/**";

text_type!(
    /// Id of a grant: `grt_` and a UUIDv7.
    GrantId,
    "^grt_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    40..=40,
    "a grant's id: grt_ and a UUIDv7",
    |text| is_uuid7(text, "grt_")
);
text_type!(
    /// Id of a session: `ses_` and a UUIDv7.
    SessionId,
    "^ses_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    40..=40,
    "a session's id: ses_ and a UUIDv7",
    |text| is_uuid7(text, "ses_")
);
text_type!(
    /// Name of a file that a run receives: `[A-Za-z0-9_][A-Za-z0-9._-]*`, at most 128 bytes.
    ArtifactName,
    "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
    1..=128,
    "an artifact's name: [A-Za-z0-9_][A-Za-z0-9._-]*, at most 128 bytes",
    |text| is_word(text, 128, |c| c.is_ascii_alphanumeric() || c == b'_', b".-")
);
text_type!(
    /// Name of a secret: `[A-Za-z0-9_][A-Za-z0-9._-]*`, at most 64 bytes.
    SecretName,
    "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$",
    1..=64,
    "a secret's name: [A-Za-z0-9_][A-Za-z0-9._-]*, at most 64 bytes",
    |text| is_word(text, 64, |c| c.is_ascii_alphanumeric() || c == b'_', b".-")
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
    |text| text.len() <= 1024 && text.strip_prefix('/').is_some_and(is_relative)
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
    |text| text == OWN_PROGRAMS
        || text.len() <= 1024 && text.strip_prefix('/').is_some_and(is_relative)
);

impl GrantId {
    /// Makes an id from `millis` since 1970 and ten random bytes (UUIDv7, RFC 9562 section 5.7).
    pub fn new(millis: u64, random: [u8; 10]) -> Self {
        Self(uuid7("grt_", millis, &random))
    }
}

impl SessionId {
    /// Makes an id from `millis` since 1970 and ten random bytes (UUIDv7, RFC 9562 section 5.7).
    pub fn new(millis: u64, random: [u8; 10]) -> Self {
        Self(uuid7("ses_", millis, &random))
    }
}

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
