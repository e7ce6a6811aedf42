//! The first flight of a batch: begins the transaction, takes the lock, and reads all that the writer needs for its
//! decisions.

use tokio_postgres::Row;

use crate::{
    Answers, Cell, Fields, FromCell as _, Link, Questions, StoreFault, StoreHead, StoreResult,
    batch_questions,
    postgres::statements::{arrays, signed},
};

use documents::{Hash, ProposalId, Timestamp};

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
}

/// The answers to the first flight, before the store compares them with its own last batch.
pub struct Begun {
    pub head: StoreHead,
    pub last: LastBatch,
    pub server_clock: Timestamp,
    /// Hashes of the leaves that the writer does not know.
    pub hashes: Vec<Hash>,
    pub answers: Answers,
}

/// The row of the last batch.
#[derive(Clone, Default)]
pub struct LastBatch {
    pub number: i64,
    pub id: Option<Vec<u8>>,
    /// Term in the state of the boundary, which each takeover raises.
    pub term: i64,
    /// True if a commit waits for a synchronous replica.
    pub has_replicas: bool,
    /// A lost node whose kept head was not compared with the log.
    pub lost: Option<String>,
}

/// Reads the state of the boundary outside of a batch.
pub fn read_head(link: &Link) -> StoreResult<(StoreHead, LastBatch)> {
    let flight = [(HEAD, values![]), (EXCLUSIVE, values![])];
    let rows = link.rows("reading the state of the boundary", &flight)?;
    head(&rows[0], &rows[1])
}

/// Reads a row of [`HEAD`] and the rows of [`EXCLUSIVE`].
fn head(rows: &[Row], exclusive: &[Row]) -> StoreResult<(StoreHead, LastBatch)> {
    let Some(first) = rows.first() else {
        return Err(StoreFault::broken(DURING, "the table `state` has no row"));
    };
    let row = Fields::new(DURING, first);
    let ids = first.try_get::<_, Vec<&[u8]>>(13);
    let ids = ids.map_err(|error| row.odd(13, &error.to_string()))?;
    let emergency =
        |id: &[u8]| ProposalId::from_cell(Cell::from(id)).map_err(|why| row.odd(13, why));
    let names = exclusive.iter().map(|row| Fields::new(DURING, row).pair());
    let head = StoreHead {
        size: row.get::<Option<u64>>(5)?.map_or(0, |last| last + 1),
        last_at: row.get::<Option<_>>(6)?.unwrap_or(Timestamp::from_unix(0)),
        version: row.get(2)?,
        mark: row.get(3)?,
        boundary: row.get(0)?,
        seal: row.get(1)?,
        exclusive: names.collect::<StoreResult<_>>()?,
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
pub fn begin(link: &Link, key: i64, size: u64, questions: &Questions<'_>) -> StoreResult<Begun> {
    let asked = batch_questions::of(questions);
    let kinds = asked.iter().enumerate();
    let kinds = kinds.filter(|(_, rows)| !rows.cells.is_empty());
    let mut flight = vec![
        (BEGIN, values![]),
        (LOCK, values![key]),
        (HEAD, values![]),
        (EXCLUSIVE, values![]),
        (HASHES, values![signed(size)]),
    ];
    for (_, rows) in kinds.clone() {
        flight.push((rows.statement.postgres, arrays(&rows.cells, rows.width)));
    }
    let rows = link.rows(DURING, &flight)?;
    let mut answers = Answers::none(questions);
    for ((kind, _), rows) in kinds.zip(&rows[5..]) {
        for row in rows {
            answers.add(kind, 0, &Fields::new(DURING, row))?;
        }
    }
    let (head, last) = head(&rows[2], &rows[3])?;
    let hashes = rows[4].iter().map(|row| Fields::new(DURING, row).get(0));
    Ok(Begun {
        head,
        last,
        server_clock: Fields::new(DURING, &rows[2][0]).get(10)?,
        hashes: hashes.collect::<Result<_, _>>()?,
        answers,
    })
}
