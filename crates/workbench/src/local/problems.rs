//! Conversion from errors in a person's files to a command failure.

use client::CommandFailure;
use reading::Problems;

/// Returns a command failure that lists all errors in the files.
pub fn problems(problems: impl Into<Problems>) -> CommandFailure {
    let problems = problems.into();
    let places = problems.list();
    let count = places.len();
    let message = format!(
        "{count} {} to fix:\n{problems}",
        if count == 1 { "thing" } else { "things" }
    );
    CommandFailure {
        problem: Some(serde_json::json!({ "errors": places })),
        ..CommandFailure::usage(message)
    }
}
