//! The status of a proposal, and the details of the status.

use std::fmt;

documents::words! {
    /// The status of a proposal, with its name in the HTTP API. The database stores the place of the status in this list.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum StoredStatus {
        /// The nonce is spent, and the receipt is not yet stored.
        Running = "running",
        /// The receipt is stored.
        Finished = "finished",
        /// The proposal waits for signatures.
        Pending = "pending",
        /// The quorum is met, and the proposal waits to run.
        Approved = "approved",
        /// An approver denied the proposal.
        Denied = "denied",
        /// The window of the authorization ended before the run.
        Expired = "expired",
        /// The proposer or an operator cancelled the proposal.
        Cancelled = "cancelled",
        /// The boundary refused the proposal, because the proposal can no longer run.
        Refused = "refused",
    }
}

impl StoredStatus {
    /// Returns the number of the status in the database.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the status with this number in the database.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Returns true if the proposal can still run.
    pub const fn waits(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }

    /// Returns true if a proposal with this status can get the status `to`. Statuses only move forward:
    /// - pending → approved, denied, expired, cancelled or refused
    /// - approved → running, denied, expired, cancelled or refused
    /// - running → finished
    /// - pending → running, if an envelope arrives with all signatures of its quorum
    pub const fn may_become(self, to: Self) -> bool {
        match self {
            Self::Pending => !matches!(to, Self::Pending | Self::Finished),
            Self::Approved => !matches!(to, Self::Pending | Self::Approved | Self::Finished),
            Self::Running => matches!(to, Self::Finished),
            Self::Finished | Self::Denied | Self::Expired | Self::Cancelled | Self::Refused => {
                false
            }
        }
    }
}

impl fmt::Display for StoredStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Details of a status, such as the code of a refusal or a summary of the outcome. The store only compares these bytes
/// with the outcomes of [`RunOutcome`](crate::stored_proposal::RunOutcome).
pub type StatusDetail = Vec<u8>;
