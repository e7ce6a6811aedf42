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

/// What a person ran with `countersign run`, what policy asked, and what the person answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalReceipt {
    /// The person: the comment of the key, or the name of the account.
    pub person: String,
    /// Name of the host.
    pub host: String,
    /// The step that ran.
    pub step: StepReference,
    /// The parameters of the run.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Digest of the policy that asked.
    pub policy: PolicyDigest,
    /// The questions of policy with the answers, in the order of the questions.
    pub answers: Vec<QuestionAnswer>,
    /// How the run ended.
    pub outcome: Outcome,
    /// Digests of the output of the run.
    pub output: Output,
    /// The parts of the sandbox that were enforced.
    pub sandbox: Enforcement,
    /// The programs that the run executed. Present if the profile has a list of programs and the run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramFacts>,
    /// Digest of the payload of the previous local receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<ContentDigest>,
}

/// A question of policy with the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Answer")]
pub struct QuestionAnswer {
    /// The question.
    pub question: String,
    /// The answer that the person chose.
    pub answer: String,
}

impl LocalReceipt {
    /// Returns the statement with its subjects.
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
