//! Collects the sources of a review from a boundary, or from a file and a boundary.

use serde_json::Value;

use crate::{
    ChosenTrust, Client, CommandFailure, CommandResult, LastRun, LogSource, ReadReceipt,
    ReportedState, ReviewSources, RosterSource, fail_refused, review::run_inputs::signed_inputs,
};
use documents::{
    Authorization, AuthorizationDigest, Base64, BoundaryName, Code, Envelope,
    MAX_AUTHORIZATION_BYTES, MAX_BUNDLE_BYTES, MAX_DEFINITION_BYTES, MAX_FILES, MAX_MADE_BYTES,
    Profile, RosterDigest, RosterVersion, Seal, Signed, Statement, StepDefinition, StepFile,
    TILE_WIDTH, canonical, joined, json,
};
use verdict::{Chain, SeenHead};
use wire::{ProposalView, ReceiptView, RegistryView, SessionView, StepView};

/// Statement to review.
pub enum ReviewSubject {
    /// Proposal that the boundary stores.
    Proposal(Box<ProposalView>),
    /// Statement in a file, with the signatures that the file contains.
    File(Envelope),
}

impl ReviewSubject {
    /// Returns the bytes that a signature covers.
    ///
    /// # Errors
    /// Returns an error if the payload is not base64 or does not have the digest that the boundary states.
    pub fn payload(&self) -> CommandResult<Vec<u8>> {
        match self {
            Self::File(envelope) => {
                let checked = Signed::<Authorization>::from_envelope(envelope, Base64::Lenient)
                    .map_err(refuse)?;
                drop(checked);
                Base64::Lenient
                    .decode("/payload", &envelope.payload)
                    .map_err(refuse)
            }
            Self::Proposal(view) => {
                if view.payload.len() / 4 * 3 > MAX_AUTHORIZATION_BYTES + 3 {
                    return Err(refuse(format!(
                        "the payload is larger than {MAX_AUTHORIZATION_BYTES} bytes"
                    )));
                }
                let payload = Base64::Strict
                    .decode("/payload", &view.payload)
                    .map_err(refuse)?;
                if AuthorizationDigest::of(&payload) != view.digest {
                    return Err(refuse(format!(
                        "the boundary states the digest {}, but the payload has another digest",
                        view.digest
                    )));
                }
                Ok(payload)
            }
        }
    }
}

fn refuse(error: impl std::fmt::Display) -> CommandFailure {
    CommandFailure::refused(format!("the payload can't be read: {error}"))
}

/// Returns what the boundary reports of a proposal.
fn reported(view: &ProposalView) -> ReportedState {
    ReportedState {
        status: view.status.word().to_owned(),
        held_up: view
            .held_up
            .as_ref()
            .map(|why| format!("{}: {}", why.code, why.detail)),
        approvals: view.approvals.clone(),
    }
}

/// Collects the documents about `subject`. A document that can't be read is listed in `ReviewSources::missing`.
///
/// # Errors
/// Returns an error if the payload can't be read or belongs to another proposal.
pub fn gather(
    subject: &ReviewSubject,
    client: &Client,
    trust: &[ChosenTrust],
) -> CommandResult<ReviewSources> {
    let mut sources = ReviewSources {
        payload: subject.payload()?,
        ..ReviewSources::default()
    };
    match subject {
        ReviewSubject::File(envelope) => sources.signatures.clone_from(&envelope.signatures),
        ReviewSubject::Proposal(view) => {
            sources.told = Some(reported(view));
            sources.programs.clone_from(&view.programs);
            sources.job.clone_from(&view.admitted);
            sources.same_runs.clone_from(&view.same_runs);
        }
    }
    // An unreadable payload is shown as text and needs no further documents.
    let Ok(statement) = Statement::<Authorization>::from_payload(&sources.payload) else {
        return Ok(sources);
    };
    let signed = statement.predicate;
    if let ReviewSubject::Proposal(view) = subject
        && view.id != signed.proposal
    {
        let detail = format!(
            "the review asked for {}, but the boundary returned the statement of {}",
            view.id, signed.proposal
        );
        return fail_refused(format!("{detail}: nothing was signed"));
    }
    // The status of a proposal shows whether the proposal can still run. The boundary may not know a statement in a
    // file, so only such a statement needs a separate check.
    let may_be_gone = matches!(subject, ReviewSubject::File(_));
    Ok(documents(sources, &signed, may_be_gone, client, trust))
}

/// Collects the documents about the runs of a step under a grant, like [`gather`].
pub fn gather_granted(
    run: &Authorization,
    client: &Client,
    trust: &[ChosenTrust],
) -> ReviewSources {
    documents(ReviewSources::default(), run, true, client, trust)
}

fn documents(
    mut sources: ReviewSources,
    signed: &Authorization,
    may_be_gone: bool,
    client: &Client,
    trust: &[ChosenTrust],
) -> ReviewSources {
    let mut missing = Vec::new();
    let mut have = |what: &str, result: CommandResult<Vec<u8>>| match result {
        Ok(bytes) => Some(bytes),
        Err(failure) => {
            missing.push(format!("{what}: {}", failure.message));
            None
        }
    };
    let params = signed
        .params_digest()
        .map(|digest| format!("?params_digest={digest}"))
        .unwrap_or_default();
    let step = client.get::<StepView>(&format!("/v1/steps/{}{params}", signed.step.reference));
    sources.gone = match &step {
        Ok(step) if may_be_gone && step.digest != signed.step.digest => Some(format!(
            "the boundary has another definition of {} now: propose again",
            signed.step.reference
        )),
        Err(failure) if may_be_gone && failure.has_code(Code::UnknownStep) => Some(format!(
            "the boundary has no step {} any more",
            signed.step.reference
        )),
        _ => None,
    };
    sources.unknown_end = step.as_ref().ok().and_then(|step| step.unknown_end.clone());
    // A statement in a file, and a step of a grant, name the list that this host of the boundary has now.
    if may_be_gone && let Ok(step) = &step {
        sources.programs.clone_from(&step.programs);
    }
    let definition = client.blob(signed.step.digest.as_bytes());
    sources.definition = match (definition, &step) {
        (Ok(bytes), _) => Some(bytes),
        (Err(_), Ok(step)) if step.digest == signed.step.digest => {
            Some(canonical::to_canonical(&step.definition))
        }
        (Err(failure), _) => have("the definition", Err(failure)),
    };
    for file in sources
        .definition
        .as_deref()
        .map(files_of)
        .unwrap_or_default()
    {
        if let Some(bytes) = have("a file of the step", client.blob(file.digest.as_bytes())) {
            sources.contents.insert(file.digest, bytes);
        }
    }
    for (name, _, size) in signed_inputs(signed) {
        let path = format!("/v1/proposals/{}/inputs/{name}", signed.proposal);
        let bytes = match size {
            Some(size) => {
                let mut bytes = Vec::new();
                client.copy(&path, size, &mut bytes).map(|()| bytes)
            }
            None => client.bytes(&path),
        };
        if let Some(bytes) = have("a file that the run gets", bytes) {
            sources.inputs.insert(name, bytes);
        }
    }
    if let Some(session) = &signed.session {
        let view = client
            .get::<SessionView>(&format!("/v1/sessions/{}", session.id))
            .ok();
        sources.session_runs =
            view.map(|view| view.runs.iter().map(|run| run.step.to_string()).collect());
    }
    let registry = client.get::<RegistryView>("/v1/registry");
    match &registry {
        Ok(registry) => {
            let seal = &registry.seal;
            sources.seal = have("the seal", seal_entry(client, seal.index))
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            sources.policy = have("the policy", client.blob(seal.policy.as_bytes()));
            sources.builtins = have("the built-in lists", client.blob(seal.builtins.as_bytes()));
            sources.configuration = have(
                "the configuration",
                client.blob(seal.configuration.as_bytes()),
            );
            let versions = have("the roster in force", versions_in_force(client, trust));
            sources.roster = believe(
                trust,
                &signed.boundary.name,
                versions.as_deref(),
                &mut missing,
            );
        }
        Err(failure) => {
            missing.push(format!("the seal in force: {failure}"));
            sources.roster = believe(trust, &signed.boundary.name, None, &mut missing);
        }
    }
    sources.asked_last = step.is_ok();
    if let Some(last) = step.ok().and_then(|step| step.last_success) {
        let definition = if last.digest == signed.step.digest {
            sources.definition.clone()
        } else {
            client.blob(last.digest.as_bytes()).ok()
        };
        let ran = client
            .get::<ReceiptView>(&format!("/v1/receipts/{}", last.receipt))
            .ok()
            .and_then(|view| ReadReceipt::of(view, &last.receipt).ok());
        let (authorized, files) = ran.map_or((None, None), |ran| {
            (Some(ran.signed), ran.receipt.sandbox.fs)
        });
        let (mut profile, permissions) = authorized
            .map(|signed| (signed.sandbox, signed.permissions))
            .unzip();
        // Without its list, the comparison says that the earlier list could not be read.
        if let Some(named) = profile
            .as_mut()
            .and_then(|profile: &mut Profile| profile.programs.as_mut())
            && let Ok(list) = client.blob(named.digest().as_bytes())
        {
            let _ = named.read(&list);
        }
        sources.last = Some(LastRun {
            finished_at: last.finished_at.to_string(),
            digest: last.digest,
            definition,
            params: if last.params.is_object() {
                last.params
            } else {
                Value::Null
            },
            runs: last.runs,
            profile,
            permissions,
            masked: files.as_ref().and_then(|facts| facts.masked),
            masked_before: files.and_then(|facts| facts.masked_before),
        });
    }
    sources.missing = missing;
    sources
}

/// Reads the roster that is in force at a boundary, and says whether this person trusts it.
///
/// # Errors
/// Returns an error if the boundary can't be read.
pub fn roster_in_force(
    client: &Client,
    trust: &[ChosenTrust],
) -> CommandResult<(RegistryView, RosterSource)> {
    let registry = client.get::<RegistryView>("/v1/registry")?;
    let versions = versions_in_force(client, trust)?;
    let roster = believe(
        trust,
        &registry.boundary.name,
        Some(&versions),
        &mut Vec::new(),
    );
    Ok((registry, roster))
}

/// Returns the files of a definition. An invalid definition is reported when it is checked.
fn files_of(definition: &[u8]) -> Vec<StepFile> {
    let definition = json::parse_as::<StepDefinition>(definition, MAX_DEFINITION_BYTES);
    let mut files = definition
        .map(|definition| definition.files)
        .unwrap_or_default();
    files.sort_by_key(|file| file.digest);
    files.dedup_by_key(|file| file.digest);
    files.truncate(MAX_FILES);
    files
}

/// Returns the list of tokens that a seal names. Neither the seal nor the list is verified.
pub fn sealed_tokens(client: &Client, seal: &Envelope) -> Option<Vec<u8>> {
    let payload = Base64::Strict.decode("", &seal.payload).ok()?;
    let seal = Statement::<Seal>::from_payload(&payload).ok()?;
    client.blob(seal.predicate.tokens.as_bytes()).ok()
}

/// Returns the log entry of a seal.
fn seal_entry(client: &Client, index: u64) -> CommandResult<Vec<u8>> {
    let odd = |what: &str| CommandFailure::unreachable(format!("the boundary's log: {what}"));
    let log = LogSource::Served(Box::new(client.clone()));
    let head = log.head()?.ok_or_else(|| odd("it has no checkpoint"))?;
    let size = SeenHead::parse(&head, "").map_err(|why| odd(&why))?.size;
    let width = u64::from(TILE_WIDTH);
    let entries = log.entries(index / width, size)?;
    let entry = entries
        .into_iter()
        .zip(0..)
        .find(|(_, at)| *at == index % width);
    entry
        .map(|(entry, _)| entry)
        .ok_or_else(|| odd("the log does not contain the seal that the boundary names"))
}

/// Returns the roster versions up to the version in force, as the JSON array of a bundle. The array begins with the version
/// before the newest trusted one that connects, which shows a fork at that place, or with version 1 if only a digest is trusted.
fn versions_in_force(client: &Client, trust: &[ChosenTrust]) -> CommandResult<Vec<u8>> {
    let trusted = |trust: &ChosenTrust| Some(trust.pinned.newest()?.version() - 1);
    let firsts = trust.iter().map(|trust| trusted(trust).unwrap_or(1));
    let mut firsts: Vec<u64> = firsts.collect();
    firsts.sort_unstable_by(|a, b| b.cmp(a));
    firsts.dedup();
    let connects = |versions: &[u8]| {
        json::parse_as::<Vec<RosterVersion>>(versions, MAX_BUNDLE_BYTES).is_ok_and(|versions| {
            trust
                .iter()
                .any(|trust| Chain::connect_bundled(&trust.pinned, &versions).is_ok())
        })
    };
    let mut versions = client.rosters(firsts.first().copied().unwrap_or(u64::MAX))?;
    for first in firsts.iter().skip(1) {
        if connects(&versions) {
            break;
        }
        versions = client.rosters(*first)?;
    }
    Ok(versions)
}

/// Chooses the newest trusted roster for the review, or else the boundary's own roster, which is not trusted.
fn believe(
    trust: &[ChosenTrust],
    boundary: &BoundaryName,
    in_force: Option<&[u8]>,
    missing: &mut Vec<String>,
) -> RosterSource {
    let versions = in_force.and_then(|bytes| {
        match json::parse_as::<Vec<RosterVersion>>(bytes, MAX_BUNDLE_BYTES) {
            Ok(versions) => Some(versions),
            Err(error) => {
                missing.push(format!("the roster in force: {error}"));
                None
            }
        }
    });
    let in_force =
        versions.as_ref().and_then(
            |versions| match Chain::unverified(versions, MAX_MADE_BYTES) {
                Ok(chain) => Some(chain.last().clone()),
                Err(error) => {
                    missing.push(format!("the roster in force: {error}"));
                    None
                }
            },
        );
    let mut broken = Vec::new();
    let mut connected: Vec<(&ChosenTrust, Chain)> = Vec::new();
    for trust in trust {
        let Some(versions) = &versions else { break };
        match Chain::connect_bundled(&trust.pinned, versions) {
            Ok(chain) => connected.push((trust, chain)),
            Err(error) => broken.push(format!("{}: {error}", trust.from)),
        }
    }
    // The candidates are the connected versions, and the trusted roster files that contain this boundary.
    let files = trust
        .iter()
        .filter_map(|trust| Some((trust, trust.roster()?)));
    // A trusted roster file must contain the boundary of the proposal. If a roster is connected, the file must also
    // have the name of that roster, because two boundaries may have the same name.
    let name = connected
        .first()
        .map(|(_, chain)| chain.last().tables().name.clone());
    let files = files.filter(|(_, roster)| {
        !roster.boundary_keys(boundary).is_empty()
            && name
                .as_ref()
                .is_none_or(|name| roster.tables().name == *name)
    });
    // A trusted version that follows a connected version, but is not in the boundary's chain, is on another branch.
    // This version is chosen, whatever its version number.
    let branch = files.clone().find(|(_, roster)| {
        let is_here = |digest: &RosterDigest| {
            connected
                .iter()
                .any(|(_, chain)| chain.number_of(digest).is_some())
        };
        roster.tables().previous.as_ref().is_some_and(is_here) && !is_here(&roster.digest())
    });
    let known = connected
        .iter()
        .map(|(trust, chain)| (*trust, chain.newest()));
    let newest = branch.or_else(|| {
        files
            .chain(known.rev())
            .max_by_key(|(_, roster)| roster.version())
    });
    let leads = newest.and_then(|(_, newest)| {
        connected
            .iter()
            .filter(|(_, chain)| {
                chain.newest().digest() == newest.digest()
                    && chain.last().digest() == newest.digest()
            })
            // Prefer a roster that the approver pinned directly.
            .max_by_key(|(trust, _)| trust.pinned.digest() == newest.digest())
    });
    if let Some((trust, chain)) = leads {
        let mut from = match chain.number_of(&trust.pinned.digest()) {
            Some(version) if version != chain.last().version() => {
                format!("followed from {version}")
            }
            _ => "pinned by you".to_owned(),
        };
        let open = joined(chain.unguarded().map(|version| version.to_string()), ", ");
        if !open.is_empty() && chain.last().is_guarded() {
            from += &format!(" past UNGUARDED version {open}");
        }
        return RosterSource::Trusted(Box::new(chain.last().clone()), from);
    }
    // Never use a roster that is older than the trusted roster. A boundary that was reset to an old state would show
    // such a roster.
    if let Some((trust, newest)) = newest {
        return RosterSource::Trusted(Box::new(newest.clone()), format!("from {}", trust.from));
    }
    match in_force {
        Some(roster) => {
            if !trust.is_empty() {
                missing.push(format!(
                    "a roster that you trust: the roster in force is {}, but you pinned another roster ({})",
                    roster.digest(),
                    broken.join("; ")
                ));
            }
            RosterSource::BoundarysWord(Box::new(roster))
        }
        None => RosterSource::None,
    }
}
