//! The store in one SQLite file.
//!
//! The database uses WAL and `synchronous=FULL`, so a commit is one write and one sync of the write-ahead log. After
//! answering a batch, the writer moves the write-ahead log into the database itself, because SQLite's automatic
//! checkpoint would hide a failed sync.

pub mod backup;
pub mod check;
mod columns;
mod errors;
mod precedents;
mod prune;
#[cfg(test)]
mod query_plans;
pub mod reads;
mod retired_rows;
mod rows;
mod run_rows;
mod schema;
mod token_rows;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::{Connection, OpenFlags, Row, ToSql, params};

use crate::store::fault::StoreFault;
use crate::store::lock::StoreLock;
use crate::store::sqlite::columns::{
    all, id_bytes, one, presence_number, proposal_id, read_head, read_signatures, read_tile, run, standing, tile_id,
};
use crate::store::sqlite::errors::{fault, unusable};
use crate::store::sqlite::reads::SqliteReads;
use crate::store::sqlite::schema::migrate;
use crate::store::stored_denial::StoredDenial;
use crate::store::stored_proposal::{AuthorizationCore, NewProposal, Signature};
use crate::store::stored_status::{StatusDetail, StoredStatus};
use crate::store::stored_token::TokenChange;
use crate::store::{
    Candidate, CheckpointRow, DenialsAhead, FinishRow, LeafRow, ProposalPrecedent, ProposalState, RetentionCut,
    RetentionWalk, Retired, RunRow, Store, StoreHead, SweepResult, TileRow,
};
use documents::crypto::digest::{AuthorizationDigest, BlobDigest, SealDigest};
use documents::crypto::merkle::Hash;
use documents::record::ident::{Name, Nonce, ProposalId};
use documents::record::validity::Timestamp;

/// Number of pages (32 MB) in the write-ahead log at which the writer moves them into the database.
const CHECKPOINT_PAGES: i32 = 8000;

/// The connection that writes, together with the lock on the store.
pub struct SqliteStore {
    // Fields are dropped in this order, so the connection closes before the lock is released.
    connection: Connection,
    wal_pages: Arc<AtomicI32>,
    /// The nonces that the log had spent when the store was opened, for the writer.
    open_nonces: Vec<(Nonce, Timestamp)>,
    _lock: StoreLock,
}

/// Returns the version of the SQLite library.
#[must_use]
pub fn version() -> &'static str {
    rusqlite::version()
}

/// Opens the store at `path` for this process alone, and creates or migrates the database if needed.
///
/// # Errors
/// Returns a fault if another process holds the lock, if other users can access the store, if the file is no store, or
/// if a newer program wrote the store.
pub fn open(path: &Path) -> Result<(SqliteStore, SqliteReads), StoreFault> {
    const DURING: &str = "opening the store";
    let lock = StoreLock::take(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(fault(DURING))?;
    schema::harden(&connection).map_err(fault(DURING))?;
    let pragma = |name: &str, value: &dyn ToSql| connection.pragma_update(None, name, value).map_err(fault(DURING));
    // Some file systems do not support WAL, so the resulting mode is checked below.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(|error| unusable(path, &error))?;
    pragma("synchronous", &"FULL")?;
    pragma("wal_autocheckpoint", &0)?;
    pragma("journal_size_limit", &(i64::from(CHECKPOINT_PAGES) * 4096 * 2))?;
    pragma("foreign_keys", &false)?;
    pragma("temp_store", &"MEMORY")?;
    pragma("cache_size", &-8000)?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(fault(DURING))?;
    if mode != "wal" {
        let message = format!("{} cannot have a write-ahead log; put the store on a local file system", path.display());
        return Err(StoreFault::Unusable { message });
    }
    migrate(&mut connection, path)?;
    connection.set_prepared_statement_cache_capacity(128);
    let wal_pages = Arc::new(AtomicI32::new(0));
    let seen = Arc::clone(&wal_pages);
    connection
        .wal_hook(Some(move |_: &mut _, pages| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        }))
        .map_err(fault(DURING))?;
    let open_nonces = prune::open_nonces(&connection)?;
    let store = SqliteStore { connection, wal_pages, open_nonces, _lock: lock };
    store.check_nonces(path)?;
    Ok((store, SqliteReads::of(path)))
}

impl SqliteStore {
    /// Returns a fault if a spent nonce has no row although it has not expired, because a second run could spend it
    /// again.
    ///
    /// The spent nonces are read from the log, because the stored count may have been changed together with the rows.
    /// Missing rows are not restored, because other rows may have been changed too.
    fn check_nonces(&self, path: &Path) -> Result<(), StoreFault> {
        const DURING: &str = "counting nonces";
        let count = |sql: &str| self.one(DURING, sql, [], |row| row.get::<_, i64>(0)).map(Option::unwrap_or_default);
        let mut has_row = self.connection.prepare("SELECT 1 FROM nonce WHERE nonce = ?1").map_err(fault(DURING))?;
        let mut lost = Vec::new();
        for (nonce, _) in &self.open_nonces {
            if !has_row.exists([nonce.to_bytes()]).map_err(fault(DURING))? {
                lost.push(nonce);
            }
        }
        if let Some(nonce) = lost.first() {
            let message = format!(
                "{} spent nonces in {} have no row, although these nonces have not expired (for example {nonce}), so \
                 their authorizations could run again. The store stays closed: run `countersign store check`, then \
                 `countersign store restore BACKUP`",
                lost.len(),
                path.display()
            );
            return Err(StoreFault::Unusable { message });
        }
        let (there, kept) = (count("SELECT count(*) FROM nonce")?, count("SELECT nonces FROM state")?);
        if there == kept {
            return Ok(());
        }
        // All missing rows belong to expired nonces, so only the count must be corrected.
        self.run(DURING, "UPDATE state SET nonces = ?1", [there]).map(drop)
    }

    fn run(&self, during: &'static str, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreFault> {
        run(&self.connection, during, sql, params)
    }

    fn one<T>(
        &self,
        during: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreFault> {
        one(&self.connection, during, sql, params, read)
    }

    /// Limits the size of the database, so that a test can fill the disk.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: i64) {
        let _: i64 = self
            .connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0))
            .expect("pragma");
    }

    /// Changes rows directly, without the writer.
    #[cfg(test)]
    pub(crate) fn tamper(&mut self, sql: &str) {
        self.connection.execute_batch(sql).expect("sql");
    }
}

impl Store for SqliteStore {
    fn begin(&mut self) -> Result<(), StoreFault> {
        self.run("beginning a batch", "BEGIN IMMEDIATE", []).map(drop)
    }

    fn commit(&mut self) -> Result<(), StoreFault> {
        const DURING: &str = "committing a batch";
        match self.run(DURING, "COMMIT", []) {
            Ok(_) => Ok(()),
            // After this failure, the write-ahead log may or may not contain the batch.
            Err(StoreFault::Database { message, .. }) => Err(StoreFault::broken(DURING, message)),
            Err(fault) => Err(fault),
        }
    }

    fn rollback(&mut self) {
        // After some errors, SQLite has already rolled the transaction back.
        if !self.connection.is_autocommit() {
            drop(self.connection.execute_batch("ROLLBACK"));
        }
    }

    fn maintain(&mut self) -> Result<(), StoreFault> {
        const DURING: &str = "moving the write-ahead log into the database";
        if self.wal_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return Ok(());
        }
        // PASSIVE does not wait for readers. Pages that a reader needs are moved at a later call.
        let moved: (i32, i32) = self
            .connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))
            .map_err(fault(DURING))?;
        if moved.0 == moved.1 {
            self.wal_pages.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), StoreFault> {
        // The readers' connections stay open, so closing this connection would not remove the write-ahead log, and a
        // copy of the database file alone would lack the newest commits.
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection.query_row(sql, [], |_| Ok(())).map_err(fault("moving the write-ahead log into the database"))
    }

    fn head(&mut self) -> Result<StoreHead, StoreFault> {
        read_head(&self.connection)
    }

    fn set_head(&mut self, head: &StoreHead) -> Result<(), StoreFault> {
        self.run(
            "writing the state of the boundary",
            "UPDATE state SET boundary = ?1, seal = ?2, version = ?3, mark = ?4",
            params![
                head.boundary.as_ref().map(SealDigest::as_bytes),
                head.seal.as_ref().map(SealDigest::as_bytes),
                head.version,
                head.mark.unix()
            ],
        )
        .map(drop)
    }

    fn open_nonces(&mut self) -> Vec<(Nonce, Timestamp)> {
        std::mem::take(&mut self.open_nonces)
    }

    fn leaf_hashes(&mut self, range: Range<u64>) -> Result<Vec<Hash>, StoreFault> {
        const DURING: &str = "reading leaf hashes back";
        let wanted = range.end - range.start;
        let sql = "SELECT hash FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        let hashes: Vec<Hash> = all(&self.connection, DURING, sql, [range.start, range.end], |row| row.get(0))?;
        if hashes.len() as u64 == wanted {
            Ok(hashes)
        } else {
            Err(StoreFault::broken(DURING, format!("only {} of the log entries {range:?} exist", hashes.len())))
        }
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<Vec<Hash>, StoreFault> {
        read_tile(&self.connection, level, index)?
            .ok_or_else(|| StoreFault::broken("reading a tile", format!("hash tile {level}/{index} is missing")))
    }

    fn candidates(&mut self, requests: &[&AuthorizationCore]) -> Result<Vec<Candidate>, StoreFault> {
        run_rows::candidates(&self.connection, requests).map_err(fault("judging what may run"))
    }

    fn standings(&mut self, proposals: &[&ProposalId]) -> Result<Vec<Option<ProposalState>>, StoreFault> {
        let sql = "SELECT status, spent, receipt FROM proposal WHERE id = ?1";
        let one = |id: &&ProposalId| self.one("looking at proposals", sql, [id_bytes(id)], standing);
        proposals.iter().map(one).collect()
    }

    fn append(&mut self, first: u64, leaves: &[LeafRow], tiles: &[TileRow]) -> Result<(), StoreFault> {
        const DURING: &str = "appending to the log";
        let connection = &self.connection;
        let write = || -> rusqlite::Result<()> {
            let mut insert = connection
                .prepare_cached("INSERT INTO leaf (idx, kind, at, hash, data) VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for (index, leaf) in (first..).zip(leaves) {
                insert.execute(params![index, leaf.kind as u8, leaf.at.unix(), leaf.hash, leaf.data])?;
            }
            for tile in tiles {
                let mut insert = connection.prepare_cached("INSERT INTO tile (id, hashes) VALUES (?1, ?2)")?;
                insert.execute(params![tile_id(tile.level, tile.index), tile.hashes.as_flattened()])?;
            }
            Ok(())
        };
        write().map_err(fault(DURING))
    }

    fn start(&mut self, runs: &[RunRow<'_>]) -> Result<(), StoreFault> {
        run_rows::start(&self.connection, runs).map_err(fault("claiming nonces"))
    }

    fn finish(&mut self, runs: &[FinishRow<'_>]) -> Result<(), StoreFault> {
        run_rows::finish(&self.connection, runs).map_err(fault("closing runs"))
    }

    fn put_blobs(&mut self, blobs: &[(BlobDigest, Vec<u8>)]) -> Result<(), StoreFault> {
        run_rows::insert_blobs(&self.connection, blobs).map_err(fault("keeping blobs"))
    }

    fn put_seal(&mut self, index: u64, digest: &SealDigest) -> Result<(), StoreFault> {
        self.run("keeping a seal", "INSERT INTO seal (idx, digest) VALUES (?1, ?2)", params![index, digest.as_bytes()])
            .map(drop)
    }

    fn change_tokens(&mut self, changes: &[TokenChange]) -> Result<Option<Name>, StoreFault> {
        token_rows::change(&self.connection, changes)
    }

    fn precedent(&mut self, new: &NewProposal) -> Result<ProposalPrecedent, StoreFault> {
        precedents::precedent(&self.connection, new)
    }

    fn put_proposal(&mut self, new: &NewProposal) -> Result<(), StoreFault> {
        const DURING: &str = "keeping a proposal";
        let (core, id) = (&new.core, id_bytes(&new.core.id));
        self.run(
            DURING,
            "INSERT INTO proposal (id, digest, nonce, request, step, step_digest, params_digest, proposer, expires_at, \
             status, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 2, ?10)",
            params![
                id,
                core.digest.as_bytes(),
                core.nonce.to_bytes(),
                new.request,
                core.step.as_str(),
                core.step_digest.as_bytes(),
                core.params_digest.as_bytes(),
                core.proposer.as_str(),
                core.expires_at.unix(),
                new.created_at.unix()
            ],
        )?;
        self.run(DURING, "INSERT INTO payload (proposal, data) VALUES (?1, ?2)", params![id, &*new.payload]).map(drop)
    }

    fn sign(&mut self, proposal: &ProposalId, signatures: &[Signature]) -> Result<Vec<Signature>, StoreFault> {
        const DURING: &str = "keeping signatures";
        let id = id_bytes(proposal);
        for signature in signatures {
            self.run(
                DURING,
                "INSERT OR IGNORE INTO signature (proposal, keyid, number, person, presence, at, sig) VALUES (?1, ?2, \
                 (SELECT count(*) FROM signature WHERE proposal = ?1), ?3, ?4, ?5, ?6)",
                params![
                    id,
                    signature.keyid.as_str(),
                    signature.person.as_str(),
                    presence_number(signature.presence),
                    signature.at.unix(),
                    signature.sig
                ],
            )?;
        }
        read_signatures(&self.connection, proposal)
    }

    fn denial(&mut self, authorization: &AuthorizationDigest, approver: &Name) -> Result<Option<u64>, StoreFault> {
        self.one(
            "looking for a denial",
            "SELECT leaf FROM denial WHERE authorization = ?1 AND approver = ?2",
            params![authorization.as_bytes(), approver.as_str()],
            |row| row.get(0),
        )
    }

    fn deny(
        &mut self,
        authorization: &AuthorizationDigest,
        denial: &StoredDenial,
        ahead: bool,
    ) -> Result<(), StoreFault> {
        self.run(
            "keeping a denial",
            "INSERT INTO denial (authorization, approver, leaf, at, ahead) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![authorization.as_bytes(), denial.approver.as_str(), denial.leaf, denial.at.unix(), ahead],
        )
        .map(drop)
    }

    fn denials_ahead(&mut self, approver: &Name, since: Timestamp) -> Result<DenialsAhead, StoreFault> {
        let found = self.one(
            "counting denials",
            "SELECT count(*) FILTER (WHERE approver = ?1), min(at) FILTER (WHERE approver = ?1), count(*), min(at) \
             FROM denial INDEXED BY denial_ahead WHERE ahead = 1 AND at > ?2",
            params![approver.as_str(), since.unix()],
            |row| {
                let time = |at| row.get::<_, Option<i64>>(at).map(|found| found.map(Timestamp::from_unix));
                Ok(DenialsAhead { of_approver: (row.get(0)?, time(1)?), of_all: (row.get(2)?, time(3)?) })
            },
        )?;
        Ok(found.unwrap_or(DenialsAhead { of_approver: (0, None), of_all: (0, None) }))
    }

    fn unfinished_of(
        &mut self,
        authorization: &AuthorizationDigest,
    ) -> Result<Option<(ProposalId, ProposalState)>, StoreFault> {
        const DURING: &str = "searching for a denied proposal";
        let digest = authorization.as_bytes();
        let read = |row: &Row<'_>| Ok((proposal_id(row, 3)?, standing(row)?));
        let sql = "SELECT status, spent, receipt, id FROM proposal WHERE digest = ?1 AND status >= 2";
        if let Some(found) = self.one(DURING, sql, [digest], read)? {
            return Ok(Some(found));
        }
        // No index is needed, because few proposals run at a time and denials are rare.
        let sql = "SELECT status, spent, receipt, id FROM proposal WHERE digest = ?1 AND id IN (SELECT proposal FROM crossing)";
        self.one(DURING, sql, [digest], read)
    }

    fn advance(
        &mut self,
        proposal: &ProposalId,
        to: StoredStatus,
        at: Timestamp,
        detail: &StatusDetail,
    ) -> Result<(), StoreFault> {
        let column = if to == StoredStatus::Approved { "approved_at" } else { "ended_at" };
        let sql = format!("UPDATE proposal SET status = ?2, {column} = ?3, detail = ?4 WHERE id = ?1");
        let detail = if detail.is_empty() { None } else { Some(detail) };
        self.run("moving a proposal on", &sql, params![id_bytes(proposal), to.number(), at.unix(), detail]).map(drop)
    }

    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ProposalId>, StoreFault> {
        const DURING: &str = "expiring proposals";
        let sql = "SELECT id FROM proposal INDEXED BY proposal_open WHERE status BETWEEN 2 AND 3 AND expires_at <= ?1 LIMIT ?2";
        let overdue = all(&self.connection, DURING, sql, params![now.unix(), limit], |row| proposal_id(row, 0))?;
        for id in &overdue {
            self.run(
                DURING,
                "UPDATE proposal SET status = 5, ended_at = ?2 WHERE id = ?1",
                params![id_bytes(id), now.unix()],
            )?;
        }
        Ok(overdue)
    }

    fn save(&mut self) -> Result<(), StoreFault> {
        self.run("setting a savepoint in a batch", "SAVEPOINT step", []).map(drop)
    }

    fn keep(&mut self) -> Result<(), StoreFault> {
        self.run("releasing a savepoint in a batch", "RELEASE step", []).map(drop)
    }

    fn undo(&mut self) -> Result<(), StoreFault> {
        const DURING: &str = "undoing a part of a batch";
        self.run(DURING, "ROLLBACK TO step", [])?;
        self.run(DURING, "RELEASE step", []).map(drop)
    }

    fn retire(&mut self, cut: RetentionCut, walk: RetentionWalk, limit: usize) -> Result<Retired, StoreFault> {
        retired_rows::retire(&self.connection, cut, walk, limit).map_err(fault("deleting rows after their retention"))
    }

    fn prune(&mut self, mark: Timestamp, after: &[u8], limit: usize) -> Result<SweepResult, StoreFault> {
        prune::prune(&self.connection, mark, after, limit).map_err(fault("pruning nonces"))
    }

    fn put_checkpoints(&mut self, checkpoints: &[CheckpointRow]) -> Result<Option<u64>, StoreFault> {
        const DURING: &str = "keeping checkpoints";
        for checkpoint in checkpoints {
            self.run(
                DURING,
                "INSERT OR IGNORE INTO checkpoint (size, root, note) VALUES (?1, ?2, ?3)",
                params![checkpoint.size, checkpoint.root, checkpoint.note],
            )?;
            let sql = "SELECT root FROM checkpoint WHERE size = ?1";
            let kept: Option<Hash> = self.one(DURING, sql, [checkpoint.size], |row| row.get(0))?;
            if kept != Some(checkpoint.root) {
                return Ok(Some(checkpoint.size));
            }
        }
        Ok(None)
    }
}
