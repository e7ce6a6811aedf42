//! Internal failures of the store.

use std::io;

/// Internal failure of the store. The log of the service gets the details, and the caller gets an id.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StoreFault {
    /// The disk is full. The store contains nothing of the failed batch.
    #[error(
        "{during}: the disk of the store, or of its database server, is full; free some space on it"
    )]
    Full {
        /// The action that failed.
        during: &'static str,
    },
    /// The database refused the action. The store contains nothing of the failed batch.
    #[error("{during}: {message}")]
    Database {
        /// The action that failed.
        during: &'static str,
        /// The error message of the database.
        message: String,
    },
    /// A read, a write or a sync failed, or the stored data contradict each other. The durable state is unknown, so the
    /// process must end.
    #[error(
        "{during}: {message}; the disk failed, or the store is damaged: run `countersign store check`"
    )]
    Broken {
        /// The action that failed.
        during: &'static str,
        /// The error message of the database.
        message: String,
    },
    /// The database server cannot be used now: the server does not answer, refuses the login, or could lose a run. The
    /// cause passes without help, or the administrator of the server can remove it. The store contains nothing of the
    /// failed batch, unless the message says that the result is not known.
    #[error("{message}")]
    Unreachable {
        /// The reason.
        message: String,
    },
    /// The store cannot be used: another schema, rows that were changed by hand, or an error of the configuration.
    #[error("{message}")]
    Unusable {
        /// The reason, and advice for the operator.
        message: String,
    },
    /// The writer thread has ended.
    #[error("the store is closed; start the service again")]
    Closed,
}

/// Result of an action of the store.
pub type StoreResult<T = ()> = Result<T, StoreFault>;

impl StoreFault {
    /// Returns true if the process must end at once. After a failed sync, a second sync can report success although
    /// data are lost. An unusable store is another store than at the start of the process, or was changed by hand.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Unusable { .. })
    }

    /// Returns true if the database server does not answer now.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Returns true if a later attempt can succeed although nobody repairs the store.
    pub fn can_pass(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Unreachable { .. })
    }

    /// Returns the fault for a batch that would give the log a second root hash at `size`.
    pub fn forked(size: u64) -> Self {
        let message = format!(
            "the log already has another root hash at size {size}, so this batch would fork the log"
        );
        Self::broken("keeping checkpoints", message)
    }

    pub(crate) fn database(during: &'static str, message: impl ToString) -> Self {
        Self::Database {
            during,
            message: message.to_string(),
        }
    }

    pub(crate) fn broken(during: &'static str, message: impl ToString) -> Self {
        Self::Broken {
            during,
            message: message.to_string(),
        }
    }
}

/// Returns the fault of a store that cannot be used.
pub fn refused(message: impl ToString) -> StoreFault {
    StoreFault::Unusable {
        message: message.to_string(),
    }
}

/// Returns the fault for something that the administrator of the server can repair, so that a node waits for the
/// repair.
pub fn waits(message: impl ToString) -> StoreFault {
    StoreFault::Unreachable {
        message: message.to_string(),
    }
}

impl From<StoreFault> for io::Error {
    fn from(fault: StoreFault) -> Self {
        let kind = match &fault {
            StoreFault::Full { .. } => io::ErrorKind::StorageFull,
            StoreFault::Unreachable { .. } => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, fault)
    }
}
