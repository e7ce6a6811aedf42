//! Asks the witnesses of the log, in the background, for as long as the boundary serves.
//!
//! Plain HTTP, as the command line speaks it: to a witness on this machine or behind a local TLS proxy. No redirect and no
//! proxy of the environment is followed. Each request has a thread of its own, so one that hangs holds up nothing, and the
//! end of the service waits for none.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use ureq::Agent;

use crate::boundary::Boundary;
use crate::boundary::witnesses::{Ask, Named, Next};

/// How long after a cosignature a witness is asked again, at the earliest.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after a first trouble; twice as long after each further one, unless the log grows.
const TROUBLE: Duration = Duration::from_secs(2);
const MOST_TROUBLE: Duration = Duration::from_secs(300);
/// How often it is looked whether the log has grown.
const TICK: Duration = Duration::from_millis(200);
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// The largest answer that is read: some signature lines.
const MAX_ANSWER_BYTES: u64 = 16 << 10;

/// When a witness may be asked again.
struct Turn {
    asking: bool,
    not_before: Instant,
    troubles: u32,
    /// The size of the log when it was asked last.
    size: u64,
}

/// Asks each witness of the roster in force for its cosignature of the log as it grows. Never ends.
pub async fn keep_witnessed(boundary: Boundary) {
    let agent = agent();
    let (to, mut answers) = mpsc::unbounded_channel();
    let mut turns: HashMap<String, Turn> = HashMap::new();
    loop {
        let named = boundary.witnesses.witnesses_named();
        let size = boundary.witnesses.log_size();
        turns.retain(|vkey, turn| turn.asking || named.iter().any(|witness| witness.key.vkey() == *vkey));
        for witness in &named {
            let fresh = || Turn { asking: false, not_before: Instant::now(), troubles: 0, size };
            let turn = turns.entry(witness.key.vkey()).or_insert_with(fresh);
            turn.notice(size);
            if turn.asking || Instant::now() < turn.not_before {
                continue;
            }
            match boundary.witnesses.witness_ask(witness, &named) {
                Ok(Some(ask)) => turn.asking = ask_aside(&agent, witness.clone(), ask, to.clone()),
                Ok(None) => {}
                Err(stopped) => {
                    tracing::error!("asking a witness: {stopped}");
                    turn.not_before = Instant::now() + TROUBLE;
                }
            }
        }
        // With no witness there is only to be seen whether a new roster has one.
        let tick = if named.is_empty() { PAUSE } else { TICK };
        let Ok(Some((witness, ask, answer))) = tokio::time::timeout(tick, answers.recv()).await else { continue };
        let Answered { witness, next } = take(&boundary, witness, &ask, answer);
        if let Some(turn) = turns.get_mut(&witness.key.vkey()) {
            turn.rest(&next);
        }
    }
}

impl Turn {
    /// A log that has grown ends the long pauses after trouble: whoever waits for a cosignature of the new entries would
    /// else wait for minutes after the witness is back. The shortest pause stays, so that a busy log floods no witness.
    fn notice(&mut self, size: u64) {
        if !self.asking && size > self.size {
            self.size = size;
            self.not_before = self.not_before.min(Instant::now() + TROUBLE);
        }
    }

    fn rest(&mut self, next: &Next) {
        self.asking = false;
        self.troubles = match next {
            Next::Cosigned => 0,
            // One that names sizes without end is asked ever more rarely too.
            Next::Again => self.troubles,
            Next::Trouble(_) => self.troubles.saturating_add(1),
        };
        let pause = match next {
            Next::Again => Duration::ZERO,
            Next::Cosigned => PAUSE,
            Next::Trouble(_) => MOST_TROUBLE.min(TROUBLE * 2_u32.saturating_pow(self.troubles.min(16) - 1)),
        };
        self.not_before = Instant::now() + pause;
    }
}

struct Answered {
    witness: Named,
    next: Next,
}

type Answer = Result<(u16, Vec<u8>), String>;

fn take(boundary: &Boundary, witness: Named, ask: &Ask, answer: Answer) -> Answered {
    let next = match answer {
        Ok((status, body)) => boundary.witnesses.witness_answered(&witness, ask, status, &body),
        Err(why) => {
            boundary.witnesses.witness_failed(&witness, why.clone());
            Next::Trouble(why)
        }
    };
    Answered { witness, next }
}

/// Asks in a thread of its own; whether there is one.
fn ask_aside(agent: &Agent, witness: Named, ask: Ask, to: mpsc::UnboundedSender<(Named, Ask, Answer)>) -> bool {
    let agent = agent.clone();
    let thread = std::thread::Builder::new().name("witness".to_owned());
    let asked = thread.spawn(move || {
        let answer = post(&agent, &witness.url, &ask.body);
        let _ = to.send((witness, ask, answer));
    });
    asked.is_ok()
}

fn post(agent: &Agent, url: &str, body: &str) -> Answer {
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let unreachable = |error: ureq::Error| format!("it can't be reached ({error}): see whether it runs");
    let mut response = agent.post(&url).send(body).map_err(unreachable)?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
    body.map(|body| (status, body)).map_err(unreachable)
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(ANSWER))
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_and_end_with_success_or_log_growth() {
        let mut turn = Turn { asking: true, not_before: Instant::now(), troubles: 0, size: 7 };
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            turn.rest(&Next::Trouble(String::new()));
            let pause = turn.not_before - Instant::now();
            assert!(pause + Duration::from_millis(100) >= last && pause <= MOST_TROUBLE);
            last = pause;
        }
        assert!(last > MOST_TROUBLE - Duration::from_secs(1) && !turn.asking);
        turn.notice(7);
        assert!(turn.not_before > Instant::now() + TROUBLE, "the log has not grown");
        turn.notice(8);
        assert!(turn.not_before <= Instant::now() + TROUBLE, "the log has grown");
        turn.rest(&Next::Trouble(String::new()));
        turn.notice(8);
        assert!(turn.not_before > Instant::now() + TROUBLE, "it was noticed already");
        turn.rest(&Next::Again);
        assert!(turn.not_before <= Instant::now() && turn.troubles == 41);
        turn.rest(&Next::Cosigned);
        assert!(turn.not_before - Instant::now() <= PAUSE && turn.troubles == 0);
    }
}
