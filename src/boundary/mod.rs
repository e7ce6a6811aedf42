//! The crossing: accept, verify, admit, consume, run, receipt, log.
//!
//! The one way by which anything runs. What is offered online and what is handed in whole take it alike, from the
//! bytes on. Everything else in this room brings requests to it or tells what came of them.
pub mod access;
pub mod changes;
pub mod denials;
pub mod dispatch;
pub mod events;
pub mod evidence;
pub mod health;
pub mod held_up;
pub mod live;
mod masks;
pub mod outputs;
pub mod proposals;
pub mod recovery;
pub mod refusal;
pub mod refusals;
pub mod sealed;
pub mod sealing;
pub mod stage;
pub mod surroundings;
pub mod view;
pub mod witnesses;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::boundary::changes::Changes;
use crate::boundary::evidence::Proofs;
use crate::boundary::health::Notes;
use crate::boundary::held_up::HeldUp;
use crate::boundary::live::{Live, Living, Recorded};
use crate::boundary::outputs::{Kept, Outputs};
use crate::boundary::refusal::{Refusal, Stopped, fault};
use crate::boundary::refusals::Refusals;
use crate::boundary::sealed::Sealed;
use crate::boundary::stage::{
    Accepted, Admitted, Answers, Consumed, Ended, Evidence, Ran, Receipted, Request, SignedReceipt, Verified,
};
use crate::boundary::surroundings::Surroundings;
use crate::boundary::view::StreamName;
use crate::boundary::witnesses::Witnesses;
use crate::crypto::canonical;
use crate::crypto::digest::AuthorizationDigest;
use crate::crypto::signature::{PAYLOAD_TYPE, SecretKey, pae};
use crate::crypto::sshsig::KeyId;
use crate::decision::exclusion::{self, Tokens};
use crate::decision::parameters::check_parameters;
use crate::decision::permissions::{check_permissions, check_profile};
use crate::decision::place::check_place;
use crate::decision::step::check_step;
use crate::decision::window::check_window;
use crate::decision::{Objection, quorum};
use crate::record::document::{Malformed, Predicate, Statement};
use crate::record::envelope::{Base64, Envelope, EnvelopeSignature, Signed};
use crate::record::ident::ProposalId;
use crate::record::receipt::{
    ConsumptionRef, Decision, Files, Outcome, Output, Receipt, ReceiptBoundary, Status, Stream, Usage,
};
use crate::record::refusal::Code;
use crate::record::token::Scope;
use crate::record::validity::Timestamp;
use crate::registry::parameters;
use crate::sandbox::cancel::CancelFlag;
use crate::sandbox::capture;
use crate::sandbox::facts::nothing_enforced;
use crate::sandbox::{End, Plan, Report, Sandbox};
use crate::store::ledger::Ledger;
use crate::store::message::{Consume, ConsumeStop, Core, Finish, FinishStop, Retention};
use crate::store::window::Window;

/// A boundary: what is sealed, where it is kept, and what it runs in.
pub struct Boundary {
    ledger: Ledger,
    sandbox: Arc<dyn Sandbox>,
    key: BoundaryKey,
    sealed: RwLock<Arc<Sealed>>,
    sealing: tokio::sync::Mutex<()>,
    /// What differs between the files and the seal, for operators.
    notes: Notes,
    witnesses: Witnesses,
    live: Live,
    changes: Changes,
    held_up: HeldUp,
    outputs: Outputs,
    proofs: Proofs,
    refusals: Refusals,
    admissions: access::Admissions,
    /// Room for runs: receipt, leaf and output of each are reserved before its nonce is spent.
    room: Arc<Semaphore>,
    /// Bytes of the disk that runs may still write.
    reserved: Arc<AtomicU64>,
    /// Requests that may be under verification at one time; refusing here costs less than refusing later.
    crossings: Arc<Semaphore>,
    /// How long what is no evidence is kept.
    retention: Retention,
    /// Logs that this one follows: their receipts are shown still.
    closed: Vec<Ledger>,
    surroundings: Surroundings,
}

/// The key that signs what this boundary states.
#[derive(Debug)]
pub struct BoundaryKey {
    /// The private half.
    pub secret: SecretKey,
    /// The OpenSSH fingerprint of the public half.
    pub keyid: KeyId,
}

/// How much may go on at one time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Runs at one time.
    pub runs: usize,
    /// Requests under verification at one time.
    pub crossings: usize,
}

/// What a boundary is put together from.
pub struct Parts {
    /// The store.
    pub ledger: Ledger,
    /// The sandbox.
    pub sandbox: Arc<dyn Sandbox>,
    /// The boundary's key.
    pub key: BoundaryKey,
    /// The state in force.
    pub sealed: Sealed,
    /// Where large outputs and spools go.
    pub outputs: Outputs,
    /// How much may go on at one time.
    pub limits: Limits,
    /// How long what is no evidence is kept.
    pub retention: Retention,
    /// Logs that this one follows, at rest.
    pub closed: Vec<Ledger>,
    /// Time and randomness.
    pub surroundings: Surroundings,
}

/// What became of a request to consume.
pub enum Claim {
    /// The nonce is spent.
    Consumed(Box<Consumed>),
    /// The state moved between verdict and claim: begin again, from the bytes.
    Moved(Accepted),
}

/// Verdicts that moved may be made again this often before the caller is told to come back.
const MOST_VERDICTS: usize = 16;
/// Bytes on the disk of a run's rows, leaves and tiles, with their copies in the write-ahead log.
const RECEIPT_ROOM: u64 = 256 << 10;
/// Bytes of the disk that must be left for a proposal to be taken: the store's own needs, and runs that are signed yet.
/// README names them.
pub const PROPOSAL_ROOM: u64 = 16 << 20;
/// After which pause a receipt is offered again to a disk that has no room; and how often, once the service is ending.
const RECEIPT_PAUSE: Duration = Duration::from_secs(1);
const LAST_OFFERS: usize = 60;
/// How often output is offered to a disk that fails for another reason, and after which pause: descriptors may have run out.
const OUTPUT_TRIES: usize = 3;
const OUTPUT_PAUSE: Duration = Duration::from_millis(200);

impl Boundary {
    /// Puts a boundary together.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { ledger, sandbox, key, sealed, outputs, limits, retention, closed, surroundings } = parts;
        let refusals = refusals::left(&ledger);
        Arc::new(Self {
            ledger,
            sandbox,
            key,
            sealed: RwLock::new(Arc::new(sealed)),
            sealing: tokio::sync::Mutex::new(()),
            notes: Notes::default(),
            witnesses: Witnesses::default(),
            live: Live::default(),
            changes: Changes::default(),
            held_up: HeldUp::default(),
            outputs,
            proofs: Proofs::default(),
            refusals,
            admissions: access::Admissions::new(surroundings.bytes()),
            room: Arc::new(Semaphore::new(limits.runs)),
            reserved: Arc::default(),
            crossings: Arc::new(Semaphore::new(limits.crossings)),
            retention,
            closed,
            surroundings,
        })
    }

    /// The whole way of a run, in order.
    ///
    /// # Errors
    /// Why it may not run; or, after its nonce was spent, that something broke before its receipt was durable:
    /// then the next start writes one.
    pub async fn cross(&self, request: Request, permit: Option<Permit>) -> Result<Receipted, Stopped> {
        let mut accepted = self.accept(request)?;
        let mut verdicts = 0;
        let consumed = loop {
            let verified = self.verify(accepted)?;
            let admitted = self.admit(verified)?;
            match self.consume(admitted).await? {
                Claim::Consumed(consumed) => break *consumed,
                // R3: a seal, denial, cancellation or epoch came between verdict and claim.
                Claim::Moved(again) => accepted = again,
            }
            verdicts += 1;
            if verdicts == MOST_VERDICTS {
                return Err(busy("what is in force changes too often just now").into());
            }
            tokio::task::yield_now().await;
        };
        // Verified: a run that lasts must not keep signatures and denials of others waiting.
        drop(permit);
        let ran = self.run(consumed).await; // no `?`: from here a failure is an outcome
        let receipt = self.receipt(ran)?; // a fault is possible here, a refusal is not
        self.log(receipt).await
    }

    /// Takes the envelope apart: sizes, base64, number of signatures. Nothing of the payload is read.
    ///
    /// # Errors
    /// `malformed` or `too-large`.
    pub fn accept(&self, request: Request) -> Result<Accepted, Stopped> {
        let signed = Signed::from_envelope(&request.envelope, Base64::Lenient)?;
        Ok(Accepted::new(signed, request.handed_in_by, request.caller))
    }

    /// Verifies every signature over the bytes received, under the roster in force; then reads the payload.
    ///
    /// # Errors
    /// `unknown-signer` before any cryptography, `bad-signature`, `malformed`.
    pub fn verify(&self, accepted: Accepted) -> Result<Verified, Stopped> {
        // The version before the state: whatever comes after this line shows at the claim.
        let version = self.ledger.state().version;
        let sealed = self.state();
        let document = accepted.signed().clone().verify(|keyid| sealed.roster.key(keyid))?;
        Ok(Verified::new(accepted, document, sealed, version))
    }

    /// Asks every question, of the state in force now (R2), whatever was true when it was proposed.
    ///
    /// # Errors
    /// The first no, in the order of R1.
    pub fn admit(&self, verified: Verified) -> Result<Admitted, Stopped> {
        // Judged by such a clock everything would be expired, for good.
        self.demand_clock()?;
        let sealed = verified.sealed().clone();
        let signed = verified.document().predicate();
        let about = |objection: Objection| Stopped::from(refusal_of(&objection).about(&signed.proposal));
        let here = &sealed.boundary;
        let place = check_place(&signed.boundary, &here.name, &here.id, &here.epoch).map_err(|e| about(e.into()))?;
        if let Some(caller) = verified.caller() {
            let _ = caller.demand(Scope::Propose, Some(&signed.step.reference))?;
        }
        let found = sealed.step(&signed.step.reference);
        let step = check_step(signed, found.map(|(_, held)| &held.hashed)).map_err(|e| about(e.into()))?;
        let Some((registered, held)) = found else {
            return Err(
                Refusal::new(Code::UnknownStep, format!("no step {} is registered", signed.step.reference)).into()
            );
        };
        let fit = check_parameters(signed, &registered.schema).map_err(|e| about(e.into()))?;
        let permissions = check_permissions(held.asked(), &signed.permissions).map_err(|e| about(e.into()))?;
        let profile = check_profile(&held.profile, &signed.sandbox).map_err(|e| about(e.into()))?;
        let sandbox = self.sandbox.check(&signed.sandbox).map_err(|unavailable| {
            Refusal::new(Code::SandboxUnavailable, unavailable.to_string()).about(&signed.proposal)
        })?;
        let now = self.now();
        let tokens = Tokens::Sealed(&sealed.tokens, now);
        let excluded = exclusion::judge(&signed.proposer, verified.handed_in_by(), tokens, &sealed.roster)
            .map_err(|e| about(e.into()))?;
        let count = quorum::count(verified.document().signatures(), &sealed.roster, &excluded, &held.rules, now);
        let met = quorum::decide(&held.rules, &count).map_err(|e| about(e.into()))?;
        // An early no; the claim judges again, by its own clock.
        let within = check_window(signed, now, None).map_err(|e| about(e.into()))?;
        // Denials are looked for at the claim, in its own transaction.
        let counted: Vec<_> = met.approvers().iter().filter_map(|name| sealed.roster.approver(name)).collect();
        let window = Window {
            issued_at: signed.issued_at,
            not_before: signed.not_before,
            expires_at: signed.expires_at,
            max_s: None,
            valid_after: counted.iter().filter_map(|approver| approver.valid_after).max(),
            valid_before: counted
                .iter()
                .filter_map(|approver| approver.valid_before)
                .chain(sealed.ends([&signed.proposer, verified.handed_in_by()]))
                .min(),
        };
        let answers = Answers {
            place,
            step,
            parameters: fit,
            permissions,
            profile,
            sandbox,
            excluded,
            quorum: met,
            window: within,
        };
        Ok(Admitted::new(verified, answers, window))
    }

    /// Spends the nonce: one durable commit under the very state of the verdict, at most once, ever.
    ///
    /// # Errors
    /// `too-large` when its receipt could not be written; `nonce-replayed` with what the nonce became, `expired`,
    /// `denied`, `busy` and the like; nothing is stored then.
    pub async fn consume(&self, admitted: Admitted) -> Result<Claim, Stopped> {
        let document = admitted.document();
        let signed = document.predicate();
        let sealed = admitted.sealed();
        let authorization = document.digest_as();
        let envelope = document.envelope(|keyid| admitted.quorum().keeps(keyid));
        let decision = Decision {
            approvers: admitted.quorum().approvers().to_vec(),
            groups: admitted.quorum().groups().to_vec(),
            excluded: admitted.excluded().names(),
            handed_in_by: admitted.handed_in_by().clone(),
            policy: sealed.policy.digest(),
        };
        // The receipt must be writable whatever the run does: what would not fit is refused while nothing is spent.
        let _writable = decision.check_room()?;
        let envelope_bytes = envelope.to_canonical().map_err(|e| fault(&e))?;
        let decision_bytes = canonical::canonical_of(&decision).map_err(|e| fault(&e))?;
        let room = self.reserve(signed.sandbox.limits.output_bytes)?;
        let exclusive = sealed.step(&signed.step.reference).and_then(|(step, _)| step.definition.exclusive.clone());
        let request = Consume {
            version: admitted.version(),
            seal: sealed.digest,
            core: Core {
                id: signed.proposal.clone(),
                digest: authorization,
                nonce: signed.nonce.clone(),
                step: signed.step.reference.clone(),
                step_digest: signed.step.digest,
                params_digest: admitted.parameters().params().digest(),
                proposer: signed.proposer.clone(),
                expires_at: signed.expires_at,
            },
            envelope: envelope_bytes.into(),
            decision: decision_bytes.into(),
            window: admitted.window(),
            exclusive: exclusive.map(Into::into),
        };
        let evidence = Evidence {
            proposal: signed.proposal.clone(),
            authorization,
            step: signed.step.clone(),
            envelope,
            decision,
        };
        match self.ledger.consume(request).await {
            // The nonce is spent before the step runs. If we crash here the step has not run and never will: recovery
            // writes a receipt with outcome `unknown`. Losing a run is better than running twice.
            Ok(claim) => {
                self.changes.notify(&evidence.proposal);
                Ok(Claim::Consumed(Box::new(Consumed::new(admitted, claim, evidence, room))))
            }
            Err(ConsumeStop::Moved | ConsumeStop::SignerOutside { .. }) => Ok(Claim::Moved(admitted.again())),
            Err(stop) => Err(self.claim_refused(&stop, &evidence)),
        }
    }

    /// Runs the sealed bytes in the signed sandbox. Whatever goes wrong is an outcome.
    pub async fn run(&self, consumed: Consumed) -> Ran {
        let signed = consumed.admitted().document().predicate();
        let claim = consumed.claim();
        let started_at = self.now().max(claim.at);
        let recording = self.live.begin(&signed.proposal, self.outputs.scratch(), signed.sandbox.limits.output_bytes);
        let plan = consumed.admitted().sealed().step(&signed.step.reference).map(|(step, _)| Plan {
            interpreter: step.definition.interpreter.clone(),
            source: step.definition.source.clone().into_bytes(),
            env: parameters::environment(consumed.parameters().params()),
            params_json: consumed.parameters().params().canonical().to_vec(),
        });
        let proposal = signed.proposal.clone();
        let (prepared, closing) = consumed.into_run();
        let report = match (plan, CancelFlag::new()) {
            (Some(plan), Ok(flag)) => {
                recording.cancels(flag.clone());
                let (sandbox, writer) = (self.sandbox.clone(), recording.shared());
                let run = tokio::task::spawn_blocking(move || {
                    sandbox.run(
                        prepared,
                        plan,
                        &mut |chunk| writer.write(stream_name(chunk.stream), chunk.bytes),
                        &flag,
                    )
                });
                run.await.unwrap_or_else(|error| Report::lost(format!("the run was not seen to its end: {error}")))
            }
            (None, _) => Report::not_started("the sealed step is gone".to_owned()),
            (_, Err(error)) => Report::not_started(format!("no descriptor is left to watch a run: {error}")),
        };
        tracing::info!(proposal = %proposal, end = ?report.end, ms = report.duration_ms, "ran");
        let recorded = recording.close(report.stdout.bytes, report.stderr.bytes);
        if let Some(why) = &recorded.failed {
            tracing::warn!(proposal = %proposal, "{why}");
        }
        let finished_at = self.now().max(started_at);
        let end = Ended::Seen { report: Box::new(report), recorded: Box::new(recorded), recording };
        Ran { closing, end, started_at, finished_at }
    }

    /// Writes and signs the receipt: also for a run whose end nobody saw.
    ///
    /// # Errors
    /// A fault only: the next start writes an `unknown` receipt in its place.
    pub fn receipt(&self, ran: Ran) -> Result<SignedReceipt, Stopped> {
        let Ran { closing, end, started_at, finished_at } = ran;
        let sealed = self.state();
        let (outcome, output, usage, sandbox, duration_ms, recorded) = match end {
            Ended::Seen { report, recorded, recording } => (
                outcome_of(&report.end),
                Output { stdout: recorded.stdout.clone(), stderr: recorded.stderr.clone() },
                Usage {
                    cpu_ms: report.usage.cpu_ms,
                    memory_peak_bytes: report.usage.memory_peak_bytes,
                    processes_peak: None,
                },
                self.with_masks_before(report.enforcement.clone(), &closing.evidence.step, &closing.evidence.envelope),
                report.duration_ms,
                Some((recorded, recording)),
            ),
            Ended::Unseen => {
                let output = Output { stdout: Stream::empty(), stderr: Stream::empty() };
                (Outcome::of(Status::Unknown), output, Usage::default(), nothing_enforced(), 0, None)
            }
        };
        let started_at = shown_start(&outcome, started_at, finished_at);
        let receipt = Receipt {
            consumption: ConsumptionRef {
                index: closing.claim.index,
                leaf: closing.claim.leaf,
                item: u64::from(closing.claim.item),
            },
            authorization: closing.evidence.envelope.clone(),
            decision: closing.evidence.decision.clone(),
            outcome,
            started_at,
            finished_at,
            duration_ms,
            output,
            files: Files::none(),
            sandbox,
            usage,
            seal: closing.claim.seal,
            boundary: ReceiptBoundary {
                name: sealed.boundary.name.clone(),
                id: sealed.boundary.id,
                keyid: self.key.keyid,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        };
        let statement = receipt.into_statement_of(&closing.evidence.authorization);
        let envelope = self.sign_statement(&statement).map_err(|e| fault(&e))?.into();
        let receipt = statement.predicate;
        Ok(SignedReceipt { closing, receipt, envelope, recorded })
    }

    /// Makes output and receipt durable, in this order; only then anybody sees them (R5).
    ///
    /// # Errors
    /// A fault only: the next start writes an `unknown` receipt in its place.
    pub async fn log(&self, receipt: SignedReceipt) -> Result<Receipted, Stopped> {
        let SignedReceipt { closing, receipt, envelope, recorded } = receipt;
        let proposal = closing.evidence.proposal.clone();
        // Large outputs become durable files here. A crash now leaves files that no receipt names: recovery sweeps them.
        let (kept, order) = match &recorded {
            Some((recorded, recording)) => (self.keep_output(recorded, recording).await, Some(recorded.order.clone())),
            None => (Kept::default(), None),
        };
        let finish = Finish {
            proposal: proposal.clone(),
            receipt: envelope.clone(),
            at: receipt.finished_at,
            detail: canonical::canonical_of(&receipt.outcome).map_err(|e| fault(&e))?,
            outputs: kept.rows.clone(),
            order: order.filter(|order| !order.is_empty()),
            blobs: Vec::new(),
        };
        let mut patience = Patience::default();
        let leaf = loop {
            match self.ledger.finish(finish.clone()).await {
                // A receipt is never refused for lack of room: it waits for some.
                Err(FinishStop::Fault(crate::store::Fault::Full { .. })) if patience.is_left(&self.room) => {
                    patience.wait(&proposal).await;
                }
                done => break done.map_err(|stop| fault(&stop))?,
            }
        };
        // The receipt and its leaf are durable. A crash from here on loses nothing.
        drop((kept, recorded, closing.room));
        self.changes.notify(&proposal);
        self.changes.notify_room();
        let parts = stage::Parts {
            receipt: envelope,
            consumption: (closing.claim.index, closing.claim.data),
            seal: receipt.seal,
            step: closing.evidence.step,
        };
        Ok(Receipted { receipt: proposal.receipt(), proposal, outcome: receipt.outcome, index: leaf.index, parts })
    }

    /// The time by which everything here is judged: the clock's, but never before the log's last entry, so that a
    /// clock that was set back neither revives what had expired nor stops new work (R7).
    fn now(&self) -> Timestamp {
        self.ledger.now()
    }

    /// Makes the output of a run durable, however long the disk has no room for it. Output that can't be kept for another
    /// reason is given up, never the receipt: how the run ended is known, and its digests say what there was.
    async fn keep_output(&self, recorded: &Recorded, recording: &Living) -> Kept {
        if Outputs::is_inline(recorded)
            && let Ok(kept) = self.outputs.keep(recorded, recording, |name: &_| self.ledger.output_path(name))
        {
            return kept;
        }
        let mut patience = Patience::default();
        let mut tries = 0;
        loop {
            let (outputs, ledger) = (self.outputs.clone(), self.ledger.clone());
            let (copied, shared) = (recorded.clone(), recording.shared());
            let kept = tokio::task::spawn_blocking(move || {
                outputs.keep(&copied, &shared, |name: &_| ledger.output_path(name))
            });
            let error = match kept.await {
                Ok(Ok(kept)) => return kept,
                Ok(Err(error)) => error,
                Err(error) => io::Error::other(error),
            };
            let proposal = recording.proposal();
            if is_full(&error) && patience.is_left(&self.room) {
                patience.wait(proposal).await;
                continue;
            }
            tries += 1;
            if tries == OUTPUT_TRIES {
                tracing::error!(%proposal, "its output is lost, its receipt is not: {error}");
                return Kept::default();
            }
            tokio::time::sleep(OUTPUT_PAUSE).await;
        }
    }

    /// Refuses what would be judged or dated by a clock that leapt ahead.
    fn demand_clock(&self) -> Result<(), Stopped> {
        self.ledger.clock_ahead().map_or(Ok(()), |why| Err(Refusal::new(Code::Busy, why).retry_after(60).into()))
    }

    /// Whether a run is going on, from before its nonce is spent until its receipt is durable.
    fn is_running(&self) -> bool {
        self.reserved.load(Ordering::SeqCst) > 0
    }

    /// What is in force now.
    #[must_use]
    pub fn state(&self) -> Arc<Sealed> {
        self.sealed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Room for one request under verification; to be taken before its body is parsed.
    ///
    /// # Errors
    /// `busy`, with when to try again. Nothing was spent.
    pub fn permit(&self) -> Result<Permit, Stopped> {
        let permit = self.crossings.clone().try_acquire_owned();
        permit.map(Permit).map_err(|_| busy("too many requests are under verification").into())
    }

    /// Room on the disk beyond what runs may still write: proposals that are never signed must not take theirs.
    fn demand_room(&self) -> Result<(), Stopped> {
        // How much is free is for the operator: `/ready`, the log and `doctor` say it.
        if self.disk_trouble().is_none() {
            return Ok(());
        }
        let detail = "the boundary's disk is almost full: have its operator make room, then try again";
        Err(Refusal::new(Code::Busy, detail).retry_after(60).into())
    }

    /// Room for a run and all that it leaves: receipt, leaf, output.
    fn reserve(&self, output_bytes: u64) -> Result<Room, Stopped> {
        let permit = self.room.clone().try_acquire_owned().map_err(|_| busy("as many steps run as may"))?;
        // Output is at most written twice: as a spool, and as a file or row.
        let bytes = output_bytes.saturating_mul(2).saturating_add(RECEIPT_ROOM);
        let needed = self.reserved.fetch_add(bytes, Ordering::SeqCst).saturating_add(bytes);
        let room = Room { bytes, reserved: self.reserved.clone(), _permit: permit };
        match self.outputs.room() {
            Ok(free) if free >= needed => Ok(room),
            Ok(free) => {
                let (free, needed) = (free >> 20, needed.div_ceil(1 << 20));
                let why = format!("{free} MiB are free for the store and its outputs, {needed} MiB are needed");
                Err(busy(&format!("{why}: make room on its disk")).into())
            }
            Err(error) => Err(fault(&error)),
        }
    }

    /// Signs a statement of this boundary: canonical JSON of its envelope, as the log keeps it.
    fn sign_statement<P: Predicate>(&self, statement: &Statement<P>) -> Result<Vec<u8>, Malformed> {
        let payload = statement.to_payload()?;
        let signature = self.key.secret.sign(&pae(PAYLOAD_TYPE, &payload));
        let envelope = Envelope::new(&payload, vec![EnvelopeSignature::new(self.key.keyid, &signature)]);
        envelope.to_canonical().map_err(|error| Malformed::at("", error.to_string()))
    }

    fn claim_refused(&self, stop: &ConsumeStop, evidence: &Evidence) -> Stopped {
        let code = match stop {
            // Undone, so nothing is spent.
            ConsumeStop::Fault(crate::store::Fault::Full { .. }) => Code::Busy,
            ConsumeStop::Fault(error) => return fault(error),
            ConsumeStop::Replayed(spent) => return self.replayed(spent),
            // Which run it is, is for those who may see that one.
            ConsumeStop::ExclusiveBusy { .. } => return busy("another run excludes this one").into(),
            ConsumeStop::Moved | ConsumeStop::NoSeal | ConsumeStop::ClockAhead { .. } => Code::Busy,
            ConsumeStop::SignerOutside { .. } => Code::QuorumMissing,
            ConsumeStop::BadWindow | ConsumeStop::WindowTooLong { .. } => Code::Malformed,
            ConsumeStop::NotYetValid { .. } => Code::NotYetValid,
            ConsumeStop::Expired { .. } => Code::Expired,
            ConsumeStop::Denied => Code::Denied,
            ConsumeStop::WrongState(_) => Code::WrongState,
            ConsumeStop::OtherAuthorization => Code::NonceReplayed,
        };
        let refusal = Refusal::new(code, stop.to_string()).about(&evidence.proposal);
        if code == Code::Busy { refusal.retry_after(1) } else { refusal }.into()
    }

    fn replayed(&self, spent: &crate::store::message::Spent) -> Stopped {
        // Whose run it was stands in the links, for those who may see it.
        let refusal =
            Refusal::new(Code::NonceReplayed, "the nonce is spent: one nonce, one run").about(&spent.proposal);
        match self.ledger.proposal(&spent.proposal) {
            Ok(Some(row)) if row.receipt.is_some() => refusal.with_receipt(spent.proposal.receipt()).into(),
            Ok(_) => refusal.into(),
            Err(error) => fault(&error),
        }
    }
}

/// How a receipt waits for room on the disk: as long as the service lives, and a while longer when it is ending.
#[derive(Debug, Default)]
struct Patience {
    offers: usize,
    last: usize,
}

impl Patience {
    fn is_left(&mut self, room: &Semaphore) -> bool {
        if room.is_closed() {
            self.last += 1;
        }
        self.last <= LAST_OFFERS
    }

    async fn wait(&mut self, proposal: &ProposalId) {
        if self.offers.is_multiple_of(LAST_OFFERS) {
            tracing::error!(%proposal, "the disk has no room for a receipt: it waits until there is some");
        }
        self.offers += 1;
        tokio::time::sleep(RECEIPT_PAUSE).await;
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Room for one run, given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    reserved: Arc<AtomicU64>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// Room for one request under verification.
#[derive(Debug)]
#[must_use]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

fn busy(why: &str) -> Refusal {
    Refusal::new(Code::Busy, format!("{why}; the nonce is not spent, try again")).retry_after(1)
}

/// What the caller is told when a question is answered with no.
fn refusal_of(objection: &Objection) -> Refusal {
    let refusal = Refusal::new(objection.code(), objection.to_string());
    match objection {
        Objection::Parameters(crate::decision::parameters::ParametersError::Invalid(errors)) => errors
            .iter()
            .fold(refusal, |refusal, error| refusal.at(format!("/params{}", error.pointer), error.message.clone())),
        _ => refusal,
    }
}

const fn stream_name(stream: capture::Stream) -> StreamName {
    match stream {
        capture::Stream::Stdout => StreamName::Stdout,
        capture::Stream::Stderr => StreamName::Stderr,
    }
}

/// The outcome of a run that ended so.
#[must_use]
pub fn outcome_of(end: &End) -> Outcome {
    match end {
        End::Exited(code) => Outcome::exited(*code),
        End::Signalled(signal) => Outcome::signalled(*signal),
        End::TimedOut => Outcome::of(Status::TimedOut),
        End::Cancelled => Outcome::of(Status::Cancelled),
        End::Killed(limit) => Outcome { limit: Some((*limit).to_owned()), ..Outcome::of(Status::Killed) },
        End::NotStarted(_) => Outcome::of(Status::NotStarted),
        End::Lost(_) => Outcome::of(Status::Unknown),
    }
}

/// When a receipt says that the run started. Of an `unknown` one there is a single time, when that was found out:
/// nobody must take its times for the length of a run.
fn shown_start(outcome: &Outcome, started_at: Timestamp, finished_at: Timestamp) -> Timestamp {
    if outcome.status == Status::Unknown { finished_at } else { started_at }
}

impl crate::record::envelope::Verified<crate::record::authorization::Authorization> {
    /// The digest that names this authorization.
    #[must_use]
    fn digest_as(&self) -> AuthorizationDigest {
        AuthorizationDigest::from_bytes(self.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_lost_while_the_service_lived_has_one_time_like_a_recovered_one() {
        let (started, finished) = (Timestamp::from_unix(100), Timestamp::from_unix(130));
        let lost = outcome_of(&End::Lost("the run's first process ended without a word".to_owned()));
        assert_eq!(shown_start(&lost, started, finished), finished);
        assert_eq!(shown_start(&outcome_of(&End::Exited(0)), started, finished), started);
    }
}
