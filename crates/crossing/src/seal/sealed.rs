//! The state in force: the newest seal and everything that the seal names.
//!
//! A [`Sealed`] is built only from the seal's log entry and its blobs, never from files. So after a restart the sealed
//! content is in force, even if the files have changed. [`SealContent`] makes a new seal from the files.
//!
//! [`Sealed`] also keeps the grants that runs used under the seal, so that their signatures are verified only once.
//! [`CurrentSeal`] has the state in force and the revocations of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::seal::seal_bounds::SealBounds;
use documents::{
    BlobDigest, BoundaryName, BoundaryRef, Configuration, ContentDigest, ENGINE, Epoch, Genesis,
    Malformed, RegistryLeaf, Seal, SealDigest, SealedBoundary, SealedToken, StepDefinition,
    StepFile, Timestamp, canonical, json, locked, sha256,
};
use reading::{Builtins, FileProblem, Policy, Registry, StoredStep, builtins};
use store::StoredRevocation;
use verdict::{
    Chain, PreparedGrant, Revocations, SealedTokens, StepsInForce, TrustedRoster, share_needs,
    steps_in_force, steps_to_seal,
};

mod lookup;

/// Content of a seal before the seal is signed.
#[derive(Clone)]
pub struct SealContent {
    /// The boundary's name.
    pub name: BoundaryName,
    /// The steps.
    pub registry: Registry,
    /// The policy.
    pub policy: Policy,
    /// The roster with all its earlier versions.
    pub rosters: Chain,
    /// The tokens, without their secrets.
    pub tokens: Vec<SealedToken>,
    /// Limits and sandbox level.
    pub configuration: Configuration,
    /// The first version of the roster in bundles. No seal contains this number.
    pub bundles_from: u64,
}

/// The seal or log that a new seal follows.
pub enum SealPredecessor<'a> {
    /// The first seal, which has no predecessor. The digest of the first seal becomes the boundary's id. The field
    /// `genesis` makes this digest unique.
    First {
        /// Random text, or the closed log that this log continues.
        genesis: Genesis,
        /// The first epoch.
        epoch: Epoch,
    },
    /// The seal in force.
    After(&'a Sealed),
    /// The seal in force, whose epoch ends. All earlier approvals end with this epoch.
    NewEpoch(&'a Sealed, Epoch),
}

/// Seal that is ready to be signed, with the blobs that the seal names.
#[derive(Debug)]
pub struct SealDraft {
    /// The seal.
    pub seal: Seal,
    /// The epoch of the previous seal, if this seal ends that epoch.
    pub ended_epoch: Option<Epoch>,
    /// The blobs that the seal names, by digest, without the blobs of the registry.
    pub blobs: Vec<(BlobDigest, Vec<u8>)>,
    /// Sealed steps, which a later read of the seal can share in memory.
    pub registry: Registry,
    /// The rules of the steps, which a later read of the seal can share too.
    pub steps: StepsInForce,
    /// The versions of the roster up to that of the seal.
    pub rosters: Chain,
    /// The first version of the roster in bundles.
    pub bundles_from: u64,
}

/// The state in force.
pub struct Sealed {
    /// The index of the seal's log entry.
    pub index: u64,
    /// SHA-256 digest of the seal's payload.
    pub digest: SealDigest,
    /// The seal.
    pub seal: Seal,
    /// Id and epoch of the boundary, in the form that authorizations contain.
    pub boundary: BoundaryRef,
    /// The roster.
    pub roster: TrustedRoster,
    /// The roster with all its earlier versions, in their signed form.
    pub rosters: Chain,
    /// JSON of the parts that all bundles under this seal share.
    pub bundled: BundleShare,
    /// The policy.
    pub policy: Policy,
    /// The tokens.
    pub tokens: SealedTokens,
    /// Limits and sandbox level.
    pub configuration: Configuration,
    /// The steps.
    pub registry: Registry,
    steps: StepsInForce,
    /// The variables that each runbook's scripts set, read when a session first needs them.
    session_names: OnceLock<BTreeMap<String, Arc<BTreeSet<String>>>>,
    /// The grants that runs used under this seal.
    pub grants: KnownGrants,
    /// The first version of the roster in bundles, unless the caller wants another. By default 1.
    pub bundles_from: u64,
    /// The sizes that could stop the next seal.
    bounds: OnceLock<SealBounds>,
    /// The versions of the roster from one version on, as the last bundle had them.
    bundled_rosters: Mutex<(u64, Arc<[u8]>)>,
}

/// JSON of the parts that all bundles under a seal share.
pub struct BundleShare {
    /// The seal's envelope.
    pub seal: String,
    /// The policy.
    pub policy: String,
    /// The built-in lists.
    pub builtins: String,
}

/// All reasons why a seal can't be created or read.
#[derive(Debug, PartialEq, Default)]
pub struct SealError {
    /// Errors in steps, each with its place.
    pub steps: Vec<FileProblem>,
    /// Errors in the state as a whole.
    pub state: Vec<String>,
    /// A bundle of a step would be too large. The content is right, but the log can't prove a run of this step.
    pub too_long: Option<String>,
}

impl std::fmt::Display for SealError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let steps = self.steps.iter().map(ToString::to_string);
        let lines: Vec<String> = steps
            .chain(self.state.iter().chain(&self.too_long).cloned())
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for SealError {}

impl From<Malformed> for SealError {
    fn from(malformed: Malformed) -> Self {
        one(malformed)
    }
}

/// Returns the error with one reason.
pub fn one(message: impl std::fmt::Display) -> SealError {
    SealError {
        state: vec![message.to_string()],
        ..SealError::default()
    }
}

fn state_of<E: std::fmt::Display>(what: &str, errors: &[E]) -> SealError {
    let errors = errors.iter().map(|error| format!("{what}: {error}"));
    SealError {
        state: errors.collect(),
        ..SealError::default()
    }
}

impl SealContent {
    /// Checks that policy and configuration allow everything that the steps declare. Then drafts the seal.
    ///
    /// # Errors
    /// Returns every declaration that policy, roster or configuration does not allow, with the place of the declaration, and
    /// every error of the state as a whole.
    pub fn draft(&self, basis: SealPredecessor<'_>, at: Timestamp) -> Result<SealDraft, SealError> {
        let roster = self.rosters.last();
        let mut tokens = self.tokens.clone();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = self.registry.manifest();
        let list = canonical_tokens(&tokens).map_err(one)?;
        let mut refused = SealError::default();
        let bounds = SealBounds::of(
            (&self.registry, &self.policy),
            list.len(),
            (&self.rosters, self.bundles_from),
        )?;
        refused.state.extend(bounds.too_large_lists());
        let known = match &basis {
            SealPredecessor::After(before) | SealPredecessor::NewEpoch(before, _) => {
                Some(&before.steps)
            }
            SealPredecessor::First { .. } => None,
        };
        let steps;
        (steps, refused.steps) = steps_to_seal(
            &self.registry,
            &self.policy,
            Some(roster),
            &self.configuration,
            known,
        );
        if roster.policy() != self.policy.digest() {
            refused.state.push(format!(
                "the roster names the policy {}, but the policy file has {}: a changed policy needs a signed roster",
                roster.policy(),
                self.policy.digest()
            ));
        }
        let keys = roster.boundary_keyids(&self.name);
        refused.state.extend(lacks_boundary(roster, &self.name));
        refused.too_long = bounds.too_large_for_bundles();
        if refused != SealError::default() {
            return Err(refused);
        }
        let mut blobs = Vec::new();
        let mut blob = |bytes: Vec<u8>| {
            let digest = BlobDigest::of(&bytes);
            blobs.push((digest, bytes));
            digest
        };
        let canonical = |bytes: Result<Vec<u8>, canonical::CanonicalError>| bytes.map_err(one);
        blob(self.policy.canonical().to_vec());
        blob(roster.payload().to_vec());
        let rosters = match &basis {
            _ if roster.version() == 1 => None,
            SealPredecessor::After(before) | SealPredecessor::NewEpoch(before, _) => {
                match before.roster.version() {
                    sealed if sealed == roster.version() => before.seal.rosters,
                    sealed => Some(blob(self.rosters.json_from(sealed + 1)?)),
                }
            }
            SealPredecessor::First { .. } => Some(blob(self.rosters.json_from(1)?)),
        };
        let builtins = blob(builtins::CANONICAL.to_vec());
        let tokens = blob(list);
        let configuration = blob(canonical(canonical::canonical_of(&self.configuration))?);
        let (before, genesis, epoch) = match basis {
            SealPredecessor::After(sealed) => (Some(sealed), None, sealed.boundary.epoch.clone()),
            SealPredecessor::NewEpoch(sealed, epoch) => (Some(sealed), None, epoch),
            SealPredecessor::First { genesis, epoch } => (None, Some(genesis), epoch),
        };
        let seal = Seal {
            boundary: SealedBoundary {
                name: self.name.clone(),
                id: before.map(|sealed| sealed.boundary.id),
            },
            epoch,
            at,
            number: before.map_or(0, |sealed| sealed.seal.number + 1),
            previous: before.map(|sealed| sealed.digest),
            registry_root: self.registry.root(),
            registry: BlobDigest::of(manifest),
            policy: self.policy.digest(),
            builtins,
            roster: roster.digest(),
            rosters,
            tokens,
            configuration,
            keys,
            engine: ENGINE.to_owned(),
            genesis,
        };
        // If the content is too large, this check fails now, while the earlier state is still in force.
        seal.clone().into_statement().to_payload()?;
        let ended_epoch = before
            .map(|before| before.boundary.epoch.clone())
            .filter(|epoch| *epoch != seal.epoch);
        Ok(SealDraft {
            seal,
            ended_epoch,
            blobs,
            registry: self.registry.clone(),
            steps,
            rosters: self.rosters.clone(),
            bundles_from: self.bundles_from,
        })
    }
}

/// Returns an error if an auditor can't read the sealed content. Then no auditor could check a decision under this seal.
/// Returns an error if the roster has no key of the boundary with this name.
pub fn lacks_boundary(roster: &TrustedRoster, name: &BoundaryName) -> Option<String> {
    roster.boundary_keys(name).is_empty().then(|| {
        format!(
            "the roster has no boundary {name}: add it to `boundaries` with this boundary's public key"
        )
    })
}

fn canonical_tokens(tokens: &[SealedToken]) -> Result<Vec<u8>, canonical::CanonicalError> {
    // The array is sorted by the canonical JSON bytes of its elements, like every sorted array.
    let mut items = tokens
        .iter()
        .map(canonical::canonical_of)
        .collect::<Result<Vec<_>, _>>()?;
    items.sort();
    let mut bytes = vec![b'['];
    bytes.extend(items.join(&b','));
    bytes.push(b']');
    Ok(bytes)
}

impl SealDraft {
    /// Returns true if this draft and `sealed` have the same content. Numbers and times are ignored.
    pub fn same_as(&self, sealed: &Seal) -> bool {
        let state = |seal: &Seal| {
            (
                seal.registry_root,
                seal.registry,
                seal.policy,
                seal.builtins,
                seal.roster,
                seal.tokens,
                seal.configuration,
                seal.keys.clone(),
                seal.engine.clone(),
                seal.epoch.clone(),
            )
        };
        state(&self.seal) == state(sealed)
    }
}

impl Sealed {
    /// Returns the versions of the roster from this one on as JSON, in the form that a bundle has.
    ///
    /// # Errors
    /// Never returns an error in practice, because the versions were read before.
    pub fn rosters_from(&self, first: u64) -> Result<Arc<[u8]>, Malformed> {
        let mut known = locked(&self.bundled_rosters);
        if known.1.is_empty() || known.0 != first {
            *known = (first, self.rosters.json_from(first)?.into());
        }
        Ok(known.1.clone())
    }

    /// Returns the sizes that could stop the next seal.
    pub fn bounds(&self) -> &SealBounds {
        self.bounds.get_or_init(|| {
            let list = canonical_tokens(&self.tokens).unwrap_or_default();
            SealBounds::of(
                (&self.registry, &self.policy),
                list.len(),
                (&self.rosters, self.bundles_from),
            )
            .unwrap_or_default()
        })
    }

    /// Shares the needs of equal steps with other rules in memory.
    pub fn share_needs(&mut self, other: &StepsInForce) {
        share_needs(&mut self.steps, other);
    }

    /// Restores the state of `seal` from the blobs that the seal names, and from all versions of its roster. If `known` has a
    /// step with the same bytes as the step's blob, both states share that step.
    ///
    /// # Errors
    /// Returns an error if a blob is missing, can't be read, or differs from the digest in the seal.
    pub fn restore(
        seal: Seal,
        payload: &[u8],
        envelope: &[u8],
        index: u64,
        known: Option<&Registry>,
        rosters: Chain,
        blob: impl Fn(&BlobDigest) -> Option<Vec<u8>>,
    ) -> Result<Self, SealError> {
        let digest = SealDigest::of(payload);
        let find = |what: &str, digest: [u8; 32]| {
            let bytes = blob(&BlobDigest::from_bytes(digest)).ok_or_else(|| {
                one(format!(
                    "seal {}: the blob of the {what} is missing from the store",
                    seal.number
                ))
            })?;
            if sha256(&bytes) == digest {
                Ok(bytes)
            } else {
                Err(one(format!(
                    "seal {}: the blob of the {what} does not match the seal",
                    seal.number
                )))
            }
        };
        let value = |what: &str, bytes: &[u8]| -> Result<Value, SealError> {
            json::parse(bytes, bytes.len())
                .map_err(|error| one(format!("seal {}: the {what}: {error}", seal.number)))
        };
        let policy = value("policy", &find("policy", *seal.policy.as_bytes())?)?;
        let policy =
            Policy::from_sealed(&policy).map_err(|errors| state_of("sealed policy", &errors))?;
        let roster = find("roster", *seal.roster.as_bytes())?;
        let last = rosters.last().clone();
        if **last.payload() != *roster {
            return Err(one(format!(
                "seal {}: the versions of the roster lead to another roster",
                seal.number
            )));
        }
        let roster = last;
        let builtins = value(
            "built-in lists",
            &find("built-in lists", *seal.builtins.as_bytes())?,
        )?;
        let mut tokens: Vec<SealedToken> = typed(
            "tokens",
            &value("tokens", &find("tokens", *seal.tokens.as_bytes())?)?,
        )?;
        // The list of the seal is sorted by its bytes, so by the credentials. Messages name the tokens in a steady order.
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        let configuration = find("configuration", *seal.configuration.as_bytes())?;
        let configuration: Configuration =
            typed("configuration", &value("configuration", &configuration)?)?;
        let manifest = find("registry", *seal.registry.as_bytes())?;
        let manifest: Vec<RegistryLeaf> = match known.filter(|known| known.manifest() == manifest) {
            // Parsing a large list again would need some MB of memory for its JSON values.
            Some(known) => known.leaves().collect(),
            None => typed("registry", &value("registry", &manifest)?)?,
        };
        let mut shared: BTreeMap<ContentDigest, Arc<[u8]>> = BTreeMap::new();
        let mut contents = |definition: &StepDefinition| -> Result<Vec<Arc<[u8]>>, SealError> {
            let content = |file: &StepFile| match shared.get(&file.digest) {
                Some(bytes) => Ok(Arc::clone(bytes)),
                None => {
                    let what = format!("file {:?} of {}", file.path, definition.reference);
                    let bytes: Arc<[u8]> = find(&what, *file.digest.as_bytes())?.into();
                    shared.insert(file.digest, Arc::clone(&bytes));
                    Ok(bytes)
                }
            };
            definition.files.iter().map(content).collect()
        };
        let mut step = |leaf: RegistryLeaf| -> Result<StoredStep, SealError> {
            let bytes = find(&format!("step {}", leaf.reference), *leaf.digest.as_bytes())?;
            let known = known.and_then(|known| known.get(&leaf.reference));
            if let Some(step) = known.filter(|step| step.digest == leaf.digest) {
                return Ok(StoredStep::Known(step.stored()));
            }
            let what = format!("step {}", leaf.reference);
            let definition: StepDefinition = typed(&what, &value("step", &bytes)?)?;
            let contents = contents(&definition)?;
            Ok(StoredStep::Read(Box::new(definition), contents))
        };
        // Read the definitions one by one. All definitions together with the registry would need twice the memory.
        let mut unread = None;
        let steps = manifest
            .into_iter()
            .map_while(|leaf| step(leaf).map_err(|error| unread = Some(error)).ok());
        let registry = Registry::from_stored(steps);
        if let Some(error) = unread {
            return Err(error);
        }
        let registry = registry.map_err(|errors| state_of("sealed registry", &errors))?;
        if registry.root() != seal.registry_root {
            return Err(one(format!(
                "seal {}: the hash of the steps is not the registry root",
                seal.number
            )));
        }
        let lists = Builtins::from_sealed(&builtins)
            .map_err(|errors| state_of("the sealed built-in lists", &errors))?;
        let steps = steps_in_force(&registry, &policy, &lists, &roster, &configuration).map_err(
            |steps| SealError {
                steps,
                ..SealError::default()
            },
        )?;
        let boundary = BoundaryRef {
            name: seal.boundary.name.clone(),
            id: seal.boundary.id.unwrap_or(digest),
            epoch: seal.epoch.clone(),
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(one);
        let bundled = BundleShare {
            seal: text(envelope)?,
            policy: text(policy.canonical())?,
            builtins: text(&canonical::to_canonical(&builtins))?,
        };
        Ok(Self {
            index,
            digest,
            boundary,
            roster,
            rosters,
            bundled,
            policy,
            tokens: tokens.into(),
            configuration,
            registry,
            steps,
            session_names: OnceLock::new(),
            grants: KnownGrants::default(),
            bundles_from: 1,
            bounds: OnceLock::new(),
            bundled_rosters: Mutex::default(),
            seal,
        })
    }
}

fn typed<T: DeserializeOwned>(what: &str, value: &Value) -> Result<T, SealError> {
    json::typed(value).map_err(|error| one(format!("sealed {what}: {error}")))
}

/// Maximum number of grants in memory. A grant has at most 36 KiB.
const MOST_KNOWN: usize = 256;

/// Grants of the log with the digests of their payloads. A new seal begins without grants, because it can have other
/// approvers.
#[derive(Default)]
pub struct KnownGrants(Mutex<BTreeMap<ContentDigest, Arc<PreparedGrant>>>);

impl KnownGrants {
    /// Returns a grant that was kept before.
    pub fn get(&self, digest: &ContentDigest) -> Option<Arc<PreparedGrant>> {
        locked(&self.0).get(digest).cloned()
    }

    /// Keeps a grant of the log.
    pub fn keep(&self, digest: ContentDigest, grant: &Arc<PreparedGrant>) {
        let mut known = locked(&self.0);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(digest, grant.clone());
    }
}

/// Sealed state in force, for all readers. A new state replaces the whole old state, so that a reader never sees parts
/// of two seals.
pub struct CurrentSeal {
    sealed: Mutex<Arc<Sealed>>,
    /// The revocations of the log: the stored list, and the form that verdicts use.
    revoked: Mutex<(Arc<Vec<StoredRevocation>>, Arc<Revocations>)>,
    /// Keys that closed logs revoked. A restore begins a new log, in which these keys stay revoked.
    earlier: Vec<StoredRevocation>,
}

impl CurrentSeal {
    /// Creates the value with `sealed` in force, and with the revocations of keys of the closed logs.
    pub fn new(sealed: Sealed, earlier: Vec<StoredRevocation>) -> Self {
        let known = Mutex::new((Arc::default(), Arc::new(revocations(&earlier, &[]))));
        Self {
            sealed: Mutex::new(Arc::new(sealed)),
            revoked: known,
            earlier,
        }
    }

    /// Returns the sealed state in force.
    pub fn get(&self) -> Arc<Sealed> {
        locked(&self.sealed).clone()
    }

    /// Puts a new state in force. The seal of the new state must already be in the log.
    pub fn put(&self, sealed: Sealed) {
        *locked(&self.sealed) = Arc::new(sealed);
    }

    /// Returns the revocations of these log entries. The result is built again only after a new revocation.
    pub fn revoked(&self, stored: &Arc<Vec<StoredRevocation>>) -> Arc<Revocations> {
        let mut known = locked(&self.revoked);
        if !Arc::ptr_eq(&known.0, stored) {
            *known = (stored.clone(), Arc::new(revocations(&self.earlier, stored)));
        }
        known.1.clone()
    }
}

/// Returns the revocations of the log together with the earlier revocations of keys.
pub fn revocations(earlier: &[StoredRevocation], stored: &[StoredRevocation]) -> Revocations {
    earlier
        .iter()
        .chain(stored)
        .map(|one| (one.subject, one.leaf))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use documents::{
        ConfiguredLimits, ConfiguredSandbox, Envelope, Level, Limits, MAX_BLOB_BYTES,
        RosterVersion, STRICT, Scope,
    };

    const ROSTER: &[u8] = include_bytes!("../../../../tests/conformance/golden/valid/roster.json");
    const POLICY: &[u8] = include_bytes!(
        "../../../../tests/conformance/golden/valid/log/blob/sha256/66adefbccdd92510666623c4decc0de56f1b6a814c8fd7b2de48b7a9cf0d3c40"
    );

    fn step(reference: String) -> documents::StepDefinition {
        let step = json!({
            "approvals": {"from": [], "required": 1}, "files": [], "format": "markdown", "interpreter": "bash", "outputs": [],
            "params": {"properties": {}, "type": "object"}, "ref": reference, "sandbox": {}, "secrets": [],
            "session": "none", "source": ":", "template": "none", "title": "",
        });
        serde_json::from_value(step).expect("a step")
    }

    fn material(steps: usize, tokens: Vec<SealedToken>) -> SealContent {
        let roster: Envelope = serde_json::from_slice(ROSTER).expect("an envelope");
        let policy: Value = serde_json::from_slice(POLICY).expect("a policy");
        let long = "a".repeat(240);
        let steps = (0..steps).map(|number| step(format!("{long}{number:06}:go")));
        let limits = ConfiguredLimits {
            default: Limits::default(),
            maximum: Limits::default(),
        };
        SealContent {
            name: "prod-eu".parse().expect("a name"),
            registry: Registry::from_definitions(steps).expect("a registry"),
            policy: Policy::from_sealed(&policy).expect("a policy"),
            rosters: Chain::from_first(&[RosterVersion::Whole(roster)]).expect("a chain"),
            tokens,
            configuration: Configuration {
                limits,
                sandbox: ConfiguredSandbox {
                    level: Level::Strict,
                    require: STRICT.to_vec(),
                },
            },
            bundles_from: 1,
        }
    }

    fn draft(material: &SealContent) -> Result<SealDraft, SealError> {
        let genesis = serde_json::from_value(json!("9e".repeat(32))).expect("a genesis");
        let basis = SealPredecessor::First {
            genesis,
            epoch: "e0".repeat(16).parse().expect("an epoch"),
        };
        material.draft(basis, Timestamp::from_unix(1_800_000_000))
    }

    fn tokens(bytes: usize) -> Vec<SealedToken> {
        let token = |patterns| SealedToken {
            name: "agent".parse().expect("a name"),
            owners: Vec::new(),
            scopes: vec![Scope::Propose],
            patterns,
            expires_at: None,
            credential: ContentDigest::of(b"agent"),
            oidc: None,
        };
        let empty = canonical_tokens(&[token(vec![String::new()])])
            .expect("canonical")
            .len();
        vec![token(vec!["p".repeat(bytes - empty)])]
    }

    #[test]
    fn a_token_list_that_an_auditor_would_refuse_is_not_sealed() {
        let most = tokens(MAX_BLOB_BYTES);
        assert_eq!(
            canonical_tokens(&most).expect("canonical").len(),
            MAX_BLOB_BYTES
        );
        let sealed = draft(&material(1, most)).expect("it still fits");
        assert!(
            sealed
                .blobs
                .iter()
                .all(|(_, blob)| blob.len() <= MAX_BLOB_BYTES)
        );
        let refused = draft(&material(1, tokens(MAX_BLOB_BYTES + 1)))
            .expect_err("a byte more")
            .to_string();
        assert!(
            refused.contains("the list of tokens has 4194305 of at most 4194304 bytes: revoke"),
            "{refused}"
        );
    }

    #[test]
    fn a_step_list_that_an_auditor_would_refuse_is_not_sealed() {
        // Each leaf needs 342 bytes and a comma.
        let leaf = material(1, Vec::new()).registry.manifest().len() - 1;
        let fit = (MAX_BLOB_BYTES - 1) / leaf;
        let refused = draft(&material(fit + 1, Vec::new()))
            .expect_err("one step too many")
            .to_string();
        assert!(
            refused.contains(&format!(
                "the list of registered steps has {} of at most 4194304 bytes: register fewer",
                (fit + 1) * leaf + 1
            )),
            "{refused}"
        );
    }
}
