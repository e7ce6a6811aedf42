//! Repeats the decision about a run whose receipt is missing, from the log alone. The receipt that the recovery writes
//! states this decision.

use documents::{Authorization, Consumption, Decision, SealDigest, Verified};

use crate::{
    Chain, EvidenceFiles, LogEntry, Revocations, SealInForce, Seals,
    audit::{
        grant_uses::{GrantUses, SavedGrant},
        logged_authorization::LoggedAuthorization,
        runs::again::{SignersDecided, decide_signers},
        seal_in_force::rosters::Rosters,
    },
    verify_authorization,
};

/// The log entries that decide about a run. Each has its index and its bytes.
pub struct LostRun<'a> {
    /// The consumption.
    pub consumption: (u64, &'a [u8]),
    /// Number of the run's item in the consumption.
    pub item: usize,
    /// The authorization that the item names.
    pub authorization: &'a [u8],
    /// The grant that the run uses.
    pub grant: Option<(u64, &'a [u8])>,
    /// All revocations of the log.
    pub revocations: &'a Revocations,
}

/// Repeats the decision that the receipt of a lost run states, as an audit does at the entry of the consumption. The scripts
/// are not read again, because the program may be newer than the run.
///
/// # Errors
/// Returns the reason why the log does not allow the run.
pub fn decide_lost(
    run: LostRun<'_>,
    in_force: &SealInForce,
) -> Result<(Decision, Verified<Authorization>), String> {
    let state = in_force
        .state
        .clone()
        .ok_or("the state of the seal can't be read")?;
    let (index, entry) = run.consumption;
    let consumption = LogEntry::of(entry.to_vec());
    let parts = consumption.parts()?;
    let signed = parts.signed::<Consumption>().map_err(|e| e.to_string())?;
    let name = &in_force.boundary.name;
    let consumption = signed
        .verify_raw(|keyid| in_force.roster.boundary_key(name, keyid))
        .map_err(|e| format!("the consumption is not signed by the boundary: {e}"))?;
    let consumption = consumption.predicate();
    let spent = consumption.spent.get(run.item);
    let spent = spent.ok_or("the consumption has no such item")?;
    // A copy of the consumption at another place would otherwise allow a second receipt.
    if !consumption.is_directly_after(run.item, index) {
        return Err("the authorization is not directly before the consumption".to_owned());
    }
    if consumption.seal != in_force.digest {
        return Err("the consumption names another seal".to_owned());
    }
    let entry = LogEntry::of(run.authorization.to_vec());
    let logged = LoggedAuthorization::of(spent.authorization.index, &entry)?;
    if logged.at != spent.authorization {
        return Err("the entry is not the authorization that the consumption names".to_owned());
    }
    let (authorization, _) =
        verify_authorization(logged.signed, &in_force.roster).map_err(|e| e.to_string())?;
    // The roster may have changed since people signed the grant, so only the use is decided.
    let mut grants = Vec::new();
    if let Some((entry, data)) = run.grant {
        grants.push(SavedGrant {
            entry,
            data: String::from_utf8_lossy(data).into_owned(),
            ..SavedGrant::default()
        });
    }
    let grants = GrantUses::resume(&grants)?;
    let SignersDecided {
        objections,
        decided,
    } = decide_signers(
        in_force,
        (&state, run.revocations.before(index)),
        consumption.at,
        &authorization,
        (&spent.handed_in_by, &grants, index),
        false,
    );
    if let Some(objection) = objections.first() {
        return Err(objection.why.clone());
    }
    let (authority, excluded) = decided.ok_or("the step of the run is not sealed")?;
    let decision = Decision {
        approvers: authority.approvers().to_vec(),
        groups: authority.groups().to_vec(),
        excluded: excluded.names(),
        handed_in_by: spent.handed_in_by.clone(),
        policy: state.policy,
    };
    Ok((decision, authorization))
}

/// Reads the state that a seal of the log put in force, for [`decide_lost`]. `rosters` are all versions that the boundary trusts.
///
/// # Errors
/// Returns the reason why the entry is no seal of this boundary.
pub fn sealed_at(
    (index, data): (u64, &[u8]),
    boundary: SealDigest,
    rosters: Chain,
    beside: &dyn EvidenceFiles,
) -> Result<SealInForce, String> {
    let rosters = Rosters::of(rosters.newest().digest(), rosters);
    let entry = LogEntry::of(data.to_vec());
    let parts = entry.parts()?;
    let signed = parts.signed().map_err(|e| e.to_string())?;
    Seals::again(
        index,
        data,
        (&parts.payload, signed),
        (boundary, true),
        &rosters,
        beside,
    )
    .map(|(_, in_force)| in_force)
}
