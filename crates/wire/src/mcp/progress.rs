//! Progress notes to the client during a long call.

use std::time::Instant;

use rmcp::{
    model::{ProgressNotificationParam, ProgressToken},
    service::{Peer, RoleServer},
};

/// Sends progress notes for one call, if the client asked for them.
pub struct ProgressNotes {
    to: Option<(Peer<RoleServer>, ProgressToken)>,
    began: Instant,
}

impl ProgressNotes {
    /// Creates the sender for a call. Without a token, the client gets no notes.
    pub fn new(peer: Peer<RoleServer>, token: Option<ProgressToken>) -> Self {
        Self {
            to: token.map(|token| (peer, token)),
            began: Instant::now(),
        }
    }

    /// Sends a note. The number in the note is the number of seconds since the beginning of the call.
    pub async fn send(&self, message: &str) {
        let Some((peer, token)) = &self.to else {
            return;
        };
        let seconds = self.began.elapsed().as_secs_f64();
        let note = ProgressNotificationParam::new(token.clone(), seconds).with_message(message);
        // A client that went away gets no notes. The call itself ends at its deadline.
        let _ = peer.notify_progress(note).await;
    }
}
