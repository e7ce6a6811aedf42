//! The log entry of an authorization, which is directly before the consumption that names it.

use std::collections::HashMap;

use crate::{EvidenceFiles, LogEntry, Unreadable};
use documents::{
    Authorization, AuthorizationDigest, AuthorizationRef, BlobDigest, LeafHash, ProgramList,
    Signed, Statement,
};

/// Maximum number of lists of programs that an audit remembers.
const MAX_KNOWN: usize = 64;

/// An authorization in the log, whose signatures are not verified yet.
pub struct LoggedAuthorization {
    /// The place of the authorization in the log.
    pub at: AuthorizationRef,
    /// The document.
    pub signed: Signed<Authorization>,
    /// The content, without a check of the signatures.
    pub stated: Authorization,
}

impl LoggedAuthorization {
    /// Returns the authorization in this entry, without its list of programs.
    ///
    /// # Errors
    /// Returns the reason if the entry is no well-formed authorization.
    pub fn of(index: u64, entry: &LogEntry) -> Result<Self, String> {
        let parts = entry.parts()?;
        let signed = parts.signed().map_err(|e| e.to_string())?;
        let _well_formed = signed.check_document().map_err(|e| e.to_string())?;
        let stated = Statement::from_payload(&parts.payload).map_err(|e| e.to_string())?;
        Ok(Self {
            at: AuthorizationRef {
                digest: AuthorizationDigest::of(&parts.payload),
                index,
                leaf: LeafHash::from_bytes(entry.hash()),
            },
            signed,
            stated: stated.predicate,
        })
    }

    /// Adds the list of programs, which is a blob of the log. `known` has lists that were read before.
    ///
    /// # Errors
    /// Returns an error if the source can't be read. The inner error is the reason why the blob is not the list.
    pub fn add_programs(
        &mut self,
        known: &mut HashMap<BlobDigest, ProgramList>,
        beside: &dyn EvidenceFiles,
    ) -> Result<Result<(), String>, Unreadable> {
        let Some(named) = &mut self.stated.sandbox.programs else {
            return Ok(Ok(()));
        };
        let digest = named.digest();
        if let Some(list) = known.get(&digest) {
            named.clone_from(list);
            return Ok(Ok(()));
        }
        let Some(bytes) = beside.blob(&digest)? else {
            return Ok(Err(format!("the list of programs {digest} is missing")));
        };
        if let Err(error) = named.read(&bytes) {
            return Ok(Err(error.to_string()));
        }
        if known.len() == MAX_KNOWN {
            known.clear();
        }
        known.insert(digest, named.clone());
        Ok(Ok(()))
    }
}
