//! The chain of rosters from the pinned roster to the roster that a seal names.

use std::sync::Arc;

use crate::{
    Chain, ChainError, EvidenceFiles, Pinned, TrustedRoster, Unreadable,
    audit::seal_in_force::named_documents::canonical_document,
};
use documents::{
    BlobDigest, Envelope, MAX_BLOB_BYTES, MAX_ROSTER_BYTES, RosterDigest, RosterVersion, Seal,
};

/// Known roster versions, all connected with the trusted version.
#[derive(Clone)]
pub struct Rosters {
    pinned: Pinned,
    chain: Chain,
    /// Roster of the last seal, as a cache.
    last: Option<(Named, Arc<TrustedRoster>)>,
}

/// Digest of the roster that a seal names, and digest of the versions up to this roster.
pub type Named = (RosterDigest, Option<BlobDigest>);

impl Rosters {
    /// Connects the roster versions with the trusted roster.
    pub fn connect(pinned: Pinned, versions: &[RosterVersion]) -> Result<Self, ChainError> {
        let chain = Chain::connect(&pinned, versions)?;
        Ok(Self {
            pinned,
            chain,
            last: None,
        })
    }

    pub fn trusted(&self) -> RosterDigest {
        self.pinned.digest()
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    pub(super) fn named_by(
        &mut self,
        seal: &Seal,
        beside: &dyn EvidenceFiles,
    ) -> Result<Result<Arc<TrustedRoster>, String>, Unreadable> {
        let named = (seal.roster, seal.rosters);
        if let Some((_, last)) = self.last.as_ref().filter(|(last, _)| *last == named) {
            return Ok(Ok(last.clone()));
        }
        // The blob of a known roster must still be present, because other auditors get the roster only from this blob.
        let payload = BlobDigest::from_bytes(*seal.roster.as_bytes());
        if beside
            .blob(&payload)?
            .is_none_or(|bytes| BlobDigest::of(&bytes) != payload)
        {
            return Ok(Err(not_beside(&payload)));
        }
        let known = self.chain.number_of(&seal.roster);
        match (known, seal.rosters) {
            (Some(1), Some(_)) => {
                return Ok(Err(
                    "the seal names signatures of version 1 of a roster, but version 1 has no signatures".to_owned()
                ));
            }
            (Some(_), None) => {}
            _ => {
                let versions = match versions_of(seal, beside)? {
                    Ok(versions) => versions,
                    Err(message) => return Ok(Err(message)),
                };
                match Chain::connect(&self.trusted_for(known), &versions) {
                    Err(error) => return Ok(Err(error.to_string())),
                    Ok(chain) if chain.last().digest() != seal.roster => {
                        return Ok(Err(format!(
                            "the roster versions that the seal names do not end with the roster {}",
                            seal.roster
                        )));
                    }
                    Ok(_) if known.is_some() => {}
                    Ok(longer) if longer.number_of(&self.chain.last().digest()).is_none() => {
                        return Ok(Err(
                            "the versions of the roster differ from the earlier versions: the roster was forked"
                                .to_owned(),
                        ));
                    }
                    Ok(longer) => self.chain = longer,
                }
            }
        }
        let found = self.chain.number_of(&seal.roster);
        let Some(found) = found.and_then(|number| self.chain.version(number)) else {
            return Ok(Err(format!(
                "the seal names the roster {}, which is not connected with the trusted roster",
                seal.roster
            )));
        };
        let found = Arc::new(found);
        self.last = Some((named, found.clone()));
        Ok(Ok(found))
    }

    /// Returns the trusted roster or chain. If the log ends at roster version `known`, and the trusted version is
    /// newer, the function returns the chain of all known versions instead.
    fn trusted_for(&self, known: Option<u64>) -> Pinned {
        let trusted = self.chain.number_of(&self.pinned.digest());
        match (known, trusted) {
            (Some(known), Some(trusted)) if known < trusted => {
                Pinned::Chain(Box::new(self.chain.clone()))
            }
            _ => self.pinned.clone(),
        }
    }
}

pub fn not_beside(digest: &BlobDigest) -> String {
    format!("the roster that the seal names ({digest}) is not stored with the log")
}

/// Returns all roster versions from version 1 to the version that the seal names, without verification.
pub fn versions_of(
    seal: &Seal,
    beside: &dyn EvidenceFiles,
) -> Result<Result<Vec<RosterVersion>, String>, Unreadable> {
    let digest = seal
        .rosters
        .unwrap_or_else(|| BlobDigest::from_bytes(*seal.roster.as_bytes()));
    let Some(bytes) = beside
        .blob(&digest)?
        .filter(|bytes| BlobDigest::of(bytes) == digest)
    else {
        return Ok(Err(not_beside(&digest)));
    };
    Ok(match seal.rosters {
        Some(_) => canonical_document("versions of the roster", &bytes, MAX_BLOB_BYTES),
        None if bytes.len() > MAX_ROSTER_BYTES => Err(format!(
            "the sealed roster has {} bytes, at most {MAX_ROSTER_BYTES} are allowed",
            bytes.len()
        )),
        None => Ok(vec![RosterVersion::Whole(Envelope::new(
            &bytes,
            Vec::new(),
        ))]),
    })
}
