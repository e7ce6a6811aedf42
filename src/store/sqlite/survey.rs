//! A look through a whole SQLite store: every row against the log, every byte against its digest.
//!
//! One read transaction: what a service writes meanwhile is not seen, and is not kept waiting. Nothing is changed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Params, Row, params};

use crate::crypto::digest::{AuthorizationDigest, Blake3Digest, Blake3Stream, LeafHash, SealDigest, hex, sha256};
use crate::crypto::json;
use crate::crypto::merkle::{self, Frontier, Hash};
use crate::crypto::note::{self, Note};
use crate::crypto::signature::PublicKey;
use crate::crypto::sshsig::SshKey;
use crate::record::checkpoint::{Checkpoint, origin};
use crate::record::consumption::Consumption;
use crate::record::denial::{Denial, denied};
use crate::record::document::{Malformed, Predicate, Statement, predicate_type};
use crate::record::envelope::{Base64, Envelope};
use crate::record::ident::Nonce;
use crate::record::receipt::Receipt;
use crate::record::roster::Roster;
use crate::record::seal::Seal;
use crate::record::step::RegistryLeaf;
use crate::record::token::SealedToken;
use crate::record::validity::{MAX_WINDOW_S, SKEW_S};
use crate::store::Fault;
use crate::store::care::{DISK, Defect, LOST, MAX_DEFECTS, RESTORE, Scope, Survey};
use crate::store::message::{LeafKind, Status};
use crate::store::sqlite::{MIGRATIONS, fault, place, read_only, tile_id, token, unplace};
use crate::store::tree::Edge;

/// Leaves that are read at a time.
const AT_ONCE: u64 = 256;

/// Looks through the store at `path`; tells `progress` how many of how many log entries were seen.
///
/// # Errors
/// When it can't be opened at all; whatever is wrong inside is a defect.
pub fn survey(path: &Path, scope: &Scope, progress: &mut dyn FnMut(u64, u64)) -> Result<Survey, Fault> {
    const DURING: &str = "opening the store for a check";
    let connection = read_only(path)?;
    connection.execute_batch("BEGIN").map_err(fault(DURING))?;
    let mut look = Look {
        connection,
        scope,
        counts_nonces: true,
        mark: 0,
        size: 0,
        last_at: i64::MIN,
        previous: None,
        first: None,
        origin: None,
        keys: Vec::new(),
        rosters: BTreeSet::new(),
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
        look.unreadable(&error);
    }
    for step in [Look::runs, Look::nonces, Look::waiting, Look::denials, Look::blobs, Look::outputs, Look::tokens] {
        if let Err(error) = step(&mut look) {
            look.unreadable(&error);
        }
    }
    Ok(look.end())
}

/// The nonces that are spent by the log, have not expired by the mark, and have no row.
pub(super) fn nonces_without_rows(connection: &Connection) -> Result<Vec<Nonce>, Fault> {
    const DURING: &str = "comparing nonces with the log";
    let read = || -> rusqlite::Result<Vec<Nonce>> {
        let mark: i64 = connection.query_row("SELECT mark FROM state", [], |row| row.get(0))?;
        // What was consumed a day before the mark has expired by it.
        let since = mark.saturating_sub(MAX_WINDOW_S + SKEW_S);
        // Times never decrease from entry to entry.
        let mut at = connection.prepare("SELECT at FROM leaf WHERE idx = ?1")?;
        let size: i64 = connection.query_row("SELECT coalesce(max(idx) + 1, 0) FROM leaf", [], |row| row.get(0))?;
        let (mut first, mut end) = (0, size);
        while first < end {
            let middle = first + (end - first) / 2;
            match at.query_row([middle], |row| row.get::<_, i64>(0)).optional()? {
                Some(at) if at < since => first = middle + 1,
                _ => end = middle,
            }
        }
        let mut leaves = connection.prepare("SELECT data FROM leaf WHERE kind = 2 AND idx >= ?1")?;
        let mut row_of = connection.prepare("SELECT 1 FROM nonce WHERE nonce = ?1")?;
        let mut rows = leaves.query([first])?;
        let mut lost = Vec::new();
        while let Some(row) = rows.next()? {
            let Ok((_, statement)) = opened::<Consumption>(row.get_ref(0)?.as_blob()?) else { continue };
            for spent in statement.predicate.spent {
                if spent.expires_at.unix() > mark && !row_of.exists([spent.nonce.to_bytes()])? {
                    lost.push(spent.nonce);
                }
            }
        }
        Ok(lost)
    };
    read().map_err(fault(DURING))
}

struct Look<'a> {
    connection: Connection,
    scope: &'a Scope,
    /// Whether its schema has the count.
    counts_nonces: bool,
    mark: i64,
    size: u64,
    last_at: i64,
    /// The last seal so far.
    previous: Option<SealDigest>,
    /// The first one: the boundary.
    first: Option<SealDigest>,
    origin: Option<String>,
    /// Keys that the log's rosters gave the boundary.
    keys: Vec<PublicKey>,
    rosters: BTreeSet<[u8; 32]>,
    root: Hash,
    defects: Vec<Defect>,
    notes: Vec<String>,
    counts: Vec<(&'static str, u64)>,
}

/// Where a run's row says that it is.
struct RunAt {
    id: [u8; 16],
    digest: [u8; 32],
    nonce: Vec<u8>,
    status: u8,
}

impl Look<'_> {
    fn end(self) -> Survey {
        Survey {
            boundary: self.first,
            size: self.size,
            root: self.root,
            defects: self.defects,
            notes: self.notes,
            counts: self.counts,
        }
    }

    fn defect(&mut self, place: impl Into<String>, what: impl Into<String>, mend: &'static str) {
        if self.defects.len() < MAX_DEFECTS {
            self.defects.push(Defect { place: place.into(), what: what.into(), mend });
        }
    }

    fn unreadable(&mut self, error: &rusqlite::Error) {
        self.defect("the database", format!("it can't be read to its end: {error}"), DISK);
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.connection.prepare_cached(sql)?.query_row(params, read).optional()
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection.prepare_cached(sql)?.query_map(params, read)?.collect()
    }

    fn number(&self, sql: &str) -> rusqlite::Result<u64> {
        self.connection.query_row(sql, [], |row| row.get(0))
    }

    /// Calls the rows that a query finds defects; the first column is an id.
    fn odd(&mut self, table: &str, what: &str, mend: &'static str, sql: &str) -> rusqlite::Result<()> {
        let limit = MAX_DEFECTS - self.defects.len().min(MAX_DEFECTS);
        let found = self.all(&format!("SELECT hex(id) FROM ({sql}) LIMIT ?1"), [limit], |row| {
            row.get::<_, String>(0).map(|id| id.to_lowercase())
        })?;
        for id in found {
            self.defect(format!("table {table}, row {id}"), what, mend);
        }
        Ok(())
    }

    /// SQLite's own look at its pages and indexes.
    fn sound(&mut self) {
        let sql = "PRAGMA integrity_check(20)";
        match self.all(sql, [], |row| row.get::<_, String>(0)) {
            Ok(lines) => {
                for line in lines.iter().filter(|line| *line != "ok") {
                    self.defect("the database", line.clone(), DISK);
                }
            }
            Err(error) => self.unreadable(&error),
        }
    }

    fn state(&mut self) -> rusqlite::Result<()> {
        let version: usize = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        self.counts_nonces = version >= 2;
        if version != MIGRATIONS.len() {
            self.notes
                .push(format!("schema {version}, this program's is {}: the next start migrates", MIGRATIONS.len()));
        }
        self.mark = self.connection.query_row("SELECT mark FROM state", [], |row| row.get(0))?;
        self.size = self.number("SELECT coalesce(max(idx) + 1, 0) FROM leaf")?;
        let there = self.number("SELECT count(*) FROM leaf")?;
        if there != self.size {
            self.defect("the log", format!("{there} of {} entries are there", self.size), RESTORE);
        }
        self.counts.push(("log entries", there));
        Ok(())
    }

    /// Proposals by where the log has them, in a table of this connection alone.
    fn places(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch(
            "CREATE TEMP TABLE spent_at (spent INTEGER NOT NULL, id BLOB NOT NULL);
             INSERT INTO spent_at SELECT spent, id FROM proposal WHERE spent IS NOT NULL;
             CREATE INDEX temp.spent_at_place ON spent_at (spent);
             CREATE TEMP TABLE closed_at (receipt INTEGER NOT NULL, id BLOB NOT NULL);
             INSERT INTO closed_at SELECT receipt, id FROM proposal WHERE receipt IS NOT NULL;
             CREATE INDEX temp.closed_at_place ON closed_at (receipt);",
        )
    }

    /// The rosters of all seals: whose signature a checkpoint may carry.
    fn seals(&mut self) -> rusqlite::Result<()> {
        let seals = self.all("SELECT idx, digest FROM seal ORDER BY idx", [], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, [u8; 32]>(1)?))
        })?;
        self.counts.push(("seals", seals.len() as u64));
        if let Some((_, first)) = seals.first() {
            self.origin = Some(origin(&self.scope.name, &SealDigest::from_bytes(*first)));
        }
        for (index, digest) in &seals {
            let kind = self.one("SELECT kind, data FROM leaf WHERE idx = ?1", [index], |row| {
                Ok((row.get::<_, u8>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
            let statement = kind
                .as_ref()
                .and_then(|(kind, data)| (*kind == LeafKind::Seal as u8).then(|| opened::<Seal>(data).ok()).flatten());
            match statement {
                Some((payload, statement)) if sha256(&payload) == *digest => {
                    self.keys_of(*statement.predicate.roster.as_bytes())?;
                }
                _ => self.defect(
                    format!("table seal, row {index}"),
                    format!("log entry {index} is not the seal sha256:{}", hex(digest)),
                    RESTORE,
                ),
            }
        }
        Ok(())
    }

    fn keys_of(&mut self, roster: [u8; 32]) -> rusqlite::Result<()> {
        if !self.rosters.insert(roster) {
            return Ok(());
        }
        let blob = self.one("SELECT data FROM blob WHERE digest = ?1", [roster], |row| row.get::<_, Vec<u8>>(0))?;
        let Some(roster) = blob.and_then(|blob| Statement::<Roster>::from_payload(&blob).ok()) else { return Ok(()) };
        let own = roster.predicate.boundary.iter().filter(|entry| entry.name == self.scope.name);
        for line in own.flat_map(|entry| &entry.keys) {
            if let Ok(key) = SshKey::parse(line)
                && !self.keys.contains(key.public())
            {
                self.keys.push(*key.public());
            }
        }
        Ok(())
    }

    /// Every entry in order: its hash, its time, the tiles and checkpoints over it, and the rows that belong to it.
    fn log(&mut self, progress: &mut dyn FnMut(u64, u64)) -> rusqlite::Result<()> {
        let mut tree = Frontier::default();
        let mut edge = Edge::default();
        let mut tiles = 0;
        for first in (0..self.size).step_by(AT_ONCE as usize) {
            let range = [first, first + AT_ONCE];
            let leaves = self.all(
                "SELECT idx, kind, at, hash, data FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx",
                range,
                |row| {
                    Ok((
                        row.get::<_, u64>(0)?,
                        row.get::<_, u8>(1)?,
                        row.get::<_, i64>(2)?,
                        row.get::<_, Vec<u8>>(3)?,
                        row.get::<_, Vec<u8>>(4)?,
                    ))
                },
            )?;
            let mut heads = self.all(
                "SELECT size, root, note FROM checkpoint WHERE size > ?1 AND size <= ?2 ORDER BY size",
                range,
                |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?)),
            )?;
            heads.reverse();
            for (index, kind, at, hash, data) in leaves {
                let entry = format!("log entry {index}");
                if index != tree.size() {
                    // Everything above would be wrong as well: once is enough.
                    self.defect(format!("log entry {}", tree.size()), "it is missing", RESTORE);
                    return Ok(());
                }
                let true_hash = merkle::leaf_hash(&data);
                if hash != true_hash {
                    self.defect(&entry, "its hash is not that of its bytes", RESTORE);
                }
                if at < self.last_at {
                    self.defect(&entry, "it is dated before the entry before it", RESTORE);
                }
                self.last_at = at.max(self.last_at);
                tree.append(true_hash);
                let mut complete = Vec::new();
                edge.append(true_hash, &mut complete);
                for tile in complete {
                    tiles += 1;
                    let sql = "SELECT hashes FROM tile WHERE id = ?1";
                    let kept = self.one(sql, [tile_id(tile.level, tile.index)], |row| row.get::<_, Vec<u8>>(0))?;
                    if kept.as_deref() != Some(tile.hashes.as_flattened()) {
                        let what = if kept.is_some() { "it is not over the entries below it" } else { "it is missing" };
                        self.defect(format!("hash tile {}/{}", tile.level, tile.index), what, RESTORE);
                    }
                }
                while heads.last().is_some_and(|(size, _, _)| *size == tree.size()) {
                    if let Some((size, root, note)) = heads.pop() {
                        self.head(size, &root, &note, &tree.root());
                    }
                }
                self.entry(index, kind, &data)?;
            }
            progress(tree.size(), self.size);
        }
        self.root = tree.root();
        let kept = self.number("SELECT count(*) FROM tile")?;
        if kept != tiles {
            self.defect("table tile", format!("{kept} rows, the log completes {tiles}"), RESTORE);
        }
        let sql = "SELECT size FROM checkpoint WHERE size > ?1 OR size < 1 LIMIT 5";
        for size in self.all(sql, [self.size], |row| row.get::<_, i64>(0))? {
            let what = format!("it was signed, and the log has {} entries: its tail is gone", self.size);
            self.defect(format!("checkpoint of {size} entries"), what, RESTORE);
        }
        self.counts.push(("checkpoints", self.number("SELECT count(*) FROM checkpoint")?));
        let in_force = self.one("SELECT boundary, seal FROM state", [], |row| {
            Ok((row.get::<_, Option<[u8; 32]>>(0)?, row.get::<_, Option<[u8; 32]>>(1)?))
        })?;
        let (boundary, seal) = in_force.unwrap_or_default();
        let digest = |seal: Option<SealDigest>| seal.map(|seal| *seal.as_bytes());
        if boundary != digest(self.first) {
            self.defect("table state", "its boundary is not the log's first seal", RESTORE);
        }
        if seal != digest(self.previous) {
            self.defect("table state", "its seal is not the log's last one", RESTORE);
        }
        Ok(())
    }

    /// A recorded checkpoint against the tree at its size.
    fn head(&mut self, size: u64, root: &[u8], note: &str, true_root: &Hash) {
        let place = format!("checkpoint of {size} entries");
        let parsed = Note::parse(note).ok();
        let said = parsed.as_ref().and_then(|note| Checkpoint::parse(note.unverified_text()).ok());
        let Some((note, said)) = parsed.as_ref().zip(said) else {
            self.defect(place, "it is no checkpoint", RESTORE);
            return;
        };
        if root != true_root || said.root != *true_root || said.size != size {
            self.defect(place, "its root is not the log's", RESTORE);
        } else if self.origin.as_ref() != Some(&said.origin) {
            self.defect(place, format!("it is of another log, {}", said.origin), RESTORE);
        } else if !self.keys.iter().any(|key| note::verify_note(note, &said.origin, key).is_ok()) {
            self.defect(place, "no key of the boundary's signed it", RESTORE);
        }
    }

    fn entry(&mut self, index: u64, kind: u8, data: &[u8]) -> rusqlite::Result<()> {
        let entry = format!("log entry {index}");
        let Some(kind) = LeafKind::of_number(kind) else {
            self.defect(entry, format!("its kind is {kind}, which this program does not know"), RESTORE);
            return Ok(());
        };
        let found = match kind {
            LeafKind::Seal => opened::<Seal>(data).map(|(payload, seal)| self.seal(index, &payload, &seal.predicate)),
            LeafKind::Consumption => {
                opened::<Consumption>(data).map(|(_, statement)| self.consumption(index, &statement.predicate))
            }
            LeafKind::Receipt => {
                opened::<Receipt>(data).map(|(_, statement)| self.receipt(index, &statement.predicate))
            }
            LeafKind::Denial => opened::<Denial>(data)
                .and_then(|(_, statement)| denied(&statement))
                .map(|authorization| self.denial(index, authorization)),
            other => kind_of(data).map(|found| {
                if found != predicate_type(other.word()) {
                    self.defect(&entry, format!("its row says {}, it says {found:?}", other.word()), RESTORE);
                }
                Ok(())
            }),
        };
        match found {
            Ok(done) => done,
            Err(error) => {
                self.defect(entry, format!("it is no {} ({error})", kind.word()), RESTORE);
                Ok(())
            }
        }
    }

    fn seal(&mut self, index: u64, payload: &[u8], seal: &Seal) -> rusqlite::Result<()> {
        let (entry, digest) = (format!("log entry {index}"), SealDigest::of(payload));
        if seal.previous != self.previous {
            self.defect(&entry, "it does not follow the seal before it", RESTORE);
        }
        if self.first.is_none() {
            self.first = Some(digest);
            if index != 0 {
                self.defect(&entry, "it is the first seal and not the first entry", RESTORE);
            }
        }
        self.previous = Some(digest);
        if self.one("SELECT 1 FROM seal WHERE idx = ?1", [index], |_| Ok(()))?.is_none() {
            self.defect(&entry, "table seal has no row of it", RESTORE);
        }
        let named = [
            ("registry", *seal.registry.as_bytes()),
            ("policy", *seal.policy.as_bytes()),
            ("built-in lists", *seal.builtins.as_bytes()),
            ("roster", *seal.roster.as_bytes()),
            ("tokens", *seal.tokens.as_bytes()),
            ("configuration", *seal.configuration.as_bytes()),
        ];
        let versions = seal.rosters.map(|versions| ("roster's versions", *versions.as_bytes()));
        for (what, digest) in named.into_iter().chain(versions) {
            self.blob_of(&entry, what, digest)?;
        }
        let manifest = self.one("SELECT data FROM blob WHERE digest = ?1", [seal.registry.as_bytes()], |row| {
            row.get::<_, Vec<u8>>(0)
        })?;
        let leaves = manifest.and_then(|bytes| json::parse_as::<Vec<RegistryLeaf>>(&bytes, bytes.len()).ok());
        for leaf in leaves.unwrap_or_default() {
            self.blob_of(&entry, &format!("step {}", leaf.reference), *leaf.digest.as_bytes())?;
        }
        Ok(())
    }

    fn blob_of(&mut self, entry: &str, what: &str, digest: [u8; 32]) -> rusqlite::Result<()> {
        if self.one("SELECT 1 FROM blob WHERE digest = ?1", [digest], |_| Ok(()))?.is_none() {
            self.defect(entry, format!("the blob of its {what}, sha256:{}, is missing", hex(&digest)), RESTORE);
        }
        Ok(())
    }

    /// Every item has its proposal, its nonce until it expires, and a receipt or a run.
    fn consumption(&mut self, index: u64, consumption: &Consumption) -> rusqlite::Result<()> {
        for (item, spent) in (0..).zip(&consumption.spent) {
            let entry = format!("log entry {index}, item {item}");
            let at = place(index, item);
            let runs = self.all(
                "SELECT p.id, p.digest, p.nonce, p.status FROM spent_at s JOIN proposal p ON p.id = s.id WHERE s.spent = ?1",
                [at],
                |row| Ok(RunAt { id: row.get(0)?, digest: row.get(1)?, nonce: row.get(2)?, status: row.get(3)? }),
            )?;
            match &runs[..] {
                [] => self.defect(&entry, "no proposal's row says that it was run", RESTORE),
                [run] => {
                    if run.digest != *spent.authorization.as_bytes() || run.nonce != spent.nonce.to_bytes() {
                        let id = hex(&run.id);
                        self.defect(&entry, format!("the proposal {id} that it ran is another one"), RESTORE);
                    }
                    let open = run.status == Status::Running.number();
                    let crossing = self.one("SELECT 1 FROM crossing WHERE id = ?1", [at], |_| Ok(()))?.is_some();
                    if open != crossing {
                        let what = if open {
                            "it runs, and what recovery needs is gone"
                        } else {
                            "it is over and still listed as running"
                        };
                        self.defect(&entry, what, RESTORE);
                    }
                }
                more => {
                    let what = format!("{} proposals say that they are this run", more.len());
                    self.defect(&entry, what, RESTORE);
                }
            }
            if spent.expires_at.unix() > self.mark {
                let kept = self.one("SELECT spent FROM nonce WHERE nonce = ?1", [spent.nonce.to_bytes()], |row| {
                    row.get::<_, i64>(0)
                })?;
                if kept != Some(at) {
                    let what = format!(
                        "the nonce {} is spent, does not expire until {}, and {}: it could run again",
                        spent.nonce,
                        spent.expires_at,
                        if kept.is_some() { "its row names another run" } else { "has no row" }
                    );
                    self.defect(&entry, what, RESTORE);
                }
            }
        }
        Ok(())
    }

    fn receipt(&mut self, index: u64, receipt: &Receipt) -> rusqlite::Result<()> {
        let entry = format!("log entry {index}");
        let of = &receipt.consumption;
        let hash = self.one("SELECT hash FROM leaf WHERE idx = ?1", [of.index], |row| row.get::<_, [u8; 32]>(0))?;
        if of.index >= index || hash.map(LeafHash::from_bytes) != Some(of.leaf) {
            self.defect(&entry, format!("the consumption that it names is not log entry {}", of.index), RESTORE);
        }
        let item = u32::try_from(of.item).unwrap_or(u32::MAX);
        let runs = self.all(
            "SELECT p.spent FROM closed_at c JOIN proposal p ON p.id = c.id WHERE c.receipt = ?1",
            [index],
            |row| row.get::<_, Option<i64>>(0),
        )?;
        match &runs[..] {
            [Some(at)] if unplace(*at) == (of.index, item) => {}
            [] => self.defect(&entry, "no proposal's row says that this is its receipt", RESTORE),
            [_] => self.defect(&entry, "it is the receipt of another run than its proposal's row says", RESTORE),
            more => {
                let what = format!("{} proposals say that this is their receipt", more.len());
                self.defect(&entry, what, RESTORE);
            }
        }
        let until = receipt.finished_at.plus(self.scope.retention.outputs_s);
        for (name, stream) in [("stdout", &receipt.output.stdout), ("stderr", &receipt.output.stderr)] {
            // By the boundary's time, which may be ahead of the clock.
            if stream.recorded == 0 || until.unix() <= self.scope.now.unix().max(self.mark) {
                continue;
            }
            let sql = "SELECT bytes FROM output WHERE name = ?1";
            let kept = self.one(sql, [stream.blake3.as_bytes()], |row| row.get::<_, u64>(0))?;
            if kept != Some(stream.recorded) {
                let what = format!("its {name}, {}, is not kept although it is to be until {until}", stream.blake3);
                self.defect(&entry, what, LOST);
            }
        }
        Ok(())
    }

    fn denial(&mut self, index: u64, authorization: AuthorizationDigest) -> rusqlite::Result<()> {
        let sql = "SELECT 1 FROM denial WHERE authorization = ?1 AND leaf = ?2";
        if self.one(sql, params![authorization.as_bytes(), index], |_| Ok(()))?.is_none() {
            let what = format!("table denial has no row of it: {authorization} is denied and could run");
            self.defect(format!("log entry {index}"), what, RESTORE);
        }
        Ok(())
    }

    /// Rows that say that something ran.
    fn runs(&mut self) -> rusqlite::Result<()> {
        self.odd(
            "proposal",
            "it is running, and what recovery needs is gone",
            RESTORE,
            "SELECT id FROM proposal WHERE status = 0 AND (spent IS NULL OR NOT EXISTS \
             (SELECT 1 FROM crossing c WHERE c.id = proposal.spent AND c.proposal = proposal.id))",
        )?;
        self.odd(
            "crossing",
            "its proposal is not running",
            RESTORE,
            "SELECT c.proposal AS id FROM crossing c LEFT JOIN proposal p ON p.id = c.proposal \
             WHERE p.status IS NOT 0 OR p.spent IS NOT c.id",
        )?;
        self.odd(
            "proposal",
            "it is finished without a consumption or a receipt",
            RESTORE,
            "SELECT id FROM proposal WHERE status = 1 AND (spent IS NULL OR receipt IS NULL)",
        )?;
        self.odd(
            "proposal",
            "it never ran and names a consumption or a receipt",
            RESTORE,
            "SELECT id FROM proposal WHERE status > 1 AND (spent IS NOT NULL OR receipt IS NOT NULL)",
        )?;
        self.odd(
            "proposal",
            "its consumption is no such entry of the log",
            RESTORE,
            "SELECT p.id FROM proposal p LEFT JOIN leaf l ON l.idx = p.spent >> 6 WHERE p.spent IS NOT NULL AND l.kind IS NOT 2",
        )?;
        self.odd(
            "proposal",
            "its receipt is no such entry of the log",
            RESTORE,
            "SELECT p.id FROM proposal p LEFT JOIN leaf l ON l.idx = p.receipt WHERE p.receipt IS NOT NULL AND l.kind IS NOT 3",
        )?;
        self.counts.push(("proposals", self.number("SELECT count(*) FROM proposal")?));
        Ok(())
    }

    /// Spent nonces; one with a negative place was spent in a log that this one follows.
    fn nonces(&mut self) -> rusqlite::Result<()> {
        self.odd(
            "nonce",
            "the run that it names is another one",
            RESTORE,
            "SELECT n.nonce AS id FROM nonce n LEFT JOIN proposal p ON p.id = n.proposal \
             WHERE n.spent >= 0 AND (p.nonce IS NOT n.nonce OR p.spent IS NOT n.spent)",
        )?;
        let there = self.number("SELECT count(*) FROM nonce")?;
        let counted = if self.counts_nonces { self.number("SELECT nonces FROM state")? } else { there };
        if there != counted {
            let what = format!("{there} rows, the boundary kept {counted}: rows were changed by hand");
            self.defect("table nonce", what, RESTORE);
        }
        self.counts.push(("nonces", there));
        Ok(())
    }

    /// What waits has the bytes that its approvers sign.
    fn waiting(&mut self) -> rusqlite::Result<()> {
        self.odd(
            "proposal",
            "the bytes to sign are missing",
            RESTORE,
            "SELECT id FROM proposal WHERE status > 1 AND request IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM payload WHERE payload.proposal = proposal.id)",
        )?;
        let sql =
            "SELECT payload.proposal, data, digest FROM payload LEFT JOIN proposal ON proposal.id = payload.proposal";
        let mut odd = Vec::new();
        {
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (id, data): ([u8; 16], Vec<u8>) = (row.get(0)?, row.get(1)?);
                let digest: Option<[u8; 32]> = row.get(2)?;
                if digest != Some(sha256(&data)) {
                    odd.push(hex(&id));
                }
            }
        }
        for id in odd {
            self.defect(format!("table payload, row {id}"), "it is not what its proposal is known by", RESTORE);
        }
        Ok(())
    }

    fn denials(&mut self) -> rusqlite::Result<()> {
        self.odd(
            "denial",
            "the denial that it names is no such entry of the log",
            RESTORE,
            "SELECT d.authorization AS id FROM denial d LEFT JOIN leaf l ON l.idx = d.leaf WHERE l.kind IS NOT 4",
        )
    }

    fn blobs(&mut self) -> rusqlite::Result<()> {
        let (mut count, mut odd) = (0, Vec::new());
        {
            let mut statement = self.connection.prepare("SELECT digest, data FROM blob")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                count += 1;
                let digest: Vec<u8> = row.get(0)?;
                if digest != sha256(row.get_ref(1)?.as_blob()?) {
                    odd.push(hex(&digest));
                }
            }
        }
        for digest in odd {
            self.defect(format!("blob sha256:{digest}"), "it is not what its name says", RESTORE);
        }
        self.counts.push(("blobs", count));
        Ok(())
    }

    fn outputs(&mut self) -> rusqlite::Result<()> {
        let (mut count, mut files, mut odd) = (0, BTreeSet::new(), Vec::new());
        {
            let mut statement = self.connection.prepare("SELECT name, bytes, data FROM output")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                count += 1;
                let name = Blake3Digest::from_bytes(row.get(0)?);
                let bytes: u64 = row.get(1)?;
                let found = match row.get_ref(2)?.as_blob_or_null()? {
                    Some(data) => Ok((Blake3Digest::of(data), data.len() as u64)),
                    None => {
                        files.insert(name.hex());
                        hash_file(&file_of(&self.scope.outputs, &name.hex()))
                    }
                };
                match found {
                    Ok(found) if found == (name, bytes) => {}
                    Ok(_) => odd.push((name, "its bytes are not what its name says".to_owned())),
                    Err(error) => odd.push((name, format!("its file can't be read: {error}"))),
                }
            }
        }
        for (name, what) in odd {
            // Retention may have ended it while we looked: then its row is gone by now as well.
            if self.still_has(&name)? {
                self.defect(format!("output {name}"), what, LOST);
            }
        }
        self.counts.push(("outputs", count));
        let strays = files_below(&self.scope.outputs).into_iter().filter(|name| !files.contains(name)).count();
        if strays > 0 {
            self.notes.push(format!(
                "{strays} output files belong to no run: a crash left them, the next start of the service removes them"
            ));
        }
        Ok(())
    }

    /// Whether the store has an output now, rather than when we began to look.
    fn still_has(&self, name: &Blake3Digest) -> rusqlite::Result<bool> {
        let Some(path) = self.connection.path() else { return Ok(true) };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let now = Connection::open_with_flags(path, flags)?;
        now.prepare("SELECT 1 FROM output WHERE name = ?1")?.exists([name.as_bytes()])
    }

    /// Tokens are what the last seal says: a scope that was widened by hand shows.
    fn tokens(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT data FROM leaf JOIN seal ON seal.idx = leaf.idx ORDER BY leaf.idx DESC LIMIT 1";
        let Some(data) = self.one(sql, [], |row| row.get::<_, Vec<u8>>(0))? else { return Ok(()) };
        let Ok((_, seal)) = opened::<Seal>(&data) else { return Ok(()) };
        let blob = self.one("SELECT data FROM blob WHERE digest = ?1", [seal.predicate.tokens.as_bytes()], |row| {
            row.get::<_, Vec<u8>>(0)
        })?;
        let sealed = blob.and_then(|bytes| json::parse_as::<Vec<SealedToken>>(&bytes, bytes.len()).ok());
        let sealed = sealed.unwrap_or_default();
        let rows = self.all(&format!("SELECT {} FROM token ORDER BY name", super::TOKEN), [], token)?;
        self.counts.push(("tokens", rows.len() as u64));
        for row in &rows {
            let place = format!("table token, row {}", row.name);
            let said = sealed.iter().find(|sealed| sealed.name == row.name);
            let ended = row.revoked_at.is_some() || row.expires_at.is_some_and(|end| end <= seal.predicate.at);
            match said {
                None if !ended => self.defect(place, "no seal knows it: its row was made or revived by hand", RESTORE),
                Some(_) if row.revoked_at.is_some() => {
                    self.defect(place, "it is revoked, and sealed as valid", RESTORE)
                }
                Some(said) => {
                    let sorted = |mut texts: Vec<String>| {
                        texts.sort();
                        texts.dedup();
                        texts
                    };
                    let mut scopes = row.scopes.clone();
                    scopes.sort();
                    scopes.dedup();
                    let same = said.owners == row.owners
                        && said.scopes == scopes
                        && said.patterns == sorted(row.patterns.clone())
                        && said.expires_at == row.expires_at;
                    if !same {
                        self.defect(place, "it is not what the seal in force says of it", RESTORE);
                    }
                }
                None => {}
            }
        }
        for missing in sealed.iter().filter(|sealed| !rows.iter().any(|row| row.name == sealed.name)) {
            self.defect(format!("table token, row {}", missing.name), "it is sealed as valid, and missing", RESTORE);
        }
        Ok(())
    }
}

fn opened<P: Predicate>(data: &[u8]) -> Result<(Vec<u8>, Statement<P>), Malformed> {
    let envelope: Envelope = json::parse_as(data, data.len())?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload)?;
    let statement = Statement::<P>::from_payload(&payload)?;
    Ok((payload, statement))
}

fn kind_of(data: &[u8]) -> Result<String, Malformed> {
    let envelope: Envelope = json::parse_as(data, data.len())?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload)?;
    let value = json::parse(&payload, payload.len()).map_err(|error| Malformed::at("/payload", error.to_string()))?;
    Ok(value["predicateType"].as_str().unwrap_or_default().to_owned())
}

fn hash_file(path: &Path) -> std::io::Result<(Blake3Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut piece) = (Blake3Stream::default(), 0, vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((hash.finish(), bytes)),
            length => {
                hash.update(&piece[..length]);
                bytes += length as u64;
            }
        }
    }
}

/// Where an output's file lies below the directory of outputs.
pub(super) fn file_of(outputs: &Path, hex: &str) -> std::path::PathBuf {
    outputs.join(&hex[..2]).join(hex)
}

/// The names of all output files.
pub(super) fn files_below(outputs: &Path) -> Vec<String> {
    let directories = std::fs::read_dir(outputs).into_iter().flatten().flatten();
    let files = directories.filter_map(|entry| std::fs::read_dir(entry.path()).ok()).flatten().flatten();
    files.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.len() == 64).collect()
}
