//! Conversions between columns and Rust types.

use base64::Engine as _;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::{
    column_values::{grant_id, id_bytes, observed_of, presence_of, unplace, verdict_of},
    fault::StoreFault,
    rows::ProposalState,
    stored_grant::StoredGrant,
    stored_proposal::{AuthorizationCore, Proposal, Signature},
    stored_review::{OwedReview, StoredReview},
    stored_run::NonceUse,
    stored_status::StoredStatus,
    stored_token::Token,
};
use documents::{
    AuthorizationDigest, ContentDigest, Hash, Nonce, ParamsDigest, ProposalId, StepDigest,
    Timestamp,
};

/// The columns of a proposal `p`, in the order of [`Fields::proposal`].
macro_rules! proposal_columns {
    () => {
        "p.id, p.digest, p.nonce, p.request, p.step, p.step_digest, p.params_digest, p.proposer, p.expires_at, p.status, \
         p.created_at, p.approved_at, p.started_at, p.ended_at, p.spent, p.receipt, p.detail"
    };
}

/// The columns of a row, whose conversions fail with a fault.
#[derive(Clone, Copy)]
pub(super) struct Fields<'r> {
    row: &'r Row,
    during: &'static str,
}

impl<'r> Fields<'r> {
    pub(super) const fn new(during: &'static str, row: &'r Row) -> Self {
        Self { row, during }
    }

    pub(super) fn get<T: FromSql<'r>>(&self, at: usize) -> Result<T, StoreFault> {
        self.row
            .try_get(at)
            .map_err(|error| self.odd(at, &error.to_string()))
    }

    /// Returns the fault for a value that this program never writes.
    pub(super) fn odd(&self, at: usize, why: &str) -> StoreFault {
        let name = self
            .row
            .columns()
            .get(at)
            .map_or("", |column| column.name());
        let message =
            format!("the column `{name}` has a value that this program does not write: {why}");
        StoreFault::Database {
            during: self.during,
            message,
        }
    }

    /// Returns the value, or the fault for a column without a value.
    fn there<T>(&self, at: usize, value: Option<T>) -> Result<T, StoreFault> {
        value.ok_or_else(|| self.odd(at, "no value"))
    }

    pub(super) fn number(&self, at: usize) -> Result<u64, StoreFault> {
        self.there(at, self.number_if(at)?)
    }

    pub(super) fn number_if(&self, at: usize) -> Result<Option<u64>, StoreFault> {
        let number = self.get::<Option<i64>>(at)?.map(u64::try_from).transpose();
        number.map_err(|_| self.odd(at, "a negative number"))
    }

    pub(super) fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], StoreFault> {
        self.there(at, self.bytes_if(at)?)
    }

    pub(super) fn bytes_if<const N: usize>(
        &self,
        at: usize,
    ) -> Result<Option<[u8; N]>, StoreFault> {
        let bytes = self
            .get::<Option<&[u8]>>(at)?
            .map(<[u8; N]>::try_from)
            .transpose();
        bytes.map_err(|_| self.odd(at, "the number of bytes is wrong"))
    }

    pub(super) fn time(&self, at: usize) -> Result<Timestamp, StoreFault> {
        self.get(at).map(Timestamp::from_unix)
    }

    pub(super) fn time_if(&self, at: usize) -> Result<Option<Timestamp>, StoreFault> {
        Ok(self.get::<Option<i64>>(at)?.map(Timestamp::from_unix))
    }

    pub(super) fn text<T: std::str::FromStr>(&self, at: usize) -> Result<T, StoreFault> {
        self.get::<&str>(at)?
            .parse()
            .map_err(|_| self.odd(at, "the text has another form"))
    }

    pub(super) fn status(&self, at: usize) -> Result<StoredStatus, StoreFault> {
        self.there(at, self.status_if(at)?)
    }

    fn status_if(&self, at: usize) -> Result<Option<StoredStatus>, StoreFault> {
        let Some(number) = self.get::<Option<i16>>(at)? else {
            return Ok(None);
        };
        let status = u8::try_from(number).ok().and_then(StoredStatus::of_number);
        status
            .map(Some)
            .ok_or_else(|| self.odd(at, "an unknown status"))
    }

    pub(super) fn proposal_id(&self, at: usize) -> Result<ProposalId, StoreFault> {
        self.id_of(at, self.bytes(at)?)
    }

    /// Reads an array of proposal ids.
    pub(super) fn proposal_ids(&self, at: usize) -> Result<Vec<ProposalId>, StoreFault> {
        let ids = self.get::<Vec<&[u8]>>(at)?.into_iter();
        let bytes = |id: &[u8]| {
            id.try_into()
                .map_err(|_| self.odd(at, "the number of bytes is wrong"))
        };
        ids.map(|id| self.id_of(at, bytes(id)?)).collect()
    }

    fn id_of(&self, at: usize, bytes: [u8; 16]) -> Result<ProposalId, StoreFault> {
        let uuid = uuid::Uuid::from_bytes(bytes);
        format!("prp_{uuid}")
            .parse()
            .map_err(|_| self.odd(at, "no proposal id"))
    }

    pub(super) fn hashes(&self, at: usize) -> Result<Vec<Hash>, StoreFault> {
        Ok(self.get::<&[u8]>(at)?.as_chunks::<32>().0.to_vec())
    }

    pub(super) fn place_if(&self, at: usize) -> Result<Option<(u64, u32)>, StoreFault> {
        Ok(self.get::<Option<i64>>(at)?.map(unplace))
    }

    /// Reads the column `spent` at `at` and the column `proposal` after it.
    pub(super) fn spent(&self, at: usize) -> Result<Option<NonceUse>, StoreFault> {
        let Some((index, item)) = self.place_if(at)? else {
            return Ok(None);
        };
        Ok(Some(NonceUse {
            index,
            item,
            proposal: self.proposal_id(at + 1)?,
        }))
    }

    /// Reads the columns `status`, `spent` and `receipt` from `at` on.
    pub(super) fn standing(&self, at: usize) -> Result<Option<ProposalState>, StoreFault> {
        let Some(status) = self.status_if(at)? else {
            return Ok(None);
        };
        Ok(Some(ProposalState {
            status,
            consumption: self.place_if(at + 1)?,
            receipt: self.number_if(at + 2)?,
        }))
    }

    /// Reads the [`proposal_columns`] from `at` on.
    pub(super) fn proposal(&self, at: usize) -> Result<Proposal, StoreFault> {
        let nonce =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.get::<&[u8]>(at + 2)?);
        Ok(Proposal {
            core: AuthorizationCore {
                id: self.proposal_id(at)?,
                digest: AuthorizationDigest::from_bytes(self.bytes(at + 1)?),
                nonce: nonce
                    .parse::<Nonce>()
                    .map_err(|_| self.odd(at + 2, "no nonce"))?,
                step: self.text(at + 4)?,
                step_digest: StepDigest::from_bytes(self.bytes(at + 5)?),
                params_digest: ParamsDigest::from_bytes(self.bytes(at + 6)?),
                proposer: self.text(at + 7)?,
                expires_at: self.time(at + 8)?,
            },
            request: self.bytes_if(at + 3)?,
            status: self.status(at + 9)?,
            created_at: self.time(at + 10)?,
            approved_at: self.time_if(at + 11)?,
            started_at: self.time_if(at + 12)?,
            ended_at: self.time_if(at + 13)?,
            consumption: self.place_if(at + 14)?,
            receipt: self.number_if(at + 15)?,
            detail: self.get(at + 16)?,
        })
    }

    /// Reads the columns `keyid`, `person`, `presence`, `sig` and `at` from `at` on.
    pub(super) fn signature(&self, at: usize) -> Result<Signature, StoreFault> {
        Ok(Signature {
            keyid: self.text(at)?,
            person: self.text(at + 1)?,
            presence: presence_of(self.get(at + 2)?),
            sig: self.get(at + 3)?,
            at: self.time(at + 4)?,
        })
    }

    /// Reads the columns of a token from the first column on.
    pub(super) fn token(&self) -> Result<Token, StoreFault> {
        Ok(Token {
            name: self.text(0)?,
            secret: self.bytes(1)?,
            owners: self.json(2)?,
            scopes: self.json(3)?,
            patterns: self.json(4)?,
            created_at: self.time(5)?,
            expires_at: self.time_if(6)?,
            revoked_at: self.time_if(7)?,
        })
    }

    /// Reads the columns of a grant from the first column on.
    pub(super) fn grant(&self) -> Result<StoredGrant, StoreFault> {
        Ok(StoredGrant {
            id: grant_id(self.bytes(0)?).ok_or_else(|| self.odd(0, "no grant id"))?,
            digest: ContentDigest::from_bytes(self.bytes(1)?),
            envelope: self.get::<Vec<u8>>(2)?.into(),
            proposer: self.text(3)?,
            created_at: self.time(4)?,
            expires_at: self.time(5)?,
            leaf: self.number_if(6)?,
        })
    }

    /// Reads the columns of `owed` from the first column on.
    pub(super) fn owed(&self) -> Result<OwedReview, StoreFault> {
        Ok(OwedReview {
            proposal: self.proposal_id(0)?,
            receipt: self.number_if(1)?,
            emergency: self.get(2)?,
            unknown: self.get(3)?,
            grant: self.bytes_if(4)?.map(ContentDigest::from_bytes),
            reviewed: self.number_if(5)?,
            settled: self.number_if(6)?,
        })
    }

    /// Reads the columns of a review from the first column on.
    pub(super) fn review(&self) -> Result<StoredReview, StoreFault> {
        let observed = self.get::<Option<i16>>(5)?;
        let unknown = || self.odd(5, "an unknown end");
        Ok(StoredReview {
            leaf: self.number(0)?,
            receipt: self.number(1)?,
            proposal: self.proposal_id(2)?,
            reviewer: self.text(3)?,
            verdict: verdict_of(self.get(4)?),
            observed: observed
                .map(|number| observed_of(number).ok_or_else(unknown))
                .transpose()?,
            counts_for_review: self.get(6)?,
            counts_for_settle: self.get(7)?,
        })
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, at: usize) -> Result<T, StoreFault> {
        serde_json::from_str(self.get(at)?).map_err(|_| self.odd(at, "no JSON of this kind"))
    }
}

/// Returns one value of each row, as the array of a column.
pub(super) fn list<'r, T, V>(rows: &'r [T], read: impl FnMut(&'r T) -> V) -> Vec<V> {
    rows.iter().map(read).collect()
}

/// Returns the number as the database stores it. No number of this program is larger than 2^63.
pub(super) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// Returns the smaller of the number and the largest number of the database, for limits of queries.
pub(super) fn limit(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns the bytes of the id as a value of a statement.
pub(super) fn id_value(id: &ProposalId) -> Vec<u8> {
    id_bytes(id).to_vec()
}
