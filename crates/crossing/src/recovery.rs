//! Recovery after a crash. The recovery writes a receipt with outcome `unknown` for each consumption without a
//! receipt. Nothing runs again.
//!
//! Only the active node runs the recovery: before it accepts requests for its own runs, and later for the runs of
//! other nodes whose time limits have passed. The processes of this node's earlier runs have already ended: each run
//! ends when its pipe to the service closes, and the start of the service kills processes that are still left.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Closing, Crossing, Ran, ReceiptBasis, RequestResult, ResultsBasis, Stopped, fault,
    run_end::SERVICE_ENDED,
};
use documents::{
    Authorization, AuthorizationDigest, Base64, Consumption, Decision, Envelope, Malformed,
    ProposalId, Receipt, Statement, Timestamp, json, leaf_hash,
};
use sandbox::Report;
use store::{CLOSABLE_AFTER_S, SpentNonce, Unfinished, opened};

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
        for open in unfinished {
            let proposal = open.proposal.clone();
            match self.closing_of(open, earlier.as_ref().map(|leaf| leaf.at))? {
                Ok(closing) => checked.push(closing),
                Err(what) => changed = Some(row_changed(&proposal, &what)),
            }
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

    /// Returns what a receipt of the run needs, or the reason why the row of the run was changed by hand. The boundary
    /// signs no statement that only a row of the database supports.
    fn closing_of(
        &self,
        open: Unfinished,
        earlier: Option<Timestamp>,
    ) -> RequestResult<Result<Closing, String>> {
        let Some(leaf) = self.ledger.leaf(open.index)? else {
            return Ok(Err(format!("log entry {} is missing", open.index)));
        };
        if leaf.hash != *open.leaf.as_bytes() || leaf_hash(&leaf.data) != leaf.hash {
            return Ok(Err(format!(
                "the bytes of log entry {} do not match its hash",
                open.index
            )));
        }
        let closing = closing_of(open, leaf.data.into());
        Ok(closing.map_err(|error| error.to_string()).and_then(|(closing, over_at)| {
            if earlier.is_some_and(|earlier| over_at.plus(MOST_LATE_S) < earlier) {
                return Err(format!(
                    "the time limit of the run passed at {over_at}, and the boundary worked on for a day"
                ));
            }
            Ok(closing)
        }))
    }

    /// Returns the log entries that are receipts of these runs. The search begins after the earliest consumption of
    /// these runs. The search is short, because a run that is more than [`MOST_LATE_S`] late was refused before.
    fn receipts_of(&self, runs: &[Closing]) -> RequestResult<BTreeMap<(u64, u64), u64>> {
        let mut found = BTreeMap::new();
        let Some(first) = runs.iter().map(|run| run.claim.index + 1).min() else {
            return Ok(found);
        };
        let size = self.ledger.state().size;
        for start in (first..size).step_by(PAGE) {
            let page = self
                .ledger
                .reads()
                .leaves(start..size.min(start + PAGE as u64))?;
            for (index, data) in (start..).zip(page) {
                if let Ok((_, receipt)) = opened::<Receipt>(&data) {
                    let consumption = receipt.predicate.consumption;
                    found.insert((consumption.index, consumption.item), index);
                }
            }
        }
        Ok(found)
    }
}

fn row_changed(proposal: &ProposalId, what: &str) -> Stopped {
    fault(format!(
        "the row of the run {proposal} says that the run has no receipt, but {what}: somebody changed the store by hand, so \
         no receipt is written for it. Run `countersign store check`, then `countersign store restore BACKUP`"
    ))
}

/// Returns what a receipt of the run needs, and the time from which on each node can close the run. The consumption in
/// the log must have spent the nonce for the authorization in the row.
fn closing_of(open: Unfinished, data: Arc<[u8]>) -> Result<(Closing, Timestamp), Malformed> {
    let envelope: Envelope = json::parse_as(&open.envelope, open.envelope.len())?;
    let decision: Decision = json::parse_as(&open.decision, open.decision.len())?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload)?;
    let authorization = AuthorizationDigest::of(&payload);
    let (_, consumption) = opened::<Consumption>(&data)?;
    let spent = usize::try_from(open.item)
        .ok()
        .and_then(|item| consumption.predicate.spent.get(item));
    if spent.is_none_or(|spent| spent.authorization != authorization) {
        return Err(Malformed::at(
            "/spent",
            "the log entry spent its nonce for another authorization",
        ));
    }
    let Authorization {
        step,
        session,
        grant,
        sandbox,
        ..
    } = Statement::from_payload(&payload)?.predicate;
    let limit_s = i64::try_from(sandbox.limits.wall_ms.div_ceil(1000)).unwrap_or(i64::MAX);
    let over_at = consumption
        .predicate
        .at
        .plus(limit_s.saturating_add(CLOSABLE_AFTER_S));
    let closing = Closing {
        claim: SpentNonce {
            index: open.index,
            item: open.item,
            leaf: open.leaf,
            data,
            at: open.at,
            seal: open.seal,
        },
        basis: ReceiptBasis {
            proposal: open.proposal,
            authorization,
            step,
            session,
            grant,
            envelope,
            decision,
        },
        room: None,
        session: None,
        given: ResultsBasis::lost(),
        change: None,
    };
    Ok((closing, over_at))
}

/// Maximum age in seconds of a run without a receipt, after its time limit and by the time of the log. An active node closes
/// each run within seconds, and while no node is active the log does not grow.
const MOST_LATE_S: i64 = 86_400;
/// Upper limit for the number of log entries that a start writes before the receipts of interrupted runs.
const OF_START: u64 = 1000;
/// Number of log entries that one read returns.
const PAGE: usize = 256;
