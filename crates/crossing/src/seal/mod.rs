//! The seal in force, and what it says about a request: the sealed steps, and the reason of a refusal.

pub mod carried_variables;
pub mod refusal;
pub mod sealed;
pub mod stored_documents;
