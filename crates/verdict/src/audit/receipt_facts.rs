//! Collects the facts of a verified receipt for the report.

use crate::{
    ApprovedFacts, Facts, SignatureCount, TrustedRoster, WitnessFacts,
    audit::report::{ApproverFacts, BoundaryFacts, RosterFacts},
};
use documents::{Authorization, Consumption, Receipt, StatementKey, Verified};

pub fn collect(
    receipt: &Verified<Receipt>,
    roster: &TrustedRoster,
    consumption: Option<&Verified<Consumption>>,
    authorization: Option<&Verified<Authorization>>,
    count: Option<&SignatureCount>,
) -> Facts {
    let stated = receipt.predicate();
    let decision = &stated.decision;
    let approvers = decision.approvers.iter().map(|name| {
        let counted =
            count.and_then(|count| count.counted().iter().find(|person| person.name == *name));
        let keyid = counted.map(|person| person.keyid);
        ApproverFacts {
            name: name.clone(),
            groups: roster
                .approver(name)
                .map_or_else(Vec::new, |approver| approver.groups.clone()),
            keyid,
            passkey: match keyid.and_then(|keyid| roster.statement_approver(&keyid)) {
                Some((_, StatementKey::Passkey(key))) => Some(key.host().to_owned()),
                _ => None,
            },
        }
    });
    Facts {
        boundary: BoundaryFacts {
            name: stated.boundary.name.clone(),
            id: stated.boundary.id,
            keyid: stated.boundary.keyid,
            version: stated.boundary.version.clone(),
        },
        roster: RosterFacts {
            name: roster.tables().name.clone(),
            version: roster.version(),
            digest: roster.digest(),
            guarded: roster.is_guarded(),
        },
        approvers: approvers.collect(),
        groups: decision.groups.clone(),
        excluded: decision.excluded.clone(),
        handed_in_by: decision.handed_in_by.clone(),
        policy: decision.policy,
        seal: stated.seal,
        consumption_index: stated.consumption.index,
        consumption_leaf: stated.consumption.leaf,
        consumed_at: consumption.map(|consumption| consumption.predicate().at),
        started_at: stated.started_at,
        finished_at: stated.finished_at,
        duration_ms: stated.duration_ms,
        outcome: stated.outcome.clone(),
        output: stated.output.clone(),
        files: stated.files.clone(),
        usage: stated.usage.clone(),
        sandbox: stated.sandbox.clone(),
        programs: stated.programs.clone(),
        refused_hosts: stated.sandbox.refused_lines(
            authorization.map_or(&[][..], |authorization| {
                &authorization.predicate().sandbox.network.hosts
            }),
        ),
        witnesses: Vec::new(),
        approved: authorization.map(|authorization| approved(authorization.predicate())),
    }
}

fn approved(signed: &Authorization) -> ApprovedFacts {
    ApprovedFacts {
        receipt: signed.proposal.receipt(),
        step: signed.step.reference.clone(),
        digest: signed.step.digest,
        rendered: signed.rendered,
        params: signed.params.clone(),
        proposer: signed.proposer.clone(),
        reason: signed.reason.clone(),
        nonce: signed.nonce.clone(),
        issued_at: signed.issued_at,
        not_before: signed.not_before,
        expires_at: signed.expires_at,
        wall_ms: signed.sandbox.limits.wall_ms,
        session: signed.session.clone(),
        artifacts: signed.artifacts.clone(),
        plan: signed.plan.clone(),
        grant: None,
        emergency: signed.emergency.is_some(),
    }
}

/// Lists the facts that rest only on the boundary's statement, because verification can't check them.
pub fn boundary_says(witnesses: &[WitnessFacts], facts: Option<&Facts>) -> Vec<String> {
    let times = match witnesses.iter().min_by_key(|witness| witness.at) {
        None => "the times: no witness outside the boundary confirms these times".to_owned(),
        Some(first) => format!(
            "the times, except that everything was in the log by {}: the witness {} confirms this time",
            first.at, first.name
        ),
    };
    let mut says: Vec<String> = [
        "which people are excluded as owners of the proposer's token, and who handed in the approval",
        "what the step did, printed and left behind: the boundary recorded this, and signed only the digests of its \
         records",
        "what the run used of CPU and memory",
        "how the sandbox enforced its layers, which files of the host the listed programs are, and which programs the \
         run started and the list refused",
    ]
    .map(str::to_owned)
    .to_vec();
    let approved = facts.and_then(|facts| facts.approved.as_ref());
    if approved.is_some_and(|approved| approved.session.is_some()) {
        says.push(
            "the content of the session's state: not checked, because only the boundary knows the salt".to_owned(),
        );
    }
    if approved.is_some_and(|approved| approved.artifacts.is_some()) {
        says.push(
            "the contents of the artifacts: not checked, because a bundle has only their digests"
                .to_owned(),
        );
    }
    if approved.is_some_and(|approved| approved.grant.is_some()) {
        says.push(
            "the number of the use, the rate of the uses and the newness of the session: only the whole log shows them, \
             and the approvals of the other steps of the grant"
                .to_owned(),
        );
    }
    let used = approved.and_then(|approved| approved.grant.as_ref());
    if let Some(token) = used.and_then(|used| used.token.as_ref()) {
        says.push(format!("that the token {token} was presented"));
    }
    if approved.is_some_and(|approved| approved.emergency) {
        says.push(
            "whether people reviewed the emergency afterwards: only the whole log shows it"
                .to_owned(),
        );
    }
    says.push(times);
    says
}
