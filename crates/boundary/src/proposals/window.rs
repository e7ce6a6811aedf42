//! The end of the window of a new proposal.

use crate::fail_at;
use crossing::Refusal;
use documents::{Code, DEFAULT_WINDOW_S, MAX_WINDOW_S, Timestamp};
use verdict::StepInForce;
use wire::Propose;

/// Returns the end of the window that a call asks for, by its length or by the nonce that the caller chose. `latest` is the
/// latest possible end.
///
/// # Errors
/// Returns `malformed` with the place of the error, or `session-stale` if the session has ended.
pub fn end_of_window(
    asked: &Propose,
    held: &StepInForce,
    now: Timestamp,
    latest: Timestamp,
) -> Result<Timestamp, Refusal> {
    // A token or a grant that has ended was refused before.
    if latest <= now {
        let why = format!("the session ended at {latest}: create a new session");
        return fail_at(Code::SessionStale, why, "/session", "has ended");
    }
    if let Some(nonce) = &asked.nonce {
        if asked.expires_in_s.is_some() {
            let why = "the nonce carries the end of the window: leave one of the two out";
            return Err(Refusal::malformed("/expires_in_s", why));
        }
        let end = nonce.end();
        if end > now && end <= latest {
            return Ok(end);
        }
        let why = format!(
            "the nonce ends at {end}, but it must end after {now} and not after {latest}: if you have sent this nonce before, \
             look for that proposal first; if the clock of your machine is wrong, correct it"
        );
        // A program may make its nonce again with this end, but not a nonce that it may have used.
        let place = match end > now {
            true => latest.to_string(),
            false => "has ended".to_owned(),
        };
        return fail_at(Code::Malformed, why, "/nonce", place);
    }
    let of_emergency = held.ruling.emergency.as_ref().filter(|_| asked.emergency);
    let longest = of_emergency.map_or(DEFAULT_WINDOW_S, |rule| {
        rule.value.max_window_s.cast_signed()
    });
    let window = asked.expires_in_s.unwrap_or(longest.min(DEFAULT_WINDOW_S));
    if (1..=MAX_WINDOW_S).contains(&window) {
        return Ok(latest.min(now.plus(window)));
    }
    Err(Refusal::malformed(
        "/expires_in_s",
        format!("expected 1 to {MAX_WINDOW_S} seconds"),
    ))
}
