//! Something broke in the store.

use std::fmt;

/// Something broke. For the log of the service; the caller gets an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreFault {
    /// No room was left; nothing of the batch is stored.
    Full {
        /// What was being done.
        during: &'static str,
    },
    /// The database refused; nothing of the batch is stored.
    Database {
        /// What was being done.
        during: &'static str,
        /// The database's words.
        message: String,
    },
    /// A write, sync or read failed, or what is stored contradicts itself: nothing is known, the process must end.
    Broken {
        /// What was being done.
        during: &'static str,
        /// The database's words.
        message: String,
    },
    /// The store can't be opened.
    Unusable {
        /// Why, and what to do.
        message: String,
    },
    /// The writer has ended.
    Closed,
}

impl StoreFault {
    /// Whether the process must end at once: what is durable is no longer known, and a retried sync may lie.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }

    pub(crate) fn broken(during: &'static str, message: impl Into<String>) -> Self {
        Self::Broken { during, message: message.into() }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { during } => write!(f, "{during}: no space left for the store; free some on its disk"),
            Self::Database { during, message } => write!(f, "{during}: {message}"),
            Self::Broken { during, message } => {
                write!(f, "{during}: {message}; the process ends, start it again once the disk is sound")
            }
            Self::Unusable { message } => f.write_str(message),
            Self::Closed => f.write_str("the store is closed; start the service again"),
        }
    }
}

impl std::error::Error for StoreFault {}
