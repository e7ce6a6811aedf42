//! Rows of later runs in the store of a boundary. The client's tests have no database.

use crate::support::World;

impl World {
    /// Adds rows of later successful runs of `step` to the store. They are copies of the first run, but the log has no
    /// receipt of them, so the service fails if it reads one of them.
    pub(crate) fn add_later_rows(&self, step: &str, count: u32) {
        let rows = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) INSERT INTO proposal
             SELECT unhex(format('019fffff000070008000%012x', i)), digest, nonce, request, '{step}', step_digest,
             params_digest, proposer, expires_at, 1, created_ms + i, approved_at, started_at, ended_at + 100, NULL, NULL,
             1000000000, detail FROM n, (SELECT * FROM proposal WHERE status = 1 ORDER BY created_ms, id LIMIT 1)"
        );
        rusqlite::Connection::open(self.database())
            .expect("store")
            .execute_batch(&rows)
            .expect("rows");
    }
}
