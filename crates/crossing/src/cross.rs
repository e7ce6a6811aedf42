//! The crossing, with its stages accept, verify, admit, load, consume, run, receipt and log.
//!
//! Every run passes through the same stages, for an online proposal and for a complete envelope from a caller. Other
//! modules pass requests to the crossing and show the results.

use std::{sync::Arc, time::Instant};

use crate::{
    Accepted, Admitted, ArtifactStore, BoundaryKey, BundleParts, Capacity, Changes, Closing,
    Consumed, CrossingParts, CrossingRequest, CurrentSeal, LateReceipts, Outputs, Permit, Ran,
    ReceiptBasis, Receipted, RecordedRows, RecordedRun, Refusal, RequestResult, ResultsBasis,
    RunInputs, RunsInProgress, Sealed, SecretPermits, Sessions, Stopped, VerifiedRequest, busy,
    carried::kept_results::wants_results,
    fault, log_about,
    masks::with_masks_before,
    outcome_of, planned_files, profile_on_host,
    run_end::{LATEST_START, TOO_LATE, shown_start, why_unknown},
    secret_permits, session_user,
    stage::{CheckResults, ClockTrusted, Loaded, SignedReceipt},
};
use documents::{
    Base64, BlobDigest, Code, ConsumptionRef, Decision, Files, Output, Receipt, ReceiptBoundary,
    SessionChange, SessionReference, Signed, Status, Stream, StreamName, Timestamp, Usage,
    canonical,
};
use reading::parameter_schema;
use sandbox::{CancelFlag, LinuxSandbox, Plan, Report, SecretMasks, Starter, capture};
use store::{
    AuthorizationCore, Consume, ConsumeStop, CrossingStage, Finish, Ledger, Spender, StageClock,
    Window, end_detail,
};
use verdict::{
    Objection, RunWindow, TimeLimits, WindowBounds, check_parameters, check_permissions,
    check_place, check_profile, check_step, check_window,
};

/// The crossing, with the sealed state, the store and the sandbox.
pub struct Crossing {
    spender: Spender,
    pub(super) ledger: Ledger,
    sandbox: Arc<LinuxSandbox>,
    starter: Arc<Starter>,
    pub(super) key: Arc<BoundaryKey>,
    pub(super) seal: Arc<CurrentSeal>,
    pub(super) live: Arc<RunsInProgress>,
    changes: Arc<Changes>,
    pub(super) outputs: Outputs,
    secrets: SecretPermits,
    pub(super) services: Vec<(String, u16)>,
    pub(super) capacity: Capacity,
    pub(super) sessions: Arc<Sessions>,
    pub(super) artifacts: ArtifactStore,
    pub(super) late: LateReceipts,
}

/// Result of an attempt to spend a nonce.
pub enum Claim {
    /// The nonce is spent.
    Consumed(Box<Consumed>),
    /// The sealed state or the proposal changed after the verdict, so the crossing must verify the envelope again.
    Moved(Accepted),
}

/// Maximum number of verdicts for one request. If the state changed after each verdict, the caller receives `busy`.
const MOST_VERDICTS: usize = 16;

impl Crossing {
    /// Builds a crossing from `parts`.
    pub fn new(parts: CrossingParts) -> Self {
        let CrossingParts {
            spender,
            sandbox,
            starter,
            key,
            seal,
            live,
            changes,
            outputs,
            limits,
            sessions,
            artifacts,
            secrets,
            services,
            late,
        } = parts;
        let capacity = Capacity::new(limits, outputs.clone());
        Self {
            ledger: spender.ledger(),
            spender,
            sandbox,
            starter: Arc::new(starter),
            key,
            seal,
            live,
            changes,
            outputs,
            capacity,
            sessions,
            artifacts,
            secrets,
            services,
            late,
        }
    }

    /// Performs all stages of a run, in order.
    ///
    /// # Errors
    /// Returns a refusal if the run is not allowed. Returns a fault if a failure occurs after the commit of the nonce
    /// and before the commit of the receipt. The next start of the service then writes the receipt.
    pub async fn cross(
        &self,
        request: CrossingRequest,
        permit: Option<Permit>,
    ) -> RequestResult<Receipted> {
        let mut clock = StageClock::start(self.ledger.metrics().clone());
        let announced = self.ledger.announce();
        let mut accepted = self.accept(request)?;
        let mut verdicts = 0;
        let consumed = loop {
            let verified = self.verify(accepted)?;
            let admitted = self.admit(verified)?;
            let loaded = self.load(admitted)?;
            clock.end(CrossingStage::Verify);
            match self.consume(loaded).await? {
                Claim::Consumed(consumed) => break *consumed,
                // After the verdict and before the commit of the nonce, a new seal, denial, cancellation or epoch was
                // committed (rule R3).
                Claim::Moved(again) => accepted = again,
            }
            verdicts += 1;
            if verdicts == MOST_VERDICTS {
                return Err(busy("the state in force changes too often at this time").into());
            }
            tokio::task::yield_now().await;
            clock.restart();
        };
        clock.end(CrossingStage::Consume);
        // Release the permit of the verified request, because signatures and denials of other callers need permits
        // during a long run.
        drop((permit, announced));
        let ran = self.run(consumed).await; // no `?` here: from now on a failure is an outcome of the run
        let _announced = self.ledger.announce();
        clock.end(CrossingStage::Run);
        let receipt = self.receipt(ran)?; // from now on a fault is possible, but no refusal
        let receipted = self.log(receipt).await?;
        clock.end(CrossingStage::Receipt);
        Ok(receipted)
    }

    /// Decodes the envelope, and checks its sizes, its base64 encoding and the number of its signatures. The payload
    /// stays unparsed.
    ///
    /// # Errors
    /// Returns `malformed` or `too-large`.
    pub fn accept(&self, request: CrossingRequest) -> RequestResult<Accepted> {
        let signed = Signed::from_envelope(&request.envelope, Base64::Lenient)?;
        Ok(Accepted {
            signed,
            handed_in_by: request.handed_in_by,
            stored: request.stored,
        })
    }

    /// Verifies every signature over the received bytes with the keys of the roster in force. Only then parses the
    /// payload.
    ///
    /// # Errors
    /// Returns `unknown-signer` (before any signature is verified), `bad-signature` or `malformed`.
    pub fn verify(&self, accepted: Accepted) -> RequestResult<VerifiedRequest> {
        // Read the version before the state, so that the transaction which spends the nonce detects every later change.
        let version = self.ledger.version();
        let sealed = self.state();
        let document = accepted
            .signed
            .clone()
            .verify(|keyid| sealed.statement_key(keyid));
        let document = document.map_err(|error| sealed.unverified(error))?;
        Ok(VerifiedRequest {
            accepted,
            document,
            sealed,
            version,
        })
    }

    /// Checks the request against the state that is in force now (rule R2), not against the state at the time of the
    /// proposal. This stage only checks: it changes nothing, and it reads no input of the run.
    ///
    /// # Errors
    /// Returns the refusal of the first check that fails, in the order of rule R1.
    pub fn admit(&self, verified: VerifiedRequest) -> RequestResult<Admitted> {
        // With a clock that is ahead of the log, valid authorizations would seem to be expired and would be refused.
        let clock = self.demand_clock()?;
        let sealed = verified.sealed.clone();
        let (signed, submitter) = (
            verified.document.predicate(),
            &verified.accepted.handed_in_by,
        );
        let about =
            |objection: Objection| Stopped::from(refusal_of(objection).about(&signed.proposal));
        let place = check_place(&signed.boundary, &sealed.boundary).map_err(|e| about(e.into()))?;
        let names = [&signed.proposer, submitter];
        let not_revoked = self.check_not_revoked(&sealed, names)?;
        let may_propose =
            sealed
                .tokens
                .check_may_propose(names, &sealed.roster, &signed.step.reference);
        let may_propose = may_propose.map_err(|e| about(e.into()))?;
        // Look up the step only once, so that the checked step is the step that runs.
        let (registered, held) = sealed.signed_step(signed).map_err(|e| about(e.into()))?;
        let step = check_step(signed, &held.hashed).map_err(|e| about(e.into()))?;
        let held = held.with(step.step());
        let parameters =
            check_parameters(signed, &registered.schema).map_err(|e| about(e.into()))?;
        let permissions =
            check_permissions(held.asked(), &signed.permissions).map_err(|e| about(e.into()))?;
        let here = profile_on_host(&held).map_err(|refusal| refusal.about(&signed.proposal))?;
        let profile = check_profile(&here, &signed.sandbox).map_err(|e| about(e.into()))?;
        let secrets = self
            .secrets
            .check(step.step().definition(), parameters.params().value());
        let secrets = secrets.map_err(|refusal| refusal.about(&signed.proposal))?;
        // The profile on this host equals the signed profile, and has the list of programs.
        let sandbox = self.sandbox.check(&here).map_err(|unavailable| {
            Refusal::new(Code::SandboxUnavailable, unavailable).about(&signed.proposal)
        })?;
        let now = self.now();
        let allowed = self.authority(&verified, &held, &here, now)?;
        // The transaction that spends the nonce repeats this check with the clock of the store, and checks for denials.
        let window = check_window(signed, now, None).map_err(|e| about(e.into()))?;
        let carried = signed
            .session
            .is_some()
            .then(|| sealed.carried_variables(&held));
        let checks = CheckResults {
            clock,
            place,
            not_revoked,
            may_propose,
            step,
            registered: registered.clone(),
            parameters,
            permissions,
            profile,
            programs: here.programs,
            secrets,
            carried,
            sandbox,
            allowed,
            window,
        };
        Ok(Admitted { verified, checks })
    }

    /// Loads everything that the run gets besides its script and its parameters: the state of its session, its
    /// artifacts, the output of its plan and the values of its secrets. Only an approved run gets this far.
    ///
    /// # Errors
    /// Returns the refusals of [`Crossing::run_inputs`], and `sandbox-unavailable` for a secret without a value. The
    /// nonce stays unspent.
    pub fn load(&self, admitted: Admitted) -> RequestResult<Loaded> {
        let RunInputs {
            files: inputs,
            session,
            plan_ends,
        } = self.run_inputs(&admitted)?;
        let Admitted { verified, checks } = &admitted;
        let signed = verified.document.predicate();
        let window = RunWindow::of(TimeLimits {
            signed,
            quorum: &checks.allowed.authority,
            roster: &verified.sealed.roster,
            tokens: &verified.sealed.tokens,
            submitter: &verified.accepted.handed_in_by,
            plan_ends,
        });
        let secrets = self
            .secrets
            .read(&checks.secrets, checks.sandbox.has_own_root());
        let secrets = secrets.map_err(|refusal| refusal.about(&signed.proposal))?;
        let definition = checks.step.step().definition();
        let params =
            secret_permits::with_paths(&definition.params, checks.parameters.params().value());
        let given = ResultsBasis {
            session: definition.session,
            writes_state: session
                .as_ref()
                .is_some_and(|session| session.wrapper.is_some()),
            outputs: definition.outputs.clone(),
            directories: signed
                .sandbox
                .read
                .iter()
                .chain(&signed.sandbox.write)
                .cloned()
                .collect(),
            secret_variables: secrets
                .iter()
                .filter_map(|secret| secret.variable.clone())
                .collect(),
            carried: checks.carried.clone(),
        };
        let files = planned_files(&checks.registered).map_err(fault)?;
        let results = wants_results(definition, &files);
        let plan = Plan {
            interpreter: definition.interpreter.clone(),
            source: definition.source.clone().into_bytes(),
            env: parameter_schema::environment(&params),
            params_json: canonical::to_canonical(&params),
            files,
            inputs,
            results,
            session,
            secrets,
            unreachable: self.unreachable(&admitted),
        };
        Ok(Loaded {
            admitted,
            plan,
            given,
            window,
        })
    }

    /// Spends the nonce in one durable commit, which fails if the state changed after the verdict.
    ///
    /// # Errors
    /// Returns `too-large` if the receipt of the run could exceed its maximum size, `nonce-replayed` with the earlier
    /// proposal (and its receipt, if a receipt exists), `expired`, `denied`, `busy` and other refusals. If the function
    /// returns a refusal, the store is unchanged.
    pub async fn consume(&self, loaded: Loaded) -> RequestResult<Claim> {
        let Admitted { verified, checks } = &loaded.admitted;
        let document = &verified.document;
        let signed = document.predicate();
        let sealed = &verified.sealed;
        let authorization = document.digest_as();
        let envelope = document.envelope(|keyid| checks.allowed.authority.keeps(keyid));
        let decision = Decision {
            approvers: checks.allowed.authority.approvers().to_vec(),
            groups: checks.allowed.authority.groups().to_vec(),
            excluded: checks.allowed.excluded.names(),
            handed_in_by: verified.accepted.handed_in_by.clone(),
            policy: sealed.policy.digest(),
        };
        // The receipt must fit into its maximum size for every possible end of the run. The size is checked before the
        // commit, so that no nonce is spent for a receipt that is too large.
        let _writable = decision.check_room()?;
        let entry = envelope.to_canonical().map_err(fault)?;
        let room = match self
            .capacity
            .reserve(signed.sandbox.limits.output_bytes, loaded.plan.results)
        {
            Ok(room) => room,
            // If the nonce is already spent, return the refusal that names the earlier run. After a `busy` refusal, the
            // caller would send the request again, although the request can never succeed.
            Err(no_room) => {
                return Err(match self.ledger.reads().spent(&signed.nonce) {
                    Ok(Some(spent)) => self.replayed(&spent),
                    Ok(None) => no_room,
                    Err(error) => error.into(),
                });
            }
        };
        let WindowBounds {
            issued_at,
            not_before,
            expires_at,
            valid_after,
            valid_before,
        } = loaded.window.bounds();
        let request = Consume {
            version: verified.version,
            seal: sealed.digest,
            core: AuthorizationCore {
                id: signed.proposal.clone(),
                digest: authorization,
                nonce: signed.nonce.clone(),
                step: signed.step.reference.clone(),
                step_digest: signed.step.digest,
                params_digest: checks.parameters.params().digest(),
                proposer: signed.proposer.clone(),
                expires_at,
            },
            session: signed.session.clone(),
            envelope: entry.into(),
            handed_in_by: decision.handed_in_by.clone(),
            window: Window {
                issued_at,
                not_before,
                expires_at,
                max_s: None,
                valid_after,
                valid_before,
            },
            exclusive: checks
                .step
                .step()
                .definition()
                .exclusive
                .as_deref()
                .map(Into::into),
            limit_s: i64::try_from(signed.sandbox.limits.wall_ms.div_ceil(1000))
                .unwrap_or(i64::MAX),
            claim: checks.allowed.claim.clone(),
            emergency: checks.allowed.emergency,
            signers: checks.allowed.signers.clone(),
            programs: checks
                .programs
                .as_ref()
                .and_then(|list| Some((list.digest(), list.to_bytes()?))),
        };
        let basis = ReceiptBasis::of(signed, decision);
        // If the nonce is not spent, the claim is dropped and the session is free again.
        let user = session_user(sealed, &signed.proposer);
        let session = basis
            .session
            .as_ref()
            .map(|session| self.sessions.claim(session, &user, &basis.proposal));
        let session = session
            .transpose()
            .map_err(|refusal| refusal.about(&basis.proposal))?;
        let asked = Instant::now();
        match self.spender.consume(request).await {
            // Another node may have written the receipt of this run, so it is too late to start the run.
            Ok(_) if self.ledger.has_nodes() && asked.elapsed() >= LATEST_START => {
                Err(Refusal::new(Code::Database, TOO_LATE)
                    .about(&basis.proposal)
                    .into())
            }
            // The nonce is committed before the step starts. After a crash here, the step never runs, and recovery writes
            // a receipt with the outcome `unknown`. A lost run is better than a step that runs twice.
            Ok(claim) => {
                self.changes.notify(&basis.proposal);
                let closing = Closing {
                    claim,
                    basis,
                    room: Some(room),
                    session,
                    given: loaded.given,
                    change: None,
                };
                Ok(Claim::Consumed(Box::new(Consumed {
                    prepared: loaded.admitted.checks.sandbox,
                    plan: loaded.plan,
                    closing,
                })))
            }
            Err(stop) => match self.claim_refused(&stop, &basis) {
                Some(stopped) => Err(stopped),
                // The state changed after the verdict, so the request returns to its first stage.
                None => Ok(Claim::Moved(loaded.admitted.verified.accepted)),
            },
        }
    }

    /// Runs the sealed script in the signed sandbox. From this stage on, each failure is an outcome of the run.
    pub async fn run(&self, consumed: Consumed) -> Ran {
        let Consumed {
            prepared,
            plan,
            mut closing,
        } = consumed;
        let started_at = self.now().max(closing.claim.at);
        let basis = &closing.basis;
        let (proposal, most) = (basis.proposal.clone(), basis.profile.limits.output_bytes);
        log_about(&proposal, &basis.step.reference);
        let secrets = &plan.secrets;
        let masks = SecretMasks::new(secrets.iter().map(|secret| (&secret.name, &secret.value)))
            .map(Arc::new);
        let recording = self
            .live
            .begin(&proposal, self.outputs.scratch(), most, masks.as_ref());
        // A reader of the events may already wait for the recording.
        self.changes.notify(&proposal);
        let mut report = match CancelFlag::new() {
            Ok(flag) => {
                recording.cancels(flag.clone());
                let (starter, writer) = (self.starter.clone(), recording.shared());
                let span = tracing::Span::current();
                let run = tokio::task::spawn_blocking(move || {
                    let _in_log = span.enter();
                    starter.run(
                        prepared.streaming(),
                        plan,
                        &mut |chunk| writer.write(stream_name(chunk.stream), chunk.bytes),
                        &flag,
                    )
                });
                run.await.unwrap_or_else(|error| {
                    Report::lost(format!(
                        "the boundary did not see the end of the run: {error}"
                    ))
                })
            }
            Err(error) => {
                Report::not_started(format!("no descriptor is free to watch the run: {error}"))
            }
        };
        if let Some(masks) = &masks {
            // The path of a program may contain a secret by accident.
            report.programs = report
                .programs
                .map(|programs| masks.without_paths(programs));
        }
        tracing::info!(proposal = %proposal, end = ?report.end, ms = report.duration_ms, "ran");
        let kept = self.keep_results(&mut report, &mut closing, masks).await;
        for note in &kept.notes {
            // A script knows this digest only if the proposer tells it, so the digest shows that the line is from the
            // boundary.
            let line = format!(
                "countersign: {note} ({})\n",
                closing.claim.authorization.digest
            );
            report.stderr.bytes += recording.write_line(StreamName::Stderr, &line);
        }
        let output = recording.close(report.stdout.bytes, report.stderr.bytes);
        if let Some(why) = &output.failed {
            tracing::warn!(proposal = %proposal, "{why}");
        }
        let finished_at = self.now().max(started_at);
        let recorded = RecordedRun {
            output,
            recording,
            kept: Arc::new(kept),
        };
        Ran {
            closing,
            report: Box::new(report),
            recorded: Some(Box::new(recorded)),
            started_at,
            finished_at,
        }
    }

    /// Writes and signs the receipt, even if the boundary did not see the end of the run.
    ///
    /// # Errors
    /// Returns only faults. After a fault, the next start writes a receipt with outcome `unknown`.
    pub fn receipt(&self, ran: Ran) -> RequestResult<SignedReceipt> {
        let Ran {
            closing,
            report,
            recorded,
            started_at,
            finished_at,
        } = ran;
        let sealed = self.state();
        let (outcome, unknown) = (outcome_of(&report.end), why_unknown(&report.end));
        let output = match &recorded {
            Some(run) => Output {
                stdout: run.output.stdout.clone(),
                stderr: run.output.stderr.clone(),
            },
            None => Output {
                stdout: Stream::empty(),
                stderr: Stream::empty(),
            },
        };
        let sandbox = with_masks_before(
            &self.ledger,
            report.enforcement.clone(),
            &closing.basis.step,
            &closing.basis.profile,
        );
        let usage = Usage {
            cpu_ms: report.usage.cpu_ms,
            memory_peak_bytes: report.usage.memory_peak_bytes,
            processes_peak: None,
        };
        let started_at = shown_start(&outcome, started_at, finished_at);
        let manifest = recorded.as_ref().and_then(|run| run.kept.manifest());
        let files = manifest.map_or_else(|| Ok(Files::none()), |manifest| Files::of(&manifest))?;
        // If the boundary did not see the end of the run, the session has ended, and its state did not change.
        let unchanged = |session: &SessionReference| SessionChange {
            before: session.state,
            after: session.state,
        };
        let session = closing
            .change
            .clone()
            .or_else(|| closing.basis.session.as_ref().map(unchanged));
        let receipt = Receipt {
            consumption: ConsumptionRef {
                index: closing.claim.index,
                leaf: closing.claim.leaf,
                item: u64::from(closing.claim.item),
            },
            authorization: closing.claim.authorization,
            decision: closing.basis.decision.clone(),
            outcome,
            started_at,
            finished_at,
            duration_ms: report.duration_ms,
            output,
            files,
            sandbox,
            programs: report.programs,
            usage,
            session,
            seal: closing.claim.seal,
            boundary: ReceiptBoundary {
                name: sealed.boundary.name.clone(),
                id: sealed.boundary.id,
                keyid: self.key.keyid,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        };
        let statement = receipt.into_statement();
        let envelope = self.key.sign_statement(&statement).map_err(fault)?.into();
        let receipt = statement.predicate;
        Ok(SignedReceipt {
            closing,
            receipt,
            envelope,
            recorded,
            unknown,
        })
    }

    /// Makes the output durable, then the receipt. Readers see both only after both are durable (rule R5).
    ///
    /// # Errors
    /// Returns only faults. After a fault, the next start writes a receipt with outcome `unknown`.
    pub async fn log(&self, receipt: SignedReceipt) -> RequestResult<Receipted> {
        let SignedReceipt {
            closing,
            receipt,
            envelope,
            recorded,
            unknown,
        } = receipt;
        let proposal = closing.basis.proposal.clone();
        // `keep_output` writes large outputs to durable files. After a crash here, recovery removes the files that
        // belong to no receipt.
        let (kept, order) = match &recorded {
            Some(run) => (self.keep_output(run).await, Some(run.output.order.clone())),
            None => (RecordedRows::default(), None),
        };
        let manifest = recorded.as_ref().and_then(|run| run.kept.manifest());
        let manifest = manifest
            .map(|manifest| manifest.to_canonical())
            .transpose()?;
        let finish = Finish {
            proposal: proposal.clone(),
            consumption: (closing.claim.index, closing.claim.item),
            leaf: closing.claim.leaf,
            receipt: envelope.clone(),
            at: receipt.finished_at,
            detail: end_detail::write(&receipt.outcome, unknown.as_deref()),
            outputs: kept.rows.clone(),
            order: order.filter(|order| !order.is_empty()),
            blobs: manifest
                .map(|bytes| (BlobDigest::of(&bytes), bytes))
                .into_iter()
                .collect(),
            unknown: receipt.outcome.status == Status::Unknown,
            grant: closing.basis.grant,
        };
        let leaf = self.store_receipt(finish).await?;
        // The receipt and its log entry are durable. A crash after this point loses no data.
        if let Some(why) = unknown {
            tracing::warn!(%proposal, receipt = %proposal.receipt(), "the end of the run is unknown: {why}");
        }
        drop((kept, recorded, closing.room));
        self.ledger.metrics().crossing(receipt.outcome.status);
        self.changes.notify(&proposal);
        self.changes.notify_room();
        let parts = BundleParts {
            receipt: envelope,
            authorization: (closing.claim.authorization.index, closing.claim.signed),
            consumption: (closing.claim.index, closing.claim.data),
            seal: receipt.seal,
            step: closing.basis.step,
            programs: closing.basis.profile.programs.map(BlobDigest::from),
            grant: closing.basis.grant,
        };
        let statement = Box::new(receipt);
        Ok(Receipted {
            statement,
            index: leaf.index,
            parts,
        })
    }

    /// Returns the time for every decision of the crossing: the time of the clock, but never a time before the last log
    /// entry. So a clock that was set back neither makes expired authorizations valid nor stops new runs (rule R7).
    pub fn now(&self) -> Timestamp {
        self.ledger.now()
    }

    /// Refuses a request if the clock is ahead of the log, because checks of times would be wrong.
    ///
    /// # Errors
    /// Returns `busy`, with the time after which the caller can try again, if the clock is ahead.
    pub fn demand_clock(&self) -> RequestResult<ClockTrusted> {
        match self.ledger.clock_ahead() {
            None => Ok(ClockTrusted(())),
            Some(why) => Err(Refusal::new(Code::Busy, why).retry_after(60).into()),
        }
    }

    /// Returns the sealed state in force.
    pub fn state(&self) -> Arc<Sealed> {
        self.seal.get()
    }

    /// Returns the configured secrets.
    pub fn secrets(&self) -> &SecretPermits {
        &self.secrets
    }

    /// Returns the capacity for runs and requests.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Returns the answer to a caller whose nonce was not spent, or `None` if the crossing must verify the envelope
    /// again.
    fn claim_refused(&self, stop: &ConsumeStop, basis: &ReceiptBasis) -> Option<Stopped> {
        let code = match stop {
            ConsumeStop::Moved | ConsumeStop::SignerOutside { .. } => return None,
            ConsumeStop::Fault(error) => return Some(error.clone().into()),
            ConsumeStop::Replayed(spent) => return Some(self.replayed(spent)),
            // Only callers who may see the other run may know its id, so the refusal does not name this run.
            ConsumeStop::ExclusiveBusy { .. } => {
                return Some(busy("this run must wait for another run").into());
            }
            // A verdict needs a seal, and `admit` checked the same times. So these stops are failures of the boundary.
            ConsumeStop::NoSeal | ConsumeStop::BadWindow | ConsumeStop::WindowTooLong { .. } => {
                return Some(fault(stop));
            }
            ConsumeStop::ClockAhead { .. } | ConsumeStop::ClocksDiffer { .. } => Code::Busy,
            ConsumeStop::NotYetValid { .. } => Code::NotYetValid,
            ConsumeStop::Expired { .. } => Code::Expired,
            ConsumeStop::GrantExhausted { .. } => Code::GrantExhausted,
            ConsumeStop::GrantPaused => Code::GrantPaused,
            ConsumeStop::GrantRate { .. } => Code::RateLimited,
            ConsumeStop::Denied => Code::Denied,
            ConsumeStop::Unreviewed { .. } => Code::PolicyDenied,
            ConsumeStop::WrongState(_) => Code::WrongState,
            ConsumeStop::OtherAuthorization => Code::NonceReplayed,
            ConsumeStop::RowLost => {
                tracing::error!(proposal = %basis.proposal, "{stop}");
                Code::NonceReplayed
            }
        };
        let mut refusal = Refusal::new(code, stop.to_string()).about(&basis.proposal);
        refusal.retry_after_s = stop.wait_s().or((code == Code::Busy).then_some(1));
        Some(refusal.into())
    }

    pub(super) fn replayed(&self, spent: &store::NonceUse) -> Stopped {
        // The links in the refusal name the earlier run. These links are removed for callers who may not see that run.
        let refusal = Refusal::new(
            Code::NonceReplayed,
            "the nonce is spent: one nonce, one run",
        )
        .about(&spent.proposal);
        match self.ledger.proposal(&spent.proposal) {
            Ok(Some(row)) if row.receipt.is_some() => {
                refusal.with_receipt(spent.proposal.receipt()).into()
            }
            Ok(_) => refusal.into(),
            Err(error) => error.into(),
        }
    }
}

/// Returns the refusal for a negative verdict.
pub fn refusal_of(objection: impl Into<Objection>) -> Refusal {
    let objection = objection.into();
    let refusal = Refusal::new(objection.code(), &objection);
    match &objection {
        Objection::Parameters(verdict::ParametersError::Invalid(errors)) => {
            errors.iter().fold(refusal, |refusal, error| {
                refusal.at(format!("/params{}", error.pointer), error.message.clone())
            })
        }
        Objection::Window(error) if error.code() == Code::Malformed => {
            refusal.at("/predicate/expires_at", error.to_string())
        }
        _ => refusal,
    }
}

fn stream_name(stream: capture::OutputStream) -> StreamName {
    match stream {
        capture::OutputStream::Stdout => StreamName::Stdout,
        capture::OutputStream::Stderr => StreamName::Stderr,
    }
}
