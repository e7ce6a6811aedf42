//! The statements of the reading connections.

pub(super) const SIZE: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";

statements! {
    #[cfg(test)]
    READS:
    LEAF = "SELECT kind, at, hash, data FROM leaf WHERE idx = $1";
    LEAF_DATA = "SELECT data FROM leaf WHERE idx >= $1 AND idx < $2 ORDER BY idx";
    TILE = "SELECT hashes FROM tile WHERE id = $1";
    /// The times of leaves never decrease. Only the bytes of refusals are read.
    REFUSALS = "SELECT data FROM leaf \
        WHERE idx > (SELECT idx FROM leaf ORDER BY idx DESC LIMIT 1) - $2 AND kind = $3 AND at >= $1 ORDER BY idx DESC";
    SEALS_IN_ORDER = "SELECT idx, digest FROM seal ORDER BY idx";
    LAST_CHECKPOINT = "SELECT size, root, note FROM checkpoint ORDER BY size DESC LIMIT 1";
    CHECKPOINT_OVER = "SELECT size, root, note FROM checkpoint WHERE size > $1 ORDER BY size LIMIT 1";
    PAYLOAD = "SELECT w.data, c.envelope, l.data FROM proposal p \
        LEFT JOIN payload w ON w.proposal = p.id LEFT JOIN crossing c ON c.id = p.spent \
        LEFT JOIN leaf l ON l.idx = p.receipt WHERE p.id = $1";
    SIGNATURES_OF = "SELECT keyid, person, presence, sig, at FROM signature WHERE proposal = $1 ORDER BY number";
    DENIALS_OF = "SELECT approver, leaf, at FROM denial WHERE \"authorization\" = $1 ORDER BY leaf";
    NONCE_WITHOUT_ROW = "SELECT q.number - 1 FROM unnest($1::bytea[]) WITH ORDINALITY AS q(nonce, number) \
        WHERE NOT EXISTS (SELECT FROM nonce n WHERE n.nonce = q.nonce) ORDER BY q.number LIMIT 1";
    DENIAL_WITHOUT_ROW = "SELECT q.number - 1 FROM unnest($1::bytea[]) WITH ORDINALITY AS q(digest, number) \
        WHERE NOT EXISTS (SELECT FROM denial d WHERE d.\"authorization\" = q.digest) ORDER BY q.number LIMIT 1";
    PAYLOAD_WITHOUT_ROW = "SELECT q.number - 1 FROM unnest($1::bytea[]) WITH ORDINALITY AS q(id, number) \
        WHERE NOT EXISTS (SELECT FROM payload p WHERE p.proposal = q.id) ORDER BY q.number LIMIT 1";
    /// The condition is that of the index `leaf_revocation`.
    REVOCATIONS = "SELECT idx, data FROM leaf WHERE kind = 6 ORDER BY idx";
    GRANT = "SELECT id, digest, envelope, proposer, created_at, expires_at, leaf FROM standing WHERE id = $1";
    GRANT_OF = "SELECT id, digest, envelope, proposer, created_at, expires_at, leaf FROM standing WHERE digest = $1";
    GRANTS_AFTER = "SELECT id, digest, envelope, proposer, created_at, expires_at, leaf FROM standing \
        WHERE expires_at > $1 ORDER BY expires_at, id LIMIT $2";
    DRAFTS = "SELECT count(*) FILTER (WHERE proposer = $2), count(*) FROM standing WHERE expires_at > $1 AND leaf IS NULL";
    USES_OF = "SELECT number, at, (SELECT true FROM owed WHERE standing = $1 AND unknown AND settled IS NULL LIMIT 1) IS NOT NULL \
        FROM standing_use WHERE digest = $1 ORDER BY number DESC LIMIT $2";
    OWED = "SELECT proposal, receipt, emergency, unknown, standing, reviewed, settled FROM owed WHERE proposal = $1";
    /// The condition is that of the index `owed_open`.
    OWED_OPEN = "SELECT proposal, receipt, emergency, unknown, standing, reviewed, settled FROM owed \
        WHERE emergency AND reviewed IS NULL OR unknown AND settled IS NULL \
        ORDER BY (emergency AND reviewed IS NULL) DESC, proposal DESC LIMIT $1";
    REVIEWS_OF = "SELECT leaf, receipt, proposal, reviewer, accepted, observed, counts_review, counts_settle FROM review \
        WHERE receipt = $1 ORDER BY leaf";
    EVENTS_AFTER = "SELECT seq, at, kind, proposal, step, proposer, entry, words FROM event WHERE seq > $1 ORDER BY seq LIMIT $2";
    NEWEST_EVENT = "SELECT seq FROM event ORDER BY seq DESC LIMIT 1";
    TARGETS_TOLD = "SELECT name, seq, given_up FROM told ORDER BY name";
    SPENT = "SELECT spent, proposal FROM nonce WHERE nonce = $1";
    UNFINISHED = "SELECT c.id, c.proposal, l.hash, l.at, c.seal, c.envelope, c.decision, \
        c.node = $1, c.deadline < extract(epoch FROM clock_timestamp()) OR n.lost_at IS NOT NULL \
        FROM crossing c JOIN leaf l ON l.idx = c.id >> 6 LEFT JOIN node n ON n.name = c.node ORDER BY c.id";
    OUTPUT = "SELECT bytes, data FROM output WHERE name = $1";
    RUNS_OF_OUTPUT = "SELECT o.proposal, p.proposer, p.step FROM output_of o JOIN proposal p ON p.id = o.proposal \
        WHERE o.name = $1 AND o.proposal < $2 ORDER BY o.proposal DESC LIMIT $3";
    OUTPUT_ORDER = "SELECT data FROM output_order WHERE proposal = $1";
    TOKENS = "SELECT name, secret, owners, scopes, patterns, created_at, expires_at, revoked_at FROM token ORDER BY name";
    TOKEN = "SELECT name, secret, owners, scopes, patterns, created_at, expires_at, revoked_at \
        FROM token WHERE secret = $1";
    TOKEN_BINDINGS = "SELECT name, binding FROM token_binding ORDER BY name";
    JOB_OF = "SELECT job FROM admitted WHERE proposal = $1";
}

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

/// The pages in the order of [`ProposalSource`](crate::stored_proposal::ProposalSource).
pub(super) const PAGES: &[&str] = &[
    page!("", "WHERE"),
    page!("", "WHERE p.step = $3 AND"),
    page!("", "WHERE p.proposer = $3 AND"),
    page!("", "WHERE p.status BETWEEN 2 AND 3 AND"),
    page!(
        "WITH r AS MATERIALIZED (SELECT proposal AS id FROM crossing ORDER BY crossing.id) ",
        "JOIN r ON r.id = p.id WHERE"
    ),
    page!(
        "WITH r AS MATERIALIZED ((SELECT proposal AS id FROM crossing ORDER BY crossing.id) \
         UNION ALL SELECT id FROM proposal WHERE status BETWEEN 2 AND 3) ",
        "JOIN r ON r.id = p.id WHERE"
    ),
    page!("", "WHERE p.status >= 4 AND"),
];

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

/// The statements in the order of [`RunOutcome`](crate::stored_proposal::RunOutcome).
pub(super) const RUNS: &[&str] = &[
    runs_with!(
        "detail = '\\x7b22657869745f636f6465223a302c22737461747573223a22737563636565646564227d'::bytea"
    ),
    runs_with!(
        "substring(detail from 1 for 19) = '\\x7b22737461747573223a22756e6b6e6f776e22'::bytea"
    ),
];
