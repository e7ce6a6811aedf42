//! Start of a boundary: from the configuration to a boundary that can accept requests.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    BoundaryFiles, Config, InFile as _, InStore as _,
    node::{
        descriptors, files, handover,
        host_lock::HostLock,
        host_sandbox::{configure, missing, unreachable_services},
        kept_checkpoint,
        next_seal::{FileFindings, NextSeal},
        open_store::{closed_ledgers, copy_of, open_ledger},
        rosters, witnessing,
    },
};
use boundary::{
    Boundary, DataGrowth, NoteSource, Surroundings, check_on_host, restore, secret_sources,
    write_seal,
};
use client::{Signer as _, now};
use crossing::{
    ArtifactStore, BoundaryKey, CapacityLimits, CrossingParts, CurrentSeal, LateReceipts, Outputs,
    SealContent, SealError, SealPredecessor, Sealed, Sessions, logged_rosters, revocations,
    sealed_rosters,
};
use documents::{
    Base64, Envelope, Epoch, Genesis, GenesisSalt, Level, RevokedSubject, Seal, Signed, json,
};
use reading::{FileProblem, Problems, Registry};
use sandbox::{LinuxSandbox, Starter};
use store::{Ledger, OpenStore, Replicas, StoredRevocation, opened};
use wire::unused_proxy;

/// A boundary with the findings of its start.
pub struct AssembledBoundary {
    /// The assembled boundary.
    pub boundary: Boundary,
    /// Ledger of the boundary.
    pub ledger: Ledger,
    /// Sandbox level that this host supports.
    pub level: Level,
    /// True if this start began the log.
    pub first: bool,
    /// Notes for the operator.
    pub notes: Vec<String>,
    /// Newest roster version that had enough signatures at this start.
    pub newest_roster: u64,
    /// Lock that prevents a second service with a copy of the private directory.
    pub lock: HostLock,
}

/// Changed files that this process may put in force.
#[derive(PartialEq)]
pub enum TakenChanges {
    /// All complete changes: signed rosters, policies, runbooks and the configuration. A start of the service uses this
    /// variant. With several nodes, such a start only reports the changes.
    Changes,
    /// No changes. Offline commands use this variant.
    Nothing,
}

/// Opens the log of the store and assembles the boundary. The boundary does not accept requests or recover interrupted
/// runs yet. `sockets` opens the sockets of the service before the first seal, because the seal of a roster can't be
/// taken back.
///
/// # Errors
/// Returns all reasons why the boundary cannot start.
pub async fn assemble<S>(
    config: &Config,
    (sandbox, starter): (Arc<LinuxSandbox>, Starter),
    store: OpenStore,
    files: BoundaryFiles,
    takes: TakenChanges,
    sockets: impl Future<Output = Result<S, FileProblem>>,
) -> Result<(AssembledBoundary, S), Problems> {
    let configuration = configure(config, sandbox.probe())?;
    let around = surroundings();
    let secret = copy_of(config, &files.key)?;
    let key = BoundaryKey::new(secret, files.key.key().keyid());
    let spender = open_ledger(config, &files.key, store)?;
    let ledger = spender.ledger();
    let begun = async {
        let mut notes = kept_checkpoint::check(config, &ledger, files.key.key())?;
        // Take the lock before the first write, because two copies of one log must not both grow.
        let lock = match ledger.state().boundary {
            Some(id) => Some(HostLock::take(config, &id).await?),
            None => None,
        };
        // The lock comes before the sockets, because its error message is clearer if another service of this boundary
        // listens.
        let sockets = sockets.await?;
        let closed = closed_ledgers(config, &files.key, &mut notes)?;
        // A key that a closed log revoked does not count in the new log of a restore either.
        let logs = closed.iter().map(|log| log.revocations());
        let mut earlier: Vec<StoredRevocation> = logs.flat_map(|log| log.to_vec()).collect();
        earlier.retain(|one| matches!(one.subject, RevokedSubject::Key(_)));
        let revoked = revocations(&earlier, &ledger.revocations());
        if revoked.has_key(&key.keyid) {
            let why = format!(
                "the key {} is revoked: under `key`, name the file of another key of the roster",
                key.keyid
            );
            return Err(FileProblem::whole(&config.key, why).into());
        }
        Ok::<_, Problems>((notes, lock, sockets, closed, earlier, revoked))
    };
    let (mut notes, lock, sockets, closed, earlier, revoked) = match begun.await {
        Ok(begun) => begun,
        Err(problems) => {
            // Close the store, because SQLite would apply a remaining write-ahead log to another store that the
            // operator copies to the same path.
            let _ = ledger.close().await;
            return Err(problems);
        }
    };
    let database = &config.database;
    let last = ledger.reads().seals().in_store(database)?.last().copied();
    let next = NextSeal {
        config,
        ledger: &ledger,
        keyid: key.keyid,
        sandbox: &sandbox,
        revoked: &revoked,
        configuration,
    };
    let (sealed, found) = match last {
        None => next.begin(files, &key, &around).await?,
        // With several nodes, a start must not seal the files of one node.
        Some(last) if takes == TakenChanges::Nothing || config.database.node().is_some() => {
            next.stay(last.index, &files, takes)?
        }
        Some(last) => next.go_on(last.index, files, &key, &around).await?,
    };
    let lock = match lock {
        Some(lock) => lock,
        None => HostLock::take(config, &sealed.boundary.id).await?,
    };
    notes.extend(rosters::keep(config, &sealed.rosters));
    if last.is_none() {
        rosters::remove_first_draft(config);
    }
    notes.extend(weak_settings(config, &sealed, &sandbox));
    let level = sandbox.probe().level();
    let shares = descriptors::share(config.limits.runs);
    notes.extend(shares.note);
    let limits = CapacityLimits {
        runs: shares.runs,
        crossings: CROSSINGS,
    };
    let outputs = Outputs::new(config.outputs(), ledger.objects());
    let late = LateReceipts::new(config.late_receipts());
    let proxy = config.proxy.clone();
    let fetch = move |url: &str, authorities: Option<&str>| {
        witnessing::issuer_document(url, authorities, proxy.as_ref())
    };
    let growth = DataGrowth::read(config.data_sizes(), sealed.boundary.id, config.backups());
    let parts = CrossingParts {
        spender,
        sandbox,
        starter,
        key: Arc::new(key),
        seal: Arc::new(CurrentSeal::new(sealed, earlier)),
        live: Arc::default(),
        changes: Arc::default(),
        outputs,
        artifacts: ArtifactStore::new(config.artifacts(), ledger.objects()),
        late,
        sessions: Arc::new(Sessions::new(Duration::from_secs(
            config.limits.session_idle.unsigned_abs(),
        ))),
        secrets: secret_sources::permits(&config.secrets),
        services: unreachable_services(config),
        limits,
    };
    if let Err(error) = parts.artifacts.delete_incomplete_uploads() {
        notes.push(format!(
            "incomplete uploads in {} can't be deleted: {error}",
            config.artifacts().display()
        ));
    }
    let boundary = Boundary::new(
        parts,
        config.retention,
        growth,
        closed,
        around,
        Arc::new(fetch),
    );
    boundary.health.set(NoteSource::Start, notes.clone());
    boundary.health.set(NoteSource::Files, found.notes.clone());
    let in_force = boundary.crossing.state().roster.version();
    boundary
        .health
        .set_roster_notes(in_force, found.following.clone());
    notes.extend(found.notes.into_iter().chain(found.following));
    notes.extend(boundary.health.set_skipped(&found.skipped));
    notes.extend(boundary.health.note_seal());
    if config.proxy.is_none()
        && !(config.notify.is_empty() && boundary.witnesses.witnesses_named().is_empty())
    {
        notes.extend(unused_proxy("`proxy` in the configuration"));
    }
    let newest_roster = found.newest.max(boundary.crossing.state().roster.version());
    Ok((
        AssembledBoundary {
            boundary,
            ledger,
            level,
            first: last.is_none(),
            notes,
            newest_roster,
            lock,
        },
        sockets,
    ))
}

/// Returns the error for a key of this node that the sealed roster does not list. The message ends with `more`.
pub fn other_key(config: &Config, more: &str) -> Problems {
    let message = format!(
        "this key is not in the sealed roster as a key of the boundary {}, so its signatures would not count: use the key that the roster lists{more}",
        config.name
    );
    FileProblem::whole(&config.key, message).into()
}

/// Returns notes about a roster, a sandbox, a database and secrets that protect less than they could.
fn weak_settings(config: &Config, sealed: &Sealed, sandbox: &LinuxSandbox) -> Vec<String> {
    let mut notes = Vec::new();
    if !sealed.roster.is_guarded() {
        notes.push(
            "the roster is unguarded (threshold 0): its next version needs no signature".to_owned(),
        );
    }
    if sandbox.probe().level() != Level::Strict {
        notes.extend(missing(sandbox.probe()).map(|line| format!("sandbox: {line}")));
    }
    if config.database.replicas() == Some(Replicas::None) {
        notes.push(
            "`replicas` in [postgres] is \"none\": the loss of the database server loses its newest runs".to_owned(),
        );
    }
    notes.extend(secret_sources::notes(&config.secrets));
    notes
}

impl NextSeal<'_> {
    /// Begins a log with the operator's files.
    async fn begin(
        &self,
        files: BoundaryFiles,
        key: &BoundaryKey,
        around: &Surroundings,
    ) -> Result<(Sealed, FileFindings), Problems> {
        let config = self.config;
        let BoundaryFiles {
            registry,
            runbook_errors,
            policy,
            key: signer,
        } = files;
        if !runbook_errors.is_empty() {
            return Err(Problems::new(runbook_errors));
        }
        let (policy, rosters) = match (rosters::first(config, policy.as_ref().ok()), policy) {
            (Ok(rosters), Ok(policy)) => (policy, rosters),
            (rosters, policy) => {
                let found = policy.err().into_iter().flatten();
                return Err(Problems::new(found.chain(rosters.err()).collect()));
            }
        };
        let found = files::check_first_roster(config, rosters.last(), &signer);
        if !found.is_empty() {
            return Err(Problems::new(found));
        }
        let (name, configuration) = (config.name.clone(), self.configuration.clone());
        let content = SealContent {
            name,
            registry,
            policy,
            rosters,
            tokens: Vec::new(),
            configuration,
            bundles_from: config.bundles_from_roster,
        };
        let material = self.sound(content, None);
        let (sealed, _) = self.seal(None, &material, key, around).await?;
        Ok((
            sealed,
            FileFindings {
                skipped: material.registry.skipped().to_vec(),
                ..FileFindings::default()
            },
        ))
    }

    /// Continues after the last seal, with the changed files.
    async fn go_on(
        &self,
        last: u64,
        files: BoundaryFiles,
        key: &BoundaryKey,
        around: &Surroundings,
    ) -> Result<(Sealed, FileFindings), Problems> {
        let config = self.config;
        let sealed = read_seal(config, self.ledger, last, Some(&files.registry))?;
        let (content, mut found) = self.content(&sealed, &files).in_store(&config.database)?;
        let has_new_roster = content.rosters.last().version() > sealed.roster.version();
        if !has_new_roster && !self.is_key_of(&sealed.roster) {
            let why = found
                .notes
                .iter()
                .chain(&found.following)
                .map(|note| format!("; {note}"))
                .collect::<String>();
            return Err(other_key(config, &why));
        }
        let _settled = handover::check(config, self.ledger, &files.key)?;
        if has_new_roster {
            // Record a checkpoint under the old roster before the new seal, because the bundles of older receipts need
            // a checkpoint that a key of the old roster signed.
            self.ledger.checkpoint().in_store(&config.database)?;
        }
        // After a crash before this commit, the old seal is still in force, and the next start repeats the change.
        let (sealed, stays) = self.seal(Some(sealed), &content, key, around).await?;
        found.notes.extend(stays);
        Ok((sealed, found))
    }

    /// Returns the state of the last seal, without a new seal. A service with several nodes reports what differs.
    fn stay(
        &self,
        last: u64,
        files: &BoundaryFiles,
        takes: TakenChanges,
    ) -> Result<(Sealed, FileFindings), Problems> {
        let config = self.config;
        let sealed = read_seal(config, self.ledger, last, Some(&files.registry))?;
        if !self.is_key_of(&sealed.roster) {
            let advice =
                "; if a later version of the roster lists this key, put that version in force: ";
            return Err(other_key(
                config,
                &format!("{advice}{}", config.puts_in_force()),
            ));
        }
        let _settled = handover::check(config, self.ledger, &files.key)?;
        if takes == TakenChanges::Nothing {
            return Ok((sealed, FileFindings::default()));
        }
        if !files.runbook_errors.is_empty() {
            let errors = files.runbook_errors.iter().map(|error| {
                format!("the runbooks of this node have an error, and the sealed runbooks stay in force: {error}")
            });
            return Ok((
                sealed,
                FileFindings {
                    notes: errors.collect(),
                    ..FileFindings::default()
                },
            ));
        }
        let content = self.content(&sealed, files);
        let (content, mut found) = content.in_store(&config.database)?;
        found.notes.extend(self.differences(&content, &sealed));
        found.skipped.clear();
        Ok((sealed, found))
    }

    /// Writes a seal if `material` differs from the state in force, which is `before`. If `before` is `None`, the seal
    /// begins a log. If the bundles of the changed files would be too large, the state in force stays, with a note.
    async fn seal(
        &self,
        before: Option<Sealed>,
        material: &SealContent,
        key: &BoundaryKey,
        around: &Surroundings,
    ) -> Result<(Sealed, Option<String>), Problems> {
        let (config, ledger) = (self.config, self.ledger);
        let basis = match &before {
            Some(before) => SealPredecessor::After(before),
            None => SealPredecessor::First {
                genesis: Genesis::New(GenesisSalt::new(around.bytes())),
                epoch: Epoch::new(around.bytes()),
            },
        };
        // Only this process writes to the log, so no entry can be added meanwhile.
        let drafted = material.draft(basis, ledger.now().max(ledger.state().last_at));
        match (before, &drafted) {
            (Some(before), Ok(draft)) if draft.same_as(&before.seal) => return Ok((before, None)),
            (
                Some(before),
                Err(SealError {
                    steps,
                    state,
                    too_long: Some(why),
                }),
            ) if steps.is_empty() && state.is_empty() && self.is_key_of(&before.roster) => {
                let note =
                    format!("the earlier seal stays in force, without the changed files: {why}");
                return Ok((before, Some(note)));
            }
            _ => {}
        }
        let known = drafted.as_ref().ok().map(|draft| &draft.steps);
        let on_host = check_on_host(material, known, self.sandbox, &config.runbooks);
        let mut problems = on_host.err().unwrap_or_default();
        let draft = match drafted {
            Ok(draft) if problems.is_empty() => draft,
            drafted => {
                let refused = drafted.err().into_iter();
                problems.extend(refused.flat_map(|error| problems_of(config, error)));
                return Err(Problems::new(problems));
            }
        };
        let written = write_seal(ledger, key, draft, Vec::new(), ledger.revocations().len()).await;
        let sealed = written.map_err(|stop| FileProblem::of_store(&config.database, stop))?;
        Ok((sealed, None))
    }
}

fn problems_of(config: &Config, error: SealError) -> Vec<FileProblem> {
    let SealError {
        steps,
        state,
        too_long,
    } = error;
    let state = state
        .into_iter()
        .chain(too_long)
        .map(|line| FileProblem::whole(&config.path, line));
    steps.into_iter().chain(state).collect()
}

/// Returns the state of the last seal, after verifying its signature with the roster that the seal names.
///
/// # Errors
/// Returns an error if the log entry is no valid seal of this boundary.
pub fn read_seal(
    config: &Config,
    ledger: &Ledger,
    index: u64,
    known: Option<&Registry>,
) -> Result<Sealed, Problems> {
    let at_store =
        |message: String| Problems::from(FileProblem::of_store(&config.database, message));
    let leaf = ledger.leaf(index).in_store(&config.database)?;
    let leaf = leaf.ok_or_else(|| {
        at_store(format!(
            "log entry {index}, the seal in force, is missing: restore a backup"
        ))
    })?;
    let odd = |error: Box<dyn Error>| {
        at_store(format!(
            "log entry {index} is no seal ({error}): restore a backup"
        ))
    };
    let read = || {
        let (payload, statement) = opened::<Seal>(&leaf.data)?;
        let seal = statement.predicate;
        let rosters = sealed_rosters(&seal, &logged_rosters(ledger, index)?)?;
        Ok(restore(
            ledger, seal, &payload, &leaf.data, index, known, rosters,
        )?)
    };
    let mut sealed = read().map_err(odd)?;
    sealed.bundles_from = config.bundles_from_roster;
    let name = &sealed.boundary.name;
    if *name != config.name {
        return Err(FileProblem::whole(
            &config.path,
            format!(
                "the log in {} belongs to the boundary {name}: set `name = {:?}`, or name another store",
                config.database,
                name.as_str()
            ),
        )
        .into());
    }
    let verify = || {
        let envelope: Envelope = json::parse_as(&leaf.data, leaf.data.len())?;
        let signed = Signed::<Seal>::from_envelope(&envelope, Base64::Strict)?;
        let verified = signed.verify_raw(|keyid| sealed.roster.boundary_key(name, keyid))?;
        if verified.signatures().is_empty() {
            return Err("nobody signed it".into());
        }
        Ok(())
    };
    verify().map_err(odd)?;
    Ok(sealed)
}

/// Rejects a system clock before 1970, because documents and HTTP answers cannot express such a date.
///
/// # Errors
/// Returns an error if the clock shows a time before 1970.
pub fn check_clock(config: &Config) -> Result<(), FileProblem> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(drop)
        .map_err(|_| "the system clock is before 1970: correct the clock, then start again")
        .at(&config.path)
}

/// Returns the clock and the random source of this machine.
pub fn surroundings() -> Surroundings {
    let since = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    };
    Surroundings {
        now: Arc::new(now),
        millis: Arc::new(move || u64::try_from(since().as_millis()).unwrap_or(u64::MAX)),
        random: Arc::new(|bytes| {
            if let Err(error) = getrandom::fill(bytes) {
                // Abort if the random source fails, because predictable nonces and secrets would be a security hole.
                eprintln!("countersign: the system returns no random bytes ({error})");
                std::process::abort();
            }
        }),
    }
}

/// Maximum number of requests whose signatures are verified at the same time. This keeps two CPU cores busy and limits
/// the memory.
const CROSSINGS: usize = 256;
