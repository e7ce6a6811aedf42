//! Answers that the boundary did not send: those of a proxy in between, or of another server.

/// Returns true if a proxy answers with this status while the boundary can't be reached for a short time, or after too many
/// calls.
pub const fn may_pass(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// Returns what an answer that is no document of a boundary means, and the next step.
pub fn foreign_answer(status: u16, body: &[u8]) -> String {
    let is_page = body.trim_ascii_start().starts_with(b"<");
    let meaning = match status {
        413 => {
            "a proxy refuses the size of the request: ask the operator of the proxy for a larger limit"
        }
        429 => "a proxy refuses so many calls: try again some seconds later",
        502..=504 => {
            "a proxy can't reach the boundary, which may be restarting: try again some seconds later"
        }
        200..=299 if is_page => {
            "the answer is a web page, such as the login page of a proxy: check the address, and ask the operator of the proxy \
             to let the calls of programs pass"
        }
        400 if is_page => {
            "a proxy refuses the request: check the address, and write https:// if it begins with http://"
        }
        _ => "the answer is no document of a boundary: check that the address is a boundary",
    };
    format!("status {status}: {meaning}")
}
