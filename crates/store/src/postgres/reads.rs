//! Connections that only read, beside the connection of the writer.

use std::ops::Range;

use tokio_postgres::Row;

use crate::{
    ClosedKey, StoreReads,
    column_values::{grant_bytes, tile_id, unplace},
    fault::StoreFault,
    postgres::{
        columns::{Fields, id_value, limit as at_most, signed},
        link::{Flight, Link, Value},
        pool::Pool,
        questions::{EXCLUSIVE, HEAD, head},
        read_statements::{
            CHECKPOINT_OVER, DENIAL_WITHOUT_ROW, DENIALS_OF, DRAFTS, EVENTS_AFTER, GRANT, GRANT_OF,
            GRANTS_AFTER, JOB_OF, LAST_CHECKPOINT, LEAF, LEAF_DATA, NEWEST_EVENT,
            NONCE_WITHOUT_ROW, OUTPUT, OUTPUT_ORDER, OWED, OWED_OPEN, PAGES, PAYLOAD,
            PAYLOAD_WITHOUT_ROW, REFUSALS, REVIEWS_OF, REVOCATIONS, RUNS, RUNS_OF_OUTPUT,
            SEALS_IN_ORDER, SIGNATURES_OF, SIZE, SPENT, TARGETS_TOLD, TILE, TOKEN, TOKEN_BINDINGS,
            TOKENS, UNFINISHED, USES_OF,
        },
        schema,
        settings::ServerSettings,
    },
    rows::{CheckpointRow, StoreHead},
    stored_denial::StoredDenial,
    stored_event::{EventFact, StoredEvent, ToldTarget},
    stored_grant::{SpentUse, StoredGrant},
    stored_leaf::Leaf,
    stored_proposal::{PayloadSource, Proposal, ProposalPage, ProposalQuery, RunQuery, Signature},
    stored_review::{OwedReview, StoredReview},
    stored_run::{NonceUse, OutputRow, OutputRun, Unfinished},
    stored_seal::SealEntry,
    stored_token::{Token, TokenBindings},
};
use documents::{
    AuthorizationDigest, Blake3Digest, BlobDigest, ContentDigest, GrantId, Hash, LeafHash,
    LeafKind, Name, Nonce, ProposalId, SealDigest, Timestamp,
};

/// Maximum number of reading connections.
const READERS: usize = 4;
/// Maximum number of rows that one page of a filtered list reads.
const MAX_SCAN: usize = 10_000;
/// Number of rows that the first query of a page reads. Each later query reads four times as many.
const FIRST_SCAN: usize = 64;
/// Maximum number of keys in one query for missing rows.
const KEYS: usize = 10_000;
/// Options of a reading session.
const OPTIONS: &str = "-c statement_timeout=30000 -c client_encoding=UTF8 \
    -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_bitmapscan=off -c jit=off";

/// The reading connections.
pub struct PostgresReads(Pool);

/// Opens a store without a writer, and returns the state of the store.
///
/// # Errors
/// Returns a fault if the database cannot be reached or has another schema.
pub fn at_rest(settings: ServerSettings) -> Result<(PostgresReads, StoreHead), StoreFault> {
    const DURING: &str = "reading the state of the boundary";
    let reads = PostgresReads::new(settings.clone());
    let head = reads.0.with(|link| {
        schema::check(link, &settings)?;
        let mut flight = Flight::default();
        flight.add(HEAD, values![]);
        flight.add(EXCLUSIVE, values![]);
        let rows = link.rows(DURING, &flight)?;
        head(&rows[0], &rows[1]).map(|(head, _)| head)
    })?;
    Ok((reads, head))
}

impl PostgresReads {
    pub(super) fn new(settings: ServerSettings) -> Self {
        Self(Pool::of_readers(settings, OPTIONS, READERS))
    }

    /// Reads a schema that no service can use yet, because a move or a restore has not copied all rows.
    pub(super) fn of_copy(settings: ServerSettings) -> Self {
        let mut reads = Self::new(settings);
        reads.0.of_copy = true;
        reads
    }

    fn one<T>(
        &self,
        during: &'static str,
        sql: &str,
        values: impl Fn() -> Vec<Value<'static>>,
        read: impl Fn(&Fields<'_>) -> Result<T, StoreFault>,
    ) -> Result<Option<T>, StoreFault> {
        Ok(self.all(during, sql, values, read)?.into_iter().next())
    }

    fn all<T>(
        &self,
        during: &'static str,
        sql: &str,
        values: impl Fn() -> Vec<Value<'static>>,
        read: impl Fn(&Fields<'_>) -> Result<T, StoreFault>,
    ) -> Result<Vec<T>, StoreFault> {
        let rows = self.0.with(|link| link.query(during, sql, values()))?;
        rows.iter()
            .map(|row| read(&Fields::new(during, row)))
            .collect()
    }
}

/// Reads a complete tile.
pub(super) fn tile(link: &Link, id: i64) -> Result<Option<Vec<Hash>>, StoreFault> {
    const DURING: &str = "reading a hash tile";
    let rows = link.query(DURING, TILE, values![id])?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let hashes = Fields::new(DURING, row).hashes(0)?;
    if hashes.len() == 256 {
        Ok(Some(hashes))
    } else {
        Err(StoreFault::broken(DURING, format!("tile {id:#x} is cut")))
    }
}

fn checkpoint(row: &Fields<'_>) -> Result<CheckpointRow, StoreFault> {
    Ok(CheckpointRow {
        size: row.number(0)?,
        root: row.bytes(1)?,
        note: row.get(2)?,
    })
}

impl StoreReads for PostgresReads {
    fn leaf(&self, index: u64) -> Result<Option<Leaf>, StoreFault> {
        self.one(
            "reading a log entry",
            LEAF,
            || values![signed(index)],
            |row| {
                let kind = u8::try_from(row.get::<i16>(0)?)
                    .ok()
                    .and_then(LeafKind::of_number);
                Ok(Leaf {
                    kind: kind.ok_or_else(|| row.odd(0, "an unknown kind"))?,
                    at: row.time(1)?,
                    hash: row.bytes(2)?,
                    data: row.get(3)?,
                })
            },
        )
    }

    fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreFault> {
        let bounds = || values![signed(range.start), signed(range.end)];
        self.all("reading log entries", LEAF_DATA, bounds, |row| row.get(0))
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, StoreFault> {
        self.0.with(|link| tile(link, tile_id(level, index)))
    }

    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, StoreFault> {
        let sql = "SELECT data FROM blob WHERE digest = $1";
        self.one(
            "reading a blob",
            sql,
            || values![digest.as_bytes().to_vec()],
            |row| row.get(0),
        )
    }

    fn refusals(&self, since: Timestamp, most: usize) -> Result<Vec<Vec<u8>>, StoreFault> {
        let bounds = || values![since.unix(), at_most(most), LeafKind::Refusal as i16];
        self.all("reading refusals", REFUSALS, bounds, |row| row.get(0))
    }

    fn seals(&self) -> Result<Vec<SealEntry>, StoreFault> {
        self.all("reading seals", SEALS_IN_ORDER, Vec::new, |row| {
            Ok(SealEntry {
                index: row.number(0)?,
                digest: SealDigest::from_bytes(row.bytes(1)?),
            })
        })
    }

    fn checkpoint(&self) -> Result<Option<CheckpointRow>, StoreFault> {
        self.one(
            "reading a checkpoint",
            LAST_CHECKPOINT,
            Vec::new,
            checkpoint,
        )
    }

    fn checkpoint_over(&self, index: u64) -> Result<Option<CheckpointRow>, StoreFault> {
        self.one(
            "reading a checkpoint",
            CHECKPOINT_OVER,
            || values![signed(index)],
            checkpoint,
        )
    }

    fn proposal(&self, id: &ProposalId) -> Result<Option<Proposal>, StoreFault> {
        const SQL: &str = concat!(
            "SELECT ",
            proposal_columns!(),
            " FROM proposal p WHERE p.id = $1"
        );
        self.one(
            "reading a proposal",
            SQL,
            || values![id_value(id)],
            |row| row.proposal(0),
        )
    }

    fn proposals(&self, filter: &ProposalQuery) -> Result<ProposalPage, StoreFault> {
        const DURING: &str = "listing proposals";
        let (source, name) = filter.source();
        let sql = PAGES[source as usize];
        let mut page = ProposalPage {
            proposals: Vec::new(),
            next: None,
        };
        let mut before = filter
            .before
            .as_ref()
            .map_or_else(|| vec![0xff; 16], id_value);
        let (mut scanned, mut count) = (0, FIRST_SCAN.max(filter.limit + 1));
        // The rows are read in parts, because most pages end after a few rows.
        loop {
            let rows: Vec<Row> = self.0.with(|link| {
                let mut values = values![before.clone(), at_most(count)];
                if let Some(name) = name {
                    values.push(Box::new(name.to_owned()));
                }
                link.query(DURING, sql, values)
            })?;
            for row in &rows {
                if page.proposals.len() >= filter.limit || scanned == MAX_SCAN {
                    return Ok(page);
                }
                scanned += 1;
                let row = Fields::new(DURING, row);
                let id = row.proposal_id(0)?;
                let named = filter
                    .ending
                    .as_ref()
                    .is_none_or(|ending| ending.is_of(&id));
                before = id_value(&id);
                page.next = Some(id);
                // A search by the last characters of the id skips nearly all rows.
                if named
                    && let found = row.proposal(0)?
                    && filter.wants(&found)
                {
                    page.proposals.push(found);
                }
            }
            if rows.len() < count {
                page.next = None;
                return Ok(page);
            }
            count *= 4;
        }
    }

    fn runs(&self, query: &RunQuery) -> Result<Vec<Proposal>, StoreFault> {
        let values = || {
            values![
                query.step.as_str().to_owned(),
                query.ended.0.unix(),
                query.ended.1.unix(),
                query
                    .params
                    .as_ref()
                    .map(|digest| digest.as_bytes().to_vec()),
                query.proposer.as_ref().map(|name| name.as_str().to_owned()),
                at_most(query.limit),
                at_most(query.skip)
            ]
        };
        self.all(
            "looking for runs of a step",
            RUNS[query.outcome as usize],
            values,
            |row| row.proposal(0),
        )
    }

    fn payload(&self, id: &ProposalId) -> Result<Option<PayloadSource>, StoreFault> {
        // One statement reads one consistent state. Between two statements, a change of the status could move the
        // payload to another table.
        let found = self.one(
            "reading a payload",
            PAYLOAD,
            || values![id_value(id)],
            |row| Ok(PayloadSource::of(row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        Ok(found.flatten())
    }

    fn signatures(&self, id: &ProposalId) -> Result<Vec<Signature>, StoreFault> {
        self.all(
            "reading signatures",
            SIGNATURES_OF,
            || values![id_value(id)],
            |row| row.signature(0),
        )
    }

    fn denials(
        &self,
        authorization: &AuthorizationDigest,
    ) -> Result<Vec<StoredDenial>, StoreFault> {
        let digest = || values![authorization.as_bytes().to_vec()];
        self.all("reading denials", DENIALS_OF, digest, |row| {
            Ok(StoredDenial {
                approver: row.text(0)?,
                leaf: row.number(1)?,
                at: row.time(2)?,
            })
        })
    }

    fn revocations(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreFault> {
        self.all("reading revocations", REVOCATIONS, Vec::new, |row| {
            Ok((row.number(0)?, row.get(1)?))
        })
    }

    fn grant(&self, id: &GrantId) -> Result<Option<StoredGrant>, StoreFault> {
        self.one(
            "reading a grant",
            GRANT,
            || values![grant_bytes(id).to_vec()],
            |row| row.grant(),
        )
    }

    fn grant_of(&self, digest: &ContentDigest) -> Result<Option<StoredGrant>, StoreFault> {
        self.one(
            "reading a grant",
            GRANT_OF,
            || values![digest.as_bytes().to_vec()],
            |row| row.grant(),
        )
    }

    fn grants(&self, now: Timestamp, limit: usize) -> Result<Vec<StoredGrant>, StoreFault> {
        self.all(
            "reading grants",
            GRANTS_AFTER,
            || values![now.unix(), at_most(limit)],
            |row| row.grant(),
        )
    }

    fn grant_drafts(&self, now: Timestamp, proposer: &Name) -> Result<(u64, u64), StoreFault> {
        let values = || values![now.unix(), proposer.to_string()];
        let found = self.one("counting drafts of grants", DRAFTS, values, |row| {
            Ok((row.number(0)?, row.number(1)?))
        })?;
        Ok(found.unwrap_or((0, 0)))
    }

    fn grant_uses(
        &self,
        digest: &ContentDigest,
        limit: usize,
    ) -> Result<Vec<SpentUse>, StoreFault> {
        let values = || values![digest.as_bytes().to_vec(), at_most(limit)];
        self.all("reading uses of a grant", USES_OF, values, |row| {
            Ok(SpentUse {
                number: row.number(0)?,
                at: row.time(1)?,
                paused: row.get(2)?,
            })
        })
    }

    fn owed(&self, id: &ProposalId) -> Result<Option<OwedReview>, StoreFault> {
        self.one(
            "reading what needs a review",
            OWED,
            || values![id_value(id)],
            |row| row.owed(),
        )
    }

    fn owed_open(&self, limit: usize) -> Result<Vec<OwedReview>, StoreFault> {
        self.all(
            "reading what needs a review",
            OWED_OPEN,
            || values![at_most(limit)],
            |row| row.owed(),
        )
    }

    fn reviews_of(&self, receipt: u64) -> Result<Vec<StoredReview>, StoreFault> {
        self.all(
            "reading reviews",
            REVIEWS_OF,
            || values![signed(receipt)],
            |row| row.review(),
        )
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreFault> {
        self.all(
            "reading events",
            EVENTS_AFTER,
            || values![signed(after), at_most(limit)],
            |row| {
                let proposal = match row.get::<Option<&[u8]>>(3)? {
                    None => None,
                    Some(_) => Some((row.proposal_id(3)?, row.text(4)?, row.text(5)?)),
                };
                let kind = u8::try_from(row.get::<i16>(2)?).ok();
                let what = EventFact::of_row(
                    kind.unwrap_or(u8::MAX),
                    proposal,
                    row.number_if(6)?,
                    row.get(7)?,
                );
                let what = what.ok_or_else(|| row.odd(2, "an unknown kind"))?;
                Ok(StoredEvent {
                    seq: row.number(0)?,
                    at: row.time(1)?,
                    what,
                })
            },
        )
    }

    fn newest_event(&self) -> Result<u64, StoreFault> {
        self.one("reading events", NEWEST_EVENT, Vec::new, |row| {
            row.number(0)
        })
        .map(Option::unwrap_or_default)
    }

    fn told(&self) -> Result<Vec<ToldTarget>, StoreFault> {
        self.all(
            "reading targets of messages",
            TARGETS_TOLD,
            Vec::new,
            |row| {
                Ok(ToldTarget {
                    name: row.text(0)?,
                    seq: row.number(1)?,
                    given_up: row.number(2)?,
                })
            },
        )
    }

    fn spent(&self, nonce: &Nonce) -> Result<Option<NonceUse>, StoreFault> {
        let values = || values![nonce.to_bytes().to_vec()];
        self.one("looking for a nonce", SPENT, values, |row| row.spent(0))
            .map(Option::flatten)
    }

    fn without_row(&self, kind: ClosedKey, keys: &[Vec<u8>]) -> Result<Option<usize>, StoreFault> {
        const DURING: &str = "looking for rows of spent nonces and denials";
        let sql = match kind {
            ClosedKey::Nonce => NONCE_WITHOUT_ROW,
            ClosedKey::Denial => DENIAL_WITHOUT_ROW,
            ClosedKey::Payload => PAYLOAD_WITHOUT_ROW,
        };
        for (number, chunk) in keys.chunks(KEYS).enumerate() {
            let found: Option<i64> =
                self.one(DURING, sql, || values![chunk.to_vec()], |row| row.get(0))?;
            if let Some(found) = found.and_then(|found| usize::try_from(found).ok()) {
                return Ok(Some(number * KEYS + found));
            }
        }
        Ok(None)
    }

    fn unfinished(&self) -> Result<Vec<Unfinished>, StoreFault> {
        let node = self.0.settings.node.to_string();
        self.all(
            "reading the runs without a receipt",
            UNFINISHED,
            || values![node.clone()],
            |row| {
                let (index, item) = unplace(row.get(0)?);
                Ok(Unfinished {
                    proposal: row.proposal_id(1)?,
                    index,
                    item,
                    leaf: LeafHash::from_bytes(row.bytes(2)?),
                    at: row.time(3)?,
                    seal: SealDigest::from_bytes(row.bytes(4)?),
                    envelope: row.get(5)?,
                    decision: row.get(6)?,
                    own: row.get(7)?,
                    over: row.get(8)?,
                })
            },
        )
    }

    fn output(&self, name: &Blake3Digest) -> Result<Option<OutputRow>, StoreFault> {
        self.one(
            "reading an output",
            OUTPUT,
            || values![name.as_bytes().to_vec()],
            |row| {
                Ok(OutputRow {
                    name: *name,
                    bytes: row.number(0)?,
                    data: row.get(1)?,
                })
            },
        )
    }

    fn runs_with_output(
        &self,
        name: &Blake3Digest,
        before: Option<&ProposalId>,
        limit: usize,
    ) -> Result<Vec<OutputRun>, StoreFault> {
        let before = before.map_or_else(|| vec![0xff; 16], id_value);
        let values = || values![name.as_bytes().to_vec(), before.clone(), at_most(limit)];
        self.all(
            "reading the runs of an output",
            RUNS_OF_OUTPUT,
            values,
            |row| {
                Ok(OutputRun {
                    proposal: row.proposal_id(0)?,
                    proposer: row.text(1)?,
                    step: row.text(2)?,
                })
            },
        )
    }

    fn output_order(&self, id: &ProposalId) -> Result<Option<Vec<u8>>, StoreFault> {
        self.one(
            "reading an output's order",
            OUTPUT_ORDER,
            || values![id_value(id)],
            |row| row.get(0),
        )
    }

    fn tokens(&self) -> Result<Vec<Token>, StoreFault> {
        self.all("reading tokens", TOKENS, Vec::new, |row| row.token())
    }

    fn bindings(&self) -> Result<TokenBindings, StoreFault> {
        self.all("reading tokens", TOKEN_BINDINGS, Vec::new, |row| {
            Ok((row.text(0)?, row.json(1)?))
        })
    }

    fn admitted(&self, id: &ProposalId) -> Result<Option<String>, StoreFault> {
        self.one(
            "reading the job of a proposal",
            JOB_OF,
            || values![id_value(id)],
            |row| row.get(0),
        )
    }

    fn token(&self, secret: &[u8; 32]) -> Result<Option<Token>, StoreFault> {
        self.one(
            "reading a token",
            TOKEN,
            || values![secret.to_vec()],
            |row| row.token(),
        )
    }

    fn bytes(&self) -> Result<u64, StoreFault> {
        let schema = || values![self.0.settings.schema.clone()];
        Ok(self
            .one("reading the size", SIZE, schema, |row| row.number(0))?
            .unwrap_or_default())
    }
}
