//! The crossing: the one way by which anything runs. Read [`cross`] first.
//!
//! Nothing outside this room can make a stage, spend a nonce or start a run; `tests/layers.rs` holds it.
pub mod boundary_key;
pub mod caller;
pub mod capacity;
pub mod changes;
pub mod cross;
pub mod current_seal;
pub mod live;
mod masks;
pub mod outputs;
pub mod recovery;
pub mod refusal;
pub mod sealed;
pub mod stage;
pub mod stored;
pub mod surroundings;
