//! Conversions between columns and Rust types.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::{
    Row,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use crate::{Cell, EngineRow, StoreFault, Value};

impl EngineRow for Row {
    fn cell(&self, at: usize) -> Result<Cell<'_>, String> {
        let kind = self.columns().get(at).map(|column| column.type_());
        let cell = match kind {
            Some(&Type::BOOL) => self.try_get::<_, Option<bool>>(at).map(Cell::from),
            Some(&Type::INT2) => self.try_get::<_, Option<i16>>(at).map(Cell::from),
            Some(&Type::INT4) => self
                .try_get::<_, Option<i32>>(at)
                .map(|number| Cell::from(number.map(i64::from))),
            Some(&Type::INT8) => self.try_get::<_, Option<i64>>(at).map(Cell::from),
            Some(&Type::BYTEA) => self.try_get::<_, Option<&[u8]>>(at).map(Cell::from),
            _ => self.try_get::<_, Option<&str>>(at).map(Cell::from),
        };
        cell.map_err(|error| error.to_string())
    }

    fn odd(&self, during: &'static str, at: usize, why: &str) -> StoreFault {
        let name = self.columns().get(at).map_or("", |column| column.name());
        let message =
            format!("the column `{name}` has a value that this program does not write: {why}");
        StoreFault::Database { during, message }
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, kind) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Number(number), &Type::BOOL) => (*number != 0).to_sql(kind, out),
            (Self::Number(number), &Type::INT2) => i16::try_from(*number)?.to_sql(kind, out),
            (Self::Number(number), &Type::INT4) => i32::try_from(*number)?.to_sql(kind, out),
            (Self::Number(number), &Type::INT8) => number.to_sql(kind, out),
            (Self::Bytes(bytes), &Type::BYTEA) => (&**bytes).to_sql(kind, out),
            (Self::Text(text), &Type::TEXT) => (&**text).to_sql(kind, out),
            _ => Err(format!("the database expects a value of the type {kind}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Returns the parameters of a statement with single values.
pub fn boxed<'a>(values: &'a [Cell<'_>]) -> Vec<Value<'a>> {
    let values = values.iter();
    values.map(|cell| Box::new(cell) as Value<'_>).collect()
}

/// Returns one array for each column. `cells` has the columns of the first row, then those of the next row, and so on.
pub fn arrays<'a>(cells: &'a [Cell<'_>], width: usize) -> Vec<Value<'a>> {
    let column = |at| cells.iter().skip(at).step_by(width).collect::<Vec<_>>();
    (0..width)
        .map(|at| Box::new(column(at)) as Value<'_>)
        .collect()
}

/// Returns the number as the database stores it. No number of this program is larger than 2^63.
pub fn signed(number: u64) -> i64 {
    number.cast_signed()
}
