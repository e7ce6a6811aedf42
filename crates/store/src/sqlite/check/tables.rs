//! Check of the tables outside the log, by comparison with each other and with signed documents: standing grants and
//! their uses, reviews and the runs that need a review. The file also reads entries of the log, packed or not.

use std::{collections::BTreeSet, fs::File, io::Read as _, path::Path};

use rusqlite::{Connection, OpenFlags};

use crate::{
    Entries, EntryRow, LOST, Look, OwedReview, StoreResult, TOKENS,
    fields::place,
    id_bytes, opened,
    sqlite::{
        check::{DURING, LogRow, file_of, files_below},
        columns::one,
        errors::During as _,
        packed_tiles::{NoEntry, is_intact},
    },
};
use documents::{
    Authorization, AuthorizationDigest, Blake3Digest, Blake3Stream, BlobDigest, ContentDigest,
    Grant, KeyId, LeafKind, Receipt, RegistryLeaf, ReviewStatement, RevokedSubject, SealedToken,
    Spent, Statement, StepDefinition, Timestamp, hex, json, sha256,
};

impl Look<'_> {
    pub(super) fn runs(&mut self) -> StoreResult {
        self.odd(
            "proposal",
            "the proposal is running, but its row in the table crossing, which recovery needs, is missing",
            "SELECT id FROM proposal WHERE status = 0 AND (spent IS NULL OR NOT EXISTS \
             (SELECT 1 FROM crossing c WHERE c.id = proposal.spent AND c.proposal = proposal.id))",
        )?;
        self.odd(
            "crossing",
            "the proposal of this row is not running",
            "SELECT c.proposal AS id FROM crossing c LEFT JOIN proposal p ON p.id = c.proposal \
             WHERE p.status IS NOT 0 OR p.spent IS NOT c.id",
        )?;
        self.odd(
            "proposal",
            "the proposal is finished without a consumption or a receipt",
            "SELECT id FROM proposal WHERE status = 1 AND (spent IS NULL OR receipt IS NULL)",
        )?;
        self.odd(
            "proposal",
            "the proposal never ran, but names a start, a consumption or a receipt",
            "SELECT id FROM proposal WHERE status > 1 \
             AND (started_at IS NOT NULL OR signed IS NOT NULL OR spent IS NOT NULL OR receipt IS NOT NULL)",
        )?;
        self.odd(
            "proposal",
            "the proposal waits or runs, but has an end",
            "SELECT id FROM proposal WHERE status IN (0, 2, 3) AND ended_at IS NOT NULL OR status = 0 AND detail IS NOT NULL",
        )?;
        self.odd(
            "proposal",
            "the log has no consumption at the place that the row names",
            "SELECT p.id FROM proposal p LEFT JOIN leaf l ON l.idx = p.spent >> 6 WHERE p.spent IS NOT NULL AND l.kind IS NOT 2",
        )?;
        self.odd(
            "proposal",
            "the log has no receipt at the place that the row names",
            "SELECT p.id FROM proposal p LEFT JOIN leaf l ON l.idx = p.receipt WHERE p.receipt IS NOT NULL AND l.kind IS NOT 3",
        )?;
        self.counts
            .push(("proposals", self.number("SELECT count(*) FROM proposal")?));
        Ok(())
    }

    /// Checks spent nonces. A negative place in the log means that an earlier log spent the nonce.
    pub(super) fn nonces(&mut self) -> StoreResult {
        self.odd(
            "nonce",
            "the run that the row names did not spend this nonce",
            "SELECT n.nonce AS id FROM nonce n LEFT JOIN proposal p ON p.id = n.proposal \
             WHERE n.spent >= 0 AND (p.nonce IS NOT n.nonce OR p.spent IS NOT n.spent)",
        )?;
        let after = self.taken_over_until.map_or(0, |until| until + 1);
        self.odd(
            "nonce",
            "the row says that an earlier log spent this nonce, but this is impossible with this expiry",
            &format!("SELECT nonce AS id FROM nonce WHERE spent < 0 AND nonce >= X'{after:016X}'"),
        )?;
        let counted = self.number("SELECT nonces FROM state")?;
        self.count(
            "nonce",
            counted,
            "before rows were changed by hand, the boundary counted",
        )?;
        self.counts
            .push(("nonces", self.number("SELECT count(*) FROM nonce")?));
        Ok(())
    }

    /// Checks that every waiting proposal has the payload that its approvers sign.
    pub(super) fn waiting(&mut self) -> StoreResult {
        self.odd(
            "proposal",
            "the payload that approvers sign is missing",
            "SELECT id FROM proposal WHERE status > 1 AND request IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM payload WHERE payload.proposal = proposal.id)",
        )?;
        self.odd(
            "payload",
            "the proposal of this row does not exist",
            "SELECT proposal AS id FROM payload WHERE proposal NOT IN (SELECT id FROM proposal)",
        )?;
        let sql = concat!(
            "SELECT ",
            proposal_columns!(),
            ", data, programs FROM payload JOIN proposal p ON p.id = payload.proposal"
        );
        // Few rows have a payload: waiting proposals are few, and ended proposals are deleted after their retention.
        let waiting = self.all(sql, [], |row| {
            Ok((
                row.get::<Vec<u8>>(0)?,
                row.proposal(0),
                row.get::<Vec<u8>>(18)?,
                row.get::<Option<Vec<u8>>>(19)?,
            ))
        })?;
        for (id, row, payload, programs) in waiting {
            match row {
                Err(_) => self.unknown_values(&id),
                Ok(row) if row.core.digest == AuthorizationDigest::of(&payload) => {
                    let listed = payload_programs(&payload);
                    if listed != programs.as_deref().map(BlobDigest::of) {
                        self.defect(
                            format!("table payload, row {}", hex(&id)),
                            "the list of programs is not the list that the payload names",
                        );
                    }
                    self.compare(&row, Ok(payload));
                }
                Ok(_) => self.defect(
                    format!("table payload, row {}", hex(&id)),
                    "the payload does not match the digest of its proposal",
                ),
            }
        }
        self.odd(
            "proposal",
            "the proposal is denied, but still waits",
            "SELECT id FROM proposal WHERE status IN (2, 3) AND digest IN (SELECT authorization FROM denial)",
        )?;
        self.signatures()
    }

    /// Checks that the key of each stored signature belongs to the named approver. The signatures themselves are
    /// verified before a run.
    fn signatures(&mut self) -> StoreResult {
        let rows = self.all(
            "SELECT s.proposal, s.keyid, s.person, p.id IS NOT NULL FROM signature s LEFT JOIN proposal p ON p.id = s.proposal",
            [],
            |row| Ok((row.get::<Vec<u8>>(0)?, row.get::<String>(1)?, row.get::<String>(2)?, row.get::<bool>(3)?)),
        )?;
        for (proposal, keyid, person, known) in rows {
            let what = match keyid.parse::<KeyId>() {
                _ if !known => "the proposal of this row does not exist",
                Ok(key) if self.is_key_of(&key, &person) => continue,
                _ => "in no roster of the log does this key belong to this person",
            };
            let place = format!("table signature, {:?} for {}", person, hex(&proposal));
            self.defect(place, what);
        }
        Ok(())
    }

    pub(super) fn denials(&mut self) -> StoreResult {
        self.odd(
            "denial",
            "the log has no denial at the place that the row names",
            "SELECT d.authorization AS id FROM denial d LEFT JOIN leaf l ON l.idx = d.leaf WHERE l.kind IS NOT 4",
        )?;
        self.count(
            "denial",
            self.denials,
            "the number of denials in the log is",
        )
    }

    /// Checks that a step of a sealed registry and the contents of its files are stored.
    pub(super) fn sealed_step(&mut self, entry: &str, step: &RegistryLeaf) -> StoreResult {
        self.blob_of(
            entry,
            &format!("step {}", step.reference),
            *step.digest.as_bytes(),
        )?;
        // Most steps have no files, so the database looks for files before the definition is parsed.
        let with_files = "SELECT data FROM blob WHERE digest = ?1 AND instr(data, CAST('\"files\":[{' AS BLOB)) > 0";
        let definition = self.one(with_files, [step.digest.as_bytes()], |row| {
            row.get::<Vec<u8>>(0)
        })?;
        let definition =
            definition.and_then(|bytes| json::parse_as::<StepDefinition>(&bytes, bytes.len()).ok());
        for file in definition
            .into_iter()
            .flat_map(|definition| definition.files)
        {
            let what = format!("file {:?} of {}", file.path, step.reference);
            self.blob_of(entry, &what, *file.digest.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn blobs(&mut self) -> StoreResult {
        let (mut count, mut odd) = (0, Vec::new());
        self.each("SELECT digest, data FROM blob", |row| {
            count += 1;
            let digest: &[u8] = row.get(0)?;
            if digest != sha256(row.get(1)?) {
                odd.push(hex(digest));
            }
            Ok(())
        })?;
        for digest in odd {
            self.defect(
                format!("blob sha256:{digest}"),
                "the bytes of the blob do not match its name",
            );
        }
        self.counts.push(("blobs", count));
        Ok(())
    }

    pub(super) fn outputs(&mut self) -> StoreResult {
        let (mut count, mut files, mut odd) = (0, BTreeSet::new(), Vec::new());
        self.each("SELECT name, bytes, data FROM output", |row| {
            count += 1;
            let name: Blake3Digest = row.get(0)?;
            let bytes: u64 = row.get(1)?;
            let found = match row.get::<Option<&[u8]>>(2)? {
                Some(data) => Ok((Blake3Digest::of(data), data.len() as u64)),
                None => {
                    files.insert(name.hex());
                    hash_file(&file_of(&self.scope.outputs, &name.hex()))
                }
            };
            match found {
                Ok(found) if found == (name, bytes) => {}
                Ok(_) => odd.push((
                    name,
                    "the bytes of the output do not match its name".to_owned(),
                )),
                Err(error) => odd.push((
                    name,
                    format!("the file of the output cannot be read: {error}"),
                )),
            }
            Ok(())
        })?;
        for (name, what) in odd {
            // The retention may have deleted the output and its row during this check.
            if self.still_has(&name)? {
                self.advise(format!("output {name}"), what, LOST);
            }
        }
        self.count(
            "output_of",
            self.outputs_named,
            "the receipts, which give the permissions to read outputs, explain",
        )?;
        self.odd(
            "output",
            "the date of the output differs from the end of its last run",
            "SELECT name AS id FROM output WHERE at IS NOT (SELECT max(p.ended_at) FROM output_of o \
             JOIN proposal p ON p.id = o.proposal WHERE o.name = output.name)",
        )?;
        self.odd(
            "output_order",
            "the run of this row is not finished",
            "SELECT proposal AS id FROM output_order WHERE proposal NOT IN (SELECT id FROM proposal WHERE status = 1)",
        )?;
        self.counts.push(("outputs", count));
        let strays = files_below(&self.scope.outputs)
            .into_iter()
            .filter(|name| !files.contains(name))
            .count();
        if strays > 0 {
            self.notes.push(format!(
                "{strays} output files belong to no run, because a crash left them; the next start of the service \
                 removes the files"
            ));
        }
        Ok(())
    }

    /// Returns true if the store has the output now, outside of this check's transaction.
    fn still_has(&self, name: &Blake3Digest) -> StoreResult<bool> {
        let Some(path) = self.connection.path() else {
            return Ok(true);
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let now = Connection::open_with_flags(path, flags).during(DURING)?;
        let sql = "SELECT 1 FROM output WHERE name = ?1";
        Ok(one(&now, DURING, sql, [name.as_bytes()], |_| Ok(()))?.is_some())
    }

    /// Compares the tokens with the last seal, to detect an entry that was changed by hand.
    pub(super) fn tokens(&mut self) -> StoreResult {
        let Some(seal) = self.in_force.take() else {
            return Ok(());
        };
        let sealed = self.blob::<Vec<SealedToken>>(seal.tokens.as_bytes())?;
        let sealed = sealed.unwrap_or_default();
        let rows = self.all(TOKENS, [], |row| row.token())?;
        self.counts.push(("tokens", rows.len() as u64));
        let names = "SELECT name FROM token ORDER BY name";
        let names = self.all(names, [], |row| row.get::<String>(0))?;
        for (name, row) in names.iter().zip(&rows) {
            if name != row.token.name.as_str() {
                self.defect(
                    format!("table token, row {name}"),
                    "the row has the entry of another token",
                );
            }
        }
        for row in &rows {
            let token = &row.token;
            let place = format!("table token, row {}", token.name);
            if row.files() != token.files() {
                self.defect(
                    place.clone(),
                    "the files of the issuer are not those that the entry names",
                );
            }
            let said = sealed.iter().find(|sealed| sealed.name == token.name);
            let ended =
                row.revoked_at.is_some() || token.expires_at.is_some_and(|end| end <= seal.at);
            let by_entry = self.revoked.contains(&RevokedSubject::token(&token.name));
            match said {
                _ if row.revoked_at.is_none() && by_entry => {
                    self.defect(place, "the log revokes the token, but the row says that it is valid");
                }
                None if !ended => {
                    self.defect(place, "the last seal does not name this token: the row was changed by hand")
                }
                Some(_) if row.revoked_at.is_some() && !by_entry => self.defect(
                    place,
                    "the row says that the token is revoked, but the token is valid in the last seal"
                ),
                Some(said) if *said != row.token => {
                    self.defect(place, "the token differs from the last seal");
                }
                _ => {}
            }
        }
        for missing in sealed
            .iter()
            .filter(|sealed| !rows.iter().any(|row| row.token.name == sealed.name))
        {
            self.defect(
                format!("table token, row {}", missing.name),
                "the token is valid in the last seal, but its row is missing",
            );
        }
        Ok(())
    }
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

impl Look<'_> {
    /// Returns the entries of one tile.
    pub(super) fn log_rows(&self, range: [u64; 2]) -> StoreResult<Vec<LogRow>> {
        let sql =
            "SELECT kind, at, idx, hash, data FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        let rows = self.all(sql, range, |row| {
            Ok((row.get(0)?, row.get(1)?, row.entry(2)?))
        })?;
        let mut entries = Entries::of(&self.connection);
        let read = |(kind, at, mut row): (u8, i64, EntryRow)| {
            let (index, hash, is_packed) = (row.index, row.hash, row.data.is_empty());
            let data = match entries.fill(&mut row) {
                Ok(()) => Ok(row.data),
                Err(NoEntry::Damaged(place, what)) => Err((place, what)),
                Err(NoEntry::Unreadable(error)) => return Err(error),
            };
            Ok(LogRow {
                index,
                kind,
                at,
                hash,
                is_packed,
                data,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Reports a tile with an entry that cannot be unpacked, a tile with both packed and other entries, or a changed
    /// row of `packed`. Returns true if the tile is packed.
    pub(super) fn packed(&mut self, rows: &[LogRow]) -> StoreResult<bool> {
        let count = rows.iter().filter(|row| row.is_packed).count();
        if count == 0 {
            return Ok(false);
        }
        let tile = rows[0].index / 256;
        if let Some((place, what)) = rows.iter().find_map(|row| row.data.as_ref().err()) {
            self.defect(place, *what);
        } else if count < 256 {
            self.defect(
                format!("packed tile {tile}"),
                format!("only {count} of its 256 entries are packed"),
            );
        } else {
            // A changed byte of the compressed form can leave all entries the same.
            let sql = "SELECT data FROM packed WHERE tile = ?1";
            let intact = self.one(sql, [tile], |row| Ok(is_intact(row.get(0)?)))?;
            if intact != Some(true) {
                self.defect(
                    format!("packed tile {tile}"),
                    "its bytes do not match its digest",
                );
            }
        }
        Ok(true)
    }

    /// Returns the bytes of an entry. Returns `None` if the entry is missing, or if its packed tile is damaged, because
    /// the check of the log reports this defect.
    pub(super) fn entry_at(&self, index: u64) -> StoreResult<Option<Vec<u8>>> {
        let sql = "SELECT idx, hash, data FROM leaf WHERE idx = ?1";
        let Some(mut row) = self.one(sql, [index], |row| row.entry(0))? else {
            return Ok(None);
        };
        match Entries::of(&self.connection).fill(&mut row) {
            Ok(()) => Ok(Some(row.data)),
            Err(NoEntry::Damaged(..)) => Ok(None),
            Err(NoEntry::Unreadable(error)) => Err(error),
        }
    }
}

impl Look<'_> {
    /// Checks that a grant of the log has its row.
    pub(super) fn grant(&mut self, index: u64) -> StoreResult {
        if self
            .one(
                "SELECT 1 FROM standing WHERE leaf = ?1",
                [index],
                |_| Ok(()),
            )?
            .is_none()
        {
            self.defect(
                format!("log entry {index}"),
                "the table standing has no row for this grant",
            );
        }
        Ok(())
    }

    /// Checks that a use of a grant has its row.
    pub(super) fn grant_use(
        &mut self,
        index: u64,
        item: u32,
        at: Timestamp,
        spent: &Spent,
    ) -> StoreResult {
        let (Some(grant), Some(number)) = (&spent.grant, &spent.grant_use) else {
            return Ok(());
        };
        self.uses += 1;
        let sql = "SELECT 1 FROM standing_use WHERE digest = ?1 AND number = ?2 AND at = ?3 AND spent = ?4";
        let values = rusqlite::params![grant.as_bytes(), number.0, at.unix(), place(index, item)];
        if self.one(sql, values, |_| Ok(()))?.is_none() {
            self.defect(
                format!("log entry {index}, item {item}"),
                format!(
                    "the table standing_use has no row for use {} of a grant",
                    number.0
                ),
            );
        }
        Ok(())
    }

    /// Checks the rows of grants against their documents, and the number of uses.
    pub(super) fn grants(&mut self) -> StoreResult {
        let sql =
            "SELECT id, digest, envelope, proposer, created_at, expires_at, leaf FROM standing";
        let rows = self.all(sql, [], |row| Ok((row.get::<Vec<u8>>(0)?, row.grant())))?;
        self.counts.push(("grants", rows.len() as u64));
        for (id, row) in rows {
            let place = format!("table standing, row {}", hex(&id));
            let Ok(row) = row else {
                self.defect(
                    place,
                    "the row has a value that this program does not write",
                );
                continue;
            };
            let of_row = (row.digest, row.id, row.proposer, row.expires_at);
            let said = opened::<Grant>(&row.envelope).map(|(payload, statement)| {
                let terms = statement.predicate;
                let digest = ContentDigest::of(&payload);
                (digest, terms.grant, terms.proposer, terms.expires_at)
            });
            if said.ok() != Some(of_row) {
                self.defect(&place, "the row differs from the grant in it");
            }
            if let Some(index) = row.leaf
                && self.entry_at(index)?.as_deref() != Some(&row.envelope[..])
            {
                self.defect(&place, format!("log entry {index} is another document"));
            }
        }
        self.count(
            "standing_use",
            self.uses,
            "the number of uses in the log is",
        )
    }
}

const OWED: &str =
    "SELECT proposal, receipt, emergency, unknown, standing, reviewed, settled FROM owed";

impl Look<'_> {
    /// Checks that a review of the log has its row, and that the row names the same receipt.
    pub(super) fn review(
        &mut self,
        index: u64,
        subject: [u8; 32],
        statement: &ReviewStatement,
    ) -> StoreResult {
        self.reviews += 1;
        // A value that this program does not write is a defect of the row, and not an error of the disk.
        let row = self
            .one(
                "SELECT leaf, receipt, proposal, reviewer, accepted, observed, counts_review, counts_settle FROM review \
                 WHERE leaf = ?1",
                [index],
                |row| row.review(),
            )
            .ok()
            .flatten();
        let Some(row) = row else {
            self.defect(
                format!("log entry {index}"),
                "the table review has no row for this review that this program can read",
            );
            return Ok(());
        };
        let sql = "SELECT l.idx FROM leaf l JOIN closed_at c ON c.receipt = l.idx \
                   WHERE l.idx = ?1 AND l.idx < ?2 AND l.kind = ?3 AND c.id = ?4";
        let values = rusqlite::params![
            row.receipt,
            index,
            LeafKind::Receipt as u8,
            id_bytes(&row.proposal)
        ];
        let place = self.one(sql, values, |row| row.get(0))?;
        let receipt = place
            .map(|index| self.entry_at(index))
            .transpose()?
            .flatten();
        let payload = receipt
            .and_then(|data| opened::<Receipt>(&data).ok())
            .map(|(payload, _)| payload);
        if payload.map(|payload| sha256(&payload)) != Some(subject)
            || (row.verdict, row.observed) != (statement.verdict, statement.observed)
        {
            self.defect(
                format!("table review, row {index}"),
                "the row differs from the review in the log",
            );
        }
        Ok(())
    }

    /// Remembers a run that needs a review, from the payload of its authorization. A run in progress has no receipt.
    pub(super) fn owes(&mut self, receipt: Option<u64>, unknown: bool, payload: &[u8]) {
        let Ok(statement) = Statement::<Authorization>::from_payload(payload) else {
            return;
        };
        let Authorization {
            proposal,
            grant,
            emergency,
            ..
        } = statement.predicate;
        if unknown || emergency.is_some() {
            let grant = grant.filter(|_| unknown);
            let (reviewed, settled, emergency) = (None, None, emergency.is_some());
            let row = OwedReview {
                proposal: proposal.clone(),
                receipt,
                emergency,
                unknown,
                grant,
                reviewed,
                settled,
            };
            self.owed.insert(proposal, row);
        }
    }

    /// Checks the rows of runs that need a review, and the number of reviews.
    pub(super) fn reviews(&mut self) -> StoreResult {
        let mut expected = std::mem::take(&mut self.owed);
        // A value that this program does not write is a defect of the row, and not an error of the disk.
        for (id, row) in self.all(OWED, [], |row| Ok((row.get(0)?, row.owed().ok())))? {
            let Some(row) = row else {
                expected.remove(&id);
                self.defect(
                    format!("table owed, row {id}"),
                    "the row has a value that this program does not write",
                );
                continue;
            };
            let place = format!("table owed, row {}", row.proposal);
            let of_log = OwedReview {
                reviewed: None,
                settled: None,
                ..row.clone()
            };
            if expected.remove(&row.proposal) != Some(of_log) {
                self.defect(
                    &place,
                    "the row differs from the signed documents of the run",
                );
            }
            for (column, leaf) in [("reviewed", row.reviewed), ("settled", row.settled)] {
                let Some(leaf) = leaf else { continue };
                let sql = "SELECT 1 FROM review WHERE leaf = ?1 AND receipt = ?2";
                if self
                    .one(sql, rusqlite::params![leaf, row.receipt], |_| Ok(()))?
                    .is_none()
                {
                    self.defect(
                        &place,
                        format!(
                            "the column {column} names log entry {leaf}, which is no review of the run"
                        ),
                    );
                }
            }
        }
        for proposal in expected.into_keys() {
            self.defect(
                "table owed",
                format!("the run {proposal} needs a review, but has no row"),
            );
        }
        self.count(
            "review",
            self.reviews,
            "the number of reviews in the log is",
        )
    }
}

/// Returns the digest of the list of programs that a payload names.
fn payload_programs(payload: &[u8]) -> Option<BlobDigest> {
    let signed = Statement::<Authorization>::from_payload(payload).ok()?;
    signed.predicate.sandbox.programs.map(BlobDigest::from)
}
