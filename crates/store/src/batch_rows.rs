//! The rows of a batch, the same for both engines. SQLite executes a statement for each row, and PostgreSQL executes one
//! statement with an array for each column, so that all statements of a batch fit in one round trip.
//!
//! The file also contains the data that the writer and an engine exchange in a batch (questions, answers, writes and
//! the result of the commit), and the check whether an authorization can be consumed at a given time.

use std::collections::BTreeMap;

use crate::{
    AuthorizationCore, CLOSABLE_AFTER_S, Candidate, Cell, CheckpointRow, ConsumeStop, DenialWrite,
    DenialsAhead, EventRow, Fields, FinishRow, GrantClaim, LeafRow, NewProposal, ProposalPrecedent,
    ProposalState, ProposalStatus, ReviewWrite, RunRow, Signature, SpentUse, StoreFault, StoreHead,
    StoreResult, StoredGrant, TileRow, ToldTarget, Window,
    fields::{head_cells, observed_number, place, presence_number, status_number},
    grant_bytes, id_bytes, tile_id,
};
use documents::{
    BlobDigest, Hash, OpenWindow, ProposalId, ReviewVerdict, SKEW_S, SealDigest, Timestamp,
    WindowError, judge,
};

/// A statement of a batch: it writes rows, or asks a question.
pub struct BatchStatement {
    /// The statement for one row. The parameters of a write are `?1`, `?2` and so on, bound by place, and a write may
    /// leave out the last columns. The parameters of a question are `$1`, `$2` and so on, bound by name.
    pub(super) sqlite: &'static str,
    /// The statement for all rows. Its parameters `$1`, `$2` and so on are arrays, one for each column.
    pub(super) postgres: &'static str,
}

/// Rows that one statement writes.
pub struct BatchRows<'a> {
    pub(super) statement: &'static BatchStatement,
    /// Number of columns.
    pub(super) width: usize,
    /// The columns of the first row, then the columns of the next row, and so on.
    pub(super) cells: Vec<Cell<'a>>,
}

impl<'a> BatchRows<'a> {
    pub(super) fn of<T, const N: usize>(
        statement: &'static BatchStatement,
        items: impl IntoIterator<Item = T>,
        row: impl FnMut(T) -> [Cell<'a>; N],
    ) -> Self {
        Self {
            statement,
            width: N,
            cells: items.into_iter().flat_map(row).collect(),
        }
    }
}

/// A statement with its parameters.
pub type BatchQuestion<'a> = (&'static BatchStatement, &'a [Cell<'a>]);

/// Takes a row, with the number of its question.
pub type EachAnswer<'e> = &'e mut dyn FnMut(usize, &Fields<'_>) -> StoreResult;

/// The connection of a batch, between its begin and its commit.
pub trait OpenBatch {
    /// Returns true if the bytes of large outputs are rows of the table `piece`. Otherwise they are files.
    fn has_pieces(&self) -> bool {
        true
    }

    /// Subtracts deleted nonces from the number of nonces, if the engine stores this number.
    fn subtract_nonces(&self, _deleted: usize) -> StoreResult {
        Ok(())
    }

    /// Executes statements together, and passes the rows that they return to `each`.
    fn ask(
        &self,
        during: &'static str,
        questions: &[BatchQuestion<'_>],
        each: EachAnswer<'_>,
    ) -> StoreResult;

    /// Executes statements together, each for all its rows. Returns for each statement how many rows it changed.
    fn write(&self, during: &'static str, rows: &[BatchRows<'_>]) -> StoreResult<Vec<usize>>;
}

/// Returns a statement with the text of SQLite and the text of PostgreSQL.
pub const fn pair(sqlite: &'static str, postgres: &'static str) -> BatchStatement {
    BatchStatement { sqlite, postgres }
}

/// Returns a statement for both engines. The parameters `$1`, `$2` and so on are single values.
pub const fn same(sql: &'static str) -> BatchStatement {
    pair(sql, sql)
}

batch_statements! {
    LEAVES = pair("INSERT INTO leaf (idx, kind, at, hash, data) VALUES (?1, ?2, ?3, ?4, ?5)",
        "INSERT INTO leaf (idx, kind, at, hash, data) \
        SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[]) RETURNING idx, hash");
    TILES = pair("INSERT INTO tile (id, hashes) VALUES (?1, ?2)",
        "INSERT INTO tile (id, hashes) SELECT * FROM unnest($1::bigint[], $2::bytea[])");
    SEALS = pair("INSERT INTO seal (idx, digest) VALUES (?1, ?2)",
        "INSERT INTO seal (idx, digest) SELECT * FROM unnest($1::bigint[], $2::bytea[])");
    /// An existing blob stays.
    BLOBS = pair("INSERT OR IGNORE INTO blob (digest, data) VALUES (?1, ?2)",
        "INSERT INTO blob (digest, data) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (digest) DO NOTHING");
    PROPOSALS = pair("INSERT INTO proposal (id, digest, nonce, request, step, step_digest, params_digest, proposer, \
        expires_at, status, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 2, ?10)",
        "INSERT INTO proposal (id, digest, nonce, request, step, step_digest, params_digest, \
        proposer, expires_at, status, created_ms) SELECT id, digest, nonce, request, step, step_digest, params_digest, proposer, \
        expires_at, 2, created_ms FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::text[], $6::bytea[], \
        $7::bytea[], $8::text[], $9::bigint[], $10::bigint[]) AS q(id, digest, nonce, request, step, step_digest, params_digest, \
        proposer, expires_at, created_ms)");
    PAYLOADS = pair("INSERT INTO payload (proposal, data, programs) VALUES (?1, ?2, ?3)",
        "INSERT INTO payload (proposal, data, programs) SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[])");
    JOBS = pair("INSERT INTO admitted (proposal, job) VALUES (?1, ?2)",
        "INSERT INTO admitted (proposal, job) SELECT * FROM unnest($1::bytea[], $2::text[])");
    SIGNATURES = pair("INSERT INTO signature (proposal, keyid, number, person, presence, at, sig) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        "INSERT INTO signature (proposal, keyid, number, person, presence, at, sig) \
        SELECT * FROM unnest($1::bytea[], $2::text[], $3::integer[], $4::text[], $5::smallint[], $6::bigint[], $7::bytea[])");
    DENIALS = pair("INSERT INTO denial (authorization, approver, leaf, at, ahead) VALUES (?1, ?2, ?3, ?4, ?5)",
        "INSERT INTO denial (\"authorization\", approver, leaf, at, ahead) \
        SELECT * FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[])");
    STEPS = pair("UPDATE proposal SET status = ?2, approved_at = coalesce(?3, approved_at), ended_at = coalesce(?4, ended_at), \
        detail = ?5 WHERE id = ?1",
        "UPDATE proposal p SET status = q.status, approved_at = coalesce(q.approved_at, p.approved_at), \
        ended_at = coalesce(q.ended_at, p.ended_at), detail = q.detail \
        FROM unnest($1::bytea[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bytea[]) \
        AS q(id, status, approved_at, ended_at, detail) WHERE p.id = q.id");
    ENDS = pair("UPDATE proposal SET status = 1, ended_at = ?2, receipt = ?3, detail = ?4 WHERE id = ?1",
        "UPDATE proposal p SET status = 1, ended_at = q.at, receipt = q.receipt, detail = q.detail \
        FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[]) AS q(id, at, receipt, detail) WHERE p.id = q.id");
    /// The log has the receipt, so the row of the run can be deleted.
    CLOSED = pair("DELETE FROM crossing WHERE id = ?1",
        "DELETE FROM crossing WHERE id = ANY($1::bigint[])");
    /// In PostgreSQL, an output whose pieces were deleted before this batch gets no row, like an output whose retention has
    /// ended.
    OUTPUTS = pair("INSERT INTO output (name, bytes, at, data) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)",
        "INSERT INTO output AS o (name, bytes, at, data) \
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[]) AS n(name, bytes, at, data) \
        WHERE n.data IS NOT NULL OR n.bytes = (SELECT sum(octet_length(p.data)) FROM piece p WHERE p.name = n.name) \
        ON CONFLICT (name) DO UPDATE SET at = greatest(o.at, excluded.at)");
    OUTPUTS_OF = pair("INSERT OR IGNORE INTO output_of (name, proposal) VALUES (?1, ?2)",
        "INSERT INTO output_of (name, proposal) SELECT * FROM unnest($1::bytea[], $2::bytea[]) \
        ON CONFLICT (name, proposal) DO NOTHING");
    OUTPUT_ORDERS = pair("INSERT INTO output_order (proposal, data) VALUES (?1, ?2)",
        "INSERT INTO output_order (proposal, data) SELECT * FROM unnest($1::bytea[], $2::bytea[])");
    /// A second row with the same nonce is a fault that undoes the batch, because the writer has searched for the nonce.
    NONCES = pair("INSERT INTO nonce (nonce, spent, proposal) VALUES (?1, ?2, ?3)",
        "INSERT INTO nonce (nonce, spent, proposal) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[])");
    /// A second row with the same grant and number is a fault that undoes the batch, too.
    USES = pair("INSERT INTO standing_use (digest, number, at, spent) VALUES (?1, ?2, ?3, ?4)",
        "INSERT INTO standing_use (digest, number, at, spent) \
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[])");
    STARTED = pair("UPDATE proposal SET status = 0, approved_at = coalesce(approved_at, ?2), started_at = ?2, spent = ?3, signed = ?4 \
        WHERE id = ?1",
        "UPDATE proposal p SET status = 0, approved_at = coalesce(p.approved_at, q.at), \
        started_at = q.at, spent = q.spent, signed = q.signed \
        FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) AS q(id, at, spent, signed) \
        WHERE p.id = q.id");
    SIGNED_ALREADY = pair("DELETE FROM payload WHERE proposal = ?1",
        "DELETE FROM payload WHERE proposal = ANY($1::bytea[])");
    NEW_RUNS = pair("INSERT INTO proposal (id, digest, nonce, step, step_digest, params_digest, proposer, expires_at, \
        status, created_ms, approved_at, started_at, spent, signed) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9 * 1000, ?9, ?9, ?10, ?11)",
        "INSERT INTO proposal (id, digest, nonce, step, step_digest, params_digest, proposer, \
        expires_at, status, created_ms, approved_at, started_at, spent, signed) SELECT id, digest, nonce, step, step_digest, \
        params_digest, proposer, expires_at, 0, at * 1000, at, at, spent, signed FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::text[], \
        $5::bytea[], $6::bytea[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[]) \
        AS q(id, digest, nonce, step, step_digest, params_digest, proposer, expires_at, at, spent, signed)");
    CROSSINGS = pair("INSERT INTO crossing (id, proposal, exclusive) VALUES (?1, ?2, ?3)",
        "INSERT INTO crossing (id, proposal, exclusive, deadline, node) \
        SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::text[])");
    EMERGENCIES = pair("INSERT INTO owed (proposal, emergency, unknown) VALUES (?1, 1, 0)",
        "INSERT INTO owed (proposal, emergency, unknown) SELECT id, true, false FROM unnest($1::bytea[]) AS q(id)");
    /// The run of an emergency has a row from its start on.
    OWED_ENDS = pair("INSERT INTO owed (proposal, receipt, emergency, unknown, standing) VALUES (?1, ?2, 0, ?3, ?4) \
        ON CONFLICT (proposal) DO UPDATE SET receipt = excluded.receipt, unknown = excluded.unknown, \
        standing = excluded.standing",
        "INSERT INTO owed (proposal, receipt, emergency, unknown, standing) \
        SELECT id, receipt, false, unknown, standing FROM unnest($1::bytea[], $2::bigint[], $3::boolean[], $4::bytea[]) \
        AS q(id, receipt, unknown, standing) ON CONFLICT (proposal) \
        DO UPDATE SET receipt = excluded.receipt, unknown = excluded.unknown, standing = excluded.standing");
    REVIEWS = pair("INSERT INTO review (leaf, receipt, proposal, reviewer, accepted, observed, counts_review, counts_settle) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        "INSERT INTO review (leaf, receipt, proposal, reviewer, accepted, observed, counts_review, counts_settle) \
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[], $5::boolean[], $6::smallint[], $7::boolean[], \
        $8::boolean[])");
    /// The first review that closes an emergency stays in the row of the run. A batch has at most one review of a run.
    REVIEWED = pair("UPDATE owed SET reviewed = coalesce(reviewed, ?2), settled = CASE WHEN ?4 THEN ?3 ELSE settled END \
        WHERE proposal = ?1",
        "UPDATE owed o SET reviewed = coalesce(o.reviewed, q.closes), \
        settled = CASE WHEN q.changes THEN q.settles ELSE o.settled END \
        FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::boolean[]) AS q(id, closes, settles, changes) \
        WHERE o.proposal = q.id");
    /// A stored grant gets the new envelope, the end and the leaf.
    GRANTS = pair("INSERT INTO standing (id, digest, envelope, proposer, created_at, expires_at, leaf) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET envelope = excluded.envelope, \
        expires_at = excluded.expires_at, leaf = excluded.leaf",
        "INSERT INTO standing (id, digest, envelope, proposer, created_at, expires_at, leaf) \
        SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) \
        ON CONFLICT (id) DO UPDATE SET envelope = excluded.envelope, expires_at = excluded.expires_at, \
        leaf = excluded.leaf");
    /// The number of an event is 1 more than the number of the newest event.
    EVENTS = pair("INSERT INTO event (at, kind, proposal, step, proposer, entry, words) \
        SELECT ?1, ?2, ?3, p.step, p.proposer, ?4, ?5 FROM (SELECT 1) AS one LEFT JOIN proposal p ON p.id = ?3",
        "INSERT INTO event (seq, at, kind, proposal, step, proposer, entry, words) \
        SELECT (SELECT coalesce(max(seq), 0) FROM event) + q.n, q.at, q.kind, q.proposal, p.step, p.proposer, q.entry, q.words \
        FROM unnest($1::bigint[], $2::smallint[], $3::bytea[], $4::bigint[], $5::text[]) \
        WITH ORDINALITY AS q(at, kind, proposal, entry, words, n) LEFT JOIN proposal p ON p.id = q.proposal");
    TOLD = pair("INSERT INTO told (name, seq, given_up) VALUES (?1, ?2, ?3) \
        ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, given_up = excluded.given_up",
        "INSERT INTO told (name, seq, given_up) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) \
        ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, given_up = excluded.given_up");
    /// SQLite compares the roots afterwards. In PostgreSQL, the root of a stored checkpoint with another root is replaced by
    /// NULL, which the table refuses.
    CHECKPOINTS = pair("INSERT OR IGNORE INTO checkpoint (size, root, note) VALUES (?1, ?2, ?3)",
        "INSERT INTO checkpoint (size, root, note) \
        SELECT q.size, CASE WHEN c.root IS NULL OR c.root = q.root THEN q.root END, q.note \
        FROM unnest($1::bigint[], $2::bytea[], $3::text[]) AS q(size, root, note) LEFT JOIN checkpoint c ON c.size = q.size \
        ON CONFLICT (size) DO NOTHING");
    STATE = pair("UPDATE state SET boundary = ?1, seal = ?2, version = ?3, mark = ?4",
        "UPDATE state SET boundary = q.boundary, seal = q.seal, version = q.version, mark = q.mark \
        FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[]) AS q(boundary, seal, version, mark) WHERE one = 1");
}

/// Returns all rows of a batch in the order in which they are written. `node` is the name of
/// this node.
pub fn of<'a>(writes: &'a Writes<'_>, node: &'a str) -> Vec<BatchRows<'a>> {
    let mut rows = RowList::default();
    rows.add_log(writes);
    rows.add_proposals(writes);
    rows.add_ends(writes);
    rows.add_starts(&writes.starts, node);
    rows.add_reviews(writes);
    rows.add_news(writes);
    rows.0
}

/// A list of the statements of a batch.
#[derive(Default)]
pub struct RowList<'a>(pub Vec<BatchRows<'a>>);

impl<'a> RowList<'a> {
    /// Adds a row for each item. A statement without rows is left out.
    pub fn add<T, const N: usize>(
        &mut self,
        statement: &'static BatchStatement,
        items: impl IntoIterator<Item = T>,
        row: impl FnMut(T) -> [Cell<'a>; N],
    ) {
        let rows = BatchRows::of(statement, items, row);
        if !rows.cells.is_empty() {
            self.0.push(rows);
        }
    }

    /// Adds leaves, tiles, seals and blobs.
    fn add_log(&mut self, writes: &'a Writes<'_>) {
        let leaves = (writes.first..).zip(&writes.leaves);
        self.add(LEAVES, leaves, |(index, leaf)| {
            cells![
                index,
                i64::from(leaf.kind as u8),
                leaf.at,
                &leaf.hash,
                &*leaf.data
            ]
        });
        self.add(TILES, &writes.tiles, |tile| {
            cells![tile_id(tile.level, tile.index), tile.hashes.as_flattened()]
        });
        self.add(SEALS, &writes.seals, |(index, digest)| {
            cells![*index, digest]
        });
        let of_runs = writes.ends.iter().flat_map(|row| &row.end.blobs);
        let blobs = writes.blobs.iter().copied().chain(of_runs);
        self.add(BLOBS, blobs, |(digest, data)| cells![digest, &data[..]]);
    }

    /// Adds new proposals, signatures, denials and changes of statuses.
    fn add_proposals(&mut self, writes: &'a Writes<'_>) {
        let new = &writes.proposals;
        self.add(PROPOSALS, new, |new| {
            let core = &new.core;
            cells![
                &core.id,
                &core.digest,
                core.nonce.to_bytes(),
                &new.request,
                core.step.as_str(),
                &core.step_digest,
                &core.params_digest,
                &core.proposer,
                core.expires_at,
                new.created_ms
            ]
        });
        self.add(PAYLOADS, new, |new| {
            cells![&new.core.id, &*new.payload, new.programs.as_deref()]
        });
        let jobs = new
            .iter()
            .filter_map(|new| Some((new, new.admitted.as_deref()?)));
        self.add(JOBS, jobs, |(new, job)| cells![&new.core.id, job]);
        self.add(SIGNATURES, &writes.signatures, |row| {
            let signature = row.signature;
            cells![
                row.proposal,
                signature.keyid.as_str(),
                row.number,
                &signature.person,
                presence_number(signature.presence),
                signature.at,
                &signature.sig[..]
            ]
        });
        self.add(DENIALS, &writes.denials, |row| {
            let denial = row.denial;
            cells![
                &denial.authorization,
                &denial.approver,
                row.leaf,
                denial.at,
                row.ahead
            ]
        });
        // One UPDATE of PostgreSQL changes a row only once, so several changes of one proposal become one row.
        let mut steps: BTreeMap<_, (ProposalStatus, Option<_>, Option<_>, &[u8])> = BTreeMap::new();
        for step in &writes.steps {
            let id = id_bytes(&step.proposal);
            let row = steps.entry(id).or_insert((step.to, None, None, &[]));
            (row.0, row.3) = (step.to, step.detail);
            if step.to == ProposalStatus::Approved {
                row.1 = Some(step.at);
            } else {
                row.2 = Some(step.at);
            }
        }
        self.add(
            STEPS,
            steps,
            |(id, (status, approved_at, ended_at, detail))| {
                let detail = Some(detail).filter(|detail| !detail.is_empty());
                cells![
                    id,
                    i64::from(status_number(status)),
                    approved_at,
                    ended_at,
                    detail
                ]
            },
        );
    }

    /// Adds the ends of runs and their outputs.
    fn add_ends(&mut self, writes: &'a Writes<'_>) {
        let ends = || writes.ends.iter().map(|row| row.end);
        self.add(ENDS, &writes.ends, |FinishRow { end, receipt, .. }| {
            cells![&end.proposal, end.at, *receipt, &end.detail[..]]
        });
        self.add(CLOSED, ends(), |end| {
            cells![place(end.consumption.0, end.consumption.1)]
        });
        let named = || ends().flat_map(|end| end.outputs.iter().map(move |output| (output, end)));
        // One statement of PostgreSQL can change a row only once, so if several runs recorded the same output, the end
        // of the last run counts.
        let mut outputs = BTreeMap::new();
        for (output, end) in named() {
            let row = outputs
                .entry(output.name.as_bytes())
                .or_insert((output, end.at));
            row.1 = row.1.max(end.at);
        }
        self.add(OUTPUTS, outputs, |(name, (output, at))| {
            cells![name, output.bytes, at, output.data.as_deref()]
        });
        self.add(OUTPUTS_OF, named(), |(output, end)| {
            cells![&output.name, &end.proposal]
        });
        let orders = ends().filter_map(|end| Some((end, end.order.as_deref()?)));
        self.add(OUTPUT_ORDERS, orders, |(end, order)| {
            cells![&end.proposal, order]
        });
    }

    /// Adds the starts of runs.
    fn add_starts(&mut self, runs: &'a [RunRow<'_>], node: &'a str) {
        let place_of = |run: &RunRow<'_>| place(run.index, run.item);
        self.add(NONCES, runs, |run| {
            cells![
                run.request.core.nonce.to_bytes(),
                place_of(run),
                &run.request.core.id
            ]
        });
        let uses = runs.iter().filter_map(|run| Some((run, run.granted?)));
        self.add(USES, uses, |(run, (grant, number))| {
            cells![grant, number, run.at, place_of(run)]
        });
        let known = || runs.iter().filter(|run| run.known);
        self.add(STARTED, known(), |run| {
            cells![
                &run.request.core.id,
                run.at,
                place_of(run),
                run.authorization
            ]
        });
        self.add(SIGNED_ALREADY, known(), |run| cells![&run.request.core.id]);
        let new = runs.iter().filter(|run| !run.known);
        self.add(NEW_RUNS, new, |run| {
            let core = &run.request.core;
            cells![
                &core.id,
                &core.digest,
                core.nonce.to_bytes(),
                core.step.as_str(),
                &core.step_digest,
                &core.params_digest,
                &core.proposer,
                core.expires_at,
                run.at,
                place_of(run),
                run.authorization
            ]
        });
        self.add(CROSSINGS, runs, |run| {
            cells![
                place_of(run),
                &run.request.core.id,
                run.request.exclusive.as_deref(),
                run.at
                    .plus(run.request.limit_s.saturating_add(CLOSABLE_AFTER_S)),
                node
            ]
        });
    }

    /// Adds emergencies that start, runs that end and need a review, and then the reviews.
    fn add_reviews(&mut self, writes: &'a Writes<'_>) {
        let emergencies = writes
            .starts
            .iter()
            .filter(|run| run.request.emergency.is_some());
        self.add(EMERGENCIES, emergencies, |run| cells![&run.request.core.id]);
        let owed = writes.ends.iter().filter(|row| row.owed);
        self.add(OWED_ENDS, owed, |FinishRow { end, receipt, .. }| {
            cells![&end.proposal, *receipt, end.unknown, end.paused()]
        });
        self.add(REVIEWS, &writes.reviews, |(leaf, write)| {
            let review = &write.review;
            cells![
                *leaf,
                review.receipt,
                &review.proposal,
                &review.reviewer,
                review.verdict == ReviewVerdict::Accepted,
                review.observed.map(observed_number),
                review.counts_for_review,
                review.counts_for_settle
            ]
        });
        self.add(REVIEWED, &writes.reviews, |&(leaf, write)| {
            cells![
                &write.review.proposal,
                write.closes.then_some(leaf),
                write.settles.unwrap_or(false).then_some(leaf),
                write.settles.is_some()
            ]
        });
    }

    /// Adds grants, events, the positions of targets of messages, checkpoints and the state.
    fn add_news(&mut self, writes: &'a Writes<'_>) {
        // One statement of PostgreSQL can change a row only once, so the last row of a grant or of a target counts.
        let grants = writes.grants.iter();
        let grants: BTreeMap<_, _> = grants
            .map(|grant| (grant_bytes(&grant.id), grant))
            .collect();
        self.add(GRANTS, grants, |(id, grant)| {
            cells![
                id,
                &grant.digest,
                &*grant.envelope,
                &grant.proposer,
                grant.created_at,
                grant.expires_at,
                grant.leaf
            ]
        });
        self.add(EVENTS, &writes.events, |event| {
            let what = &event.what;
            cells![
                event.at,
                i64::from(what.number()),
                what.proposal(),
                what.entry(),
                what.words()
            ]
        });
        let told = writes.told.iter();
        let told: BTreeMap<_, _> = told.map(|target| (target.name.as_str(), target)).collect();
        self.add(TOLD, told, |(name, target)| {
            cells![name, target.seq, target.given_up]
        });
        self.add(CHECKPOINTS, writes.checkpoints, |row| {
            cells![row.size, &row.root, row.note.as_str()]
        });
        self.add(STATE, &writes.head, head_cells);
    }
}

/// What the writer must know before it checks the requests of a batch.
#[derive(Default)]
pub struct Questions<'a> {
    /// Requests to run.
    pub runs: Vec<&'a AuthorizationCore>,
    /// Proposals whose state is needed.
    pub proposals: Vec<&'a ProposalId>,
    /// New proposals.
    pub new: Vec<&'a NewProposal>,
    /// Proposals whose signatures are needed.
    pub signed: Vec<&'a ProposalId>,
    /// Denials.
    pub denials: Vec<&'a DenialWrite>,
    /// Uses of grants, one for each request to run under a grant, with the number of earlier requests under this grant.
    pub uses: Vec<(&'a GrantClaim, u64)>,
}

/// Answers to [`Questions`], each list in the order of its questions.
#[derive(Debug, Default)]
pub struct Answers {
    /// True if the store has a new connection. The writer must then read the state again before it uses these answers.
    pub is_new: bool,
    /// What other writers committed since the last batch of this store, or `None` if they committed nothing.
    pub others: Option<OtherWrites>,
    /// Time of the database server, if it has a clock of its own.
    pub server_clock: Option<Timestamp>,
    /// Reason why no run may start now, for example after a restart of the database server.
    pub no_runs: Option<String>,
    /// Stored facts about each request to run.
    pub candidates: Vec<Candidate>,
    /// State of each proposal, or `None` if the proposal is not stored.
    pub states: Vec<Option<ProposalState>>,
    /// Stored facts about each new proposal.
    pub precedents: Vec<ProposalPrecedent>,
    /// Signatures of each proposal in their order of arrival.
    pub signatures: Vec<Vec<Signature>>,
    /// Stored facts about each denial.
    pub denials: Vec<DenialPrecedent>,
    /// The newest use of each grant, and the use that is [`GrantClaim::back`] uses before it.
    pub uses: Vec<Vec<SpentUse>>,
}

/// What other writers committed.
#[derive(Debug)]
pub struct OtherWrites {
    /// The state after the last batch of the other writers.
    pub head: StoreHead,
    /// Hashes of the leaves that the other writers appended.
    pub hashes: Vec<Hash>,
}

/// Stored facts about a denial.
#[derive(Debug)]
pub struct DenialPrecedent {
    /// Leaf index of an earlier denial of the same authorization by the same approver.
    pub leaf: Option<u64>,
    /// The proposal of the authorization, unless the proposal is finished.
    pub unfinished: Option<(ProposalId, ProposalState)>,
    /// Earlier denials of authorizations that the boundary did not know.
    pub ahead: DenialsAhead,
}

/// All rows that a batch writes. A backend writes the lists in the order of the fields, because a later row can change an
/// earlier one.
#[derive(Default)]
pub struct Writes<'a> {
    /// Index of the first leaf.
    pub first: u64,
    /// Leaves to append.
    pub leaves: Vec<LeafRow>,
    /// Tiles that the leaves complete.
    pub tiles: Vec<TileRow>,
    /// Leaves that are seals.
    pub seals: Vec<(u64, SealDigest)>,
    /// True if a seal ends all earlier approvals.
    pub new_epoch: bool,
    /// Blobs. An existing blob stays.
    pub blobs: Vec<&'a (BlobDigest, Vec<u8>)>,
    /// New proposals with the status pending.
    pub proposals: Vec<&'a NewProposal>,
    /// Signatures of proposals.
    pub signatures: Vec<SignatureRow<'a>>,
    /// Denials.
    pub denials: Vec<DenialRow<'a>>,
    /// Changes of the status of proposals that do not run. A proposal can have several changes, in their order.
    pub steps: Vec<StepRow<'a>>,
    /// Runs that ended, with their outputs and blobs.
    pub ends: Vec<FinishRow<'a>>,
    /// Runs whose nonces are spent. A run can belong to a proposal of the same batch.
    pub starts: Vec<RunRow<'a>>,
    /// Reviews, each with the index of its leaf.
    pub reviews: Vec<(u64, &'a ReviewWrite)>,
    /// Grants. A stored grant with the same id gets the envelope, the end and the leaf of the row.
    pub grants: Vec<StoredGrant>,
    /// Events, whose numbers follow the newest stored event.
    pub events: Vec<EventRow>,
    /// Targets of messages that got events.
    pub told: Vec<&'a ToldTarget>,
    /// Signed checkpoints. Another root at the same size is a fatal fault.
    pub checkpoints: &'a [CheckpointRow],
    /// The state of the boundary, if it changed. Size and time of the log are not stored.
    pub head: Option<StoreHead>,
}

impl Writes<'_> {
    /// Returns true if the batch writes no row.
    pub fn is_empty(&self) -> bool {
        // Each row of the other lists comes with a leaf.
        self.leaves.is_empty()
            && self.blobs.is_empty()
            && self.proposals.is_empty()
            && self.signatures.is_empty()
            && self.steps.is_empty()
            && self.events.is_empty()
            && self.grants.is_empty()
            && self.told.is_empty()
            && self.checkpoints.is_empty()
            && self.head.is_none()
    }
}

/// A signature to store.
pub struct SignatureRow<'a> {
    /// The signed proposal.
    pub proposal: &'a ProposalId,
    /// Number of the earlier signatures of the proposal.
    pub number: usize,
    /// The signature.
    pub signature: &'a Signature,
}

/// A denial to store.
pub struct DenialRow<'a> {
    /// The denial.
    pub denial: &'a DenialWrite,
    /// Index of the leaf.
    pub leaf: u64,
    /// True if the boundary did not know the authorization when the denial arrived.
    pub ahead: bool,
}

/// A change of a proposal's status, other than the start and the end of a run.
pub struct StepRow<'a> {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// New status.
    pub to: ProposalStatus,
    /// Time of the change.
    pub at: Timestamp,
    /// Details of the new status. It can be empty.
    pub detail: &'a [u8],
}

/// Result of a commit.
#[derive(Debug)]
pub enum Commit {
    /// The batch is durable. The value contains the hashes of its leaves, as the database stored them.
    Done(Vec<Hash>),
    /// Nothing of the batch is stored now, and nothing will be stored later.
    NotDone(StoreFault),
    /// Nobody knows yet whether the batch is durable. [`Store::settle`](crate::Store::settle) decides.
    Unknown,
}

/// Maximum number of seconds by which a credible low-water mark is ahead of both the log and the clock. A mark that is
/// farther ahead was probably changed by hand. Such a mark must not date new leaves, because a leaf with a wrong date
/// stays in the log for ever.
pub const MOST_MARK_AHEAD_S: i64 = 86_400;

impl Window {
    /// Checks the window of an authorization at the time `at` of the consumption leaf. `mark` is the low-water mark.
    ///
    /// # Errors
    /// Returns an error for the first rule that the window breaks (docs/formats-bundles.md, section 12).
    pub fn check(&self, at: Timestamp, mark: Timestamp) -> Result<OpenWindow, ConsumeStop> {
        // R7: a window that ended at or before the low-water mark is expired, even if the clock shows an earlier time.
        if self.expires_at <= mark
            && self.issued_at <= self.not_before
            && self.not_before < self.expires_at
        {
            return Err(ConsumeStop::Expired {
                at,
                expires_at: self.expires_at,
            });
        }
        let open = judge(
            self.issued_at,
            self.not_before,
            self.expires_at,
            at,
            self.max_s,
        )
        .map_err(|error| match error {
            WindowError::Reversed => ConsumeStop::BadWindow,
            WindowError::TooLong { allowed, .. } => ConsumeStop::WindowTooLong { most_s: allowed },
            WindowError::Expired { until, at } => ConsumeStop::Expired {
                at,
                expires_at: until,
            },
            WindowError::IssuedLater { issued, at } => ConsumeStop::NotYetValid {
                at,
                from: issued.plus(-SKEW_S),
            },
            WindowError::NotYet { from, at } => ConsumeStop::NotYetValid { at, from },
        })?;
        // A signer counts only if valid_after ≤ t < valid_before (docs/formats-bundles.md, section 8).
        if self.valid_after.is_some_and(|after| after > at)
            || self.valid_before.is_some_and(|before| at >= before)
        {
            return Err(ConsumeStop::SignerOutside { at });
        }
        Ok(open)
    }
}

#[cfg(test)]
mod consume_window_tests {
    use super::*;

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    fn window() -> Window {
        Window {
            issued_at: t(0),
            not_before: t(0),
            expires_at: t(3600),
            max_s: None,
            valid_after: None,
            valid_before: None,
        }
    }

    #[test]
    fn a_window_begins_and_ends_at_the_exact_second() {
        let never = Timestamp::from_unix(0);
        assert_eq!(window().check(t(0), never).map(OpenWindow::at), Ok(t(0)));
        assert_eq!(
            window().check(t(3599), never).map(OpenWindow::at),
            Ok(t(3599))
        );
        assert_eq!(
            window().check(t(3600), never),
            Err(ConsumeStop::Expired {
                at: t(3600),
                expires_at: t(3600)
            })
        );
        assert_eq!(
            window().check(t(-1), never),
            Err(ConsumeStop::NotYetValid {
                at: t(-1),
                from: t(0)
            }),
            "no skew"
        );
    }

    #[test]
    fn clock_skew_is_allowed_only_for_the_time_of_issue() {
        let ahead = Window {
            issued_at: t(60),
            not_before: t(60),
            ..window()
        };
        let never = Timestamp::from_unix(0);
        assert_eq!(
            ahead.check(t(0), never),
            Err(ConsumeStop::NotYetValid {
                at: t(0),
                from: t(60)
            })
        );
        let farther = Window {
            issued_at: t(61),
            not_before: t(61),
            ..window()
        };
        assert_eq!(
            farther.check(t(0), never),
            Err(ConsumeStop::NotYetValid {
                at: t(0),
                from: t(1)
            })
        );
    }

    #[test]
    fn an_authorization_that_expires_at_the_low_water_mark_is_expired() {
        assert!(matches!(
            window().check(t(0), t(3600)),
            Err(ConsumeStop::Expired { .. })
        ));
        assert!(window().check(t(0), t(3599)).is_ok());
    }

    #[test]
    fn a_window_that_is_too_long_or_reversed_is_refused() {
        let never = Timestamp::from_unix(0);
        let day = Window {
            expires_at: t(24 * 3600),
            ..window()
        };
        assert!(day.check(t(1), never).is_ok());
        let longer = Window {
            expires_at: t(24 * 3600 + 1),
            max_s: Some(i64::MAX),
            ..window()
        };
        assert_eq!(
            longer.check(t(1), never),
            Err(ConsumeStop::WindowTooLong { most_s: 86_400 })
        );
        let strict = Window {
            max_s: Some(60),
            ..window()
        };
        assert_eq!(
            strict.check(t(1), never),
            Err(ConsumeStop::WindowTooLong { most_s: 60 })
        );
        let early = Window {
            not_before: t(-1),
            ..window()
        };
        assert_eq!(early.check(t(1), never), Err(ConsumeStop::BadWindow));
        let empty = Window {
            not_before: t(3600),
            ..window()
        };
        assert_eq!(empty.check(t(1), never), Err(ConsumeStop::BadWindow));
    }

    #[test]
    fn a_signature_counts_only_within_the_validity_period_of_the_approver() {
        let never = Timestamp::from_unix(0);
        let bounded = Window {
            valid_after: Some(t(10)),
            valid_before: Some(t(20)),
            ..window()
        };
        assert_eq!(
            bounded.check(t(9), never),
            Err(ConsumeStop::SignerOutside { at: t(9) })
        );
        assert!(bounded.check(t(10), never).is_ok());
        assert!(bounded.check(t(19), never).is_ok());
        assert_eq!(
            bounded.check(t(20), never),
            Err(ConsumeStop::SignerOutside { at: t(20) })
        );
    }
}
