//! Revocations in the log, and the signatures of revoked keys over other entries.

use crate::{
    AuditEvent, Auditor, CheckStop, EntryParts, EvidenceFiles, FindingKind, RevocationContext,
    RevocationLine, SealInForce, Unreadable, audit::check_ledger::failed, check_may_revoke,
    check_place, decision::revocations::MayRevoke, part_of, read_part, revocable,
};
use documents::{KeyId, Revocation, RevokedSubject, Seal, SealedToken, Signed, revoked};

impl Auditor {
    pub(super) fn revocation(&mut self, index: u64, parts: &EntryParts, in_force: &SealInForce) {
        let signed = match parts.signed::<Revocation>() {
            Ok(signed) => signed,
            Err(why) => return self.find(FindingKind::Entry, index, why),
        };
        self.counts.signatures += 1;
        let added = self
            .check_revocation(index, signed, in_force)
            .and_then(|(may, line)| {
                self.revocations.add(may, index)?;
                if let RevokedSubject::Grant(digest) = &line.subject {
                    self.runs.grants.revoke(digest, &line.signer);
                }
                Ok(line)
            });
        match added {
            Ok(line) => {
                self.counts.revocations += 1;
                self.said.push(AuditEvent::Revocation(Box::new(line)));
            }
            Err(why) => self.find(FindingKind::Revocation, index, why),
        }
    }

    fn check_revocation(
        &self,
        index: u64,
        signed: Signed<Revocation>,
        in_force: &SealInForce,
    ) -> Result<(MayRevoke, RevocationLine), CheckStop> {
        let key = |keyid: &KeyId| in_force.roster.statement_signer(keyid).map(|(_, key)| key);
        let document = signed.verify(key)?;
        let [signature] = document.signatures() else {
            let count = document.signatures().len();
            return Err(failed(format!(
                "found {count} signatures, expected only the signature of the person who revokes"
            )));
        };
        let here = &in_force.boundary;
        let _place = check_place(&document.predicate().boundary, here)?;
        let subject = revoked(document.statement())?;
        let tokens: &[SealedToken] = in_force.state.as_ref().map_or(&[], |state| &state.tokens);
        let context = RevocationContext {
            roster: &in_force.roster,
            tokens,
            epoch: &here.epoch,
            passkeys: in_force.passkeys(),
            revoked: self.revocations.before(index),
            grant: &|digest| {
                let logged = self.runs.grants.revocable(digest, self.at)?;
                let state = in_force.state.as_ref();
                Some(revocable(&logged.terms, |step| Some(state?.step(step)?.0)))
            },
        };
        let may = check_may_revoke(subject, signature, context)?;
        let token = tokens
            .iter()
            .map(|token| &token.name)
            .find(|name| RevokedSubject::token(name) == subject);
        let line = RevocationLine {
            after: self.at,
            signer: in_force
                .roster
                .statement_signer(&signature.keyid)
                .map(|found| found.0.to_string())
                .unwrap_or_default(),
            subject,
            token: token.cloned(),
            grant: match &subject {
                RevokedSubject::Grant(digest) => self
                    .runs
                    .grants
                    .get(digest)
                    .map(|logged| logged.terms.grant.clone()),
                _ => None,
            },
            reason: document.predicate().reason.clone(),
            entry: index,
        };
        Ok((may, line))
    }

    /// Reports a document that a revoked key signed.
    pub(super) fn check_signer<'k>(
        &mut self,
        index: u64,
        keyids: impl IntoIterator<Item = &'k KeyId>,
    ) {
        if let Some(why) = self.revocations.before(index).signer(keyids) {
            self.find(FindingKind::Revoked, index, why);
        }
    }

    /// Reports a roster version that comes into force with this seal, although the version does not reach a threshold
    /// without the signatures of revoked keys.
    pub(super) fn check_roster_signers(
        &mut self,
        index: u64,
        seal: &Seal,
        before: Option<&SealInForce>,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        let Some(since) = before.map(|before| &*before.roster) else {
            return Ok(());
        };
        let is_later = self
            .seals
            .current
            .as_ref()
            .is_some_and(|seal| seal.roster.version() > since.version());
        if !is_later || self.revocations.iter().next().is_none() {
            return Ok(());
        }
        // The signatures in the log count, also if the auditor knows others of the same versions.
        let named = read_part(&part_of(seal), beside)?.ok();
        let revoked = self.revocations.before(index);
        let lacking = self
            .rosters()
            .lacks_without(since, named.as_deref(), |keyid| {
                revoked.key(keyid).is_some()
            });
        if let Some(error) = lacking {
            let why = format!("without the signatures of revoked keys, {error}");
            self.find(FindingKind::Revoked, index, why);
        }
        Ok(())
    }
}
