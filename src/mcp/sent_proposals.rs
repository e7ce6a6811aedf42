//! The proposals that this server sent and whose answer did not arrive.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::mcp::answers::ProposeArgs;
use crate::record::ident::Nonce;

/// Maximum number of proposals without an answer that the server remembers.
const MAX_UNANSWERED: usize = 32;
/// Time for which a repeated call is the same proposal. After this time, it is a new wish.
const REPEATS_FOR: Duration = Duration::from_secs(600);

/// The calls without an answer, from the oldest to the newest.
#[derive(Debug, Default)]
pub(super) struct SentProposals(Mutex<VecDeque<Sent>>);

#[derive(Debug, Clone)]
struct Sent {
    args: ProposeArgs,
    nonce: Nonce,
    at: Instant,
}

impl SentProposals {
    fn unanswered(&self) -> MutexGuard<'_, VecDeque<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the nonce of a call. A call without an answer that is repeated has the same nonce, so that both are one
    /// proposal.
    pub(super) fn nonce_of(
        &self,
        args: &ProposeArgs,
        now: Instant,
        new_nonce: impl FnOnce() -> Result<Nonce, String>,
    ) -> Result<Nonce, String> {
        let mut unanswered = self.unanswered();
        unanswered.retain(|sent| now.duration_since(sent.at) < REPEATS_FOR);
        // The waiting time is no part of the proposal.
        let same = |known: &ProposeArgs| *known == ProposeArgs { wait_s: known.wait_s, ..args.clone() };
        if let Some(sent) = unanswered.iter().find(|sent| same(&sent.args)) {
            return Ok(sent.nonce.clone());
        }
        let nonce = new_nonce()?;
        if unanswered.len() == MAX_UNANSWERED {
            unanswered.pop_front();
        }
        unanswered.push_back(Sent { args: args.clone(), nonce: nonce.clone(), at: now });
        Ok(nonce)
    }

    /// Records that the boundary answered the call with this nonce, so that the same call is a new wish.
    pub(super) fn answered(&self, nonce: &Nonce) {
        self.unanswered().retain(|sent| sent.nonce != *nonce);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nonce(byte: u8) -> Nonce {
        Nonce::new(1_800_000_000_000, [byte; 16])
    }

    #[test]
    fn a_repeated_call_without_an_answer_has_the_same_nonce_for_ten_minutes() {
        let sent = SentProposals::default();
        let args: ProposeArgs = serde_json::from_value(json!({"step": "a:b", "reason": "x"})).expect("arguments");
        let begin = Instant::now();
        for (seconds, wanted) in [(0, 0), (599, 0), (600, 2), (1199, 2)] {
            let now = begin + Duration::from_secs(seconds);
            let new = u8::try_from(seconds / 300).expect("small");
            assert_eq!(sent.nonce_of(&args, now, || Ok(nonce(new))), Ok(nonce(wanted)), "{seconds}");
        }
    }
}
