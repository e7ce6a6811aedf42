//! Ends requests with a refusal.

use std::fmt::Display;

use crossing::Refusal;
use documents::Code;

/// Refuses a request with this code.
pub fn fail<T, E: From<Refusal>>(code: Code, detail: impl Display) -> Result<T, E> {
    Err(Refusal::new(code, detail).into())
}

/// Refuses a request with this code, and says in `place` what is wrong at the pointer.
pub fn fail_at<T, E: From<Refusal>>(
    code: Code,
    detail: impl Display,
    pointer: impl Into<String>,
    place: impl Into<String>,
) -> Result<T, E> {
    Err(Refusal::new(code, detail).at(pointer, place).into())
}
