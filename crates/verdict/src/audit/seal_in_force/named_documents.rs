//! The documents that a seal names, read from the evidence.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{EvidenceFiles, SealedTokens, StepInForce, TrustedRoster, Unreadable, steps_in_force};
use documents::{
    BlobDigest, Configuration, ConfiguredLimits, ConfiguredSandbox, Layer, Level, Limits,
    MAX_BLOB_BYTES, MAX_DEFINITION_BYTES, PolicyDigest, RegistryLeaf, RegistryRoot, Seal,
    SealedToken, StepDefinition, StepRef, canonical, check_no_null, json, sha256,
};
use reading::{Builtins, ParameterSchema, PasskeysRule, Policy, Registry};

/// Sealed state from which the audit repeats decisions.
pub struct SealedState {
    pub policy: PolicyDigest,
    pub steps: Arc<Steps>,
    pub tokens: SealedTokens,
}

pub struct Steps {
    /// Digests of all documents that define the steps.
    of: (
        BlobDigest,
        RegistryRoot,
        PolicyDigest,
        BlobDigest,
        [u8; 32],
        BlobDigest,
    ),
    registry: Arc<Registry>,
    pub(super) held: BTreeMap<StepRef, StepInForce>,
    /// Steps that other steps name as their plan.
    pub plans: BTreeSet<StepRef>,
    /// Reason why the sealed configuration does not contain all data for the profiles in `held`. The value is `None`
    /// if the configuration is complete.
    pub unprofiled: Option<String>,
    /// Longest time limit of all steps, in milliseconds.
    pub longest_ms: u64,
    /// The passkeys that count, or `None` if none counts.
    pub passkeys: Option<PasskeysRule>,
}

impl SealedState {
    pub fn step(&self, reference: &StepRef) -> Option<(&StepInForce, &ParameterSchema)> {
        Some((
            self.steps.held.get(reference)?,
            &self.steps.registry.get(reference)?.schema,
        ))
    }
}

/// Reason why no state could be read from the documents of a seal.
pub enum Unread {
    /// A document is missing or has another digest, so no program version can read it.
    Gone(String),
    /// This program version can't read a document.
    Refused(Vec<String>),
    /// The source of the documents can't be read.
    Source(Unreadable),
}

impl From<Unreadable> for Unread {
    fn from(error: Unreadable) -> Self {
        Self::Source(error)
    }
}

/// Returns all reasons why this program version can't read the document `what`.
fn refused<E: std::fmt::Display>(what: &str, errors: &[E]) -> Unread {
    let messages = errors.iter().map(|error| format!("{what}: {error}"));
    Unread::Refused(messages.collect())
}

/// Reads the documents that a seal names. Documents that have not changed since the last seal are not read again.
pub fn read(
    seal: &Seal,
    roster: &TrustedRoster,
    before: Option<&SealedState>,
    beside: &dyn EvidenceFiles,
) -> Result<SealedState, Unread> {
    let find = |what: &str, digest: [u8; 32]| -> Result<Vec<u8>, Unread> {
        let digest = BlobDigest::from_bytes(digest);
        match beside.blob(&digest)? {
            Some(bytes) if sha256(&bytes) == *digest.as_bytes() => Ok(bytes),
            Some(_) => Err(Unread::Gone(format!(
                "the {what} stored with the log does not have the digest {digest}"
            ))),
            None => Err(Unread::Gone(format!(
                "the {what} ({digest}) is not stored with the log"
            ))),
        }
    };
    fn document<T: DeserializeOwned + Serialize>(what: &str, bytes: &[u8]) -> Result<T, Unread> {
        canonical_document(what, bytes, MAX_BLOB_BYTES)
            .map_err(|message| Unread::Refused(vec![message]))
    }
    let tokens = find("list of tokens", *seal.tokens.as_bytes())?;
    let tokens: Vec<SealedToken> = document("list of tokens", &tokens)?;
    let of = (
        seal.registry,
        seal.registry_root,
        seal.policy,
        seal.builtins,
        *seal.roster.as_bytes(),
        seal.configuration,
    );
    let builtins = find("built-in lists", *seal.builtins.as_bytes())?;
    let builtins: Value = document("built-in lists", &builtins)?;
    let lists = Builtins::from_sealed(&builtins)
        .map_err(|errors| refused("the sealed built-in lists", &errors))?;
    let steps = match before.filter(|before| before.steps.of == of) {
        Some(before) => before.steps.clone(),
        None => {
            let policy = find("policy", *seal.policy.as_bytes())?;
            let policy: Value = document("policy", &policy)?;
            let policy = Policy::from_sealed(&policy)
                .map_err(|errors| refused("the sealed policy", &errors))?;
            let configuration = find("configuration", *seal.configuration.as_bytes())?;
            let configuration: Value = document("configuration", &configuration)?;
            let (configuration, unprofiled) = match json::typed::<Configuration>(&configuration) {
                Ok(Configuration {
                    limits,
                    sandbox: ConfiguredSandbox { level, require },
                }) => (
                    Configuration {
                        limits,
                        sandbox: as_sealed(level, require),
                    },
                    None,
                ),
                Err(error) => match in_part(&configuration) {
                    Some(part) => {
                        let why = format!(
                            "this version can't derive every profile from the sealed configuration ({error})"
                        );
                        (part, Some(why))
                    }
                    None => {
                        return Err(refused("the sealed configuration", &[error]));
                    }
                },
            };
            let same =
                before.filter(|before| (before.steps.of.0, before.steps.of.1) == (of.0, of.1));
            let registry = match same {
                Some(before) => before.steps.registry.clone(),
                None => {
                    let manifest = find("registry", *seal.registry.as_bytes())?;
                    let leaves: Vec<RegistryLeaf> = document("registry", &manifest)?;
                    let mut definitions = Vec::with_capacity(leaves.len());
                    let mut contents = BTreeSet::new();
                    for leaf in &leaves {
                        let what = format!("step {}", leaf.reference);
                        let bytes = find(&what, *leaf.digest.as_bytes())?;
                        let definition = canonical_document(&what, &bytes, MAX_DEFINITION_BYTES);
                        let definition: StepDefinition =
                            definition.map_err(|message| Unread::Refused(vec![message]))?;
                        for file in &definition.files {
                            let what = format!("file {:?} of {}", file.path, leaf.reference);
                            if contents.insert(file.digest)
                                && find(&what, *file.digest.as_bytes())?.len() as u64 != file.bytes
                            {
                                let message = format!(
                                    "the sealed {what} has another size than its definition states"
                                );
                                return Err(Unread::Refused(vec![message]));
                            }
                        }
                        definitions.push(definition);
                    }
                    let registry = Registry::from_definitions(definitions)
                        .map_err(|errors| refused("the sealed registry", &errors))?;
                    if registry.root() != seal.registry_root || registry.manifest() != manifest {
                        return Err(Unread::Gone(
                            "the root hash of the sealed steps differs from the root in the seal"
                                .to_owned(),
                        ));
                    }
                    Arc::new(registry)
                }
            };
            let held = steps_in_force(&registry, &policy, &lists, roster, &configuration).map_err(
                |flaws| Unread::Refused(flaws.iter().map(ToString::to_string).collect()),
            )?;
            let longest_ms = held
                .values()
                .map(|step| step.profile.limits.wall_ms)
                .max()
                .unwrap_or(0);
            let plans = held
                .values()
                .filter_map(|step| Some(step.hashed.definition().plan.as_ref()?.step.clone()));
            let plans = plans.collect();
            Arc::new(Steps {
                of,
                registry,
                held,
                plans,
                unprofiled,
                longest_ms,
                passkeys: policy.passkeys(),
            })
        }
    };
    Ok(SealedState {
        policy: seal.policy,
        steps,
        tokens: tokens.into(),
    })
}

/// Reads a sealed configuration that has fewer fields than this program version writes. Missing fields are no defect,
/// because `docs/formats.md` requires only `limits` and `sandbox`. The layers of the sealed level are still required.
/// If fields are missing, limits and further layers are not checked, and a run may last up to the default limit. A
/// boundary gains nothing if it leaves fields out, because only the boundary decides what the sealed configuration
/// contains.
pub fn in_part(value: &Value) -> Option<Configuration> {
    let whole = value.as_object().filter(|whole| whole.len() == 2)?;
    let (limits, sandbox) = (
        whole.get("limits")?.as_object()?,
        whole.get("sandbox")?.as_object()?,
    );
    let known = |map: &Map<String, Value>, names: [&str; 2]| {
        map.keys().all(|name| names.contains(&&**name))
    };
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
    let limits = ConfiguredLimits {
        default: Limits::default(),
        maximum,
    };
    Some(Configuration {
        limits,
        sandbox: as_sealed(level, require),
    })
}

/// Returns the layers that a sealed level required. The sealed list of layers decides, because later program versions
/// may add layers to a level. The level `strict` always required at least the layers in `FIRST`.
pub fn as_sealed(level: Level, mut require: Vec<Layer>) -> ConfiguredSandbox {
    const FIRST: [Layer; 4] = [
        Layer::Capabilities,
        Layer::Landlock,
        Layer::Namespaces,
        Layer::Network,
    ];
    if level == Level::Strict {
        require.extend(FIRST);
    }
    require.sort_unstable();
    require.dedup();
    ConfiguredSandbox {
        level: Level::BestEffort,
        require,
    }
}

pub fn canonical_document<T: DeserializeOwned + Serialize>(
    what: &str,
    bytes: &[u8],
    most: usize,
) -> Result<T, String> {
    let value = canonical::parse_canonical(bytes, most)
        .map_err(|error| format!("the sealed {what}: {error}"))?;
    let read = json::typed(&value).map_err(|error| format!("the sealed {what}: {error}"))?;
    check_no_null(&value, &read).map_err(|error| format!("the sealed {what}: {error}"))?;
    Ok(read)
}
