//! Faults of the store as problems of a start.

use reading::FileProblem;
use store::{Database, StoreFault};

/// Returns the problem of a store that reported a fault.
pub fn fault_problem(database: &Database, fault: &StoreFault) -> FileProblem {
    FileProblem {
        can_pass: fault.is_unreachable(),
        ..FileProblem::of_store(database, fault)
    }
}
