//! The next version of the roster: search for signed versions, and notes about missing signatures and files.
//!
//! A change of the policy or the roster needs signatures of approvers. At its start the service looks for versions that
//! follow the sealed version and takes the newest usable version. A version is usable if its policy is available and
//! each version after the sealed version has enough signatures. If no version is usable, the sealed state stays in
//! force and the operator gets a note. Errors in the operator's files only cause notes, because the sealed state does
//! not need these files.

use crate::{BoundaryFiles, Config, InFile as _, node::rosters};
use documents::{Base64, RosterDigest, joined};
use reading::{FileProblem, Policy};
use verdict::{Chain, ChainError, SuccessionTallies, TrustedRoster, payload_of};

/// Result of the search for roster versions at a start.
pub struct FoundRosters<'a> {
    /// The sealed roster versions and the signed versions that follow them.
    pub signed: Chain,
    /// Roster versions that this start may put in force, in ascending order, each with its policy.
    pub candidates: Vec<(u64, &'a Policy)>,
    /// Notes for the operator.
    pub notes: Vec<String>,
    /// Notes about roster versions that lack signatures. These notes may change while the service runs.
    pub following: Vec<String>,
}

/// Looks for roster versions that follow the sealed roster.
pub fn find<'a>(
    config: &Config,
    sealed: &Chain,
    policy: &'a Policy,
    files: &'a BoundaryFiles,
) -> FoundRosters<'a> {
    let mut notes = forks(config, sealed);
    let written = files.policy.as_ref().ok();
    let Following {
        signed,
        waits,
        notes: following,
    } = follow(config, sealed);
    let candidates: Vec<(u64, &Policy)> = signed
        .each_from(sealed.last().version() + 1)
        .filter_map(|roster| {
            let named = written
                .into_iter()
                .chain([policy])
                .find(|policy| policy.digest() == roster.policy())?;
            Some((roster.version(), named))
        })
        .collect();
    let newest = signed.last();
    let (last, in_force) = candidates
        .last()
        .copied()
        .unwrap_or((sealed.last().version(), policy));
    if newest.version() > last {
        let file = written.map_or_else(
            || "can't be read".to_owned(),
            |policy| format!("is {}", policy.digest()),
        );
        notes.push(format!(
            "version {} of the roster is signed and not in force: the version names the policy {}, but the policy \
             file {file}; restore the policy file that was signed",
            newest.version(),
            newest.policy()
        ));
    }
    // Report a policy with errors, and a policy that was edited but not signed.
    let stated = waits.as_ref().unwrap_or(newest);
    let advice = "until approvers sign a version of the roster with this change: `countersign roster set` drafts that version";
    match &files.policy {
        Ok(written)
            if written.digest() != in_force.digest() && stated.policy() != written.digest() =>
        {
            notes.push(format!(
                "the policy file is {}, but the sealed policy is {}: the sealed policy stays in force {advice}",
                written.digest(),
                in_force.digest()
            ));
        }
        Ok(_) => {}
        Err(problems) => notes.push(half_done(problems)),
    }
    FoundRosters {
        signed,
        candidates,
        notes,
        following,
    }
}

/// Roster versions after the sealed version, with the missing signatures and files of each version.
struct Following {
    /// The sealed roster versions and the signed versions that follow them.
    signed: Chain,
    /// The next version of the roster, if the version does not have enough signatures yet.
    waits: Option<TrustedRoster>,
    /// Notes for the operator.
    notes: Vec<String>,
}

fn follow(config: &Config, sealed: &Chain) -> Following {
    let mut notes = Vec::new();
    let mut signed = sealed.clone();
    let mut waits = None;
    loop {
        let version = signed.last().version() + 1;
        let (path, envelope) = match rosters::next(config, version) {
            Ok(Some(next)) => next,
            Ok(None) => {
                if let Some(later) = rosters::listed(config)
                    .into_iter()
                    .find(|later| *later > version)
                {
                    let missing = rosters::path(config, version);
                    let missing = missing.display();
                    notes.push(format!(
                        "version {later} of the roster is not in force: the file {missing} of an \
                             earlier version is missing"
                    ));
                }
                break;
            }
            Err(problem) => {
                notes.push(problem.to_string());
                break;
            }
        };
        match signed.extend(&envelope) {
            // A person may still edit this draft, so only `countersign roster set` makes a version of it.
            Ok(longer) if path == rosters::draft_path(config) => {
                if rosters::is_changed(signed.last(), longer.last()) {
                    notes.push(format!(
                        "the draft of version {version} of the roster needs no signature: `countersign roster set` makes \
                         the version"
                    ));
                }
                break;
            }
            Ok(longer) => signed = longer,
            Err(error) => {
                waits = rosters::stated(&path, &envelope).ok();
                let why = match (&error, &waits) {
                    // The note lists the approvers who have signed and those who can still sign.
                    (ChainError::TooFewSignatures { .. }, Some(stated)) => {
                        SuccessionTallies::of(signed.last(), stated, &envelope.signatures)
                            .map_or_else(|error| error.to_string(), |standing| standing.to_string())
                    }
                    _ => error.to_string(),
                };
                let advice = match error {
                    ChainError::TooFewSignatures { .. } => {
                        let then = config.puts_in_force();
                        format!(
                            ": sign it with `countersign roster sign {}`, then {then}",
                            path.display()
                        )
                    }
                    ChainError::Signature { .. } => {
                        format!(
                            "; `countersign roster merge {}` removes each signature that does not count",
                            path.display()
                        )
                    }
                    _ => String::new(),
                };
                notes.push(format!(
                    "version {version} of the roster is not in force: {why}{advice}"
                ));
                break;
            }
        }
    }
    Following {
        signed,
        waits,
        notes,
    }
}

/// Returns notes about roster versions after the sealed version, while the service runs. The start has already reported
/// the versions up to `known`.
pub fn notes_while_serving(config: &Config, sealed: &Chain, known: u64) -> Vec<String> {
    let Following {
        signed, mut notes, ..
    } = follow(config, sealed);
    let version = signed.last().version();
    if version > known.max(sealed.last().version()) {
        notes.push(format!(
            "version {version} of the roster has enough signatures: {} to put this version in force",
            config.puts_in_force()
        ));
    }
    notes
}

/// Returns a note about errors in a file that the sealed state does not need.
fn half_done(problems: &[FileProblem]) -> String {
    let told = joined(problems.iter().take(MOST_TOLD), "; ");
    let more = match problems.len().saturating_sub(MOST_TOLD) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{told}{more}; the sealed state stays in force")
}

/// Maximum number of errors in one note. Further errors are only counted.
const MOST_TOLD: usize = 3;

/// Describes the next version: its missing signatures, or its error. Returns `None` if there is neither a file nor a draft of
/// that version.
pub fn waiting(config: &Config) -> Option<String> {
    describe_next(config).unwrap_or_else(|problem| Some(problem.to_string()))
}

fn describe_next(config: &Config) -> Result<Option<String>, FileProblem> {
    let Some(chain) = rosters::chain(config)? else {
        return Ok(None);
    };
    let version = chain.last().version() + 1;
    let Some((_, envelope)) = rosters::next(config, version)? else {
        return Ok(None);
    };
    let standing = chain
        .check_follows(&envelope)
        .and_then(|next| SuccessionTallies::of(chain.last(), &next, &envelope.signatures))
        .map_or_else(|error| error.to_string(), |standing| standing.to_string());
    Ok(Some(format!(
        "version {version} of the roster is drafted: {standing}"
    )))
}

/// Maximum number of sealed versions whose files are compared. Each new seal reads these files.
const MOST_COMPARED: usize = 100;

/// Returns notes about files of the newest versions that contradict a sealed version. The sealed version stays in force.
fn forks(config: &Config, sealed: &Chain) -> Vec<String> {
    let mut forks = Vec::new();
    for version in sealed.numbers().rev().take(MOST_COMPARED) {
        let other = match rosters::read(config, version) {
            Ok(None) => continue,
            Ok(Some(envelope)) => payload_of(&envelope, Base64::Lenient)
                .map(|payload| RosterDigest::of(&payload))
                .at(&rosters::path(config, version)),
            Err(problem) => Err(problem),
        };
        match other {
            Ok(other) if Some(other) == sealed.digest_of(version) => {}
            Ok(other) => forks.push(format!(
                "{} contains the roster {other}, but the sealed version {version} is another: the sealed version stays in \
                 force; move the file away",
                rosters::path(config, version).display()
            )),
            Err(problem) => forks.push(problem.to_string()),
        }
    }
    forks
}
