//! The signed head of a log: its origin, size and root.
//!
//! The document is the body of a C2SP tlog-checkpoint: three lines, without extensions.
//! ```text
//! prod-eu/e49d5ff1e1633eb0
//! 5
//! hBeC4UJtrGZiYuDzdozhxNgTzDeSajueopOc87hLR1U=
//! ```

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    BoundaryName, Hash, SealDigest,
    crypto::note::{decode_hash, plain_number},
    merkle,
};

/// Returns the name of a boundary's log: `<name>/<first 16 hex digits of its id>`.
///
/// The name contains no space, so that the text of a checkpoint is never a DSSE message, which begins with `DSSEv1 `.
pub fn origin(name: &BoundaryName, id: &SealDigest) -> String {
    format!("{name}/{}", &id.hex()[..16])
}

/// Content of a checkpoint, without signatures. The `note` of the checkpoint contains the signatures.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The name of the log.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    /// The root hash over all entries of the log.
    pub root: Hash,
}

impl Checkpoint {
    /// Returns the signed text, which ends with a line feed.
    pub fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root)
        )
    }

    /// Reads the text of a checkpoint. Each checkpoint has exactly one form.
    ///
    /// # Errors
    /// Returns an error that names the malformed line.
    pub fn parse(body: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<&str> = body
            .strip_suffix('\n')
            .ok_or(CheckpointError::Lines)?
            .split('\n')
            .collect();
        let [origin, size, root] = lines[..] else {
            return Err(CheckpointError::Lines);
        };
        if origin.is_empty()
            || origin.len() > MAX_ORIGIN_BYTES
            || origin.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return Err(CheckpointError::Origin);
        }
        let size = plain_number(size).ok_or(CheckpointError::Size)?;
        let root = decode_hash(root).ok_or(CheckpointError::Root)?;
        if size == 0 && root != merkle::EMPTY_ROOT {
            return Err(CheckpointError::Root);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
        })
    }
}

/// Maximum length of an origin in bytes. The name of a boundary's log has at most 57 bytes, but another log may have a
/// URL as its origin.
const MAX_ORIGIN_BYTES: usize = 255;

/// Reason why a text is not a checkpoint.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    /// The text does not have exactly three lines, each with a line feed.
    #[error("a checkpoint has exactly three lines: origin, size, root")]
    Lines,
    /// The first line is not an origin.
    #[error("line 1 of the checkpoint must be an origin, without spaces")]
    Origin,
    /// The second line is not a size.
    #[error("line 2 of the checkpoint must be a size in plain decimal digits")]
    Size,
    /// The third line is not a root hash that a tree of this size can have.
    #[error("line 3 of the checkpoint must be a root hash in standard base64")]
    Root,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str =
        "prod-eu/e49d5ff1e1633eb0\n5\nhBeC4UJtrGZiYuDzdozhxNgTzDeSajueopOc87hLR1U=\n";

    #[test]
    fn a_checkpoint_in_a_form_that_is_not_canonical_is_refused() {
        let refused = |text: &str| Checkpoint::parse(text).expect_err(text);
        assert_eq!(refused(""), CheckpointError::Lines);
        assert_eq!(refused(GOLDEN.trim_end()), CheckpointError::Lines);
        assert_eq!(
            refused(&format!("{GOLDEN}extension\n")),
            CheckpointError::Lines
        );
        assert_eq!(refused(&format!("{GOLDEN}\n")), CheckpointError::Lines);
        assert_eq!(
            refused(&GOLDEN.replacen("prod-eu/", "prod eu/", 1)),
            CheckpointError::Origin
        );
        assert_eq!(refused(&GOLDEN[24..]), CheckpointError::Origin);
        assert_eq!(
            refused(&GOLDEN.replace('\n', "\r\n")),
            CheckpointError::Origin
        );
        for size in ["05", "+5", "-5", "", "5 ", "18446744073709551616", "٥"] {
            assert_eq!(
                refused(&GOLDEN.replace("\n5\n", &format!("\n{size}\n"))),
                CheckpointError::Size,
                "{size}"
            );
        }
        assert_eq!(
            refused(&GOLDEN.replace("1U=", "1V=")),
            CheckpointError::Root,
            "stray bits"
        );
        assert_eq!(refused(&GOLDEN.replace("1U=", "1U")), CheckpointError::Root);
        assert_eq!(
            refused(&GOLDEN.replace("\n5\n", "\n0\n")),
            CheckpointError::Root,
            "an empty log has one root"
        );
    }
}
