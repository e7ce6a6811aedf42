//! The statements of the readers. A connection to a database server finds a prepared statement by its text, so no text
//! depends on a value.

/// Declares statements, and the list of all of them.
macro_rules! statements {
    ($(#[$of_list:meta])* $list:ident: $($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)*
        $(#[$of_list])*
        pub const $list: &[&str] = &[$($name),*];
    };
}

/// Declares statements with a text for each engine, and the list of all of them.
macro_rules! batch_statements {
    ($($(#[$doc:meta])* $name:ident = $statement:expr;)*) => {
        $($(#[$doc])* const $name: &$crate::batch_rows::BatchStatement = &$statement;)*
        pub const ALL: &[&$crate::batch_rows::BatchStatement] = &[$($name),*];
    };
}

/// A page of proposals, newest first: $1 and $2 are the time and the id of the row before the page, $3 is the number of
/// rows, $4 the name of a step or proposer.
macro_rules! page {
    ($with:literal, $condition:literal) => {
        concat!(
            $with,
            "SELECT ",
            proposal_columns!(),
            " FROM proposal p ",
            $condition,
            " (p.created_ms, p.id) < ($1, $2) ORDER BY p.created_ms DESC, p.id DESC LIMIT $3"
        )
    };
}

/// The statements that each engine writes in its own way, because an index is used only with the engine's own form of a
/// condition.
pub struct EngineStatements {
    /// The pages in the order of [`ProposalSource`](crate::stored::ProposalSource).
    pub pages: [&'static str; 7],
    /// Finished runs of a step ($1) that ended between $2 and $3, for each
    /// [`RunOutcome`](crate::stored::RunOutcome). An empty digest of parameters ($4) or an empty name of a
    /// proposer ($5) means any. $6 is the maximum number of rows. $7 is the number of rows to skip.
    pub runs: [&'static str; 2],
    /// The newest uses of a grant, and whether the grant pauses.
    pub uses: &'static str,
    /// The runs that need a review.
    pub owed_open: &'static str,
    /// The runs without a receipt.
    pub unfinished: &'static str,
}

impl EngineStatements {
    /// Returns all statements of the engine.
    #[cfg(test)]
    pub fn all(&self) -> Vec<&'static str> {
        let others = [self.uses, self.owed_open, self.unfinished];
        [&self.pages[..], &self.runs, &others].concat()
    }
}

statements! {
    #[cfg(test)]
    READS:
    LEAF = "SELECT kind, at, idx, hash, data FROM leaf WHERE idx = $1";
    LEAVES = "SELECT idx, hash, data FROM leaf WHERE idx >= $1 AND idx < $2 ORDER BY idx";
    TILE = "SELECT hashes FROM tile WHERE id = $1";
    BLOB = "SELECT data FROM blob WHERE digest = $1";
    /// The times of leaves never decrease. The kind of a refusal is 5, so only the bytes of refusals are read.
    REFUSALS = "SELECT idx, hash, data FROM leaf WHERE idx > (SELECT max(idx) FROM leaf) - $2 AND kind = 5 AND at >= $1 \
        ORDER BY idx DESC";
    SEALS_IN_ORDER = "SELECT idx, digest FROM seal ORDER BY idx";
    LAST_CHECKPOINT = "SELECT size, root, note FROM checkpoint ORDER BY size DESC LIMIT 1";
    CHECKPOINT_OVER = "SELECT size, root, note FROM checkpoint WHERE size > $1 ORDER BY size LIMIT 1";
    PROPOSAL = concat!("SELECT ", proposal_columns!(), " FROM proposal p WHERE p.id = $1");
    /// One statement reads one consistent state. Between two statements, a change of the status could move the payload to
    /// another table.
    PAYLOAD = "SELECT w.data, l.idx, l.hash, l.data FROM proposal p LEFT JOIN payload w ON w.proposal = p.id \
        LEFT JOIN leaf l ON l.idx = p.signed WHERE p.id = $1";
    WAITING_PROGRAMS = "SELECT programs FROM payload WHERE proposal = $1";
    SIGNATURES_OF = "SELECT keyid, person, presence, sig, at FROM signature WHERE proposal = $1 ORDER BY number";
    DENIALS_OF = "SELECT approver, leaf, at FROM denial WHERE \"authorization\" = $1 ORDER BY leaf";
    /// The condition must be that of the index `leaf_revocation`.
    REVOCATIONS = "SELECT idx, hash, data FROM leaf WHERE kind = 6 ORDER BY idx";
    GRANT = "SELECT id, digest, envelope, proposer, created_at, expires_at, leaf FROM standing WHERE id = $1";
    GRANT_OF = "SELECT id, digest, envelope, proposer, created_at, expires_at, leaf FROM standing WHERE digest = $1";
    GRANTS_AFTER = "SELECT id, digest, envelope, proposer, created_at, expires_at, leaf FROM standing \
        WHERE expires_at > $1 ORDER BY expires_at, id LIMIT $2";
    DRAFTS = "SELECT count(*) FILTER (WHERE proposer = $2), count(*) FROM standing WHERE expires_at > $1 AND leaf IS NULL";
    OWED = "SELECT proposal, receipt, emergency, unknown, standing, reviewed, settled FROM owed WHERE proposal = $1";
    REVIEWS_OF = "SELECT leaf, receipt, proposal, reviewer, accepted, observed, counts_review, counts_settle FROM review \
        WHERE receipt = $1 ORDER BY leaf";
    EVENTS_AFTER = "SELECT seq, at, kind, proposal, step, proposer, entry, words FROM event WHERE seq > $1 ORDER BY seq LIMIT $2";
    NEWEST_EVENT = "SELECT seq FROM event ORDER BY seq DESC LIMIT 1";
    TARGETS_TOLD = "SELECT name, seq, given_up FROM told ORDER BY name";
    SPENT = "SELECT spent, proposal FROM nonce WHERE nonce = $1";
    OUTPUT = "SELECT bytes, data FROM output WHERE name = $1";
    RUNS_OF_OUTPUT = "SELECT o.proposal, p.proposer, p.step FROM output_of o JOIN proposal p ON p.id = o.proposal \
        WHERE o.name = $1 AND o.proposal < $2 ORDER BY o.proposal DESC LIMIT $3";
    OUTPUT_ORDER = "SELECT data FROM output_order WHERE proposal = $1";
    TOKENS = "SELECT entry, jwks, ca, created_at, revoked_at FROM token ORDER BY name";
    JOB_OF = "SELECT job FROM admitted WHERE proposal = $1";
}
