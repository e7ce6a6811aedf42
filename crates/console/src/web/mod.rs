//! The server of the pages: an address that only this machine reaches, and the checks of each request.

pub mod browser;
pub mod door;
pub mod guard;
pub mod one_use;
pub mod opened;
pub mod refused_request;
pub mod sealed_form;
pub mod secrets;
