//! The statements of the reading connections.

use crate::store::stored_proposal::{ProposalQuery, RunOutcome};
use crate::store::stored_status::StoredStatus;
use documents::record::ident::Name;

pub(super) const LEAF: &str = "SELECT kind, at, hash, data FROM leaf WHERE idx = $1";
pub(super) const LEAF_DATA: &str = "SELECT data FROM leaf WHERE idx >= $1 AND idx < $2 ORDER BY idx";
pub(super) const TILE: &str = "SELECT hashes FROM tile WHERE id = $1";
/// The times of leaves never decrease. Only the bytes of refusals are read.
pub(super) const REFUSALS: &str = "SELECT data FROM leaf \
    WHERE idx > (SELECT idx FROM leaf ORDER BY idx DESC LIMIT 1) - $2 AND kind = $3 AND at >= $1 ORDER BY idx DESC";
pub(super) const SEALS_IN_ORDER: &str = "SELECT idx, digest FROM seal ORDER BY idx";
pub(super) const CHECKPOINT: &str = "SELECT size, root, note FROM checkpoint WHERE size = $1";
pub(super) const LAST_CHECKPOINT: &str = "SELECT size, root, note FROM checkpoint ORDER BY size DESC LIMIT 1";
pub(super) const CHECKPOINT_OVER: &str =
    "SELECT size, root, note FROM checkpoint WHERE size > $1 ORDER BY size LIMIT 1";
pub(super) const PAYLOAD: &str = "SELECT w.data, c.envelope, l.data FROM proposal p \
    LEFT JOIN payload w ON w.proposal = p.id LEFT JOIN crossing c ON c.id = p.spent \
    LEFT JOIN leaf l ON l.idx = p.receipt WHERE p.id = $1";
pub(super) const SIGNATURES_OF: &str =
    "SELECT keyid, person, presence, sig, at FROM signature WHERE proposal = $1 ORDER BY number";
pub(super) const DENIALS_OF: &str = "SELECT approver, leaf, at FROM denial WHERE \"authorization\" = $1 ORDER BY leaf";
pub(super) const NONCE_WITHOUT_ROW: &str = "SELECT q.number - 1 FROM unnest($1::bytea[]) WITH ORDINALITY AS q(nonce, number) \
    WHERE NOT EXISTS (SELECT FROM nonce n WHERE n.nonce = q.nonce) ORDER BY q.number LIMIT 1";
pub(super) const DENIAL_WITHOUT_ROW: &str = "SELECT q.number - 1 FROM unnest($1::bytea[]) WITH ORDINALITY AS q(digest, number) \
    WHERE NOT EXISTS (SELECT FROM denial d WHERE d.\"authorization\" = q.digest) ORDER BY q.number LIMIT 1";
/// The condition is that of the index `leaf_revocation`.
pub(super) const REVOCATIONS: &str = "SELECT idx, data FROM leaf WHERE kind = 6 ORDER BY idx";
pub(super) const SPENT: &str = "SELECT spent, proposal FROM nonce WHERE nonce = $1";
pub(super) const UNFINISHED: &str = "SELECT c.id, c.proposal, l.hash, l.at, c.seal, c.envelope, c.decision, \
    c.node = $1, c.deadline < extract(epoch FROM clock_timestamp()) OR n.lost_at IS NOT NULL \
    FROM crossing c JOIN leaf l ON l.idx = c.id >> 6 LEFT JOIN node n ON n.name = c.node ORDER BY c.id";
pub(super) const OUTPUT: &str = "SELECT bytes, data FROM output WHERE name = $1";
pub(super) const RUNS_OF_OUTPUT: &str =
    "SELECT proposal FROM output_of WHERE name = $1 ORDER BY proposal DESC LIMIT $2";
pub(super) const OUTPUT_ORDER: &str = "SELECT data FROM output_order WHERE proposal = $1";
pub(super) const TOKENS: &str =
    "SELECT name, secret, owners, scopes, patterns, created_at, expires_at, revoked_at FROM token ORDER BY name";
pub(super) const TOKEN: &str = "SELECT name, secret, owners, scopes, patterns, created_at, expires_at, revoked_at \
    FROM token WHERE secret = $1";
pub(super) const SIZE: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";

/// A page of proposals by decreasing id: $1 is an upper bound, $2 the number of rows, $3 the name of a step or proposer.
macro_rules! page {
    ($with:literal, $condition:literal) => {
        concat!(
            $with,
            "SELECT ",
            proposal_columns!(),
            " FROM proposal p ",
            $condition,
            " p.id < $1 ORDER BY p.id DESC LIMIT $2"
        )
    };
}

/// Pages with an index of one condition. The other conditions are checked for each row.
pub(super) const PAGES: &[(&str, &str)] = &[
    ("PAGE", page!("", "WHERE")),
    ("PAGE_OF_STEP", page!("", "WHERE p.step = $3 AND")),
    ("PAGE_OF_PROPOSER", page!("", "WHERE p.proposer = $3 AND")),
    ("PAGE_OPEN", page!("", "WHERE p.status BETWEEN 2 AND 3 AND")),
    (
        "PAGE_RUNNING",
        page!(
            "WITH r AS MATERIALIZED (SELECT proposal AS id FROM crossing ORDER BY crossing.id) ",
            "JOIN r ON r.id = p.id WHERE"
        ),
    ),
    (
        "PAGE_ACTIVE",
        page!(
            "WITH r AS MATERIALIZED ((SELECT proposal AS id FROM crossing ORDER BY crossing.id) \
             UNION ALL SELECT id FROM proposal WHERE status BETWEEN 2 AND 3) ",
            "JOIN r ON r.id = p.id WHERE"
        ),
    ),
    ("PAGE_STOPPED", page!("", "WHERE p.status >= 4 AND")),
];

/// Returns the statement for a page of proposals, and the value of its third parameter.
pub(super) fn page(filter: &ProposalQuery) -> (&'static str, Option<&str>) {
    use StoredStatus::{Approved, Cancelled, Denied, Expired, Pending, Refused, Running};
    let only = |some: &[StoredStatus]| {
        !filter.statuses.is_empty() && filter.statuses.iter().all(|status| some.contains(status))
    };
    let (at, name) = if only(&[Pending, Approved]) {
        (3, None)
    } else if only(&[Running]) {
        (4, None)
    } else if only(&[Pending, Approved, Running]) {
        (5, None)
    } else if only(&[Denied, Expired, Cancelled, Refused]) {
        (6, None)
    } else if let Some(step) = &filter.step {
        (1, Some(step.as_str()))
    } else if let Some(proposer) = &filter.proposer {
        (2, Some(Name::as_str(proposer)))
    } else {
        (0, None)
    };
    (PAGES[at].1, name)
}

/// Finished runs of a step with one outcome. Each condition must be the text of a partial index.
macro_rules! runs_with {
    ($outcome:literal) => {
        concat!(
            "SELECT ",
            proposal_columns!(),
            " FROM (SELECT * FROM proposal WHERE step = $1 AND status = 1 AND ",
            $outcome,
            " AND ended_at BETWEEN $2 AND $3 AND ($4::bytea IS NULL OR params_digest = $4) \
             AND ($5::text IS NULL OR proposer = $5) ORDER BY ended_at DESC LIMIT $6 OFFSET $7) p \
             ORDER BY p.ended_at DESC, p.id DESC"
        )
    };
}

pub(super) const RUNS: &[(&str, &str)] = &[
    (
        "RUNS_SUCCEEDED",
        runs_with!("detail = '\\x7b22657869745f636f6465223a302c22737461747573223a22737563636565646564227d'::bytea"),
    ),
    (
        "RUNS_UNKNOWN",
        runs_with!("substring(detail from 1 for 19) = '\\x7b22737461747573223a22756e6b6e6f776e22'::bytea"),
    ),
];

/// Returns the position of the statement for runs with an outcome.
pub(super) const fn runs(outcome: RunOutcome) -> usize {
    match outcome {
        RunOutcome::Succeeded => 0,
        RunOutcome::Unknown => 1,
    }
}

/// Names and texts of the other statements, for the test that explains them.
#[cfg(test)]
pub(super) const READS: &[(&str, &str)] = &[
    ("LEAF", LEAF),
    ("LEAF_DATA", LEAF_DATA),
    ("TILE", TILE),
    ("REFUSALS", REFUSALS),
    ("SEALS_IN_ORDER", SEALS_IN_ORDER),
    ("CHECKPOINT", CHECKPOINT),
    ("LAST_CHECKPOINT", LAST_CHECKPOINT),
    ("CHECKPOINT_OVER", CHECKPOINT_OVER),
    ("PAYLOAD", PAYLOAD),
    ("SIGNATURES_OF", SIGNATURES_OF),
    ("DENIALS_OF", DENIALS_OF),
    ("REVOCATIONS", REVOCATIONS),
    ("SPENT", SPENT),
    ("UNFINISHED", UNFINISHED),
    ("OUTPUT", OUTPUT),
    ("RUNS_OF_OUTPUT", RUNS_OF_OUTPUT),
    ("OUTPUT_ORDER", OUTPUT_ORDER),
    ("TOKENS", TOKENS),
    ("TOKEN", TOKEN),
];
