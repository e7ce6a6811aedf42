//! Opens the log in a store that no service uses.

use std::path::Path;

use crate::node::log_at_rest;
use client::{CommandFailure, LogAtRest, LogSource, PrintableText};
use store::StoredLog;

/// Opens the log in a store directory that no service uses: a copy from `store backup`, or the old log after `store
/// restore`.
///
/// # Errors
/// Returns an error if the directory is not such a store, or if the log cannot be read.
pub fn stored_log(directory: &Path) -> Result<LogSource, CommandFailure> {
    let log = log_at_rest::log_in(directory).map_err(|why| {
        let shown = PrintableText::file(directory);
        CommandFailure::usage(format!(
            "the log in {} can't be read: {why}; name a directory that `countersign store backup` made, or one of \
             closed/ in the boundary's private directory",
            shown.as_str()
        ))
    })?;
    Ok(LogSource::Stored(Box::new(Readable(log))))
}

/// A stored log, as the client reads it.
#[derive(Debug)]
struct Readable(StoredLog);

impl LogAtRest for Readable {
    fn resource(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.resource(path).map_err(|fault| fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use crate::node::places;
    use client::log_source_options;

    #[test]
    fn the_client_knows_a_store_by_the_name_of_its_database() {
        assert_eq!(log_source_options::DATABASE, places::DATABASE);
    }
}
