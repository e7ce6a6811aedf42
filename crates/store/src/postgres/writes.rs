//! The second flight of a batch: writes all rows, and commits.

use std::collections::BTreeMap;

use tokio_postgres::error::DbError;
use tokio_postgres::{Error, Row};

use crate::{
    batch::{Commit, StepRow, Writes},
    column_values::{grant_bytes, place, presence_number, tile_id},
    fault::StoreFault,
    postgres::{
        columns::{Fields, id_value, list, signed},
        errors::fault,
        link::{Flight, Link},
        review_writes,
    },
    rows::{FinishRow, RunRow},
    stored_event::ToldTarget,
    stored_grant::StoredGrant,
    stored_run::OutputRow,
    stored_status::StoredStatus,
};
use documents::{Hash, SealDigest};

const DURING: &str = "writing a batch";

statements! {
    ALL:
    LEAVES = "INSERT INTO leaf (idx, kind, at, hash, data) \
        SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[]) RETURNING idx, hash";
    TILES = "INSERT INTO tile (id, hashes) SELECT * FROM unnest($1::bigint[], $2::bytea[])";
    SEALS = "INSERT INTO seal (idx, digest) SELECT * FROM unnest($1::bigint[], $2::bytea[])";
    BLOBS = "INSERT INTO blob (digest, data) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (digest) DO NOTHING";
    PROPOSALS = "INSERT INTO proposal (id, digest, nonce, request, step, step_digest, params_digest, \
        proposer, expires_at, status, created_at) SELECT id, digest, nonce, request, step, step_digest, params_digest, proposer, \
        expires_at, 2, created_at FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::text[], $6::bytea[], \
        $7::bytea[], $8::text[], $9::bigint[], $10::bigint[]) AS q(id, digest, nonce, request, step, step_digest, params_digest, \
        proposer, expires_at, created_at)";
    PAYLOADS = "INSERT INTO payload (proposal, data) SELECT * FROM unnest($1::bytea[], $2::bytea[])";
    JOBS = "INSERT INTO admitted (proposal, job) SELECT * FROM unnest($1::bytea[], $2::text[])";
    SIGNATURES = "INSERT INTO signature (proposal, keyid, number, person, presence, at, sig) \
        SELECT * FROM unnest($1::bytea[], $2::text[], $3::integer[], $4::text[], $5::smallint[], $6::bigint[], $7::bytea[])";
    DENIALS = "INSERT INTO denial (\"authorization\", approver, leaf, at, ahead) \
        SELECT * FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[])";
    STEPS = "UPDATE proposal p SET status = q.status, approved_at = coalesce(q.approved_at, p.approved_at), \
        ended_at = coalesce(q.ended_at, p.ended_at), detail = q.detail \
        FROM unnest($1::bytea[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bytea[]) \
        AS q(id, status, approved_at, ended_at, detail) WHERE p.id = q.id";
    ENDS = "UPDATE proposal p SET status = 1, ended_at = q.at, receipt = q.receipt, detail = q.detail \
        FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[]) AS q(id, at, receipt, detail) WHERE p.id = q.id";
    CLOSED = "DELETE FROM crossing WHERE id = ANY($1::bigint[])";
    // An output whose pieces were deleted before this batch gets no row, like an output whose retention has ended.
    OUTPUTS = "INSERT INTO output AS o (name, bytes, at, data) \
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[]) AS n(name, bytes, at, data) \
        WHERE n.data IS NOT NULL OR n.bytes = (SELECT sum(octet_length(p.data)) FROM piece p WHERE p.name = n.name) \
        ON CONFLICT (name) DO UPDATE SET at = greatest(o.at, excluded.at)";
    OUTPUTS_OF = "INSERT INTO output_of (name, proposal) SELECT * FROM unnest($1::bytea[], $2::bytea[]) \
        ON CONFLICT (name, proposal) DO NOTHING";
    OUTPUT_ORDERS = "INSERT INTO output_order (proposal, data) SELECT * FROM unnest($1::bytea[], $2::bytea[])";
    NONCES = "INSERT INTO nonce (nonce, expires_at, spent, proposal) \
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[])";
    STARTED = "UPDATE proposal p SET status = 0, approved_at = coalesce(p.approved_at, q.at), \
        started_at = q.at, spent = q.spent FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS q(id, at, spent) \
        WHERE p.id = q.id";
    SIGNED_ALREADY = "DELETE FROM payload WHERE proposal = ANY($1::bytea[])";
    NEW_RUNS = "INSERT INTO proposal (id, digest, nonce, step, step_digest, params_digest, proposer, \
        expires_at, status, created_at, approved_at, started_at, spent) SELECT id, digest, nonce, step, step_digest, \
        params_digest, proposer, expires_at, 0, at, at, at, spent FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::text[], \
        $5::bytea[], $6::bytea[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[]) \
        AS q(id, digest, nonce, step, step_digest, params_digest, proposer, expires_at, at, spent)";
    CROSSINGS = "INSERT INTO crossing (id, proposal, seal, exclusive, envelope, decision, deadline, node) \
        SELECT q.*, $8::text FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::text[], $5::bytea[], $6::bytea[], \
        $7::bigint[]) q";
    /// The root of a stored checkpoint with another root is replaced by NULL, which the table refuses.
    CHECKPOINTS = "INSERT INTO checkpoint (size, root, note) \
        SELECT q.size, CASE WHEN c.root IS NULL OR c.root = q.root THEN q.root END, q.note \
        FROM unnest($1::bigint[], $2::bytea[], $3::text[]) AS q(size, root, note) LEFT JOIN checkpoint c ON c.size = q.size \
        ON CONFLICT (size) DO NOTHING";
    GRANTS = "INSERT INTO standing (id, digest, envelope, proposer, created_at, expires_at, leaf) \
        SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) \
        ON CONFLICT (id) DO UPDATE SET envelope = excluded.envelope, expires_at = excluded.expires_at, \
        leaf = excluded.leaf";
    USES = "INSERT INTO standing_use (digest, number, at, spent) \
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[])";
    EVENTS = "INSERT INTO event (seq, at, kind, proposal, step, proposer, entry, words) \
        SELECT (SELECT coalesce(max(seq), 0) FROM event) + q.n, q.at, q.kind, q.proposal, p.step, p.proposer, q.entry, q.words \
        FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bytea[], $5::bigint[], $6::text[]) \
        AS q(n, at, kind, proposal, entry, words) LEFT JOIN proposal p ON p.id = q.proposal";
    TOLD = "INSERT INTO told (name, seq, given_up) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) \
        ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, given_up = excluded.given_up";
    STATE = "UPDATE state SET boundary = $1::bytea, seal = $2::bytea, version = $3, mark = $4 WHERE one = 1";
    /// A new epoch ends all approvals, so also those whose consumption the database may have lost.
    NEW_EPOCH = "UPDATE state SET lost = NULL WHERE one = 1";
    BATCH = "INSERT INTO batch (n, term, node, id) VALUES ($1, $2, $3, $4)";
    COMMIT = "COMMIT";
}

/// The row of the current batch.
pub(super) struct BatchRow {
    pub(super) number: i64,
    pub(super) term: i64,
    pub(super) node: String,
    pub(super) id: Vec<u8>,
}

/// Sends all rows, the row of the batch and the commit together.
pub(super) fn commit(link: &Link, writes: &Writes<'_>, batch: &BatchRow) -> Commit {
    if let Some(fault) = forked_size(writes) {
        return Commit::NotDone(fault);
    }
    let mut flight = Flight::default();
    let leaves = add_leaves(&mut flight, writes);
    add_proposals(&mut flight, writes);
    add_steps(&mut flight, &writes.steps);
    add_ends(&mut flight, &writes.ends);
    add_starts(&mut flight, &writes.starts, &batch.node);
    review_writes::add(&mut flight, writes);
    add_events(&mut flight, writes);
    if !writes.checkpoints.is_empty() {
        flight.add(
            CHECKPOINTS,
            values![
                list(writes.checkpoints, |row| signed(row.size)),
                list(writes.checkpoints, |row| &row.root[..]),
                list(writes.checkpoints, |row| row.note.as_str())
            ],
        );
    }
    if let Some(head) = &writes.head {
        let digest = |seal: &Option<SealDigest>| seal.map(|seal| seal.as_bytes().to_vec());
        flight.add(
            STATE,
            values![
                digest(&head.boundary),
                digest(&head.seal),
                signed(head.version),
                head.mark.unix()
            ],
        );
    }
    if writes.new_epoch {
        flight.add(NEW_EPOCH, values![]);
    }
    flight.add(
        BATCH,
        values![batch.number, batch.term, &batch.node, &batch.id],
    );
    flight.add(COMMIT, values![]);
    if let Err(fault) = link.prepare(DURING, &flight.statements()) {
        return Commit::NotDone(fault);
    }
    link.take_warnings();
    match link.send(DURING, &flight) {
        // The statements were sent, and no answer came in time.
        Err(_) => Commit::Unknown,
        Ok(answers) => judge(link, &flight, leaves, answers),
    }
}

/// Decides from the answers whether the batch is durable.
fn judge(
    link: &Link,
    flight: &Flight<'_>,
    leaves: Option<usize>,
    mut answers: Vec<Result<Vec<Row>, Error>>,
) -> Commit {
    // Without an answer to the COMMIT, a statement before it failed so early that the COMMIT was not sent.
    let sent = answers.len() == flight.statements().len();
    let committed = if sent { answers.pop() } else { None };
    if let Some(error) = answers.iter().find_map(|answer| answer.as_ref().err()) {
        // The server undoes a transaction with a failed statement, even if a COMMIT follows.
        let undone = error.as_db_error().is_some() || !sent;
        return if undone {
            Commit::NotDone(write_fault(error))
        } else {
            Commit::Unknown
        };
    }
    // A warning can mean that no replica has the batch.
    if !matches!(committed, Some(Ok(_))) || !link.take_warnings().is_empty() {
        return Commit::Unknown;
    }
    match leaves.map(|at| &answers[at]) {
        Some(Ok(rows)) => Commit::Done(returned(rows)),
        _ => Commit::Done(Vec::new()),
    }
}

fn write_fault(error: &Error) -> StoreFault {
    let of_root =
        |error: &DbError| error.table() == Some("checkpoint") && error.column() == Some("root");
    if error.as_db_error().is_some_and(of_root) {
        return StoreFault::broken(
            "keeping checkpoints",
            "the log already has another root hash at the size of a checkpoint, so this batch would fork the log",
        );
    }
    fault(DURING, error)
}

/// Returns a fault if two checkpoints of the batch have the same size and different roots.
fn forked_size(writes: &Writes<'_>) -> Option<StoreFault> {
    let mut roots = BTreeMap::new();
    let second = writes
        .checkpoints
        .iter()
        .find(|row| *roots.entry(row.size).or_insert(row.root) != row.root)?;
    Some(StoreFault::forked(second.size))
}

/// Returns the stored hashes in the order of the leaves. The writer compares them, so an unreadable row is left out.
fn returned(rows: &[Row]) -> Vec<Hash> {
    let read = |row: &Row| -> Result<(u64, Hash), StoreFault> {
        let row = Fields::new(DURING, row);
        Ok((row.get(0)?, row.get(1)?))
    };
    let mut hashes: Vec<_> = rows.iter().filter_map(|row| read(row).ok()).collect();
    hashes.sort_unstable();
    hashes.into_iter().map(|(_, hash)| hash).collect()
}

/// Adds leaves, tiles, seals and blobs. Returns the position of the statement whose answer contains the hashes.
fn add_leaves<'a>(flight: &mut Flight<'a>, writes: &'a Writes<'_>) -> Option<usize> {
    let leaves = &writes.leaves;
    let at = (!leaves.is_empty()).then(|| {
        let end = writes.first + leaves.len() as u64;
        flight.add(
            LEAVES,
            values![
                (signed(writes.first)..signed(end)).collect::<Vec<_>>(),
                list(leaves, |leaf| leaf.kind as i16),
                list(leaves, |leaf| leaf.at.unix()),
                list(leaves, |leaf| &leaf.hash[..]),
                list(leaves, |leaf| &*leaf.data)
            ],
        )
    });
    if !writes.tiles.is_empty() {
        flight.add(
            TILES,
            values![
                list(&writes.tiles, |tile| tile_id(tile.level, tile.index)),
                list(&writes.tiles, |tile| tile.hashes.as_flattened())
            ],
        );
    }
    if !writes.seals.is_empty() {
        flight.add(
            SEALS,
            values![
                list(&writes.seals, |(index, _)| signed(*index)),
                list(&writes.seals, |(_, digest)| &digest.as_bytes()[..])
            ],
        );
    }
    let of_runs = writes.ends.iter().flat_map(|end| end.blobs);
    let blobs: BTreeMap<&[u8], &[u8]> = writes
        .blobs
        .iter()
        .copied()
        .chain(of_runs)
        .map(|(digest, data)| (&digest.as_bytes()[..], &data[..]))
        .collect();
    if !blobs.is_empty() {
        flight.add(
            BLOBS,
            values![
                blobs.keys().copied().collect::<Vec<_>>(),
                blobs.values().copied().collect::<Vec<_>>()
            ],
        );
    }
    at
}

/// Adds new proposals, signatures and denials.
fn add_proposals<'a>(flight: &mut Flight<'a>, writes: &'a Writes<'_>) {
    let new = &writes.proposals;
    if !new.is_empty() {
        flight.add(
            PROPOSALS,
            values![
                list(new, |new| id_value(&new.core.id)),
                list(new, |new| &new.core.digest.as_bytes()[..]),
                list(new, |new| new.core.nonce.to_bytes().to_vec()),
                list(new, |new| &new.request[..]),
                list(new, |new| new.core.step.as_str()),
                list(new, |new| &new.core.step_digest.as_bytes()[..]),
                list(new, |new| &new.core.params_digest.as_bytes()[..]),
                list(new, |new| new.core.proposer.as_str()),
                list(new, |new| new.core.expires_at.unix()),
                list(new, |new| new.created_at.unix())
            ],
        );
        flight.add(
            PAYLOADS,
            values![
                list(new, |new| id_value(&new.core.id)),
                list(new, |new| &*new.payload)
            ],
        );
        let jobs = new
            .iter()
            .filter_map(|new| Some((id_value(&new.core.id), new.admitted.as_deref()?)));
        let (ids, jobs): (Vec<Vec<u8>>, Vec<&str>) = jobs.unzip();
        if !ids.is_empty() {
            flight.add(JOBS, values![ids, jobs]);
        }
    }
    let signatures = &writes.signatures;
    if !signatures.is_empty() {
        flight.add(
            SIGNATURES,
            values![
                list(signatures, |row| id_value(row.proposal)),
                list(signatures, |row| row.signature.keyid.as_str()),
                list(signatures, |row| i32::try_from(row.number)
                    .unwrap_or(i32::MAX)),
                list(signatures, |row| row.signature.person.as_str()),
                list(signatures, |row| presence_number(row.signature.presence)),
                list(signatures, |row| row.signature.at.unix()),
                list(signatures, |row| &row.signature.sig[..])
            ],
        );
    }
    let denials = &writes.denials;
    if !denials.is_empty() {
        flight.add(
            DENIALS,
            values![
                list(denials, |row| row.authorization.as_bytes().to_vec()),
                list(denials, |row| row.denial.approver.as_str()),
                list(denials, |row| signed(row.denial.leaf)),
                list(denials, |row| row.denial.at.unix()),
                list(denials, |row| row.ahead)
            ],
        );
    }
}

/// Adds the changes of statuses. Several changes of one proposal become one row, because one UPDATE changes a row only
/// once.
fn add_steps<'a>(flight: &mut Flight<'a>, steps: &'a [StepRow<'_>]) {
    struct Step<'a> {
        status: i16,
        approved_at: Option<i64>,
        ended_at: Option<i64>,
        detail: Option<&'a [u8]>,
    }
    let mut merged: BTreeMap<Vec<u8>, Step<'a>> = BTreeMap::new();
    for step in steps {
        let new = Step {
            status: 0,
            approved_at: None,
            ended_at: None,
            detail: None,
        };
        let row = merged.entry(id_value(&step.proposal)).or_insert(new);
        row.status = i16::from(step.to.number());
        row.detail = (!step.detail.is_empty()).then_some(step.detail);
        let at = if step.to == StoredStatus::Approved {
            &mut row.approved_at
        } else {
            &mut row.ended_at
        };
        *at = Some(step.at.unix());
    }
    if merged.is_empty() {
        return;
    }
    flight.add(
        STEPS,
        values![
            merged.keys().cloned().collect::<Vec<_>>(),
            merged.values().map(|row| row.status).collect::<Vec<_>>(),
            merged
                .values()
                .map(|row| row.approved_at)
                .collect::<Vec<_>>(),
            merged.values().map(|row| row.ended_at).collect::<Vec<_>>(),
            merged.values().map(|row| row.detail).collect::<Vec<_>>()
        ],
    );
}

/// Adds the ends of runs and their outputs.
fn add_ends<'a>(flight: &mut Flight<'a>, ends: &'a [FinishRow<'_>]) {
    if ends.is_empty() {
        return;
    }
    flight.add(
        ENDS,
        values![
            list(ends, |end| id_value(end.proposal)),
            list(ends, |end| end.at.unix()),
            list(ends, |end| signed(end.receipt)),
            list(ends, |end| &end.detail[..])
        ],
    );
    // The receipt contains the envelope and the decision, so the row of the run can be deleted.
    let places = ends
        .iter()
        .map(|end| place(end.consumption.0, end.consumption.1));
    flight.add(CLOSED, values![places.collect::<Vec<_>>()]);
    let mut outputs: BTreeMap<&[u8], (&OutputRow, i64)> = BTreeMap::new();
    let (mut names, mut runs) = (Vec::new(), Vec::new());
    for end in ends {
        for output in end.outputs {
            let name = &output.name.as_bytes()[..];
            let row = outputs.entry(name).or_insert((output, end.at.unix()));
            row.1 = row.1.max(end.at.unix());
            names.push(name);
            runs.push(id_value(end.proposal));
        }
    }
    if !outputs.is_empty() {
        flight.add(
            OUTPUTS,
            values![
                outputs.keys().copied().collect::<Vec<_>>(),
                outputs
                    .values()
                    .map(|(output, _)| signed(output.bytes))
                    .collect::<Vec<_>>(),
                outputs.values().map(|(_, at)| *at).collect::<Vec<_>>(),
                outputs
                    .values()
                    .map(|(output, _)| output.data.as_deref())
                    .collect::<Vec<_>>()
            ],
        );
        flight.add(OUTPUTS_OF, values![names, runs]);
    }
    let orders: Vec<_> = ends
        .iter()
        .filter_map(|end| Some((id_value(end.proposal), end.order?)))
        .collect();
    if !orders.is_empty() {
        let (ids, data): (Vec<_>, Vec<_>) = orders.into_iter().unzip();
        flight.add(OUTPUT_ORDERS, values![ids, data]);
    }
}

/// Adds grants, events, and the positions of targets of messages.
fn add_events<'a>(flight: &mut Flight<'a>, writes: &'a Writes<'_>) {
    // One statement can change a row only once, so the last row of a grant counts.
    let grants: BTreeMap<[u8; 16], &StoredGrant> = writes
        .grants
        .iter()
        .map(|grant| (grant_bytes(&grant.id), grant))
        .collect();
    if !grants.is_empty() {
        flight.add(
            GRANTS,
            values![
                grants.keys().map(|id| id.to_vec()).collect::<Vec<_>>(),
                grants
                    .values()
                    .map(|grant| &grant.digest.as_bytes()[..])
                    .collect::<Vec<_>>(),
                grants
                    .values()
                    .map(|grant| &*grant.envelope)
                    .collect::<Vec<_>>(),
                grants
                    .values()
                    .map(|grant| grant.proposer.as_str())
                    .collect::<Vec<_>>(),
                grants
                    .values()
                    .map(|grant| grant.created_at.unix())
                    .collect::<Vec<_>>(),
                grants
                    .values()
                    .map(|grant| grant.expires_at.unix())
                    .collect::<Vec<_>>(),
                grants
                    .values()
                    .map(|grant| grant.leaf.map(signed))
                    .collect::<Vec<_>>()
            ],
        );
    }
    let events = &writes.events;
    if !events.is_empty() {
        flight.add(
            EVENTS,
            values![
                (1..=signed(events.len() as u64)).collect::<Vec<_>>(),
                list(events, |event| event.at.unix()),
                list(events, |event| i16::from(event.what.number())),
                list(events, |event| event.what.proposal().map(id_value)),
                list(events, |event| event.what.entry().map(signed)),
                list(events, |event| event.what.words())
            ],
        );
    }
    // One statement can change a row only once, so the last position of a target counts.
    let told: BTreeMap<&str, &ToldTarget> = writes
        .told
        .iter()
        .map(|target| (target.name.as_str(), *target))
        .collect();
    if !told.is_empty() {
        flight.add(
            TOLD,
            values![
                told.keys().copied().collect::<Vec<_>>(),
                told.values()
                    .map(|target| signed(target.seq))
                    .collect::<Vec<_>>(),
                told.values()
                    .map(|target| signed(target.given_up))
                    .collect::<Vec<_>>()
            ],
        );
    }
}

/// Adds the starts of runs.
fn add_starts<'a>(flight: &mut Flight<'a>, runs: &'a [RunRow<'_>], node: &'a str) {
    if runs.is_empty() {
        return;
    }
    let place_of = |run: &RunRow<'_>| place(run.index, run.item);
    flight.add(
        NONCES,
        values![
            list(runs, |run| run.core.nonce.to_bytes().to_vec()),
            list(runs, |run| run.core.expires_at.unix()),
            list(runs, place_of),
            list(runs, |run| id_value(&run.core.id))
        ],
    );
    let uses: Vec<_> = runs
        .iter()
        .filter_map(|run| Some((run.granted?, run)))
        .collect();
    if !uses.is_empty() {
        flight.add(
            USES,
            values![
                list(&uses, |((grant, _), _)| &grant.as_bytes()[..]),
                list(&uses, |((_, number), _)| signed(*number)),
                list(&uses, |(_, run)| run.at.unix()),
                list(&uses, |(_, run)| place_of(run))
            ],
        );
    }
    let (known, new): (Vec<&RunRow<'_>>, Vec<&RunRow<'_>>) = runs.iter().partition(|run| run.known);
    if !known.is_empty() {
        let ids: Vec<_> = known.iter().map(|run| id_value(&run.core.id)).collect();
        flight.add(
            STARTED,
            values![
                ids.clone(),
                list(&known, |run| run.at.unix()),
                list(&known, |run| place_of(run))
            ],
        );
        flight.add(SIGNED_ALREADY, values![ids]);
    }
    if !new.is_empty() {
        flight.add(
            NEW_RUNS,
            values![
                list(&new, |run| id_value(&run.core.id)),
                list(&new, |run| &run.core.digest.as_bytes()[..]),
                list(&new, |run| run.core.nonce.to_bytes().to_vec()),
                list(&new, |run| run.core.step.as_str()),
                list(&new, |run| &run.core.step_digest.as_bytes()[..]),
                list(&new, |run| &run.core.params_digest.as_bytes()[..]),
                list(&new, |run| run.core.proposer.as_str()),
                list(&new, |run| run.core.expires_at.unix()),
                list(&new, |run| run.at.unix()),
                list(&new, |run| place_of(run))
            ],
        );
    }
    flight.add(
        CROSSINGS,
        values![
            list(runs, place_of),
            list(runs, |run| id_value(&run.core.id)),
            list(runs, |run| run.seal.as_bytes().to_vec()),
            list(runs, |run| run.exclusive),
            list(runs, |run| run.envelope),
            list(runs, |run| run.decision),
            list(runs, |run| run.deadline.unix()),
            node
        ],
    );
}

/// Returns a new id for a batch.
pub(super) fn batch_id() -> Result<Vec<u8>, StoreFault> {
    let mut id = vec![0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| StoreFault::broken("numbering a batch", error.to_string()))?;
    Ok(id)
}
