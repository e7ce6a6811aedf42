//! The statements of the readers that only SQLite has.

use crate::EngineStatements;

/// Finished runs of a step with one outcome. The inner query reads only the index. Each condition must have the same
/// text as the condition of a partial index.
macro_rules! runs_with {
    ($outcome:literal) => {
        concat!(
            "SELECT ",
            proposal_columns!(),
            " FROM proposal p WHERE p.id IN (SELECT id FROM proposal WHERE step = $1 AND status = 1 AND ",
            $outcome,
            " AND ended_at BETWEEN $2 AND $3 AND (length($4) = 0 OR params_digest = $4) \
             AND (length($5) = 0 OR proposer = $5) ORDER BY ended_at DESC LIMIT $6 OFFSET $7) \
             ORDER BY p.ended_at DESC, p.id DESC"
        )
    };
}

pub const STATEMENTS: EngineStatements = EngineStatements {
    pages: [
        page!("", "WHERE"),
        page!("", "WHERE p.step = $4 AND"),
        page!("", "WHERE p.proposer = $4 AND"),
        page!(
            "",
            "INDEXED BY proposal_open WHERE p.status BETWEEN 2 AND 3 AND"
        ),
        page!("", "WHERE p.id IN (SELECT proposal FROM crossing) AND"),
        page!(
            "",
            "WHERE p.id IN (SELECT id FROM proposal INDEXED BY proposal_open WHERE status BETWEEN 2 AND 3 \
             UNION ALL SELECT proposal FROM crossing) AND"
        ),
        page!("", "WHERE p.status >= 4 AND"),
    ],
    runs: [
        runs_with!(
            "detail = X'7B22657869745F636F6465223A302C22737461747573223A22737563636565646564227D'"
        ),
        runs_with!("substr(detail, 1, 19) = X'7B22737461747573223A22756E6B6E6F776E22'"),
    ],
    uses: "SELECT number, at, EXISTS (SELECT 1 FROM owed WHERE standing = $1 AND unknown = 1 AND settled IS NULL) \
           FROM standing_use WHERE digest = $1 ORDER BY number DESC LIMIT $2",
    // The condition must be that of the index `owed_open`.
    owed_open: "SELECT proposal, receipt, emergency, unknown, standing, reviewed, settled FROM owed \
                WHERE emergency = 1 AND reviewed IS NULL OR unknown = 1 AND settled IS NULL \
                ORDER BY emergency = 1 AND reviewed IS NULL DESC, \
                (SELECT created_ms FROM proposal WHERE id = owed.proposal) DESC, proposal DESC LIMIT $1",
    // With one node, this node started all runs.
    unfinished: "SELECT id, proposal, 1, 0 FROM crossing ORDER BY id",
};
