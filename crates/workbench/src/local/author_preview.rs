//! Shows what approvers would see of a step, before anybody proposes the step.
//!
//! The module makes the documents that a boundary would make: a seal of the one step, and an authorization. The code of
//! `countersign review` then derives the screen from them. The keys of these documents exist only while the screen is
//! made, and no roster names them.
//!
//! The file also compares the steps of a runbook with the sealed steps of a running boundary.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{RunbookCheck, WalkStep};
use boundary::Surroundings;
use client::{
    Client, CommandResult, DefinitionDifferences, ReviewSources, RosterSource, Screen,
    definitions_diff, derive, render::decision,
};
use crossing::{SealContent, SealPredecessor, profile_on_host};
use documents::{
    Approver, Authorization, BoundaryRef, Code, Configuration, ConfiguredLimits, ConfiguredSandbox,
    DEFAULT_WINDOW_S, Envelope, EnvelopeSignature, Epoch, Genesis, GenesisSalt, Group, GroupName,
    KeyList, Level, Nonce, PAYLOAD_TYPE, ProposalId, Roster, RosterVersion, STRICT, SealDigest,
    SecretKey, SshKey, StepDigest, StepReference, Timestamp, joined, locked, pae,
};
use reading::{FileProblem, Locks, Policy, RegisteredStep, Registry, StoredStep, builtins};
use verdict::{Chain, StepInForce};
use wire::{RegistryView, StepView};

/// Policy and configuration under which the approvers would decide.
pub struct PreviewRules {
    /// The policy.
    pub policy: Policy,
    /// Where the policy comes from, in words.
    pub from: String,
    /// Limits and sandbox level.
    pub configuration: Configuration,
}

/// Number of invented approvers. If a rule needs more people, the screen says so.
const PEOPLE: u8 = 12;

impl PreviewRules {
    /// Returns the rules of a boundary with the limits of a new configuration and the sandbox level `strict`.
    pub fn of_policy(policy: Policy, from: String) -> Self {
        let sandbox = ConfiguredSandbox {
            level: Level::Strict,
            require: STRICT.to_vec(),
        };
        Self {
            policy,
            from,
            configuration: Configuration {
                limits: ConfiguredLimits::default(),
                sandbox,
            },
        }
    }

    /// Returns true if the policy or the step names the approvers. Otherwise no boundary can seal the step.
    pub fn names_approvers(&self, step: &RegisteredStep) -> bool {
        let ruling = self.policy.ruling(&step.definition.reference);
        ruling.approvals.is_some() || !step.definition.approvals.from.is_empty()
    }

    /// Returns what approvers would see of a proposal of this step with these values.
    ///
    /// # Errors
    /// Returns the reason why a boundary would refuse the step or the proposal.
    pub fn preview(
        &self,
        step: &Arc<RegisteredStep>,
        given: &[String],
        around: &Surroundings,
    ) -> Result<Screen, Box<dyn Error>> {
        let chosen = WalkStep::new(step, given, &Map::new()).and_then(|step| step.choose(None));
        let params = chosen
            .map_err(|failure| failure.message)?
            .params
            .value()
            .clone();
        let now = (around.now)();
        let registry = Registry::from_stored([StoredStep::Known(step.stored())])
            .map_err(|errors| lines(&errors))?;
        let boundary = Invented::new("boundary", around)?;
        let roster = self.roster(step, &boundary, around)?;
        let first = RosterVersion::Whole(Envelope::new(&roster, Vec::new()));
        let rosters = Chain::from_first(&[first])?;
        let trusted = rosters.last().clone();
        let content = SealContent {
            name: "example".parse()?,
            registry,
            policy: self.policy.clone(),
            rosters,
            tokens: Vec::new(),
            configuration: self.configuration.clone(),
            bundles_from: 1,
        };
        let genesis = Genesis::New(GenesisSalt::new(around.bytes()));
        let epoch = Epoch::new(around.bytes());
        let basis = SealPredecessor::First {
            genesis,
            epoch: epoch.clone(),
        };
        let draft = content.draft(basis, now)?;
        let held = draft
            .steps
            .get(&step.definition.reference)
            .ok_or("the step is not in the registry")?;
        let seal = draft.seal.into_statement().to_payload()?;
        let reference = BoundaryRef {
            name: content.name,
            id: SealDigest::of(&seal),
            epoch,
        };
        let signed = self.authorization(step, held, &params, reference, around)?;
        let programs = signed.sandbox.listed().to_vec();
        let payload = signed
            .into_statement()
            .and_then(|statement| statement.to_payload());
        let sources = ReviewSources {
            payload: payload?,
            programs,
            definition: Some(step.canonical()),
            contents: step
                .definition
                .files
                .iter()
                .map(|file| file.digest)
                .zip(step.contents.iter().map(|one| one.to_vec()))
                .collect(),
            seal: Some(Envelope::new(&seal, vec![boundary.sign(&seal)])),
            policy: Some(self.policy.canonical().to_vec()),
            builtins: Some(builtins::CANONICAL.to_vec()),
            configuration: Some(documents::canonical_of(&self.configuration)?),
            roster: RosterSource::Trusted(
                Box::new(trusted),
                "invented for this preview".to_owned(),
            ),
            asked_last: true,
            ..ReviewSources::default()
        };
        let found = derive(&sources, now);
        Ok(decision(&sources, &found))
    }

    /// Returns a proposal of the step, as a boundary makes it.
    fn authorization(
        &self,
        step: &RegisteredStep,
        held: &StepInForce,
        params: &Value,
        boundary: BoundaryRef,
        around: &Surroundings,
    ) -> Result<Authorization, Box<dyn Error>> {
        let held = &*held.filled(params)?;
        let permissions = held
            .asked()
            .clone()
            .map_err(|denied| format!("policy refuses the step: {denied}"))?;
        let sandbox = profile_on_host(held).map_err(|refusal| refusal.detail)?;
        let now: Timestamp = (around.now)();
        let expires_at = now.plus(DEFAULT_WINDOW_S);
        Ok(Authorization {
            boundary,
            proposal: ProposalId::ending(expires_at, around.bytes()),
            nonce: Nonce::new(expires_at, around.bytes()),
            step: StepReference {
                reference: step.definition.reference.clone(),
                digest: step.digest,
            },
            params: params.clone(),
            rendered: held.hashed.rendered(),
            permissions,
            sandbox,
            proposer: "example-agent".parse()?,
            reason: "an example of a reason".to_owned(),
            issued_at: now,
            not_before: now,
            expires_at,
            session: None,
            artifacts: None,
            plan: None,
            grant: None,
            emergency: None,
            by: None,
        })
    }

    /// Returns a roster with invented approvers in each group that policy or the step names.
    fn roster(
        &self,
        step: &RegisteredStep,
        boundary: &Invented,
        around: &Surroundings,
    ) -> Result<Vec<u8>, Box<dyn Error>> {
        let ruling = self.policy.ruling(&step.definition.reference);
        let of_policy = ruling
            .approvals
            .as_ref()
            .map(|rule| rule.value.from.clone())
            .unwrap_or_default();
        let groups: BTreeSet<GroupName> = of_policy
            .into_iter()
            .chain(step.definition.approvals.from.clone())
            .collect();
        let mut people = BTreeMap::new();
        for at in 1..=PEOPLE {
            let person = format!("approver-{at}");
            let key = Invented::new(&person, around)?.key.line().to_owned();
            let approver = Approver {
                groups: groups.iter().cloned().collect(),
                keys: vec![key],
                valid_after: None,
                valid_before: None,
            };
            people.insert(person.parse()?, approver);
        }
        let roster = Roster {
            name: "example".to_owned(),
            version: 1,
            threshold: 1,
            previous: None,
            policy: self.policy.digest(),
            approvers: people,
            groups: groups
                .into_iter()
                .map(|name| (name, Group { presence: None }))
                .collect(),
            proposers: BTreeMap::new(),
            operators: BTreeMap::new(),
            boundaries: BTreeMap::from([(
                "example".parse()?,
                KeyList {
                    keys: vec![boundary.key.line().to_owned()],
                },
            )]),
            witnesses: BTreeMap::new(),
        };
        let statement = roster
            .into_statement()
            .and_then(|statement| statement.to_payload());
        Ok(statement?)
    }
}

/// A key that exists only while a screen is made.
struct Invented {
    secret: SecretKey,
    key: SshKey,
}

impl Invented {
    fn new(comment: &str, around: &Surroundings) -> Result<Self, Box<dyn Error>> {
        let secret = SecretKey::from_seed(around.bytes());
        let key = SshKey::from_public(secret.public(), comment)?;
        Ok(Self { secret, key })
    }

    fn sign(&self, payload: &[u8]) -> EnvelopeSignature {
        EnvelopeSignature::new(
            self.key.keyid(),
            &self.secret.sign(&pae(PAYLOAD_TYPE, payload)),
        )
    }
}

fn lines(errors: &[FileProblem]) -> String {
    joined(errors, "\n")
}

/// What the author of runbooks sees before anybody is asked.
pub struct AuthorPreview {
    /// Rules that the author chose, if there are any.
    chosen: Option<PreviewRules>,
    /// Rules of a new boundary.
    usual: PreviewRules,
    /// Steps of a boundary.
    sealed: Option<SealedSteps>,
    around: Surroundings,
}

impl AuthorPreview {
    /// Returns the preview under the chosen rules, or else under those of a new boundary.
    pub const fn new(
        chosen: Option<PreviewRules>,
        usual: PreviewRules,
        sealed: Option<SealedSteps>,
        around: Surroundings,
    ) -> Self {
        Self {
            chosen,
            usual,
            sealed,
            around,
        }
    }

    /// Returns the rules under which policy judges the runbooks.
    pub fn rules(&self) -> &PreviewRules {
        self.chosen.as_ref().unwrap_or(&self.usual)
    }

    /// Returns the rules for the screen of a step: the chosen rules if they or the step name the approvers, and
    /// otherwise the rules of a new boundary.
    pub fn rules_for(&self, step: &RegisteredStep) -> &PreviewRules {
        self.chosen
            .as_ref()
            .filter(|rules| rules.names_approvers(step))
            .unwrap_or(&self.usual)
    }

    /// Checks a runbook as `countersign registry check FILE --policy` does.
    pub fn check(&self, file: &Path) -> RunbookCheck {
        let mut check = RunbookCheck::read(&[PathBuf::from(file)], None, Locks::Ignored);
        let rules = self.rules();
        check.judge(&rules.policy, true);
        // A policy for runs at a terminal names no approvers, so no boundary has it.
        if check
            .sound_files
            .iter()
            .flat_map(Registry::steps)
            .all(|step| rules.names_approvers(step))
        {
            check.refuse(&rules.policy);
        }
        check
    }

    /// Returns the steps of a runbook, as they are in the file now, under the name that its path has at the boundary.
    ///
    /// # Errors
    /// Returns all errors of the file.
    pub fn steps(&self, file: &Path, shown: &str) -> Result<Vec<Arc<RegisteredStep>>, String> {
        let plain = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let read = |name: &str| {
            Registry::of_file(file, name, shown)
                .map(|found| found.steps)
                .map_err(|errors| lines(&errors))
        };
        let steps = read(&plain)?;
        let sealed = self
            .sealed
            .as_ref()
            .and_then(|sealed| sealed.file_of(&steps, &plain));
        sealed
            .filter(|name| *name != plain)
            .map_or(Ok(steps), |name| read(&name))
    }

    /// Returns what approvers would see of a proposal of this step with these values.
    ///
    /// # Errors
    /// Returns the reason why a boundary would refuse the step or the proposal.
    pub fn step(&self, step: &Arc<RegisteredStep>, given: &[String]) -> Result<Screen, String> {
        let preview = self.rules_for(step).preview(step, given, &self.around);
        preview.map_err(|error| error.to_string())
    }

    /// Compares a step with the sealed step of the boundary. Returns `None` if no boundary was named.
    pub fn compare(&self, step: &RegisteredStep) -> Option<ComparedStep> {
        self.sealed.as_ref().map(|sealed| sealed.compare(step))
    }
}

/// The steps that a boundary has sealed.
pub struct SealedSteps {
    /// One request at a time, because a client keeps what it learned about its token.
    client: Mutex<Client>,
}

/// A step of a file beside the sealed step of the same name.
pub enum ComparedStep {
    /// The boundary has no step of this name, or the token may not see it.
    New,
    /// Both have the same digest.
    Same(StepDigest),
    /// The definitions differ.
    Changed(StepDigest, DefinitionDifferences),
    /// The boundary did not answer.
    Unknown(String),
}

impl SealedSteps {
    /// Returns the steps that the boundary of this client has sealed and that the client's token may see.
    pub fn new(client: Client) -> Self {
        Self {
            client: Mutex::new(client),
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> CommandResult<T> {
        locked(&self.client).get(path)
    }

    /// Returns the file name, with its directories, under which the boundary has the runbook of these steps. `name` is
    /// the name without directories.
    pub(super) fn file_of(&self, steps: &[Arc<RegisteredStep>], name: &str) -> Option<String> {
        let view: RegistryView = self.get("/v1/registry").ok()?;
        let own = steps.first()?.definition.reference.path();
        let ending = name.strip_prefix(own).unwrap_or(".md");
        let mut paths: Vec<&str> = view
            .steps
            .iter()
            .map(|step| step.reference.path())
            .collect();
        paths.dedup();
        let below = format!("/{own}");
        let mut found = paths
            .iter()
            .filter(|path| **path == own || path.ends_with(&below));
        let first = found.next()?;
        // If the boundary has two runbooks of this name, it is unknown which of the two the file is.
        found.next().is_none().then(|| format!("{first}{ending}"))
    }

    /// Compares a step with the sealed step of the same name.
    pub(super) fn compare(&self, step: &RegisteredStep) -> ComparedStep {
        let sealed: CommandResult<StepView> =
            self.get(&format!("/v1/steps/{}", step.definition.reference));
        let sealed = match sealed {
            Ok(sealed) if sealed.digest == step.digest => return ComparedStep::Same(sealed.digest),
            Ok(sealed) => sealed,
            Err(failure) if failure.has_code(Code::UnknownStep) => return ComparedStep::New,
            Err(failure) => return ComparedStep::Unknown(failure.message),
        };
        ComparedStep::Changed(sealed.digest, differences_from(&sealed.definition, step))
    }
}

/// Returns what differs between a sealed definition and a step of a file.
pub fn differences_from(sealed: &Value, step: &RegisteredStep) -> DefinitionDifferences {
    let own = serde_json::to_value(&*step.definition).unwrap_or_default();
    let source = |definition: &Value| definition["source"].as_str().unwrap_or_default().to_owned();
    let (before, after) = (source(sealed), source(&own));
    definitions_diff((&before, sealed), (&after, &own))
}
