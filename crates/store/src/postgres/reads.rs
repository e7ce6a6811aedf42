//! Connections that only read, beside the connection of the writer.

use crate::{
    Cell, ClosedKey, EachRow, EngineStatements, Fields, Pool, Readers, ServerSettings, StoreHead,
    StoreReads, StoreResult,
    postgres::{questions::read_head, schema, statements::boxed},
};

/// Maximum number of reading connections.
const READERS: usize = 4;
/// Maximum number of keys in one query for missing rows.
const KEYS: usize = 10_000;
/// Options of a reading session.
const OPTIONS: &str = "-c statement_timeout=30000 -c client_encoding=UTF8 \
    -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_bitmapscan=off -c jit=off";

const SIZE: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";

statements! {
    #[cfg(test)]
    MISSING:
    NONCE_WITHOUT_ROW = "SELECT q.number - 1 FROM unnest($1::bytea[]) WITH ORDINALITY AS q(nonce, number) \
        WHERE NOT EXISTS (SELECT FROM nonce n WHERE n.nonce = q.nonce) ORDER BY q.number LIMIT 1";
    DENIAL_WITHOUT_ROW = "SELECT q.number - 1 FROM unnest($1::bytea[]) WITH ORDINALITY AS q(digest, number) \
        WHERE NOT EXISTS (SELECT FROM denial d WHERE d.\"authorization\" = q.digest) ORDER BY q.number LIMIT 1";
    PAYLOAD_WITHOUT_ROW = "SELECT q.number - 1 FROM unnest($1::bytea[]) WITH ORDINALITY AS q(id, number) \
        WHERE NOT EXISTS (SELECT FROM payload p WHERE p.proposal = q.id) ORDER BY q.number LIMIT 1";
}

/// Finished runs of a step with one outcome. Each condition must have the same text as the condition of a partial
/// index.
macro_rules! runs_with {
    ($outcome:literal) => {
        concat!(
            "SELECT ",
            proposal_columns!(),
            " FROM (SELECT * FROM proposal WHERE step = $1 AND status = 1 AND ",
            $outcome,
            " AND ended_at BETWEEN $2 AND $3 AND (length($4::bytea) = 0 OR params_digest = $4) \
             AND (length($5::text) = 0 OR proposer = $5) ORDER BY ended_at DESC LIMIT $6 OFFSET $7) p \
             ORDER BY p.ended_at DESC, p.id DESC"
        )
    };
}

pub const STATEMENTS: EngineStatements = EngineStatements {
    pages: [
        page!("", "WHERE"),
        page!("", "WHERE p.step = $4 AND"),
        page!("", "WHERE p.proposer = $4 AND"),
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
    ],
    runs: [
        runs_with!(
            "detail = '\\x7b22657869745f636f6465223a302c22737461747573223a22737563636565646564227d'::bytea"
        ),
        runs_with!(
            "substring(detail from 1 for 19) = '\\x7b22737461747573223a22756e6b6e6f776e22'::bytea"
        ),
    ],
    uses: "SELECT number, at, \
           (SELECT true FROM owed WHERE standing = $1 AND unknown AND settled IS NULL LIMIT 1) IS NOT NULL \
           FROM standing_use WHERE digest = $1 ORDER BY number DESC LIMIT $2",
    // The condition must be that of the index `owed_open`.
    owed_open: "SELECT proposal, receipt, emergency, unknown, standing, reviewed, settled FROM owed \
                WHERE emergency AND reviewed IS NULL OR unknown AND settled IS NULL \
                ORDER BY (emergency AND reviewed IS NULL) DESC, \
                (SELECT created_ms FROM proposal WHERE id = owed.proposal) DESC, proposal DESC LIMIT $1",
    unfinished: "SELECT c.id, c.proposal, \
                 c.node = $1, c.deadline < extract(epoch FROM clock_timestamp()) OR n.lost_at IS NOT NULL \
                 FROM crossing c LEFT JOIN node n ON n.name = c.node ORDER BY c.id",
};

/// The reading connections.
struct PostgresReads(Pool);

/// Opens a store without a writer, and returns the state of the store.
///
/// # Errors
/// Returns a fault if the database cannot be reached or has another schema.
pub fn at_rest(settings: ServerSettings) -> StoreResult<(StoreReads, StoreHead)> {
    let pool = pool(settings.clone());
    let (head, _) = pool.with(|link| {
        schema::check(link, &settings)?;
        read_head(link)
    })?;
    Ok((StoreReads::new(PostgresReads(pool)), head))
}

fn pool(settings: ServerSettings) -> Pool {
    Pool::of_readers(settings, OPTIONS, READERS)
}

/// Returns readers that connect when they are used.
pub fn readers(settings: ServerSettings) -> StoreReads {
    StoreReads::new(PostgresReads(pool(settings)))
}

/// Returns readers of a schema that no service can use yet, because a move or a restore has not copied all rows.
pub fn readers_of_copy(settings: ServerSettings) -> StoreReads {
    let mut pool = pool(settings);
    pool.of_copy = true;
    StoreReads::new(PostgresReads(pool))
}

impl Readers for PostgresReads {
    fn statements(&self) -> &'static EngineStatements {
        &STATEMENTS
    }

    fn rows(
        &self,
        during: &'static str,
        sql: &str,
        values: &[Cell<'_>],
        each: EachRow<'_>,
    ) -> StoreResult {
        let rows = self.0.with(|link| link.query(during, sql, boxed(values)))?;
        for row in &rows {
            if !each(&Fields::new(during, row))? {
                break;
            }
        }
        Ok(())
    }

    fn first_scan(&self) -> usize {
        64
    }

    fn node(&self) -> Option<&str> {
        Some(self.0.settings.node.as_str())
    }

    fn without_row(&self, kind: ClosedKey, keys: &[Vec<u8>]) -> StoreResult<Option<usize>> {
        const DURING: &str = "looking for rows of spent nonces and denials";
        let sql = match kind {
            ClosedKey::Nonce => NONCE_WITHOUT_ROW,
            ClosedKey::Denial => DENIAL_WITHOUT_ROW,
            ClosedKey::Payload => PAYLOAD_WITHOUT_ROW,
        };
        for (number, chunk) in keys.chunks(KEYS).enumerate() {
            let rows = self
                .0
                .with(|link| link.query(DURING, sql, values![chunk.to_vec()]))?;
            if let Some(row) = rows.first() {
                let found: u64 = Fields::new(DURING, row).get(0)?;
                return Ok(usize::try_from(found)
                    .ok()
                    .map(|found| number * KEYS + found));
            }
        }
        Ok(None)
    }

    fn bytes(&self) -> StoreResult<u64> {
        const DURING: &str = "reading the size";
        let schema = self.0.settings.schema.as_str();
        self.0
            .with(|link| link.value(DURING, SIZE, values![schema]))
    }
}
