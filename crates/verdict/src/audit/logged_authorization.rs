//! The log entry of an authorization, which is directly before the consumption that names it.

use crate::LogEntry;
use documents::{
    Authorization, AuthorizationDigest, AuthorizationRef, LeafHash, Signed, Statement,
};

/// An authorization in the log, whose signatures are not verified yet.
#[derive(Clone)]
pub struct LoggedAuthorization {
    /// The place of the authorization in the log.
    pub at: AuthorizationRef,
    /// The document.
    pub signed: Signed<Authorization>,
    /// The content, without a check of the signatures.
    pub stated: Authorization,
}

impl LoggedAuthorization {
    /// Returns the authorization in this entry.
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
}
