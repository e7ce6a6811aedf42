//! The seal in force, and what it says about a request: the sealed steps, the caller's rights, the reason of a refusal.

pub mod admitted_caller;
pub mod caller;
pub mod carried_variables;
pub mod current_seal;
pub mod known_grants;
pub mod refusal;
pub mod sealed;
pub mod stored_documents;
pub mod surroundings;
