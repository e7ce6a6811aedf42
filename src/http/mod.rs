//! The HTTP face.
pub mod api;
