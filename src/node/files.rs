//! What an operator wrote, read together: configuration, runbooks, policy, roster, key.

use crate::crypto::sshsig::SshKey;
use crate::node::config::Config;
use crate::node::owned::read_owned;
use crate::node::private;
use crate::node::problem::{FileProblem, Problems};
use crate::node::roster_file::{self, DraftRoster};
use crate::policy::file::Policy;
use crate::registry::Registry;
use crate::trust::signer::{FileSigner, Signer as _};

/// The files of a boundary, each of them right by itself.
#[derive(Debug)]
pub struct BoundaryFiles {
    /// The steps.
    pub registry: Registry,
    /// The rules. Once a log has begun it needs neither this file nor the roster's: what is wrong with them is told, and what
    /// is sealed stays in force.
    pub policy: Result<Policy, Vec<FileProblem>>,
    /// Who is who, as it is written.
    pub roster: Result<DraftRoster, Vec<FileProblem>>,
    /// The boundary's key.
    pub key: FileSigner,
}

impl BoundaryFiles {
    /// Reads all of them.
    ///
    /// # Errors
    /// Everything that is wrong with any of them that is needed, or with where they lie (rule R9).
    pub fn read(config: &Config) -> Result<Self, Problems> {
        let mut problems = private::check(config);
        let registry = note(read_registry(config), &mut problems);
        let (policy, roster) = (read_policy(config), read_roster(config));
        let key = note(
            FileSigner::open(&config.key).map_err(|error| vec![FileProblem::whole(&config.key, error.to_string())]),
            &mut problems,
        );
        // Once a log has begun its seal decides, also which key signs: a change that is half done or waits for signatures
        // must not keep the boundary from starting.
        if !config.database.exists() {
            let found = policy.as_ref().err().into_iter().chain(roster.as_ref().err());
            problems.extend(found.flatten().cloned());
            if let (Ok(roster), Some(key)) = (&roster, &key) {
                problems.extend(check_key(config, roster, key));
            }
        }
        match (registry, key) {
            (Some(registry), Some(key)) if problems.is_empty() => Ok(Self { registry, policy, roster, key }),
            _ => Err(Problems::new(problems)),
        }
    }
}

/// Reads the runbooks.
///
/// # Errors
/// Everything that is wrong with them.
fn read_registry(config: &Config) -> Result<Registry, Vec<FileProblem>> {
    Registry::load(&config.runbooks, Some(rustix::process::geteuid().as_raw()))
        .map_err(|errors| errors.into_iter().map(FileProblem::from).collect())
}

/// Reads the policy.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_policy(config: &Config) -> Result<Policy, Vec<FileProblem>> {
    let text = read_owned(&config.policy).map_err(|problem| vec![problem])?;
    Policy::load(&text).map_err(|errors| {
        let file = config.policy.display().to_string();
        errors
            .into_iter()
            .map(|error| FileProblem {
                file: file.clone(),
                line: error.line,
                column: error.column,
                message: error.message,
            })
            .collect()
    })
}

/// Reads the roster's source.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_roster(config: &Config) -> Result<DraftRoster, Vec<FileProblem>> {
    let text = read_owned(&config.roster).map_err(|problem| vec![problem])?;
    roster_file::read(&config.roster, &text)
}

/// Why this key may not begin a log, if it may not: nothing that it signs would count.
#[must_use]
pub fn check_key(config: &Config, roster: &DraftRoster, key: &FileSigner) -> Option<FileProblem> {
    let keyid = key.key().keyid();
    let mut own = roster.tables().boundary.iter().filter(|entry| entry.name == config.name);
    if own.any(|entry| entry.keys.iter().any(|line| SshKey::parse(line).is_ok_and(|known| known.keyid() == keyid))) {
        return None;
    }
    Some(FileProblem::whole(
        &config.roster,
        format!(
            "no [[boundary]] named {:?} has the key {keyid} of {}: add `keys = [\"{}\"]` there",
            config.name.as_str(),
            config.key.display(),
            key.key().line()
        ),
    ))
}

fn note<T>(read: Result<T, Vec<FileProblem>>, problems: &mut Vec<FileProblem>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}
