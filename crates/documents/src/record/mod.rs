//! The documents that the program hashes and signs.
//!
//! A document is an in-toto Statement v1 in a DSSE v1 envelope ([`document`], [`envelope`]). Each kind of document has
//! a file with its predicate. A document from outside is a `Signed<T>`, whose content is unreadable until its
//! signatures are verified.
pub mod authorization;
pub mod bundle;
pub mod checkpoint;
pub mod consumption;
pub mod declared;
pub mod denial;
pub mod document;
pub mod enforcement;
pub mod envelope;
pub mod grant;
pub mod hidden_character;
#[macro_use]
pub mod ident;
pub mod code;
pub mod joined;
pub mod kinds;
pub mod network_host;
pub mod parameter;
pub mod profile;
pub mod program_list;
pub mod receipt;
pub mod refusal_statement;
pub mod refused_parts;
pub mod review_statement;
pub mod revocation;
pub mod roster;
pub mod roster_version;
pub mod run_extensions;
pub mod schema;
pub mod seal;
pub mod sealed_token;
pub mod step_definition;
pub mod stream_name;
pub mod validity;
