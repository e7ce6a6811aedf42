//! The seal in force with its steps, documents that the boundary has stored, and the refusal of a request.

pub mod carried_variables;
pub mod logged_rosters;
pub mod refusal;
pub mod seal_bounds;
pub mod sealed;
pub mod stored_documents;
