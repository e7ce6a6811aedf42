//! Read access with a key of the roster: the challenge of the boundary, and its answer.

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Method;

use crate::{Client, CommandResult};
use documents::{EnvelopeSignature, KeyId, SealDigest};
use wire::{AdmissionResponse, Challenge, ChallengeAnswer, ChallengeRequest};

impl Client {
    /// Asks for the text that a key of the roster signs for read access. Returns also the id of the boundary in the text.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the text does not have the form of a challenge.
    pub fn challenge(&self, keyid: KeyId) -> CommandResult<(String, SealDigest)> {
        let Challenge { challenge } =
            self.post_once("/v1/challenges", &ChallengeRequest { keyid })?;
        let well_formed = challenge.starts_with("countersign-challenge/v1 ")
            && challenge.len() <= 512
            && challenge.bytes().all(|c| (0x20..0x7f).contains(&c));
        let id = challenge
            .split(' ')
            .nth(1)
            .and_then(|id| id.parse().ok())
            .filter(|_| well_formed);
        let odd = || self.odd("the challenge does not have version 1, so nothing was signed");
        id.map(|id| (challenge, id)).ok_or_else(odd)
    }

    /// Exchanges a signed challenge for a bearer.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn answer_challenge(
        &self,
        challenge: String,
        signature: EnvelopeSignature,
    ) -> CommandResult<AdmissionResponse> {
        self.post_once(
            "/v1/challenges/answer",
            &ChallengeAnswer {
                challenge,
                signature,
            },
        )
    }

    /// Sends a JSON document without a second attempt with a key.
    fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> CommandResult<T> {
        let body = serde_json::to_vec(body).map_err(|error| self.odd(error))?;
        let answer = self.send(&Method::POST, path, Some(&body), "application/json")?;
        self.typed(self.refuse_problem(answer)?)
    }
}
