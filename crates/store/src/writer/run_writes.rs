//! Starts and ends of runs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    Asked, Batch, Candidate, Consume, ConsumeStop, EventFact, Finish, FinishRow, FinishStop,
    GrantClaim, LeafRef, NonceUse, ProposalStatus, RunRow, SpentNonce, SpentUse, StatusChange,
    StoreFault, StoreResult, WriteKind, Writer, stored::may_become, waits,
    writer::row_writes::ClaimedUses,
};
use documents::{
    AuthorizationDigest, AuthorizationRef, Consumption, Envelope, EnvelopeSignature, GrantUse,
    Hash, LeafKind, MAX_ENTRY_BYTES, MAX_ITEMS, PAYLOAD_TYPE, ProposalId, SealDigest,
    Spent as SpentItem, Timestamp, pae,
};

impl Writer {
    /// Checks all requests to run, and logs the accepted ones: at most [`MAX_ITEMS`] authorizations, and then the
    /// consumption that names them.
    pub fn consume<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        requests: &[&'m Asked<Consume, SpentNonce, ConsumeStop>],
        candidates: &[Candidate],
        uses: Vec<Vec<SpentUse>>,
    ) -> StoreResult {
        let claims: Vec<&'m GrantClaim> = requests
            .iter()
            .filter_map(|asked| asked.message.claim.as_ref())
            .collect();
        // `finish` is called first, so the receipts of a batch are before its consumptions.
        let paused = batch
            .writes
            .ends
            .iter()
            .filter_map(|row| row.end.paused())
            .collect();
        let mut claimed = ClaimedUses::new(&claims, uses, paused);
        let refuse_all = |stop: &ConsumeStop| {
            requests
                .iter()
                .for_each(|asked| asked.set(Err(stop.clone())))
        };
        if let Some(message) = self.shared.no_runs() {
            refuse_all(&waits(message).into());
            return Ok(());
        }
        if let Some(seconds) = self.shared.clocks_differ() {
            refuse_all(&ConsumeStop::ClocksDiffer { seconds });
            return Ok(());
        }
        // All requests of the batch are checked at this time, which never decreases, even if the clock is set back.
        if let Some(seconds) = self.shared.clock_ahead((self.config.clock)()) {
            refuse_all(&ConsumeStop::ClockAhead { seconds });
            return Ok(());
        }
        let at = self.shared.now().max(self.head.last_at);
        let mut numbers: HashMap<&str, usize> = HashMap::with_capacity(requests.len());
        // Requests with the nonce of an earlier request of the batch.
        let mut repeated = Vec::new();
        let mut ids: HashSet<&ProposalId> = HashSet::with_capacity(requests.len());
        let mut passed = Vec::with_capacity(requests.len());
        for (asked, candidate) in requests.iter().zip(candidates) {
            let request: &'m Consume = &asked.message;
            let proposal = batch.proposal(request, candidate);
            let judged = match numbers.get(request.core.nonce.as_str()) {
                Some(&number) => {
                    repeated.push((asked, number));
                    continue;
                }
                None if ids.contains(&request.core.id) => {
                    Err(ConsumeStop::WrongState(ProposalStatus::Running))
                }
                None => self
                    .judge_run(request, candidate, proposal, at)
                    .and_then(|()| {
                        request
                            .claim
                            .as_ref()
                            .map(|claim| claimed.next(claim, at))
                            .transpose()
                    }),
            };
            match judged {
                Ok(number) => {
                    let granted = request.claim.as_ref().zip(number);
                    if let Some((claim, number)) = granted {
                        claimed.claim(claim, number, at);
                    }
                    if let Some(name) = &request.exclusive {
                        self.exclusive
                            .insert(name.to_string(), request.core.id.clone());
                    }
                    if request.emergency.is_some() {
                        self.emergencies.insert(request.core.id.clone());
                    }
                    numbers.insert(request.core.nonce.as_str(), passed.len());
                    ids.insert(&request.core.id);
                    passed.push(Passed {
                        asked,
                        request,
                        known: proposal.is_some(),
                        granted,
                    });
                }
                Err(stop) => asked.set(Err(stop)),
            }
        }
        let Some(seal) = self.head.seal else {
            refuse_all(&ConsumeStop::NoSeal);
            return Ok(());
        };
        let mut places = Vec::with_capacity(passed.len());
        for items in passed.chunks(MAX_ITEMS) {
            let index = self.log_runs(batch, items, seal, at)?;
            places.extend((0..).zip(items).map(|(item, _)| (index, item)));
        }
        // The first accepted request with a nonce spends it.
        for (asked, number) in repeated {
            let (index, item) = places[number];
            let proposal = passed[number].request.core.id.clone();
            asked.set(Err(ConsumeStop::Replayed(NonceUse {
                index,
                item,
                proposal,
            })));
        }
        Ok(())
    }

    /// Logs the authorizations of these runs, and the consumption that names them. Returns the index of the consumption.
    fn log_runs<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        items: &[Passed<'m>],
        seal: SealDigest,
        at: Timestamp,
    ) -> StoreResult<u64> {
        let authorizations: Vec<AuthorizationRef> = items
            .iter()
            .map(|run| {
                let entry = run.request.envelope.clone();
                let leaf = self.append(batch, LeafKind::Authorization, entry);
                AuthorizationRef {
                    digest: run.request.core.digest,
                    index: leaf.index,
                    leaf: leaf.hash,
                }
            })
            .collect();
        self.head.last_at = at;
        let spent = items
            .iter()
            .zip(&authorizations)
            .map(|(run, authorization)| SpentItem {
                authorization: *authorization,
                nonce: run.request.core.nonce.clone(),
                expires_at: run.request.core.expires_at,
                handed_in_by: run.request.handed_in_by.clone(),
                session: run.request.session.clone(),
                grant: run.granted.map(|(claim, _)| claim.grant),
                grant_use: run.granted.map(|(_, number)| GrantUse(number)),
            })
            .collect();
        let data: Arc<[u8]> = self.sign_leaf(Consumption { seal, at, spent })?.into();
        let leaf = self.append(batch, LeafKind::Consumption, data.clone());
        for ((item, run), authorization) in (0..).zip(items).zip(authorizations) {
            let request = run.request;
            let blobs = &mut batch.writes.blobs;
            let is_new = |list: &&(_, Vec<u8>)| blobs.iter().all(|(known, _)| *known != list.0);
            blobs.extend(request.programs.as_ref().filter(is_new));
            batch.writes.starts.push(RunRow {
                request,
                known: run.known,
                at,
                index: leaf.index,
                item,
                authorization: authorization.index,
                granted: run.granted.map(|(claim, number)| (&claim.grant, number)),
            });
            // Nothing after the runs of a batch reads their states.
            let change = StatusChange {
                proposal: request.core.id.clone(),
                to: ProposalStatus::Running,
                at,
            };
            batch.changes.push(change);
            for (person, keyid) in &request.signers {
                batch.event(
                    at,
                    EventFact::Signed(request.core.id.clone(), person.clone(), *keyid),
                );
            }
            batch.event(
                at,
                EventFact::Proposal(request.core.id.clone(), ProposalStatus::Running),
            );
            if request.emergency.is_some() {
                batch.event(at, EventFact::Emergency(request.core.id.clone()));
            }
            self.closed.spend(&request.core.nonce);
            let spent = SpentNonce {
                authorization,
                signed: request.envelope.clone(),
                index: leaf.index,
                item,
                leaf: leaf.hash,
                data: data.clone(),
                at,
                seal,
            };
            batch.set(run.asked, WriteKind::Consume, Ok(spent));
        }
        Ok(leaf.index)
    }

    /// Checks whether one request can run now.
    fn judge_run(
        &self,
        request: &Consume,
        candidate: &Candidate,
        proposal: Option<(AuthorizationDigest, ProposalStatus)>,
        at: Timestamp,
    ) -> Result<(), ConsumeStop> {
        // Check the nonce first, so that a replayed nonce always leads to the earlier run.
        if let Some(spent) = &candidate.spent {
            return Err(ConsumeStop::Replayed(spent.clone()));
        }
        if self.closed.is_spent(&request.core.nonce) {
            return Err(ConsumeStop::RowLost);
        }
        // R3: the state under which the authorization was verified must still be in force. The seal is compared too,
        // because the version alone does not name the registry.
        if self.head.seal.is_none() {
            return Err(ConsumeStop::NoSeal);
        }
        if request.version != self.head.version || Some(request.seal) != self.head.seal {
            return Err(ConsumeStop::Moved);
        }
        if candidate.denied || self.closed.is_denied(&request.core.digest) {
            return Err(ConsumeStop::Denied);
        }
        match proposal {
            Some((digest, _)) if digest != request.core.digest => {
                return Err(ConsumeStop::OtherAuthorization);
            }
            Some((_, status)) if !may_become(status, ProposalStatus::Running) => {
                return Err(ConsumeStop::WrongState(status));
            }
            _ => {}
        }
        // Pruning uses the end of the nonce, so it must be the end of the checked window.
        if request.window.expires_at != request.core.nonce.end() {
            return Err(ConsumeStop::BadWindow);
        }
        let _open = request.window.check(at, self.head.mark)?;
        if let Some(holder) = request
            .exclusive
            .as_deref()
            .and_then(|name| self.exclusive.get(name))
        {
            return Err(ConsumeStop::ExclusiveBusy {
                holder: holder.clone(),
            });
        }
        if let Some(most) = request.emergency
            && self.emergencies.len() as u64 >= most
        {
            return Err(ConsumeStop::Unreviewed {
                most,
                open: self.emergencies.iter().cloned().collect(),
            });
        }
        Ok(())
    }

    /// Signs a consumption. The store signs no other statement.
    fn sign_leaf(&self, consumption: Consumption) -> StoreResult<Vec<u8>> {
        let unwritable = |message: String| StoreFault::database("writing a consumption", message);
        let payload = consumption
            .into_statement()
            .to_payload()
            .map_err(|error| unwritable(error.to_string()))?;
        let sig = (self.config.signer.sign)(&pae(PAYLOAD_TYPE, &payload));
        let signature = EnvelopeSignature::new(self.config.signer.keyid, &sig);
        Envelope::new(&payload, vec![signature])
            .to_canonical()
            .map_err(|error| unwritable(error.to_string()))
    }

    pub fn finish<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        ends: &[&'m Asked<(Finish, Hash), LeafRef, FinishStop>],
    ) -> StoreResult {
        for asked in ends {
            let (end, hash) = &asked.message;
            let state = batch.states.get(&end.proposal).copied();
            let result = match state.map(|state| (state.status, state.consumption, state.receipt)) {
                None => Err(FinishStop::NotRunning(None)),
                Some((_, _, Some(receipt))) => Err(FinishStop::Finished { receipt }),
                Some((ProposalStatus::Running, Some(consumption), None))
                    if !self.is_run_of(end, consumption)? =>
                {
                    Err(FinishStop::OtherRun)
                }
                Some((ProposalStatus::Running, Some(_), None))
                    if end.receipt.len() > MAX_ENTRY_BYTES =>
                {
                    Err(FinishStop::TooLarge {
                        bytes: end.receipt.len(),
                    })
                }
                Some((ProposalStatus::Running, Some(_), None)) => {
                    let leaf =
                        self.append_hashed(batch, LeafKind::Receipt, end.receipt.clone(), *hash);
                    batch.writes.ends.push(FinishRow {
                        end,
                        receipt: leaf.index,
                        owed: end.unknown || self.emergencies.contains(&end.proposal),
                    });
                    batch.changed(&end.proposal, ProposalStatus::Finished, end.at);
                    if let Some(state) = batch.states.get_mut(&end.proposal) {
                        state.receipt = Some(leaf.index);
                    }
                    Ok(leaf)
                }
                Some((status, _, None)) => Err(FinishStop::NotRunning(Some(status))),
            };
            batch.set(asked, WriteKind::Receipt, result);
        }
        if !self.exclusive.is_empty() {
            let ended: HashSet<_> = batch
                .writes
                .ends
                .iter()
                .map(|row| &row.end.proposal)
                .collect();
            self.exclusive.retain(|_, holder| !ended.contains(holder));
        }
        Ok(())
    }

    /// Returns true if the stored consumption started this run. Only after a change of the database server can another
    /// leaf have the index of the consumption.
    fn is_run_of(&mut self, end: &Finish, consumption: (u64, u32)) -> StoreResult<bool> {
        let same_leaf = self.store.server_changes() == 0
            || self.store.leaf_hashes(consumption.0..consumption.0 + 1)? == [*end.leaf.as_bytes()];
        Ok(consumption == end.consumption && same_leaf)
    }
}

/// A request that can run.
struct Passed<'m> {
    asked: &'m Asked<Consume, SpentNonce, ConsumeStop>,
    request: &'m Consume,
    /// True if the proposal has a row.
    known: bool,
    /// The claimed use of a grant.
    granted: Option<(&'m GrantClaim, u64)>,
}

impl Batch<'_> {
    /// Returns the authorization and the status of the proposal to run, with the changes of this batch.
    fn proposal(
        &self,
        request: &Consume,
        candidate: &Candidate,
    ) -> Option<(AuthorizationDigest, ProposalStatus)> {
        let id = &request.core.id;
        let digest = candidate.proposal.map(|(digest, _)| digest).or_else(|| {
            let new = self.writes.proposals.iter().find(|new| new.core.id == *id);
            new.map(|new| new.core.digest)
        })?;
        let stored = candidate.proposal.map(|(_, status)| status);
        Some((
            digest,
            self.states.get(id).map(|state| state.status).or(stored)?,
        ))
    }
}
