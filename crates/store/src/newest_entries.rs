//! The newest log entries, which a start compares with the tree and with the rows of the store before any run.
//!
//! A person who changes the store by hand can delete the row of a spent nonce, and can change the entry that spent it. The
//! tree then stays the same, so only the bytes of the entries show the change.

use std::collections::HashMap;

use crate::{
    ClosedKey, ClosedWindows, StoreFault, StoreHead, StoreReads, StoredRevocation, Subtrees,
    opened, refused,
};
use documents::{
    AuthorizationDigest, Consumption, ContentDigest, Denial, Hash, MAX_WINDOW_S, Nonce, Revocation,
    RevokedSubject, SKEW_S, TILE_WIDTH, Timestamp, denied, leaf_hash, revoked,
};

/// Place in an entry of the base64 text of the first name in the predicate.
const NAME: std::ops::Range<usize> = 84..92;
/// Base64 of `:{"at"`, with which a consumption begins, and of `:{"bou`, with which a denial or a revocation begins.
const CONSUMPTION: &[u8] = b"OnsiYXQi";
const DENIAL: &[u8] = b"OnsiYm91";

/// What the newest entries say, in the order of the search.
#[derive(Default)]
struct Found {
    spent: Vec<(Nonce, Timestamp)>,
    denied: Vec<AuthorizationDigest>,
    revoked: Vec<RevokedSubject>,
    /// The largest use of each grant.
    uses: HashMap<ContentDigest, u64>,
}

/// Compares the state of the boundary with its log: the last recorded checkpoint, the seal in force, and the newest entries.
/// Returns what [`closed_windows`] returns.
///
/// # Errors
/// Returns a fault if somebody changed the store by hand.
pub fn check_state(
    head: &StoreHead,
    tree: &Subtrees<'_>,
    reads: &StoreReads,
    revoked: &[StoredRevocation],
) -> Result<ClosedWindows, StoreFault> {
    if let Some(known) = reads.checkpoint()?
        && (known.size > head.size || tree.root_at(known.size)? != known.root)
    {
        return Err(refused(format!(
            "the log of {} entries does not match its own checkpoint at {} entries; restore a backup: \
             `countersign store restore BACKUP`",
            head.size, known.size
        )));
    }
    check_seal(reads, head)?;
    closed_windows(head.size, tree, reads, head.mark, revoked)
}

/// Checks that the state of the boundary names the last seal of the log.
pub fn check_seal(reads: &StoreReads, head: &StoreHead) -> Result<(), StoreFault> {
    if reads.seals()?.last().map(|last| last.digest) == head.seal {
        return Ok(());
    }
    Err(changed(
        "the state of the boundary names another seal than the last seal of the log",
    ))
}

/// Returns the nonces that the log spent and the authorizations that it denied, as far as their windows can be open at the
/// low-water mark `mark`. A window is at most one day long, so the search ends at an older consumption.
///
/// # Errors
/// Returns a fault if the bytes of an entry do not belong to the tree, if a nonce or a denied authorization has no row, or
/// if `revoked` lacks a revocation.
/// Missing rows are not restored, because other rows may have been changed too.
fn closed_windows(
    size: u64,
    tree: &Subtrees<'_>,
    reads: &StoreReads,
    mark: Timestamp,
    revoked: &[StoredRevocation],
) -> Result<ClosedWindows, StoreFault> {
    let since = mark.plus(-(MAX_WINDOW_S + SKEW_S));
    let width = u64::from(TILE_WIDTH);
    let mut found = Found::default();
    for tile in (0..size.div_ceil(width)).rev() {
        let range = tile * width..size.min((tile + 1) * width);
        let entries = reads.leaves(range.clone())?;
        let hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        if !tree.is_tile(tile, &hashes)? {
            let what = format!(
                "the bytes of the log entries {} to {} do not match the tree",
                range.start,
                range.end - 1
            );
            return Err(changed(&what));
        }
        // The times of consumptions never decrease.
        let oldest = entries.iter().filter_map(|entry| found.add(entry)).min();
        if oldest.is_some_and(|oldest| oldest < since) {
            break;
        }
    }
    found.spent.retain(|(_, end)| *end > mark);
    let nonces: Vec<_> = found
        .spent
        .iter()
        .map(|(nonce, _)| nonce.to_bytes().to_vec())
        .collect();
    if let Some(lost) = reads.without_row(ClosedKey::Nonce, &nonces)? {
        let nonce = &found.spent[lost].0;
        return Err(changed(&format!(
            "the nonce {nonce} is spent and has not expired, but it has no row"
        )));
    }
    let denied: Vec<_> = found
        .denied
        .iter()
        .map(|authorization| authorization.as_bytes().to_vec())
        .collect();
    if let Some(lost) = reads.without_row(ClosedKey::Denial, &denied)? {
        let authorization = found.denied[lost];
        return Err(changed(&format!(
            "the authorization {authorization} is denied, but the denial has no row"
        )));
    }
    if let Some(lost) = found
        .revoked
        .iter()
        .find(|lost| revoked.iter().all(|known| known.subject != **lost))
    {
        return Err(changed(&format!(
            "the {lost} is revoked, but the store marks the log entry of the revocation as another kind"
        )));
    }
    for (grant, number) in &found.uses {
        if reads
            .grant_uses(grant, 1)?
            .first()
            .is_none_or(|newest| newest.number < *number)
        {
            return Err(changed(&format!(
                "use {number} of the grant {grant} is in the log, but it has no row"
            )));
        }
    }
    let mut closed = ClosedWindows::default();
    found
        .spent
        .iter()
        .for_each(|(nonce, end)| closed.spend(nonce, *end));
    // A denial states no time.
    found
        .denied
        .iter()
        .for_each(|authorization| closed.deny(authorization, mark));
    closed.keep();
    Ok(closed)
}

impl Found {
    /// Adds what an entry spends or denies. Returns the time that a consumption states.
    fn add(&mut self, entry: &[u8]) -> Option<Timestamp> {
        match entry.get(NAME)? {
            CONSUMPTION => {
                let (_, statement) = opened::<Consumption>(entry).ok()?;
                for spent in &statement.predicate.spent {
                    if let (Some(grant), Some(number)) = (spent.grant, &spent.grant_use) {
                        let newest = self.uses.entry(grant).or_default();
                        *newest = number.0.max(*newest);
                    }
                }
                let spent = statement
                    .predicate
                    .spent
                    .into_iter()
                    .map(|spent| (spent.nonce, spent.expires_at));
                self.spent.extend(spent);
                Some(statement.predicate.at)
            }
            DENIAL => {
                if let Ok((_, statement)) = opened::<Denial>(entry) {
                    self.denied.extend(denied(&statement).ok());
                } else if let Ok((_, statement)) = opened::<Revocation>(entry) {
                    self.revoked.extend(revoked(&statement).ok());
                }
                None
            }
            _ => None,
        }
    }
}

pub fn changed(what: &str) -> StoreFault {
    refused(format!(
        "{what}: somebody changed the store by hand, so something that is spent, denied or revoked could run again. The store stays \
         closed: run `countersign store check`, then `countersign store restore BACKUP`"
    ))
}
