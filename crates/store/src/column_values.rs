//! Forms of values in columns that are the same in both engines.

use crate::ProposalStatus;
use documents::{GrantId, ObservedEnd, Presence, ProposalId, ReviewVerdict};

/// Combines a leaf index and an item number (below 64) into one number.
pub fn place(index: u64, item: u32) -> i64 {
    (index << 6 | item as u64).cast_signed()
}

/// Returns the leaf index and the item number of [`place`].
pub fn unplace(place: i64) -> (u64, u32) {
    let place = place.cast_unsigned();
    (place >> 6, (place & 63) as u32)
}

/// Combines a level and an index of a tile into one number.
pub fn tile_id(level: u8, index: u64) -> i64 {
    ((level as u64) << 48 | index).cast_signed()
}

/// Returns the 16 bytes of the UUIDv7. They begin with the time, so the rows are stored in the order of their creation.
pub fn id_bytes(id: &ProposalId) -> [u8; 16] {
    // A `ProposalId` is always `prp_` and a UUID.
    uuid::Uuid::try_parse(&id.as_str()[4..])
        .map(uuid::Uuid::into_bytes)
        .unwrap_or_default()
}

/// Returns the 16 bytes of the UUIDv7 of a grant.
pub fn grant_bytes(id: &GrantId) -> [u8; 16] {
    // A `GrantId` is always `grt_` and a UUID.
    uuid::Uuid::try_parse(&id.as_str()[4..])
        .map(uuid::Uuid::into_bytes)
        .unwrap_or_default()
}

/// Returns the id of a grant with these bytes, or `None` if they are no UUIDv7.
pub fn grant_id(bytes: [u8; 16]) -> Option<GrantId> {
    format!("grt_{}", uuid::Uuid::from_bytes(bytes))
        .parse()
        .ok()
}

/// The statuses of a proposal. A row stores the place in this list.
pub const STATUSES: [ProposalStatus; 8] = [
    ProposalStatus::Running,
    ProposalStatus::Finished,
    ProposalStatus::Pending,
    ProposalStatus::Approved,
    ProposalStatus::Denied,
    ProposalStatus::Expired,
    ProposalStatus::Cancelled,
    ProposalStatus::Refused,
];

/// Returns the number that a row of `proposal` or `event` stores for the status.
pub fn status_number(status: ProposalStatus) -> u8 {
    STATUSES
        .iter()
        .take_while(|each| **each != status)
        .map(|_| 1)
        .sum()
}

/// Returns the number that a row of `signature` stores for the presence of the signer.
pub fn presence_number(presence: Presence) -> i16 {
    match presence {
        Presence::Unknown | Presence::NotTouched => 0,
        Presence::Touched => 1,
        Presence::Verified => 2,
    }
}

/// Returns the number that a row of `review` stores for the observed end.
pub fn observed_number(observed: ObservedEnd) -> i16 {
    match observed {
        ObservedEnd::Succeeded => 0,
        ObservedEnd::Failed => 1,
        ObservedEnd::NotStarted => 2,
        ObservedEnd::Partly => 3,
    }
}

/// Returns the observed end for a stored number, or `None` for a number that this program does not write.
pub fn observed_of(number: i16) -> Option<ObservedEnd> {
    let ends = [
        ObservedEnd::Succeeded,
        ObservedEnd::Failed,
        ObservedEnd::NotStarted,
        ObservedEnd::Partly,
    ];
    ends.into_iter().find(|end| observed_number(*end) == number)
}

/// Returns the verdict for a stored truth value.
pub fn verdict_of(accepted: bool) -> ReviewVerdict {
    if accepted {
        ReviewVerdict::Accepted
    } else {
        ReviewVerdict::Rejected
    }
}

/// Returns the presence for a stored number. An unknown number means that the presence is unknown.
pub fn presence_of(number: i16) -> Presence {
    match number {
        1 => Presence::Touched,
        2 => Presence::Verified,
        _ => Presence::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::MAX_ITEMS;

    #[test]
    fn every_item_of_a_consumption_has_its_own_place_in_the_log() {
        for index in [0, 1, 1 << 40] {
            for item in 0..MAX_ITEMS as u32 {
                assert_eq!(unplace(place(index, item)), (index, item));
            }
            assert!(place(index, MAX_ITEMS as u32 - 1) < place(index + 1, 0));
        }
    }
}
