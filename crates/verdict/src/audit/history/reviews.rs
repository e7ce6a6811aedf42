//! Reviews in the log.

use crate::{
    AuditEvent, Auditor, CheckStop, EntryParts, FindingKind, ReviewContext, ReviewError,
    ReviewedLine, SealInForce, audit::check_ledger::failed, check_reviewer,
};
use documents::{ReviewStatement, Signed, Status, reviewed};

impl Auditor {
    pub(super) fn review(&mut self, index: u64, parts: &EntryParts, in_force: &SealInForce) {
        let signed = match parts.signed::<ReviewStatement>() {
            Ok(signed) => signed,
            Err(why) => return self.find(FindingKind::Review, index, why),
        };
        self.counts.signatures += 1;
        match self.check_review(index, signed, in_force) {
            Ok(line) => {
                self.counts.reviews += 1;
                self.said.push(AuditEvent::Review(Box::new(line)));
            }
            Err(why) => self.find(FindingKind::Review, index, why),
        }
    }

    fn check_review(
        &mut self,
        index: u64,
        signed: Signed<ReviewStatement>,
        in_force: &SealInForce,
    ) -> Result<ReviewedLine, CheckStop> {
        let roster = &in_force.roster;
        let document = signed.verify(|keyid| roster.approver_of(keyid).map(|(_, key)| key))?;
        let [signature] = document.signatures() else {
            let count = document.signatures().len();
            return Err(failed(format!(
                "found {count} signatures, expected only the signature of the reviewer"
            )));
        };
        let receipt = reviewed(document.statement())?;
        let review = document.predicate();
        let run = self
            .runs
            .reviewed
            .get(&receipt)
            .filter(|run| run.is_open() || run.unknown.is_some());
        let run = run.ok_or(ReviewError::NotNeeded)?;
        if run.boundary != review.boundary {
            return Err(failed(
                "the review names another boundary or another epoch than the run",
            ));
        }
        let revoked = self.revocations.before(index);
        let is_revoked = |keyid: &_| revoked.key(keyid).is_some();
        let context = ReviewContext {
            roster,
            is_revoked: &is_revoked,
            at: self.at,
        };
        let counted = run
            .rules
            .as_ref()
            .map(|rules| check_reviewer(signature, rules, &run.decision, context));
        let counted = counted.transpose()?;
        let disputes = |end| {
            counted
                .as_ref()
                .is_some_and(|one| one.disputes(review.observed, end))
        };
        if !run.is_open() && run.settled().is_some_and(|end| !disputes(end)) {
            return Err(ReviewError::NotNeeded.into());
        }
        let line = ReviewedLine {
            after: self.at,
            reviewer: roster
                .approver_of(&signature.keyid)
                .map(|(approver, _)| approver.name.clone()),
            receipt: run.receipt.clone(),
            verdict: review.verdict,
            observed: review.observed,
            reason: review.reason.clone(),
            entry: index,
        };
        // If the rules of the run could not be read, the review has no effect. The audit has already reported the
        // reason.
        let said = (review.observed, index);
        let ended =
            counted.and_then(|one| self.runs.reviewed.review(&receipt, &one, said, context));
        match ended {
            Some((grant, entry, true)) => self.runs.grants.settle(&grant, entry),
            Some((grant, entry, false)) => self.runs.grants.end(&grant, entry, Status::Unknown),
            None => {}
        }
        Ok(line)
    }
}
