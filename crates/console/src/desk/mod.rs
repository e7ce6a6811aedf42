//! The command `countersign console --desk`: the pages of approvers for browsers on other devices. Passkeys sign there,
//! in the browser. The desk has no key of a person, and can't create the type that signs with a key.
//!
//! - [`options`]: the command and its options
//! - [`listening`], [`proxy_header`]: connections over TLS, also through a proxy, and their limits
//! - [`desk_routes`], [`desk_state`]: the checks of each request, and what a browser gets before the login
//! - [`desk_boundary`]: the boundaries of the desk, and the passkeys of their rosters
//! - [`login`], [`login_sessions`], [`desk_person`]: the login with a passkey
//! - [`enrolment`]: the page that makes a passkey
//! - [`passkey_pages`], [`stop_pages`], [`signing_page`]: what a passkey signs
//! - [`shown_pages`]: grants and reviews of runs, which a passkey does not sign
pub mod desk_boundary;
pub mod desk_person;
mod desk_routes;
pub mod desk_state;
mod enrolment;
mod listening;
mod login;
pub mod login_sessions;
pub mod options;
mod passkey_pages;
mod proxy_header;
mod shown_pages;
pub mod signing_page;
mod stop_pages;
