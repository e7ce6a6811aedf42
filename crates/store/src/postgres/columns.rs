//! Conversions between columns and Rust types.

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::{
    column_values::id_bytes,
    fault::StoreFault,
    fields::{CellRef, EngineRow},
    postgres::link::Value,
};
use documents::ProposalId;

pub(super) use crate::fields::Fields;

impl EngineRow for Row {
    fn cell(&self, at: usize) -> Result<CellRef<'_>, String> {
        let kind = self.columns().get(at).map(|column| column.type_());
        match kind {
            Some(&Type::BOOL) => cell::<bool>(self, at),
            Some(&Type::INT2) => cell::<i16>(self, at),
            Some(&Type::INT4) => cell::<i32>(self, at),
            Some(&Type::INT8) => cell::<i64>(self, at),
            Some(&Type::BYTEA) => cell::<&[u8]>(self, at),
            _ => cell::<&str>(self, at),
        }
    }

    fn odd(&self, during: &'static str, at: usize, why: &str) -> StoreFault {
        let name = self.columns().get(at).map_or("", |column| column.name());
        let message =
            format!("the column `{name}` has a value that this program does not write: {why}");
        StoreFault::Database { during, message }
    }
}

fn cell<'r, T: FromSql<'r> + Into<CellRef<'r>>>(
    row: &'r Row,
    at: usize,
) -> Result<CellRef<'r>, String> {
    row.try_get::<_, Option<T>>(at)
        .map(CellRef::from)
        .map_err(|error| error.to_string())
}

/// Returns the parameter of a statement of a reader. No reader has a parameter without a value.
pub(super) fn value(cell: CellRef<'_>) -> Value<'_> {
    match cell {
        CellRef::Null => Box::new(None::<i64>),
        CellRef::Number(number) => Box::new(number),
        CellRef::Bytes(bytes) => Box::new(bytes),
        CellRef::Text(text) => Box::new(text),
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
