//! The local receipt of one step: made, signed with the person's own key, appended.

use serde_json::Value;

use crate::crypto::canonical::{CanonicalError, canonical_of};
use crate::crypto::digest::PolicyDigest;
use crate::crypto::signature::PAYLOAD_TYPE;
use crate::home::keys::{KeyArgs, Keys, SignaturePurpose, sign};
use crate::local::local_log::{AppendedReceipt, LocalLog};
use crate::record::authorization::StepReference;
use crate::record::document::Predicate as _;
use crate::record::enforcement::Enforcement;
use crate::record::envelope::Envelope;
use crate::record::local_receipt::{LocalReceipt, QuestionAnswer};
use crate::record::receipt::{Outcome, Output};
use crate::terminal::exit::{CommandFailure, Exit};

/// Where receipts go, and the key that signs them.
#[derive(Debug)]
pub struct Receipts {
    log: LocalLog,
    keys: Keys,
    person: String,
    host: String,
}

/// What is known of a step before it runs.
#[derive(Debug, Clone)]
pub struct StepBefore {
    pub(super) step: StepReference,
    pub(super) params: Value,
    pub(super) policy: PolicyDigest,
    pub(super) answers: Vec<QuestionAnswer>,
}

/// What is known afterwards.
#[derive(Debug)]
pub struct StepAfter {
    pub(super) outcome: Outcome,
    pub(super) output: Output,
    pub(super) sandbox: Enforcement,
}

/// Room in a receipt for what is known only when the run has ended, in bytes of canonical JSON.
const ROOM: usize = 6 << 10;

impl Receipts {
    /// Makes sure that there are a key and a log, before anything is asked or run.
    ///
    /// # Errors
    /// When there is no key, or the log can't be written.
    pub fn prepare(key: &KeyArgs) -> Result<Self, CommandFailure> {
        let keys = key.find()?;
        let preferred = keys.preferred(|_| true).map_err(|failure| CommandFailure {
            message: format!("nothing was run: {}; or run without a receipt (--no-receipt)", failure.message),
            ..failure
        })?;
        let comment = preferred.key().comment();
        let person = if comment.is_empty() { account() } else { comment.to_owned() };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let log = LocalLog::of_process()?;
        log.check_writable()?;
        Ok(Self { log, keys, person: cut(person), host: cut(host) })
    }

    /// The log.
    pub const fn log(&self) -> &LocalLog {
        &self.log
    }

    /// Makes sure that the step's receipt can be written whatever it does.
    ///
    /// # Errors
    /// When parameters and answers are too much for one.
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

    /// Signs and appends the receipt of a step that ran.
    ///
    /// # Errors
    /// When it can't be signed or written.
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
                previous,
            };
            let payload = receipt.into_statement().to_payload().map_err(|error| {
                CommandFailure::new(Exit::Unreachable, format!("the receipt can't be made: {error}"))
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

/// Names from outside have an end.
fn cut(name: String) -> String {
    name.chars().take(64).collect()
}
