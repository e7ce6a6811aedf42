//! Reads the state that a seal puts in force, and compares a seal with the previous seal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::audit::evidence_files::{EvidenceFiles, Unreadable};
use crate::audit::finding::FindingKind;
use crate::decision::in_force::{StepInForce, steps_in_force};
use crate::decision::sealed_tokens::SealedTokens;
use crate::policy::builtins::Builtins;
use crate::policy::file::Policy;
use crate::registry::Registry;
use crate::registry::parameter_schema::ParameterSchema;
use crate::trust::chain::{Chain, Pinned};
use crate::trust::chain_error::ChainError;
use crate::trust::trusted_roster::TrustedRoster;
use documents::crypto::digest::{BlobDigest, PolicyDigest, RegistryRoot, RosterDigest, SealDigest, sha256};
use documents::crypto::ssh_key::SshKey;
use documents::crypto::{canonical, json};
use documents::record::authorization::BoundaryRef;
use documents::record::configuration::{Configuration, ConfiguredLimits, ConfiguredSandbox};
use documents::record::document::{Statement, check_sorted};
use documents::record::enforcement::Level;
use documents::record::envelope::{Envelope, Signed, Verified, VerifyError};
use documents::record::ident::{Epoch, Name, StepRef};
use documents::record::profile::{Layer, Limits};
use documents::record::roster::MAX_ROSTER_BYTES;
use documents::record::seal::{MAX_BLOB_BYTES, Seal, is_own_engine, parses_alike};
use documents::record::step_definition::{MAX_DEFINITION_BYTES, RegistryLeaf, StepDefinition};
use documents::record::token::SealedToken;

#[derive(Debug)]
pub(crate) struct SealInForce {
    pub(crate) index: u64,
    pub(crate) digest: SealDigest,
    pub(crate) number: u64,
    pub(crate) boundary: BoundaryRef,
    pub(crate) roster: Arc<TrustedRoster>,
    /// Program version that decided under the seal, according to the boundary.
    pub(crate) engine: Arc<str>,
    /// True if this program version made the seal, or if the auditor accepts no differences of other versions. In
    /// this case, every difference is a failure.
    pub(crate) ours: bool,
    /// The same for findings that depend on how a program version parses scripts.
    pub(crate) parsed_alike: bool,
    /// State of the seal, or `None` if the state could not be read.
    pub(crate) state: Option<Arc<SealedState>>,
    /// Bytes of the seal's log entry. A later audit resumes from these bytes.
    pub(crate) entry: Arc<[u8]>,
}

/// Sealed state from which the audit repeats decisions.
#[derive(Debug)]
pub(crate) struct SealedState {
    pub(crate) policy: PolicyDigest,
    pub(crate) steps: Arc<Steps>,
    pub(crate) tokens: SealedTokens,
}

#[derive(Debug)]
pub(crate) struct Steps {
    /// Digests of all documents that define the steps.
    of: (BlobDigest, RegistryRoot, PolicyDigest, BlobDigest, [u8; 32], BlobDigest),
    registry: Arc<Registry>,
    held: BTreeMap<StepRef, StepInForce>,
    /// Steps that other steps name as their plan.
    pub(crate) plans: BTreeSet<StepRef>,
    /// Reason why the sealed configuration does not contain all data for the profiles in `held`. The value is `None`
    /// if the configuration is complete.
    pub(crate) unprofiled: Option<String>,
    /// Longest time limit of all steps, in milliseconds.
    pub(crate) longest_ms: u64,
}

impl SealedState {
    pub(crate) fn step(&self, reference: &StepRef) -> Option<(&StepInForce, &ParameterSchema)> {
        Some((self.steps.held.get(reference)?, &self.steps.registry.get(reference)?.schema))
    }
}

/// Seals that were read so far.
#[derive(Debug, Default)]
pub(crate) struct Seals {
    pub(crate) current: Option<Arc<SealInForce>>,
    /// Last sealed state that could be read.
    pub(crate) last: Option<Arc<SealedState>>,
    /// True if every difference counts as a failure, even under a seal of another program version.
    pub(crate) no_differences: bool,
    /// Epochs that were replaced.
    pub(crate) past_epochs: BTreeSet<Epoch>,
    /// Names of tokens that were removed.
    pub(crate) gone_tokens: BTreeSet<Name>,
}

type Flaws = Vec<SealFlaw>;

#[derive(Debug)]
pub(crate) struct SealFlaw {
    pub(crate) what: FindingKind,
    pub(crate) why: String,
    /// True if the program version that the seal names may accept the seal, although this version refuses it.
    pub(crate) differs: bool,
}

/// Reason why no state could be read from the documents of a seal.
enum Unread {
    /// A document is missing or has another digest, so no program version can read it.
    Gone(String),
    /// This program version can't read a document.
    Refused(Vec<String>),
}

/// Returns the words that follow the reasons why the state of a seal of this engine can't be read.
fn advice_about(engine: &str) -> String {
    if is_own_engine(engine) {
        return String::new();
    }
    format!(
        "; the program version {engine:?} made the seal, so an auditor with that version may be able to read the seal"
    )
}

impl Seals {
    /// Checks the seal in log entry `index`. Returns all defects. Also returns the seal if the boundary signed it.
    pub(crate) fn follow(
        &mut self,
        index: u64,
        entry: &[u8],
        (payload, signed): (&[u8], Signed<Seal>),
        rosters: &mut Rosters,
        beside: &dyn EvidenceFiles,
    ) -> Result<(Option<Seal>, Flaws), Unreadable> {
        let mut flaws = Flaws::new();
        let (verified, roster) = match verify(payload, signed, rosters, beside)? {
            Ok(found) => found,
            Err((what, why)) => return Ok((None, vec![SealFlaw { what, why, differs: false }])),
        };
        let seal = verified.predicate().clone();
        let digest = SealDigest::from_bytes(verified.digest());
        let before = self.current.clone();
        let mut flaw = |what: FindingKind, why: String| flaws.push(SealFlaw { what, why, differs: false });
        match &before {
            None if seal.number != 0 => flaw(
                FindingKind::SealChain,
                format!("the first seal of the log has the number {}, expected 0", seal.number),
            ),
            None => {}
            Some(before) => {
                let expected = (before.number + 1, Some(before.digest), Some(before.boundary.id));
                if (seal.number, seal.previous, seal.boundary.id) != expected {
                    let message = format!(
                        "seal number {} does not follow seal number {} ({}): a seal is missing, occurs twice, or was \
                         inserted",
                        seal.number, before.number, before.digest
                    );
                    flaw(FindingKind::SealChain, message);
                }
                if seal.boundary.name != before.boundary.name {
                    flaw(FindingKind::Boundary, format!("the seal belongs to boundary {}", seal.boundary.name));
                }
                if roster.version() < before.roster.version() {
                    let message = format!(
                        "version {} of the roster comes into force after the later version {}",
                        roster.version(),
                        before.roster.version()
                    );
                    flaw(FindingKind::RosterChain, message);
                }
                if seal.epoch != before.boundary.epoch {
                    self.past_epochs.insert(before.boundary.epoch.clone());
                }
            }
        }
        if self.past_epochs.contains(&seal.epoch) {
            flaw(
                FindingKind::Epoch,
                format!("the epoch {} was replaced earlier, but the seal puts this epoch into force again", seal.epoch),
            );
        }
        let mut keys: Vec<_> = roster.boundary_keys(&seal.boundary.name).iter().map(SshKey::keyid).collect();
        keys.sort();
        if seal.keys != keys {
            flaw(
                FindingKind::SealedState,
                "the keys in the seal differ from the boundary's keys in the roster".to_owned(),
            );
        }
        if roster.policy() != seal.policy {
            flaw(
                FindingKind::RosterChain,
                format!(
                    "the roster was signed for the policy {}, but the sealed policy is {}",
                    roster.policy(),
                    seal.policy
                ),
            );
        }
        let boundary = BoundaryRef {
            name: seal.boundary.name.clone(),
            id: before.as_ref().map_or(digest, |before| before.boundary.id),
            epoch: seal.epoch.clone(),
        };
        // Compare the tokens with the last readable state, because the seals in between may be unreadable.
        let earlier = self.last.clone();
        let ours = self.no_differences || is_own_engine(&seal.engine);
        let state = match read(&seal, &roster, earlier.as_deref(), beside)? {
            Ok(state) => {
                let state = Arc::new(state);
                self.check_tokens(earlier.as_deref(), &state.tokens, &roster, &mut flaw);
                self.last = Some(state.clone());
                Some(state)
            }
            Err(Unread::Gone(message)) => {
                flaw(FindingKind::SealedState, message);
                None
            }
            Err(Unread::Refused(messages)) => {
                let advice = advice_about(&seal.engine);
                flaws.extend(messages.into_iter().map(|message| SealFlaw {
                    what: FindingKind::SealedState,
                    why: format!("{message}{advice}"),
                    differs: !ours,
                }));
                None
            }
        };
        self.current = Some(Arc::new(SealInForce {
            index,
            digest,
            number: seal.number,
            boundary,
            roster,
            engine: seal.engine.as_str().into(),
            ours,
            parsed_alike: self.no_differences || parses_alike(&seal.engine),
            state,
            entry: entry.into(),
        }));
        Ok((Some(seal), flaws))
    }

    /// Checks the sealed tokens. Tokens never change, and the name of a removed token is never used again.
    fn check_tokens(
        &mut self,
        before: Option<&SealedState>,
        now: &[SealedToken],
        roster: &TrustedRoster,
        flaw: &mut dyn FnMut(FindingKind, String),
    ) {
        let before: &[SealedToken] = before.map_or(&[], |before| &before.tokens);
        let names: BTreeSet<_> = now.iter().map(|token| &token.name).collect();
        if check_sorted("", now).is_err() || names.len() < now.len() {
            flaw(FindingKind::Tokens, "the sealed tokens are not sorted, or a name occurs twice".to_owned());
        }
        for token in now {
            let name = &token.name;
            match before.iter().find(|other| other.name == *name) {
                Some(other) if other != token => {
                    flaw(
                        FindingKind::Tokens,
                        format!("the token {name} was changed, but the owners, scopes and end of a token never change"),
                    );
                }
                None if self.gone_tokens.contains(name) => {
                    flaw(
                        FindingKind::Tokens,
                        format!("the removed token {name} is back: the name of a removed token is never used again"),
                    );
                }
                _ => {}
            }
            if let Err(taken) = roster.check_token_name(name) {
                flaw(FindingKind::Tokens, taken.to_string());
            }
        }
        let gone = before.iter().filter(|token| now.iter().all(|other| other.name != token.name));
        self.gone_tokens.extend(gone.map(|token| token.name.clone()));
    }

    /// Reads the state of a seal that an earlier audit already accepted.
    pub(crate) fn again(
        index: u64,
        entry: &[u8],
        (payload, signed): (&[u8], Signed<Seal>),
        (id, no_differences): (SealDigest, bool),
        rosters: &mut Rosters,
        beside: &dyn EvidenceFiles,
    ) -> Result<Result<SealInForce, String>, Unreadable> {
        let (verified, roster) = match verify(payload, signed, rosters, beside)? {
            Ok(found) => found,
            Err((_, message)) => return Ok(Err(message)),
        };
        let seal = verified.predicate();
        let digest = SealDigest::from_bytes(verified.digest());
        let state = match read(seal, &roster, None, beside)? {
            Ok(state) => state,
            Err(Unread::Gone(message)) => return Ok(Err(message)),
            Err(Unread::Refused(messages)) => return Ok(Err(messages.join("; "))),
        };
        Ok(Ok(SealInForce {
            index,
            digest,
            number: seal.number,
            boundary: BoundaryRef { name: seal.boundary.name.clone(), id, epoch: seal.epoch.clone() },
            roster,
            engine: seal.engine.as_str().into(),
            ours: no_differences || is_own_engine(&seal.engine),
            parsed_alike: no_differences || parses_alike(&seal.engine),
            state: Some(Arc::new(state)),
            entry: entry.into(),
        }))
    }
}

/// Known roster versions, all connected with the trusted version.
#[derive(Debug, Clone)]
pub(crate) struct Rosters {
    pinned: Pinned,
    chain: Chain,
    /// Roster of the last seal, as a cache.
    last: Option<(Named, Arc<TrustedRoster>)>,
}

/// Digest of the roster that a seal names, and digest of the versions up to this roster.
type Named = (RosterDigest, Option<BlobDigest>);

impl Rosters {
    /// Connects the roster versions with the trusted roster.
    pub(crate) fn connect(pinned: Pinned, versions: &[Envelope]) -> Result<Self, ChainError> {
        let chain = Chain::connect(&pinned, versions)?;
        Ok(Self { pinned, chain, last: None })
    }

    pub(crate) fn trusted(&self) -> RosterDigest {
        self.pinned.digest()
    }

    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }

    fn named_by(
        &mut self,
        seal: &Seal,
        beside: &dyn EvidenceFiles,
    ) -> Result<Result<Arc<TrustedRoster>, String>, Unreadable> {
        let named = (seal.roster, seal.rosters);
        if let Some((_, last)) = self.last.as_ref().filter(|(last, _)| *last == named) {
            return Ok(Ok(last.clone()));
        }
        // The blob of a known roster must still be present, because other auditors get the roster only from this blob.
        let payload = BlobDigest::from_bytes(*seal.roster.as_bytes());
        if beside.blob(&payload)?.is_none_or(|bytes| BlobDigest::of(&bytes) != payload) {
            return Ok(Err(not_beside(&payload)));
        }
        let known = self.chain.by_digest(&seal.roster).map(TrustedRoster::version);
        match (known, seal.rosters) {
            (Some(1), Some(_)) => {
                return Ok(Err(
                    "the seal names signatures of version 1 of a roster, but version 1 has no signatures".to_owned()
                ));
            }
            (Some(_), None) => {}
            _ => {
                let versions = match versions_of(seal, beside)? {
                    Ok(versions) => versions,
                    Err(message) => return Ok(Err(message)),
                };
                match Chain::connect(&self.trusted_for(known), &versions) {
                    Err(error) => return Ok(Err(error.to_string())),
                    Ok(chain) if chain.last().digest() != seal.roster => {
                        return Ok(Err(format!(
                            "the roster versions that the seal names do not end with the roster {}",
                            seal.roster
                        )));
                    }
                    Ok(_) if known.is_some() => {}
                    Ok(longer) if longer.by_digest(&self.chain.last().digest()).is_none() => {
                        return Ok(Err(
                            "the versions of the roster differ from the earlier versions: the roster was forked"
                                .to_owned(),
                        ));
                    }
                    Ok(longer) => self.chain = longer,
                }
            }
        }
        let Some(found) = self.chain.by_digest(&seal.roster) else {
            return Ok(Err(format!(
                "the seal names the roster {}, which is not connected with the trusted roster",
                seal.roster
            )));
        };
        let found = Arc::new(found.clone());
        self.last = Some((named, found.clone()));
        Ok(Ok(found))
    }

    /// Returns the trusted roster or chain. If the log ends at roster version `known`, and the trusted version is
    /// newer, the function returns the chain of all known versions instead.
    fn trusted_for(&self, known: Option<u64>) -> Pinned {
        let trusted = self.chain.by_digest(&self.pinned.digest()).map(TrustedRoster::version);
        match (known, trusted) {
            (Some(known), Some(trusted)) if known < trusted => Pinned::Chain(Box::new(self.chain.clone())),
            _ => self.pinned.clone(),
        }
    }
}

fn not_beside(digest: &BlobDigest) -> String {
    format!("the roster that the seal names ({digest}) is not stored with the log")
}

/// Returns all roster versions from version 1 to the version that the seal names, without verification.
pub(crate) fn versions_of(
    seal: &Seal,
    beside: &dyn EvidenceFiles,
) -> Result<Result<Vec<Envelope>, String>, Unreadable> {
    let digest = seal.rosters.unwrap_or_else(|| BlobDigest::from_bytes(*seal.roster.as_bytes()));
    let Some(bytes) = beside.blob(&digest)?.filter(|bytes| BlobDigest::of(bytes) == digest) else {
        return Ok(Err(not_beside(&digest)));
    };
    Ok(match seal.rosters {
        Some(_) => canonical_document("versions of the roster", &bytes, MAX_BLOB_BYTES),
        None if bytes.len() > MAX_ROSTER_BYTES => {
            Err(format!("the sealed roster has {} bytes, at most {MAX_ROSTER_BYTES} are allowed", bytes.len()))
        }
        None => Ok(vec![Envelope::new(&bytes, Vec::new())]),
    })
}

type UnderRoster = (Verified<Seal>, Arc<TrustedRoster>);

/// Verifies the signature of the seal with the boundary's keys in the roster that the seal names.
pub(crate) fn verify(
    payload: &[u8],
    signed: Signed<Seal>,
    rosters: &mut Rosters,
    beside: &dyn EvidenceFiles,
) -> Result<Result<UnderRoster, (FindingKind, String)>, Unreadable> {
    if signed.signature_count() != 1 {
        let message =
            format!("found {} signatures, expected only the signature of the boundary", signed.signature_count());
        return Ok(Err((FindingKind::Signature, message)));
    }
    // The keys for this signature are in the roster that the seal names. Therefore the program reads the name of the
    // roster before the verification. This order is safe, because the roster must be connected with the trusted roster.
    let claimed = match Statement::<Seal>::from_payload(payload) {
        Ok(statement) => statement.predicate,
        Err(malformed) => return Ok(Err((FindingKind::Entry, malformed.to_string()))),
    };
    let roster = match rosters.named_by(&claimed, beside)? {
        Ok(roster) => roster,
        Err(message) => return Ok(Err((FindingKind::RosterChain, message))),
    };
    let name = claimed.boundary.name;
    Ok(match signed.verify_raw(|keyid| roster.boundary_key(&name, keyid)) {
        Ok(verified) => Ok((verified, roster)),
        Err(VerifyError::UnknownSigner { keyid }) => {
            let version = roster.version();
            Err((
                FindingKind::Signature,
                format!("the signing key {keyid} is no key of boundary {name} in version {version} of the roster"),
            ))
        }
        Err(error) => Err((FindingKind::Signature, error.to_string())),
    })
}

/// Reads the documents that a seal names. Documents that have not changed since the last seal are not read again.
fn read(
    seal: &Seal,
    roster: &TrustedRoster,
    before: Option<&SealedState>,
    beside: &dyn EvidenceFiles,
) -> Result<Result<SealedState, Unread>, Unreadable> {
    let find = |what: &str, digest: [u8; 32]| -> Result<Result<Vec<u8>, Unread>, Unreadable> {
        let digest = BlobDigest::from_bytes(digest);
        Ok(match beside.blob(&digest)? {
            Some(bytes) if sha256(&bytes) == *digest.as_bytes() => Ok(bytes),
            Some(_) => Err(Unread::Gone(format!("the {what} stored with the log does not have the digest {digest}"))),
            None => Err(Unread::Gone(format!("the {what} ({digest}) is not stored with the log"))),
        })
    };
    // The outer error means that the source can't be read. The inner error means that the document is not usable.
    macro_rules! hold {
        ($result:expr) => {
            match $result {
                Ok(value) => value,
                Err(unread) => return Ok(Err(unread)),
            }
        };
    }
    fn document<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Unread> {
        canonical_document(what, bytes, MAX_BLOB_BYTES).map_err(|message| Unread::Refused(vec![message]))
    }
    let tokens = hold!(find("list of tokens", *seal.tokens.as_bytes())?);
    let tokens: Vec<SealedToken> = hold!(document("list of tokens", &tokens));
    let of =
        (seal.registry, seal.registry_root, seal.policy, seal.builtins, *seal.roster.as_bytes(), seal.configuration);
    let builtins = hold!(find("built-in lists", *seal.builtins.as_bytes())?);
    let builtins: Value = hold!(document("built-in lists", &builtins));
    let lists = match Builtins::from_sealed(&builtins) {
        Ok(lists) => lists,
        Err(errors) => {
            let messages = errors.iter().map(|error| format!("the sealed built-in lists: {error}"));
            return Ok(Err(Unread::Refused(messages.collect())));
        }
    };
    let steps = match before.filter(|before| before.steps.of == of) {
        Some(before) => before.steps.clone(),
        None => {
            let policy = hold!(find("policy", *seal.policy.as_bytes())?);
            let policy: Value = hold!(document("policy", &policy));
            let policy = match Policy::from_sealed(&policy) {
                Ok(policy) => policy,
                Err(errors) => {
                    let messages = errors.iter().map(|error| format!("the sealed policy: {error}"));
                    return Ok(Err(Unread::Refused(messages.collect())));
                }
            };
            let configuration = hold!(find("configuration", *seal.configuration.as_bytes())?);
            let configuration: Value = hold!(document("configuration", &configuration));
            let (configuration, unprofiled) = match json::typed::<Configuration>(&configuration) {
                Ok(Configuration { limits, sandbox: ConfiguredSandbox { level, require } }) => {
                    (Configuration { limits, sandbox: as_sealed(level, require) }, None)
                }
                Err(error) => match in_part(&configuration) {
                    Some(part) => {
                        let why =
                            format!("this version can't derive every profile from the sealed configuration ({error})");
                        (part, Some(why))
                    }
                    None => return Ok(Err(Unread::Refused(vec![format!("the sealed configuration: {error}")]))),
                },
            };
            let same = before.filter(|before| (before.steps.of.0, before.steps.of.1) == (of.0, of.1));
            let registry = match same {
                Some(before) => before.steps.registry.clone(),
                None => {
                    let manifest = hold!(find("registry", *seal.registry.as_bytes())?);
                    let leaves: Vec<RegistryLeaf> = hold!(document("registry", &manifest));
                    let mut definitions = Vec::with_capacity(leaves.len());
                    let mut contents = BTreeSet::new();
                    for leaf in &leaves {
                        let what = format!("step {}", leaf.reference);
                        let bytes = hold!(find(&what, *leaf.digest.as_bytes())?);
                        let definition = canonical_document(&what, &bytes, MAX_DEFINITION_BYTES);
                        let definition: StepDefinition =
                            hold!(definition.map_err(|message| Unread::Refused(vec![message])));
                        for file in &definition.files {
                            let what = format!("file {:?} of {}", file.path, leaf.reference);
                            if contents.insert(file.digest)
                                && hold!(find(&what, *file.digest.as_bytes())?).len() as u64 != file.bytes
                            {
                                let message = format!("the sealed {what} has another size than its definition states");
                                return Ok(Err(Unread::Refused(vec![message])));
                            }
                        }
                        definitions.push(definition);
                    }
                    let registry = match Registry::from_definitions(definitions) {
                        Ok(registry) => registry,
                        Err(errors) => {
                            let messages = errors.iter().map(|error| format!("the sealed registry: {error}"));
                            return Ok(Err(Unread::Refused(messages.collect())));
                        }
                    };
                    if registry.root() != seal.registry_root || registry.manifest() != manifest {
                        return Ok(Err(Unread::Gone(
                            "the root hash of the sealed steps differs from the root in the seal".to_owned(),
                        )));
                    }
                    Arc::new(registry)
                }
            };
            let held = match steps_in_force(&registry, &policy, &lists, roster, &configuration) {
                Ok(held) => held,
                Err(flaws) => return Ok(Err(Unread::Refused(flaws.iter().map(ToString::to_string).collect()))),
            };
            let longest_ms = held.values().map(|step| step.profile.limits.wall_ms).max().unwrap_or(0);
            let plans = held.values().filter_map(|step| Some(step.hashed.definition().plan.as_ref()?.step.clone()));
            let plans = plans.collect();
            Arc::new(Steps { of, registry, held, plans, unprofiled, longest_ms })
        }
    };
    Ok(Ok(SealedState { policy: seal.policy, steps, tokens: tokens.into() }))
}

/// Reads a sealed configuration that has fewer fields than this program version writes. Missing fields are no defect,
/// because `docs/formats.md` requires only `limits` and `sandbox`. The layers of the sealed level are still required.
/// If fields are missing, limits and further layers are not checked, and a run may last up to the default limit. A
/// boundary gains nothing if it leaves fields out, because only the boundary decides what the sealed configuration
/// contains.
fn in_part(value: &Value) -> Option<Configuration> {
    let whole = value.as_object().filter(|whole| whole.len() == 2)?;
    let (limits, sandbox) = (whole.get("limits")?.as_object()?, whole.get("sandbox")?.as_object()?);
    let known = |map: &Map<String, Value>, names: [&str; 2]| map.keys().all(|name| names.contains(&&**name));
    if !known(limits, ["default", "maximum"]) || !known(sandbox, ["level", "require"]) {
        return None;
    }
    let level: Level = serde_json::from_value(sandbox.get("level")?.clone()).ok()?;
    let require = match sandbox.get("require") {
        Some(require) => serde_json::from_value(require.clone()).ok()?,
        None => Vec::new(),
    };
    if require.contains(&Layer::Programs) {
        return None;
    }
    let any = u64::MAX;
    let maximum = Limits {
        wall_ms: any,
        cpu_milli: any,
        memory_bytes: any,
        processes: any,
        file_bytes: any,
        disk_bytes: any,
        output_bytes: any,
    };
    let limits = ConfiguredLimits { default: Limits::default(), maximum };
    Some(Configuration { limits, sandbox: as_sealed(level, require) })
}

/// Returns the layers that a sealed level required. The sealed list of layers decides, because later program versions
/// may add layers to a level. The level `strict` always required at least the layers in `FIRST`.
fn as_sealed(level: Level, mut require: Vec<Layer>) -> ConfiguredSandbox {
    const FIRST: [Layer; 4] = [Layer::Capabilities, Layer::Landlock, Layer::Namespaces, Layer::Network];
    if level == Level::Strict {
        require.extend(FIRST);
    }
    require.sort_unstable();
    require.dedup();
    ConfiguredSandbox { level: Level::BestEffort, require }
}

fn canonical_document<T: DeserializeOwned>(what: &str, bytes: &[u8], most: usize) -> Result<T, String> {
    let value = canonical::parse_canonical(bytes, most).map_err(|error| format!("the sealed {what}: {error}"))?;
    json::typed(&value).map_err(|error| format!("the sealed {what}: {error}"))
}
