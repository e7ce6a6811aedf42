//! Creates local receipts of steps, signs them with the person's key and appends them to the local log.

use serde_json::Value;

use crate::local::local_log::{AppendedReceipt, LocalLog};
use client::home::keys::{KeyArgs, Keys, SignaturePurpose, sign};
use client::terminal::exit::{CommandFailure, Exit};
use documents::crypto::canonical::{CanonicalError, canonical_of};
use documents::crypto::digest::PolicyDigest;
use documents::crypto::signature::PAYLOAD_TYPE;
use documents::record::authorization::StepReference;
use documents::record::document::Predicate as _;
use documents::record::enforcement::Enforcement;
use documents::record::envelope::Envelope;
use documents::record::local_receipt::{LocalReceipt, QuestionAnswer};
use documents::record::program_list::ProgramFacts;
use documents::record::receipt::{Outcome, Output};

/// Local log and the key that signs receipts.
#[derive(Debug)]
pub struct Receipts {
    log: LocalLog,
    keys: Keys,
    person: String,
    host: String,
}

/// Content of a receipt that is known before the step runs.
#[derive(Debug, Clone)]
pub struct StepBefore {
    pub(super) step: StepReference,
    pub(super) params: Value,
    pub(super) policy: PolicyDigest,
    pub(super) answers: Vec<QuestionAnswer>,
}

/// Content of a receipt that is known after the step has run.
#[derive(Debug)]
pub struct StepAfter {
    pub(super) outcome: Outcome,
    pub(super) output: Output,
    pub(super) sandbox: Enforcement,
    pub(super) programs: Option<ProgramFacts>,
}

/// Space that is reserved before the run for the content that is known only after the run, in bytes of canonical JSON.
const ROOM: usize = 8 << 10;

impl Receipts {
    /// Loads the key and checks that the log is writable. Call this function before the first question and the first
    /// run. Returns `None` if the user has no key, so that nothing can sign a receipt.
    ///
    /// # Errors
    /// Returns an error if the key that the user named can't be used, or if the log is not writable.
    pub fn prepare(key: &KeyArgs) -> Result<Option<Self>, CommandFailure> {
        let keys = key.find()?;
        let Some(preferred) = keys.first(|_| true) else { return Ok(None) };
        let comment = preferred.key().comment();
        let person = if comment.is_empty() { account() } else { comment.to_owned() };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let log = LocalLog::of_process()?;
        log.check_writable()?;
        Ok(Some(Self { log, keys, person: cut(person), host: cut(host) }))
    }

    /// Returns the local log.
    pub const fn log(&self) -> &LocalLog {
        &self.log
    }

    /// Checks that the receipt will fit its maximum size, for every possible behaviour of the step.
    ///
    /// # Errors
    /// Returns an error if the parameters and answers are too large for a receipt.
    pub fn check_room(before: &StepBefore) -> Result<(), CommandFailure> {
        let odd = |error: CanonicalError| CommandFailure::new(Exit::Unreachable, error.to_string());
        let bytes =
            canonical_of(&before.params).map_err(odd)?.len() + canonical_of(&before.answers).map_err(odd)?.len() + ROOM;
        if bytes <= LocalReceipt::MAX_BYTES {
            return Ok(());
        }
        Err(CommandFailure::new(
            Exit::Refused,
            format!(
                "nothing was run: parameters and answers of {bytes} bytes are too much for a receipt of at most {}; split \
                 the step, or give smaller parameters",
                LocalReceipt::MAX_BYTES
            ),
        ))
    }

    /// Signs and appends the receipt of a step.
    ///
    /// # Errors
    /// Returns an error if the receipt cannot be signed or written.
    pub fn append(&self, before: StepBefore, after: StepAfter) -> Result<AppendedReceipt, CommandFailure> {
        self.log.append(|previous| {
            let receipt = LocalReceipt {
                person: self.person.clone(),
                host: self.host.clone(),
                step: before.step,
                params: before.params,
                policy: before.policy,
                answers: before.answers,
                outcome: after.outcome,
                output: after.output,
                sandbox: after.sandbox,
                programs: after.programs,
                previous,
            };
            let payload = receipt.into_statement().to_payload().map_err(|error| {
                CommandFailure::new(Exit::Unreachable, format!("the receipt can't be created: {error}"))
            })?;
            let signature = sign(self.keys.preferred(|_| true)?, SignaturePurpose::Receipt, PAYLOAD_TYPE, &payload)?;
            Ok(Envelope::new(&payload, vec![signature]))
        })
    }
}

fn account() -> String {
    let named =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Cuts the name to 64 characters. It comes from the environment and may be very long.
fn cut(name: String) -> String {
    name.chars().take(64).collect()
}
