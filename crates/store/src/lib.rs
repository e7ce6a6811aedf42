//! The store of a boundary.
//!
//! The rest of the program uses [`ledger::Ledger`]. Its writer thread checks requests and commits them in batches. A
//! backend ([`sqlite`] or [`postgres`]) implements [`Store`], and stores the rows. The backend makes no
//! decisions, so each rule about windows, nonces and statuses has only one implementation.

#![forbid(unsafe_code)]

#[macro_use]
mod fields;
#[macro_use]
mod read_statements;

mod backend;
mod batch_questions;
mod batch_rows;
mod copied_check;
mod copied_tables;
pub mod crash_points;
pub mod database;
pub mod end_detail;
mod fault;
mod ledger;
mod lock;
mod metrics;
mod postgres;
mod rare_changes;
mod reads;
mod rows;
mod server;
pub mod shared;
pub mod small_file;
pub mod sqlite;
mod store_report;
mod stored;
mod stored_event;
mod stored_leaf;
mod stored_revocation;
mod stored_tile;
mod tree;
mod writer;

pub use backend::{
    ClosedKey, Cosignature, Retention, RetentionCut, RetentionWalk, Retired, Store, TakeBytes,
    UNSIGNED_KEPT_S,
};

pub use batch_rows::{Commit, Questions, Writes};
#[cfg(debug_assertions)]
pub use crash_points::POINTS;
pub use database::{BackupFile, Database, NodeLock, OpenStore, Role, RoleCandidate};
pub(crate) use fault::waits;
pub use fault::{StoreFault, StoreResult, refused};
pub use ledger::{Ledger, Spender};
pub use metrics::{
    node_state::{NodeState, NodesReport},
    openmetrics::{
        CertificateReading, CrossingStage, MEDIA_TYPE, Metrics, Readings, StageClock, TargetReading,
    },
};
pub use reads::StoreReads;
pub use rows::{CheckpointRow, LeafRow};
pub use server::{KNOWN_NODES, KeyWait, MoveEnd, ReadRole, Replicas, RoleState, ServerTable, Turn};
pub use shared::{LedgerConfig, LedgerLimits, LogSigner};
pub use small_file::replace;
pub use sqlite::SqliteStore;
pub use store_report::{LOST, RESTORE, StoreDefect, StoreReport, StoreScope};
pub use stored::{
    AdvanceStop, AuthorizationCore, CLOSABLE_AFTER_S, Consume, ConsumeStop, DenialResult,
    DenialWrite, Finish, FinishStop, GrantClaim, GrantWrite, IdTokenUse, MAX_INLINE_BYTES,
    MOST_CLOCK_DIFFERENCE_S, MOST_COMPARED, NewProposal, NonceUse, OutputRow, OwedReview, Proposal,
    ProposalPlace, ProposalQuery, ProposalStep, ProposeResult, ReviewWrite, RunOutcome, RunQuery,
    SealWrite, Signature, SpentNonce, StoredDenial, StoredGrant, StoredReview, Token, TokenChange,
    Unfinished, Window,
};
pub use stored_event::{EntryEvent, EventFact, StoredEvent, Telling, ToldTarget};
pub use stored_leaf::{CheckedState, LeafRef, WriteStop, opened, payload_of};
pub use stored_revocation::{
    RevocationResult, RevocationWrite, StoredRevocation, read_revocations,
};
pub use tree::{StoredLog, TreeEdge, root_of};
pub use wire::ProposalStatus;

pub(crate) use backend::PruneResult;
pub(crate) use batch_questions::{ClosedWindows, check_state};
pub(crate) use batch_questions::{OpenProposals, StatusChange};
pub(crate) use batch_rows::{
    Answers, BatchQuestion, BatchRows, DenialPrecedent, EachAnswer, MOST_MARK_AHEAD_S, OpenBatch,
    OtherWrites, StepRow,
};
pub(crate) use copied_tables::{CHUNK, CHUNK_ROWS, CopiedRow, CopiedTable, PIECE, TABLES};
pub(crate) use crash_points::WriteKind;
pub(crate) use fields::{Cell, EngineRow, Fields, FromCell};
pub(crate) use fields::{grant_bytes, id_bytes, tile_id};
pub(crate) use lock::StoreLock;
pub(crate) use postgres::{
    durability::LOG_TABLES,
    link::{Link, Value},
    pool::Pool,
    questions::{BEGIN, LOCK},
    role::ServerRole,
    schema::{ADD_ONLY, CHANGED, OBJECTS},
    server_identity::server_of,
    settings::{ServerSettings, lock_key},
    writes::{BATCH, BatchRow, COMMIT, batch_id},
};
pub use postgres::{nodes::NodesReader, objects::Objects};
pub(crate) use rare_changes::change_tokens;
pub(crate) use read_statements::{
    EngineStatements, LEAVES, PROPOSAL, SIGNATURES_OF, SPENT, TILE, TOKENS,
};
pub(crate) use reads::{EachRow, Readers};
pub(crate) use rows::{
    Candidate, DenialsAhead, EntryRow, FinishRow, PackedRow, ProposalPrecedent, ProposalState,
    RunRow, StoreHead, TileRow,
};
pub(crate) use server::{IdlePool, KeyWaits};
pub(crate) use shared::{PublishedState, SharedState};
pub(crate) use sqlite::{
    check::Look,
    columns::{each_row, read_head},
    errors::is_interrupted,
    packed_tiles::Entries,
    reads::{SqliteReads, read_only},
    schema::differences_of,
    table_rows::OldFile,
};
pub(crate) use stored::{ProposalPage, SpentUse};
pub(crate) use stored_event::EventRow;
pub(crate) use stored_leaf::Leaf;
pub(crate) use stored_tile::{DURING_TILE, tile_hashes, tile_missing};
pub(crate) use tree::Subtrees;
pub(crate) use writer::{
    Batch, Writer,
    messages::{Asked, WriterMessage, answer_idle},
};
