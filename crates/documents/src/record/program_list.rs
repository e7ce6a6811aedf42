//! The list of programs that a run may execute.
//!
//! The profile of a run names its list by the digest of the list's canonical bytes, which are a blob of the log. A document
//! is read without its list, so the reader adds the list with [`ProgramList::read`]. A list that nobody added permits
//! nothing.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BlobDigest, Malformed, OWN_PROGRAMS, Program, canonical, check_bytes, check_count,
    check_sorted, json, record::ident::ProgramPath,
};

/// Maximum number of programs in a list.
pub const MAX_PROGRAMS: usize = 4096;
/// Maximum size of a list, in bytes of canonical JSON.
pub const MAX_PROGRAMS_BYTES: usize = 256 << 10;

/// The programs that a run may execute. Documents contain only the digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "BlobDigest", into = "BlobDigest")]
pub struct ProgramList {
    digest: BlobDigest,
    /// Empty until somebody adds the list. Copies share the list.
    list: Arc<[ListedProgram]>,
}

/// A program that a run may execute.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListedProgram {
    /// Name of the program, for example `curl`. Or `{work}/**`, for every file in the directories that the run may
    /// write.
    pub name: Program,
    /// Path of the program on the host, for example `/usr/bin/curl`. Or `{work}/**`.
    pub path: ProgramPath,
}

impl From<BlobDigest> for ProgramList {
    fn from(digest: BlobDigest) -> Self {
        let list = Arc::default();
        Self { digest, list }
    }
}

impl From<ProgramList> for BlobDigest {
    fn from(programs: ProgramList) -> Self {
        programs.digest
    }
}

impl PartialEq for ProgramList {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ProgramList {}

impl ProgramList {
    /// Returns the list of these programs, which are sorted by their canonical JSON.
    ///
    /// # Errors
    /// Returns an error if the order, the number or the size of the programs breaks a rule.
    pub fn of(list: Vec<ListedProgram>) -> Result<Self, Malformed> {
        check_count("", list.len(), 1, MAX_PROGRAMS)?;
        for (at, one) in list.iter().enumerate() {
            if (one.name.as_str() == OWN_PROGRAMS) != (one.path.as_str() == OWN_PROGRAMS) {
                return Err(Malformed::at(
                    format!("/{at}"),
                    "write {work}/** in both `name` and `path`, or in neither of the two",
                ));
            }
        }
        check_sorted("", &list)?;
        check_bytes("", &list, MAX_PROGRAMS_BYTES)?;
        let bytes = canonical::canonical_of(&list).map_err(|error| Malformed::at("", error))?;
        Ok(Self {
            digest: BlobDigest::of(&bytes),
            list: list.into(),
        })
    }

    /// Reads the bytes of a list.
    ///
    /// # Errors
    /// Returns an error if the bytes are no list.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let list = json::parse_as(bytes, MAX_PROGRAMS_BYTES)?;
        Self::of(list)
    }

    /// Adds the list whose bytes these are.
    ///
    /// # Errors
    /// Returns an error if the bytes are no list, or another list than the document names.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let (found, named) = (BlobDigest::of(bytes), self.digest);
        if found != named {
            let why = format!("the list has the digest {found}, and the document names {named}");
            return Err(Malformed::at("", why));
        }
        *self = Self::parse(bytes)?;
        Ok(())
    }

    /// Returns the digest that documents name.
    pub fn digest(&self) -> BlobDigest {
        self.digest
    }

    /// Returns true if somebody has added the list.
    pub fn is_known(&self) -> bool {
        !self.list.is_empty()
    }

    /// Returns the programs. Empty if nobody has added the list.
    pub fn programs(&self) -> &[ListedProgram] {
        &self.list
    }

    /// Returns the bytes of the list, or `None` if nobody has added the list.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let list = Some(&self.list).filter(|list| !list.is_empty())?;
        canonical::canonical_of(list).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns programs whose paths end with this text.
    fn programs(count: usize, end: &str) -> Vec<ListedProgram> {
        let one = |at| ListedProgram {
            name: format!("{at:04}").parse().expect("a name"),
            path: format!("/{at:04}{end}").parse().expect("a path"),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_list_has_1_to_4096_programs_in_at_most_262144_bytes() {
        assert!(ProgramList::of(programs(0, "")).is_err());
        assert!(ProgramList::of(programs(4096, "")).is_ok());
        assert!(ProgramList::of(programs(4097, "")).is_err());
        // 256 programs with 1,023 bytes and a comma each, and two brackets instead of the last comma.
        let mut list = programs(256, &format!("{}x", "/x".repeat(496)));
        let end = |last| format!("/end{}{last}", "/x".repeat(496));
        list[255].path = end("x").parse().expect("a path");
        let fits = ProgramList::of(list.clone()).expect("a list");
        assert_eq!(
            fits.to_bytes().map(|bytes| bytes.len()),
            Some(MAX_PROGRAMS_BYTES)
        );
        list[255].path = end("xx").parse().expect("a path");
        assert!(ProgramList::of(list).is_err());
    }
}
