//! Composition root: the only place that names concrete stores, signers and sandboxes.
pub mod config;
mod config_reader;
pub mod control;
pub mod files;
pub mod kept;
pub mod owned;
pub mod private;
pub mod problem;
pub mod restore;
pub mod roster_file;
pub mod serve;
pub mod start;
pub mod template;
pub mod tree;
pub mod unit;
