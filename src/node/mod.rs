//! Composition root: the only place that names concrete stores, signers and sandboxes.
pub mod config;
mod config_reader;
pub mod control;
pub mod files;
mod handover;
pub mod owned;
pub mod private;
pub mod problem;
pub mod roster_edit;
pub mod roster_file;
pub mod rosters;
pub mod serve;
pub mod start;
pub mod succession;
pub mod template;
pub mod tree;
pub mod unit;
pub mod witnessing;
