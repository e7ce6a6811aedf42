//! Ends the open proposals that can no longer run, because their step, policy, proposer or session is gone.
//!
//! A new seal, a revocation, a start of the service, and a change of a session can make a proposal impossible. The cost
//! depends only on the number of open proposals.

use std::sync::Arc;

use crate::Proposals;
use crossing::{
    Refusal, Sealed, Stopped, check_not_moved, profile_on_host, refusal_of, session_user,
};
use documents::{Authorization, Code, Permission, ProposalId, SessionReference, locked};
use store::StoredStatus;
use verdict::{check_permissions, check_profile};

impl Proposals {
    /// Ends each open proposal that can no longer run. Returns their number.
    pub async fn end_overtaken(self: &Arc<Self>) -> u64 {
        self.end_overtaken_of(self.ledger.waiting_proposals()).await
    }

    /// Ends the proposals of each session that ends or changes, until the service ends.
    pub async fn follow_sessions(self: Arc<Self>) {
        loop {
            let changed = self.sessions.changed().await;
            // No proposal with the state before can run any more, so each is compared only once.
            let ids = changed
                .iter()
                .filter_map(|session| locked(&self.in_sessions).remove(session))
                .flatten()
                .collect();
            let _ = self.end_overtaken_of(ids).await;
        }
    }

    async fn end_overtaken_of(self: &Arc<Self>, ids: Vec<ProposalId>) -> u64 {
        let proposals = self.clone();
        // The lookup of programs reads the disk.
        let search = move || {
            let found = ids
                .into_iter()
                .filter_map(|id| Some((proposals.why_impossible(&id)?, id)));
            found.collect::<Vec<_>>()
        };
        match tokio::task::spawn_blocking(search).await {
            Ok(found) => {
                let ended = found.len() as u64;
                for (refusal, id) in found {
                    self.end_as_impossible(&id, &refusal).await;
                }
                ended
            }
            Err(error) => {
                tracing::error!(
                    "the open proposals were not compared with the state in force: {error}"
                );
                0
            }
        }
    }

    /// Ends a new proposal if its grant does not cover it, or if a new seal or the end of its session came before the commit of the
    /// proposal.
    pub(super) async fn end_if_overtaken(
        &self,
        id: &ProposalId,
        session: Option<SessionReference>,
    ) {
        if let Some(session) = session {
            locked(&self.in_sessions)
                .entry(session.id)
                .or_default()
                .push(id.clone());
        }
        if let Some(refusal) = self.why_impossible(id) {
            self.end_as_impossible(id, &refusal).await;
        }
    }

    async fn end_as_impossible(&self, id: &ProposalId, refusal: &Refusal) {
        tracing::info!(proposal = %id, code = %refusal.code, "the proposal can no longer run: {}", refusal.detail);
        self.end(id, refusal).await;
    }

    /// Returns the refusal of a proposal that can no longer run under the state in force. A proposal that can't be
    /// read, or that the crossing would retry, stays open.
    fn why_impossible(&self, id: &ProposalId) -> Option<Refusal> {
        let signed = self.statement(id).ok()?.predicate;
        let waits = self
            .ledger
            .proposal(id)
            .ok()?
            .is_some_and(|row| row.status == StoredStatus::Pending);
        match self.check_possible(&self.crossing.state(), &signed, waits) {
            Err(Stopped::Refused(refusal))
                if !refusal.code.is_temporary() && refusal.code != Code::SandboxUnavailable =>
            {
                Some(*refusal)
            }
            Ok(()) | Err(_) => None,
        }
    }

    /// Makes the checks of the crossing that need no signature and no clock.
    ///
    /// If the proposal waits for signatures, policy must also ask for each permission. The crossing accepts additional
    /// permissions, because an earlier policy may have asked for more, but no approver's program signs them any more.
    fn check_possible(
        &self,
        sealed: &Sealed,
        signed: &Authorization,
        waits: bool,
    ) -> Result<(), Stopped> {
        let (held, parties) = self.quorum_of(sealed, signed)?;
        let held = held.filled(&signed.params).map_err(refusal_of)?;
        let _ = check_permissions(held.asked(), &signed.permissions).map_err(refusal_of)?;
        let asks_for =
            |one: &Permission| held.asked().as_ref().is_ok_and(|asked| asked.contains(one));
        if let Some(one) = signed
            .permissions
            .iter()
            .find(|one| waits && !asks_for(one))
        {
            let detail = format!(
                "policy no longer asks for {:?}, so nobody can sign this: propose again",
                one.what
            );
            return Err(Refusal::new(Code::ContextChanged, detail).into());
        }
        let here = profile_on_host(&held)?;
        check_not_moved(&here, &signed.sandbox)?;
        let _ = check_profile(&here, &signed.sandbox).map_err(refusal_of)?;
        if let Some(session) = &signed.session {
            self.sessions
                .check_state(session, &session_user(sealed, &signed.proposer))?;
        }
        if let Some(digest) = &signed.grant {
            return self.crossing.check_covered(
                digest,
                signed,
                sealed,
                &parties,
                self.crossing.now(),
            );
        }
        self.demand_future(
            sealed,
            &held,
            &signed.proposer,
            self.crossing.now(),
            signed.expires_at,
        )
    }
}
