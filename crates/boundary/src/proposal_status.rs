//! The status of a proposal: in the store, in the API, and whether it is final.

use store::StoredStatus;
use wire::ProposalStatus;

pub const fn is_over(status: StoredStatus) -> bool {
    matches!(
        status,
        StoredStatus::Finished
            | StoredStatus::Denied
            | StoredStatus::Expired
            | StoredStatus::Cancelled
            | StoredStatus::Refused
    )
}

pub const fn view_status(status: StoredStatus) -> ProposalStatus {
    match status {
        StoredStatus::Running => ProposalStatus::Running,
        StoredStatus::Finished => ProposalStatus::Finished,
        StoredStatus::Pending => ProposalStatus::Pending,
        StoredStatus::Approved => ProposalStatus::Approved,
        StoredStatus::Denied => ProposalStatus::Denied,
        StoredStatus::Expired => ProposalStatus::Expired,
        StoredStatus::Cancelled => ProposalStatus::Cancelled,
        StoredStatus::Refused => ProposalStatus::Refused,
    }
}

pub const fn status_of(status: ProposalStatus) -> StoredStatus {
    match status {
        ProposalStatus::Running => StoredStatus::Running,
        ProposalStatus::Finished => StoredStatus::Finished,
        ProposalStatus::Pending => StoredStatus::Pending,
        ProposalStatus::Approved => StoredStatus::Approved,
        ProposalStatus::Denied => StoredStatus::Denied,
        ProposalStatus::Expired => StoredStatus::Expired,
        ProposalStatus::Cancelled => StoredStatus::Cancelled,
        ProposalStatus::Refused => StoredStatus::Refused,
    }
}
