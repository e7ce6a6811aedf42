//! Conversions from errors of the database to faults of the store.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::{StoreFault, refused, waits};

/// Begin of the reason if a connection pooler answers.
pub const POOLER: &str = "a connection pooler answers in place of PostgreSQL";

/// Returns the fault of a statement that failed before the commit, so that nothing of its batch is stored.
pub fn fault(during: &'static str, error: &Error) -> StoreFault {
    let Some(said) = error.as_db_error() else {
        return if error.is_closed()
            || std::error::Error::source(error)
                .is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        {
            unreachable(during, &words(error))
        } else {
            StoreFault::database(during, words(error))
        };
    };
    let code = said.code();
    let class = &code.code()[..2];
    if *code == SqlState::INVALID_SQL_STATEMENT_NAME {
        // A pooler gave the statements of this connection to another connection of the server.
        return refused(format!(
            "{during}: {POOLER} ({}); name the server itself in the URL",
            words(error)
        ));
    }
    if *code == SqlState::DISK_FULL {
        return StoreFault::Full { during };
    }
    // Another writer committed this leaf or this batch first.
    let conflicts =
        *code == SqlState::UNIQUE_VIOLATION && matches!(said.table(), Some("leaf" | "batch"));
    // 08, 53, 57: the connection, the limits of the server, and the administrator. The others are timeouts, and a server
    // that became a standby.
    let passes = conflicts
        || matches!(class, "08" | "53" | "57")
        || [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(code);
    if passes {
        unreachable(during, &words(error))
    } else {
        StoreFault::database(during, words(error))
    }
}

pub fn unreachable(during: &'static str, why: &str) -> StoreFault {
    waits(format!(
        "{during}: the database cannot be used now: {why}; try again later"
    ))
}

/// Returns the message of the server, or of the operating system.
pub fn words(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        let detail = said
            .detail()
            .map(|detail| format!(" ({detail})"))
            .unwrap_or_default();
        return format!("{}{detail}", said.message());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
