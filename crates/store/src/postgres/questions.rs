//! The first flight of a batch: begins the transaction, takes the lock, and reads all that the writer judges by.

use tokio_postgres::Row;

use crate::{
    AuthorizationCore, Candidate, Cell, DenialPrecedent, DenialsAhead, Fields, FromCell as _, Link,
    ProposalPrecedent, ProposalState, Questions, Signature, SpentUse, StoreFault, StoreHead,
    UNSIGNED_KEPT_S, Value,
    postgres::{
        columns::{id_value, list, signed},
        link::Flight,
    },
};

use documents::{AuthorizationDigest, Hash, ProposalId, SealDigest, Timestamp};

const DURING: &str = "reading what a batch needs";

statements! {
    ALL:
    BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED";
    LOCK = "SELECT pg_advisory_xact_lock($1)";
    /// The state, the last leaf, the last batch, and the emergencies whose review is open.
    HEAD = "SELECT s.boundary, s.seal, s.version, s.mark, s.term, l.idx, l.at, b.n, b.term, b.id, \
        floor(extract(epoch FROM clock_timestamp()))::bigint, current_setting('synchronous_standby_names') <> '', s.lost, \
        ARRAY(SELECT proposal FROM owed WHERE emergency AND reviewed IS NULL) FROM state s \
        LEFT JOIN LATERAL (SELECT idx, at FROM leaf ORDER BY idx DESC LIMIT 1) l ON true \
        LEFT JOIN LATERAL (SELECT n, term, id FROM batch ORDER BY n DESC LIMIT 1) b ON true WHERE s.one = 1";
    EXCLUSIVE = "SELECT exclusive, proposal FROM crossing WHERE exclusive IS NOT NULL";
    HASHES = "SELECT hash FROM leaf WHERE idx >= $1 ORDER BY idx";
    CANDIDATES = "SELECT n.spent, n.proposal, d.denied IS NOT NULL, p.digest, p.status \
        FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS q(nonce, digest, id, number) \
        LEFT JOIN nonce n ON n.nonce = q.nonce \
        LEFT JOIN LATERAL (SELECT true AS denied FROM denial WHERE \"authorization\" = q.digest LIMIT 1) d ON true \
        LEFT JOIN proposal p ON p.id = q.id ORDER BY q.number";
    STATES = "SELECT p.status, p.spent, p.receipt \
        FROM unnest($1::bytea[]) WITH ORDINALITY AS q(id, number) LEFT JOIN proposal p ON p.id = q.id ORDER BY q.number";
    /// The proposal with the same id, or with the same nonce if the caller chose the nonce.
    TAKEN = concat!(
        "SELECT q.number, ",
        proposal_columns!(),
        " FROM unnest($1::bytea[], $2::bytea[], $3::boolean[]) WITH ORDINALITY AS q(id, nonce, chosen, number) \
         JOIN LATERAL (SELECT f.id FROM (SELECT 1 AS rank, id FROM proposal WHERE id = q.id \
         UNION ALL SELECT 2, id FROM proposal WHERE q.chosen AND nonce = q.nonce AND status >= 2 \
         UNION ALL SELECT 3, proposal FROM nonce WHERE q.chosen AND nonce.nonce = q.nonce) f ORDER BY f.rank LIMIT 1) t ON true \
         JOIN proposal p ON p.id = t.id"
    );
    /// The newest proposals of the same proposer: as many as [`MOST_COMPARED`].
    NEWEST = concat!(
        "SELECT q.number, ",
        proposal_columns!(),
        " FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS q(proposer, last, number) \
         JOIN LATERAL (SELECT * FROM proposal WHERE proposer = q.proposer AND id < q.last ORDER BY id DESC LIMIT 4) p \
         ON true ORDER BY q.number, p.id DESC"
    );
    /// Numbers of pending and of unsigned proposals. An overdue proposal counts as expired, even with an older stored status.
    COUNTS = "SELECT c.everyone, c.own, u.unsigned, u.first \
        FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS q(proposer, now, number) \
        CROSS JOIN LATERAL (SELECT count(*) AS everyone, count(*) FILTER (WHERE proposer = q.proposer) AS own FROM proposal \
        WHERE status BETWEEN 2 AND 3 AND status = 2 AND expires_at > q.now) c \
        CROSS JOIN LATERAL (SELECT count(*) AS unsigned, min(o.expires_at) AS first FROM ( \
        SELECT id, expires_at FROM proposal WHERE status BETWEEN 5 AND 7 AND proposer = q.proposer AND expires_at > q.now - $3 \
        UNION ALL SELECT id, expires_at FROM proposal WHERE status BETWEEN 2 AND 3 AND proposer = q.proposer \
        AND expires_at <= q.now) o LEFT JOIN LATERAL (SELECT true AS signed FROM signature WHERE proposal = o.id LIMIT 1) s \
        ON true WHERE s.signed IS NULL) u ORDER BY q.number";
    /// The newest uses of each grant. A LIMIT can't depend on a row.
    USES = "SELECT q.number, u.number, u.at, \
        (SELECT true FROM owed WHERE standing = q.digest AND unknown AND settled IS NULL LIMIT 1) IS NOT NULL \
        FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS q(digest, most, number) \
        CROSS JOIN LATERAL (SELECT number AS last FROM standing_use WHERE digest = q.digest ORDER BY number DESC LIMIT 1) l \
        JOIN standing_use u ON u.digest = q.digest AND u.number > l.last - q.most ORDER BY q.number, u.number DESC";
    SIGNATURES = "SELECT q.number, s.keyid, s.person, s.presence, s.sig, s.at \
        FROM unnest($1::bytea[]) WITH ORDINALITY AS q(id, number) JOIN signature s ON s.proposal = q.id \
        ORDER BY q.number, s.number";
    DENIALS = "SELECT d.leaf, u.id, u.status, u.spent, u.receipt, a.own, a.own_first, a.everyone, a.first \
        FROM unnest($1::bytea[], $2::text[], $3::bigint[]) WITH ORDINALITY AS q(digest, approver, since, number) \
        LEFT JOIN denial d ON d.\"authorization\" = q.digest AND d.approver = q.approver \
        LEFT JOIN LATERAL (SELECT f.* FROM ( \
        SELECT 1 AS rank, id, status, spent, receipt FROM proposal WHERE digest = q.digest AND status >= 2 \
        UNION ALL SELECT 2, p.id, p.status, p.spent, p.receipt FROM (SELECT proposal FROM crossing ORDER BY id) c JOIN proposal p ON p.id = c.proposal \
        WHERE p.digest = q.digest) f ORDER BY f.rank LIMIT 1) u ON true \
        CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE approver = q.approver) AS own, \
        min(at) FILTER (WHERE approver = q.approver) AS own_first, count(*) AS everyone, min(at) AS first \
        FROM denial WHERE ahead AND at > q.since) a ORDER BY q.number";
}

/// The answers to the first flight, before the store compares them with its own last batch.
pub(super) struct Begun {
    pub(super) head: StoreHead,
    pub(super) last: LastBatch,
    pub(super) server_clock: Timestamp,
    /// Hashes of the leaves that the writer does not know.
    pub(super) hashes: Vec<Hash>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) states: Vec<Option<ProposalState>>,
    pub(super) precedents: Vec<ProposalPrecedent>,
    pub(super) signatures: Vec<Vec<Signature>>,
    pub(super) denials: Vec<DenialPrecedent>,
    pub(super) uses: Vec<Vec<SpentUse>>,
}

/// The row of the last batch.
#[derive(Debug, Clone, Default)]
pub(super) struct LastBatch {
    pub(super) number: i64,
    pub(super) id: Option<Vec<u8>>,
    /// Term in the state of the boundary, which each takeover raises.
    pub(super) term: i64,
    /// True if a commit waits for a synchronous replica.
    pub(super) has_replicas: bool,
    /// A lost node whose kept head was not compared with the log.
    pub(super) lost: Option<String>,
}

/// Reads a row of [`HEAD`] and the rows of [`EXCLUSIVE`].
pub(super) fn head(rows: &[Row], exclusive: &[Row]) -> Result<(StoreHead, LastBatch), StoreFault> {
    let Some(first) = rows.first() else {
        return Err(StoreFault::broken(DURING, "the table `state` has no row"));
    };
    let row = Fields::new(DURING, first);
    let ids = first.try_get::<_, Vec<&[u8]>>(13);
    let ids = ids.map_err(|error| row.odd(13, &error.to_string()))?;
    let emergency =
        |id: &[u8]| ProposalId::from_cell(Cell::from(id)).map_err(|why| row.odd(13, why));
    let names = exclusive.iter().map(|row| {
        let row = Fields::new(DURING, row);
        Ok((row.get(0)?, row.get(1)?))
    });
    let head = StoreHead {
        size: row.get::<Option<u64>>(5)?.map_or(0, |last| last + 1),
        last_at: row.get::<Option<_>>(6)?.unwrap_or(Timestamp::from_unix(0)),
        version: row.get(2)?,
        mark: row.get(3)?,
        boundary: row.get::<Option<_>>(0)?.map(SealDigest::from_bytes),
        seal: row.get::<Option<_>>(1)?.map(SealDigest::from_bytes),
        exclusive: names.collect::<Result<_, StoreFault>>()?,
        emergencies: ids.into_iter().map(emergency).collect::<Result<_, _>>()?,
    };
    let last = LastBatch {
        number: row.get::<Option<i64>>(7)?.unwrap_or(0),
        id: row.get(9)?,
        term: row.get(4)?,
        has_replicas: row.get(11)?,
        lost: row.get(12)?,
    };
    Ok((head, last))
}

/// Sends the first flight. After an error, the transaction must be undone.
pub(super) fn begin(
    link: &Link,
    key: i64,
    size: u64,
    questions: &Questions<'_>,
) -> Result<Begun, StoreFault> {
    let mut flight = Flight::default();
    flight.add(BEGIN, values![]);
    flight.add(LOCK, values![key]);
    let head_at = flight.add(HEAD, values![]);
    let exclusive = flight.add(EXCLUSIVE, values![]);
    let hashes = flight.add(HASHES, values![signed(size)]);
    let mut ask =
        |there: bool, sql: &'static str, values: fn(&Questions<'_>) -> Vec<Value<'static>>| {
            there.then(|| flight.add(sql, values(questions)))
        };
    let candidates = ask(!questions.runs.is_empty(), CANDIDATES, |q| {
        let of = |read: fn(&AuthorizationCore) -> Vec<u8>| list(&q.runs, |core| read(core));
        values![
            of(|core| core.nonce.to_bytes().to_vec()),
            of(|core| core.digest.as_bytes().to_vec()),
            of(|core| id_value(&core.id))
        ]
    });
    let states = ask(!questions.proposals.is_empty(), STATES, |q| {
        values![list(&q.proposals, |id| id_value(id))]
    });
    let new = !questions.new.is_empty();
    let taken = ask(new, TAKEN, |q| {
        values![
            list(&q.new, |new| id_value(&new.core.id)),
            list(&q.new, |new| new.core.nonce.to_bytes().to_vec()),
            list(&q.new, |new| new.chosen_nonce)
        ]
    });
    let newest = ask(new, NEWEST, |q| {
        values![
            list(&q.new, |new| new.core.proposer.as_str().to_owned()),
            list(&q.new, |new| id_value(&new.last_id()))
        ]
    });
    let counts = ask(new, COUNTS, |q| {
        values![
            list(&q.new, |new| new.core.proposer.as_str().to_owned()),
            list(&q.new, |new| new.created_at.unix()),
            UNSIGNED_KEPT_S
        ]
    });
    let uses = ask(!questions.uses.is_empty(), USES, |q| {
        values![
            list(&q.uses, |claim| claim.grant.as_bytes().to_vec()),
            list(&q.uses, |claim| signed(claim.needed()))
        ]
    });
    let signatures = ask(!questions.signed.is_empty(), SIGNATURES, |q| {
        values![list(&q.signed, |id| id_value(id))]
    });
    let denials = ask(!questions.denials.is_empty(), DENIALS, |q| {
        values![
            list(&q.denials, |one| one.authorization.as_bytes().to_vec()),
            list(&q.denials, |one| one.approver.as_str().to_owned()),
            list(&q.denials, |one| one.since.unix())
        ]
    });
    let rows = link.rows(DURING, &flight)?;
    let of = |at: Option<usize>| at.map_or(&[][..], |at| &rows[at]);
    let (head, last) = head(&rows[head_at], &rows[exclusive])?;
    Ok(Begun {
        head,
        last,
        server_clock: Fields::new(DURING, &rows[head_at][0]).get(10)?,
        hashes: all(&rows[hashes], |row| row.get(0))?,
        candidates: all(of(candidates), candidate)?,
        states: all(of(states), |row| row.standing(0))?,
        precedents: precedents(questions, of(taken), of(newest), of(counts))?,
        signatures: grouped(of(signatures), questions.signed.len(), |row| {
            row.signature(1)
        })?,
        denials: all(of(denials), denial)?,
        uses: grouped(of(uses), questions.uses.len(), |row| row.spent_use(1))?,
    })
}

fn all<T>(
    rows: &[Row],
    read: impl Fn(&Fields<'_>) -> Result<T, StoreFault>,
) -> Result<Vec<T>, StoreFault> {
    rows.iter()
        .map(|row| read(&Fields::new(DURING, row)))
        .collect()
}

/// Sorts rows into groups by the number (from 1) in their first column.
fn grouped<T>(
    rows: &[Row],
    count: usize,
    read: impl Fn(&Fields<'_>) -> Result<T, StoreFault>,
) -> Result<Vec<Vec<T>>, StoreFault> {
    let mut groups: Vec<Vec<T>> = (0..count).map(|_| Vec::new()).collect();
    for row in rows {
        let row = Fields::new(DURING, row);
        let group = usize::try_from(row.get::<u64>(0)?)
            .ok()
            .and_then(|number| groups.get_mut(number.checked_sub(1)?));
        group
            .ok_or_else(|| row.odd(0, "no number of a question"))?
            .push(read(&row)?);
    }
    Ok(groups)
}

fn candidate(row: &Fields<'_>) -> Result<Candidate, StoreFault> {
    let proposal = match row.get(3)? {
        Some(digest) => Some((AuthorizationDigest::from_bytes(digest), row.get(4)?)),
        None => None,
    };
    Ok(Candidate {
        spent: row.spent(0)?,
        denied: row.get(2)?,
        proposal,
    })
}

fn precedents(
    questions: &Questions<'_>,
    taken: &[Row],
    newest: &[Row],
    counts: &[Row],
) -> Result<Vec<ProposalPrecedent>, StoreFault> {
    let count = questions.new.len();
    let taken = grouped(taken, count, |row| row.proposal(1))?;
    let newest = grouped(newest, count, |row| row.proposal(1))?;
    let found = taken.into_iter().zip(newest).zip(counts);
    let one = |((mut taken, newest), counts): ((Vec<_>, Vec<_>), &Row)| {
        let counts = Fields::new(DURING, counts);
        Ok(ProposalPrecedent {
            taken: taken.pop(),
            newest,
            of_proposer: counts.get(1)?,
            of_all: counts.get(0)?,
            unsigned: counts.get(2)?,
            unsigned_first: counts.get(3)?,
        })
    };
    found.map(one).collect()
}

fn denial(row: &Fields<'_>) -> Result<DenialPrecedent, StoreFault> {
    let unfinished = match row.standing(2)? {
        Some(state) => Some((row.get(1)?, state)),
        None => None,
    };
    let ahead = DenialsAhead {
        of_approver: (row.get(5)?, row.get(6)?),
        of_all: (row.get(7)?, row.get(8)?),
    };
    Ok(DenialPrecedent {
        leaf: row.get(0)?,
        unfinished,
        ahead,
    })
}
