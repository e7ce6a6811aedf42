//! From configuration to a boundary that may take requests.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::boundary::sealing::{SealStop, check_on_host, restore, tokens_in_force, write_seal};
use crate::boundary::{Boundary, BoundaryParts};
use crate::crossing::boundary_key::BoundaryKey;
use crate::crossing::capacity::CapacityLimits;
use crate::crossing::outputs::Outputs;
use crate::crossing::sealed::{SealContent, SealError, SealPredecessor, Sealed};
use crate::crossing::surroundings::Surroundings;
use crate::crypto::digest::SealDigest;
use crate::crypto::json;
use crate::crypto::signature::SecretKey;
use crate::node::config::Config;
use crate::node::files::{self, BoundaryFiles};
use crate::node::host_lock::HostLock;
use crate::node::problem::{FileProblem, Problems};
use crate::node::roster_file::DraftRoster;
use crate::node::succession::{self, FoundRosters};
use crate::node::{descriptors, handover, kept, log_at_rest, places, private, rosters};
use crate::policy::file::Policy;
use crate::record::configuration::{Configuration, ConfiguredLimits, ConfiguredSandbox};
use crate::record::enforcement::Level;
use crate::record::envelope::{Base64, Envelope, Signed};
use crate::record::ident::{Epoch, GenesisSalt, Name};
use crate::record::profile::STRICT;
use crate::record::seal::{FollowedLog, Genesis, Seal};
use crate::record::token::SealedToken;
use crate::record::validity::Timestamp;
use crate::registry::Registry;
use crate::sandbox::Sandbox;
use crate::sandbox::linux::{LinuxSandbox, Setup};
use crate::sandbox::probe::HostProbe;
use crate::store::fault::StoreFault;
use crate::store::ledger::Ledger;
use crate::store::message::WriteStop;
use crate::store::{shared, sqlite};
use crate::trust::chain::Chain;
use crate::trust::roster::TrustedRoster;
use crate::trust::signer::{FileSigner, Signer as _};

/// A boundary that is put together, and what its start found.
pub struct AssembledBoundary {
    /// The boundary.
    pub boundary: Boundary,
    /// Its store.
    pub ledger: Ledger,
    /// What this host's sandbox holds.
    pub level: Level,
    /// Whether its log begins with this start.
    pub first: bool,
    /// What an operator should know.
    pub notes: Vec<String>,
    /// The newest version of the roster that this start found signed.
    pub newest_roster: u64,
    /// Keeps a copy of the directory from being served beside it.
    pub lock: HostLock,
}

/// Whether what changed since the last seal comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenChanges {
    /// Whatever is signed and complete, the runbooks and the configuration: a start of the service.
    Changes,
    /// Nothing: a command that answers in its place changes no more than what was asked for.
    Nothing,
}

/// Opens the store, puts the state and the parts together. Takes no request and recovers nothing yet.
///
/// # Errors
/// Everything that keeps the boundary from starting.
pub async fn assemble(
    config: &Config,
    sandbox: Arc<dyn Sandbox>,
    store: OpenStore,
    files: BoundaryFiles,
    takes: TakenChanges,
) -> Result<AssembledBoundary, Problems> {
    let configuration = configure(config, sandbox.probe())?;
    let around = surroundings();
    let key = BoundaryKey { secret: copy_of(config, &files.key)?, keyid: files.key.key().keyid() };
    let ledger = open_ledger(config, &files.key, &around, store)?;
    let mut notes = match kept::check(config, &ledger, files.key.key()) {
        Ok(notes) => notes,
        Err(problems) => {
            // Closed in order: whoever copies another store here must not find a write-ahead log of this one.
            let _ = ledger.close().await;
            return Err(problems);
        }
    };
    // Before anything is written: the log of a copy would go on beside the original's.
    let lock = match ledger.state().boundary {
        Some(id) => match HostLock::take(config, &id).await {
            Ok(lock) => Some(lock),
            Err(problem) => {
                let _ = ledger.close().await;
                return Err(problem.into());
            }
        },
        None => None,
    };
    let broken = |fault: StoreFault| Problems::from(FileProblem::whole(&config.database, fault.to_string()));
    let tokens = tokens_in_force(&ledger.tokens().map_err(broken)?, ledger.now());
    let last = ledger.seals().map_err(broken)?.last().copied();
    let closed = closed_ledgers(config, &files.key, &around, &mut notes)?;
    let parts = Start { config, ledger: &ledger, key: &key, around: &around, sandbox: &*sandbox };
    let (sealed, found) = match last {
        None => {
            let genesis = Genesis::New(GenesisSalt::new(around.bytes()));
            (parts.begin(files, tokens, configuration, genesis, ledger.now()).await?, Noticed::default())
        }
        Some(last) if takes == TakenChanges::Nothing => (parts.stay(last.index, &files.key)?, Noticed::default()),
        Some(last) => parts.go_on(last.index, files, tokens, configuration).await?,
    };
    notes.extend(found.notes);
    let lock = match lock {
        Some(lock) => lock,
        None => HostLock::take(config, &sealed.boundary.id).await?,
    };
    notes.extend(rosters::keep(config, &sealed.rosters));
    if !sealed.roster.is_guarded() {
        notes.push("the roster is unguarded (threshold 0): its next version needs nobody's signature".to_owned());
    }
    let level = sandbox.probe().level();
    if level != Level::Strict {
        notes.extend(missing(sandbox.probe()).map(|line| format!("sandbox: {line}")));
    }
    let shares = descriptors::share(config.runs);
    notes.extend(shares.note);
    let limits = CapacityLimits { runs: shares.runs, crossings: CROSSINGS };
    let outputs = Outputs::new(config.outputs());
    let retention = config.retention;
    let ledger_too = ledger.clone();
    let parts = BoundaryParts {
        ledger: ledger_too,
        sandbox,
        key,
        sealed,
        outputs,
        limits,
        retention,
        closed,
        surroundings: around,
    };
    let boundary = Boundary::new(parts);
    boundary.health.set_notes(notes.clone());
    boundary.health.set_roster_notes(found.following.clone());
    notes.extend(found.following);
    notes.extend(boundary.health.note_seal());
    let newest_roster = found.newest.max(boundary.crossing.state().roster.version());
    Ok(AssembledBoundary { boundary, ledger, level, first: last.is_none(), notes, newest_roster, lock })
}

/// What a start noticed about the files.
#[derive(Default)]
struct Noticed {
    notes: Vec<String>,
    /// What versions of the roster lack that follow the one in force.
    following: Vec<String>,
    /// The newest version that is signed.
    newest: u64,
}

/// The store's two halves, locked for this process.
pub type OpenStore = (sqlite::SqliteStore, sqlite::reads::SqliteReads);

/// Whether there is a store; a lost one, and one that is half restored or upgraded, is neither there nor not there.
///
/// # Errors
/// When the store is to be put back first.
pub fn has_store(config: &Config) -> Result<bool, FileProblem> {
    let restoring = places::workplace(config);
    if restoring.exists() {
        let message = "a restore into this boundary was interrupted: run `countersign store restore` again; or remove this \
                       directory, and the log begins anew where there is no store";
        return Err(FileProblem::whole(&restoring, message));
    }
    if config.database.exists() {
        return Ok(true);
    }
    if kept::was_interrupted(config) {
        let message = "an upgrade of this boundary's store was interrupted, and the old store is kept here: run `countersign store \
                       upgrade` again, which begins the new log";
        return Err(FileProblem::whole(&config.old_store(), message));
    }
    match kept::read(&config.kept_checkpoint()) {
        Ok((_, known)) => Err(FileProblem::whole(&config.database, kept::lost(&known))),
        Err(_) => Ok(false),
    }
}

/// Makes the private directories and takes the store's lock: only who holds it may sweep what others left.
///
/// # Errors
/// When a directory can't be made, or another process holds the store.
pub fn take_store(config: &Config) -> Result<OpenStore, Problems> {
    // Not even an empty store is made where one was lost: its write-ahead log would be taken for that of the one that is
    // put back.
    let _there = has_store(config)?;
    make_directories(config)?;
    let store =
        sqlite::open(&config.database).map_err(|fault| FileProblem::whole(&config.database, fault.to_string()))?;
    kept::sweep(&config.data).map_err(|error| FileProblem::whole(&config.data, error.to_string()))?;
    Ok(store)
}

/// Makes the private directories and that of runs.
fn make_directories(config: &Config) -> Result<(), FileProblem> {
    let make = |path: &Path, mode: u32| {
        let made = DirBuilder::new().recursive(true).mode(mode).create(path).and_then(|()| {
            // The umask took rights away; a run's directory must let runs pass.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        });
        made.map_err(|error| {
            FileProblem::whole(
                path,
                format!("the directory can't be made ({error}): make it, or change its parent's mode"),
            )
        })
    };
    make(&config.data, 0o700)?;
    make(&config.outputs(), 0o700)?;
    make(&config.spool(), 0o700)?;
    make(&config.scratch(), 0o711)
}

/// Prepares the sandbox and finds out what this host holds.
///
/// # Errors
/// When its directories can't be used.
pub fn sandbox(config: &Config) -> Result<LinuxSandbox, Problems> {
    // Before anything is tried: what fails for want of descriptors looks like a host that lacks layers.
    descriptors::check().map_err(|why| FileProblem::whole(&config.path, why))?;
    let setup = Setup {
        helper: None,
        scratch: config.scratch(),
        spool: config.spool(),
        private: private::set(config),
        unwritable: config.runbooks.clone(),
    };
    LinuxSandbox::new(&setup).map_err(|error| {
        FileProblem::whole(&config.scratch(), format!("the sandbox can't be prepared: {error}")).into()
    })
}

/// The layers that this host misses: why, and what to change.
pub fn missing(probe: &HostProbe) -> impl Iterator<Item = String> {
    probe.layers.iter().filter_map(|state| {
        let missing = state.missing.as_ref()?;
        Some(format!("the layer {} is missing: {}; fix it with: {}", state.layer.word(), missing.why, missing.knob))
    })
}

/// The configuration to seal: what the level stands for on this host.
fn configure(config: &Config, probe: &HostProbe) -> Result<Configuration, Problems> {
    let require = match config.level {
        Level::Strict => {
            let advice = "or set `level = \"best-effort\"` under [sandbox], and runs get only what is held";
            let lacking: Vec<FileProblem> = missing(probe)
                .map(|line| {
                    FileProblem::whole(&config.path, format!("[sandbox] level is strict, and {line}; {advice}"))
                })
                .collect();
            if !lacking.is_empty() {
                return Err(Problems::new(lacking));
            }
            STRICT.to_vec()
        }
        Level::BestEffort | Level::Off => probe.held(),
    };
    Ok(Configuration {
        limits: ConfiguredLimits { default: config.limits.clone(), maximum: config.maximum.clone() },
        sandbox: ConfiguredSandbox { level: config.level, require },
    })
}

fn open_ledger(config: &Config, key: &FileSigner, around: &Surroundings, store: OpenStore) -> Result<Ledger, Problems> {
    let settings = settings(config, key, around)?;
    let (store, reads) = store;
    Ledger::open(Box::new(store), Arc::new(reads), settings)
        .map_err(|fault| FileProblem::whole(&config.database, fault.to_string()).into())
}

/// What a ledger of this boundary is given.
///
/// # Errors
/// When the key can't be used.
pub fn settings(config: &Config, key: &FileSigner, around: &Surroundings) -> Result<shared::LedgerConfig, Problems> {
    let secret = copy_of(config, key)?;
    let signer = shared::LogSigner {
        key: secret.public(),
        keyid: key.key().keyid(),
        sign: Arc::new(move |bytes| secret.sign(bytes)),
    };
    Ok(shared::LedgerConfig {
        name: config.name.clone(),
        signer,
        clock: around.now.clone(),
        boottime: Arc::new(boottime),
        on_fatal: Arc::new(shared::abort),
        outputs: config.outputs(),
        limits: shared::LedgerLimits {
            of_proposer: config.pending_per_proposer,
            of_all: config.pending,
            ..shared::LedgerLimits::default()
        },
    })
}

/// The logs that restores have closed. One that can't be read is a note: what it held is old.
fn closed_ledgers(
    config: &Config,
    key: &FileSigner,
    around: &Surroundings,
    notes: &mut Vec<String>,
) -> Result<Vec<Ledger>, Problems> {
    let mut closed = Vec::new();
    for directory in places::closed(config) {
        let settings =
            shared::LedgerConfig { outputs: directory.join(places::OUTPUTS), ..settings(config, key, around)? };
        match log_at_rest::at_rest(&directory, settings) {
            Ok(ledger) => closed.push(ledger),
            Err(message) => notes.push(format!("the closed log in {} is not shown: {message}", directory.display())),
        }
    }
    Ok(closed)
}

/// The key again, for the second of its two users: a private key is not copied by accident.
pub(super) fn copy_of(config: &Config, key: &FileSigner) -> Result<SecretKey, Problems> {
    SecretKey::from_pkcs8_pem(&key.secret().to_pkcs8_v1_pem())
        .map_err(|error| FileProblem::whole(&config.key, error.to_string()).into())
}

/// What every way into force needs.
struct Start<'a> {
    config: &'a Config,
    ledger: &'a Ledger,
    key: &'a BoundaryKey,
    around: &'a Surroundings,
    sandbox: &'a dyn Sandbox,
}

impl Start<'_> {
    /// Begins a log, not before `at`: the roster is taken by hand.
    async fn begin(
        &self,
        files: BoundaryFiles,
        tokens: Vec<SealedToken>,
        configuration: Configuration,
        genesis: Genesis,
        at: Timestamp,
    ) -> Result<Sealed, Problems> {
        let config = self.config;
        let BoundaryFiles { registry, policy, roster, key } = files;
        let (policy, roster) = match (policy, roster) {
            (Ok(policy), Ok(roster)) => (policy, roster),
            (policy, roster) => {
                let found = policy.err().into_iter().chain(roster.err());
                return Err(Problems::new(found.flatten().collect()));
            }
        };
        if roster.tables().approver.is_empty() {
            return Err(FileProblem::whole(
                &config.roster,
                "nobody could ever approve: add an [[approver]] table for each before the log begins, because the first \
                 start seals the roster (`countersign key generate` makes a key and prints its line)",
            )
            .into());
        }
        if let Some(problem) = files::check_key(config, &roster, &key) {
            return Err(problem.into());
        }
        let rosters = first_rosters(config, &roster, &policy)?;
        let material = SealContent { name: config.name.clone(), registry, policy, rosters, tokens, configuration };
        self.seal(Before::NoSeal { genesis, at }, &material).await
    }

    /// Goes on after the last seal: with the next roster and policy where they are signed, else with those in force.
    async fn go_on(
        &self,
        last: u64,
        files: BoundaryFiles,
        tokens: Vec<SealedToken>,
        configuration: Configuration,
    ) -> Result<(Sealed, Noticed), Problems> {
        let config = self.config;
        let sealed = read_seal(config, self.ledger, last, Some(&files.registry))?;
        let FoundRosters { signed, candidates, mut notes, following } =
            succession::find(config, &sealed.rosters, &sealed.policy, &files);
        let material = |rosters: Chain, policy: &Policy| SealContent {
            name: config.name.clone(),
            registry: files.registry.clone(),
            policy: policy.clone(),
            rosters,
            tokens: tokens.clone(),
            configuration: configuration.clone(),
        };
        // The newest that this start may take: one that it may not must not hold up those before it.
        let known = self.ledger.tokens().map_err(|fault| FileProblem::whole(&config.database, fault.to_string()))?;
        let names: Vec<Name> = known.into_iter().map(|token| token.name).collect();
        let next = candidates.into_iter().rev().find_map(|(version, policy)| {
            let material = material(signed.until(version), policy);
            let taken = self.check_roster(material.rosters.last(), &names).and_then(|()| {
                // What contradicts itself (a group that a step names is gone, say) must not keep the boundary from serving.
                let draft = material.draft(SealPredecessor::After(&sealed), self.ledger.now());
                draft.map(|_| material).map_err(|error| error.to_string())
            });
            let refused =
                |why| notes.push(format!("version {version} of the roster is signed and not in force: {why}"));
            taken.map_err(refused).ok()
        });
        if next.is_none() && !self.is_key_of(&sealed.roster) {
            let why = notes.iter().chain(&following).map(|note| format!("; {note}")).collect::<String>();
            return Err(self.other_key(&why));
        }
        let _settled = handover::check(config, self.ledger, &sealed.rosters, &files.key)?;
        if next.is_some() {
            // The head of the log as it was under the roster before, recorded with the seal: bundles of that time need a
            // checkpoint under a key of that time.
            self.ledger.checkpoint().map_err(|fault| FileProblem::whole(&config.database, fault.to_string()))?;
        }
        let material = next.unwrap_or_else(|| material(sealed.rosters.clone(), &sealed.policy));
        // A crash before this commit leaves the seal before in force, after it the new one: the next start finds the same
        // files and does the same.
        let newest = signed.last().version();
        Ok((self.seal(Before::Seal(Box::new(sealed)), &material).await?, Noticed { notes, following, newest }))
    }

    /// Goes on with what the last seal put in force, and seals nothing by itself.
    fn stay(&self, last: u64, key: &FileSigner) -> Result<Sealed, Problems> {
        let config = self.config;
        let sealed = read_seal(config, self.ledger, last, None)?;
        if !self.is_key_of(&sealed.roster) {
            return Err(
                self.other_key("; where a later version of the roster names it, start the boundary, which takes that")
            );
        }
        let _settled = handover::check(config, self.ledger, &sealed.rosters, key)?;
        Ok(sealed)
    }

    fn is_key_of(&self, roster: &TrustedRoster) -> bool {
        roster.boundary_key(&self.config.name, &self.key.keyid).is_some()
    }

    fn other_key(&self, why: &str) -> Problems {
        FileProblem::whole(
            &self.config.key,
            format!(
                "this key is not in the sealed roster's [[boundary]] {}, nothing it signs would count: use the key that is{why}",
                self.config.name
            ),
        )
        .into()
    }

    /// Why this start may not take a version that is signed: its key, or the names of its tokens.
    fn check_roster(&self, roster: &TrustedRoster, tokens: &[Name]) -> Result<(), String> {
        if !self.is_key_of(roster) {
            return Err(format!(
                "it gives the boundary {} other keys than that in {}; name one of them under `key`",
                self.config.name,
                self.config.key.display()
            ));
        }
        // Names of people and tokens are unique together, and a token's name is never used twice.
        match tokens.iter().find_map(|name| roster.check_token_name(name).err()) {
            None => Ok(()),
            Some(taken) => Err(format!(
                "a token has, or had, the name of its {} {}: give the person another name",
                taken.by, taken.name
            )),
        }
    }

    /// Seals `material` where it differs from what is in force.
    async fn seal(&self, before: Before, material: &SealContent) -> Result<Sealed, Problems> {
        let Self { config, ledger, key, around, sandbox } = self;
        let mut at = ledger.now();
        if let Before::NoSeal { at: least, .. } = &before {
            at = at.max(*least);
        }
        for _ in 0..MOST_TRIES {
            let basis = match &before {
                Before::Seal(before) => SealPredecessor::After(before),
                Before::NoSeal { genesis, .. } => {
                    SealPredecessor::First { genesis: genesis.clone(), epoch: Epoch::new(around.bytes()) }
                }
            };
            let drafted = material.draft(basis, at);
            let same = |before: &Sealed| drafted.as_ref().is_ok_and(|draft| draft.same_as(&before.seal));
            match before {
                Before::Seal(before) if same(&before) => return Ok(*before),
                _ => {}
            }
            let on_host = check_on_host(material, *sandbox, &config.runbooks).err().unwrap_or_default();
            let mut problems: Vec<FileProblem> = on_host.into_iter().map(FileProblem::from).collect();
            let draft = match drafted {
                Ok(draft) if problems.is_empty() => draft,
                drafted => {
                    problems.extend(drafted.err().into_iter().flat_map(|error| problems_of(config, error)));
                    return Err(Problems::new(problems));
                }
            };
            match write_seal(ledger, key, draft, Vec::new()).await {
                Ok(sealed) => return Ok(sealed),
                Err(SealStop::Write(WriteStop::BackDated { last })) => at = last,
                Err(stop) => return Err(FileProblem::whole(&config.database, stop.to_string()).into()),
            }
        }
        Err(FileProblem::whole(&config.database, "the log's time runs ahead of the clock: set the clock").into())
    }
}

/// What a seal comes after.
enum Before {
    /// Nothing: the seal begins a log with `genesis`, not before `at`.
    NoSeal { genesis: Genesis, at: Timestamp },
    /// The seal in force.
    Seal(Box<Sealed>),
}

/// Begins the log that follows `followed` in the new database `place`, not before `at`, with the files as they are. Gives
/// the boundary's id and the log's head, signed. The store is closed then.
///
/// # Errors
/// Everything that would keep a first start from beginning a log.
pub(super) async fn begin_after(
    config: &Config,
    place: &Path,
    followed: FollowedLog,
    at: Timestamp,
) -> Result<(SealDigest, String), Problems> {
    let files = BoundaryFiles::read(config)?;
    make_directories(config)?;
    let sandbox = sandbox(config)?;
    let configuration = configure(config, sandbox.probe())?;
    let around = surroundings();
    let key = BoundaryKey { secret: copy_of(config, &files.key)?, keyid: files.key.key().keyid() };
    let broken = |fault: StoreFault| Problems::from(FileProblem::whole(place, fault.to_string()));
    let store = sqlite::open(place).map_err(broken)?;
    let ledger = open_ledger(config, &files.key, &around, store)?;
    let parts = Start { config, ledger: &ledger, key: &key, around: &around, sandbox: &sandbox };
    let genesis = Genesis::Follows { follows: followed };
    let begun = parts.begin(files, Vec::new(), configuration, genesis, at).await;
    let head = ledger.checkpoint().map_err(broken);
    ledger.close().await.map_err(broken)?;
    Ok((begun?.boundary.id, head?.map(|row| row.note).unwrap_or_default()))
}

fn problems_of(config: &Config, error: SealError) -> Vec<FileProblem> {
    match error {
        SealError::Steps(flaws) => flaws.into_iter().map(FileProblem::from).collect(),
        SealError::State(lines) => lines.into_iter().map(|line| FileProblem::whole(&config.path, line)).collect(),
    }
}

/// The roster that a log begins with: version 1 from its source, a later one (of people who have other boundaries
/// already) from the files of all its versions.
fn first_rosters(config: &Config, written: &DraftRoster, policy: &Policy) -> Result<Chain, Problems> {
    let at_source =
        |error: &dyn std::fmt::Display| Problems::from(FileProblem::whole(&config.roster, error.to_string()));
    let version = written.version();
    if version == 1 {
        let roster = written.state(None, policy.digest()).map_err(|error| at_source(&error))?;
        return Chain::from_first(&[Envelope::new(roster.payload(), Vec::new())]).map_err(|error| at_source(&error));
    }
    let wanted = format!(
        "a log that begins with version {version} of a roster needs all versions, signed, in {}: copy them from where they \
         are in force, or begin with `version = 1`",
        rosters::directory(config).display()
    );
    let chain = rosters::chain(config)?.filter(|chain| chain.last().version() >= version);
    let chain = chain.ok_or_else(|| at_source(&wanted))?;
    let last = chain.last();
    if !written.says_the_same_as(last) || last.policy() != policy.digest() {
        return Err(at_source(&format!(
            "the roster or the policy is not what version {} states, which was signed: put those there",
            last.version()
        )));
    }
    Ok(chain)
}

/// The state that the log's last seal puts in force, after its signature was checked under the roster that it names.
pub(super) fn read_seal(
    config: &Config,
    ledger: &Ledger,
    index: u64,
    known: Option<&Registry>,
) -> Result<Sealed, Problems> {
    let at_store = |message: String| Problems::from(FileProblem::whole(&config.database, message));
    let leaf = ledger.leaf(index).map_err(|fault| at_store(fault.to_string()))?;
    let leaf =
        leaf.ok_or_else(|| at_store(format!("log entry {index}, the seal in force, is missing: restore a backup")))?;
    let odd =
        |error: &dyn std::fmt::Display| at_store(format!("log entry {index} is no seal ({error}): restore a backup"));
    let envelope: Envelope = json::parse_as(&leaf.data, leaf.data.len()).map_err(|error| odd(&error))?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload).map_err(|error| odd(&error))?;
    let statement = crate::record::document::Statement::<Seal>::from_payload(&payload).map_err(|error| odd(&error))?;
    let sealed = restore(ledger, statement.predicate, &payload, &leaf.data, index, ledger.state().version, known)
        .map_err(|error| odd(&error))?;
    let name = &sealed.boundary.name;
    if *name != config.name {
        return Err(FileProblem::whole(
            &config.path,
            format!(
                "the log in {} is that of the boundary {name}: set `name = {:?}`, or name another store",
                config.database.display(),
                name.as_str()
            ),
        )
        .into());
    }
    let signed = Signed::<Seal>::from_envelope(&envelope, Base64::Strict).map_err(|error| odd(&error))?;
    let verified = signed.verify_raw(|keyid| sealed.roster.boundary_key(name, keyid)).map_err(|error| odd(&error))?;
    if verified.signatures().is_empty() {
        return Err(odd(&"nobody signed it"));
    }
    Ok(sealed)
}

/// Refuses a clock that stands before 1970: no document and no answer of HTTP can be dated by it.
///
/// # Errors
/// When it does.
pub fn check_clock(config: &Config) -> Result<(), FileProblem> {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(FileProblem::whole(&config.path, "the system clock is before 1970: set it right, then start again"))
        }
    }
}

/// Time and randomness of this machine.
#[must_use]
pub fn surroundings() -> Surroundings {
    let since = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Surroundings {
        now: Arc::new(move || Timestamp::from_unix(i64::try_from(since().as_secs()).unwrap_or(i64::MAX))),
        millis: Arc::new(move || u64::try_from(since().as_millis()).unwrap_or(u64::MAX)),
        random: Arc::new(|bytes| {
            if let Err(error) = getrandom::fill(bytes) {
                // Nonces and secrets that can be guessed would be worse than no boundary.
                eprintln!("countersign: the system gives no randomness ({error})");
                std::process::abort();
            }
        }),
    }
}

fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Requests under verification at one time: more than enough to fill two cores, few enough to bound memory.
const CROSSINGS: usize = 256;
/// Between reading the clock and the writer's answer nothing but this process writes: twice is enough.
const MOST_TRIES: usize = 3;
