//! The tables that both engines have, and the form of their rows in a copy from one engine to the other.

use std::sync::LazyLock;

use crate::{ADD_ONLY, CHANGED, Cell, LOG_TABLES, OBJECTS};
use documents::joined;

/// The values of a row, in the order of [`CopiedTable::columns`].
pub type CopiedRow = Vec<Cell<'static>>;

/// A table that both engines have.
pub struct CopiedTable {
    pub name: &'static str,
    /// Name and PostgreSQL type of each column.
    pub columns: Vec<(&'static str, &'static str)>,
    /// The columns that order the rows, quoted where PostgreSQL needs quotes. No two rows have the same values in these
    /// columns. The table `output` has another order in each engine.
    pub key: Vec<&'static str>,
    /// True if rows are changed or deleted. In the other tables, rows are only added.
    pub changes: bool,
}

impl CopiedTable {
    /// Reads the columns and the key from the listed schema of PostgreSQL, with which each start compares the database.
    fn listed(name: &'static str) -> Self {
        let index = format!("index {name}_pkey of {name} unique: ");
        let column = |line: &'static str| {
            let (place, kind) = line.strip_prefix("column ")?.split_once(' ')?;
            let own = place.strip_prefix(name)?.strip_prefix('.')?;
            let kind = kind.trim_end_matches(" not null");
            (!OF_SERVER.contains(&place)).then_some((own, kind))
        };
        let key = OBJECTS.lines().find_map(|line| line.strip_prefix(&index));
        Self {
            name,
            columns: OBJECTS.lines().filter_map(column).collect(),
            key: match key {
                Some(key) if name != OUTPUT => key.split(", ").collect(),
                _ => vec!["rowid"],
            },
            changes: CHANGED.contains(&name),
        }
    }

    /// Returns the names of the columns, separated by commas.
    pub fn column_list(&self) -> String {
        // `authorization` is a reserved word of PostgreSQL.
        let names = self.columns.iter().map(|(name, _)| format!("\"{name}\""));
        joined(names, ", ")
    }

    /// Returns the place of a column in a row.
    pub fn place(&self, column: &str) -> usize {
        let mut names = self.columns.iter().map(|(name, _)| *name);
        names.position(|name| name == column).unwrap_or(usize::MAX)
    }
}

/// Maximum size in bytes of the rows that a copy holds in memory.
pub const CHUNK: usize = 4 << 20;
/// Maximum number of rows that a copy holds in memory.
pub const CHUNK_ROWS: usize = 4096;
/// Size of a piece of a large output in bytes.
pub const PIECE: usize = 1 << 20;

/// The tables and the columns that only PostgreSQL has. All other tables except `state` and `meta` have rows of the
/// same form in both engines.
const OF_SERVER: [&str; 9] = [
    "batch",
    "piece",
    "artifact",
    "cosignature",
    "node",
    "kept_head",
    "crossing.deadline",
    "crossing.node",
    "output.number",
];

/// The tables of both engines, in the order of a copy: the tables whose rows are only added come first.
pub static TABLES: LazyLock<Vec<CopiedTable>> = LazyLock::new(|| {
    let names = [LOG_TABLES, ADD_ONLY, CHANGED].concat().into_iter();
    names
        .filter(|name| !OF_SERVER.contains(name))
        .map(CopiedTable::listed)
        .collect()
});

/// The table of outputs. The order of recording is the column `rowid` in SQLite, and the column `number` in PostgreSQL.
pub const OUTPUT: &str = "output";
