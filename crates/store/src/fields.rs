//! Columns of rows and parameters of statements, in one form for both engines.
//!
//! The file also converts places in the log, ids and statuses to the numbers and bytes that both engines store.

use std::borrow::Cow;

use base64::Engine as _;

use crate::{
    AuthorizationCore, CheckpointRow, EntryRow, NonceUse, OwedReview, Proposal, ProposalState,
    ProposalStatus, Signature, SpentUse, StoreFault, StoreHead, StoreResult, StoredGrant,
    StoredReview, Token,
};
use documents::{
    AuthorizationDigest, Blake3Digest, BlobDigest, ContentDigest, GrantId, LeafHash, Name,
    ObservedEnd, ParamsDigest, Presence, ProposalId, ReviewVerdict, SealDigest, StepDigest,
    Timestamp,
};

/// The columns of a proposal `p`, in the order of [`Fields::proposal`].
macro_rules! proposal_columns {
    () => {
        "p.id, p.digest, p.nonce, p.request, p.step, p.step_digest, p.params_digest, p.proposer, p.expires_at, p.status, \
         p.created_ms, p.approved_at, p.started_at, p.ended_at, p.signed, p.spent, p.receipt, p.detail"
    };
}

/// Place of the time of creation in [`proposal_columns`].
pub(super) const CREATED_MS: usize = 10;

/// Makes the parameters of one statement.
macro_rules! cells {
    ($($value:expr),* $(,)?) => { [$($crate::fields::Cell::from($value)),*] };
}

/// The value of a column or of a parameter.
#[derive(Debug)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A number, a time in seconds, or a truth value (0 or 1).
    Number(i64),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A text.
    Text(Cow<'a, str>),
}

impl Cell<'_> {
    /// Returns the approximate number of bytes of the value in memory.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Null | Self::Number(_) => 8,
            Self::Bytes(bytes) => bytes.len() + 24,
            Self::Text(text) => text.len() + 24,
        }
    }

    /// Returns a copy of the value that borrows nothing.
    pub(super) fn into_owned(self) -> Cell<'static> {
        match self {
            Self::Null => Cell::Null,
            Self::Number(number) => Cell::Number(number),
            Self::Bytes(bytes) => Cell::Bytes(Cow::Owned(bytes.into_owned())),
            Self::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
        }
    }
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i16> for Cell<'_> {
    fn from(number: i16) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Cell<'_> {
    fn from(truth: bool) -> Self {
        Self::Number(truth.into())
    }
}

/// A number above `i64::MAX` becomes `i64::MAX`, because a number of this size is only a limit, which no row reaches.
impl From<u64> for Cell<'_> {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Cell<'_> {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for Cell<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Number(time.unix())
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Cell<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Cell<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(bytes))
    }
}

/// The bytes of an id or of a nonce.
impl<const N: usize> From<[u8; N]> for Cell<'_> {
    fn from(id: [u8; N]) -> Self {
        Self::Bytes(Cow::Owned(id.to_vec()))
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a Name> for Cell<'a> {
    fn from(name: &'a Name) -> Self {
        name.as_str().into()
    }
}

impl From<&ProposalId> for Cell<'_> {
    fn from(id: &ProposalId) -> Self {
        id_bytes(id).into()
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

/// A Rust type of a column.
pub trait FromCell<'r>: Sized {
    /// Converts the value, or returns the reason why this program never writes such a value.
    fn from_cell(cell: Cell<'r>) -> Result<Self, &'static str>;
}

impl<'r> FromCell<'r> for Cell<'r> {
    fn from_cell(cell: Self) -> Result<Self, &'static str> {
        Ok(cell)
    }
}

impl<'r, T: FromCell<'r>> FromCell<'r> for Option<T> {
    fn from_cell(cell: Cell<'r>) -> Result<Self, &'static str> {
        match cell {
            Cell::Null => Ok(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}

impl FromCell<'_> for i64 {
    fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
        match cell {
            Cell::Number(number) => Ok(number),
            _ => Err("no number"),
        }
    }
}

impl<'r> FromCell<'r> for &'r [u8] {
    fn from_cell(cell: Cell<'r>) -> Result<Self, &'static str> {
        match cell {
            Cell::Bytes(Cow::Borrowed(bytes)) => Ok(bytes),
            _ => Err("no bytes"),
        }
    }
}

impl<'r> FromCell<'r> for &'r str {
    fn from_cell(cell: Cell<'r>) -> Result<Self, &'static str> {
        match cell {
            Cell::Text(Cow::Borrowed(text)) => Ok(text),
            _ => Err("no text"),
        }
    }
}

/// Implements [`FromCell`] for numbers with another range.
macro_rules! number {
    ($($kind:ty)*) => {
        $(impl FromCell<'_> for $kind {
            fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
                Self::try_from(i64::from_cell(cell)?).map_err(|_| "the number is out of range")
            }
        })*
    };
}

number!(u64 usize i32 i16 u8);

/// Implements the conversions of digests.
macro_rules! digest {
    ($($kind:ty)*) => {
        $(impl FromCell<'_> for $kind {
            fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
                FromCell::from_cell(cell).map(Self::from_bytes)
            }
        }

        impl<'a> From<&'a $kind> for Cell<'a> {
            fn from(digest: &'a $kind) -> Self {
                digest.as_bytes().into()
            }
        })*
    };
}

digest!(
    AuthorizationDigest BlobDigest Blake3Digest ContentDigest LeafHash ParamsDigest SealDigest StepDigest
);

/// The conditions of the statements compare a truth value with 1, so another number than 0 and 1 is an error.
impl FromCell<'_> for bool {
    fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
        match cell {
            Cell::Number(0) => Ok(false),
            Cell::Number(1) => Ok(true),
            _ => Err("no truth value"),
        }
    }
}

impl FromCell<'_> for Vec<u8> {
    fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
        <&[u8]>::from_cell(cell).map(<[u8]>::to_vec)
    }
}

impl FromCell<'_> for String {
    fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
        <&str>::from_cell(cell).map(str::to_owned)
    }
}

impl<const N: usize> FromCell<'_> for [u8; N] {
    fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
        let bytes = <&[u8]>::from_cell(cell)?;
        bytes.try_into().map_err(|_| "the number of bytes is wrong")
    }
}

impl FromCell<'_> for Timestamp {
    fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
        i64::from_cell(cell).map(Self::from_unix)
    }
}

impl FromCell<'_> for ProposalStatus {
    fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
        numbered_status(u8::from_cell(cell)?).ok_or("an unknown status")
    }
}

impl FromCell<'_> for ProposalId {
    fn from_cell(cell: Cell<'_>) -> Result<Self, &'static str> {
        let uuid = uuid::Uuid::from_bytes(FromCell::from_cell(cell)?);
        format!("prp_{uuid}").parse().map_err(|_| "no proposal id")
    }
}

/// A row of one engine.
pub trait EngineRow {
    /// Returns the value of a column, or the reason why the engine cannot read the column.
    fn cell(&self, at: usize) -> Result<Cell<'_>, String>;

    /// Returns the fault for a value that this program never writes.
    fn odd(&self, during: &'static str, at: usize, why: &str) -> StoreFault;
}

/// The columns of a row, whose conversions fail with a fault.
pub struct Fields<'r> {
    row: &'r dyn EngineRow,
    during: &'static str,
}

impl<'r> Fields<'r> {
    pub(super) fn new(during: &'static str, row: &'r dyn EngineRow) -> Self {
        Self { row, during }
    }

    pub(super) fn get<T: FromCell<'r>>(&self, at: usize) -> StoreResult<T> {
        let cell = self.row.cell(at).map_err(|why| self.odd(at, &why))?;
        T::from_cell(cell).map_err(|why| self.odd(at, why))
    }

    /// Reads the first two columns.
    pub(super) fn pair<A: FromCell<'r>, B: FromCell<'r>>(&self) -> StoreResult<(A, B)> {
        Ok((self.get(0)?, self.get(1)?))
    }

    /// Returns the fault for a value that this program never writes.
    pub(super) fn odd(&self, at: usize, why: &str) -> StoreFault {
        self.row.odd(self.during, at, why)
    }

    pub(super) fn text<T: std::str::FromStr>(&self, at: usize) -> StoreResult<T> {
        self.get::<&str>(at)?
            .parse()
            .map_err(|_| self.odd(at, "the text has another form"))
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, at: usize) -> StoreResult<T> {
        serde_json::from_str(self.get(at)?).map_err(|_| self.odd(at, "no JSON of this kind"))
    }

    fn place_if(&self, at: usize) -> StoreResult<Option<(u64, u32)>> {
        Ok(self.get::<Option<i64>>(at)?.map(unplace))
    }

    /// Reads the column `spent` at `at` and the column `proposal` after it.
    pub(super) fn spent(&self, at: usize) -> StoreResult<Option<NonceUse>> {
        let Some((index, item)) = self.place_if(at)? else {
            return Ok(None);
        };
        Ok(Some(NonceUse {
            index,
            item,
            proposal: self.get(at + 1)?,
        }))
    }

    /// Reads the columns `status`, `spent` and `receipt` from `at` on.
    pub(super) fn standing(&self, at: usize) -> StoreResult<Option<ProposalState>> {
        let Some(status) = self.get(at)? else {
            return Ok(None);
        };
        Ok(Some(ProposalState {
            status,
            consumption: self.place_if(at + 1)?,
            receipt: self.get(at + 2)?,
        }))
    }

    /// Reads the columns `idx`, `hash` and `data` from `at` on.
    pub(super) fn entry(&self, at: usize) -> StoreResult<EntryRow> {
        Ok(EntryRow {
            index: self.get(at)?,
            hash: self.get(at + 1)?,
            data: self.get(at + 2)?,
        })
    }

    /// Reads the `proposal_columns` from `at` on.
    pub(super) fn proposal(&self, at: usize) -> StoreResult<Proposal> {
        let nonce =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.get::<&[u8]>(at + 2)?);
        Ok(Proposal {
            core: AuthorizationCore {
                id: self.get(at)?,
                digest: self.get(at + 1)?,
                nonce: nonce.parse().map_err(|_| self.odd(at + 2, "no nonce"))?,
                step: self.text(at + 4)?,
                step_digest: self.get(at + 5)?,
                params_digest: self.get(at + 6)?,
                proposer: self.text(at + 7)?,
                expires_at: self.get(at + 8)?,
            },
            request: self.get(at + 3)?,
            status: self.get(at + 9)?,
            created_ms: self.get(at + CREATED_MS)?,
            approved_at: self.get(at + 11)?,
            started_at: self.get(at + 12)?,
            ended_at: self.get(at + 13)?,
            authorization: self.get(at + 14)?,
            consumption: self.place_if(at + 15)?,
            receipt: self.get(at + 16)?,
            detail: self.get(at + 17)?,
        })
    }

    /// Reads the columns `keyid`, `person`, `presence`, `sig` and `at` from `at` on.
    pub(super) fn signature(&self, at: usize) -> StoreResult<Signature> {
        Ok(Signature {
            keyid: self.text(at)?,
            person: self.text(at + 1)?,
            presence: match self.get::<i16>(at + 2)? {
                1 => Presence::Touched,
                2 => Presence::Verified,
                // An unknown number means that the presence is unknown.
                _ => Presence::Unknown,
            },
            sig: self.get(at + 3)?,
            at: self.get(at + 4)?,
        })
    }

    /// Reads the columns `number` and `at` of a use of a grant from `at` on, and whether the grant pauses.
    pub(super) fn spent_use(&self, at: usize) -> StoreResult<SpentUse> {
        Ok(SpentUse {
            number: self.get(at)?,
            at: self.get(at + 1)?,
            paused: self.get(at + 2)?,
        })
    }

    /// Reads the columns `size`, `root` and `note` of a checkpoint.
    pub(super) fn checkpoint(&self) -> StoreResult<CheckpointRow> {
        Ok(CheckpointRow {
            size: self.get(0)?,
            root: self.get(1)?,
            note: self.get(2)?,
        })
    }

    /// Reads the columns of a token from the first column on.
    pub(super) fn token(&self) -> StoreResult<Token> {
        Ok(Token {
            token: self.json(0)?,
            jwks: self.get(1)?,
            ca: self.get(2)?,
            created_at: self.get(3)?,
            revoked_at: self.get(4)?,
        })
    }

    /// Reads the columns of a grant from the first column on.
    pub(super) fn grant(&self) -> StoreResult<StoredGrant> {
        Ok(StoredGrant {
            id: grant_id(self.get(0)?).ok_or_else(|| self.odd(0, "no grant id"))?,
            digest: self.get(1)?,
            envelope: self.get::<&[u8]>(2)?.into(),
            proposer: self.text(3)?,
            created_at: self.get(4)?,
            expires_at: self.get(5)?,
            leaf: self.get(6)?,
        })
    }

    /// Reads the columns of `owed` from the first column on.
    pub(super) fn owed(&self) -> StoreResult<OwedReview> {
        Ok(OwedReview {
            proposal: self.get(0)?,
            receipt: self.get(1)?,
            emergency: self.get(2)?,
            unknown: self.get(3)?,
            grant: self.get(4)?,
            reviewed: self.get(5)?,
            settled: self.get(6)?,
        })
    }

    /// Reads the columns of a review from the first column on.
    pub(super) fn review(&self) -> StoreResult<StoredReview> {
        let observed = self.get::<Option<i16>>(5)?;
        Ok(StoredReview {
            leaf: self.get(0)?,
            receipt: self.get(1)?,
            proposal: self.get(2)?,
            reviewer: self.text(3)?,
            verdict: if self.get::<bool>(4)? {
                ReviewVerdict::Accepted
            } else {
                ReviewVerdict::Rejected
            },
            observed: observed
                .map(|number| observed_of(number).ok_or_else(|| self.odd(5, "an unknown end")))
                .transpose()?,
            counts_for_review: self.get(6)?,
            counts_for_settle: self.get(7)?,
        })
    }
}

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

/// Returns the 16 bytes of the UUIDv7. The bytes begin with the end of the window, so the rows are stored in the order of
/// their ends.
pub fn id_bytes(id: &ProposalId) -> [u8; 16] {
    uuid_bytes(id.as_str())
}

/// Returns the 16 bytes of the UUIDv7 of a grant.
pub fn grant_bytes(id: &GrantId) -> [u8; 16] {
    uuid_bytes(id.as_str())
}

/// Returns the bytes of the UUID after `prp_` or `grt_`.
fn uuid_bytes(id: &str) -> [u8; 16] {
    uuid::Uuid::try_parse(&id[4..])
        .map(uuid::Uuid::into_bytes)
        .unwrap_or_default()
}

/// Returns the id of a grant with these bytes, or `None` if the bytes are no UUIDv7.
pub fn grant_id(bytes: [u8; 16]) -> Option<GrantId> {
    format!("grt_{}", uuid::Uuid::from_bytes(bytes))
        .parse()
        .ok()
}

/// Returns the number that a row of `proposal` or `event` stores for the status.
pub fn status_number(status: ProposalStatus) -> u8 {
    match status {
        ProposalStatus::Running => 0,
        ProposalStatus::Finished => 1,
        ProposalStatus::Pending => 2,
        ProposalStatus::Approved => 3,
        ProposalStatus::Denied => 4,
        ProposalStatus::Expired => 5,
        ProposalStatus::Cancelled => 6,
        ProposalStatus::Refused => 7,
    }
}

/// Returns the status with this number.
pub fn numbered_status(number: u8) -> Option<ProposalStatus> {
    let mut all = ProposalStatus::ALL.into_iter();
    all.find(|status| status_number(*status) == number)
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
    ObservedEnd::ALL
        .into_iter()
        .find(|end| observed_number(*end) == number)
}

/// Returns the columns of the row `state` that each change of the head writes.
pub fn head_cells(head: &StoreHead) -> [Cell<'_>; 4] {
    cells![
        head.boundary.as_ref(),
        head.seal.as_ref(),
        head.version,
        head.mark
    ]
}

#[cfg(test)]
mod column_values_tests {
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
