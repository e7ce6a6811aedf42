//! Starts and ends of runs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::store::fault::StoreFault;
use crate::store::stored_leaf::LeafRef;
use crate::store::stored_run::{Consume, ConsumeStop, Finish, FinishStop, NonceUse, SpentNonce};
use crate::store::stored_status::StoredStatus;
use crate::store::writer::{Hashed, Writer};
use crate::store::{Candidate, FinishRow, RunRow};
use documents::crypto::signature::{PAYLOAD_TYPE, pae};
use documents::crypto::tlog_tiles::MAX_ENTRY_BYTES;
use documents::record::consumption::{Consumption, MAX_ITEMS, Spent as SpentItem};
use documents::record::envelope::{Envelope, EnvelopeSignature};
use documents::record::ident::ProposalId;
use documents::record::kinds::LeafKind;
use documents::record::validity::Timestamp;

impl Writer {
    /// Checks all requests to run, and logs the accepted ones. A consumption leaf contains at most [`MAX_ITEMS`]
    /// nonces.
    pub(super) fn consume(
        &mut self,
        requests: &mut [Box<Consume>],
    ) -> Result<Vec<Result<SpentNonce, ConsumeStop>>, StoreFault> {
        let cores: Vec<_> = requests.iter().map(|request| &request.core).collect();
        let candidates = self.store.candidates(&cores)?;
        // All requests of the batch are checked at this time, which never decreases, even if the clock is set back.
        if let Some(seconds) = self.shared.clock_ahead((self.config.clock)()) {
            return Ok(vec![Err(ConsumeStop::ClockAhead { seconds }); requests.len()]);
        }
        let at = self.shared.now().max(self.head.last_at);
        let first = self.head.size;
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(requests.len());
        let mut ids: HashSet<&ProposalId> = HashSet::with_capacity(requests.len());
        let (mut passed, mut results) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        for (request, candidate) in requests.iter().zip(&candidates) {
            let place = |number: usize| (first + (number / MAX_ITEMS) as u64, (number % MAX_ITEMS) as u32);
            // If two requests of a batch have the same nonce, the first accepted request spends it.
            let judged = match places.get(request.core.nonce.as_str()) {
                Some(&number) => {
                    let (index, item) = place(number);
                    let winner: &(&Consume, bool) = &passed[number];
                    Err(ConsumeStop::Replayed(NonceUse { index, item, proposal: winner.0.core.id.clone() }))
                }
                None if ids.contains(&request.core.id) => Err(ConsumeStop::WrongState(StoredStatus::Running)),
                None => self.judge(request, candidate, at),
            };
            match judged {
                Ok(()) => {
                    if let Some(name) = &request.exclusive {
                        self.exclusive.insert(name.to_string(), request.core.id.clone());
                    }
                    let number = passed.len();
                    places.insert(request.core.nonce.as_str(), number);
                    ids.insert(&request.core.id);
                    passed.push((&**request, candidate.proposal.is_some()));
                    results.push(Ok(number));
                }
                Err(stop) => results.push(Err(stop)),
            }
        }
        let Some(seal) = self.head.seal else { return Ok(vec![Err(ConsumeStop::NoSeal); requests.len()]) };
        let mut consumed = Vec::with_capacity(passed.len());
        let mut runs = Vec::with_capacity(passed.len());
        for items in passed.chunks(MAX_ITEMS) {
            self.head.last_at = at;
            let spent = items.iter().map(|(request, _)| SpentItem {
                authorization: request.core.digest,
                nonce: request.core.nonce.clone(),
                expires_at: request.core.expires_at,
                session: request.session.clone(),
            });
            let data: Arc<[u8]> = self.sign_leaf(Consumption { seal, at, spent: spent.collect() })?.into();
            let leaf = self.append(LeafKind::Consumption, data.clone());
            for (item, (request, known)) in (0..).zip(items) {
                runs.push(RunRow {
                    core: &request.core,
                    known: *known,
                    at,
                    index: leaf.index,
                    item,
                    seal,
                    exclusive: request.exclusive.as_deref(),
                    envelope: &request.envelope,
                    decision: &request.decision,
                });
                self.open_nonces.spend(&request.core.nonce, request.core.expires_at);
                let data = data.clone();
                consumed.push(SpentNonce { index: leaf.index, item, leaf: leaf.hash, data, at, seal });
            }
        }
        self.store.start(&runs)?;
        for run in &runs {
            self.changed(&run.core.id, StoredStatus::Running, run.at);
        }
        Ok(results.into_iter().map(|result| result.map(|number: usize| consumed[number].clone())).collect())
    }

    /// Checks whether one request can run now.
    fn judge(&self, request: &Consume, candidate: &Candidate, at: Timestamp) -> Result<(), ConsumeStop> {
        // Check the nonce first, so that a replayed nonce always leads to the earlier run.
        if let Some(spent) = &candidate.spent {
            return Err(ConsumeStop::Replayed(spent.clone()));
        }
        if self.open_nonces.contains(&request.core.nonce) {
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
        if candidate.denied {
            return Err(ConsumeStop::Denied);
        }
        match candidate.proposal {
            Some((digest, _)) if digest != request.core.digest => return Err(ConsumeStop::OtherAuthorization),
            Some((_, status)) if !status.may_become(StoredStatus::Running) => {
                return Err(ConsumeStop::WrongState(status));
            }
            _ => {}
        }
        // Pruning uses the expiry in the row, so it must be the expiry of the checked window.
        if request.window.expires_at != request.core.expires_at {
            return Err(ConsumeStop::BadWindow);
        }
        let _open = request.window.check(at, self.head.mark)?;
        if let Some(holder) = request.exclusive.as_deref().and_then(|name| self.exclusive.get(name)) {
            return Err(ConsumeStop::ExclusiveBusy { holder: holder.clone() });
        }
        Ok(())
    }

    /// Signs a consumption. The store signs no other statement.
    fn sign_leaf(&self, consumption: Consumption) -> Result<Vec<u8>, StoreFault> {
        let unwritable = |message: String| StoreFault::Database { during: "writing a consumption", message };
        let payload = consumption.into_statement().to_payload().map_err(|error| unwritable(error.to_string()))?;
        let sig = (self.config.signer.sign)(&pae(PAYLOAD_TYPE, &payload));
        let signature = EnvelopeSignature::new(self.config.signer.keyid, &sig);
        Envelope::new(&payload, vec![signature]).to_canonical().map_err(|error| unwritable(error.to_string()))
    }

    pub(super) fn finish(
        &mut self,
        ends: &mut [Box<Hashed<Finish>>],
    ) -> Result<Vec<Result<LeafRef, FinishStop>>, StoreFault> {
        let ids: Vec<_> = ends.iter().map(|end| &end.message.proposal).collect();
        let standings = self.store.standings(&ids)?;
        let mut closed: HashMap<ProposalId, u64> = HashMap::with_capacity(ends.len());
        let mut places = Vec::with_capacity(ends.len());
        let mut results = Vec::with_capacity(ends.len());
        for (end, standing) in ends.iter().zip(standings) {
            let hash = end.hash;
            let end = &end.message;
            let consumption = match (standing, closed.get(&end.proposal)) {
                (_, Some(&receipt)) => Err(FinishStop::Finished { receipt }),
                (None, _) => Err(FinishStop::NotRunning(None)),
                (Some(standing), _) => match (standing.status, standing.consumption, standing.receipt) {
                    (_, _, Some(receipt)) => Err(FinishStop::Finished { receipt }),
                    (StoredStatus::Running, Some(_), None) if end.receipt.len() > MAX_ENTRY_BYTES => {
                        Err(FinishStop::TooLarge { bytes: end.receipt.len() })
                    }
                    (StoredStatus::Running, Some(consumption), None) => Ok(consumption),
                    (status, _, None) => Err(FinishStop::NotRunning(Some(status))),
                },
            };
            match consumption {
                Ok(consumption) => {
                    let leaf = self.append_hashed(LeafKind::Receipt, end.receipt.clone(), hash);
                    closed.insert(end.proposal.clone(), leaf.index);
                    places.push(Some((consumption, leaf.index)));
                    results.push(Ok(leaf));
                }
                Err(stop) => {
                    places.push(None);
                    results.push(Err(stop));
                }
            }
        }
        let rows: Vec<_> = ends
            .iter()
            .zip(&places)
            .filter_map(|(end, place)| place.map(|(consumption, receipt)| (&end.message, consumption, receipt)))
            .map(|(end, consumption, receipt)| FinishRow {
                proposal: &end.proposal,
                consumption,
                receipt,
                at: end.at,
                detail: &end.detail,
                outputs: &end.outputs,
                order: end.order.as_deref(),
                blobs: &end.blobs,
            })
            .collect();
        self.store.finish(&rows)?;
        for row in &rows {
            self.changed(row.proposal, StoredStatus::Finished, row.at);
        }
        if !self.exclusive.is_empty() {
            self.exclusive.retain(|_, holder| !closed.contains_key(holder));
        }
        Ok(results)
    }
}
