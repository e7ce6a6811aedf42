//! Puts new seals in force. Each change of runbooks or tokens needs a new seal.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::task::JoinError;

use crate::{Health, NoteSource, Proposals, Surroundings, fail, grants, not_logged};
use crossing::{
    BoundaryKey, Crossing, CurrentSeal, ListsOnHost, Refusal, RequestResult, SealContent,
    SealDraft, SealError, SealPredecessor, Sealed, check_files, fault,
};
use documents::{
    Code, Configuration, ConfiguredLimits, ConfiguredSandbox, Epoch, GrantId, KeyId, Level, Limit,
    Limits, Malformed, RevokedSubject, Seal, SealDigest, SealedToken, Timestamp, Workdir, joined,
};
use reading::{FileProblem, Policy, Registry, RunbookDirectories, differences};
use sandbox::{LinuxSandbox, Unavailable};
use store::{CheckedState, Ledger, SealWrite, StoredGrant, TokenChange, WriteStop};
use verdict::{Chain, Revocations, StepsInForce, TrustedRoster, steps_to_seal};

/// Maximum number of errors in a note about a failed reseal.
const MOST_TOLD: usize = 4;
/// Maximum number of attempts to write a seal. An attempt fails if another seal was written first.
const MOST_TRIES: usize = 8;

/// Signs and writes a drafted seal, and reads the new state in force from the store. `revocations` is the number of
/// revocations with which the seal was made.
///
/// # Errors
/// Returns `Moved` if another seal was written first, or the error of the store.
pub async fn write_seal(
    ledger: &Ledger,
    key: &BoundaryKey,
    draft: SealDraft,
    tokens: Vec<TokenChange>,
    revocations: usize,
) -> Result<Sealed, SealStop> {
    let SealDraft {
        seal,
        ended_epoch,
        mut blobs,
        registry,
        steps,
        rosters,
        bundles_from,
    } = draft;
    blobs.extend(registry.blobs());
    let (at, checked) = (
        seal.at,
        CheckedState {
            seal: seal.previous,
            revocations,
        },
    );
    let payload = seal
        .clone()
        .into_statement()
        .to_payload()
        .map_err(SealStop::Malformed)?;
    let (envelope, digest) = (
        key.sign(&payload).map_err(SealStop::Malformed)?,
        SealDigest::of(&payload),
    );
    let ended = ended_epoch.as_ref().map(RevokedSubject::epoch);
    let thaws = ledger
        .revocations()
        .iter()
        .any(|known| Some(known.subject) == ended);
    let new_epoch = ended.is_some();
    let write = SealWrite {
        envelope: envelope.clone(),
        new_epoch,
        thaws,
        digest,
        checked,
        at,
        blobs,
        tokens,
    };
    // One commit contains the seal, its blobs and the changes of tokens. After a crash at this point the new state is
    // in force, because the next start reads it from the store.
    let done = ledger.seal(write).await.map_err(SealStop::Write)?;
    let mut sealed = restore(
        ledger,
        seal,
        &payload,
        &envelope,
        done.index,
        Some(&registry),
        rosters,
    )
    .map_err(SealStop::Unreadable)?;
    sealed.share_needs(&steps);
    sealed.bundles_from = bundles_from;
    Ok(sealed)
}

/// Returns the state that a stored seal puts in force. The returned state shares unchanged parts with `known`.
///
/// # Errors
/// Returns an error if a blob is missing or differs from the digest in the seal.
pub fn restore(
    ledger: &Ledger,
    seal: Seal,
    payload: &[u8],
    envelope: &[u8],
    index: u64,
    known: Option<&Registry>,
    rosters: Chain,
) -> Result<Sealed, SealError> {
    Sealed::restore(seal, payload, envelope, index, known, rosters, |digest| {
        ledger.blob(digest).ok().flatten()
    })
}

/// Returns the registry of `material` if [`check_on_host`] finds no error. If the configuration skips invalid runbooks,
/// returns the registry without the files that have an error. A script that was parsed for an equal step of `known` is
/// not parsed again.
///
/// # Errors
/// Returns the errors of [`check_on_host`] if no file may be skipped.
pub fn sound_registry(
    material: &SealContent,
    known: Option<&StepsInForce>,
    sandbox: &LinuxSandbox,
    runbooks: &RunbookDirectories,
) -> Result<Registry, Vec<FileProblem>> {
    match check_on_host(material, known, sandbox, &runbooks.paths) {
        Ok(()) => Ok(material.registry.clone()),
        Err(errors) => runbooks.without(&material.registry, errors),
    }
}

/// Returns a configuration that permits each limit and requires no layer of the sandbox. It serves to check files whose
/// boundary is unknown.
pub fn without_maximum() -> Configuration {
    let default = Limits::default();
    let mut maximum = default.clone();
    Limit::ALL
        .into_iter()
        .for_each(|limit| *limit.of(&mut maximum) = u64::MAX);
    Configuration {
        limits: ConfiguredLimits { default, maximum },
        sandbox: ConfiguredSandbox {
            level: Level::BestEffort,
            require: Vec::new(),
        },
    }
}

/// Derives the rules of each step that can be sealed, and returns the errors for which every boundary refuses the other
/// steps. Rules and errors follow from runbooks, policy, roster and configuration. `registry check`, `doctor`, `serve`
/// and `seal` call this function. Without a roster, no group is checked. A script that was parsed for an equal step of
/// `known` is not parsed again.
pub fn refused_steps(
    registry: &Registry,
    policy: &Policy,
    roster: Option<&TrustedRoster>,
    configuration: &Configuration,
    runbooks: &[PathBuf],
    known: Option<&StepsInForce>,
) -> (StepsInForce, Vec<FileProblem>) {
    let (steps, mut errors) = steps_to_seal(registry, policy, roster, configuration, known);
    let runbooks: Vec<PathBuf> = runbooks
        .iter()
        .filter_map(|directory| directory.canonicalize().ok())
        .collect();
    for (reference, step) in &steps {
        let (profile, Some(registered)) = (&step.profile, registry.get(reference)) else {
            continue;
        };
        if let Err(error) = check_files(step.hashed.definition(), profile) {
            errors.push(registered.flaw(&error));
        }
        let live = if profile.workdir == Workdir::InPlace {
            &profile.write[..]
        } else {
            &[]
        };
        for path in live.iter().map(Path::new) {
            if let Some(near) = runbooks
                .iter()
                .find(|near| near.starts_with(path) || path.starts_with(near))
            {
                errors.push(registered.flaw(&format!(
                    "a run would write {}, but runbooks are in {} and no run may write a runbook: move one of the \
                     two directories",
                    path.display(),
                    near.display()
                )));
            }
        }
    }
    (steps, errors)
}

/// Checks everything that the steps declare against this host, before a seal is made. Each declared path must exist and
/// must be a real path, without links. A declared path must not be in the private set. No run may be able to write to a
/// runbook directory. Missing features of the kernel are not checked here. The boundary reports them separately.
///
/// # Errors
/// Returns every declaration that this host or the policy does not allow, with the place of the declaration.
pub fn check_on_host(
    material: &SealContent,
    known: Option<&StepsInForce>,
    sandbox: &LinuxSandbox,
    runbooks: &[PathBuf],
) -> Result<(), Vec<FileProblem>> {
    let SealContent {
        registry,
        policy,
        rosters,
        configuration,
        ..
    } = material;
    let (steps, mut errors) = refused_steps(
        registry,
        policy,
        Some(rosters.last()),
        configuration,
        runbooks,
        known,
    );
    let mut lists = ListsOnHost::default();
    for (reference, step) in &steps {
        let Some(registered) = material.registry.get(reference) else {
            continue;
        };
        match sandbox.check(&step.profile) {
            Ok(_)
            | Err(
                Unavailable::Layer { .. }
                | Unavailable::Broken { .. }
                | Unavailable::Scratch { .. },
            ) => {}
            Err(error) => errors.push(registered.flaw(&error)),
        }
        if let Err(error) = lists.list_of_step(step) {
            errors.push(registered.flaw(&error));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// The reason why a seal was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum SealStop {
    /// The seal can't be encoded.
    #[error("the seal can't be written: {0}")]
    Malformed(Malformed),
    /// The store did not accept the seal.
    #[error("the seal was refused: {0}")]
    Write(WriteStop),
    /// The store accepted the seal, but the new state can't be read from the store.
    #[error("the seal can't be read back: {0}")]
    Unreadable(SealError),
}

/// Puts changed runbooks and tokens in force.
pub struct Sealing {
    pub crossing: Arc<Crossing>,
    pub ledger: Ledger,
    pub surroundings: Surroundings,
    pub key: Arc<BoundaryKey>,
    pub current: Arc<CurrentSeal>,
    pub sandbox: Arc<LinuxSandbox>,
    pub health: Arc<Health>,
    pub proposals: Arc<Proposals>,
    pub one_at_a_time: tokio::sync::Mutex<()>,
}

impl Sealing {
    /// Reads the runbooks again, and seals them if a runbook has changed. Policy, roster and configuration stay the
    /// same.
    ///
    /// Returns true if a new seal is in force.
    ///
    /// # Errors
    /// Returns all errors in the runbooks. After an error, the old seal stays in force.
    pub async fn reseal(&self, runbooks: RunbookDirectories) -> RequestResult<bool> {
        let sealed = self.reseal_as_they_are(runbooks).await;
        // The sender of SIGHUP gets no answer, so the health report shows the failure until a reseal succeeds.
        let failed = sealed.as_ref().err();
        self.health.set(
            NoteSource::Reseal,
            failed.map(|stopped| told_shortly(&stopped.to_string())),
        );
        sealed
    }

    /// Compares the runbooks with the seal in force, and reports the differences in the service's log and in the health
    /// report.
    pub async fn tell_differences(&self, runbooks: RunbookDirectories) {
        let note = match self.read(runbooks).await {
            Ok(Ok(files)) => {
                let advice = if self.ledger.has_nodes() {
                    "run `countersign seal`"
                } else {
                    "send SIGHUP to seal the runbooks"
                };
                let differing = told_steps(&self.crossing.state().registry, &files)
                    .map(|steps| format!("the runbooks differ from the seal: {steps}; {advice}"));
                // A skipped file explains why its steps are missing.
                let skipped = (!files.skipped().is_empty()).then(|| {
                    format!(
                        "; skipped because of an error: {}",
                        first_of(files.skipped())
                    )
                });
                differing.map(|note| note + &skipped.unwrap_or_default())
            }
            Ok(Err(errors)) => Some(format!(
                "the runbooks can't be sealed: {}",
                first_of(&errors)
            )),
            Err(error) => Some(format!("the runbooks can't be read: {error}")),
        };
        if let Some(note) = &note {
            tracing::warn!("{note}");
        }
        self.health.set(NoteSource::Runbooks, note);
    }

    /// Reads the runbooks, and checks them against the policy in force and this host.
    async fn read(
        &self,
        runbooks: RunbookDirectories,
    ) -> Result<Result<Registry, Vec<FileProblem>>, JoinError> {
        let (sealed, sandbox) = (self.crossing.state(), self.sandbox.clone());
        let read = move || {
            let material = SealContent {
                registry: runbooks.load()?,
                ..material_of(&sealed)
            };
            sound_registry(&material, Some(sealed.steps()), &sandbox, &runbooks)
        };
        tokio::task::spawn_blocking(read).await
    }

    async fn reseal_as_they_are(&self, runbooks: RunbookDirectories) -> RequestResult<bool> {
        let registry = self
            .read(runbooks)
            .await
            .map_err(fault)?
            .map_err(|errors| not_sealed(&errors))?;
        let sealed = self
            .put_in_force(|material| material.registry = registry.clone(), None)
            .await?;
        self.health.set_skipped(registry.skipped());
        Ok(sealed)
    }

    /// Seals the content that `next` returns for the seal in force, the log, and this node's key and sandbox. The
    /// service writes no other seal in between. `new_epoch` ends all earlier approvals. Returns true if a new seal is
    /// in force, and the findings of `next`.
    ///
    /// # Errors
    /// Returns the error of `next`, or the reason why the content can't be sealed. The old seal then stays in force.
    pub async fn seal_next<T: Send + 'static>(
        &self,
        new_epoch: bool,
        next: impl FnOnce(&Sealed, &Ledger, KeyId, &LinuxSandbox) -> RequestResult<(SealContent, T)>
        + Send
        + 'static,
    ) -> RequestResult<(bool, T)> {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        let (sealed, ledger) = (self.crossing.state(), self.ledger.clone());
        let (keyid, sandbox) = (self.key.keyid, self.sandbox.clone());
        let revocations = ledger.revocations().len();
        let read = tokio::task::spawn_blocking(move || next(&sealed, &ledger, keyid, &sandbox));
        let (content, found) = read.await.map_err(fault)??;
        let epoch = new_epoch.then(|| Epoch::new(self.surroundings.bytes()));
        let sealed = self
            .seal_alone(
                |material| *material = content.clone(),
                None,
                epoch,
                Some(revocations),
            )
            .await?;
        self.health.set_skipped(content.registry.skipped());
        self.health.set(NoteSource::Runbooks, None);
        self.health.set(NoteSource::Reseal, None);
        Ok((sealed, found))
    }

    /// Ends a freeze: seals the state in force with a new epoch. Everything that was signed in the earlier epoch stays
    /// void. Returns the grants of that epoch that have not expired.
    ///
    /// # Errors
    /// Returns `wrong-state` if the boundary is not frozen.
    pub async fn thaw(&self) -> RequestResult<Vec<GrantId>> {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        if self.crossing.frozen_since().is_none() {
            return fail(Code::WrongState, "the boundary is not frozen");
        }
        let epoch = Epoch::new(self.surroundings.bytes());
        let before = self.crossing.state();
        self.seal_alone(|_| {}, None, Some(epoch), None).await?;
        let of_epoch = |row: &StoredGrant| {
            let grant = self.crossing.read_grant(row, &before);
            grant.is_ok_and(|grant| {
                grant.document().predicate().boundary.epoch == before.boundary.epoch
            })
        };
        let rows = self
            .ledger
            .grants(self.crossing.now(), grants::MOST_LISTED)?;
        Ok(rows
            .into_iter()
            .filter(of_epoch)
            .map(|row| row.id)
            .collect())
    }

    /// Seals a changed state and writes the change to the store in the same commit.
    ///
    /// # Errors
    /// Returns an error if the new state is contradictory, or if the store does not accept the seal.
    pub async fn put_in_force(
        &self,
        change: impl Fn(&mut SealContent),
        token: Option<TokenChange>,
    ) -> RequestResult<bool> {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        self.seal_alone(change, token, None, None).await
    }

    /// Does the same as [`Self::put_in_force`] for a caller that holds the lock. If the change depends on the
    /// revocations, `revocations` is the number of revocations that it takes into account.
    async fn seal_alone(
        &self,
        change: impl Fn(&mut SealContent),
        token: Option<TokenChange>,
        epoch: Option<Epoch>,
        revocations: Option<usize>,
    ) -> RequestResult<bool> {
        let mut at = self.crossing.now();
        for _ in 0..MOST_TRIES {
            let now = self.ledger.revocations().len();
            let before = self.crossing.state();
            let mut material = material_of(&before);
            change(&mut material);
            let revoked = self.crossing.revoked();
            material.tokens = tokens_in_force(&before.tokens, &revoked, at);
            match &token {
                Some(TokenChange::Add(row)) => {
                    check_new(&row.token, &material.tokens, &revoked)?;
                    material.tokens.push(row.token.clone());
                }
                Some(TokenChange::Revoke { name, .. }) => {
                    // A seal decides which tokens are valid, also if the database has lost a row.
                    let Some(at) = material.tokens.iter().position(|token| token.name == *name)
                    else {
                        let detail = format!("there is no token {name} that could be revoked");
                        return fail(Code::NotFound, detail);
                    };
                    material.tokens.remove(at);
                }
                None => {}
            }
            let basis = match &epoch {
                None => SealPredecessor::After(&before),
                Some(epoch) => SealPredecessor::NewEpoch(&before, epoch.clone()),
            };
            let draft = material
                .draft(basis, at.max(before.seal.at))
                .map_err(|error| Refusal::new(Code::Malformed, error.to_string()))?;
            if draft.same_as(&before.seal) && token.is_none() && epoch.is_none() {
                return Ok(false);
            }
            match write_seal(
                &self.ledger,
                &self.key,
                draft,
                token.clone().into_iter().collect(),
                revocations.unwrap_or(now),
            )
            .await
            {
                Ok(sealed) => {
                    tracing::info!(
                        seal = sealed.seal.number,
                        steps = sealed.registry.steps().len(),
                        "sealed"
                    );
                    self.current.put(sealed);
                    let _ = self.health.note_seal();
                    let _ = self.proposals.end_overtaken().await;
                    return Ok(true);
                }
                Err(SealStop::Write(WriteStop::BackDated { last })) => at = last,
                Err(SealStop::Write(WriteStop::Moved)) if revocations.is_none() => {}
                Err(SealStop::Write(stop)) => return Err(not_logged(stop)),
                Err(stop) => return Err(fault(stop)),
            }
        }
        Err(fault(
            "the time of the log moves ahead of the clock before each attempt to seal",
        ))
    }
}

/// Names the steps in which two registries differ, or returns `None` if they do not differ.
pub fn told_steps(old: &Registry, new: &Registry) -> Option<String> {
    let differences = differences(old, new);
    let first = joined(differences.iter().take(MOST_TOLD), ", ");
    let more = match differences.len().saturating_sub(MOST_TOLD) {
        0 => String::new(),
        more => format!(", and {more} more steps differ"),
    };
    (!first.is_empty()).then(|| format!("{first}{more}"))
}

fn first_of(errors: &[FileProblem]) -> String {
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    if errors.len() > 1 {
        format!("{first} (and {} more errors)", errors.len() - 1)
    } else {
        first
    }
}

/// Shortens the errors of a failed reseal to a note with the first errors and the number of the other errors.
fn told_shortly(failed: &str) -> String {
    let mut lines = failed.lines();
    let told: Vec<&str> = lines.by_ref().take(MOST_TOLD).collect();
    let more = match lines.count() {
        0 => String::new(),
        more => format!("; and {more} more, in the service's log"),
    };
    format!("the last reseal failed: {}{more}", told.join(" "))
}

fn not_sealed(errors: &[FileProblem]) -> Refusal {
    let lines = joined(errors, "\n");
    Refusal::new(
        Code::Malformed,
        format!("the runbooks are not sealed, and the old runbooks stay in force:\n{lines}"),
    )
}

/// Returns the content of the sealed state in force. The next seal is made from this content.
pub fn material_of(sealed: &Sealed) -> SealContent {
    SealContent {
        name: sealed.boundary.name.clone(),
        registry: sealed.registry.clone(),
        policy: sealed.policy.clone(),
        rosters: sealed.rosters.clone(),
        tokens: sealed.tokens.to_vec(),
        configuration: sealed.configuration.clone(),
        bundles_from: sealed.bundles_from,
    }
}

/// Returns the tokens of the last seal that are valid at the time `now`, for the next seal. The entry of a token never
/// changes, so it is never made from a row.
pub fn tokens_in_force(
    sealed: &[SealedToken],
    revoked: &Revocations,
    now: Timestamp,
) -> Vec<SealedToken> {
    let mut tokens = sealed.to_vec();
    tokens.retain(|token| {
        revoked.now().token(&token.name).is_none() && token.expires_at.is_none_or(|end| now < end)
    });
    tokens
}

/// Checks that no revoked token has the name of a new token, and no token in force its name or credential.
///
/// # Errors
/// Returns `wrong-state` for the name, and `malformed` with the token that has the credential.
fn check_new(
    token: &SealedToken,
    in_force: &[SealedToken],
    revoked: &Revocations,
) -> RequestResult {
    let is_used = in_force.iter().any(|other| other.name == token.name);
    if is_used || revoked.now().token(&token.name).is_some() {
        return Err(not_logged(WriteStop::Token(token.name.clone())));
    }
    let same = |other: &&SealedToken| other.credential == token.credential;
    let Some(other) = in_force.iter().find(same) else {
        return Ok(());
    };
    let (place, what) = match &token.oidc {
        Some(_) => ("/oidc", "binding"),
        None => ("/credential", "credential"),
    };
    let name = &other.name;
    let detail = format!("the token {name} has this {what} already: revoke {name} first");
    Err(Refusal::malformed(place, detail).into())
}
