//! The seal in force with its steps, documents that the boundary has stored, and the refusal of a request.

pub mod carried_variables;
pub mod refusal;
pub mod sealed;
pub mod stored_documents;
