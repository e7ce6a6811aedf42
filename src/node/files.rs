//! Loader of the operator's files: runbooks, policy, roster and boundary key.

use crate::{
    Config,
    node::{file_refusals, private, rosters},
    read_owned,
};
use client::{FileSigner, Signer as _};
use reading::{FileProblem, Policy, Problems, Registry};
use verdict::{Chain, TrustedRoster};

/// Files of the operator. Each file is valid by itself, but the files have not been compared with each other.
#[derive(Debug)]
pub struct BoundaryFiles {
    /// Steps of the runbooks, or no steps if the runbooks have errors.
    pub registry: Registry,
    /// Errors of the runbooks. A node of a boundary with several nodes starts despite these errors, because only sealed
    /// runbooks run.
    pub runbook_errors: Vec<FileProblem>,
    /// Content of the policy file, or its errors. After the log has begun, the sealed state stays in force, so errors
    /// in the policy only cause a note for the operator.
    pub policy: Result<Policy, Vec<FileProblem>>,
    /// The boundary's key.
    pub key: FileSigner,
}

impl BoundaryFiles {
    /// Reads all files.
    ///
    /// # Errors
    /// Returns all errors of the files that a seal needs, and all private files that a run could access (rule R9).
    pub fn read(config: &Config) -> Result<Self, Problems> {
        let files = Self::read_to_serve(config)?;
        if files.runbook_errors.is_empty() {
            Ok(files)
        } else {
            Err(Problems::new(files.runbook_errors))
        }
    }

    /// Reads all files for a start. If the boundary has several nodes, errors of the runbooks do not stop the start
    /// after the log has begun.
    ///
    /// # Errors
    /// Returns all errors of the files that the start needs, and all private files that a run could access (rule R9).
    pub fn read_to_serve(config: &Config) -> Result<Self, Problems> {
        let mut problems = private::check(config);
        let (registry, mut runbook_errors) = match config.runbook_directories().load() {
            Ok(registry) => (Some(registry), Vec::new()),
            Err(found) => (Registry::from_definitions([]).ok(), found),
        };
        let policy = read_policy(config);
        let key = FileSigner::open(&config.key)
            .map_err(|error| problems.push(FileProblem::whole(&config.key, error.to_string())))
            .ok();
        // After the log has begun, the last seal defines policy and roster. An unfinished or unsigned change of a file
        // must not stop the start. If the database is on a server, the start checks this later, because the server can
        // be down now. A store can exist without a log, if an earlier start was refused.
        let begins = config.database.file().is_some_and(|file| {
            !file.exists()
                || config
                    .database
                    .at_rest()
                    .is_ok_and(|(_, head)| head.size == 0)
        });
        if config.database.node().is_none() {
            problems.append(&mut runbook_errors);
        }
        if begins {
            let first = rosters::first(config, policy.as_ref().ok());
            problems.extend(policy.as_ref().err().into_iter().flatten().cloned());
            match (&first, &key) {
                (Ok(first), Some(key)) => {
                    problems.extend(check_first_roster(config, first.last(), key));
                }
                (Err(problem), _) => problems.push(problem.clone()),
                (Ok(_), None) => {}
            }
            if let (Ok(policy), false) = (&policy, problems.is_empty()) {
                let roster = first.as_ref().ok().map(Chain::last);
                problems.extend(file_refusals::of_sound_files(config, policy, roster));
            }
        }
        match (registry, key) {
            (Some(registry), Some(key)) if problems.is_empty() => Ok(Self {
                registry,
                runbook_errors,
                policy,
                key,
            }),
            _ => Err(Problems::new(problems)),
        }
    }
}

/// Reads the policy.
///
/// # Errors
/// Returns all errors of the file.
pub fn read_policy(config: &Config) -> Result<Policy, Vec<FileProblem>> {
    let text = read_owned(&config.policy).map_err(|problem| vec![problem])?;
    Policy::load(&text).map_err(|errors| FileProblem::of_flaws(&config.policy, errors))
}

/// Returns the problems of the roster with which a log begins: the roster has no approver, or does not list this key.
pub fn check_first_roster(
    config: &Config,
    roster: &TrustedRoster,
    key: &FileSigner,
) -> Vec<FileProblem> {
    let no_approver = file_refusals::lacks_approvers(roster.tables());
    let no_approver = no_approver.map(|why| FileProblem::whole(rosters::draft_path(config), why));
    no_approver
        .into_iter()
        .chain(check_key(config, roster, key))
        .collect()
}

/// Returns a problem if the roster does not list this key for the boundary, because no verifier would accept its
/// signatures.
pub fn check_key(config: &Config, roster: &TrustedRoster, key: &FileSigner) -> Option<FileProblem> {
    let keyid = key.key().keyid();
    if roster.boundary_key(&config.name, &keyid).is_some() {
        return None;
    }
    let name = config.name.as_str();
    Some(FileProblem::whole(
        &config.rosters,
        format!(
            "no boundary {name:?} of the roster has the key {keyid} of {}: add it with `countersign roster add boundary {name} \
             --key '{}'`",
            config.key.display(),
            key.key().line()
        ),
    ))
}
