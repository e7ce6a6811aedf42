//! The store in one SQLite file, embedded.
//!
//! WAL, `synchronous=FULL`: a commit is one write and one sync of the log. The writer moves the log into the database
//! itself, after the answers: SQLite's own automatic checkpoint would swallow a failing sync.

pub mod alone;
pub mod backup;
mod prune;
mod rows;
mod schema;
pub mod survey;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, ToSql, params};

use crate::crypto::digest::{
    AuthorizationDigest, Blake3Digest, BlobDigest, LeafHash, ParamsDigest, SealDigest, StepDigest,
};
use crate::crypto::merkle::Hash;
use crate::record::ident::{Name, Nonce, ProposalId};
use crate::record::token::Scope;
use crate::record::validity::Timestamp;
use crate::store::lock::StoreLock;
use crate::store::message::{
    Core, Denied, Detail, Filter, Leaf, LeafKind, NewProposal, OutputRow, Page, PayloadSource, Proposal, SealEntry,
    Signature, Spent, Status, Token, TokenChange, Unfinished,
};
use crate::store::{
    Candidate, CheckpointRow, Cut, Fault, FinishRow, Head, LeafRow, Precedent, Reads, Retired, RunRow, Standing, Store,
    Swept, TileRow, Walk,
};

/// Migrations in order; a database's `user_version` is how many it has seen. A released one never changes.
const MIGRATIONS: &[&str] = &[include_str!("sqlite/0001_first.sql"), include_str!("sqlite/0002_care.sql")];

/// "CSGN": a database of ours.
const APPLICATION_ID: i32 = 0x4353_474e;

/// Pages in the write-ahead log from which on it is moved into the database: 32 MB.
const CHECKPOINT_PAGES: i32 = 8000;

/// Connections for reading. Reads take microseconds from the page cache; more would only compete for cores.
const READERS: usize = 4;

/// The most rows that one page of a filtered list looks at, so that a rare filter blocks no reader.
const MAX_SCAN: usize = 10_000;

/// The write connection, with the lock on the store.
pub struct SqliteStore {
    // Before the lock: the connection closes first.
    connection: Connection,
    wal_pages: Arc<AtomicI32>,
    _lock: StoreLock,
}

/// Read-only connections.
pub struct SqliteReads {
    path: PathBuf,
    idle: Mutex<(Vec<Connection>, usize)>,
    returned: Condvar,
}

/// Opens the store at `path`, making or migrating it, for this process alone.
///
/// # Errors
/// When another process holds it, it is open to other users, it is not a store, or it is newer than this program.
pub fn open(path: &Path) -> Result<(SqliteStore, SqliteReads), Fault> {
    const DURING: &str = "opening the store";
    let lock = StoreLock::take(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(fault(DURING))?;
    schema::harden(&connection).map_err(fault(DURING))?;
    let pragma = |name: &str, value: &dyn ToSql| connection.pragma_update(None, name, value).map_err(fault(DURING));
    // The mode is checked below; some file systems can't have WAL.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(|error| unusable(path, &error))?;
    pragma("synchronous", &"FULL")?;
    pragma("wal_autocheckpoint", &0)?;
    pragma("journal_size_limit", &(i64::from(CHECKPOINT_PAGES) * 4096 * 2))?;
    pragma("foreign_keys", &false)?;
    pragma("temp_store", &"MEMORY")?;
    pragma("cache_size", &-8000)?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(fault(DURING))?;
    if mode != "wal" {
        let message = format!("{} can't have a write-ahead log; put it on a local file system", path.display());
        return Err(Fault::Unusable { message });
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
    let store = SqliteStore { connection, wal_pages, _lock: lock };
    store.check_nonces(path)?;
    Ok((store, SqliteReads::of(path)))
}

/// Opens a store that nobody writes, such as a backup, and says what it holds. Neither file nor directory is changed.
///
/// # Errors
/// When it is no store, or is newer than this program.
pub fn at_rest(path: &Path) -> Result<(SqliteReads, Head), Fault> {
    let head = read_head(&read_only(path)?)?;
    Ok((SqliteReads::of(path), head))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Fault> {
    const DURING: &str = "migrating the store";
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = match (number("application_id"), number("user_version")) {
        (Ok(application), Ok(version)) => (application, usize::try_from(version).unwrap_or(usize::MAX)),
        (Err(error), _) | (_, Err(error)) => return Err(unusable(path, &error)),
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| unusable(path, &error))?;
    if application != APPLICATION_ID && tables > 0 {
        let message = format!("{} is the database of another program; name another file", path.display());
        return Err(Fault::Unusable { message });
    }
    if version > MIGRATIONS.len() {
        let message = format!(
            "the store {} has schema {version}, this program knows schemas up to {}; use the newer program that wrote it",
            path.display(),
            MIGRATIONS.len()
        );
        return Err(Fault::Unusable { message });
    }
    // What a migration adds to must be what the one before it left.
    schema::check(connection, version, path)?;
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction().map_err(fault(DURING))?;
        transaction.execute_batch(migration).map_err(fault(DURING))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(fault(DURING))?;
        transaction
            .pragma_update(None, "user_version", i32::try_from(at + 1).unwrap_or(i32::MAX))
            .map_err(fault(DURING))?;
        // A crash here leaves the database at this version; opening it again goes on with the next.
        transaction.commit().map_err(fault(DURING))?;
    }
    Ok(())
}

impl SqliteStore {
    /// Refuses a store in which a nonce could be spent again: its row is gone, and it has not expired.
    ///
    /// The rows are counted, which takes milliseconds for a million; the log is looked through only when the count is off.
    fn check_nonces(&self, path: &Path) -> Result<(), Fault> {
        const DURING: &str = "counting nonces";
        let count = |sql: &str| self.one(DURING, sql, [], |row| row.get::<_, i64>(0)).map(Option::unwrap_or_default);
        let (there, kept) = (count("SELECT count(*) FROM nonce")?, count("SELECT nonces FROM state")?);
        if there == kept {
            return Ok(());
        }
        let lost = prune::nonces_without_rows(&self.connection)?;
        if let Some(nonce) = lost.first() {
            let message = format!(
                "{} of the nonces that {} spent have lost their rows and are not expired, {nonce} for one: they could run \
                 again, so it is not served; `countersign store check` says more, `countersign store restore BACKUP` mends it",
                lost.len(),
                path.display()
            );
            return Err(Fault::Unusable { message });
        }
        // What is gone had expired: nothing can come of it.
        self.run(DURING, "UPDATE state SET nonces = ?1", [there]).map(drop)
    }

    fn run(&self, during: &'static str, sql: &str, params: impl rusqlite::Params) -> Result<usize, Fault> {
        self.connection.prepare_cached(sql).and_then(|mut s| s.execute(params)).map_err(fault(during))
    }

    fn one<T>(
        &self,
        during: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        one(&self.connection, during, sql, params, read)
    }

    /// Limits the database to this many pages: how tests fill a disk.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: i64) {
        let _: i64 = self
            .connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0))
            .expect("pragma");
    }

    /// Changes rows behind the writer's back.
    #[cfg(test)]
    pub(crate) fn tamper(&mut self, sql: &str) {
        self.connection.execute_batch(sql).expect("sql");
    }
}

impl Store for SqliteStore {
    fn begin(&mut self) -> Result<(), Fault> {
        self.run("beginning a batch", "BEGIN IMMEDIATE", []).map(drop)
    }

    fn commit(&mut self) -> Result<(), Fault> {
        const DURING: &str = "committing a batch";
        match self.run(DURING, "COMMIT", []) {
            Ok(_) => Ok(()),
            // Whether the log holds it is not known.
            Err(Fault::Database { message, .. }) => Err(Fault::broken(DURING, message)),
            Err(fault) => Err(fault),
        }
    }

    fn rollback(&mut self) {
        // Some errors have rolled back by themselves.
        if !self.connection.is_autocommit() {
            drop(self.connection.execute_batch("ROLLBACK"));
        }
    }

    fn maintain(&mut self) -> Result<(), Fault> {
        const DURING: &str = "moving the write-ahead log into the database";
        if self.wal_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return Ok(());
        }
        // Passive: readers are never waited for; what they still need is moved next time.
        let moved: (i32, i32) = self
            .connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))
            .map_err(fault(DURING))?;
        if moved.0 == moved.1 {
            self.wal_pages.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Fault> {
        // Readers' connections outlive this one, so closing it would leave the log beside the database, and who copies the one
        // file would copy an old store.
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection.query_row(sql, [], |_| Ok(())).map_err(fault("moving the write-ahead log into the database"))
    }

    fn head(&mut self) -> Result<Head, Fault> {
        read_head(&self.connection)
    }

    fn set_head(&mut self, head: &Head) -> Result<(), Fault> {
        self.run(
            "keeping what is in force",
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

    fn leaf_hashes(&mut self, range: Range<u64>) -> Result<Vec<Hash>, Fault> {
        const DURING: &str = "reading leaf hashes back";
        let wanted = range.end - range.start;
        let sql = "SELECT hash FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        let hashes: Vec<Hash> = all(&self.connection, DURING, sql, [range.start, range.end], |row| row.get(0))?;
        if hashes.len() as u64 == wanted {
            Ok(hashes)
        } else {
            Err(Fault::broken(DURING, format!("{} of the log's entries {range:?} are there", hashes.len())))
        }
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<Vec<Hash>, Fault> {
        read_tile(&self.connection, level, index)?
            .ok_or_else(|| Fault::broken("reading a tile", format!("hash tile {level}/{index} is missing")))
    }

    fn candidates(&mut self, requests: &[&Core]) -> Result<Vec<Candidate>, Fault> {
        const DURING: &str = "judging what may run";
        let connection = &self.connection;
        let read = || -> rusqlite::Result<Vec<Candidate>> {
            let mut nonce = connection.prepare_cached(SPENT)?;
            let mut denial = connection.prepare_cached("SELECT 1 FROM denial WHERE authorization = ?1 LIMIT 1")?;
            let mut proposal = connection.prepare_cached("SELECT digest, status FROM proposal WHERE id = ?1")?;
            let one = |core: &&Core| {
                Ok(Candidate {
                    spent: nonce.query_row([core.nonce.to_bytes()], spent).optional()?,
                    denied: denial.exists([core.digest.as_bytes()])?,
                    proposal: proposal
                        .query_row([id_bytes(&core.id)], |row| {
                            Ok((AuthorizationDigest::from_bytes(row.get(0)?), status(row, 1)?))
                        })
                        .optional()?,
                })
            };
            requests.iter().map(one).collect()
        };
        read().map_err(fault(DURING))
    }

    fn standings(&mut self, proposals: &[&ProposalId]) -> Result<Vec<Option<Standing>>, Fault> {
        let sql = "SELECT status, spent, receipt FROM proposal WHERE id = ?1";
        let one = |id: &&ProposalId| self.one("looking at proposals", sql, [id_bytes(id)], standing);
        proposals.iter().map(one).collect()
    }

    fn append(&mut self, first: u64, leaves: &[LeafRow], tiles: &[TileRow]) -> Result<(), Fault> {
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

    fn start(&mut self, runs: &[RunRow<'_>]) -> Result<(), Fault> {
        let connection = &self.connection;
        let write = || -> rusqlite::Result<()> {
            // No `OR IGNORE`: the writer has looked, so a second claim is a fault and undoes the whole batch.
            let mut claim = connection
                .prepare_cached("INSERT INTO nonce (nonce, expires_at, spent, proposal) VALUES (?1, ?2, ?3, ?4)")?;
            let mut add = connection.prepare_cached(
                "INSERT INTO proposal (id, digest, nonce, step, step_digest, params_digest, proposer, expires_at, \
                 status, created_at, approved_at, started_at, spent) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?9, ?9, ?10)",
            )?;
            let mut cross = connection.prepare_cached(
                "INSERT INTO crossing (id, proposal, seal, exclusive, envelope, decision) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for run in runs {
                let (core, id, at) = (run.core, id_bytes(&run.core.id), run.at.unix());
                let place = place(run.index, run.item);
                let nonce = core.nonce.to_bytes();
                claim.execute(params![nonce, core.expires_at.unix(), place, id])?;
                if run.known {
                    connection
                        .prepare_cached(
                            "UPDATE proposal SET status = 0, approved_at = coalesce(approved_at, ?2), started_at = ?2, \
                             spent = ?3 WHERE id = ?1",
                        )?
                        .execute(params![id, at, place])?;
                    connection.prepare_cached("DELETE FROM payload WHERE proposal = ?1")?.execute([id])?;
                } else {
                    add.execute(params![
                        id,
                        core.digest.as_bytes(),
                        nonce,
                        core.step.as_str(),
                        core.step_digest.as_bytes(),
                        core.params_digest.as_bytes(),
                        core.proposer.as_str(),
                        core.expires_at.unix(),
                        at,
                        place
                    ])?;
                }
                cross.execute(params![place, id, run.seal.as_bytes(), run.exclusive, run.envelope, run.decision])?;
            }
            connection.prepare_cached("UPDATE state SET nonces = nonces + ?1")?.execute([runs.len()])?;
            Ok(())
        };
        write().map_err(fault("claiming nonces"))
    }

    fn finish(&mut self, runs: &[FinishRow<'_>]) -> Result<(), Fault> {
        let connection = &self.connection;
        let write = || -> rusqlite::Result<()> {
            let mut close = connection.prepare_cached(
                "UPDATE proposal SET status = 1, ended_at = ?2, receipt = ?3, detail = ?4 WHERE id = ?1",
            )?;
            let mut clear = connection.prepare_cached("DELETE FROM crossing WHERE id = ?1")?;
            for run in runs {
                let (id, at) = (id_bytes(run.proposal), run.at.unix());
                close.execute(params![id, at, run.receipt, run.detail])?;
                // The receipt embeds the envelope and the decision from here on.
                clear.execute([place(run.consumption.0, run.consumption.1)])?;
                for output in run.outputs {
                    connection
                        .prepare_cached(
                            "INSERT INTO output (name, bytes, at, data) VALUES (?1, ?2, ?3, ?4) \
                             ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)",
                        )?
                        .execute(params![output.name.as_bytes(), output.bytes, at, output.data])?;
                    connection
                        .prepare_cached("INSERT OR IGNORE INTO output_of (name, proposal) VALUES (?1, ?2)")?
                        .execute(params![output.name.as_bytes(), id])?;
                }
                if let Some(order) = run.order {
                    connection
                        .prepare_cached("INSERT INTO output_order (proposal, data) VALUES (?1, ?2)")?
                        .execute(params![id, order])?;
                }
                insert_blobs(connection, run.blobs)?;
            }
            Ok(())
        };
        write().map_err(fault("closing runs"))
    }

    fn put_blobs(&mut self, blobs: &[(BlobDigest, Vec<u8>)]) -> Result<(), Fault> {
        insert_blobs(&self.connection, blobs).map_err(fault("keeping blobs"))
    }

    fn put_seal(&mut self, index: u64, digest: &SealDigest) -> Result<(), Fault> {
        self.run("keeping a seal", "INSERT INTO seal (idx, digest) VALUES (?1, ?2)", params![index, digest.as_bytes()])
            .map(drop)
    }

    fn change_tokens(&mut self, changes: &[TokenChange]) -> Result<Option<Name>, Fault> {
        const DURING: &str = "changing tokens";
        let mut added: Vec<&Name> = Vec::new();
        for change in changes {
            let (name, adds) = match change {
                TokenChange::Add(token) => (&token.name, true),
                TokenChange::Revoke { name, .. } => (name, false),
            };
            let sql = "SELECT 1 FROM token WHERE name = ?1";
            let there = added.contains(&name) || self.one(DURING, sql, [name.as_str()], |_| Ok(()))?.is_some();
            if there == adds {
                return Ok(Some(name.clone()));
            }
            added.push(name);
        }
        for change in changes {
            match change {
                TokenChange::Add(token) => self.run(
                    DURING,
                    "INSERT INTO token (name, secret, owners, scopes, patterns, created_at, expires_at, revoked_at) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    params![
                        token.name.as_str(),
                        token.secret,
                        json(&token.owners)?,
                        json(&token.scopes)?,
                        json(&token.patterns)?,
                        token.created_at.unix(),
                        token.expires_at.map(Timestamp::unix),
                        token.revoked_at.map(Timestamp::unix)
                    ],
                )?,
                TokenChange::Revoke { name, at } => {
                    let sql = "UPDATE token SET revoked_at = coalesce(revoked_at, ?2) WHERE name = ?1";
                    self.run(DURING, sql, params![name.as_str(), at.unix()])?
                }
            };
        }
        Ok(None)
    }

    fn precedent(&mut self, new: &NewProposal) -> Result<Precedent, Fault> {
        const DURING: &str = "looking for an earlier proposal";
        let core = &new.core;
        let by = |condition: &str, params: &[&dyn ToSql]| {
            self.one(DURING, &format!("SELECT {PROPOSAL} FROM proposal WHERE {condition}"), params, proposal)
        };
        let now = new.created_at.unix();
        let mut taken = by("id = ?1", &[&id_bytes(&core.id)])?;
        if taken.is_none() && new.chosen_nonce {
            let nonce = core.nonce.to_bytes();
            taken = by("nonce = ?1 AND status >= 2", &[&nonce])?;
            if taken.is_none()
                && let Some(spent) = self.one(DURING, SPENT, [nonce], spent)?
            {
                taken = by("id = ?1", &[&id_bytes(&spent.proposal)])?;
            }
        }
        let identical = if new.chosen_nonce {
            None
        } else {
            by(
                "proposer = ?1 AND step_digest = ?2 AND params_digest = ?3 AND status = 2 AND expires_at > ?4 \
                 AND status BETWEEN 2 AND 3 ORDER BY id DESC LIMIT 1",
                &[&core.proposer.as_str(), core.step_digest.as_bytes(), core.params_digest.as_bytes(), &now],
            )?
        };
        let counts = self.one(
            DURING,
            "SELECT count(*), count(*) FILTER (WHERE proposer = ?1) FROM proposal INDEXED BY proposal_open \
             WHERE status BETWEEN 2 AND 3 AND status = 2 AND expires_at > ?2",
            params![core.proposer.as_str(), now],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let (of_all, of_proposer) = counts.unwrap_or((0, 0));
        Ok(Precedent { taken, identical, of_proposer, of_all })
    }

    fn put_proposal(&mut self, new: &NewProposal) -> Result<(), Fault> {
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

    fn sign(&mut self, proposal: &ProposalId, signatures: &[Signature]) -> Result<Vec<Signature>, Fault> {
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
                    signature.presence,
                    signature.at.unix(),
                    signature.sig
                ],
            )?;
        }
        read_signatures(&self.connection, proposal)
    }

    fn denial(&mut self, authorization: &AuthorizationDigest, approver: &Name) -> Result<Option<u64>, Fault> {
        self.one(
            "looking for a denial",
            "SELECT leaf FROM denial WHERE authorization = ?1 AND approver = ?2",
            params![authorization.as_bytes(), approver.as_str()],
            |row| row.get(0),
        )
    }

    fn deny(&mut self, authorization: &AuthorizationDigest, denial: &Denied) -> Result<(), Fault> {
        self.run(
            "keeping a denial",
            "INSERT INTO denial (authorization, approver, leaf, at) VALUES (?1, ?2, ?3, ?4)",
            params![authorization.as_bytes(), denial.approver.as_str(), denial.leaf, denial.at.unix()],
        )
        .map(drop)
    }

    fn unfinished_of(&mut self, authorization: &AuthorizationDigest) -> Result<Option<(ProposalId, Standing)>, Fault> {
        const DURING: &str = "looking for a denied proposal";
        let digest = authorization.as_bytes();
        let read = |row: &Row<'_>| Ok((proposal_id(row, 3)?, standing(row)?));
        let sql = "SELECT status, spent, receipt, id FROM proposal WHERE digest = ?1 AND status >= 2";
        if let Some(found) = self.one(DURING, sql, [digest], read)? {
            return Ok(Some(found));
        }
        // Few run at a time, and denials are rare: no index for this.
        let sql = "SELECT status, spent, receipt, id FROM proposal WHERE digest = ?1 AND id IN (SELECT proposal FROM crossing)";
        self.one(DURING, sql, [digest], read)
    }

    fn advance(&mut self, proposal: &ProposalId, to: Status, at: Timestamp, detail: &Detail) -> Result<(), Fault> {
        let column = if to == Status::Approved { "approved_at" } else { "ended_at" };
        let sql = format!("UPDATE proposal SET status = ?2, {column} = ?3, detail = ?4 WHERE id = ?1");
        let detail = if detail.is_empty() { None } else { Some(detail) };
        self.run("moving a proposal on", &sql, params![id_bytes(proposal), to.number(), at.unix(), detail]).map(drop)
    }

    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ProposalId>, Fault> {
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

    fn save(&mut self) -> Result<(), Fault> {
        self.run("marking a place in a batch", "SAVEPOINT step", []).map(drop)
    }

    fn keep(&mut self) -> Result<(), Fault> {
        self.run("going on in a batch", "RELEASE step", []).map(drop)
    }

    fn undo(&mut self) -> Result<(), Fault> {
        const DURING: &str = "taking back a part of a batch";
        self.run(DURING, "ROLLBACK TO step", [])?;
        self.run(DURING, "RELEASE step", []).map(drop)
    }

    fn retire(&mut self, cut: Cut, walk: Walk, limit: usize) -> Result<Retired, Fault> {
        const DURING: &str = "deleting what its retention has ended";
        let connection = &self.connection;
        let write = || -> rusqlite::Result<Retired> {
            let mut done = Retired::default();
            // By rowid, which is the order of recording; the bytes themselves are not read.
            let sql = "SELECT rowid, name, at, data IS NULL FROM output WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";
            let seen: Vec<(u64, [u8; 32], i64, bool)> = connection
                .prepare_cached(sql)?
                .query_map(params![walk.outputs.unwrap_or(0), limit], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect::<rusqlite::Result<_>>()?;
            for (rowid, name, at, is_file) in &seen {
                if *at <= cut.outputs.unix() {
                    // `output_of` stays: it says that there was one, and who may know.
                    done.deleted +=
                        connection.prepare_cached("DELETE FROM output WHERE rowid = ?1")?.execute([rowid])?;
                    if *is_file {
                        done.files.push(Blake3Digest::from_bytes(*name));
                    }
                }
            }
            done.walk.outputs = if seen.len() == limit { seen.last().map(|last| last.0) } else { None };
            let sql = "SELECT id, status, ended_at, expires_at FROM proposal WHERE id > ?1 ORDER BY id LIMIT ?2";
            let seen: Vec<([u8; 16], u8, Option<i64>, i64)> = connection
                .prepare_cached(sql)?
                .query_map(params![walk.proposals.unwrap_or_default(), limit], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let delete = |table: &str, id: &[u8; 16]| {
                connection.prepare_cached(&format!("DELETE FROM {table} WHERE proposal = ?1"))?.execute([id])
            };
            for (id, status, ended_at, expires_at) in &seen {
                let Some(ended_at) = *ended_at else { continue };
                let finished = *status == Status::Finished.number();
                if finished && ended_at <= cut.outputs.unix() {
                    done.deleted += delete("output_order", id)?;
                }
                if ended_at > cut.proposals.unix() {
                    continue;
                }
                if finished {
                    // The row stays, it leads to the receipt; that embeds the signatures.
                    done.deleted += delete("signature", id)?;
                } else if *expires_at <= cut.mark.unix() {
                    // Not before its window has closed: until then only this row says that it must not run.
                    delete("signature", id)?;
                    delete("payload", id)?;
                    done.deleted += connection.prepare_cached("DELETE FROM proposal WHERE id = ?1")?.execute([id])?;
                }
            }
            done.walk.proposals = if seen.len() == limit { seen.last().map(|last| last.0) } else { None };
            Ok(done)
        };
        write().map_err(fault(DURING))
    }

    fn prune(&mut self, mark: Timestamp, after: &[u8], limit: usize) -> Result<Swept, Fault> {
        prune::prune(&self.connection, mark, after, limit).map_err(fault("pruning nonces"))
    }

    fn put_checkpoints(&mut self, checkpoints: &[CheckpointRow]) -> Result<Option<u64>, Fault> {
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

impl SqliteReads {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::new((Vec::new(), 0)), returned: Condvar::new() }
    }

    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
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
            idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
        };
        drop(idle);
        let result = read(&connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).0.push(connection);
        self.returned.notify_one();
        result
    }

    fn connect(&self) -> Result<Connection, Fault> {
        const DURING: &str = "opening the store for reading";
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(fault(DURING))?;
        schema::harden(&connection).map_err(fault(DURING))?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(fault(DURING))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    fn one<T>(
        &self,
        during: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        self.with(|connection| one(connection, during, sql, params, read))
    }

    fn all<T>(
        &self,
        during: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        self.with(|connection| all(connection, during, sql, params, read))
    }
}

impl Reads for SqliteReads {
    fn leaf(&self, index: u64) -> Result<Option<Leaf>, Fault> {
        self.one("reading a log entry", "SELECT kind, at, hash, data FROM leaf WHERE idx = ?1", [index], |row| {
            Ok(Leaf {
                kind: LeafKind::of_number(row.get(0)?).ok_or_else(|| odd(row, 0))?,
                at: time(row, 1)?,
                hash: row.get(2)?,
                data: row.get(3)?,
            })
        })
    }

    fn leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, Fault> {
        let sql = "SELECT data FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        self.all("reading log entries", sql, [range.start, range.end], |row| row.get(0))
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, Fault> {
        self.with(|connection| read_tile(connection, level, index))
    }

    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, Fault> {
        self.one("reading a blob", "SELECT data FROM blob WHERE digest = ?1", [digest.as_bytes()], |row| row.get(0))
    }

    fn seals(&self) -> Result<Vec<SealEntry>, Fault> {
        self.all("reading seals", "SELECT idx, digest FROM seal ORDER BY idx", [], |row| {
            Ok(SealEntry { index: row.get(0)?, digest: SealDigest::from_bytes(row.get(1)?) })
        })
    }

    fn checkpoint(&self, size: Option<u64>) -> Result<Option<CheckpointRow>, Fault> {
        let read = |row: &Row<'_>| Ok(CheckpointRow { size: row.get(0)?, root: row.get(1)?, note: row.get(2)? });
        const DURING: &str = "reading a checkpoint";
        match size {
            Some(size) => self.one(DURING, "SELECT size, root, note FROM checkpoint WHERE size = ?1", [size], read),
            None => self.one(DURING, "SELECT size, root, note FROM checkpoint ORDER BY size DESC LIMIT 1", [], read),
        }
    }

    fn checkpoint_over(&self, index: u64) -> Result<Option<CheckpointRow>, Fault> {
        let sql = "SELECT size, root, note FROM checkpoint WHERE size > ?1 ORDER BY size LIMIT 1";
        self.one("reading a checkpoint", sql, [index], |row| {
            Ok(CheckpointRow { size: row.get(0)?, root: row.get(1)?, note: row.get(2)? })
        })
    }

    fn proposal(&self, id: &ProposalId) -> Result<Option<Proposal>, Fault> {
        let sql = format!("SELECT {PROPOSAL} FROM proposal WHERE id = ?1");
        self.one("reading a proposal", &sql, [id_bytes(id)], proposal)
    }

    fn proposal_of(&self, authorization: &AuthorizationDigest) -> Result<Option<Proposal>, Fault> {
        const DURING: &str = "reading a proposal";
        let digest = authorization.as_bytes();
        let sql = format!("SELECT {PROPOSAL} FROM proposal WHERE digest = ?1 AND status >= 2");
        if let Some(found) = self.one(DURING, &sql, [digest], proposal)? {
            return Ok(Some(found));
        }
        let sql =
            format!("SELECT {PROPOSAL} FROM proposal WHERE digest = ?1 AND id IN (SELECT proposal FROM crossing)");
        self.one(DURING, &sql, [digest], proposal)
    }

    fn proposals(&self, filter: &Filter) -> Result<Page, Fault> {
        const DURING: &str = "listing proposals";
        // Few wait and few run, so those have ways of their own; else by id, backwards, a bounded stretch at a time.
        let source = match filter.status {
            Some(Status::Pending | Status::Approved) => {
                "proposal INDEXED BY proposal_open WHERE status BETWEEN 2 AND 3 AND"
            }
            Some(Status::Running) => "proposal WHERE id IN (SELECT proposal FROM crossing) AND",
            _ => "proposal WHERE",
        };
        let sql = format!("SELECT {PROPOSAL} FROM {source} id < ?1 ORDER BY id DESC");
        let before = filter.before.as_ref().map_or([0xff; 16], id_bytes);
        let wanted = |found: &Proposal| {
            filter.status.is_none_or(|status| status == found.status)
                && filter.step.as_ref().is_none_or(|step| *step == found.core.step)
                && filter.proposer.as_ref().is_none_or(|proposer| *proposer == found.core.proposer)
        };
        self.with(|connection| {
            let read = || -> rusqlite::Result<Page> {
                let mut statement = connection.prepare_cached(&sql)?;
                let mut rows = statement.query([before])?;
                let mut page = Page { proposals: Vec::new(), next: None };
                for _ in 0..MAX_SCAN {
                    let Some(row) = rows.next()? else {
                        page.next = None;
                        return Ok(page);
                    };
                    let found = proposal(row)?;
                    page.next = Some(found.core.id.clone());
                    if wanted(&found) {
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

    fn payload(&self, id: &ProposalId) -> Result<Option<PayloadSource>, Fault> {
        const DURING: &str = "reading a payload";
        // One statement, so one state: the bytes move from place to place as the proposal goes on.
        let sql = "SELECT p.data, c.envelope, l.data FROM proposal \
                   LEFT JOIN payload p ON p.proposal = proposal.id LEFT JOIN crossing c ON c.id = proposal.spent \
                   LEFT JOIN leaf l ON l.idx = proposal.receipt WHERE proposal.id = ?1";
        let found = self.one(DURING, sql, [id_bytes(id)], |row| {
            Ok(match (row.get(0)?, row.get(1)?, row.get(2)?) {
                (Some(payload), _, _) => Some(PayloadSource::Payload(payload)),
                (_, Some(envelope), _) => Some(PayloadSource::Envelope(envelope)),
                (_, _, Some(receipt)) => Some(PayloadSource::Receipt(receipt)),
                (None, None, None) => None,
            })
        })?;
        Ok(found.flatten())
    }

    fn signatures(&self, id: &ProposalId) -> Result<Vec<Signature>, Fault> {
        self.with(|connection| read_signatures(connection, id))
    }

    fn denials(&self, authorization: &AuthorizationDigest) -> Result<Vec<Denied>, Fault> {
        let sql = "SELECT approver, leaf, at FROM denial WHERE authorization = ?1 ORDER BY leaf";
        self.all("reading denials", sql, [authorization.as_bytes()], |row| {
            Ok(Denied { approver: text(row, 0)?, leaf: row.get(1)?, at: time(row, 2)? })
        })
    }

    fn spent(&self, nonce: &Nonce) -> Result<Option<Spent>, Fault> {
        self.one("looking for a nonce", SPENT, [nonce.to_bytes()], spent)
    }

    fn unfinished(&self) -> Result<Vec<Unfinished>, Fault> {
        let sql = "SELECT c.id, c.proposal, l.hash, l.at, c.seal, c.envelope, c.decision \
                   FROM crossing c JOIN leaf l ON l.idx = c.id >> 6 ORDER BY c.id";
        self.all("reading what has no receipt", sql, [], |row| {
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
            })
        })
    }

    fn running(&self) -> Result<Vec<ProposalId>, Fault> {
        self.all("reading what runs", "SELECT proposal FROM crossing ORDER BY id", [], |row| proposal_id(row, 0))
    }

    fn output(&self, name: &Blake3Digest) -> Result<Option<OutputRow>, Fault> {
        self.one("reading an output", "SELECT bytes, data FROM output WHERE name = ?1", [name.as_bytes()], |row| {
            Ok(OutputRow { name: *name, bytes: row.get(0)?, data: row.get(1)? })
        })
    }

    fn runs_with_output(&self, name: &Blake3Digest, limit: usize) -> Result<Vec<ProposalId>, Fault> {
        let sql = "SELECT proposal FROM output_of WHERE name = ?1 ORDER BY proposal DESC LIMIT ?2";
        self.all("reading who wrote an output", sql, params![name.as_bytes(), limit], |row| proposal_id(row, 0))
    }

    fn output_order(&self, id: &ProposalId) -> Result<Option<Vec<u8>>, Fault> {
        let sql = "SELECT data FROM output_order WHERE proposal = ?1";
        self.one("reading an output's order", sql, [id_bytes(id)], |row| row.get(0))
    }

    fn tokens(&self) -> Result<Vec<Token>, Fault> {
        self.all("reading tokens", &format!("SELECT {TOKEN} FROM token ORDER BY name"), [], token)
    }

    fn token(&self, secret: &[u8; 32]) -> Result<Option<Token>, Fault> {
        self.one("reading a token", &format!("SELECT {TOKEN} FROM token WHERE secret = ?1"), [secret], token)
    }
}

const SPENT: &str = "SELECT spent, proposal FROM nonce WHERE nonce = ?1";

const PROPOSAL: &str = "id, digest, nonce, request, step, step_digest, params_digest, proposer, expires_at, status, \
                        created_at, approved_at, started_at, ended_at, spent, receipt, detail";

const TOKEN: &str = "name, secret, owners, scopes, patterns, created_at, expires_at, revoked_at";

fn one<T>(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Fault> {
    let found = connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(params, read).optional());
    found.map_err(fault(during))
}

fn all<T>(
    connection: &Connection,
    during: &'static str,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Fault> {
    let found = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>());
    found.map_err(fault(during))
}

fn read_head(connection: &Connection) -> Result<Head, Fault> {
    const DURING: &str = "reading what is in force";
    let last = one(connection, DURING, "SELECT idx, at FROM leaf ORDER BY idx DESC LIMIT 1", [], |row| {
        Ok((row.get::<_, u64>(0)? + 1, time(row, 1)?))
    })?;
    let (size, last_at) = last.unwrap_or((0, Timestamp::from_unix(0)));
    let head = one(connection, DURING, "SELECT boundary, seal, version, mark FROM state", [], |row| {
        Ok(Head {
            size,
            last_at,
            boundary: row.get::<_, Option<[u8; 32]>>(0)?.map(SealDigest::from_bytes),
            seal: row.get::<_, Option<[u8; 32]>>(1)?.map(SealDigest::from_bytes),
            version: row.get(2)?,
            mark: time(row, 3)?,
            exclusive: Vec::new(),
        })
    })?;
    let mut head = head.ok_or_else(|| Fault::broken(DURING, "the state's row is missing"))?;
    let sql = "SELECT exclusive, proposal FROM crossing WHERE exclusive IS NOT NULL";
    head.exclusive = all(connection, DURING, sql, [], |row| Ok((row.get(0)?, proposal_id(row, 1)?)))?;
    Ok(head)
}

/// A connection that changes nothing, after making sure that the file is a store that this program can read.
fn read_only(path: &Path) -> Result<Connection, Fault> {
    let refused = |message: String| Fault::Unusable { message: format!("{} {message}", path.display()) };
    if !path.is_file() {
        return Err(refused("is not there: name a store, or a backup of one".to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| unusable(path, &error))?;
    schema::harden(&connection).map_err(|error| unusable(path, &error))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(|error| unusable(path, &error))?;
    connection.set_prepared_statement_cache_capacity(64);
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    // What can't be read of a file that is a database is a defect of it, not a wrong name.
    let unreadable = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure) => fault("opening the store")(error),
        _ => unusable(path, &error),
    };
    let application = number("application_id").map_err(unreadable)?;
    let version = number("user_version").map_err(unreadable)?;
    if application != APPLICATION_ID {
        return Err(refused("is no store of this program: name another file".to_owned()));
    }
    if usize::try_from(version).unwrap_or(usize::MAX) > MIGRATIONS.len() {
        return Err(refused(format!("has schema {version}, newer than this program: use the one that wrote it")));
    }
    Ok(connection)
}

fn insert_blobs(connection: &Connection, blobs: &[(BlobDigest, Vec<u8>)]) -> rusqlite::Result<()> {
    for (digest, data) in blobs {
        connection
            .prepare_cached("INSERT OR IGNORE INTO blob (digest, data) VALUES (?1, ?2)")?
            .execute(params![digest.as_bytes(), data])?;
    }
    Ok(())
}

fn read_tile(connection: &Connection, level: u8, index: u64) -> Result<Option<Vec<Hash>>, Fault> {
    const DURING: &str = "reading a hash tile";
    let found = one(connection, DURING, "SELECT hashes FROM tile WHERE id = ?1", [tile_id(level, index)], |row| {
        let bytes = row.get_ref(0)?.as_blob()?;
        Ok(bytes.as_chunks::<32>().0.to_vec())
    })?;
    match found {
        Some(hashes) if hashes.len() != 256 => Err(Fault::broken(DURING, format!("tile {level}/{index} is cut"))),
        found => Ok(found),
    }
}

fn read_signatures(connection: &Connection, id: &ProposalId) -> Result<Vec<Signature>, Fault> {
    let sql = "SELECT keyid, person, presence, sig, at FROM signature WHERE proposal = ?1 ORDER BY number";
    all(connection, "reading signatures", sql, [id_bytes(id)], |row| {
        Ok(Signature {
            keyid: text(row, 0)?,
            person: text(row, 1)?,
            presence: row.get(2)?,
            sig: row.get(3)?,
            at: time(row, 4)?,
        })
    })
}

fn proposal(row: &Row<'_>) -> rusqlite::Result<Proposal> {
    let times = |at| row.get::<_, Option<i64>>(at).map(|found| found.map(Timestamp::from_unix));
    Ok(Proposal {
        core: Core {
            id: proposal_id(row, 0)?,
            digest: AuthorizationDigest::from_bytes(row.get(1)?),
            nonce: base64::engine::general_purpose::URL_SAFE_NO_PAD
                .encode(row.get_ref(2)?.as_blob()?)
                .parse()
                .map_err(|_| odd(row, 2))?,
            step: text(row, 4)?,
            step_digest: StepDigest::from_bytes(row.get(5)?),
            params_digest: ParamsDigest::from_bytes(row.get(6)?),
            proposer: text(row, 7)?,
            expires_at: time(row, 8)?,
        },
        request: row.get(3)?,
        status: status(row, 9)?,
        created_at: time(row, 10)?,
        approved_at: times(11)?,
        started_at: times(12)?,
        ended_at: times(13)?,
        consumption: row.get::<_, Option<i64>>(14)?.map(unplace),
        receipt: row.get(15)?,
        detail: row.get(16)?,
    })
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        name: text(row, 0)?,
        secret: row.get(1)?,
        owners: from_json(row, 2)?,
        scopes: from_json::<Vec<Scope>>(row, 3)?,
        patterns: from_json(row, 4)?,
        created_at: time(row, 5)?,
        expires_at: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_unix),
        revoked_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_unix),
    })
}

fn standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    Ok(Standing {
        status: status(row, 0)?,
        consumption: row.get::<_, Option<i64>>(1)?.map(unplace),
        receipt: row.get(2)?,
    })
}

fn spent(row: &Row<'_>) -> rusqlite::Result<Spent> {
    let (index, item) = unplace(row.get(0)?);
    Ok(Spent { index, item, proposal: proposal_id(row, 1)? })
}

/// Leaf and item in one number: an item is below 64.
const fn place(index: u64, item: u32) -> i64 {
    (index << 6 | item as u64).cast_signed()
}

const fn unplace(place: i64) -> (u64, u32) {
    let place = place.cast_unsigned();
    (place >> 6, (place & 63) as u32)
}

const fn tile_id(level: u8, index: u64) -> i64 {
    ((level as u64) << 48 | index).cast_signed()
}

/// The 16 bytes of the id's UUID: time first, so that new rows stand together.
fn id_bytes(id: &ProposalId) -> [u8; 16] {
    // A `ProposalId` is `prp_` and a UUID by its parser.
    uuid::Uuid::try_parse(&id.as_str()[4..]).map(uuid::Uuid::into_bytes).unwrap_or_default()
}

fn proposal_id(row: &Row<'_>, at: usize) -> rusqlite::Result<ProposalId> {
    let uuid = uuid::Uuid::from_bytes(row.get(at)?);
    format!("prp_{uuid}").parse().map_err(|_| odd(row, at))
}

fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    row.get(at).map(Timestamp::from_unix)
}

fn status(row: &Row<'_>, at: usize) -> rusqlite::Result<Status> {
    Status::of_number(row.get(at)?).ok_or_else(|| odd(row, at))
}

fn text<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    row.get_ref(at)?.as_str()?.parse().map_err(|_| odd(row, at))
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value)
        .map_err(|error| Fault::Database { during: "writing a token", message: error.to_string() })
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(at)?.as_str()?).map_err(|_| odd(row, at))
}

/// A stored value that the program would not have written.
fn odd(row: &Row<'_>, at: usize) -> rusqlite::Error {
    let kind = row.get_ref(at).map_or(rusqlite::types::Type::Null, |value| value.data_type());
    rusqlite::Error::InvalidColumnType(at, "a value that this program does not write".to_owned(), kind)
}

fn fault(during: &'static str) -> impl FnOnce(rusqlite::Error) -> Fault {
    move |error| {
        let message = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Fault::Full { during },
            // Reads and writes that failed, and pages or values that nobody wrote: what is durable is not known.
            Some(
                ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ReadOnly,
            ) => Fault::Broken { during, message },
            Some(_) => Fault::Database { during, message },
            None => Fault::Broken { during, message },
        }
    }
}

fn unusable(path: &Path, error: &rusqlite::Error) -> Fault {
    let message =
        format!("{} is no store that can be opened: {error}; restore it, or name another file", path.display());
    Fault::Unusable { message }
}
