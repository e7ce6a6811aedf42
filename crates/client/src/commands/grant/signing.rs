//! Signs grants with the keys of approvers, and runs under a grant with the key of the grantee.

use serde::Serialize;
use serde_json::Value;

use crate::{
    Client, CommandFailure, CommandResult, Exit, GrantReview, Keys, PagerChoice, SignaturePurpose,
    Signer, Terminal, TrustArgs, fail_refused, fail_usage, find_grant, home::keys, now,
    read_statement, terminal::streams::wrapped,
};
use documents::{
    Authorization, AuthorizationDigest, Base64, EnvelopeSignature, GrantId, Grantee, Name, Nonce,
    joined,
};
use wire::{ApprovalsView, GrantStatus, GrantView, ProposalView, Signatures};

/// Shows a grant, asks, and signs exactly the bytes that were shown. `expect` replaces the question.
///
/// # Errors
/// Returns an error if a check fails, if the person declines, or if the boundary refuses the signature.
pub fn approve(
    name: &str,
    client: &Client,
    trust: &TrustArgs,
    keys: &Keys,
    (expect, (pager, full)): (Option<AuthorizationDigest>, (PagerChoice, bool)),
    terminal: &Terminal,
) -> CommandResult {
    let view = find_grant(name, client)?;
    check_pending(&view)?;
    let review = GrantReview::make(&view, client, &trust.find()?)?;
    if terminal.json && expect.is_some() {
        terminal.show_aside(&review.screen(now()));
    } else {
        review.show(terminal, pager, full)?;
    }
    review.check_sound()?;
    let (signer, approver) = keys.of_approver(review.roster())?;
    let (signed, excluded) = (&view.approvals.approvers, &view.approvals.excluded);
    let twice = expect.is_none() && signed.contains(&approver);
    if twice || excluded.contains(&approver) {
        let why = if twice {
            "has signed it already"
        } else {
            "proposed it or owns its proposer (self-approval)"
        };
        return fail_refused(format!("nothing was signed: {approver} {why}"));
    }
    let consent = match expect {
        Some(expected) if expected.as_bytes() == review.digest.as_bytes() => GrantConsent(()),
        Some(expected) => {
            let words = format!(
                "nothing was signed: --expect names {expected}, but the grant is {}",
                review.digest
            );
            return fail_refused(words);
        }
        None => {
            let question = format!(
                "Sign this standing grant as {approver}? Type the number of uses and the digits, {}, or f fields:",
                review.asked_text()
            );
            let question = wrapped(&question, terminal.width);
            loop {
                let answer = terminal.ask(
                    &question,
                    "without a terminal, give --yes --expect sha256:...",
                )?;
                if !answer.eq_ignore_ascii_case("f") {
                    break check_typed(&review, &answer)?;
                }
                terminal.page(&review.full(now()))?;
            }
        }
    };
    let answer = hand_in(client, &view.id, sign(&review, consent, signer)?)?;
    told_signature(
        &answer,
        &approver,
        (answer.id.as_str(), answer.status.word()),
        &answer.approvals,
        terminal,
    )
}

/// Checks that a grant still waits for signatures.
///
/// # Errors
/// Returns an error if the grant is active or has ended.
pub fn check_pending(view: &GrantView) -> CommandResult<()> {
    if view.status == GrantStatus::Pending {
        return Ok(());
    }
    let why = view
        .why
        .as_ref()
        .map_or(String::new(), |why| format!(" ({})", why.detail));
    let words = format!(
        "nothing was signed: {} is {} already{why}",
        view.id,
        view.status.word()
    );
    fail_refused(words)
}

/// Proof that a person typed the answer for the grant that was shown, or that `--yes --expect` named its digest.
#[must_use]
pub struct GrantConsent(());

/// Checks the text that a person typed.
///
/// # Errors
/// Returns an error if the typed text is not the text that the review asks for.
pub fn check_typed(review: &GrantReview, typed: &str) -> CommandResult<GrantConsent> {
    let asked = review.asked_text();
    if joined(typed.split_whitespace(), " ").eq_ignore_ascii_case(&asked) {
        return Ok(GrantConsent(()));
    }
    let words = format!(
        "nothing was signed: the typed text must be the number of uses and the digits: {asked}"
    );
    fail_refused(words)
}

/// Signs the same bytes that the review was made from.
///
/// # Errors
/// Returns an error if the key did not sign.
pub fn sign(
    review: &GrantReview,
    consent: GrantConsent,
    signer: &dyn Signer,
) -> CommandResult<EnvelopeSignature> {
    let GrantConsent(()) = consent;
    keys::sign(signer, SignaturePurpose::Grant, &review.payload)
}

/// Sends a signature to the boundary, and returns the new state of the grant.
///
/// # Errors
/// Returns an error if the boundary refuses the signature or cannot be reached.
pub fn hand_in(
    client: &Client,
    id: &GrantId,
    signature: EnvelopeSignature,
) -> CommandResult<GrantView> {
    client.post(
        &format!("/v1/grants/{id}/signatures"),
        &Signatures {
            signatures: vec![signature],
        },
    )
}

/// What a grantee asked for, which the statement of the boundary must contain.
pub struct WantedUse<'a> {
    /// Ref of the step.
    pub step: &'a str,
    /// The given parameters. The statement also contains the defaults.
    pub params: &'a Value,
    /// The chosen nonce.
    pub nonce: &'a Nonce,
    /// The grant.
    pub grant: &'a GrantView,
}

/// Signs a run under a grant with the key of the grantee.
///
/// # Errors
/// Returns an error if the boundary made another statement than the wanted one, if the user does not have the key of the
/// grantee, or if the boundary refuses.
pub fn sign_use(
    view: &ProposalView,
    wanted: WantedUse<'_>,
    client: &Client,
    keys: &Keys,
) -> CommandResult<ProposalView> {
    let unreadable = |error: documents::Malformed| {
        CommandFailure::refused(format!(
            "nothing was signed: the boundary's statement is malformed: {error}"
        ))
    };
    let (payload, statement) =
        read_statement::<Authorization>(Base64::Strict, &view.payload).map_err(unreadable)?;
    let signed = statement.predicate;
    let given = wanted.params.as_object();
    let same_params = given.is_none_or(|given| {
        given
            .iter()
            .all(|(name, value)| signed.params.get(name) == Some(value))
    });
    let Grantee::Key(grantee) = &wanted.grant.grant.grantee else {
        return fail_usage("the grant is to a token, so no key can use it");
    };
    for (holds, what) in [
        (signed.step.reference.as_str() == wanted.step, "the step"),
        (same_params, "a parameter"),
        (signed.nonce == *wanted.nonce, "the nonce"),
        (signed.grant == Some(wanted.grant.digest), "the grant"),
        (signed.proposer == grantee.name, "the proposer"),
    ] {
        if !holds {
            let words = format!(
                "nothing was signed: the statement of the boundary differs from the request in {what}"
            );
            return fail_refused(words);
        }
    }
    let signer = keys
        .first(|key| key.keyid() == grantee.key)
        .ok_or_else(|| {
            CommandFailure::usage(format!(
                "only the key {} of {} can use this grant: give it with --key FILE",
                grantee.key, grantee.name
            ))
        })?;
    let signature = keys::sign(signer, SignaturePurpose::Use, &payload)?;
    client.post(
        &format!("/v1/proposals/{}/signatures", view.id),
        &Signatures {
            signatures: vec![signature],
        },
    )
}

/// Prints the answer of a boundary to a signature: the state of what was signed, and which groups must still sign.
pub fn told_signature(
    answer: &impl Serialize,
    approver: &Name,
    (id, status): (&str, &str),
    approvals: &ApprovalsView,
    terminal: &Terminal,
) -> CommandResult {
    let missing = joined(&approvals.missing, ", somebody of ");
    terminal.answer(answer, format!("signed by {approver}: {id} is {status}"))?;
    if !terminal.json && !missing.is_empty() {
        terminal.say(format!("still needed: somebody of {missing}"));
    }
    Ok(Exit::Done)
}
