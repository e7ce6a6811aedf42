//! The next roster: what a start finds signed, and what is missing.
//!
//! Policy and roster change by signatures, not by files. A start looks for the versions that follow the sealed one and
//! takes the newest that is complete: signed by both thresholds at every link, its policy there. Whatever is missing
//! leaves the sealed state in force and is said.

use crate::node::config::Config;
use crate::node::files::Files;
use crate::node::rosters;
use crate::policy::file::Policy;
use crate::trust::chain::{Chain, ChainError};
use crate::trust::succession::Standing;

/// What a start found.
#[derive(Debug)]
pub struct Found {
    /// What may be put in force: the versions, and the policy that the last of them names.
    pub next: Option<(Chain, Policy)>,
    /// What an operator should know: above all what is missing.
    pub notes: Vec<String>,
}

/// Looks for what follows the sealed roster.
#[must_use]
pub fn find(config: &Config, sealed: &Chain, policy: &Policy, files: &Files) -> Found {
    let mut notes = forks(config, sealed);
    let mut next: Option<(Chain, Policy)> = None;
    let mut signed = sealed.clone();
    let mut waits = None;
    loop {
        let version = signed.last().version() + 1;
        let path = rosters::path(config, version);
        let envelope = match rosters::read(config, version) {
            Ok(Some(envelope)) => envelope,
            Ok(None) => {
                if let Some(later) = rosters::listed(config).into_iter().find(|later| *later > version) {
                    let missing = path.display();
                    notes
                        .push(format!("version {later} of the roster is not in force: {missing} is missing before it"));
                }
                break;
            }
            Err(problem) => {
                notes.push(problem.to_string());
                break;
            }
        };
        match signed.extend(&envelope) {
            Ok(longer) => signed = longer,
            Err(error) => {
                waits = rosters::stated(&path, &envelope).ok();
                let why = match (&error, &waits) {
                    // Not everybody signed yet: who did, and who could.
                    (ChainError::TooFewSignatures { .. }, Some(stated)) => {
                        Standing::of(signed.last(), stated, &envelope.signatures)
                            .map_or_else(|error| error.to_string(), |standing| standing.to_string())
                    }
                    _ => error.to_string(),
                };
                let advice = match error {
                    ChainError::TooFewSignatures { .. } => {
                        format!(": sign it with `countersign roster sign {}`, then start again", path.display())
                    }
                    _ => String::new(),
                };
                notes.push(format!("version {version} of the roster is not in force: {why}{advice}"));
                break;
            }
        }
        let named = signed.last().policy();
        if let Some(policy) = [&files.policy, policy].into_iter().find(|policy| policy.digest() == named) {
            next = Some((signed.clone(), policy.clone()));
        }
    }
    let newest = signed.last();
    let in_force = next.as_ref().map_or(sealed, |(chain, _)| chain).last();
    if newest.version() > in_force.version() {
        notes.push(format!(
            "version {} of the roster is signed and not in force: it names the policy {}, the policy file is {}; put the policy \
             there that was signed",
            newest.version(),
            newest.policy(),
            files.policy.digest()
        ));
    }
    // What was edited and is in no statement, or in one that waits.
    let stated = waits.as_ref().unwrap_or(newest);
    let advice = "until a version of the roster that says so is signed: `countersign roster draft` writes it";
    if files.policy.digest() != in_force.policy() && stated.policy() != files.policy.digest() {
        notes.push(format!(
            "the policy file is {}, sealed is {}: the sealed one stays in force {advice}",
            files.policy.digest(),
            in_force.policy()
        ));
    }
    if !files.roster.says_the_same_as(stated) {
        notes.push(format!(
            "the roster file is not version {} of the roster: what it says is not in force {advice}",
            stated.version()
        ));
    }
    Found { next, notes }
}

/// What the version that is drafted lacks, or why it could not follow; nothing when none is.
#[must_use]
pub fn waiting(config: &Config) -> Option<String> {
    let chain = rosters::chain(config).ok()??;
    let version = chain.last().version() + 1;
    let envelope = match rosters::read(config, version) {
        Ok(envelope) => envelope?,
        Err(problem) => return Some(problem.to_string()),
    };
    let standing = chain
        .check_follows(&envelope)
        .and_then(|next| Standing::of(chain.last(), &next, &envelope.signatures))
        .map_or_else(|error| error.to_string(), |standing| standing.to_string());
    Some(format!("version {version} of the roster is drafted: {standing}"))
}

/// Files that name another roster than was sealed under that version: two were made, and the sealed one stands.
fn forks(config: &Config, sealed: &Chain) -> Vec<String> {
    let mut forks = Vec::new();
    for roster in sealed.versions() {
        let version = roster.version();
        let other = match rosters::read(config, version) {
            Ok(None) => continue,
            Ok(Some(envelope)) => rosters::stated(&rosters::path(config, version), &envelope),
            Err(problem) => Err(problem),
        };
        match other {
            Ok(other) if other.digest() == roster.digest() => {}
            Ok(other) => forks.push(format!(
                "{} is {}, sealed as version {version} is {}: the sealed one stands; move the file away",
                rosters::path(config, version).display(),
                other.digest(),
                roster.digest()
            )),
            Err(problem) => forks.push(problem.to_string()),
        }
    }
    forks
}
