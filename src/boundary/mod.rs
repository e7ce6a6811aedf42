//! The crossing.
pub mod live;
pub mod refusal;
pub mod view;
