//! The proxy, through which a run reaches only the allowed hosts.

pub mod addresses;
pub mod network;
mod request;
