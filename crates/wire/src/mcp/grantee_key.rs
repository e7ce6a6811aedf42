//! What the program around an MCP server does with the key of a grantee, and what an answer says about standing grants.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{GrantView, ProposalProgress, ProposeArgs, StatedReason, visible_detail};
use documents::{EnvelopeSignature, KeyId, Nonce, Parameter};

/// One use of a grant by a call.
#[derive(Serialize, Deserialize)]
pub struct PlannedUse {
    /// The grant, with the number of its uses before this one.
    pub grant: GrantView,
    /// Schema of the parameters of the step.
    pub schema: Value,
    /// Nonce of the run.
    pub nonce: Nonce,
}

/// The key of a grantee, and the uses whose calls have no answer yet.
pub trait GranteeKey: Send + Sync {
    /// Returns the id of the key.
    fn keyid(&self) -> KeyId;

    /// Adds the defaults of the step to the given parameters, and checks the result with the declaration of the grant.
    ///
    /// # Errors
    /// Returns the first difference.
    fn check_params(
        &self,
        of_step: &Value,
        granted: &Parameter,
        given: &Map<String, Value>,
    ) -> Result<(), String>;

    /// Signs the payload of an authorization. The call may wait for ssh-agent.
    ///
    /// # Errors
    /// Returns an error if the key could not sign.
    fn sign(&self, payload: &[u8]) -> Result<EnvelopeSignature, String>;

    /// Returns the planned use of an earlier call with these arguments, if that call has no answer. The call may have
    /// been made to an earlier process of the server.
    fn planned(&self, args: &ProposeArgs) -> Option<PlannedUse>;

    /// Remembers a use durably before it is sent. If a call with these arguments has a use already, returns that use.
    ///
    /// # Errors
    /// Returns an error if the use can't be stored.
    fn plan(&self, args: &ProposeArgs, new: PlannedUse) -> Result<PlannedUse, String>;

    /// Forgets the use of the call with these arguments.
    fn forget(&self, args: &ProposeArgs);
}

/// What the answer of `propose` says about standing grants.
#[derive(Debug)]
pub enum GrantNote {
    /// No grant of the server's key has the step.
    None,
    /// The run uses a grant. The value is the text about this for the answer.
    Used(String),
    /// People must sign, because no grant covers the run.
    Asked(StatedReason),
}

impl GrantNote {
    pub fn asked(grant: &GrantView, code: &str, why: &str) -> Self {
        let detail = visible_detail(&format!(
            "the standing grant {} can't be used for this run: {why}",
            grant.id
        ));
        Self::Asked(StatedReason {
            code: code.to_owned(),
            detail,
        })
    }

    /// Returns the words before the advice or the status.
    pub fn words(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Used(words) => words.clone(),
            Self::Asked(why) => format!("no standing grant covers this run ({}). ", why.code),
        }
    }

    /// Adds the note to the answer about an open proposal. If the run has ended, its receipt names the grant.
    pub fn add_to(self, mut answer: ProposalProgress) -> ProposalProgress {
        if !answer.ended {
            answer.advice.insert_str(0, &self.words());
            if let Self::Asked(why) = self {
                answer.reason = answer.reason.or(Some(why));
            }
        }
        answer
    }
}
