//! Check of an SQLite store: compares every row with the log, and all bytes with their digests.
//!
//! The check runs in one read transaction and changes nothing. The check does not block a running service, and does not
//! see the new writes of the service.

mod entries;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rusqlite::{Connection, Params};
use serde::de::DeserializeOwned;

use crate::{
    Fields, MOST_MARK_AHEAD_S, OwedReview, RESTORE, StoreDefect, StoreFault, StoreReport,
    StoreResult, StoreScope, TreeEdge, opened, read_only,
    sqlite::{
        columns::{all, one},
        errors::During as _,
        schema,
    },
    store_report::{DISK, MARK, MAX_DEFECTS},
    tile_id,
};
use documents::{
    Checkpoint, Frontier, Hash, KeyId, LeafKind, Name, Note, ProposalId, PublicKey, RevokedSubject,
    Roster, Seal, SealDigest, SshKey, Statement, Timestamp, hex, json, merkle, note, origin,
    sha256,
};

const DURING: &str = "checking the store";
/// Number of leaves that one query of the check reads.
const AT_ONCE: u64 = 256;

/// Checks the store at `path`. `progress` gets the number of checked log entries and the number of all log entries.
///
/// # Errors
/// Returns a fault if the store cannot be opened. Problems inside the store are defects.
pub fn check(
    path: &Path,
    scope: &StoreScope,
    progress: &mut dyn FnMut(u64, u64),
) -> StoreResult<StoreReport> {
    let connection = match read_only(path) {
        Ok(connection) => connection,
        // A file whose first pages are unreadable is a damaged store, so the report contains a defect.
        Err(StoreFault::Broken { message, .. }) => return Ok(StoreReport::of_unreadable(message)),
        Err(fault) => return Err(fault),
    };
    connection.execute_batch("BEGIN").during(DURING)?;
    let mut look = Look {
        connection,
        scope,
        mark: 0,
        size: 0,
        last_at: i64::MIN,
        stated: None,
        previous: None,
        in_force: None,
        first: None,
        taken_over_until: None,
        origin: None,
        keys: Vec::new(),
        rosters: BTreeSet::new(),
        revoked: BTreeSet::new(),
        people: BTreeMap::new(),
        outputs_named: 0,
        denials: 0,
        uses: 0,
        owed: BTreeMap::new(),
        reviews: 0,
        root: merkle::EMPTY_ROOT,
        defects: Vec::new(),
        notes: Vec::new(),
        counts: Vec::new(),
    };
    look.sound();
    for step in [Look::state, Look::places, Look::seals] {
        if let Err(error) = step(&mut look) {
            look.unreadable(&error);
            return Ok(look.end());
        }
    }
    if let Err(error) = look.log(progress) {
        look.in_force = None;
        look.unreadable(&error);
    }
    for step in [
        Look::runs,
        Look::nonces,
        Look::waiting,
        Look::denials,
        Look::blobs,
        Look::outputs,
        Look::tokens,
        Look::grants,
        Look::reviews,
    ] {
        if let Err(error) = step(&mut look) {
            look.unreadable(&error);
        }
    }
    Ok(look.end())
}

/// A row of `leaf`.
struct LogRow {
    index: u64,
    kind: u8,
    at: i64,
    hash: Hash,
    is_packed: bool,
    /// The bytes of the entry. If a defect makes the bytes unreadable, the place and the description of the defect.
    data: Result<Vec<u8>, (String, &'static str)>,
}

pub(crate) struct Look<'a> {
    connection: Connection,
    scope: &'a StoreScope,
    mark: i64,
    size: u64,
    last_at: i64,
    /// Time that the current entry states, if its kind states a time.
    stated: Option<Timestamp>,
    /// Digest of the last seal that the check has read.
    previous: Option<SealDigest>,
    /// The last seal that the check has read.
    in_force: Option<Seal>,
    /// Digest of the first seal, which is the id of the boundary.
    first: Option<SealDigest>,
    /// Time at which all nonces of the earlier log have expired, if this log follows another log.
    taken_over_until: Option<i64>,
    origin: Option<String>,
    /// Keys of the boundary in all rosters of the log.
    keys: Vec<PublicKey>,
    rosters: BTreeSet<[u8; 32]>,
    /// Subjects of the revocations in the log.
    revoked: BTreeSet<RevokedSubject>,
    /// Approvers by key, from all rosters of the log.
    people: BTreeMap<KeyId, BTreeSet<Name>>,
    /// Number of rows in `output_of` that belong to receipts.
    outputs_named: u64,
    /// Number of denials in the log.
    denials: u64,
    /// Number of uses of grants in the log.
    uses: u64,
    /// Runs that need a review, as their documents say.
    owed: BTreeMap<ProposalId, OwedReview>,
    /// Number of reviews in the log.
    reviews: u64,
    root: Hash,
    defects: Vec<StoreDefect>,
    notes: Vec<String>,
    counts: Vec<(&'static str, u64)>,
}

impl Look<'_> {
    fn end(self) -> StoreReport {
        StoreReport {
            boundary: self.first,
            size: self.size,
            root: self.root,
            defects: self.defects,
            notes: self.notes,
            counts: self.counts,
        }
    }

    /// Reports a row that contradicts the log.
    fn defect(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.advise(place, what, RESTORE);
    }

    fn advise(&mut self, place: impl Into<String>, what: impl Into<String>, fix: &'static str) {
        if self.defects.len() < MAX_DEFECTS {
            self.defects.push(StoreDefect {
                place: place.into(),
                what: what.into(),
                fix,
            });
        }
    }

    fn unreadable(&mut self, fault: &StoreFault) {
        let (StoreFault::Broken { message, .. } | StoreFault::Database { message, .. }) = fault
        else {
            return self.advise("the database", fault.to_string(), DISK);
        };
        self.advise(
            "the database",
            format!("the database cannot be read completely: {message}"),
            DISK,
        );
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Fields<'_>) -> StoreResult<T>,
    ) -> StoreResult<Option<T>> {
        one(&self.connection, DURING, sql, params, read)
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Fields<'_>) -> StoreResult<T>,
    ) -> StoreResult<Vec<T>> {
        all(&self.connection, DURING, sql, params, read)
    }

    /// Passes each row to `read`, one at a time.
    fn each(&self, sql: &str, read: impl FnMut(&Fields<'_>) -> StoreResult) -> StoreResult {
        self.all(sql, [], read).map(drop)
    }

    /// Returns a blob as a document, unless the blob is missing or is no such document.
    fn blob<T: DeserializeOwned>(&self, digest: &[u8; 32]) -> StoreResult<Option<T>> {
        let sql = "SELECT data FROM blob WHERE digest = ?1";
        self.one(sql, [digest], |row| {
            let bytes = row.get(0)?;
            Ok(json::parse_as(bytes, bytes.len()).ok())
        })
        .map(Option::flatten)
    }

    fn number(&self, sql: &str) -> StoreResult<u64> {
        Ok(self.one(sql, [], |row| row.get(0))?.unwrap_or_default())
    }

    /// Compares the number of a table's rows with the number that `what` explains.
    fn count(&mut self, table: &str, expected: u64, what: &str) -> StoreResult {
        let there = self.number(&format!("SELECT count(*) FROM {table}"))?;
        if there != expected {
            let what = format!("the table has {there} rows, but {what} {expected}");
            self.defect(format!("table {table}"), what);
        }
        Ok(())
    }

    /// Reports each row of a query as a defect. The first column must be an id.
    fn odd(&mut self, table: &str, what: &str, sql: &str) -> StoreResult {
        let limit = MAX_DEFECTS - self.defects.len().min(MAX_DEFECTS);
        let found = self.all(
            &format!("SELECT hex(id) FROM ({sql}) LIMIT ?1"),
            [limit],
            |row| row.get::<String>(0).map(|id| id.to_lowercase()),
        )?;
        for id in found {
            self.defect(format!("table {table}, row {id}"), what);
        }
        Ok(())
    }

    fn sound(&mut self) {
        let sql = "PRAGMA integrity_check(20)";
        match self.all(sql, [], |row| row.get::<String>(0)) {
            Ok(lines) => {
                for line in lines.iter().filter(|line| *line != "ok") {
                    self.advise("the database", line.clone(), DISK);
                }
            }
            Err(error) => self.unreadable(&error),
        }
    }

    fn state(&mut self) -> StoreResult {
        for difference in schema::differences(&self.connection).during(DURING)? {
            self.defect("the schema", difference);
        }
        let mark = self.one("SELECT mark FROM state", [], |row| row.get(0))?;
        // Without the row, the check would report every deleted nonce as missing.
        let missing =
            || StoreFault::broken(DURING, "the table `state` has no row: restore a backup");
        self.mark = mark.ok_or_else(missing)?;
        self.size = self.number("SELECT coalesce(max(idx) + 1, 0) FROM leaf")?;
        let there = self.number("SELECT count(*) FROM leaf")?;
        if there != self.size {
            self.defect(
                "the log",
                format!("only {there} of {} entries exist", self.size),
            );
        }
        self.counts.push(("log entries", there));
        Ok(())
    }

    /// Makes temporary tables of proposals, sorted by their place in the log.
    fn places(&mut self) -> StoreResult {
        self.connection
            .execute_batch(
                "CREATE TEMP TABLE spent_at (spent INTEGER NOT NULL, id BLOB NOT NULL);
             INSERT INTO spent_at SELECT spent, id FROM proposal WHERE spent IS NOT NULL;
             CREATE INDEX temp.spent_at_place ON spent_at (spent);
             CREATE TEMP TABLE closed_at (receipt INTEGER NOT NULL, id BLOB NOT NULL);
             INSERT INTO closed_at SELECT receipt, id FROM proposal WHERE receipt IS NOT NULL;
             CREATE INDEX temp.closed_at_place ON closed_at (receipt);",
            )
            .during(DURING)
    }

    /// Collects the keys from the rosters of all seals.
    fn seals(&mut self) -> StoreResult {
        let seals = self.all("SELECT idx, digest FROM seal ORDER BY idx", [], |row| {
            row.pair::<u64, [u8; 32]>()
        })?;
        self.counts.push(("seals", seals.len() as u64));
        if let Some((_, first)) = seals.first() {
            self.origin = Some(origin(&self.scope.name, &SealDigest::from_bytes(*first)));
        }
        for (index, digest) in &seals {
            let kind = self.one("SELECT kind FROM leaf WHERE idx = ?1", [index], |row| {
                row.get::<u8>(0)
            })?;
            let data = if kind == Some(LeafKind::Seal as u8) {
                self.entry_at(*index)?
            } else {
                None
            };
            let statement = data.and_then(|data| opened::<Seal>(&data).ok());
            match statement {
                Some((payload, statement)) if sha256(&payload) == *digest => {
                    self.keys_of(*statement.predicate.roster.as_bytes())?;
                }
                _ => self.defect(
                    format!("table seal, row {index}"),
                    format!("log entry {index} is not the seal sha256:{}", hex(digest)),
                ),
            }
        }
        Ok(())
    }

    fn keys_of(&mut self, roster: [u8; 32]) -> StoreResult {
        if !self.rosters.insert(roster) {
            return Ok(());
        }
        let sql = "SELECT data FROM blob WHERE digest = ?1";
        let roster = self.one(sql, [roster], |row| {
            Ok(Statement::<Roster>::from_payload(row.get(0)?).ok())
        })?;
        let Some(roster) = roster.flatten() else {
            return Ok(());
        };
        // Approvers sign proposals, and a proposer signs its runs under a grant.
        let roster = roster.predicate;
        let approvers = roster.approvers.iter().map(|(name, one)| (name, &one.keys));
        let proposers = roster.proposers.iter().map(|(name, one)| (name, &one.keys));
        for (name, keys) in approvers.chain(proposers) {
            for key in keys.iter().filter_map(|line| SshKey::parse(line).ok()) {
                self.people
                    .entry(key.keyid())
                    .or_default()
                    .insert(name.clone());
            }
        }
        let own = roster.boundaries.get(&self.scope.name);
        for line in own.into_iter().flat_map(|own| &own.keys) {
            if let Ok(key) = SshKey::parse(line)
                && !self.keys.contains(key.public())
            {
                self.keys.push(*key.public());
            }
        }
        Ok(())
    }

    /// Checks every entry in order, with its hash, its time, its tiles, its checkpoints and its rows.
    fn log(&mut self, progress: &mut dyn FnMut(u64, u64)) -> StoreResult {
        let mut tree = Frontier::default();
        let mut edge = TreeEdge::default();
        let (mut tiles, mut packed) = (0, 0);
        for first in (0..self.size).step_by(AT_ONCE as usize) {
            let range = [first, first + AT_ONCE];
            let leaves = self.log_rows(range)?;
            packed += u64::from(self.packed(&leaves)?);
            let mut heads = self.all(
                "SELECT size, root, note FROM checkpoint WHERE size > ?1 AND size <= ?2 ORDER BY size",
                range,
                |row| Ok((row.get::<u64>(0)?, row.get::<Vec<u8>>(1)?, row.get::<String>(2)?)),
            )?;
            heads.reverse();
            for LogRow {
                index,
                kind,
                at,
                hash,
                data,
                ..
            } in leaves
            {
                let entry = format!("log entry {index}");
                if index != tree.size() {
                    // Every entry after a missing entry would be a defect, so report only the missing entry.
                    self.defect(format!("log entry {}", tree.size()), "it is missing");
                    self.in_force = None;
                    return Ok(());
                }
                let true_hash = data.as_ref().map_or(hash, |data| merkle::leaf_hash(data));
                if hash != true_hash {
                    self.defect(&entry, "the hash of the entry does not match its bytes");
                }
                tree.append(true_hash);
                let mut complete = Vec::new();
                edge.append(true_hash, &mut complete);
                for tile in complete {
                    tiles += 1;
                    let sql = "SELECT hashes FROM tile WHERE id = ?1";
                    let kept = self.one(sql, [tile_id(tile.level, tile.index)], |row| {
                        row.get::<Vec<u8>>(0)
                    })?;
                    if kept.as_deref() != Some(tile.hashes.as_flattened()) {
                        let what = if kept.is_some() {
                            "the tile does not match the entries below the tile"
                        } else {
                            "it is missing"
                        };
                        self.defect(format!("hash tile {}/{}", tile.level, tile.index), what);
                    }
                }
                while heads
                    .last()
                    .is_some_and(|(size, _, _)| *size == tree.size())
                {
                    if let Some((size, root, note)) = heads.pop() {
                        self.head(size, &root, &note, &tree.root());
                    }
                }
                if let Ok(data) = data {
                    self.entry(index, kind, &data)?;
                    self.time(&entry, at);
                } else {
                    self.last_at = at.max(self.last_at);
                }
            }
            progress(tree.size(), self.size);
        }
        self.root = tree.root();
        self.count("packed", packed, "the number of packed tiles is")?;
        // A low-water mark far ahead of the clock and of the log was probably changed by hand.
        let latest = self.last_at.max(self.scope.now.unix());
        if self.mark > latest.saturating_add(MOST_MARK_AHEAD_S) {
            let what = format!(
                "the low-water mark, {}, is {} s ahead of the clock and of the log: every authorization that expires \
                 before the mark is refused",
                Timestamp::from_unix(self.mark),
                self.mark - latest
            );
            self.advise("table state", what, MARK);
        }
        self.count("tile", tiles, "the number of complete tiles is")?;
        let sql = "SELECT size FROM checkpoint WHERE size > ?1 OR size < 1 LIMIT 5";
        for size in self.all(sql, [self.size], |row| row.get::<i64>(0))? {
            self.defect(
                format!("checkpoint of {size} entries"),
                format!(
                    "the checkpoint was signed, but the log has only {} entries: the last entries are missing",
                    self.size
                ),
            );
        }
        self.counts.push((
            "checkpoints",
            self.number("SELECT count(*) FROM checkpoint")?,
        ));
        let in_force = self.one("SELECT boundary, seal FROM state", [], |row| {
            Ok((
                row.get::<Option<[u8; 32]>>(0)?,
                row.get::<Option<[u8; 32]>>(1)?,
            ))
        })?;
        let (boundary, seal) = in_force.unwrap_or_default();
        let digest = |seal: Option<SealDigest>| seal.map(|seal| *seal.as_bytes());
        if boundary != digest(self.first) {
            self.defect(
                "table state",
                "the boundary id is not the digest of the first seal in the log",
            );
        }
        if seal != digest(self.previous) {
            self.defect(
                "table state",
                "the seal in force is not the last seal in the log",
            );
        }
        Ok(())
    }

    /// Compares a recorded checkpoint with the tree of the same size.
    fn head(&mut self, size: u64, root: &[u8], note: &str, true_root: &Hash) {
        let place = format!("checkpoint of {size} entries");
        let parsed = Note::parse(note).ok();
        let said = parsed
            .as_ref()
            .and_then(|note| Checkpoint::parse(note.unverified_text()).ok());
        let Some((note, said)) = parsed.as_ref().zip(said) else {
            self.defect(place, "it is no checkpoint");
            return;
        };
        if root != true_root || said.root != *true_root || said.size != size {
            self.defect(place, "the root hash differs from the log");
        } else if self.origin.as_ref() != Some(&said.origin) {
            self.defect(
                place,
                format!("the checkpoint belongs to another log, {}", said.origin),
            );
        } else if !self
            .keys
            .iter()
            .any(|key| note::verify_note(note, &said.origin, key).is_ok())
        {
            self.defect(place, "no key of the boundary signed the checkpoint");
        }
    }

    /// Checks the time of a leaf row, which is the latest time that this entry or an earlier entry states.
    fn time(&mut self, entry: &str, at: i64) {
        let signed = self.stated.take().map_or(self.last_at, Timestamp::unix);
        if signed < self.last_at {
            self.defect(entry, "the entry is dated before the previous entry");
        } else if at != signed {
            let [at, signed] = [at, signed].map(Timestamp::from_unix);
            self.defect(
                entry,
                format!("the row is dated {at}, but the signed entry is dated {signed}"),
            );
        }
        self.last_at = signed.max(self.last_at);
    }
}

pub(super) fn file_of(outputs: &Path, hex: &str) -> std::path::PathBuf {
    outputs.join(&hex[..2]).join(hex)
}

pub(super) fn files_below(outputs: &Path) -> Vec<String> {
    let directories = std::fs::read_dir(outputs).into_iter().flatten().flatten();
    let files = directories
        .filter_map(|entry| std::fs::read_dir(entry.path()).ok())
        .flatten()
        .flatten();
    files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.len() == 64)
        .collect()
}
