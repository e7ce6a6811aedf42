//! The bodies of the HTTP API, which the boundary and its clients share.
pub mod body;
pub mod feed;
pub mod view;
