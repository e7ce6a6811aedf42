//! What an operator wrote, read together: configuration, runbooks, policy, roster, key.

use crate::crypto::digest::PolicyDigest;
use crate::node::config::Config;
use crate::node::owned::read_owned;
use crate::node::problem::{Problem, Problems};
use crate::node::{private, roster_file};
use crate::policy::file::Policy;
use crate::registry::Registry;
use crate::trust::roster::TrustedRoster;
use crate::trust::signer::{FileSigner, Signer as _};

/// The files of a boundary, each of them right by itself.
#[derive(Debug)]
pub struct Files {
    /// The steps.
    pub registry: Registry,
    /// The rules.
    pub policy: Policy,
    /// Who is who.
    pub roster: TrustedRoster,
    /// The boundary's key.
    pub key: FileSigner,
}

impl Files {
    /// Reads all of them.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, or with where they lie (rule R9).
    pub fn read(config: &Config) -> Result<Self, Problems> {
        let mut problems = private::check(config);
        let registry = note(read_registry(config), &mut problems);
        let policy = note(read_policy(config), &mut problems);
        // Without a policy the roster is still looked at, so that its own errors are reported with the others.
        let digest = policy.as_ref().map_or(PolicyDigest::from_bytes([0; 32]), Policy::digest);
        let roster = note(read_roster(config, digest), &mut problems);
        let key = note(
            FileSigner::open(&config.key).map_err(|error| vec![Problem::whole(&config.key, error.to_string())]),
            &mut problems,
        );
        if let (Some(roster), Some(key)) = (&roster, &key) {
            problems.extend(check_key(config, roster, key));
        }
        match (registry, policy, roster, key) {
            (Some(registry), Some(policy), Some(roster), Some(key)) if problems.is_empty() => {
                Ok(Self { registry, policy, roster, key })
            }
            _ => Err(Problems::new(problems)),
        }
    }
}

/// Reads the runbooks.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read_registry(config: &Config) -> Result<Registry, Vec<Problem>> {
    Registry::load(&config.runbooks).map_err(|errors| {
        errors
            .into_iter()
            .map(|error| Problem { file: error.file, line: error.line, column: error.column, message: error.message })
            .collect()
    })
}

/// Reads the policy.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_policy(config: &Config) -> Result<Policy, Vec<Problem>> {
    let text = read_owned(&config.policy).map_err(|problem| vec![problem])?;
    Policy::load(&text).map_err(|errors| {
        let file = config.policy.display().to_string();
        errors
            .into_iter()
            .map(|error| Problem { file: file.clone(), line: error.line, column: error.column, message: error.message })
            .collect()
    })
}

/// Reads the roster that goes with a policy.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_roster(config: &Config, policy: PolicyDigest) -> Result<TrustedRoster, Vec<Problem>> {
    let text = read_owned(&config.roster).map_err(|problem| vec![problem])?;
    roster_file::read(&config.roster, &text, policy)
}

fn check_key(config: &Config, roster: &TrustedRoster, key: &FileSigner) -> Option<Problem> {
    let keyid = key.key().keyid();
    if roster.boundary_key(&config.name, &keyid).is_some() {
        return None;
    }
    Some(Problem::whole(
        &config.roster,
        format!(
            "no [[boundary]] named {:?} has the key {keyid} of {}: add `keys = [\"{}\"]` there",
            config.name.as_str(),
            config.key.display(),
            key.key().line()
        ),
    ))
}

fn note<T>(read: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}
