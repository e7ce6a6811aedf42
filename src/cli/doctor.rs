//! The `doctor` command checks this host and lists the problems to fix.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use crate::boundary::health::{notes_of, quorums_out_of_reach, steps_beyond_the_host, unapprovable_steps};
use crate::carried::capacity::PROPOSAL_ROOM;
use crate::cli::configured::ConfigArgs;
use crate::cli::hardening;
use crate::cli::hardening::point_finding::PointResult;
use crate::cli::inspected_boundary::InspectedBoundary;
use crate::cli::{doctor_access, doctor_programs};
use crate::local::problems::problems;
use crate::node::config::{Config, SecretSource};
use crate::node::control::NodeStatus;
use crate::node::file_problem::FileProblem;
use crate::node::files::{self, BoundaryFiles};
use crate::node::kept_checkpoint::ComparedCheckpoint;
use crate::node::roster_file::DraftRoster;
use crate::node::{listener, roster_succession, secret_sources, served_certificate, start};
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::printable_text::PrintableText;
use client::terminal::streams::Terminal;
use documents::record::configuration::{Configuration, ConfiguredLimits};
use documents::record::enforcement::{Level, UNBOUNDED_WORDS};
use documents::record::profile::Layer;
use judgement::decision::in_force::{each_in_force, steps_in_force};
use judgement::decision::quorum_rules::QuorumRules;
use judgement::decision::reach::EligibleApprovers;
use judgement::policy::builtins::Builtins;
use judgement::policy::file::Policy;
use judgement::policy::ruling::resolve;
use judgement::registry::Registry;
use judgement::registry::registered_step::RegisteredStep;
use judgement::registry::registry_error::RegistryError;
use judgement::trust::signer::FileSigner;
use judgement::trust::trusted_roster::TrustedRoster;
use sandbox::isolation::probe::Missing;
use sandbox::runs::Sandbox as _;
use sandbox::runs::attempts::{self, Attempt};
use sandbox::runs::linux::{LinuxSandbox, Setup};

/// Check this host and its configuration, and list the problems to fix; changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign doctor                 # the boundary of this directory, or only the host
  countersign doctor boundary-1
  countersign doctor --production boundary-1   # the hardening list, before real use

The exit code is 1 if a problem must be fixed.")]
pub struct Args {
    /// The directory that `init` made; by default the working directory
    #[arg(conflicts_with = "config")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the hardening list: each point passes, fails, or is left to you
    #[arg(long)]
    production: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    holds: State,
    what: String,
    says: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Note,
    /// The operator must fix the problem. The JSON value is `mend`, because other programs read this value.
    #[serde(rename = "mend")]
    Fix,
}

/// Checks host, configuration and files.
///
/// # Errors
/// Returns an error if `--production` is given without a valid configuration.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let path = args.config.path(args.dir.as_deref());
    let named = args.dir.is_some() || args.config.config.is_some();
    let config = (named || path.exists()).then(|| Config::load(&path));
    let wanted = match &config {
        Some(Ok(config)) => config.sandbox.level,
        _ => Level::Strict,
    };
    if args.production {
        let config = match config {
            Some(Ok(config)) => config,
            Some(Err(found)) => return Err(problems(found)),
            None => {
                return Err(CommandFailure::usage(
                    "there is no boundary in this directory: name the directory of the boundary, doctor --production \
                     DIR",
                ));
            }
        };
        if let Some(message) = of_other_user(&config) {
            return Err(CommandFailure::usage(message));
        }
        return production(&InspectedBoundary::read(&config), terminal);
    }
    let (mut lines, trial) = host(wanted);
    match &config {
        None => lines.push(noted(
            "configuration",
            "no boundary in this directory: make a boundary with `countersign init DIR`, or name the \
                 directory of a boundary"
                .to_owned(),
        )),
        Some(Err(problems)) => {
            lines.extend(problems.list().iter().map(|problem| fix("configuration", problem.to_string())))
        }
        Some(Ok(config)) => match of_other_user(config) {
            Some(message) => lines.push(fix("user", message)),
            None => lines.extend(of_boundary(&InspectedBoundary::read(config), trial.as_ref())),
        },
    }
    if terminal.json {
        terminal.object(&json!({ "lines": lines }))?;
    } else {
        terminal.put(text(&lines).as_bytes())?;
    }
    let bad = lines.iter().any(|line| line.holds == State::Fix);
    Ok(if bad { Exit::CheckSaidNo } else { Exit::Done })
}

/// Returns a message if root inspects the boundary of another user. The rules for owners are relative to the user of the
/// service, so the advice for root would stop the service.
fn of_other_user(config: &Config) -> Option<String> {
    let owner = config.data.metadata().ok()?.uid();
    (rustix::process::geteuid().is_root() && owner != 0).then(|| {
        format!(
            "{} belongs to user {owner}, so the service runs as this user: run doctor as this user too (`sudo -u \
             '#{owner}' countersign doctor ...`)",
            config.data.display()
        )
    })
}

/// Checks the configuration, the files, the store and the service of a boundary.
fn of_boundary(boundary: &InspectedBoundary<'_>, trial: Option<&HostTrial>) -> Vec<Line> {
    let config = boundary.config;
    let mut lines = vec![ok("configuration", format!("{} of {}", config.path.display(), config.name))];
    lines.extend(of_listener(config));
    lines.extend(of_secrets(config));
    lines.extend(of_files(boundary, trial));
    lines.extend(store(boundary));
    lines.push(disk(boundary));
    lines.extend(service(boundary));
    // A key that can't be read is a problem of the files and of the store.
    let mut seen = BTreeSet::new();
    lines.retain(|line| seen.insert(line.says.clone()));
    lines
}

/// Prints the hardening list.
fn production(boundary: &InspectedBoundary<'_>, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let (mut lines, trial) = host(boundary.config.sandbox.level);
    let held = if lines.iter().any(|line| line.holds == State::Fix) { Level::BestEffort } else { Level::Strict };
    lines.extend(of_boundary(boundary, trial.as_ref()));
    let to_fix = lines.iter().filter(|line| line.holds == State::Fix);
    let to_fix: Vec<(&str, &str)> = to_fix.map(|line| (&*line.what, &*line.says)).collect();
    let points = hardening::list(boundary, held, &to_fix);
    if terminal.json {
        terminal.object(&json!({ "points": points }))?;
    } else {
        terminal.put(hardening::text(&points).as_bytes())?;
    }
    let failed = points.iter().any(|point| point.result == PointResult::Fail);
    Ok(if failed { Exit::CheckSaidNo } else { Exit::Done })
}

/// A sandbox of this host, with the directory of its runs.
struct HostTrial {
    sandbox: LinuxSandbox,
    _scratch: tempfile::TempDir,
}

/// Finds the layers that this host supports, by setting up one sandbox.
fn host(wanted: Level) -> (Vec<Line>, Option<HostTrial>) {
    let trial = || {
        let scratch = tempfile::Builder::new().prefix("countersign-doctor-").tempdir();
        let scratch = scratch.map_err(|error| {
            format!(
                "can't create a temporary directory ({error}): make /tmp \
             writable, or set TMPDIR to a writable directory"
            )
        })?;
        let failed = |error: std::io::Error| error.to_string();
        // A run may have its own user id, so other users must be able to enter the directory.
        std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .map_err(failed)?;
        let setup = Setup {
            helper: None,
            scratch: scratch.path().to_owned(),
            spool: scratch.path().to_owned(),
            private: Vec::new(),
            unwritable: Vec::new(),
        };
        let sandbox = LinuxSandbox::new(&setup).map_err(failed)?;
        let (probe, overlay) = (sandbox.probe().clone(), overlay(&sandbox));
        let tried = attempts::make(&sandbox, &attempts::strongest(&sandbox), scratch.path());
        Result::<_, String>::Ok((probe, overlay, tried, HostTrial { sandbox, _scratch: scratch }))
    };
    let (probe, overlay, tried, trial) = match trial() {
        Ok(tried) => tried,
        Err(error) => {
            return (vec![fix("sandbox", format!("the sandbox can't be tried: {error}"))], None);
        }
    };
    let mut lines = Vec::new();
    for state in &probe.layers {
        let what = format!("layer {}", state.layer.word());
        lines.push(match &state.missing {
            None => ok(&what, "held".to_owned()),
            Some(missing) => {
                let says = format!("missing: {}; fix it with: {}", missing.why, missing.knob);
                if wanted == Level::Strict { fix(&what, says) } else { noted(&what, says) }
            }
        });
    }
    let level = probe.level();
    let says = match level {
        Level::Strict => "strict".to_owned(),
        other => format!(
            "{}; a boundary of level strict does not serve on this host, a boundary of level best-effort serves and \
             reports the missing layers",
            other.word()
        ),
    };
    lines.push(if wanted == Level::Strict && level != Level::Strict {
        fix("sandbox level", says)
    } else {
        ok("sandbox level", says)
    });
    lines.push(attempted(&tried, level));
    lines.push(match &probe.cgroup {
        Ok(names) => ok("limits", format!("{} of the whole run by a control group", names.join(", "))),
        Err(why) => noted(
            "limits",
            format!(
                "limits apply only to each process, because there is no control group for runs ({why}); with \
                 systemd, set Delegate=yes"
            ),
        ),
    });
    if !probe.cgroup.as_ref().is_ok_and(|names| names.contains(&"memory")) {
        lines.push(noted(
            "memory",
            format!(
                "private memory of each process; nothing on this host limits {UNBOUNDED_WORDS} of a run: delegate \
                 the memory controller (systemd: Delegate=yes), or permit fewer parallel runs, so that the memory of \
                 the host is enough"
            ),
        ));
    }
    lines.extend(overlay);
    if let Some(abi) = probe.landlock_abi {
        lines.push(ok("Landlock", format!("ABI {abi}")));
    }
    let what = "user id";
    lines.push(if probe.own_id {
        ok(what, "each run gets one".to_owned())
    } else if probe.held().contains(&Layer::Namespaces) {
        ok(what, "runs have the user id of the service, and another id inside their user namespace".to_owned())
    } else {
        noted(what, SHARED_ID.to_owned())
    });
    (lines, Some(trial))
}

/// Text of the note for a service that is not root, on a host without user namespaces.
const SHARED_ID: &str = "runs have the user id of the service: the other layers protect the content of its files, \
                         but a step can change the modes and times of these files, also of the boundary's key; run \
                         the service as root, or allow user namespaces";

/// Reports a host on which no run can have an overlay. If the host lacks the layer `filesystem`, another line already
/// reports the cause.
fn overlay(sandbox: &LinuxSandbox) -> Option<Line> {
    let has_root = sandbox.probe().held().contains(&Layer::Filesystem);
    let Missing { why, knob } = sandbox.overlay().filter(|_| has_root)?;
    Some(noted("overlays", format!("runs can't have an overlay ({why}): {knob}")))
}

/// Reports each attempt to leave the sandbox that succeeded in a real step.
fn attempted(tried: &Result<Vec<Attempt>, String>, level: Level) -> Line {
    let what = "attempts to get out";
    let attempts = match tried {
        Err(error) => return fix(what, format!("the attempts failed to start: {error}")),
        Ok(attempts) => attempts,
    };
    let of = |answer| attempts.iter().filter(move |attempt| attempt.answer == answer);
    let got: Vec<&str> = of(attempts::AttemptResult::Got).map(|attempt| attempt.what).collect();
    let not_made: Vec<String> = of(attempts::AttemptResult::NotMade)
        .map(|attempt| format!("{} (no {})", attempt.what, attempt.needs))
        .collect();
    let mut says = format!("{} made by a real step", attempts.len() - not_made.len());
    says.push_str(&if got.is_empty() {
        ", all held".to_owned()
    } else {
        format!("; the step could: {}", got.join(", "))
    });
    if !not_made.is_empty() {
        says.push_str(&format!("; not made: {}", not_made.join(", ")));
    }
    match (got.is_empty(), not_made.is_empty()) {
        (true, true) => ok(what, says),
        // Only the level `strict` promises to stop every attempt.
        (false, _) if level == Level::Strict => fix(what, says),
        _ => noted(what, says),
    }
}

/// Reports the configured secrets. A variable or credential of the service is usually absent in the environment of this
/// command, so its absence is only a note.
fn of_secrets(config: &Config) -> impl Iterator<Item = Line> {
    config.secrets.iter().map(|secret| {
        let (name, steps) = (secret.name.as_str(), secret.steps.join(", "));
        match (secret_sources::read(&secret.source), &secret.source) {
            (Ok(_), _) => ok("secrets", format!("{name} for {steps}")),
            (Err(why), SecretSource::File(_)) => fix("secrets", format!("the secret {name} can't be read: {why}")),
            (Err(why), SecretSource::Env(_) | SecretSource::Credential(_)) => {
                noted("secrets", format!("the secret {name} can't be read by this command: {why}"))
            }
        }
    })
}

/// Reports the address of the service and its certificate.
fn of_listener(config: &Config) -> Vec<Line> {
    let mut lines: Vec<Line> =
        listener::check(config).iter().map(|problem| fix("listener", problem.to_string())).collect();
    let note = |says| noted("listener", says);
    lines.extend(listener::notes(config).into_iter().map(note));
    let Some(files) = &config.tls else { return lines };
    match served_certificate::check(files, (start::surroundings().now)()) {
        Ok(pair) => {
            lines.push(ok("certificate", format!("valid until {}; its key matches", pair.valid().not_after)));
        }
        Err(problems) => lines.extend(problems.iter().map(|problem| fix("certificate", problem.to_string()))),
    }
    lines
}

/// Reports the steps that name a secret which the configuration does not give them.
fn of_secret_steps(registry: &Registry, config: &Config) -> Vec<Line> {
    let permits = secret_sources::permits(&config.secrets);
    let objection = |step: &RegisteredStep| {
        let why = permits.objection(&step.definition)?;
        Some(fix("secrets", format!("{}: {why}", step.definition.reference)))
    };
    registry.steps().filter_map(|step| objection(step)).collect()
}

fn of_files(boundary: &InspectedBoundary<'_>, trial: Option<&HostTrial>) -> Vec<Line> {
    let config = boundary.config;
    match &boundary.files {
        Err(problems) => problems.list().iter().map(|problem| fix("files", problem.to_string())).collect(),
        Ok(files) => {
            let mut lines =
                vec![ok("runbooks", format!("{} steps, root {}", files.registry.steps().len(), files.registry.root()))];
            lines.extend(files.registry.skipped().iter().map(|error| noted("runbooks", format!("skipped: {error}"))));
            // After the first seal, the service can start without these two files, but the next version of the roster
            // needs them. Therefore their errors are reported anyway.
            let broken = |problems: &[FileProblem]| -> Vec<Line> {
                problems.iter().map(|problem| fix("files", problem.to_string())).collect()
            };
            match &files.policy {
                Ok(policy) => {
                    lines.push(ok("policy", policy.digest().to_string()));
                    lines.extend(of_programs(&files.registry, policy));
                    lines.extend(of_access(&files.registry, policy, config));
                    lines.extend(of_secret_steps(&files.registry, config));
                }
                Err(problems) => lines.extend(broken(problems)),
            }
            match &files.roster {
                Ok(roster) => lines.extend(of_roster(config, roster, &files.key)),
                Err(problems) => lines.extend(broken(problems)),
            }
            lines.extend(unsealable(boundary, files, &lines));
            lines.extend(unreachable_quorums(boundary, files).into_iter().map(|note| fix("quorum", note)));
            lines.extend(
                trial.into_iter().flat_map(|trial| beyond_the_host(boundary, files, trial, &lines)).collect::<Vec<_>>(),
            );
            if let Some(says) = roster_succession::waiting(config) {
                lines.push(noted("next roster", says));
            }
            lines
        }
    }
}

/// Reports the programs of the steps that this host lacks or that no list can contain.
fn of_programs(registry: &Registry, policy: &Policy) -> Vec<Line> {
    let what = "programs";
    let found = doctor_programs::find(registry, policy);
    let mut lines: Vec<Line> = found.problems.into_iter().map(|problem| fix(what, problem)).collect();
    if !found.lacking.is_empty() {
        let says = format!(
            "this host does not have {}; the lists leave these programs out, so a step fails if it starts one",
            found.lacking.join("; ")
        );
        lines.push(noted(what, says));
    }
    if lines.is_empty() && found.listed > 0 {
        lines.push(ok(what, format!("this host has the programs of the lists of {} steps", found.listed)));
    }
    lines
}

/// Reports the access to the host that steps declare against policy, and the steps that start a program of the network
/// without declaring the network.
fn of_access(registry: &Registry, policy: &Policy, config: &Config) -> Vec<Line> {
    let found = doctor_access::find(registry, policy, config);
    let mut lines = refused_steps("access", found.refused, registry, config);
    if !found.undeclared.is_empty() {
        let says = format!(
            "steps without network start programs that usually need the network: {}; declare network=HOST:PORT in the \
             block, and allow it in an override of the policy",
            found.undeclared.join(", ")
        );
        lines.push(noted("access", says));
    }
    lines
}

fn of_roster(config: &Config, roster: &DraftRoster, key: &FileSigner) -> Vec<Line> {
    let people = roster.tables().approver.len();
    let mut lines = vec![ok("roster", format!("version {}, {people} approvers", roster.version()))];
    lines.push(match files::check_key(config, roster, key) {
        None => ok("key", "private, and in the roster".to_owned()),
        // After the first seal, the sealed roster is used, so an unusable file is only a note. The next start reports
        // the problem.
        Some(problem) => noted("key", problem.to_string()),
    });
    if people == 0 {
        lines.push(fix(
            "roster",
            format!(
                "nobody can approve: add [[approver]] tables to {} before the first start",
                config.roster.display()
            ),
        ));
    }
    if roster.tables().threshold == 0 {
        lines.push(noted("roster", "unguarded: the next version needs no signature".to_owned()));
    }
    lines
}

/// Reports the steps that the next seal would refuse. `before` contains the lines so far, which already report some of
/// these steps.
fn unsealable(boundary: &InspectedBoundary<'_>, files: &BoundaryFiles, before: &[Line]) -> Vec<Line> {
    let Some(sealed) = boundary.sealed() else { return Vec::new() };
    let config = boundary.config;
    let limits = ConfiguredLimits { default: config.limits.of_a_run.clone(), maximum: config.limits.maximum.clone() };
    let configuration = Configuration { limits, sandbox: sealed.configuration.sandbox.clone() };
    let refused = |roster: &TrustedRoster, policy: &Policy| {
        steps_in_force(&files.registry, policy, Builtins::current(), roster, &configuration).err()
    };
    // A start puts the newest signed roster in force that the steps permit, or else keeps the sealed roster.
    let Some(errors) = refused(&sealed.roster, &sealed.policy) else { return Vec::new() };
    let found = roster_succession::find(config, &sealed.rosters, &sealed.policy, files);
    if found.candidates.iter().any(|(version, policy)| refused(found.signed.until(*version).last(), policy).is_none()) {
        return Vec::new();
    }
    let mut lines = refused_steps("steps", errors, &files.registry, config);
    lines.retain(|line| !before.iter().any(|known| known.says == line.says));
    lines
}

/// Reports steps that the next seal refuses, or whose runbooks it leaves out.
fn refused_steps(what: &str, errors: Vec<RegistryError>, registry: &Registry, config: &Config) -> Vec<Line> {
    let is_skipped = config.runbook_directories().without(registry, errors.clone()).is_ok();
    let (holds, begins) = if is_skipped { (State::Note, "skipped: ") } else { (State::Fix, "") };
    errors.into_iter().map(|error| Line { holds, what: what.into(), says: format!("{begins}{error}") }).collect()
}

/// Reports the steps that a start on this host seals and whose proposals the service then refuses. A running service
/// reports these steps itself. `before` contains the lines so far, which already report some of these steps.
fn beyond_the_host(
    boundary: &InspectedBoundary<'_>,
    files: &BoundaryFiles,
    trial: &HostTrial,
    before: &[Line],
) -> Vec<Line> {
    let (Ok(None), Ok(policy)) = (&boundary.status, &files.policy) else { return Vec::new() };
    // If the host lacks a layer of the level `strict`, the service does not start, and other lines say so.
    let Ok(configuration) = start::configure(boundary.config, trial.sandbox.probe()) else { return Vec::new() };
    let in_force = |roster: &TrustedRoster, policy: &Policy| {
        each_in_force(&files.registry, policy, Builtins::current(), roster, &configuration).0
    };
    let steps = match (boundary.sealed(), &files.roster) {
        (Some(sealed), _) => in_force(&sealed.roster, &sealed.policy),
        (None, Ok(draft)) => {
            draft.state(None, policy.digest()).map(|roster| in_force(&roster, policy)).unwrap_or_default()
        }
        (None, Err(_)) => return Vec::new(),
    };
    let permits = secret_sources::permits(&boundary.config.secrets);
    let mut beyond = steps_beyond_the_host(steps.values(), &trial.sandbox, &permits);
    beyond.retain(|_, why| !before.iter().any(|line| line.says.contains(&**why)));
    notes_of(&beyond).into_iter().map(|note| fix("steps", note)).collect()
}

/// Returns notes about steps that nobody can get approved. A running service reports these notes itself.
fn unreachable_quorums(boundary: &InspectedBoundary<'_>, files: &BoundaryFiles) -> Vec<String> {
    let now = (start::surroundings().now)();
    if let Ok(None) = boundary.status {
        if let Some(sealed) = boundary.sealed() {
            return quorums_out_of_reach(sealed, now);
        }
    } else {
        return Vec::new();
    }
    let (Ok(policy), Ok(draft)) = (&files.policy, &files.roster) else { return Vec::new() };
    let Ok(roster) = draft.state(None, policy.digest()) else { return Vec::new() };
    let rules = |step: &RegisteredStep| {
        let definition = &step.definition;
        let ruling = resolve(policy, Builtins::current(), &definition.reference);
        let of_policy = ruling.approvals.as_ref().map(|rule| &rule.value);
        Some((definition.reference.clone(), QuorumRules::combine(of_policy, &definition.approvals).ok()?))
    };
    let all: Vec<_> = files.registry.steps().filter_map(|step| rules(step)).collect();
    let all = all.iter().map(|(reference, rules)| (reference, rules));
    unapprovable_steps(&EligibleApprovers::of(&roster), all, now).1
}

/// Reports whether a start accepts the store and the known checkpoints. Before the first start there is no store.
fn store(boundary: &InspectedBoundary<'_>) -> Vec<Line> {
    let what = "store";
    let stored = match &boundary.stored {
        Err(problems) => return problems.list().iter().map(|problem| fix(what, problem.to_string())).collect(),
        Ok(stored) => stored,
    };
    let log = stored.ledger.as_ref().map(|ledger| ok(what, format!("log of {} entries", ledger.state().size)));
    let checkpoint = |(path, compared): &ComparedCheckpoint| match compared {
        Ok(note) => note.clone().map(|says| noted("checkpoint", says)),
        Err(message) => Some(fix("checkpoint", FileProblem::whole(path, message).to_string())),
    };
    log.into_iter().chain(stored.checkpoints.iter().filter_map(checkpoint)).collect()
}

/// Checks the free space on the disk of the store, without the service.
fn disk(boundary: &InspectedBoundary<'_>) -> Line {
    let (what, needed, place) = ("disk", PROPOSAL_ROOM >> 20, boundary.config.data.display());
    match boundary.free_space() {
        Ok(free) if free >= PROPOSAL_ROOM => {
            ok(what, format!("{} MiB free at {place}; {needed} MiB are needed", free >> 20))
        }
        Ok(free) => fix(
            what,
            format!(
                "{} MiB free at {place}, but {needed} MiB are needed: proposals are refused until there is enough \
                 space",
                free >> 20
            ),
        ),
        Err(says) => fix(what, says),
    }
}

/// Reports the state of the running service. Returns one line about the state, and one line for each problem that must
/// be fixed.
fn service(boundary: &InspectedBoundary<'_>) -> Vec<Line> {
    let what = "service";
    let NodeStatus { ready, must_fix, .. } = match &boundary.status {
        Ok(Some(status)) => status,
        Ok(None) => {
            let says = format!("not running: countersign serve --config {}", boundary.config.path.display());
            return vec![noted(what, says)];
        }
        Err(error) => return vec![fix(what, error.clone())],
    };
    let mut says = format!("serves seal {}", ready.seal);
    let notes: Vec<&String> = ready.notes.iter().filter(|note| !must_fix.contains(note)).collect();
    notes.iter().for_each(|note| says.push_str(&format!("; {note}")));
    let holds = match (ready.ready, notes.is_empty()) {
        (true, true) => State::Ok,
        (true, false) => State::Note,
        // The service refuses or delays proposals. Its notes give the reason and the advice.
        (false, _) => State::Fix,
    };
    let line = Line { holds, what: what.into(), says };
    [line].into_iter().chain(must_fix.iter().map(|note| fix(what, note.clone()))).collect()
}

fn ok(what: &str, says: String) -> Line {
    Line { holds: State::Ok, what: what.to_owned(), says }
}

fn noted(what: &str, says: String) -> Line {
    Line { holds: State::Note, what: what.to_owned(), says }
}

fn fix(what: &str, says: String) -> Line {
    Line { holds: State::Fix, what: what.to_owned(), says }
}

fn text(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| line.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let mark = match line.holds {
            State::Ok => "ok  ",
            State::Note => "note",
            State::Fix => "FIX ",
        };
        text.push_str(&format!("{mark}  {:<width$}  {}\n", line.what, PrintableText::text(&line.says).as_str()));
    }
    let count = lines.iter().filter(|line| line.holds == State::Fix).count();
    text.push_str(&match count {
        0 => "\nNothing to fix.\n".to_owned(),
        1 => "\n1 thing to fix.\n".to_owned(),
        count => format!("\n{count} things to fix.\n"),
    });
    text
}
