//! Check of the tables outside the log, by comparison with each other and with signed documents.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{
    LOST, Look, StoreFault, TOKENS,
    sqlite::{
        check::{DURING, file_of, files_below},
        columns::one,
        errors::fault,
    },
};
use documents::{
    AuthorizationDigest, Blake3Digest, Blake3Stream, KeyId, RegistryLeaf, RevokedSubject,
    SealedToken, StepDefinition, hex, json, sha256,
};

impl Look<'_> {
    pub(super) fn runs(&mut self) -> Result<(), StoreFault> {
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
             AND (started_at IS NOT NULL OR spent IS NOT NULL OR receipt IS NOT NULL)",
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
    pub(super) fn nonces(&mut self) -> Result<(), StoreFault> {
        self.odd(
            "nonce",
            "the run that the row names did not spend this nonce",
            "SELECT n.nonce AS id FROM nonce n LEFT JOIN proposal p ON p.id = n.proposal \
             WHERE n.spent >= 0 AND (p.nonce IS NOT n.nonce OR p.spent IS NOT n.spent)",
        )?;
        let until = self.taken_over_until.unwrap_or(i64::MIN);
        self.odd(
            "nonce",
            "the row says that an earlier log spent this nonce, but this is impossible with this expiry",
            &format!("SELECT nonce AS id FROM nonce WHERE spent < 0 AND expires_at > {until}"),
        )?;
        let counted = self.number("SELECT nonces FROM state")?;
        let what = "before rows were changed by hand, the boundary counted";
        self.count("nonce", counted, what)?;
        self.counts
            .push(("nonces", self.number("SELECT count(*) FROM nonce")?));
        Ok(())
    }

    /// Checks that every waiting proposal has the payload that its approvers sign.
    pub(super) fn waiting(&mut self) -> Result<(), StoreFault> {
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
            ", data FROM payload JOIN proposal p ON p.id = payload.proposal"
        );
        // Few rows have a payload: waiting proposals are few, and ended proposals are deleted after their retention.
        let waiting = self.all(sql, [], |row| {
            Ok((
                row.get::<Vec<u8>>(0)?,
                row.proposal(0),
                row.get::<Vec<u8>>(17)?,
            ))
        })?;
        for (id, row, payload) in waiting {
            match row {
                Err(_) => self.unknown_values(&id),
                Ok(row) if row.core.digest == AuthorizationDigest::of(&payload) => {
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
    fn signatures(&mut self) -> Result<(), StoreFault> {
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

    pub(super) fn denials(&mut self) -> Result<(), StoreFault> {
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
    pub(super) fn sealed_step(
        &mut self,
        entry: &str,
        step: &RegistryLeaf,
    ) -> Result<(), StoreFault> {
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

    pub(super) fn blobs(&mut self) -> Result<(), StoreFault> {
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

    pub(super) fn outputs(&mut self) -> Result<(), StoreFault> {
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
            // The retention may have deleted the output and its row during this report.
            if self.still_has(&name)? {
                self.advise(format!("output {name}"), what, LOST);
            }
        }
        let what = "the receipts, which give the permissions to read outputs, explain";
        self.count("output_of", self.outputs_named, what)?;
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
    fn still_has(&self, name: &Blake3Digest) -> Result<bool, StoreFault> {
        let Some(path) = self.connection.path() else {
            return Ok(true);
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let now = Connection::open_with_flags(path, flags).map_err(fault(DURING))?;
        let sql = "SELECT 1 FROM output WHERE name = ?1";
        Ok(one(&now, DURING, sql, [name.as_bytes()], |_| Ok(()))?.is_some())
    }

    /// Compares the tokens with the last seal, to detect a scope that was extended by hand.
    pub(super) fn tokens(&mut self) -> Result<(), StoreFault> {
        let Some(seal) = self.in_force.take() else {
            return Ok(());
        };
        let sealed = self.blob::<Vec<SealedToken>>(seal.tokens.as_bytes())?;
        let sealed = sealed.unwrap_or_default();
        let rows = self.all(TOKENS, [], |row| row.token())?;
        self.counts.push(("tokens", rows.len() as u64));
        for row in &rows {
            let place = format!("table token, row {}", row.name);
            let said = sealed.iter().find(|sealed| sealed.name == row.name);
            let ended =
                row.revoked_at.is_some() || row.expires_at.is_some_and(|end| end <= seal.at);
            let by_entry = self.revoked.contains(&RevokedSubject::token(&row.name));
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
                        self.defect(place, "the token differs from the last seal");
                    }
                }
                None => {}
            }
        }
        for missing in sealed
            .iter()
            .filter(|sealed| !rows.iter().any(|row| row.name == sealed.name))
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
