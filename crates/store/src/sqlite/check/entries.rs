//! Check of the entries of the log, by comparison with the rows that they leave.

use std::collections::BTreeSet;

use rusqlite::params;

use crate::{
    AuthorizationCore, LOST, Look, Proposal, ProposalStatus, StoreResult, end_detail,
    fields::place, id_bytes, opened, payload_of,
};
use documents::{
    Authorization, AuthorizationDigest, AuthorizationRef, Consumption, Denial, Envelope, Genesis,
    Grant, KeyId, LeafHash, LeafKind, MAX_WINDOW_S, Malformed, Manifest, ManifestEntry, ProposalId,
    Receipt, RefusalStatement, RegistryLeaf, ReviewStatement, Revocation, SKEW_S, Seal, SealDigest,
    Spent, Statement, Status, denied, hex, json, leaf_hash, reviewed, revoked,
};

impl Look<'_> {
    pub(super) fn entry(&mut self, index: u64, kind: u8, data: &[u8]) -> StoreResult {
        let entry = format!("log entry {index}");
        let Some(kind) = LeafKind::of_number(kind) else {
            self.defect(
                entry,
                format!("the entry has the kind {kind}, which this program does not know"),
            );
            return Ok(());
        };
        let found = match kind {
            LeafKind::Seal => opened::<Seal>(data)
                .map(|(payload, seal)| self.seal(index, &payload, seal.predicate)),
            // The consumption reads its authorizations.
            LeafKind::Authorization => opened::<Authorization>(data).map(|(_, statement)| {
                match statement.predicate.sandbox.programs {
                    Some(list) => {
                        self.blob_of(&entry, "list of programs", *list.digest().as_bytes())
                    }
                    None => Ok(()),
                }
            }),
            LeafKind::Consumption => opened::<Consumption>(data)
                .map(|(_, statement)| self.consumption(index, &statement.predicate)),
            LeafKind::Receipt => opened::<Receipt>(data)
                .map(|(_, statement)| self.receipt(index, &statement.predicate)),
            LeafKind::Denial => opened::<Denial>(data)
                .and_then(|(_, statement)| denied(&statement))
                .and_then(|authorization| Ok((authorization, signers(data)?)))
                .map(|(authorization, signers)| self.denial(index, authorization, &signers)),
            LeafKind::Revocation => opened::<Revocation>(data)
                .and_then(|(_, statement)| revoked(&statement))
                .map(|subject| {
                    self.revoked.insert(subject);
                    Ok(())
                }),
            LeafKind::Grant => opened::<Grant>(data).map(|_| self.grant(index)),
            LeafKind::Review => opened::<ReviewStatement>(data).and_then(|(_, statement)| {
                let subject = reviewed(&statement)?;
                Ok(self.review(index, *subject.as_bytes(), &statement.predicate))
            }),
            LeafKind::Refusal => opened::<RefusalStatement>(data).map(|(_, statement)| {
                self.stated = Some(statement.predicate.at);
                Ok(())
            }),
        };
        match found {
            Ok(done) => done,
            Err(error) => {
                self.defect(entry, format!("it is no {} ({error})", kind.word()));
                Ok(())
            }
        }
    }

    pub(super) fn seal(&mut self, index: u64, payload: &[u8], seal: Seal) -> StoreResult {
        let (entry, digest) = (format!("log entry {index}"), SealDigest::of(payload));
        self.stated = Some(seal.at);
        if seal.previous != self.previous {
            self.defect(&entry, "the seal does not name the previous seal");
        }
        if self.first.is_none() {
            self.first = Some(digest);
            if let Some(Genesis::Follows { .. }) = seal.genesis {
                self.taken_over_until = Some(seal.at.unix() + MAX_WINDOW_S + SKEW_S);
            }
            if index != 0 {
                self.defect(&entry, "the first seal is not the first entry");
            }
        }
        self.previous = Some(digest);
        if self
            .one("SELECT 1 FROM seal WHERE idx = ?1", [index], |_| Ok(()))?
            .is_none()
        {
            self.defect(&entry, "the table seal has no row for this entry");
        }
        let named = [
            ("registry", *seal.registry.as_bytes()),
            ("policy", *seal.policy.as_bytes()),
            ("built-in lists", *seal.builtins.as_bytes()),
            ("roster", *seal.roster.as_bytes()),
            ("tokens", *seal.tokens.as_bytes()),
            ("configuration", *seal.configuration.as_bytes()),
        ];
        let versions = seal
            .rosters
            .map(|versions| ("roster's versions", *versions.as_bytes()));
        for (what, digest) in named.into_iter().chain(versions) {
            self.blob_of(&entry, what, digest)?;
        }
        let leaves = self.blob::<Vec<RegistryLeaf>>(seal.registry.as_bytes())?;
        for leaf in leaves.unwrap_or_default() {
            self.sealed_step(&entry, &leaf)?;
        }
        self.in_force = Some(seal);
        Ok(())
    }

    pub(super) fn blob_of(&mut self, entry: &str, what: &str, digest: [u8; 32]) -> StoreResult {
        if self
            .one("SELECT 1 FROM blob WHERE digest = ?1", [digest], |_| Ok(()))?
            .is_none()
        {
            self.defect(
                entry,
                format!(
                    "the blob of the {what} of this entry, sha256:{}, is missing",
                    hex(&digest)
                ),
            );
        }
        Ok(())
    }

    /// Checks that every item of a consumption has its proposal, its nonce (until the nonce expires), and its receipt
    /// or its run.
    pub(super) fn consumption(&mut self, index: u64, consumption: &Consumption) -> StoreResult {
        self.stated = Some(consumption.at);
        for (item, spent) in (0..).zip(&consumption.spent) {
            let entry = format!("log entry {index}, item {item}");
            let at = place(index, item);
            self.grant_use(index, item, consumption.at, spent)?;
            let sql = concat!(
                "SELECT ",
                proposal_columns!(),
                " FROM spent_at s JOIN proposal p ON p.id = s.id WHERE s.spent = ?1"
            );
            if let Some(run) = self.run_of(&entry, "this consumption", sql, at)? {
                self.started(&entry, at, &run, consumption, spent)?;
            }
            let sql = "SELECT spent FROM nonce WHERE nonce = ?1";
            let kept = self.one(sql, [spent.nonce.to_bytes()], |row| row.get::<i64>(0))?;
            let why = match kept {
                Some(place) if place != at => "the row of the nonce names another run",
                None if spent.expires_at.unix() > self.mark => "the row of the nonce is missing",
                _ => continue,
            };
            self.defect(
                &entry,
                format!(
                    "the nonce {} is spent and expires at {}, but {why}: the authorization could run again",
                    spent.nonce, spent.expires_at
                ),
            );
        }
        Ok(())
    }

    /// Returns the only row of a proposal that a statement finds for an entry.
    fn run_of(
        &mut self,
        entry: &str,
        what: &str,
        sql: &str,
        place: i64,
    ) -> StoreResult<Option<Proposal>> {
        let mut runs = self.all(sql, [place], |row| {
            Ok((row.get::<Vec<u8>>(0)?, row.proposal(0)))
        })?;
        match (runs.pop(), runs.len()) {
            (None, _) => self.defect(entry, format!("no row of a proposal names {what}")),
            (Some((_, Ok(run))), 0) => return Ok(Some(run)),
            (Some((id, Err(_))), 0) => self.unknown_values(&id),
            (_, more) => self.defect(entry, format!("{} proposals name {what}", more + 1)),
        }
        Ok(None)
    }

    /// Reports a row of a proposal with a value that this program does not write.
    pub(super) fn unknown_values(&mut self, id: &[u8]) {
        let place = format!("table proposal, row {}", hex(id));
        self.defect(
            place,
            "the row has a value that this program does not write",
        );
    }

    /// Compares the row of a run with its consumption, and with its row in the table `crossing` until it has a receipt.
    fn started(
        &mut self,
        entry: &str,
        at: i64,
        run: &Proposal,
        consumption: &Consumption,
        spent: &Spent,
    ) -> StoreResult {
        let id = &run.core.id;
        let authorization = &spent.authorization;
        let same = (run.core.digest, &run.core.nonce) == (authorization.digest, &spent.nonce);
        if !same || run.authorization != Some(authorization.index) {
            self.defect(
                entry,
                format!(
                    "the authorization or the nonce of the proposal {id} differs from the consumption in the log"
                ),
            );
        }
        // The row of a submitted envelope is created at the consumption.
        let then = Some(consumption.at);
        let created = (Some(run.created_at()), run.approved_at);
        let same = if run.request.is_some() {
            run.approved_at.is_some()
        } else {
            created == (then, then)
        };
        self.differs(id, run.started_at == then && same, "its consumption");
        let payload = self.authorization(entry, authorization)?;
        let runs = run.status == ProposalStatus::Running;
        if let (true, Ok(payload)) = (runs, &payload) {
            self.owes(None, false, payload);
        }
        self.compare(run, payload);
        let sql = "SELECT 1 FROM crossing WHERE id = ?1";
        if runs != self.one(sql, [at], |_| Ok(()))?.is_some() {
            let what = if runs {
                "the proposal is running, but its row in the table crossing, which recovery needs, is missing"
            } else {
                "the run has ended, but is still listed as running"
            };
            self.defect(entry, what);
        }
        Ok(())
    }

    /// Returns the payload of an authorization in the log.
    fn authorization(
        &mut self,
        entry: &str,
        named: &AuthorizationRef,
    ) -> StoreResult<Result<Vec<u8>, Malformed>> {
        let data = self.entry_at(named.index)?.unwrap_or_default();
        if LeafHash::from_bytes(leaf_hash(&data)) != named.leaf {
            self.defect(
                entry,
                format!(
                    "log entry {} is not the authorization that the entry names",
                    named.index
                ),
            );
        }
        Ok(payload_of(&data))
    }

    pub(super) fn receipt(&mut self, index: u64, receipt: &Receipt) -> StoreResult {
        let entry = format!("log entry {index}");
        let of = &receipt.consumption;
        let hash = self.one("SELECT hash FROM leaf WHERE idx = ?1", [of.index], |row| {
            row.get::<[u8; 32]>(0)
        })?;
        if of.index >= index || hash.map(LeafHash::from_bytes) != Some(of.leaf) {
            self.defect(
                &entry,
                format!(
                    "the consumption of the receipt is not log entry {}",
                    of.index
                ),
            );
        }
        let item = u32::try_from(of.item).unwrap_or(u32::MAX);
        let sql = concat!(
            "SELECT ",
            proposal_columns!(),
            " FROM closed_at c JOIN proposal p ON p.id = c.id WHERE c.receipt = ?1"
        );
        let payload = self.authorization(&entry, &receipt.authorization)?;
        if let Ok(payload) = &payload {
            let is_unknown = receipt.outcome.status == Status::Unknown;
            self.owes(Some(index), is_unknown, payload);
        }
        if let Some(run) = self.run_of(&entry, "this receipt", sql, index.cast_signed())? {
            if run.consumption == Some((of.index, item)) {
                self.finished(&run, receipt)?;
            } else {
                self.defect(
                    &entry,
                    "the receipt and the row of the proposal name different runs",
                );
            }
        }
        let until = receipt.finished_at.plus(self.scope.retention.outputs_s);
        for (name, stream) in [
            ("stdout", &receipt.output.stdout),
            ("stderr", &receipt.output.stderr),
        ] {
            // The boundary's own time, which can be ahead of the clock, decides whether the retention has ended.
            if stream.recorded == 0 || until.unix() <= self.scope.now.unix().max(self.mark) {
                continue;
            }
            let sql = "SELECT bytes FROM output WHERE name = ?1";
            let kept = self.one(sql, [stream.blake3.as_bytes()], |row| row.get::<u64>(0))?;
            if kept != Some(stream.recorded) {
                self.advise(
                    &entry,
                    format!(
                        "the output {name}, {}, is missing although its retention ends at {until}",
                        stream.blake3
                    ),
                    LOST,
                );
            }
        }
        Ok(())
    }

    /// Compares the row of a run and its outputs with the receipt.
    fn finished(&mut self, run: &Proposal, receipt: &Receipt) -> StoreResult {
        let id = &run.core.id;
        let why = run.detail.as_deref().and_then(end_detail::why);
        let why = why.filter(|_| receipt.outcome.status == Status::Unknown);
        let detail = end_detail::write(&receipt.outcome, why.as_deref());
        let end = (Some(receipt.finished_at), Some(&detail));
        let same = (run.ended_at, run.detail.as_ref()) == end;
        self.differs(id, same, "its receipt");
        let mut names: BTreeSet<[u8; 32]> = [&receipt.output.stdout, &receipt.output.stderr]
            .into_iter()
            .filter(|stream| stream.recorded > 0)
            .map(|stream| *stream.blake3.as_bytes())
            .collect();
        let files = self.manifest(receipt)?.unwrap_or_default();
        names.extend(
            files
                .iter()
                .filter(|file| file.bytes > 0)
                .map(|file| *file.blake3.as_bytes()),
        );
        for name in names {
            let sql = "SELECT EXISTS (SELECT 1 FROM output_of WHERE name = ?1 AND proposal = ?2), \
                       EXISTS (SELECT 1 FROM output WHERE name = ?1)";
            let found = self.one(sql, params![name, id_bytes(id)], |row| row.pair())?;
            match found {
                Some((true, _)) => self.outputs_named += 1,
                Some((false, true)) => {
                    self.advise(
                        "table output_of",
                        format!("no row records that the proposal {id} wrote {}", hex(&name)),
                        LOST,
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the files that a receipt names, or `None` if the receipt names no files or the manifest is missing.
    pub(super) fn manifest(
        &mut self,
        receipt: &Receipt,
    ) -> StoreResult<Option<Vec<ManifestEntry>>> {
        if receipt.files.count == 0 {
            return Ok(None);
        }
        let digest = receipt.files.manifest;
        let files = self.blob::<Manifest>(digest.as_bytes())?;
        if files.is_none() {
            self.defect(
                "table blob",
                format!("the blob {digest} with the files of a run is missing or damaged"),
            );
        }
        Ok(files.map(|manifest| manifest.0))
    }

    /// Compares the row of a proposal with the row that its signed payload makes.
    pub(super) fn compare(&mut self, row: &Proposal, payload: Result<Vec<u8>, Malformed>) {
        let id = &row.core.id;
        let same = payload.and_then(|payload| {
            let said = Statement::<Authorization>::from_payload(&payload)?.predicate;
            let created = row.request.is_none() || row.created_at() == said.issued_at;
            Ok(created && row.core == AuthorizationCore::of(&said, &payload)?)
        });
        match same {
            Ok(same) => self.differs(id, same, "the signed payload"),
            Err(error) => self.defect(
                format!("table proposal, row {id}"),
                format!("the signed payload cannot be read: {error}"),
            ),
        }
    }

    fn differs(&mut self, id: &ProposalId, same: bool, from: &str) {
        if !same {
            let place = format!("table proposal, row {id}");
            self.defect(place, format!("the row differs from {from}"));
        }
    }

    pub(super) fn denial(
        &mut self,
        index: u64,
        authorization: AuthorizationDigest,
        signers: &[KeyId],
    ) -> StoreResult {
        self.denials += 1;
        let sql = "SELECT approver FROM denial WHERE authorization = ?1 AND leaf = ?2";
        let approver = self.one(sql, params![authorization.as_bytes(), index], |row| {
            row.get::<String>(0)
        })?;
        let what = match approver {
            None => format!(
                "the table denial has no row for this entry, so {authorization} could run although the authorization \
                 is denied"
            ),
            Some(approver)
                if !signers
                    .iter()
                    .any(|signer| self.is_key_of(signer, &approver)) =>
            {
                format!(
                    "the table denial names {approver:?}, but no key of that approver signed the denial"
                )
            }
            Some(_) => return Ok(()),
        };
        self.defect(format!("log entry {index}"), what);
        Ok(())
    }

    /// Returns true if a roster of the log lists this key for the approver.
    pub(super) fn is_key_of(&self, key: &KeyId, approver: &str) -> bool {
        self.people
            .get(key)
            .is_some_and(|names| names.iter().any(|name| name.as_str() == approver))
    }
}

/// Returns the key ids of the signatures in an entry, without verification.
pub fn signers(data: &[u8]) -> Result<Vec<KeyId>, Malformed> {
    let envelope: Envelope = json::parse_as(data, data.len())?;
    Ok(envelope
        .signatures
        .into_iter()
        .map(|signature| signature.keyid)
        .collect())
}
