//! The `doctor` command checks this host and lists the problems to fix.

pub mod host;

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::PathBuf};

use serde_json::json;

use crate::{
    BoundaryFiles, ComparedCheckpoint, Config, ConfigArgs, DoctorFinding, FindingResult,
    InspectedBoundary, NodeStatus,
    cli::{
        doctor::host::{fix, fixes, found, host, noted, ok},
        doctor_programs, hardening,
        sandbox::HostTrial,
    },
    node::{
        file_refusals, files, host_sandbox, listener, roster_succession, rosters,
        served_certificate,
    },
};
use boundary::{
    SecretSource, frozen_note, notes_about_people, notes_of, refused_steps, secret_sources,
    some_of, steps_beyond_the_host,
};
use client::{CommandResult, Exit, FileSigner, Terminal, fail_usage, now, value_words::counted};
use crossing::{PROPOSAL_ROOM, revocations};
use documents::{Configuration, DeclaredNetwork, Level};
use reading::{FileProblem, Policy, RegisteredStep, Registry, lines_of};
use verdict::TrustedRoster;

/// Check this host and its configuration, and list the problems to fix; changes nothing.
#[derive(clap::Args)]
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

/// Checks host, configuration and files.
///
/// # Errors
/// Returns an error if `--production` is given without a valid configuration.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
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
            Some(Err(found)) => return Err(found.into()),
            None => {
                return fail_usage(
                    "there is no boundary in this directory: name the directory of the boundary, doctor --production \
                     DIR",
                );
            }
        };
        if let Some(message) = of_other_user(&config) {
            return fail_usage(message);
        }
        return production(&InspectedBoundary::read(&config), terminal);
    }
    let (mut lines, trial) = host(wanted);
    match &config {
        None => lines.push(noted(
            "configuration",
            "no boundary in this directory: make a boundary with `countersign init DIR`, or name the \
                 directory of a boundary",
        )),
        Some(Err(problems)) => lines.extend(of_problems("configuration", problems.list())),
        Some(Ok(config)) => match of_other_user(config) {
            Some(message) => lines.push(fix("user", message)),
            None => lines.extend(of_boundary(&InspectedBoundary::read(config), trial.as_ref())),
        },
    }
    terminal.answer(json!({ "lines": lines }), text(&lines))?;
    Ok(exit(lines.iter().map(|line| line.result)))
}

/// Returns the findings about problems of files.
fn of_problems(what: &str, problems: &[FileProblem]) -> Vec<DoctorFinding> {
    fixes(what, lines_of(problems)).collect()
}

/// Returns the exit code for these results.
fn exit(mut results: impl Iterator<Item = FindingResult>) -> Exit {
    if results.any(|result| result == FindingResult::Fix) {
        Exit::CheckSaidNo
    } else {
        Exit::Done
    }
}

fn text(lines: &[DoctorFinding]) -> String {
    let width = lines.iter().map(|line| line.what.len()).max().unwrap_or(0);
    let rows = lines.iter().map(|line| {
        let mark = line.result.word();
        line.row(&format!("{mark:<5} {:<width$}", line.what))
    });
    let text: String = rows.collect();
    let bad = lines
        .iter()
        .filter(|line| line.result == FindingResult::Fix);
    text + &match bad.count() {
        0 => "\nNothing to fix.".to_owned(),
        count => format!("\n{} to fix.", counted(count, "thing")),
    }
}

/// Returns a message if root inspects the boundary of another user. The service of that user accepts only files that
/// belong to root or to that user. As root, `doctor` would advise other owners, with which this service does not start.
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
fn of_boundary(boundary: &InspectedBoundary<'_>, trial: Option<&HostTrial>) -> Vec<DoctorFinding> {
    let config = boundary.config;
    let mut lines = vec![ok(
        "configuration",
        format!("{} of {}", config.path.display(), config.name),
    )];
    lines.extend(of_listener(config));
    lines.extend(of_secrets(config));
    lines.extend(of_files(boundary, trial));
    lines.extend(store(boundary));
    lines.push(disk(boundary));
    lines.extend(host::lines(boundary));
    lines.extend(service(boundary));
    // A key that can't be read is reported for the files and for the store, so drop the repetition.
    let mut seen = BTreeSet::new();
    lines.retain(|line| seen.insert(line.says.clone()));
    lines
}

/// Prints the hardening list.
fn production(boundary: &InspectedBoundary<'_>, terminal: &Terminal) -> CommandResult {
    let (mut lines, trial) = host(boundary.config.sandbox.level);
    lines.extend(of_boundary(boundary, trial.as_ref()));
    lines.retain(|line| line.result == FindingResult::Fix);
    let points = hardening::list(boundary, &lines);
    terminal.answer(json!({ "points": points }), hardening::text(&points))?;
    Ok(exit(points.iter().map(|point| point.result)))
}

/// Reports the configured secrets. A variable or credential of the service is usually absent in the environment of this
/// command, so its absence is only a note.
fn of_secrets(config: &Config) -> impl Iterator<Item = DoctorFinding> {
    config.secrets.iter().map(|secret| {
        let (name, steps) = (secret.name.as_str(), secret.steps.join(", "));
        match (secret_sources::read(&secret.source), &secret.source) {
            (Ok(_), _) => ok("secrets", format!("{name} for {steps}")),
            (Err(why), SecretSource::File(_)) => {
                fix("secrets", format!("the secret {name} can't be read: {why}"))
            }
            (Err(why), SecretSource::Env(_) | SecretSource::Credential(_)) => noted(
                "secrets",
                format!("the secret {name} can't be read by this command: {why}"),
            ),
        }
    })
}

/// Reports the address of the service and its certificate.
fn of_listener(config: &Config) -> Vec<DoctorFinding> {
    let mut lines = of_problems("listener", listener::check(config).as_slice());
    let note = |says| noted("listener", says);
    lines.extend(listener::notes(config).into_iter().map(note));
    let Some(files) = &config.tls else {
        return lines;
    };
    match served_certificate::check(files, now()) {
        Ok(pair) => {
            lines.push(ok(
                "certificate",
                format!("valid until {}; its key matches", pair.valid.not_after),
            ));
        }
        Err(problems) => lines.extend(of_problems("certificate", &problems)),
    }
    lines
}

/// Reports the reasons for refusal that follow from the files of this boundary alone. `registry check` reports them
/// too.
fn of_refusals(
    boundary: &InspectedBoundary<'_>,
    files: &BoundaryFiles,
    policy: &Policy,
) -> Vec<DoctorFinding> {
    let config = boundary.config;
    // Other lines report a draft that can't be read.
    let roster = rosters::newest_drafted(config, policy)
        .or_else(|_| rosters::newest(config, Some(policy)).map(|newest| newest.last().clone()));
    let roster = roster.as_ref().ok();
    let now = now();
    let found = file_refusals::find(&files.registry, policy, roster, Some(config), now);
    let mut lines = step_findings("access", found.steps, &files.registry, config);
    lines.extend(fixes("policy", notes_of(&found.denied)));
    let secrets = found.secrets.iter();
    let secrets = secrets.map(|(step, why)| format!("{step}: {why}"));
    lines.extend(fixes("secrets", secrets));
    // After the first seal, the sealed roster counts.
    if boundary.sealed().is_none() && matches!(boundary.status, Ok(None)) {
        lines.extend(fixes("roster", found.roster));
        lines.extend(fixes("quorum", found.quorums));
    }
    lines
}

fn of_files(boundary: &InspectedBoundary<'_>, trial: Option<&HostTrial>) -> Vec<DoctorFinding> {
    let config = boundary.config;
    let broken = |problems: &[FileProblem]| of_problems("files", problems);
    // After the first seal, a start needs no draft and does not fail with this problem.
    let draft = rosters::read_draft(config).err();
    let draft = draft.map(|problem| broken(&[problem])).unwrap_or_default();
    let files = match &boundary.files {
        Ok(files) => files,
        Err(problems) => {
            let mut lines = broken(problems.list());
            lines.extend(draft);
            // These lines need no roster.
            if let (Ok(registry), Ok(policy)) = (
                config.runbook_directories().load(),
                files::read_policy(config),
            ) {
                lines.push(registered(&registry));
                lines.extend(of_policy(&registry, &policy));
            }
            return lines;
        }
    };
    let mut lines = vec![registered(&files.registry)];
    lines.extend(draft);
    let skipped = files.registry.skipped().iter();
    lines.extend(skipped.map(|error| noted("runbooks", format!("skipped: {error}"))));
    // After the first seal, the service can start without the policy, but the next version of the roster needs it.
    // Therefore its errors are reported anyway.
    match &files.policy {
        Ok(policy) => {
            lines.extend(of_policy(&files.registry, policy));
            lines.extend(of_refusals(boundary, files, policy));
        }
        Err(problems) => lines.extend(broken(problems)),
    }
    match &boundary.roster {
        Ok(roster) => lines.extend(of_roster(config, roster, &files.key)),
        // Other lines report a store that can't be read.
        Err(problems) if boundary.stored.is_ok() => lines.extend(broken(problems.list())),
        Err(_) => {}
    }
    lines.extend(unsealable(boundary, files, &lines));
    lines.extend(fixes("quorum", unreachable_quorums(boundary)));
    if let Some(trial) = trial {
        lines.extend(beyond_the_host(boundary, files, trial, &lines));
    }
    lines.extend(roster_succession::waiting(config).map(|says| noted("next roster", says)));
    lines
}

/// Reports the policy, and what the steps need under it.
fn of_policy(registry: &Registry, policy: &Policy) -> Vec<DoctorFinding> {
    let mut lines = vec![ok("policy", policy.digest().to_string())];
    lines.extend(of_programs(registry, policy));
    lines.extend(of_access(registry, policy));
    lines
}

fn registered(registry: &Registry) -> DoctorFinding {
    ok(
        "runbooks",
        format!("{} steps, root {}", registry.steps().len(), registry.root()),
    )
}

/// Reports the programs of the steps that this host lacks or that no list can contain.
fn of_programs(registry: &Registry, policy: &Policy) -> Vec<DoctorFinding> {
    let what = "programs";
    let found = doctor_programs::find(registry, policy);
    let mut lines: Vec<DoctorFinding> = fixes(what, found.problems).collect();
    if !found.lacking.is_empty() {
        let says = format!(
            "this host does not have {}; the lists leave these programs out, so a step fails if it starts one",
            found.lacking.join("; ")
        );
        lines.push(noted(what, says));
    }
    if lines.is_empty() && found.listed > 0 {
        lines.push(ok(
            what,
            format!(
                "this host has the programs of the lists of {} steps",
                found.listed
            ),
        ));
    }
    lines
}

/// Reports how a static program resolves the hosts of lists, and the steps that start a program of the network without
/// declaring the network.
fn of_access(registry: &Registry, policy: &Policy) -> Vec<DoctorFinding> {
    let mut lines = Vec::new();
    let has_list = |step: &RegisteredStep| {
        matches!(
            step.definition.sandbox.network,
            Some(DeclaredNetwork::Allow(_))
        )
    };
    if cfg!(target_env = "musl") && registry.steps().any(|step| has_list(step)) {
        let says = "this static program resolves the hosts of lists with /etc/hosts and the servers of /etc/resolv.conf, and \
                    uses no other module of /etc/nsswitch.conf";
        lines.push(noted("access", says));
    }
    let found = registry
        .steps()
        .filter(|step| doctor_programs::reaches_without_declaration(step, policy));
    let found: Vec<_> = found.map(|step| &step.definition.reference).collect();
    if !found.is_empty() {
        let says = format!(
            "steps without network start programs that usually need the network: {}; declare network=HOST:PORT in the \
             block, and allow it in an override of the policy",
            some_of(&found)
        );
        lines.push(noted("access", says));
    }
    lines
}

fn of_roster(config: &Config, roster: &TrustedRoster, key: &FileSigner) -> Vec<DoctorFinding> {
    let people = roster.tables().approvers.len();
    let mut lines = vec![ok(
        "roster",
        format!("version {}, {people} approvers", roster.version()),
    )];
    lines.push(match files::check_key(config, roster, key) {
        None => ok("key", "private, and in the roster"),
        // After the first seal, this is the sealed roster, and a signed later version may list the key. So this is only a
        // note, and the next start checks the key again.
        Some(problem) => noted("key", problem.to_string()),
    });
    if !roster.is_guarded() {
        lines.push(noted(
            "roster",
            "unguarded: the next version needs no signature",
        ));
    }
    lines
}

/// Reports the steps that the next seal would refuse. `before` contains the lines so far, which already report some of
/// these steps.
fn unsealable(
    boundary: &InspectedBoundary<'_>,
    files: &BoundaryFiles,
    before: &[DoctorFinding],
) -> Vec<DoctorFinding> {
    let Some(sealed) = boundary.sealed() else {
        return Vec::new();
    };
    let config = boundary.config;
    let configuration = Configuration {
        limits: config.configured_limits(),
        sandbox: sealed.configuration.sandbox.clone(),
    };
    let refused = |roster: &TrustedRoster, policy: &Policy| {
        refused_steps(
            &files.registry,
            policy,
            Some(roster),
            &configuration,
            &config.runbooks,
            None,
        )
        .1
    };
    // A start puts the newest signed roster in force that the steps permit, or else keeps the sealed roster.
    let errors = refused(&sealed.roster, &sealed.policy);
    let found = roster_succession::find(config, &sealed.rosters, &sealed.policy, files);
    if found
        .candidates
        .iter()
        .any(|(version, policy)| refused(found.signed.until(*version).last(), policy).is_empty())
    {
        return Vec::new();
    }
    let mut lines = step_findings("steps", errors, &files.registry, config);
    lines.retain(|line| !before.iter().any(|known| known.says == line.says));
    lines
}

/// Reports steps that the next seal refuses, or whose runbooks it leaves out.
fn step_findings(
    what: &str,
    errors: Vec<FileProblem>,
    registry: &Registry,
    config: &Config,
) -> Vec<DoctorFinding> {
    let is_skipped = config
        .runbook_directories()
        .without(registry, errors.clone())
        .is_ok();
    let (result, begins) = if is_skipped {
        (FindingResult::Note, "skipped: ")
    } else {
        (FindingResult::Fix, "")
    };
    let line = |error| found(result, what, format!("{begins}{error}"));
    lines_of(&errors).into_iter().map(line).collect()
}

/// Reports the steps that a start on this host seals and whose proposals the service then refuses. A running service
/// reports these steps itself. `before` contains the lines so far, which already report some of these steps.
fn beyond_the_host(
    boundary: &InspectedBoundary<'_>,
    files: &BoundaryFiles,
    trial: &HostTrial,
    before: &[DoctorFinding],
) -> Vec<DoctorFinding> {
    let (Ok(None), Ok(policy)) = (&boundary.status, &files.policy) else {
        return Vec::new();
    };
    // If the host lacks a layer of the level `strict`, the service does not start, and other lines say so.
    let Ok(configuration) = host_sandbox::configure(boundary.config, trial.sandbox.probe()) else {
        return Vec::new();
    };
    let in_force = |roster: &TrustedRoster, policy: &Policy| {
        refused_steps(
            &files.registry,
            policy,
            Some(roster),
            &configuration,
            &[],
            None,
        )
        .0
    };
    let steps = match (boundary.sealed(), &boundary.roster) {
        (Some(sealed), _) => in_force(&sealed.roster, &sealed.policy),
        (None, Ok(roster)) => in_force(roster, policy),
        (None, Err(_)) => return Vec::new(),
    };
    let permits = secret_sources::permits(&boundary.config.secrets);
    let mut beyond = steps_beyond_the_host(&steps, &trial.sandbox, &permits);
    beyond.retain(|_, why| !before.iter().any(|line| line.says.contains(&**why)));
    fixes("steps", notes_of(&beyond)).collect()
}

/// Returns notes about steps that nobody can get approved, about a freeze, and about revoked keys in the roster. A running
/// service reports these notes itself.
fn unreachable_quorums(boundary: &InspectedBoundary<'_>) -> Vec<String> {
    let (Ok(None), Some(sealed)) = (&boundary.status, boundary.sealed()) else {
        return Vec::new();
    };
    let ledger = boundary
        .stored
        .as_ref()
        .ok()
        .and_then(|stored| stored.ledger.as_ref());
    let revoked = ledger
        .map(|ledger| revocations(&[], &ledger.revocations()))
        .unwrap_or_default();
    let mut notes = notes_about_people(sealed, &revoked, now());
    notes.extend(sealed.bounds().notes());
    notes.extend(frozen_note(sealed, &revoked));
    notes
}

/// Reports whether a start accepts the store and the known checkpoints. Before the first start there is no store.
fn store(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let what = "store";
    let stored = match &boundary.stored {
        Err(problems) => return of_problems(what, problems.list()),
        Ok(stored) => stored,
    };
    let log = stored
        .ledger
        .as_ref()
        .map(|ledger| ok(what, format!("log of {} entries", ledger.state().size)));
    let checkpoint = |(_, compared): &ComparedCheckpoint| match compared {
        Ok(note) => note.as_ref().map(|says| noted("checkpoint", says)),
        Err(problem) => Some(fix("checkpoint", problem.to_string())),
    };
    log.into_iter()
        .chain(stored.checkpoints.iter().filter_map(checkpoint))
        .collect()
}

/// Checks the free space on the disk of the store, without the service.
fn disk(boundary: &InspectedBoundary<'_>) -> DoctorFinding {
    let (what, needed, place) = ("disk", PROPOSAL_ROOM >> 20, boundary.config.data.display());
    match boundary.free_space() {
        Ok(free) if free >= PROPOSAL_ROOM => ok(
            what,
            format!(
                "{} MiB free at {place}; {needed} MiB are needed",
                free >> 20
            ),
        ),
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
fn service(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let what = "service";
    let NodeStatus {
        ready,
        must_fix,
        monitoring,
        ..
    } = match &boundary.status {
        Ok(Some(status)) => status,
        Ok(None) if host::stands_by(boundary) => {
            return vec![ok(what, "this node stands by")];
        }
        Ok(None) => {
            let says = format!(
                "not running: countersign serve --config {}",
                boundary.config.path.display()
            );
            return vec![noted(what, says)];
        }
        Err(error) => return vec![fix(what, error.clone())],
    };
    let mut says = format!("serves seal {}", ready.seal);
    let notes: Vec<&String> = ready
        .notes
        .iter()
        .filter(|note| !must_fix.contains(note))
        .collect();
    notes
        .iter()
        .for_each(|note| says.push_str(&format!("; {note}")));
    let result = match (ready.ready, notes.is_empty()) {
        (true, true) => FindingResult::Ok,
        (true, false) => FindingResult::Note,
        // The service refuses or delays proposals. Its notes give the reason and the advice.
        (false, _) => FindingResult::Fix,
    };
    let targets = monitoring
        .iter()
        .flat_map(|monitoring| &monitoring.targets)
        .filter_map(|target| {
            let why = target.trouble.as_ref()?;
            Some(fix(
                "messages",
                format!(
                    "the target {} is {} events behind: {why}",
                    target.name, target.behind
                ),
            ))
        });
    [found(result, what, says)]
        .into_iter()
        .chain(fixes(what, must_fix))
        .chain(targets)
        .collect()
}
