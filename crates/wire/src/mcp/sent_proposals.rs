//! The proposals that this server sent: which calls have no answer yet, and what the agent asked for.
//!
//! A verified receipt proves that a run happened, but not that it is the run that the agent proposed: somebody between
//! the boundary and this machine can answer `propose` with an older run, or change the request on its way. Therefore
//! the server compares the statement that people signed with the proposal that the server sent.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use crate::{ProposalView, ProposeArgs};
use documents::{
    Authorization, ContentDigest, DEFAULT_WINDOW_S, Nonce, ProposalId, ReceiptId, Timestamp, locked,
};

/// Maximum number of proposals without an answer that the server remembers.
const MAX_UNANSWERED: usize = 32;
/// Time for which a repeated call without an answer is the same proposal. After this time, the call is a new proposal.
pub const REPEATS_FOR: Duration = Duration::from_secs(600);
/// Seconds after the end of a run in which the boundary answers a repeated call with this run, and a minute for clocks
/// that differ.
const EXISTS_FOR_S: i64 = 660;
/// Maximum number of proposals with an answer that the server remembers.
const MAX_ANSWERED: usize = 256;

/// What the server remembers, each list from the oldest entry to the newest.
#[derive(Default)]
pub struct SentProposals(Mutex<Lists>);

#[derive(Default)]
struct Lists {
    unanswered: VecDeque<Sent>,
    answered: VecDeque<(ProposalId, Sent)>,
}

struct Sent {
    args: ProposeArgs,
    nonce: Nonce,
    /// End of the usual window. The nonce may end before, with the token.
    usual_end: Timestamp,
    /// Digest of the grant under which the run was proposed.
    grant: Option<ContentDigest>,
    /// True if the boundary answered with an earlier proposal, which keeps its nonce and its reason.
    existing: bool,
    at: Instant,
}

impl Sent {
    /// Returns true if a call is a repetition. The waiting time is no part of the proposal.
    fn is_of(&self, args: &ProposeArgs, now: Instant) -> bool {
        let args = ProposeArgs {
            wait_s: self.args.wait_s,
            ..args.clone()
        };
        now.duration_since(self.at) < REPEATS_FOR && self.args == args
    }

    /// Returns the time of a call without a grant.
    fn made_at(&self) -> Timestamp {
        self.usual_end.plus(-DEFAULT_WINDOW_S)
    }
}

impl SentProposals {
    /// Returns the nonce of a call. If a call without an answer is repeated, both calls have the same nonce, so that
    /// both are one proposal.
    pub fn nonce_of(
        &self,
        args: &ProposeArgs,
        now: Instant,
        new_nonce: impl FnOnce() -> Result<Nonce, String>,
    ) -> Result<Nonce, String> {
        let unanswered = &mut locked(&self.0).unanswered;
        if let Some(sent) = unanswered.iter().find(|sent| sent.is_of(args, now)) {
            return Ok(sent.nonce.clone());
        }
        let nonce = new_nonce()?;
        if unanswered.len() == MAX_UNANSWERED {
            unanswered.pop_front();
        }
        unanswered.push_back(Sent {
            args: args.clone(),
            usual_end: nonce.end(),
            nonce: nonce.clone(),
            grant: None,
            existing: false,
            at: now,
        });
        Ok(nonce)
    }

    /// Returns true if a call with these arguments made a proposal without a grant, and has no answer.
    pub fn is_unanswered(&self, args: &ProposeArgs, now: Instant) -> bool {
        locked(&self.0)
            .unanswered
            .iter()
            .any(|sent| sent.is_of(args, now))
    }

    /// Records that the boundary answered the call with the nonce `usual`. `made` is the proposal, if there is one, with
    /// the nonce `nonce`. If the call repeats a proposal that the server remembers, the record of the first call stays.
    pub fn answered(
        &self,
        args: &ProposeArgs,
        (usual, nonce): (&Nonce, &Nonce),
        grant: Option<ContentDigest>,
        made: Option<&ProposalView>,
    ) {
        let lists = &mut *locked(&self.0);
        lists.unanswered.retain(|sent| sent.nonce != *usual);
        let Some(ProposalView { id, existing, .. }) = made else {
            return;
        };
        if *existing && lists.answered.iter().any(|(known, _)| known == id) {
            return;
        }
        lists.answered.retain(|(known, _)| known != id);
        if lists.answered.len() == MAX_ANSWERED {
            lists.answered.pop_front();
        }
        let existing = *existing && grant.is_none();
        let sent = Sent {
            args: args.clone(),
            nonce: nonce.clone(),
            usual_end: usual.end(),
            grant,
            existing,
            at: Instant::now(),
        };
        lists.answered.push_back((id.clone(), sent));
    }

    /// Compares a statement with the call for its proposal. Returns the parts that differ, or nothing if this server
    /// does not remember the proposal. `schema` is the schema of the parameters, whose defaults the boundary adds.
    /// `plan` is the id of the receipt of the plan, which a statement names only by a digest. `ended` is the end of the
    /// run.
    pub fn differences(
        &self,
        signed: &Authorization,
        schema: &Value,
        plan: Option<&ReceiptId>,
        ended: Option<Timestamp>,
    ) -> Vec<&'static str> {
        let lists = locked(&self.0);
        let Some((_, sent)) = lists.answered.iter().find(|(id, _)| *id == signed.proposal) else {
            return Vec::new();
        };
        let params = Value::Object(sent.args.params.clone());
        [
            ("nonce", sent.existing || signed.nonce == sent.nonce),
            // Without this check, an old run of the same step could take the place of the proposed run.
            (
                "time",
                !sent.existing
                    || ended.is_none_or(|ended| sent.made_at() <= ended.plus(EXISTS_FOR_S)),
            ),
            ("step", signed.step.reference.as_str() == sent.args.step),
            (
                "parameters",
                is_completed(Some(&params), &signed.params, schema),
            ),
            ("reason", sent.existing || signed.reason == sent.args.reason),
            (
                "session",
                signed.session.as_ref().map(|session| session.id.as_str())
                    == sent.args.session.as_deref(),
            ),
            ("grant", signed.grant == sent.grant),
            (
                "plan",
                plan.map(ReceiptId::as_str) == sent.args.plan.as_deref(),
            ),
            // No tool sends files.
            ("input files", signed.artifacts.is_none()),
        ]
        .into_iter()
        .filter_map(|(part, is_same)| (!is_same).then_some(part))
        .collect()
    }
}

/// Returns true if `signed` is the sent value with only the defaults of the schema added.
fn is_completed(sent: Option<&Value>, signed: &Value, schema: &Value) -> bool {
    match (sent.or(schema.get("default")), signed) {
        (Some(Value::Object(sent)), Value::Object(signed)) => {
            sent.keys().all(|name| signed.contains_key(name))
                && signed.iter().all(|(name, value)| {
                    is_completed(sent.get(name), value, &schema["properties"][name])
                })
        }
        (Some(Value::Array(sent)), Value::Array(signed)) => {
            sent.len() == signed.len()
                && sent
                    .iter()
                    .zip(signed)
                    .all(|(sent, signed)| is_completed(Some(sent), signed, &schema["items"]))
        }
        (sent, signed) => sent == Some(signed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nonce(byte: u8) -> Nonce {
        Nonce::new(Timestamp::from_unix(1_800_003_600), [byte; 16])
    }

    #[test]
    fn a_repeated_call_without_an_answer_has_the_same_nonce_for_ten_minutes() {
        let sent = SentProposals::default();
        let args: ProposeArgs =
            serde_json::from_value(json!({"step": "a:b", "reason": "x"})).expect("arguments");
        let begin = Instant::now();
        for (seconds, wanted) in [(0, 0), (599, 0), (600, 2), (1199, 2)] {
            let now = begin + Duration::from_secs(seconds);
            let new = u8::try_from(seconds / 300).expect("small");
            assert_eq!(
                sent.nonce_of(&args, now, || Ok(nonce(new))),
                Ok(nonce(wanted)),
                "{seconds}"
            );
        }
    }

    #[test]
    fn only_defaults_of_the_schema_can_be_added_to_parameters() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "integer"}, "b": {"type": "integer", "default": 2},
            "c": {"type": "object", "default": {}, "properties": {"d": {"default": "x"}}},
            "e": {"type": "array", "items": {"properties": {"f": {"default": true}, "g": {}}}},
        }});
        for (sent, signed, is_same) in [
            (json!({"a": 1}), json!({"a": 1}), true),
            (
                json!({"a": 1}),
                json!({"a": 1, "b": 2, "c": {"d": "x"}}),
                true,
            ),
            (json!({"a": 1}), json!({"a": 1, "b": 3}), false),
            (json!({"a": 1, "b": 3}), json!({"a": 1, "b": 2}), false),
            (json!({"a": 1}), json!({"b": 2}), false),
            (json!({}), json!({"a": 1}), false),
            (json!({}), json!({"c": {"d": "y"}}), false),
            (
                json!({"e": [{"g": 1}]}),
                json!({"e": [{"g": 1, "f": true}]}),
                true,
            ),
            (
                json!({"e": [{"g": 1}]}),
                json!({"e": [{"g": 1, "f": false}]}),
                false,
            ),
            (json!({"e": [{}]}), json!({"e": [{}, {}]}), false),
            (json!({}), json!([]), false),
        ] {
            assert_eq!(
                is_completed(Some(&sent), &signed, &schema),
                is_same,
                "{sent} {signed}"
            );
        }
    }
}
