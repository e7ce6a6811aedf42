//! The questions of a batch, the same for both engines. SQLite executes a statement for each question, and PostgreSQL
//! executes one statement for all questions of a kind, so that all questions of a batch fit in one round trip. The
//! first column of an answer is the number of its question in the statement, which is always 0 in SQLite.
//!
//! The file also contains what the writer keeps in memory, and what it checks when it starts:
//!
//! - the set of the spent nonces and of the denied authorizations whose windows are open. The writer first checks the
//!   rows of the store, and then this set. Without the set, a person who deletes or changes rows while the service runs
//!   could let an authorization run again, or let a denied authorization run. At its start, the writer fills the set
//!   from the newest log entries.
//! - the check of the newest log entries: before any run, the writer compares them with the tree and with the rows of
//!   the store. A person who changes the store by hand can delete the row of a spent nonce, and can change the entry
//!   that spent the nonce. The tree stays the same after such a change, so only the bytes of the entries show the
//!   change.
//! - the proposals that have not ended, so that no query has to count them

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::{
    Answers, BatchRows, Candidate, ClosedKey, DenialPrecedent, DenialsAhead, Fields, ProposalQuery,
    ProposalStatus, Questions, StoreFault, StoreHead, StoreReads, StoreResult, StoredRevocation,
    Subtrees, UNSIGNED_KEPT_S, batch_rows::pair, id_bytes, opened, payload_of, refused,
    writer::messages::AHEAD_S,
};
use documents::{
    AuthorizationDigest, Consumption, ContentDigest, Denial, MAX_WINDOW_S, Nonce, ProposalId,
    Revocation, RevokedSubject, SKEW_S, TILE_WIDTH, Timestamp, denied, revoked,
};

batch_statements! {
    CANDIDATES = pair("SELECT 0, n.spent, n.proposal, EXISTS (SELECT 1 FROM denial WHERE authorization = $2), t.digest, t.status \
        FROM (SELECT 1) AS one LEFT JOIN nonce n ON n.nonce = $1 LEFT JOIN proposal t ON t.id = $3",
        "SELECT q.number - 1, n.spent, n.proposal, d.denied IS NOT NULL, p.digest, p.status \
        FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS q(nonce, digest, id, number) \
        LEFT JOIN nonce n ON n.nonce = q.nonce \
        LEFT JOIN LATERAL (SELECT true AS denied FROM denial WHERE \"authorization\" = q.digest LIMIT 1) d ON true \
        LEFT JOIN proposal p ON p.id = q.id ORDER BY q.number");
    STATES = pair("SELECT 0, status, spent, receipt FROM proposal WHERE id = $1",
        "SELECT q.number - 1, p.status, p.spent, p.receipt \
        FROM unnest($1::bytea[]) WITH ORDINALITY AS q(id, number) LEFT JOIN proposal p ON p.id = q.id");
    /// The proposal with the same id, or with the same nonce if the caller chose the nonce.
    TAKEN = pair(concat!(
        "SELECT 0, ",
        proposal_columns!(),
        " FROM proposal p WHERE p.id = coalesce((SELECT id FROM proposal WHERE id = $1), \
         (SELECT id FROM proposal WHERE $3 AND nonce = $2 AND status >= 2), \
         (SELECT proposal FROM nonce WHERE $3 AND nonce.nonce = $2))"
    ), concat!(
        "SELECT q.number - 1, ",
        proposal_columns!(),
        " FROM unnest($1::bytea[], $2::bytea[], $3::boolean[]) WITH ORDINALITY AS q(id, nonce, chosen, number) \
         JOIN LATERAL (SELECT f.id FROM (SELECT 1 AS rank, id FROM proposal WHERE id = q.id \
         UNION ALL SELECT 2, id FROM proposal WHERE q.chosen AND nonce = q.nonce AND status >= 2 \
         UNION ALL SELECT 3, proposal FROM nonce WHERE q.chosen AND nonce.nonce = q.nonce) f ORDER BY f.rank LIMIT 1) t ON true \
         JOIN proposal p ON p.id = t.id"
    ));
    /// The newest proposals of the same proposer, at most [`crate::MOST_COMPARED`]. None for a call that can't repeat one.
    NEWEST = pair(concat!(
        "SELECT 0, ",
        proposal_columns!(),
        " FROM proposal p WHERE $2 AND p.proposer = $1 ORDER BY p.created_ms DESC, p.id DESC LIMIT 4"
    ), concat!(
        "SELECT q.number - 1, ",
        proposal_columns!(),
        " FROM unnest($1::text[], $2::boolean[]) WITH ORDINALITY AS q(proposer, repeats, number) \
         JOIN LATERAL (SELECT * FROM proposal WHERE q.repeats AND proposer = q.proposer \
         ORDER BY created_ms DESC, id DESC LIMIT 4) p ON true ORDER BY q.number, p.created_ms DESC, p.id DESC"
    ));
    /// Numbers of pending and of unsigned proposals. An overdue proposal counts as expired, even if its stored status
    /// has not changed yet.
    COUNTS = pair("SELECT 0, c.everyone, c.own, p.unsigned, p.first FROM \
        (SELECT count(*) AS everyone, count(*) FILTER (WHERE proposer = $1) AS own FROM proposal INDEXED BY proposal_open \
        WHERE status BETWEEN 2 AND 3 AND status = 2 AND expires_at > $2) AS c, \
        (SELECT count(*) AS unsigned, min(expires_at) AS first FROM (\
        SELECT id, expires_at FROM proposal INDEXED BY proposal_over \
        WHERE status BETWEEN 5 AND 7 AND proposer = $1 AND expires_at > $3 UNION ALL \
        SELECT id, expires_at FROM proposal INDEXED BY proposal_open \
        WHERE status BETWEEN 2 AND 3 AND proposer = $1 AND expires_at <= $2) AS p \
        WHERE NOT EXISTS (SELECT 1 FROM signature WHERE signature.proposal = p.id)) AS p",
        "SELECT q.number - 1, c.everyone, c.own, u.unsigned, u.first \
        FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS q(proposer, now, since, number) \
        CROSS JOIN LATERAL (SELECT count(*) AS everyone, count(*) FILTER (WHERE proposer = q.proposer) AS own FROM proposal \
        WHERE status BETWEEN 2 AND 3 AND status = 2 AND expires_at > q.now) c \
        CROSS JOIN LATERAL (SELECT count(*) AS unsigned, min(o.expires_at) AS first FROM ( \
        SELECT id, expires_at FROM proposal WHERE status BETWEEN 5 AND 7 AND proposer = q.proposer AND expires_at > q.since \
        UNION ALL SELECT id, expires_at FROM proposal WHERE status BETWEEN 2 AND 3 AND proposer = q.proposer \
        AND expires_at <= q.now) o LEFT JOIN LATERAL (SELECT true AS signed FROM signature WHERE proposal = o.id LIMIT 1) s \
        ON true WHERE s.signed IS NULL) u");
    /// The newest use of each grant, and the use that is a number of uses before it. Both are found by their keys, also
    /// among 100,000 uses. In PostgreSQL, the subqueries keep this plan for all statistics of the table.
    USES = pair("SELECT 0, number, at, EXISTS (SELECT 1 FROM owed WHERE standing = $1 AND unknown = 1 AND settled IS NULL) \
        FROM (SELECT number AS last FROM standing_use WHERE digest = $1 ORDER BY number DESC LIMIT 1) AS one \
        JOIN standing_use ON digest = $1 AND number IN (last, last - $2)",
        "SELECT q.number - 1, u.number, u.at, \
        (SELECT true FROM owed WHERE standing = q.digest AND unknown AND settled IS NULL LIMIT 1) IS NOT NULL \
        FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS q(digest, back, number) \
        CROSS JOIN LATERAL (SELECT number, at FROM standing_use WHERE digest = q.digest ORDER BY number DESC LIMIT 1) l \
        CROSS JOIN LATERAL (SELECT l.number, l.at UNION ALL \
        SELECT number, at FROM standing_use WHERE digest = q.digest AND number = l.number - q.back) u");
    SIGNATURES = pair("SELECT 0, keyid, person, presence, sig, at FROM signature WHERE proposal = $1 ORDER BY number",
        "SELECT q.number - 1, s.keyid, s.person, s.presence, s.sig, s.at \
        FROM unnest($1::bytea[]) WITH ORDINALITY AS q(id, number) JOIN signature s ON s.proposal = q.id \
        ORDER BY q.number, s.number");
    DENIALS = pair("SELECT 0, (SELECT leaf FROM denial WHERE authorization = $1 AND approver = $2), \
        p.id, p.status, p.spent, p.receipt, c.own, c.own_first, c.everyone, c.first FROM \
        (SELECT count(*) FILTER (WHERE approver = $2) AS own, min(at) FILTER (WHERE approver = $2) AS own_first, \
        count(*) AS everyone, min(at) AS first FROM denial INDEXED BY denial_ahead WHERE ahead = 1 AND at > $3) AS c \
        LEFT JOIN (SELECT * FROM (\
        SELECT 1 AS rank, id, status, spent, receipt FROM proposal WHERE digest = $1 AND status >= 2 UNION ALL \
        SELECT 2, id, status, spent, receipt FROM proposal WHERE digest = $1 AND id IN (SELECT proposal FROM crossing)) AS p \
        ORDER BY rank LIMIT 1) AS p ON true",
        "SELECT q.number - 1, d.leaf, u.id, u.status, u.spent, u.receipt, a.own, a.own_first, a.everyone, a.first \
        FROM unnest($1::bytea[], $2::text[], $3::bigint[]) WITH ORDINALITY AS q(digest, approver, since, number) \
        LEFT JOIN denial d ON d.\"authorization\" = q.digest AND d.approver = q.approver \
        LEFT JOIN LATERAL (SELECT f.* FROM ( \
        SELECT 1 AS rank, id, status, spent, receipt FROM proposal WHERE digest = q.digest AND status >= 2 \
        UNION ALL SELECT 2, p.id, p.status, p.spent, p.receipt FROM (SELECT proposal FROM crossing ORDER BY id) c JOIN proposal p ON p.id = c.proposal \
        WHERE p.digest = q.digest) f ORDER BY f.rank LIMIT 1) u ON true \
        CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE approver = q.approver) AS own, \
        min(at) FILTER (WHERE approver = q.approver) AS own_first, count(*) AS everyone, min(at) AS first \
        FROM denial WHERE ahead AND at > q.since) a ORDER BY q.number");
}

/// Returns the questions by their kinds. A kind without questions is not asked.
pub fn of<'a>(questions: &'a Questions<'_>) -> [BatchRows<'a>; 8] {
    let new = &questions.new;
    [
        BatchRows::of(CANDIDATES, &questions.runs, |core| {
            cells![core.nonce.to_bytes(), &core.digest, &core.id]
        }),
        BatchRows::of(STATES, &questions.proposals, |id| cells![*id]),
        BatchRows::of(TAKEN, new, |new| {
            cells![&new.core.id, new.core.nonce.to_bytes(), new.chosen_nonce]
        }),
        BatchRows::of(NEWEST, new, |new| {
            cells![&new.core.proposer, new.may_repeat]
        }),
        BatchRows::of(COUNTS, new, |new| {
            let now = new.created_at();
            cells![&new.core.proposer, now, now.plus(-UNSIGNED_KEPT_S)]
        }),
        BatchRows::of(USES, &questions.uses, |(claim, earlier)| {
            cells![&claim.grant, claim.back(*earlier)]
        }),
        BatchRows::of(SIGNATURES, &questions.signed, |id| cells![*id]),
        BatchRows::of(DENIALS, &questions.denials, |one| {
            cells![&one.authorization, &one.approver, one.at.plus(-AHEAD_S)]
        }),
    ]
}

impl Answers {
    /// Returns the answers of a store that has no rows.
    pub(super) fn none(questions: &Questions<'_>) -> Self {
        Self {
            states: places(questions.proposals.len()),
            precedents: places(questions.new.len()),
            uses: places(questions.uses.len()),
            signatures: places(questions.signed.len()),
            ..Self::default()
        }
    }

    /// Adds a row of the answers. `kind` is the place of the answered questions in the list of [`of`]. `first` is the
    /// number of the first question of the statement that returned the row.
    pub(super) fn add(&mut self, kind: usize, first: usize, row: &Fields<'_>) -> StoreResult {
        let number = first + row.get::<usize>(0)?;
        match kind {
            0 => self.candidates.push(candidate(row)?),
            1 => *place(&mut self.states, number, row)? = row.standing(1)?,
            2 => place(&mut self.precedents, number, row)?.taken = Some(row.proposal(1)?),
            3 => place(&mut self.precedents, number, row)?
                .newest
                .push(row.proposal(1)?),
            4 => {
                let precedent = place(&mut self.precedents, number, row)?;
                precedent.of_all = row.get(1)?;
                precedent.of_proposer = row.get(2)?;
                precedent.unsigned = row.get(3)?;
                precedent.unsigned_first = row.get(4)?;
            }
            5 => place(&mut self.uses, number, row)?.push(row.spent_use(1)?),
            6 => place(&mut self.signatures, number, row)?.push(row.signature(1)?),
            _ => self.denials.push(denial(row)?),
        }
        Ok(())
    }
}

// The statement NEWEST contains the number of `MOST_COMPARED` as its LIMIT.
const _: () = assert!(crate::MOST_COMPARED == 4);

/// The answer to the question with this number.
fn place<'a, T>(all: &'a mut [T], number: usize, row: &Fields<'_>) -> StoreResult<&'a mut T> {
    all.get_mut(number)
        .ok_or_else(|| row.odd(0, "no number of a question"))
}

fn places<T: Default>(count: usize) -> Vec<T> {
    (0..count).map(|_| T::default()).collect()
}

fn candidate(row: &Fields<'_>) -> StoreResult<Candidate> {
    let proposal = match row.get(4)? {
        Some(digest) => Some((digest, row.get(5)?)),
        None => None,
    };
    Ok(Candidate {
        spent: row.spent(1)?,
        denied: row.get(3)?,
        proposal,
    })
}

fn denial(row: &Fields<'_>) -> StoreResult<DenialPrecedent> {
    let unfinished = match row.standing(3)? {
        Some(state) => Some((row.get(2)?, state)),
        None => None,
    };
    Ok(DenialPrecedent {
        leaf: row.get(1)?,
        unfinished,
        ahead: DenialsAhead {
            of_approver: (row.get(6)?, row.get(7)?),
            of_all: (row.get(8)?, row.get(9)?),
        },
    })
}

/// The spent nonces and the denied authorizations whose windows are open. The set has 16 bytes for each nonce and each
/// authorization: a keyed hash and the end of the window.
#[derive(Default)]
pub struct ClosedWindows {
    /// A caller can choose nonces, but cannot find two nonces with the same hash, because the key is random.
    hasher: RandomState,
    ends: HashMap<u64, i64>,
    /// The nonces and authorizations that the current batch adds.
    batch: Vec<(u64, i64)>,
}

impl ClosedWindows {
    /// Returns true if a committed batch has spent the nonce.
    pub fn is_spent(&self, nonce: &Nonce) -> bool {
        self.ends
            .contains_key(&self.hasher.hash_one(nonce.to_bytes()))
    }

    /// Returns true if a committed batch has denied the authorization.
    pub fn is_denied(&self, authorization: &AuthorizationDigest) -> bool {
        self.ends
            .contains_key(&self.hasher.hash_one(authorization.as_bytes()))
    }

    /// Adds a nonce of the current batch.
    pub fn spend(&mut self, nonce: &Nonce) {
        self.batch
            .push((self.hasher.hash_one(nonce.to_bytes()), nonce.end().unix()));
    }

    /// Adds an authorization that the current batch denies. The window of the authorization ends at most one day after
    /// the denial.
    pub fn deny(&mut self, authorization: &AuthorizationDigest, at: Timestamp) {
        self.batch.push((
            self.hasher.hash_one(authorization.as_bytes()),
            at.plus(MAX_WINDOW_S + SKEW_S).unix(),
        ));
    }

    /// Removes what the current batch added, because the batch was undone.
    pub fn undo(&mut self) {
        self.batch.clear();
    }

    /// Keeps what the current batch added, because the batch is durable.
    pub fn keep(&mut self) {
        self.ends.extend(self.batch.drain(..));
    }

    /// Removes the nonces and authorizations whose window ended at or before the low-water mark.
    pub fn forget(&mut self, mark: Timestamp) {
        self.ends.retain(|_, end| *end > mark.unix());
    }
}

/// Range of bytes in a log entry that contains the first name in the predicate, as base64.
const NAME: std::ops::Range<usize> = 84..92;
/// Base64 of `:{"at"`, with which the predicate of a consumption begins, and of `:{"bou`, with which the predicate of a
/// denial or a revocation begins.
const CONSUMPTION: &[u8] = b"OnsiYXQi";
const DENIAL: &[u8] = b"OnsiYm91";

/// What the newest entries spend, deny and revoke, in the order of the search.
#[derive(Default)]
struct Found {
    spent: Vec<Nonce>,
    denied: Vec<AuthorizationDigest>,
    revoked: Vec<RevokedSubject>,
    /// The largest number of a use of each grant.
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
) -> StoreResult<ClosedWindows> {
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
pub fn check_seal(reads: &StoreReads, head: &StoreHead) -> StoreResult {
    if reads.seals()?.last().map(|last| last.digest) == head.seal {
        return Ok(());
    }
    Err(changed(
        "the state of the boundary names another seal than the last seal of the log",
    ))
}

/// Returns the nonces that the log spent and the authorizations that it denied, if their windows can still be open at
/// the low-water mark `mark`. A window is at most one day long, so the search ends at a consumption that is more than
/// one day older than the mark.
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
) -> StoreResult<ClosedWindows> {
    let since = mark.plus(-(MAX_WINDOW_S + SKEW_S));
    let width = u64::from(TILE_WIDTH);
    let mut found = Found::default();
    for tile in (0..size.div_ceil(width)).rev() {
        let Some(entries) = tree.bytes_of(tile)? else {
            let what = format!(
                "the bytes of the log entries {} to {} do not match the tree",
                tile * width,
                size.min((tile + 1) * width) - 1
            );
            return Err(changed(&what));
        };
        // The times of consumptions never decrease.
        let oldest = entries.iter().filter_map(|entry| found.add(entry)).min();
        if oldest.is_some_and(|oldest| oldest < since) {
            break;
        }
    }
    found.spent.retain(|nonce| nonce.end() > mark);
    let nonces: Vec<_> = found
        .spent
        .iter()
        .map(|nonce| nonce.to_bytes().to_vec())
        .collect();
    if let Some(lost) = reads.without_row(ClosedKey::Nonce, &nonces)? {
        let nonce = &found.spent[lost];
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
    found.spent.iter().for_each(|nonce| closed.spend(nonce));
    // A denial states no time, so its window counts from the low-water mark.
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
                let spent = statement.predicate.spent.into_iter();
                self.spent.extend(spent.map(|spent| spent.nonce));
                Some(statement.predicate.at)
            }
            // The predicate of an authorization can begin like that of a denial.
            DENIAL if !is_authorization(entry) => {
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

fn is_authorization(entry: &[u8]) -> bool {
    const KIND: &[u8] = b"\"predicateType\":\"https://countersign.dev/authorization/v1\"";
    payload_of(entry).is_ok_and(|payload| payload.windows(KIND.len()).any(|part| part == KIND))
}

pub fn changed(what: &str) -> StoreFault {
    refused(format!(
        "{what}: somebody changed the store by hand, so something that is spent, denied or revoked could run again. The store stays \
         closed: run `countersign store check`, then `countersign store restore BACKUP`"
    ))
}

/// Maximum number of proposals that one query returns while [`OpenProposals::read`] reads all of them.
const PAGE: usize = 1000;

/// A durable change of the status of a proposal.
pub struct StatusChange {
    pub proposal: ProposalId,
    pub to: ProposalStatus,
    pub at: Timestamp,
}

/// Numbers of proposals that have not ended.
#[derive(Debug, Default, PartialEq)]
pub struct OpenProposalCounts {
    /// Number of proposals that wait for signatures.
    pub pending: u64,
    /// Number of proposals that have enough signatures and wait to run.
    pub approved: u64,
    /// Number of proposals whose nonce is spent and whose receipt is not stored.
    pub running: u64,
    /// Time at which the oldest of the approved proposals was approved.
    pub oldest_approved: Option<Timestamp>,
}

/// The proposals that have not ended. Their number is limited by the limits on pending proposals and on runs.
#[derive(Default)]
pub struct OpenProposals {
    status: HashMap<ProposalId, (ProposalStatus, Timestamp)>,
}

impl OpenProposals {
    /// Reads the proposals that have not ended from the store.
    pub fn read(reads: &StoreReads) -> StoreResult<Self> {
        let mut open = Self::default();
        let mut before = None;
        loop {
            let statuses = vec![
                ProposalStatus::Pending,
                ProposalStatus::Approved,
                ProposalStatus::Running,
            ];
            let page = reads.proposals(&ProposalQuery {
                statuses,
                before,
                limit: PAGE,
                ..ProposalQuery::default()
            })?;
            for found in page.proposals {
                let at = found.approved_at.unwrap_or(found.created_at());
                open.change(StatusChange {
                    proposal: found.core.id,
                    to: found.status,
                    at,
                });
            }
            before = page.next;
            if before.is_none() {
                return Ok(open);
            }
        }
    }

    /// Checks that the payload of each waiting proposal is stored, because the service must be able to read the payload
    /// later.
    pub fn check(&self, reads: &StoreReads) -> StoreResult {
        let waits = self
            .status
            .iter()
            .filter(|(_, (status, _))| *status != ProposalStatus::Running);
        let ids: Vec<&ProposalId> = waits.map(|(id, _)| id).collect();
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| id_bytes(id).to_vec()).collect();
        let Some(lost) = reads.without_row(ClosedKey::Payload, &keys)? else {
            return Ok(());
        };
        Err(changed(&format!(
            "the proposal {} waits, but its statement has no row",
            ids[lost]
        )))
    }

    /// Records the new status of a proposal.
    pub fn change(&mut self, change: StatusChange) {
        let StatusChange { proposal, to, at } = change;
        if to.has_ended() {
            self.status.remove(&proposal);
        } else {
            self.status.insert(proposal, (to, at));
        }
    }

    pub fn counts(&self) -> OpenProposalCounts {
        let mut counts = OpenProposalCounts::default();
        for (status, at) in self.status.values() {
            match status {
                ProposalStatus::Pending => counts.pending += 1,
                ProposalStatus::Approved => {
                    counts.approved += 1;
                    let oldest = counts.oldest_approved.map_or(*at, |oldest| oldest.min(*at));
                    counts.oldest_approved = Some(oldest);
                }
                ProposalStatus::Running => counts.running += 1,
                _ => {}
            }
        }
        counts
    }

    pub fn waits_to_run(&self, id: &ProposalId) -> bool {
        self.status
            .get(id)
            .is_some_and(|(status, _)| *status == ProposalStatus::Approved)
    }

    /// Returns the proposals that wait for signatures or for their run.
    pub fn waiting(&self) -> Vec<ProposalId> {
        self.with(ProposalStatus::waits)
    }

    /// Returns true if a nonce is spent and the receipt of its run is not stored.
    pub fn has_runs(&self) -> bool {
        let mut all = self.status.values();
        all.any(|(status, _)| *status == ProposalStatus::Running)
    }

    /// Returns the proposals whose nonce is spent and whose receipt is not stored.
    pub fn running(&self) -> Vec<ProposalId> {
        self.with(|status| status == ProposalStatus::Running)
    }

    fn with(&self, wanted: impl Fn(ProposalStatus) -> bool) -> Vec<ProposalId> {
        self.status
            .iter()
            .filter(|(_, (status, _))| wanted(*status))
            .map(|(id, _)| id.clone())
            .collect()
    }
}

#[cfg(test)]
mod open_proposals_tests {
    use super::*;

    fn id(n: u8) -> ProposalId {
        format!("prp_0192f0c1-0000-7000-8000-0000000000{n:02x}")
            .parse()
            .expect("an id")
    }

    #[test]
    fn each_proposal_is_counted_under_its_last_status_only() {
        let mut open = OpenProposals::default();
        let mut change = |n, to, at| {
            open.change(StatusChange {
                proposal: id(n),
                to,
                at: Timestamp::from_unix(at),
            });
            open.counts()
        };
        change(1, ProposalStatus::Pending, 10);
        change(2, ProposalStatus::Pending, 11);
        change(1, ProposalStatus::Approved, 20);
        let counts = change(2, ProposalStatus::Approved, 15);
        assert_eq!((counts.pending, counts.approved, counts.running), (0, 2, 0));
        assert_eq!(counts.oldest_approved, Some(Timestamp::from_unix(15)));
        let counts = change(2, ProposalStatus::Running, 30);
        assert_eq!(
            (counts.approved, counts.running, counts.oldest_approved),
            (1, 1, Some(Timestamp::from_unix(20)))
        );
        change(1, ProposalStatus::Denied, 31);
        // An envelope with all signatures starts a run of a proposal that the store does not contain.
        change(3, ProposalStatus::Running, 32);
        change(3, ProposalStatus::Finished, 33);
        assert_eq!(
            change(2, ProposalStatus::Finished, 34),
            OpenProposalCounts::default()
        );
        assert!(open.status.is_empty());
    }
}
