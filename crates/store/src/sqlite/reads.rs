//! Read-only connections, which work in parallel with the writer.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use rusqlite::{Connection, Row, params};

use crate::{
    ClosedKey, StoreReads,
    column_values::{grant_bytes, id_bytes, unplace},
    fault::StoreFault,
    rows::{CheckpointRow, PackedRow, StoreHead},
    sqlite::{
        columns::{
            GRANT, OWED, PROPOSAL, REVIEW, SPENT, TOKEN, all, from_json, grant, odd, one, owed,
            proposal, proposal_id, read_head, read_signatures, read_tile, read_uses, review, spent,
            text, time, token,
        },
        errors::fault,
        packed_tiles::{self, Entries, EntryRow},
        read_connection::{connect, read_only},
    },
    stored_denial::StoredDenial,
    stored_event::{EventFact, StoredEvent, ToldTarget},
    stored_grant::{SpentUse, StoredGrant},
    stored_leaf::Leaf,
    stored_proposal::{
        PayloadSource, Proposal, ProposalPage, ProposalQuery, ProposalSource, RunOutcome, RunQuery,
        Signature,
    },
    stored_review::{OwedReview, StoredReview},
    stored_run::{NonceUse, OutputRow, OutputRun, Unfinished},
    stored_seal::SealEntry,
    stored_token::{Token, TokenBindings},
};
use documents::{
    AuthorizationDigest, Blake3Digest, BlobDigest, ContentDigest, GrantId, Hash, LeafHash,
    LeafKind, Name, Nonce, ParamsDigest, ProposalId, SealDigest, Timestamp,
};

/// Maximum number of reading connections. A read from the page cache takes microseconds, so more connections would only
/// compete for CPU cores.
const READERS: usize = 4;

/// Maximum number of rows that one page of a filtered list reads, so that a filter with few matches does not delay
/// other readers.
const MAX_SCAN: usize = 10_000;

/// A pool of read-only connections.
pub struct SqliteReads {
    path: PathBuf,
    idle: Mutex<(Vec<Connection>, usize)>,
    returned: Condvar,
}

/// Opens a store that has no writer, such as a backup, and returns the state of the store. No file is changed.
///
/// # Errors
/// Returns a fault if the file is no store, or if a newer program wrote the store.
pub fn at_rest(path: &Path) -> Result<(SqliteReads, StoreHead), StoreFault> {
    let head = read_head(&read_only(path)?)?;
    Ok((SqliteReads::of(path), head))
}

impl SqliteReads {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Mutex::new((Vec::new(), 0)),
            returned: Condvar::new(),
        }
    }

    fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreFault>,
    ) -> Result<T, StoreFault> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = loop {
            if let Some(connection) = idle.0.pop() {
                break connection;
            }
            if idle.1 < READERS {
                let connection = self.connect()?;
                idle.1 += 1;
                break connection;
            }
            idle = self
                .returned
                .wait(idle)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(idle);
        let result = read(&connection);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .push(connection);
        self.returned.notify_one();
        result
    }

    fn connect(&self) -> Result<Connection, StoreFault> {
        connect(&self.path).map_err(fault("opening the store for reading"))
    }

    fn one<T>(
        &self,
        during: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreFault> {
        self.with(|connection| one(connection, during, sql, params, read))
    }

    fn all<T>(
        &self,
        during: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreFault> {
        self.with(|connection| all(connection, during, sql, params, read))
    }

    fn entries(
        &self,
        during: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Vec<u8>>, StoreFault> {
        let entries = self.with(|connection| Entries::all(connection, during, sql, params))?;
        Ok(entries.into_iter().map(|(_, data)| data).collect())
    }
}

impl StoreReads for SqliteReads {
    fn leaf(&self, index: u64) -> Result<Option<Leaf>, StoreFault> {
        const DURING: &str = "reading a log entry";
        let sql = "SELECT kind, at, idx, hash, data FROM leaf WHERE idx = ?1";
        self.with(|connection| {
            let found = one(connection, DURING, sql, [index], |row| {
                let kind = LeafKind::of_number(row.get(0)?).ok_or_else(|| odd(row, 0))?;
                Ok((kind, time(row, 1)?, EntryRow::of(row, 2)?))
            })?;
            let Some((kind, at, row)) = found else {
                return Ok(None);
            };
            let hash = row.hash;
            let data = Entries::of(connection)
                .bytes(row)
                .map_err(|error| error.during(DURING))?;
            Ok(Some(Leaf {
                kind,
                at,
                hash,
                data,
            }))
        })
    }

    fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreFault> {
        let sql = "SELECT idx, hash, data FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        self.entries("reading log entries", sql, [range.start, range.end])
    }

    fn packable(&self, until: Timestamp) -> Result<Option<PackedRow>, StoreFault> {
        self.with(|connection| packed_tiles::next(connection, until))
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, StoreFault> {
        self.with(|connection| read_tile(connection, level, index))
    }

    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, StoreFault> {
        self.one(
            "reading a blob",
            "SELECT data FROM blob WHERE digest = ?1",
            [digest.as_bytes()],
            |row| row.get(0),
        )
    }

    fn refusals(&self, since: Timestamp, most: usize) -> Result<Vec<Vec<u8>>, StoreFault> {
        // The times of leaves never decrease. Only the bytes of refusals are read.
        let sql = "SELECT idx, hash, data FROM leaf WHERE idx > (SELECT max(idx) FROM leaf) - ?2 AND kind = ?3 \
                   AND at >= ?1 ORDER BY idx DESC";
        self.entries(
            "reading refusals",
            sql,
            params![since.unix(), most, LeafKind::Refusal as u8],
        )
    }

    fn seals(&self) -> Result<Vec<SealEntry>, StoreFault> {
        self.all(
            "reading seals",
            "SELECT idx, digest FROM seal ORDER BY idx",
            [],
            |row| {
                Ok(SealEntry {
                    index: row.get(0)?,
                    digest: SealDigest::from_bytes(row.get(1)?),
                })
            },
        )
    }

    fn checkpoint(&self) -> Result<Option<CheckpointRow>, StoreFault> {
        let sql = "SELECT size, root, note FROM checkpoint ORDER BY size DESC LIMIT 1";
        self.one("reading a checkpoint", sql, [], checkpoint)
    }

    fn checkpoint_over(&self, index: u64) -> Result<Option<CheckpointRow>, StoreFault> {
        let sql = "SELECT size, root, note FROM checkpoint WHERE size > ?1 ORDER BY size LIMIT 1";
        self.one("reading a checkpoint", sql, [index], checkpoint)
    }

    fn proposal(&self, id: &ProposalId) -> Result<Option<Proposal>, StoreFault> {
        let sql = format!("SELECT {PROPOSAL} FROM proposal WHERE id = ?1");
        self.one("reading a proposal", &sql, [id_bytes(id)], proposal)
    }

    fn proposals(&self, filter: &ProposalQuery) -> Result<ProposalPage, StoreFault> {
        const DURING: &str = "listing proposals";
        let (source, name) = filter.source();
        let source = match source {
            ProposalSource::All => "proposal WHERE",
            ProposalSource::OfStep => "proposal WHERE step = ?2 AND",
            ProposalSource::OfProposer => "proposal WHERE proposer = ?2 AND",
            ProposalSource::Open => {
                "proposal INDEXED BY proposal_open WHERE status BETWEEN 2 AND 3 AND"
            }
            ProposalSource::Running => "proposal WHERE id IN (SELECT proposal FROM crossing) AND",
            ProposalSource::OpenOrRunning => {
                "proposal WHERE id IN (SELECT id FROM proposal INDEXED BY proposal_open WHERE status BETWEEN 2 AND 3 \
                 UNION ALL SELECT proposal FROM crossing) AND"
            }
            ProposalSource::Stopped => "proposal WHERE status >= 4 AND",
        };
        let sql = format!("SELECT {PROPOSAL} FROM {source} id < ?1 ORDER BY id DESC");
        let before = filter.before.as_ref().map_or([0xff; 16], id_bytes);
        self.with(|connection| {
            let read = || -> rusqlite::Result<ProposalPage> {
                let mut statement = connection.prepare_cached(&sql)?;
                let mut rows = match name {
                    Some(name) => statement.query(params![before, name])?,
                    None => statement.query([before])?,
                };
                let mut page = ProposalPage {
                    proposals: Vec::new(),
                    next: None,
                };
                for _ in 0..MAX_SCAN {
                    let Some(row) = rows.next()? else {
                        page.next = None;
                        return Ok(page);
                    };
                    // Read the id first, because a search by the last characters skips nearly all rows.
                    let id = proposal_id(row, 0)?;
                    let named = filter
                        .ending
                        .as_ref()
                        .is_none_or(|ending| ending.is_of(&id));
                    page.next = Some(id);
                    if named
                        && let found = proposal(row)?
                        && filter.wants(&found)
                    {
                        page.proposals.push(found);
                        if page.proposals.len() >= filter.limit {
                            break;
                        }
                    }
                }
                if rows.next()?.is_none() {
                    page.next = None;
                }
                Ok(page)
            };
            read().map_err(fault(DURING))
        })
    }

    fn runs(&self, query: &RunQuery) -> Result<Vec<Proposal>, StoreFault> {
        let ended_so = outcome_condition(query.outcome);
        // The inner query reads only the index. Each condition must be the text of a partial index.
        let sql = format!(
            "SELECT {PROPOSAL} FROM proposal WHERE id IN (SELECT id FROM proposal WHERE step = ?1 AND status = 1 \
             AND {ended_so} AND ended_at BETWEEN ?2 AND ?3 AND (?4 IS NULL OR params_digest = ?4) \
             AND (?5 IS NULL OR proposer = ?5) ORDER BY ended_at DESC LIMIT ?6 OFFSET ?7) ORDER BY ended_at DESC, id DESC"
        );
        let params = params![
            query.step.as_str(),
            query.ended.0.unix(),
            query.ended.1.unix(),
            query.params.as_ref().map(ParamsDigest::as_bytes),
            query.proposer.as_ref().map(Name::as_str),
            query.limit,
            query.skip
        ];
        self.all("looking for runs of a step", &sql, params, proposal)
    }

    fn payload(&self, id: &ProposalId) -> Result<Option<PayloadSource>, StoreFault> {
        const DURING: &str = "reading a payload";
        // One statement reads one consistent state. Between two statements, a change of the status could move the
        // payload to another table.
        let sql = "SELECT p.data, c.envelope, l.idx, l.hash, l.data FROM proposal \
                   LEFT JOIN payload p ON p.proposal = proposal.id LEFT JOIN crossing c ON c.id = proposal.spent \
                   LEFT JOIN leaf l ON l.idx = proposal.receipt WHERE proposal.id = ?1";
        self.with(|connection| {
            let found = one(connection, DURING, sql, [id_bytes(id)], |row| {
                let receipt = row
                    .get::<_, Option<u64>>(2)?
                    .map(|_| EntryRow::of(row, 2))
                    .transpose()?;
                Ok((row.get(0)?, row.get(1)?, receipt))
            })?;
            let Some((payload, envelope, receipt)) = found else {
                return Ok(None);
            };
            let receipt = receipt
                .map(|row| Entries::of(connection).bytes(row))
                .transpose();
            Ok(PayloadSource::of(
                payload,
                envelope,
                receipt.map_err(|error| error.during(DURING))?,
            ))
        })
    }

    fn signatures(&self, id: &ProposalId) -> Result<Vec<Signature>, StoreFault> {
        self.with(|connection| read_signatures(connection, id))
    }

    fn denials(
        &self,
        authorization: &AuthorizationDigest,
    ) -> Result<Vec<StoredDenial>, StoreFault> {
        let sql = "SELECT approver, leaf, at FROM denial WHERE authorization = ?1 ORDER BY leaf";
        self.all("reading denials", sql, [authorization.as_bytes()], |row| {
            Ok(StoredDenial {
                approver: text(row, 0)?,
                leaf: row.get(1)?,
                at: time(row, 2)?,
            })
        })
    }

    fn revocations(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreFault> {
        let sql = "SELECT idx, hash, data FROM leaf WHERE kind = 6 ORDER BY idx";
        self.with(|connection| Entries::all(connection, "reading revocations", sql, []))
    }

    fn grant(&self, id: &GrantId) -> Result<Option<StoredGrant>, StoreFault> {
        let sql = format!("SELECT {GRANT} FROM standing WHERE id = ?1");
        self.one("reading a grant", &sql, [grant_bytes(id)], grant)
    }

    fn grant_of(&self, digest: &ContentDigest) -> Result<Option<StoredGrant>, StoreFault> {
        let sql = format!("SELECT {GRANT} FROM standing WHERE digest = ?1");
        self.one("reading a grant", &sql, [digest.as_bytes()], grant)
    }

    fn grants(&self, now: Timestamp, limit: usize) -> Result<Vec<StoredGrant>, StoreFault> {
        let sql = format!(
            "SELECT {GRANT} FROM standing WHERE expires_at > ?1 ORDER BY expires_at, id LIMIT ?2"
        );
        self.all("reading grants", &sql, params![now.unix(), limit], grant)
    }

    fn grant_drafts(&self, now: Timestamp, proposer: &Name) -> Result<(u64, u64), StoreFault> {
        let sql = "SELECT count(*) FILTER (WHERE proposer = ?2), count(*) FROM standing \
                   WHERE expires_at > ?1 AND leaf IS NULL";
        let values = params![now.unix(), proposer.as_str()];
        let found = self.one("counting drafts of grants", sql, values, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(found.unwrap_or((0, 0)))
    }

    fn grant_uses(
        &self,
        digest: &ContentDigest,
        limit: usize,
    ) -> Result<Vec<SpentUse>, StoreFault> {
        self.with(|connection| read_uses(connection, digest, limit as u64))
    }

    fn owed(&self, id: &ProposalId) -> Result<Option<OwedReview>, StoreFault> {
        let sql = format!("SELECT {OWED} FROM owed WHERE proposal = ?1");
        self.one("reading what needs a review", &sql, [id_bytes(id)], owed)
    }

    fn owed_open(&self, limit: usize) -> Result<Vec<OwedReview>, StoreFault> {
        // The condition is that of the index `owed_open`.
        let sql = format!(
            "SELECT {OWED} FROM owed WHERE emergency = 1 AND reviewed IS NULL OR unknown = 1 AND settled IS NULL \
             ORDER BY emergency = 1 AND reviewed IS NULL DESC, proposal DESC LIMIT ?1"
        );
        self.all("reading what needs a review", &sql, [limit], owed)
    }

    fn reviews_of(&self, receipt: u64) -> Result<Vec<StoredReview>, StoreFault> {
        let sql = format!("SELECT {REVIEW} FROM review WHERE receipt = ?1 ORDER BY leaf");
        self.all("reading reviews", &sql, [receipt], review)
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreFault> {
        let sql = "SELECT seq, at, kind, proposal, step, proposer, entry, words FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        self.all("reading events", sql, params![after, limit], |row| {
            let proposal = match row.get_ref(3)?.as_blob_or_null()? {
                None => None,
                Some(_) => Some((proposal_id(row, 3)?, text(row, 4)?, text(row, 5)?)),
            };
            let what = EventFact::of_row(row.get(2)?, proposal, row.get(6)?, row.get(7)?);
            Ok(StoredEvent {
                seq: row.get(0)?,
                at: time(row, 1)?,
                what: what.ok_or_else(|| odd(row, 2))?,
            })
        })
    }

    fn newest_event(&self) -> Result<u64, StoreFault> {
        let found = self.one("reading events", "SELECT max(seq) FROM event", [], |row| {
            row.get::<_, Option<u64>>(0)
        })?;
        Ok(found.flatten().unwrap_or(0))
    }

    fn told(&self) -> Result<Vec<ToldTarget>, StoreFault> {
        self.all(
            "reading targets of messages",
            "SELECT name, seq, given_up FROM told ORDER BY name",
            [],
            |row| {
                Ok(ToldTarget {
                    name: text(row, 0)?,
                    seq: row.get(1)?,
                    given_up: row.get(2)?,
                })
            },
        )
    }

    fn spent(&self, nonce: &Nonce) -> Result<Option<NonceUse>, StoreFault> {
        self.one("looking for a nonce", SPENT, [nonce.to_bytes()], spent)
    }

    fn without_row(&self, kind: ClosedKey, keys: &[Vec<u8>]) -> Result<Option<usize>, StoreFault> {
        let sql = match kind {
            ClosedKey::Nonce => "SELECT 1 FROM nonce WHERE nonce = ?1",
            ClosedKey::Denial => "SELECT 1 FROM denial WHERE authorization = ?1",
            ClosedKey::Payload => "SELECT 1 FROM payload WHERE proposal = ?1",
        };
        self.with(|connection| {
            let look = || -> rusqlite::Result<Option<usize>> {
                let mut query = connection.prepare(sql)?;
                for (number, key) in keys.iter().enumerate() {
                    if !query.exists([key])? {
                        return Ok(Some(number));
                    }
                }
                Ok(None)
            };
            look().map_err(fault("looking for rows of spent nonces and denials"))
        })
    }

    fn unfinished(&self) -> Result<Vec<Unfinished>, StoreFault> {
        let sql = "SELECT c.id, c.proposal, l.hash, l.at, c.seal, c.envelope, c.decision \
                   FROM crossing c JOIN leaf l ON l.idx = c.id >> 6 ORDER BY c.id";
        self.all("reading the runs without a receipt", sql, [], |row| {
            let (index, item) = unplace(row.get(0)?);
            Ok(Unfinished {
                proposal: proposal_id(row, 1)?,
                index,
                item,
                leaf: LeafHash::from_bytes(row.get(2)?),
                at: time(row, 3)?,
                seal: SealDigest::from_bytes(row.get(4)?),
                envelope: row.get(5)?,
                decision: row.get(6)?,
                own: true,
                over: false,
            })
        })
    }

    fn output(&self, name: &Blake3Digest) -> Result<Option<OutputRow>, StoreFault> {
        self.one(
            "reading an output",
            "SELECT bytes, data FROM output WHERE name = ?1",
            [name.as_bytes()],
            |row| {
                Ok(OutputRow {
                    name: *name,
                    bytes: row.get(0)?,
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
        let sql = "SELECT o.proposal, p.proposer, p.step FROM output_of o JOIN proposal p ON p.id = o.proposal \
                   WHERE o.name = ?1 AND o.proposal < ?2 ORDER BY o.proposal DESC LIMIT ?3";
        let before = before.map_or([0xff; 16], id_bytes);
        self.all(
            "reading the runs of an output",
            sql,
            params![name.as_bytes(), before, limit],
            |row| {
                Ok(OutputRun {
                    proposal: proposal_id(row, 0)?,
                    proposer: text(row, 1)?,
                    step: text(row, 2)?,
                })
            },
        )
    }

    fn output_order(&self, id: &ProposalId) -> Result<Option<Vec<u8>>, StoreFault> {
        let sql = "SELECT data FROM output_order WHERE proposal = ?1";
        self.one("reading an output's order", sql, [id_bytes(id)], |row| {
            row.get(0)
        })
    }

    fn tokens(&self) -> Result<Vec<Token>, StoreFault> {
        self.all(
            "reading tokens",
            &format!("SELECT {TOKEN} FROM token ORDER BY name"),
            [],
            token,
        )
    }

    fn bytes(&self) -> Result<u64, StoreFault> {
        let size = |path: &Path| match std::fs::metadata(path) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreFault::Database {
                during: "reading the size",
                message: error.to_string(),
            }),
        };
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        Ok(size(&self.path)? + size(Path::new(&log))?)
    }

    fn bindings(&self) -> Result<TokenBindings, StoreFault> {
        let sql = "SELECT name, binding FROM token_binding ORDER BY name";
        self.all("reading tokens", sql, [], |row| {
            Ok((text(row, 0)?, from_json(row, 1)?))
        })
    }

    fn admitted(&self, id: &ProposalId) -> Result<Option<String>, StoreFault> {
        let sql = "SELECT job FROM admitted WHERE proposal = ?1";
        self.one(
            "reading the job of a proposal",
            sql,
            [id_bytes(id)],
            |row| row.get(0),
        )
    }

    fn token(&self, secret: &[u8; 32]) -> Result<Option<Token>, StoreFault> {
        self.one(
            "reading a token",
            &format!("SELECT {TOKEN} FROM token WHERE secret = ?1"),
            [secret],
            token,
        )
    }
}

fn checkpoint(row: &Row<'_>) -> rusqlite::Result<CheckpointRow> {
    Ok(CheckpointRow {
        size: row.get(0)?,
        root: row.get(1)?,
        note: row.get(2)?,
    })
}

/// Returns the condition that the schema uses for the index of this outcome.
const fn outcome_condition(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Succeeded => {
            "detail = X'7B22657869745F636F6465223A302C22737461747573223A22737563636565646564227D'"
        }
        RunOutcome::Unknown => "substr(detail, 1, 19) = X'7B22737461747573223A22756E6B6E6F776E22'",
    }
}
