//! The end of the window of a new proposal.

use crossing::Refusal;
use documents::{Code, DEFAULT_WINDOW_S, MAX_WINDOW_S, Nonce, Timestamp};
use verdict::StepInForce;
use wire::Propose;

/// Returns the end of the window that a call asks for, by its length or by the nonce that the caller chose. The window ends
/// at `latest` at the latest.
///
/// # Errors
/// Returns `malformed` with the place of the error.
pub fn end_of_window(
    asked: &Propose,
    held: &StepInForce,
    now: Timestamp,
    latest: Timestamp,
) -> Result<Timestamp, Refusal> {
    if let Some(nonce) = &asked.nonce {
        return chosen_end(nonce, asked.expires_in_s, now, latest);
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

/// Returns the end of the window that a chosen nonce carries.
fn chosen_end(
    nonce: &Nonce,
    expires_in_s: Option<i64>,
    now: Timestamp,
    latest: Timestamp,
) -> Result<Timestamp, Refusal> {
    if expires_in_s.is_some() {
        let why = "the nonce carries the end of the window: leave one of the two out";
        return Err(Refusal::malformed("/expires_in_s", why));
    }
    let end = nonce.end();
    if end <= now {
        let why = format!(
            "the nonce ended at {end}: if you have sent it before, look for that proposal first; a new nonce may end at \
             {latest} at the latest"
        );
        return Err(Refusal::malformed("/nonce", why));
    }
    if end > latest {
        let why =
            format!("the nonce ends at {end}: make a nonce that ends at {latest} at the latest");
        return Err(Refusal::new(Code::Malformed, why).at("/nonce", latest.to_string()));
    }
    Ok(end)
}
