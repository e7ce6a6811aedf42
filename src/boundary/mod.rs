//! The crossing.
pub mod view;
