//! Reads of committed data, the same for both engines.

use std::ops::Range;

use crate::{
    Cell, CheckpointRow, ClosedKey, DURING_TILE, EngineStatements, EntryRow, EventFact, Fields,
    LEAVES, Leaf, NonceUse, OutputRow, OwedReview, PROPOSAL, PackedRow, Proposal, ProposalPage,
    ProposalQuery, RunQuery, SIGNATURES_OF, SPENT, Signature, SpentUse, StoreFault, StoreResult,
    StoredDenial, StoredEvent, StoredGrant, StoredReview, TILE, TOKENS, Token, ToldTarget,
    Unfinished,
    fields::{CREATED_MS, unplace},
    grant_bytes, id_bytes, payload_of,
    read_statements::{
        BLOB, CHECKPOINT_OVER, DENIALS_OF, DRAFTS, EVENTS_AFTER, GRANT, GRANT_OF, GRANTS_AFTER,
        JOB_OF, LAST_CHECKPOINT, LEAF, NEWEST_EVENT, OUTPUT, OUTPUT_ORDER, OWED, PAYLOAD, REFUSALS,
        REVIEWS_OF, REVOCATIONS, RUNS_OF_OUTPUT, SEALS_IN_ORDER, TARGETS_TOLD, WAITING_PROGRAMS,
    },
    stored::{OutputRun, SealEntry},
    tile_hashes, tile_id,
};
use documents::{
    AuthorizationDigest, Blake3Digest, BlobDigest, ContentDigest, GrantId, Hash, LeafKind, Name,
    Nonce, ParamsDigest, ProposalId, Timestamp,
};

/// Maximum number of rows that one page of a filtered list reads, so that a filter with few matches does not delay
/// other readers.
const MAX_SCAN: usize = 10_000;

/// Takes a row, and returns false if no more rows are needed.
pub type EachRow<'e> = &'e mut dyn FnMut(&Fields<'_>) -> StoreResult<bool>;

/// The reading connections of one engine.
pub trait Readers: Send + Sync {
    /// Returns the statements that this engine writes in its own way.
    fn statements(&self) -> &'static EngineStatements;

    /// Passes the rows of a statement to `each`.
    fn rows(
        &self,
        during: &'static str,
        sql: &str,
        values: &[Cell<'_>],
        each: EachRow<'_>,
    ) -> StoreResult;

    /// Returns the place of the first of these keys that has no row.
    fn without_row(&self, kind: ClosedKey, keys: &[Vec<u8>]) -> StoreResult<Option<usize>>;

    /// Returns the size of the database on the disk, in bytes.
    fn bytes(&self) -> StoreResult<u64>;

    /// Returns the number of rows that the first statement of a page reads. Each later statement reads four times as
    /// many rows as the one before. An engine that sends all rows of a statement at once begins with few rows, because
    /// most pages end after a few rows.
    fn first_scan(&self) -> usize;

    /// Returns the name of this node, if the engine has several nodes.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Fills in the bytes of packed entries. A database server compresses rows itself, so its store has no packed
    /// entries.
    fn unpack(&self, _: &'static str, entries: Vec<EntryRow>) -> StoreResult<Vec<EntryRow>> {
        Ok(entries)
    }

    /// Returns the next tile of log entries to pack, for an engine with packed entries.
    fn packable(&self, _until: Timestamp) -> StoreResult<Option<PackedRow>> {
        Ok(None)
    }
}

/// Reads committed data from any thread, without the writer.
///
/// Each call sees one committed state, which includes every batch that was answered before the call.
///
/// Every method returns a [`StoreFault`] if the database cannot be read.
pub struct StoreReads(Box<dyn Readers>);

impl StoreReads {
    pub(super) fn new(readers: impl Readers + 'static) -> Self {
        Self(Box::new(readers))
    }

    fn one<T>(
        &self,
        during: &'static str,
        sql: &str,
        values: &[Cell<'_>],
        read: impl Fn(&Fields<'_>) -> StoreResult<T>,
    ) -> StoreResult<Option<T>> {
        let mut found = None;
        self.0.rows(during, sql, values, &mut |row| {
            found = Some(read(row)?);
            Ok(false)
        })?;
        Ok(found)
    }

    fn all<T>(
        &self,
        during: &'static str,
        sql: &str,
        values: &[Cell<'_>],
        read: impl Fn(&Fields<'_>) -> StoreResult<T>,
    ) -> StoreResult<Vec<T>> {
        let mut found = Vec::new();
        self.0.rows(during, sql, values, &mut |row| {
            found.push(read(row)?);
            Ok(true)
        })?;
        Ok(found)
    }

    /// Returns the log entries of a statement that selects `idx`, `hash` and `data`.
    fn entries(
        &self,
        during: &'static str,
        sql: &str,
        values: &[Cell<'_>],
    ) -> StoreResult<Vec<EntryRow>> {
        let entries = self.all(during, sql, values, |row| row.entry(0))?;
        self.0.unpack(during, entries)
    }

    /// Returns one leaf.
    pub fn leaf(&self, index: u64) -> StoreResult<Option<Leaf>> {
        const DURING: &str = "reading a log entry";
        let found = self.one(DURING, LEAF, &cells![index], |row| {
            let kind = LeafKind::of_number(row.get(0)?);
            let kind = kind.ok_or_else(|| row.odd(0, "an unknown kind"))?;
            Ok((kind, row.get(1)?, row.entry(2)?))
        })?;
        let Some((kind, at, entry)) = found else {
            return Ok(None);
        };
        let entry = self.0.unpack(DURING, vec![entry])?.pop();
        Ok(entry.map(|EntryRow { hash, data, .. }| Leaf {
            kind,
            at,
            hash,
            data,
        }))
    }

    /// Returns the data of the leaves in `range`. Indexes past the end of the log are ignored.
    pub fn leaves(&self, range: Range<u64>) -> StoreResult<Vec<Vec<u8>>> {
        let values = cells![range.start, range.end];
        let entries = self.entries("reading log entries", LEAVES, &values)?;
        Ok(entries.into_iter().map(|entry| entry.data).collect())
    }

    /// Returns the next tile of log entries to pack if none of them is dated after `until`. A database server
    /// compresses rows itself, so its store has no such tile.
    pub fn packable(&self, until: Timestamp) -> StoreResult<Option<PackedRow>> {
        self.0.packable(until)
    }

    /// Returns the 256 hashes of a complete tile.
    pub fn tile(&self, level: u8, index: u64) -> StoreResult<Option<Vec<Hash>>> {
        let id = tile_id(level, index);
        self.one(DURING_TILE, TILE, &cells![id], |row| tile_hashes(row, id))
    }

    /// Returns the bytes of a blob.
    pub fn blob(&self, digest: &BlobDigest) -> StoreResult<Option<Vec<u8>>> {
        self.one("reading a blob", BLOB, &cells![digest], |row| row.get(0))
    }

    /// Returns the refusals dated at or after `since`, the newest first. The search covers the last `most` entries of
    /// the log.
    pub fn refusals(&self, since: Timestamp, most: usize) -> StoreResult<Vec<Vec<u8>>> {
        let entries = self.entries("reading refusals", REFUSALS, &cells![since, most])?;
        Ok(entries.into_iter().map(|entry| entry.data).collect())
    }

    /// Returns all seals in their order in the log.
    pub fn seals(&self) -> StoreResult<Vec<SealEntry>> {
        self.all("reading seals", SEALS_IN_ORDER, &[], |row| {
            Ok(SealEntry {
                index: row.get(0)?,
                digest: row.get(1)?,
            })
        })
    }

    /// Returns the largest recorded checkpoint.
    pub fn checkpoint(&self) -> StoreResult<Option<CheckpointRow>> {
        self.one("reading a checkpoint", LAST_CHECKPOINT, &[], |row| {
            row.checkpoint()
        })
    }

    /// Returns the smallest recorded checkpoint that covers the entry `index`.
    pub fn checkpoint_over(&self, index: u64) -> StoreResult<Option<CheckpointRow>> {
        let index = cells![index];
        self.one("reading a checkpoint", CHECKPOINT_OVER, &index, |row| {
            row.checkpoint()
        })
    }

    /// Returns a proposal.
    pub fn proposal(&self, id: &ProposalId) -> StoreResult<Option<Proposal>> {
        self.one("reading a proposal", PROPOSAL, &cells![id], |row| {
            row.proposal(0)
        })
    }

    /// Returns a page of proposals, the newest first.
    pub fn proposals(&self, filter: &ProposalQuery) -> StoreResult<ProposalPage> {
        let (source, name) = filter.source();
        let sql = self.0.statements().pages[source as usize];
        let mut page = ProposalPage {
            proposals: Vec::new(),
            next: None,
        };
        let mut before = filter
            .before
            .as_ref()
            .map_or((i64::MAX.unsigned_abs(), [0xff; 16]), |(at, id)| {
                (*at, id_bytes(id))
            });
        let (mut scanned, mut count) = (0, self.0.first_scan().max(filter.limit + 1));
        loop {
            let (mut seen, mut is_full) = (0, false);
            let bounds = cells![before.0, &before.1, count, name.unwrap_or_default()];
            let values = &bounds[..if name.is_some() { 4 } else { 3 }];
            let mut last = None;
            self.0.rows("listing proposals", sql, values, &mut |row| {
                if page.proposals.len() >= filter.limit || scanned == MAX_SCAN {
                    is_full = true;
                    return Ok(false);
                }
                scanned += 1;
                seen += 1;
                // Read the id first, because a search by the last characters skips nearly all rows.
                let id = row.get(0)?;
                let named = filter
                    .ending
                    .as_ref()
                    .is_none_or(|ending| ending.is_of(&id));
                last = Some((row.get(CREATED_MS)?, id));
                if named
                    && let found = row.proposal(0)?
                    && filter.wants(&found)
                {
                    page.proposals.push(found);
                }
                Ok(true)
            })?;
            if let Some((at, id)) = &last {
                before = (*at, id_bytes(id));
            }
            page.next = last.or(page.next);
            if is_full {
                return Ok(page);
            }
            if seen < count {
                page.next = None;
                return Ok(page);
            }
            count *= 4;
        }
    }

    /// Returns finished runs by their outcome, the newest first. The time of this search does not depend on other runs.
    pub fn runs(&self, query: &RunQuery) -> StoreResult<Vec<Proposal>> {
        let sql = self.0.statements().runs[query.outcome as usize];
        let params = query.params.as_ref().map(ParamsDigest::as_bytes);
        let values = cells![
            query.step.as_str(),
            query.ended.0,
            query.ended.1,
            params.map_or(&[][..], |digest| digest),
            query.proposer.as_ref().map_or("", Name::as_str),
            query.limit,
            query.skip
        ];
        self.all("looking for runs of a step", sql, &values, |row| {
            row.proposal(0)
        })
    }

    /// Returns the payload that approvers sign for a proposal. The status of the proposal decides which document
    /// contains the payload.
    pub fn payload(&self, id: &ProposalId) -> StoreResult<Option<Vec<u8>>> {
        const DURING: &str = "reading a payload";
        let found = self.one(DURING, PAYLOAD, &cells![id], |row| {
            let index = row.get::<Option<i64>>(1)?;
            let entry = index.map(|_| row.entry(1)).transpose()?;
            Ok((row.get::<Option<Vec<u8>>>(0)?, entry))
        })?;
        let Some((payload, entry)) = found else {
            return Ok(None);
        };
        let entry = self.0.unpack(DURING, entry.into_iter().collect())?.pop();
        match (payload, entry) {
            (None, Some(entry)) => payload_of(&entry.data).map(Some).map_err(|error| {
                StoreFault::broken(DURING, format!("the payload of {id}: {error}"))
            }),
            (payload, _) => Ok(payload),
        }
    }

    /// Returns the signatures of a proposal in their order of arrival.
    pub fn signatures(&self, id: &ProposalId) -> StoreResult<Vec<Signature>> {
        self.all("reading signatures", SIGNATURES_OF, &cells![id], |row| {
            row.signature(0)
        })
    }

    /// Returns the denials of an authorization.
    pub fn denials(&self, authorization: &AuthorizationDigest) -> StoreResult<Vec<StoredDenial>> {
        self.all(
            "reading denials",
            DENIALS_OF,
            &cells![authorization],
            |row| {
                Ok(StoredDenial {
                    approver: row.text(0)?,
                    leaf: row.get(1)?,
                    at: row.get(2)?,
                })
            },
        )
    }

    /// Returns the log entries that are revocations, each with its index, in the order of the log.
    pub fn revocations(&self) -> StoreResult<Vec<(u64, Vec<u8>)>> {
        let entries = self.entries("reading revocations", REVOCATIONS, &[])?;
        let entries = entries.into_iter().map(|entry| (entry.index, entry.data));
        Ok(entries.collect())
    }

    /// Returns the grant with this id.
    pub fn grant(&self, id: &GrantId) -> StoreResult<Option<StoredGrant>> {
        let id = grant_bytes(id);
        self.one("reading a grant", GRANT, &cells![&id], |row| row.grant())
    }

    /// Returns the grant with this digest.
    pub fn grant_of(&self, digest: &ContentDigest) -> StoreResult<Option<StoredGrant>> {
        self.one("reading a grant", GRANT_OF, &cells![digest], |row| {
            row.grant()
        })
    }

    /// Returns at most `limit` grants and drafts that end after `now`, in the order of their ends.
    pub fn grants(&self, now: Timestamp, limit: usize) -> StoreResult<Vec<StoredGrant>> {
        let values = cells![now, limit];
        self.all("reading grants", GRANTS_AFTER, &values, |row| row.grant())
    }

    /// Returns the numbers of drafts that end after `now`: those of the proposer, and all.
    pub fn grant_drafts(&self, now: Timestamp, proposer: &Name) -> StoreResult<(u64, u64)> {
        let values = cells![now, proposer];
        let found = self.one("counting drafts of grants", DRAFTS, &values, |row| {
            row.pair()
        })?;
        Ok(found.unwrap_or((0, 0)))
    }

    /// Returns at most `limit` uses of a grant, the newest first.
    pub fn grant_uses(&self, digest: &ContentDigest, limit: usize) -> StoreResult<Vec<SpentUse>> {
        let (sql, values) = (self.0.statements().uses, cells![digest, limit]);
        self.all("reading uses of a grant", sql, &values, |row| {
            row.spent_use(0)
        })
    }

    /// Returns which reviews a run needs or needed, or `None` if the run never needed a review.
    pub fn owed(&self, id: &ProposalId) -> StoreResult<Option<OwedReview>> {
        self.one("reading what needs a review", OWED, &cells![id], |row| {
            row.owed()
        })
    }

    /// Returns at most `limit` runs: first the open emergencies, then the unsettled runs, both with the newest run
    /// first.
    pub fn owed_open(&self, limit: usize) -> StoreResult<Vec<OwedReview>> {
        let sql = self.0.statements().owed_open;
        self.all("reading what needs a review", sql, &cells![limit], |row| {
            row.owed()
        })
    }

    /// Returns the reviews of the receipt with this leaf index, in the order of the log.
    pub fn reviews_of(&self, receipt: u64) -> StoreResult<Vec<StoredReview>> {
        self.all("reading reviews", REVIEWS_OF, &cells![receipt], |row| {
            row.review()
        })
    }

    /// Returns at most `limit` events with numbers above `after`, in their order.
    pub fn events(&self, after: u64, limit: usize) -> StoreResult<Vec<StoredEvent>> {
        let values = cells![after, limit];
        self.all("reading events", EVENTS_AFTER, &values, |row| {
            let proposal: Option<_> = row.get(3)?;
            let proposed = match proposal {
                None => None,
                Some(_) => Some((row.text(4)?, row.text(5)?)),
            };
            let what = EventFact::of_row(row.get(2)?, proposal, row.get(6)?, row.get(7)?);
            Ok(StoredEvent {
                seq: row.get(0)?,
                at: row.get(1)?,
                what: what.ok_or_else(|| row.odd(2, "an unknown kind"))?,
                proposed,
            })
        })
    }

    /// Returns the number of the newest event, or 0 if there is none.
    pub fn newest_event(&self) -> StoreResult<u64> {
        let found = self.one("reading events", NEWEST_EVENT, &[], |row| row.get(0))?;
        Ok(found.unwrap_or(0))
    }

    /// Returns the last event that each target of messages got.
    pub fn told(&self) -> StoreResult<Vec<ToldTarget>> {
        self.all("reading targets of messages", TARGETS_TOLD, &[], |row| {
            Ok(ToldTarget {
                name: row.text(0)?,
                seq: row.get(1)?,
                given_up: row.get(2)?,
            })
        })
    }

    /// Returns the consumption that spent a nonce.
    pub fn spent(&self, nonce: &Nonce) -> StoreResult<Option<NonceUse>> {
        let nonce = nonce.to_bytes();
        let found = self.one("looking for a nonce", SPENT, &cells![&nonce[..]], |row| {
            row.spent(0)
        })?;
        Ok(found.flatten())
    }

    /// Returns the place of the first of these keys that has no row.
    pub fn without_row(&self, kind: ClosedKey, keys: &[Vec<u8>]) -> StoreResult<Option<usize>> {
        self.0.without_row(kind, keys)
    }

    /// Returns the runs that have a consumption and no receipt, in the order of consumption.
    pub fn unfinished(&self) -> StoreResult<Vec<Unfinished>> {
        let sql = self.0.statements().unfinished;
        let node: Vec<_> = self.0.node().map(Cell::from).into_iter().collect();
        self.all("reading the runs without a receipt", sql, &node, |row| {
            let (index, item) = unplace(row.get(0)?);
            Ok(Unfinished {
                proposal: row.get(1)?,
                index,
                item,
                own: row.get(2)?,
                over: row.get(3)?,
            })
        })
    }

    /// Returns the list of programs of a proposal that waits, if its payload names one.
    pub fn waiting_programs(&self, id: &ProposalId) -> StoreResult<Option<Vec<u8>>> {
        let id = cells![id];
        let found = self.one("reading a list of programs", WAITING_PROGRAMS, &id, |row| {
            row.get::<Option<Vec<u8>>>(0)
        });
        Ok(found?.flatten())
    }

    /// Returns a recorded output.
    pub fn output(&self, name: &Blake3Digest) -> StoreResult<Option<OutputRow>> {
        self.one("reading an output", OUTPUT, &cells![name], |row| {
            Ok(OutputRow {
                name: *name,
                bytes: row.get(0)?,
                data: row.get(1)?,
            })
        })
    }

    /// Returns at most `limit` runs that recorded this output.
    pub fn runs_with_output(
        &self,
        name: &Blake3Digest,
        before: Option<&ProposalId>,
        limit: usize,
    ) -> StoreResult<Vec<OutputRun>> {
        let before = before.map_or([0xff; 16], id_bytes);
        let values = cells![name, &before, limit];
        self.all(
            "reading the runs of an output",
            RUNS_OF_OUTPUT,
            &values,
            |row| {
                Ok(OutputRun {
                    proposal: row.get(0)?,
                    proposer: row.text(1)?,
                    step: row.text(2)?,
                })
            },
        )
    }

    /// Returns the order in which a run wrote to stdout and stderr.
    pub fn output_order(&self, id: &ProposalId) -> StoreResult<Option<Vec<u8>>> {
        self.one(
            "reading an output's order",
            OUTPUT_ORDER,
            &cells![id],
            |row| row.get(0),
        )
    }

    /// Returns all tokens by name, including revoked and expired tokens.
    pub fn tokens(&self) -> StoreResult<Vec<Token>> {
        self.all("reading tokens", TOKENS, &[], |row| row.token())
    }

    /// Returns what the boundary says about the job that made a proposal.
    pub fn admitted(&self, id: &ProposalId) -> StoreResult<Option<String>> {
        self.one(
            "reading the job of a proposal",
            JOB_OF,
            &cells![id],
            |row| row.get(0),
        )
    }

    /// Returns the size of the database on the disk, in bytes.
    pub fn bytes(&self) -> StoreResult<u64> {
        self.0.bytes()
    }
}
