//! Local receipt: a signed record of a step that a person ran at a terminal, in this person's own log.
//!
//! It is a separate kind of document, so that gate and audit never accept it as a receipt.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypto::digest::{ContentDigest, PolicyDigest};
use crate::record::authorization::StepReference;
use crate::record::document::{Predicate, Statement, Subject, check_subjects};
use crate::record::enforcement::Enforcement;
use crate::record::malformed::Malformed;
use crate::record::program_list::ProgramFacts;
use crate::record::receipt::{Outcome, Output, check_programs};

/// What a person ran, what policy asked and what they answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalReceipt {
    /// Who ran it: the key's comment or the account.
    pub person: String,
    /// Where.
    pub host: String,
    /// Which step.
    pub step: StepReference,
    /// Its parameters.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// The policy that asked.
    pub policy: PolicyDigest,
    /// What it asked and what was answered, in order.
    pub answers: Vec<QuestionAnswer>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote.
    pub output: Output,
    /// What of the sandbox was enforced.
    pub sandbox: Enforcement,
    /// Which programs the run executed. Present if the profile has a list of programs and the run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramFacts>,
    /// Digest of the local receipt before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<ContentDigest>,
}

/// A question of policy and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Answer")]
pub struct QuestionAnswer {
    /// What policy asked.
    pub question: String,
    /// What the person chose.
    pub answer: String,
}

impl LocalReceipt {
    /// Returns the statement with its subjects.
    #[must_use]
    pub fn into_statement(self) -> Statement<Self> {
        let subjects = self.subjects();
        Statement::new(self, subjects)
    }

    fn subjects(&self) -> Vec<Subject> {
        let (stdout, stderr) = (&self.output.stdout, &self.output.stderr);
        vec![
            Subject::new(self.step.reference.as_str(), self.step.digest.as_bytes()),
            Subject::new("stdout", stdout.sha256.as_bytes()),
            Subject::new("stderr", stderr.sha256.as_bytes()),
        ]
    }
}

impl Predicate for LocalReceipt {
    const KIND: &'static str = "local-receipt";
    const MAX_BYTES: usize = 48_000;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        self.outcome.check()?;
        check_programs(self.programs.as_ref())?;
        check_subjects(subjects, &self.subjects())
    }
}
