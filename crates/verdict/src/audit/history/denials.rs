//! Denials in the log, and statements that the boundary signed.

use crate::{
    AuditEvent, Auditor, DenialLine, EntryParts, FindingKind, SealInForce,
    audit::seal_in_force::verify_of_boundary, check_place, signing_program,
};
use documents::{Denial, Predicate, Verified, VerifyError, denied};

impl Auditor {
    pub(super) fn denial(&mut self, index: u64, parts: &EntryParts, in_force: &SealInForce) {
        let signed = match parts.signed::<Denial>() {
            Ok(signed) => signed,
            Err(why) => return self.find(FindingKind::Entry, index, why),
        };
        let one = signed.signature_count() == 1;
        self.counts.signatures += 1;
        let document = match signed.verify(|keyid| {
            in_force
                .roster
                .statement_approver(keyid)
                .map(|(_, key)| key)
        }) {
            Ok(document) => document,
            Err(VerifyError::Malformed(malformed)) => {
                return self.find(FindingKind::Entry, index, malformed);
            }
            Err(error) => {
                return self.find(FindingKind::Denial, index, error);
            }
        };
        let refused = document
            .signatures()
            .iter()
            .find_map(|one| signing_program(&one.sig, in_force.passkeys()).err());
        if let Some(error) = refused {
            return self.find(FindingKind::Denial, index, error);
        }
        if !one {
            self.find(
                FindingKind::Denial,
                index,
                "the denial must have exactly one signature, by the approver who denies",
            );
        }
        let here = &in_force.boundary;
        if let Err(error) = check_place(&document.predicate().boundary, here) {
            self.find(FindingKind::Denial, index, error);
        }
        let ended = document.signatures().iter().find_map(|signature| {
            let (approver, _) = in_force.roster.statement_approver(&signature.keyid)?;
            approver
                .valid_before
                .filter(|end| *end <= self.at)
                .map(|end| format!("{} stopped being an approver at {end}", approver.name))
        });
        if let Some(message) = ended {
            self.find(FindingKind::Denial, index, message);
        }
        let revoked = self.revocations.before(index);
        if let Some(why) = revoked.signer(document.keyids()) {
            return self.find(FindingKind::Revoked, index, why);
        }
        // The parser of the document has already checked the subject.
        if let Ok(authorization) = denied(document.statement()) {
            self.denials.insert(authorization);
            self.counts.denials += 1;
            let signer = document.signatures().first();
            if let Some((approver, _)) =
                signer.and_then(|one| in_force.roster.statement_approver(&one.keyid))
            {
                self.said.push(AuditEvent::Denial(Box::new(DenialLine {
                    after: self.at,
                    approver: approver.name.clone(),
                    authorization,
                    reason: document.predicate().reason.clone(),
                    entry: index,
                })));
            }
        }
    }

    /// Verifies a document that only the boundary signs. The keys come from the roster in force.
    pub(super) fn of_boundary<P: Predicate>(
        &mut self,
        index: u64,
        parts: &EntryParts,
        in_force: &SealInForce,
    ) -> Option<Verified<P>> {
        let verified = parts
            .signed::<P>()
            .map_err(|malformed| (FindingKind::Entry, malformed.to_string()))
            .and_then(|signed| {
                verify_of_boundary(signed, &in_force.boundary.name, &in_force.roster)
            });
        self.counts.signatures += 1;
        match verified {
            Ok(verified) => Some(verified),
            Err((what, why)) => {
                self.find(what, index, format!("{}: {why}", P::KIND));
                None
            }
        }
    }
}
