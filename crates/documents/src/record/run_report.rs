//! Run report: the signed report of a remote runner, which only a later version has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    crypto::{digest::AuthorizationDigest, key_id::KeyId},
    record::{
        document::{Predicate, Subject, check_subjects},
        enforcement::Enforcement,
        ident::Name,
        malformed::Malformed,
        program_list::ProgramFacts,
        receipt::{ConsumptionRef, Files, Outcome, Output, Usage, check_output, check_programs},
        refusal_statement::RefusingBoundary,
        validity::Timestamp,
    },
};

/// The statement of a runner about one run. Reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunReport {
    /// The boundary that sent the run to the runner.
    pub boundary: RefusingBoundary,
    /// The runner.
    pub runner: ReportingRunner,
    /// The log entry which states that the nonce was spent.
    pub consumption: ConsumptionRef,
    /// Digest of the payload of the authorization.
    pub authorization: AuthorizationDigest,
    /// How the run ended.
    pub outcome: Outcome,
    /// Time at which the run started.
    pub started_at: Timestamp,
    /// Time at which the run ended.
    pub finished_at: Timestamp,
    /// Duration of the run in milliseconds, by a clock that never goes back.
    pub duration_ms: u64,
    /// Digests of the output of the run.
    pub output: Output,
    /// The files that the run left.
    pub files: Files,
    /// The parts of the sandbox that were enforced.
    pub sandbox: Enforcement,
    /// The programs that the run executed. Present if the profile has a list of programs and the run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramFacts>,
    /// The resources that the run used.
    pub usage: Usage,
}

/// The runner that signs a run report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportingRunner {
    /// Name of the runner in the roster.
    pub name: Name,
    /// Id of the key that signs.
    pub keyid: KeyId,
    /// Version of the runner's program.
    pub version: String,
}

impl RunReport {
    fn subjects(&self) -> Vec<Subject> {
        vec![
            Subject::new("authorization", self.authorization.as_bytes()),
            Subject::new("stdout", self.output.stdout.sha256.as_bytes()),
            Subject::new("stderr", self.output.stderr.sha256.as_bytes()),
            Subject::new("files", self.files.manifest.as_bytes()),
        ]
    }
}

impl Predicate for RunReport {
    const KIND: &'static str = "run-report";
    const MAX_BYTES: usize = 16 << 10;
    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        self.outcome.check()?;
        self.sandbox.check()?;
        check_programs(self.programs.as_ref())?;
        if self.finished_at < self.started_at {
            return Err(Malformed::at("/predicate/finished_at", "before started_at"));
        }
        check_output(&self.output)?;
        check_subjects(subjects, &self.subjects())
    }
}
