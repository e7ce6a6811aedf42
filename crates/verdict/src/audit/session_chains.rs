//! Follows the states of the sessions in a log.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use documents::{ContentDigest, SessionChange, SessionId, SessionReference};

/// The last state of each session, and the run that uses the session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KeptSessions")]
pub struct SessionChains(BTreeMap<SessionId, SessionEnd>);

/// Last entries of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptSession")]
pub struct SessionEnd {
    /// State that the last receipt states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<ContentDigest>,
    /// Log entry and item of the last consumption, if it has no receipt yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<(u64, u64)>,
}

impl SessionChains {
    /// Returns true if the log contains no session.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if an earlier consumption has the session.
    pub(crate) fn has(&self, id: &SessionId) -> bool {
        self.0.contains_key(id)
    }

    /// Follows a consumption. Returns the reason why the session could not be used then.
    pub(crate) fn consume(
        &mut self,
        place: (u64, u64),
        session: &SessionReference,
    ) -> Option<String> {
        let SessionReference { id, state } = session;
        let end = self.0.entry(id.clone()).or_default();
        let before = end.open.replace(place);
        if let Some((entry, item)) = before {
            return Some(format!(
                "the session {id} was in use: item {item} of entry {entry} uses the session and had no receipt yet"
            ));
        }
        let left = end.state.filter(|left| left != state)?;
        Some(format!(
            "the run used the session {id} at the state {state}, but the run before left the state {left}"
        ))
    }

    /// Follows the receipt of a consumption.
    pub(crate) fn close(
        &mut self,
        place: (u64, u64),
        session: &SessionReference,
        change: Option<&SessionChange>,
    ) {
        let Some(end) = self.0.get_mut(&session.id) else {
            return;
        };
        end.open = end.open.filter(|open| *open != place);
        end.state = change.map(|change| change.after).or(end.state);
    }
}
