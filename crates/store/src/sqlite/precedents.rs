//! Searches for existing rows that prevent the start of a run, or the storing of a new proposal or denial.

use rusqlite::{Connection, ToSql, params};

use crate::{
    AuthorizationCore, Candidate, DenialPrecedent, DenialQuestion, DenialsAhead, MOST_COMPARED,
    NewProposal, PROPOSAL, ProposalPrecedent, ProposalState, SPENT, StoreFault, UNSIGNED_KEPT_S,
    id_bytes,
    sqlite::columns::{all, one},
};
use documents::{AuthorizationDigest, ProposalId};

/// Returns the stored facts about a request to run a proposal.
pub(super) fn of_run(
    connection: &Connection,
    core: &AuthorizationCore,
) -> Result<Candidate, StoreFault> {
    const DURING: &str = "judging what may run";
    let nonce = core.nonce.to_bytes();
    let spent = one(connection, DURING, SPENT, [nonce], |row| row.spent(0))?;
    let sql = "SELECT 1 FROM denial WHERE authorization = ?1 LIMIT 1";
    let denial = one(
        connection,
        DURING,
        sql,
        [core.digest.as_bytes()],
        |_| Ok(()),
    )?;
    let sql = "SELECT digest, status FROM proposal WHERE id = ?1";
    let proposal = one(connection, DURING, sql, [id_bytes(&core.id)], |row| {
        Ok((AuthorizationDigest::from_bytes(row.get(0)?), row.get(1)?))
    })?;
    Ok(Candidate {
        spent: spent.flatten(),
        denied: denial.is_some(),
        proposal,
    })
}

/// Returns the existing proposals that have the id or the nonce of a new proposal, and the newest of its proposer. Also counts pending and
/// unsigned proposals.
pub(super) fn of_proposal(
    connection: &Connection,
    new: &NewProposal,
) -> Result<ProposalPrecedent, StoreFault> {
    const DURING: &str = "looking for an earlier proposal";
    let core = &new.core;
    let by = |sql: &str, params: &[&dyn ToSql]| {
        one(connection, DURING, sql, params, |row| row.proposal(0))
    };
    let now = new.created_at.unix();
    let mut taken = by(PROPOSAL, &[&id_bytes(&core.id)])?;
    if taken.is_none() && new.chosen_nonce {
        let nonce = core.nonce.to_bytes();
        let sql = concat!(
            "SELECT ",
            proposal_columns!(),
            " FROM proposal p WHERE p.nonce = ?1 AND p.status >= 2"
        );
        taken = by(sql, &[&nonce])?;
        if taken.is_none()
            && let Some(spent) = one(connection, DURING, SPENT, [nonce], |row| row.spent(0))?
            && let Some(spent) = spent
        {
            taken = by(PROPOSAL, &[&id_bytes(&spent.proposal)])?;
        }
    }
    let newest = if new.may_repeat {
        let sql = concat!(
            "SELECT ",
            proposal_columns!(),
            " FROM proposal p WHERE p.proposer = ?1 AND p.id < ?2 ORDER BY p.id DESC LIMIT ?3"
        );
        let values = params![
            core.proposer.as_str(),
            id_bytes(&new.last_id()),
            MOST_COMPARED
        ];
        all(connection, DURING, sql, values, |row| row.proposal(0))?
    } else {
        Vec::new()
    };
    let counts = one(
        connection,
        DURING,
        "SELECT count(*), count(*) FILTER (WHERE proposer = ?1) FROM proposal INDEXED BY proposal_open \
         WHERE status BETWEEN 2 AND 3 AND status = 2 AND expires_at > ?2",
        params![core.proposer.as_str(), now],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let (of_all, of_proposer) = counts.unwrap_or((0, 0));
    // An overdue proposal counts as expired, even with an older stored status.
    let (unsigned, unsigned_first) = one(
        connection,
        DURING,
        "SELECT count(*), min(expires_at) FROM (\
         SELECT id, expires_at FROM proposal INDEXED BY proposal_over \
         WHERE status BETWEEN 5 AND 7 AND proposer = ?1 AND expires_at > ?3 UNION ALL \
         SELECT id, expires_at FROM proposal INDEXED BY proposal_open \
         WHERE status BETWEEN 2 AND 3 AND proposer = ?1 AND expires_at <= ?2) AS p \
         WHERE NOT EXISTS (SELECT 1 FROM signature WHERE signature.proposal = p.id)",
        params![
            core.proposer.as_str(),
            now,
            now.saturating_sub(UNSIGNED_KEPT_S)
        ],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?
    .unwrap_or_default();
    Ok(ProposalPrecedent {
        taken,
        newest,
        of_proposer,
        of_all,
        unsigned,
        unsigned_first,
    })
}

/// Returns the stored facts about a denial.
pub(super) fn of_denial(
    connection: &Connection,
    new: &DenialQuestion<'_>,
) -> Result<DenialPrecedent, StoreFault> {
    let leaf = one(
        connection,
        "looking for a denial",
        "SELECT leaf FROM denial WHERE authorization = ?1 AND approver = ?2",
        params![new.authorization.as_bytes(), new.approver.as_str()],
        |row| row.get(0),
    )?;
    let ahead = one(
        connection,
        "counting denials",
        "SELECT count(*) FILTER (WHERE approver = ?1), min(at) FILTER (WHERE approver = ?1), count(*), min(at) \
         FROM denial INDEXED BY denial_ahead WHERE ahead = 1 AND at > ?2",
        params![new.approver.as_str(), new.since.unix()],
        |row| {
            Ok(DenialsAhead {
                of_approver: (row.get(0)?, row.get(1)?),
                of_all: (row.get(2)?, row.get(3)?),
            })
        },
    )?;
    let ahead = ahead.unwrap_or(DenialsAhead {
        of_approver: (0, None),
        of_all: (0, None),
    });
    Ok(DenialPrecedent {
        leaf,
        unfinished: unfinished_of(connection, new.authorization)?,
        ahead,
    })
}

/// Returns the proposal of this authorization, unless the proposal is finished.
fn unfinished_of(
    connection: &Connection,
    authorization: &AuthorizationDigest,
) -> Result<Option<(ProposalId, ProposalState)>, StoreFault> {
    // The second statement needs no index, because few proposals run at a time and denials are rare.
    let statements = [
        "SELECT status, spent, receipt, id FROM proposal WHERE digest = ?1 AND status >= 2",
        "SELECT status, spent, receipt, id FROM proposal WHERE digest = ?1 AND id IN (SELECT proposal FROM crossing)",
    ];
    for sql in statements {
        const DURING: &str = "searching for a denied proposal";
        let found = one(connection, DURING, sql, [authorization.as_bytes()], |row| {
            Ok((row.get(3)?, row.standing(0)?))
        })?;
        if let Some((id, Some(state))) = found {
            return Ok(Some((id, state)));
        }
    }
    Ok(None)
}
