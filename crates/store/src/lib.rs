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
mod batch;
mod batch_questions;
mod batch_rows;
mod closed_windows;
mod column_values;
mod consume_window;
mod copied_check;
mod copied_tables;
pub mod crash_points;
pub mod database;
pub mod end_detail;
mod fault;
mod idle_pool;
mod ledger;
mod lock;
mod metrics;
mod newest_entries;
mod objects;
mod open_proposals;
mod postgres;
mod rare_changes;
mod reads;
mod retention;
mod rows;
mod server;
pub mod shared;
pub mod small_file;
pub mod sqlite;
mod store_report;
mod stored_denial;
mod stored_event;
mod stored_grant;
mod stored_leaf;
mod stored_log;
mod stored_proposal;
mod stored_review;
mod stored_revocation;
mod stored_run;
mod stored_seal;
mod stored_status;
mod stored_tile;
mod stored_token;
mod tree;
mod writer;

pub use backend::{ClosedKey, RetentionCut, RetentionWalk, Retired, Store, SweepResult};

pub use batch::{Commit, Questions, Writes};
#[cfg(debug_assertions)]
pub use crash_points::POINTS;
pub use database::{BackupFile, Database, NodeLock, OpenStore, Role, RoleCandidate};
pub use fault::StoreFault;
pub(crate) use fault::{refused, waits};
pub use ledger::{Ledger, Spender};
pub use metrics::{
    crossing_stage::CrossingStage,
    openmetrics::{MEDIA_TYPE, Metrics},
    readings::{CertificateReading, NodeReading, NodeReadings, Readings, TargetReading},
    stage_clock::StageClock,
};
pub use objects::{Cosignature, TakeBytes};
pub use reads::StoreReads;
pub use retention::{Retention, UNSIGNED_KEPT_S};
pub use rows::{CheckpointRow, LeafRow};
pub use server::{
    KNOWN_NODES, KeyWait, MoveEnd, NodeState, NodesReport, ReadRole, Replicas, RoleState,
    ServerTable, Turn,
};
pub use shared::{LedgerConfig, LedgerLimits, LogSigner};
pub use small_file::replace;
pub use sqlite::SqliteStore;
pub use store_report::{LOST, RESTORE, StoreDefect, StoreReport, StoreScope};
pub use stored_denial::{DenialResult, DenialWrite, StoredDenial};
pub use stored_event::{EntryEvent, EventFact, StoredEvent, Telling, ToldTarget};
pub use stored_grant::{GrantClaim, GrantStop, GrantWrite, StoredGrant};
pub use stored_leaf::{CheckedState, LeafRef, WriteStop, opened};
pub use stored_log::StoredLog;
pub use stored_proposal::{
    AdvanceStop, AuthorizationCore, MOST_COMPARED, NewProposal, Proposal, ProposalQuery,
    ProposalStep, ProposeResult, RunOutcome, RunQuery, Signature,
};
pub use stored_review::{OwedReview, ReviewWrite, StoredReview};
pub use stored_revocation::{
    RevocationResult, RevocationWrite, StoredRevocation, read_revocations,
};
pub use stored_run::{
    CLOSABLE_AFTER_S, Consume, ConsumeStop, Finish, FinishStop, MAX_INLINE_BYTES,
    MOST_CLOCK_DIFFERENCE_S, NonceUse, OutputRow, SpentNonce, Unfinished, Window,
};
pub use stored_seal::SealWrite;
pub use stored_status::StoredStatus;
pub use stored_token::{IdTokenUse, Token, TokenChange};
pub use tree::{TreeEdge, root_of};

pub(crate) use batch::{Answers, DenialPrecedent, DenialQuestion, OtherWrites, StepRow};
pub(crate) use batch_rows::{BatchQuestion, BatchRows, EachAnswer, OpenBatch};
pub(crate) use closed_windows::ClosedWindows;
pub(crate) use column_values::{grant_bytes, id_bytes, tile_id};
pub(crate) use consume_window::MOST_MARK_AHEAD_S;
pub(crate) use copied_tables::{CHUNK, CHUNK_ROWS, CopiedRow, CopiedTable, PIECE, TABLES};
pub(crate) use crash_points::WriteKind;
pub(crate) use fields::{Cell, EngineRow, Fields, FromCell};
pub(crate) use idle_pool::IdlePool;
pub(crate) use lock::StoreLock;
pub(crate) use newest_entries::check_state;
pub(crate) use open_proposals::{OpenProposals, StatusChange};
pub(crate) use postgres::{
    durability::LOG_TABLES,
    link::{Link, Value},
    lock_key::lock_key,
    pool::Pool,
    questions::{BEGIN, LOCK},
    role::ServerRole,
    schema::{ADD_ONLY, CHANGED, OBJECTS},
    server_identity::server_of,
    settings::ServerSettings,
    writes::{BATCH, BatchRow, COMMIT, batch_id},
};
pub use postgres::{nodes::NodesReader, objects::Objects};
pub(crate) use rare_changes::change_tokens;
pub(crate) use read_statements::{
    EngineStatements, LEAVES, PROPOSAL, SIGNATURES_OF, SPENT, TILE, TOKENS,
};
pub(crate) use reads::{EachRow, Readers};
pub(crate) use retention::PruneResult;
pub(crate) use rows::{
    Candidate, DenialsAhead, EntryRow, FinishRow, PackedRow, ProposalPrecedent, ProposalState,
    ReviewRow, RunRow, StoreHead, TileRow,
};
pub(crate) use server::KeyWaits;
pub(crate) use shared::{PublishedState, SharedState};
pub(crate) use sqlite::{
    check::Look,
    columns::{each_row, read_head},
    errors::is_interrupted,
    packed_tiles::Entries,
    read_connection::read_only,
    reads::SqliteReads,
    schema::{MIGRATIONS, differences_of},
    table_rows::OldFile,
};
pub(crate) use stored_event::{EventRow, EventWrite};
pub(crate) use stored_grant::SpentUse;
pub(crate) use stored_leaf::Leaf;
pub(crate) use stored_proposal::ProposalPage;
pub(crate) use stored_seal::SealStored;
pub(crate) use stored_status::StatusDetail;
pub(crate) use stored_tile::{DURING_TILE, tile_hashes, tile_missing};
pub(crate) use stored_token::TokenBindings;
pub(crate) use tree::Subtrees;
pub(crate) use writer::{
    Batch, Writer,
    messages::{Asked, Hashed, WriterMessage, answer_idle},
};
