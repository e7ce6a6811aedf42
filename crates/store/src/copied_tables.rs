//! The tables that both engines have, and the form of their rows in a copy from one engine to the other.

use crate::Cell;

/// The values of a row, in the order of [`CopiedTable::columns`].
pub(super) type CopiedRow = Vec<Cell<'static>>;

/// A table that both engines have.
#[derive(Debug)]
pub(super) struct CopiedTable {
    pub(super) name: &'static str,
    /// Name and PostgreSQL type of each column.
    pub(super) columns: &'static [(&'static str, &'static str)],
    /// The columns that order the rows. The order is unique. The table `output` has another order in each engine.
    pub(super) key: &'static [&'static str],
    /// True if rows are changed or deleted. In the other tables, rows are only added.
    pub(super) changes: bool,
}

impl CopiedTable {
    /// Returns the names of the columns, separated by commas.
    pub(super) fn column_list(&self) -> String {
        quoted(self.columns.iter().map(|(name, _)| *name))
    }

    /// Returns the names of the key's columns, separated by commas.
    pub(super) fn key_list(&self) -> String {
        quoted(self.key.iter().copied())
    }
}

/// Quotes names, because `authorization` is a reserved word of PostgreSQL.
fn quoted(names: impl Iterator<Item = &'static str>) -> String {
    names
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Maximum size in bytes of the rows that a copy holds in memory.
pub(super) const CHUNK: usize = 4 << 20;
/// Maximum number of rows that a copy holds in memory.
pub(super) const CHUNK_ROWS: usize = 4096;
/// Size of a piece of a large output in bytes.
pub(super) const PIECE: usize = 1 << 20;

/// All tables with rows of the same form in both engines. The table `state` is not among them.
pub(super) const TABLES: &[CopiedTable] = &[
    CopiedTable {
        name: "leaf",
        columns: &[
            ("idx", "bigint"),
            ("kind", "smallint"),
            ("at", "bigint"),
            ("hash", "bytea"),
            ("data", "bytea"),
        ],
        key: &["idx"],
        changes: false,
    },
    CopiedTable {
        name: "tile",
        columns: &[("id", "bigint"), ("hashes", "bytea")],
        key: &["id"],
        changes: false,
    },
    CopiedTable {
        name: "checkpoint",
        columns: &[("size", "bigint"), ("root", "bytea"), ("note", "text")],
        key: &["size"],
        changes: false,
    },
    CopiedTable {
        name: "seal",
        columns: &[("idx", "bigint"), ("digest", "bytea")],
        key: &["idx"],
        changes: false,
    },
    CopiedTable {
        name: "blob",
        columns: &[("digest", "bytea"), ("data", "bytea")],
        key: &["digest"],
        changes: false,
    },
    CopiedTable {
        name: "denial",
        columns: &[
            ("authorization", "bytea"),
            ("approver", "text"),
            ("leaf", "bigint"),
            ("at", "bigint"),
            ("ahead", "boolean"),
        ],
        key: &["authorization", "approver"],
        changes: false,
    },
    CopiedTable {
        name: "review",
        columns: &[
            ("leaf", "bigint"),
            ("receipt", "bigint"),
            ("proposal", "bytea"),
            ("reviewer", "text"),
            ("accepted", "boolean"),
            ("observed", "smallint"),
            ("counts_review", "boolean"),
            ("counts_settle", "boolean"),
        ],
        key: &["leaf"],
        changes: false,
    },
    CopiedTable {
        name: "proposal",
        columns: &[
            ("id", "bytea"),
            ("digest", "bytea"),
            ("nonce", "bytea"),
            ("request", "bytea"),
            ("step", "text"),
            ("step_digest", "bytea"),
            ("params_digest", "bytea"),
            ("proposer", "text"),
            ("expires_at", "bigint"),
            ("status", "smallint"),
            ("created_at", "bigint"),
            ("approved_at", "bigint"),
            ("started_at", "bigint"),
            ("ended_at", "bigint"),
            ("spent", "bigint"),
            ("receipt", "bigint"),
            ("detail", "bytea"),
        ],
        key: &["id"],
        changes: true,
    },
    CopiedTable {
        name: "payload",
        columns: &[("proposal", "bytea"), ("data", "bytea")],
        key: &["proposal"],
        changes: true,
    },
    CopiedTable {
        name: "crossing",
        columns: &[
            ("id", "bigint"),
            ("proposal", "bytea"),
            ("seal", "bytea"),
            ("exclusive", "text"),
            ("envelope", "bytea"),
            ("decision", "bytea"),
        ],
        key: &["id"],
        changes: true,
    },
    CopiedTable {
        name: "nonce",
        columns: &[
            ("nonce", "bytea"),
            ("expires_at", "bigint"),
            ("spent", "bigint"),
            ("proposal", "bytea"),
        ],
        key: &["nonce"],
        changes: true,
    },
    CopiedTable {
        name: "signature",
        columns: &[
            ("proposal", "bytea"),
            ("keyid", "text"),
            ("number", "integer"),
            ("person", "text"),
            ("presence", "smallint"),
            ("at", "bigint"),
            ("sig", "bytea"),
        ],
        key: &["proposal", "keyid"],
        changes: true,
    },
    CopiedTable {
        name: OUTPUT,
        columns: &[
            ("name", "bytea"),
            ("bytes", "bigint"),
            ("at", "bigint"),
            ("data", "bytea"),
        ],
        key: &["rowid"],
        changes: true,
    },
    CopiedTable {
        name: "output_of",
        columns: &[("name", "bytea"), ("proposal", "bytea")],
        key: &["name", "proposal"],
        changes: true,
    },
    CopiedTable {
        name: "output_order",
        columns: &[("proposal", "bytea"), ("data", "bytea")],
        key: &["proposal"],
        changes: true,
    },
    CopiedTable {
        name: "token",
        columns: &[
            ("name", "text"),
            ("secret", "bytea"),
            ("owners", "text"),
            ("scopes", "text"),
            ("patterns", "text"),
            ("created_at", "bigint"),
            ("expires_at", "bigint"),
            ("revoked_at", "bigint"),
        ],
        key: &["name"],
        changes: true,
    },
    CopiedTable {
        name: "token_binding",
        columns: &[("name", "text"), ("binding", "text")],
        key: &["name"],
        changes: true,
    },
    CopiedTable {
        name: "admitted",
        columns: &[("proposal", "bytea"), ("job", "text")],
        key: &["proposal"],
        changes: true,
    },
    CopiedTable {
        name: "id_token",
        columns: &[("digest", "bytea"), ("expires_at", "bigint")],
        key: &["digest"],
        changes: true,
    },
    CopiedTable {
        name: "standing",
        columns: &[
            ("id", "bytea"),
            ("digest", "bytea"),
            ("envelope", "bytea"),
            ("proposer", "text"),
            ("created_at", "bigint"),
            ("expires_at", "bigint"),
            ("leaf", "bigint"),
        ],
        key: &["id"],
        changes: true,
    },
    CopiedTable {
        name: "standing_use",
        columns: &[
            ("digest", "bytea"),
            ("number", "bigint"),
            ("at", "bigint"),
            ("spent", "bigint"),
        ],
        key: &["digest", "number"],
        changes: true,
    },
    CopiedTable {
        name: "owed",
        columns: &[
            ("proposal", "bytea"),
            ("receipt", "bigint"),
            ("emergency", "boolean"),
            ("unknown", "boolean"),
            ("standing", "bytea"),
            ("reviewed", "bigint"),
            ("settled", "bigint"),
        ],
        key: &["proposal"],
        changes: true,
    },
    CopiedTable {
        name: "event",
        columns: &[
            ("seq", "bigint"),
            ("at", "bigint"),
            ("kind", "smallint"),
            ("proposal", "bytea"),
            ("step", "text"),
            ("proposer", "text"),
            ("entry", "bigint"),
            ("words", "text"),
        ],
        key: &["seq"],
        changes: true,
    },
    CopiedTable {
        name: "told",
        columns: &[("name", "text"), ("seq", "bigint"), ("given_up", "bigint")],
        key: &["name"],
        changes: true,
    },
];

/// The table of outputs. Its order of recording is `rowid` in SQLite, and `number` in PostgreSQL.
pub(super) const OUTPUT: &str = "output";

/// The row of `state`, as far as both engines have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CopiedState {
    /// Digest of the first seal, which is the id of the boundary.
    pub(super) boundary: Option<Vec<u8>>,
    /// Digest of the seal in force.
    pub(super) seal: Option<Vec<u8>>,
    pub(super) version: i64,
    pub(super) mark: i64,
}
