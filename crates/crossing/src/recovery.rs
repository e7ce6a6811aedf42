//! Recovery after a crash. The recovery writes a receipt with outcome `unknown` for each consumption without a
//! receipt. Nothing runs again.
//!
//! Only the active node runs the recovery: before it accepts requests for its own runs, and later for the runs of
//! other nodes whose time limits have passed. The processes of this node's earlier runs have already ended: each run
//! ends when its pipe to the service closes, and the start of the service kills processes that are still left.

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use crate::{
    Closing, Crossing, LedgerBlobs, Ran, ReceiptBasis, RequestResult, ResultsBasis, Stopped, fault,
    run_end::SERVICE_ENDED,
};
use documents::{
    Consumption, LeafHash, ProposalId, Receipt, SealDigest, TILE_WIDTH, Timestamp, leaf_hash,
};
use sandbox::Report;
use store::{CLOSABLE_AFTER_S, SpentNonce, Unfinished, opened};
use verdict::{LostRun, SealInForce, decide_lost, sealed_at};

impl Crossing {
    /// Writes the receipts that are missing after a crash, in the order of the consumptions. Returns the number of
    /// these receipts. Runs of another node are closed only when their time limits have passed, because they can still
    /// be in progress.
    ///
    /// # Errors
    /// Returns an error if a receipt can't be written. The service must then not start.
    pub async fn recover(&self) -> RequestResult<usize> {
        self.outputs.sweep().map_err(fault)?;
        self.close_lost(|open| open.own || open.over).await
    }

    /// Writes the receipts of runs whose time limits have passed while no node wrote their receipts. Returns the number
    /// of written receipts.
    ///
    /// # Errors
    /// Returns an error if a receipt can't be written.
    pub async fn close_overdue(&self) -> RequestResult<usize> {
        // After this call, the store also shows the receipts that another node wrote after it had lost its role.
        self.ledger.ping().await?;
        // A run of this process is left out, because the run stores its own receipt when the database answers again.
        self.close_lost(|open| open.over && self.live.find(&open.proposal).is_none())
            .await
    }

    async fn close_lost(&self, lost: impl Fn(&Unfinished) -> bool) -> RequestResult<usize> {
        let mut unfinished = self.ledger.reads().unfinished()?;
        unfinished.retain(lost);
        let (mut count, mut changed) = (0, None);
        let mut checked = Vec::new();
        // A start writes entries before the receipts of interrupted runs. So the times of the last `OF_START` entries
        // do not show that the boundary worked on after a run.
        let earlier = self
            .ledger
            .leaf(self.ledger.state().size.saturating_sub(OF_START))?;
        let mut sealed = None;
        if let Some(open) = unfinished.first() {
            // The revocations decide too, so they must be those of the log.
            for revocation in self.ledger.revocations().iter() {
                let _ = self.entry_of(open, revocation.leaf)?;
            }
        }
        for open in unfinished {
            match self.closing_of(&open, earlier.as_ref().map(|leaf| leaf.at), &mut sealed) {
                Ok(closing) => checked.push(closing),
                Err(error @ Stopped::Refused(_)) => return Err(error),
                Err(error) => changed = Some(error),
            }
            tokio::task::yield_now().await;
        }
        let receipts = self.receipts_of(&checked)?;
        for closing in checked {
            if let Some(receipt) = receipts.get(&(closing.claim.index, closing.claim.item.into())) {
                let what = format!("log entry {receipt} is the receipt of this run");
                changed = Some(row_changed(&closing.basis.proposal, &what));
                continue;
            }
            let now = self.now().max(closing.claim.at);
            // The receipt passes through the same last two stages as the receipt of a run that the boundary observed.
            let ran = Ran {
                closing,
                report: Box::new(Report::lost(SERVICE_ENDED.to_owned())),
                recorded: None,
                started_at: now,
                finished_at: now,
            };
            let receipt = self.receipt(ran)?;
            let _ = self.log(receipt).await?;
            count += 1;
        }
        changed.map_or(Ok(count), Err)
    }

    /// Returns what a receipt of the run needs. The boundary signs no statement that only a row supports: the row only names
    /// an item of a consumption. The boundary reads everything else from the log, and repeats the decision.
    fn closing_of(
        &self,
        open: &Unfinished,
        earlier: Option<Timestamp>,
        last: &mut Option<SealInForce>,
    ) -> RequestResult<Closing> {
        let changed = |what: &dyn Display| row_changed(&open.proposal, what);
        let data = self.entry_of(open, open.index)?;
        let (_, stated) = opened::<Consumption>(&data).map_err(|error| changed(&error))?;
        let stated = stated.predicate;
        let spent = stated.spent.get(open.item as usize);
        let spent = spent.ok_or_else(|| changed(&"the consumption has no such item"))?;
        let known = last.take().filter(|seal| seal.digest == stated.seal);
        let in_force = last.insert(match known {
            Some(seal) => seal,
            None => self.seal_of(open, stated.seal)?,
        });
        let name = &in_force.boundary.name;
        let key = in_force.roster.boundary_key(name, &self.key.keyid);
        let _own = key.ok_or_else(|| changed(&"its seal lacks the key of this node"))?;
        let signed = self.entry_of(open, spent.authorization.index)?;
        let mut grant = None;
        if let Some(digest) = &spent.grant
            && let Some(index) = self
                .ledger
                .reads()
                .grant_of(digest)?
                .and_then(|row| row.leaf)
        {
            grant = Some((index, self.entry_of(open, index)?));
        }
        let run = LostRun {
            consumption: (open.index, &data),
            item: open.item as usize,
            authorization: &signed,
            grant: grant.as_ref().map(|(index, entry)| (*index, &entry[..])),
            revocations: &self.revoked(),
        };
        let (decision, authorization) = decide_lost(run, in_force).map_err(|why| changed(&why))?;
        let terms = authorization.predicate();
        if terms.proposal != open.proposal {
            return Err(changed(&format!(
                "the consumption is that of another run, {}",
                terms.proposal
            )));
        }
        let limit_s = i64::try_from(terms.sandbox.limits.wall_ms.div_ceil(1000));
        let over_at = stated
            .at
            .plus(limit_s.unwrap_or(i64::MAX).saturating_add(CLOSABLE_AFTER_S));
        if earlier.is_some_and(|earlier| over_at.plus(MOST_LATE_S) < earlier) {
            return Err(changed(&format!(
                "the time limit of the run passed at {over_at}, and the boundary worked on for a day"
            )));
        }
        Ok(Closing {
            claim: SpentNonce {
                authorization: spent.authorization,
                signed,
                index: open.index,
                item: open.item,
                leaf: LeafHash::from_bytes(leaf_hash(&data)),
                data,
                at: stated.at,
                seal: stated.seal,
            },
            basis: ReceiptBasis::of(terms, decision),
            room: None,
            session: None,
            given: ResultsBasis::default(),
            change: None,
        })
    }

    /// Reads the state that the seal of a run put in force.
    fn seal_of(&self, open: &Unfinished, digest: SealDigest) -> RequestResult<SealInForce> {
        let seals = self.ledger.seals()?;
        let seal = seals.iter().find(|seal| seal.digest == digest);
        let seal =
            seal.ok_or_else(|| row_changed(&open.proposal, &"the seal of the run is missing"))?;
        let (entry, now) = (self.entry_of(open, seal.index)?, self.state());
        sealed_at(
            (seal.index, &entry),
            now.boundary.id,
            now.rosters.clone(),
            &LedgerBlobs(&self.ledger),
        )
        .map_err(fault)
    }

    /// Returns the bytes of a log entry that belongs to this run. They match the tree of the log.
    fn entry_of(&self, open: &Unfinished, index: u64) -> RequestResult<Arc<[u8]>> {
        let tile = self.ledger.proven_entries(index / TILE)?.into_iter();
        let entry = tile.flatten().nth((index % TILE) as usize);
        entry.map(Arc::from).ok_or_else(|| {
            let what =
                format!("log entry {index} is missing or does not match the tree of the log");
            row_changed(&open.proposal, &what)
        })
    }

    /// Returns the log entries that are receipts of these runs. The search begins after the earliest consumption of
    /// these runs. The search is short, because a run that is more than [`MOST_LATE_S`] late was refused before.
    fn receipts_of(&self, runs: &[Closing]) -> RequestResult<BTreeMap<(u64, u64), u64>> {
        let mut found = BTreeMap::new();
        let Some(first) = runs.iter().map(|run| run.claim.index + 1).min() else {
            return Ok(found);
        };
        for tile in first / TILE..self.ledger.state().size.div_ceil(TILE) {
            let entries = self.ledger.proven_entries(tile)?;
            let entries = entries.ok_or_else(|| {
                fault(format!(
                    "the log entries from {} on do not match the tree of the log: {BY_HAND}",
                    tile * TILE
                ))
            })?;
            for (index, data) in (tile * TILE..).zip(entries) {
                if let Ok((_, receipt)) = opened::<Receipt>(&data) {
                    let consumption = receipt.predicate.consumption;
                    found.insert((consumption.index, consumption.item), index);
                }
            }
        }
        Ok(found)
    }
}

fn row_changed(proposal: &ProposalId, what: &dyn Display) -> Stopped {
    fault(format!(
        "the row of the run {proposal} says that the run has no receipt, but {what}: {BY_HAND}"
    ))
}

const BY_HAND: &str = "somebody changed the store by hand, so no receipt is written. Run `countersign store check`, then \
                       `countersign store restore BACKUP`";

/// Maximum age in seconds of a run without a receipt, after its time limit and by the time of the log. An active node closes
/// each run within seconds, and while no node is active the log does not grow.
const MOST_LATE_S: i64 = 86_400;
/// Upper limit for the number of log entries that a start writes before the receipts of interrupted runs.
const OF_START: u64 = 1000;
/// Number of log entries in one tile.
const TILE: u64 = TILE_WIDTH as u64;
