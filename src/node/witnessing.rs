//! Background task that asks the witnesses of the log for cosignatures while the service runs.
//!
//! The requests use TLS if the roster names an `https://` address. The service then trusts the certificate authorities
//! of the system. Redirects and the proxy settings of the environment are ignored. Each request has its own thread, so a
//! slow witness delays neither other witnesses nor the shutdown.
//!
//! The HTTP clients for targets of messages and for the documents of issuers of ID tokens are here too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use ureq::{Agent, tls::TlsConfig};

use boundary::{Boundary, MAX_DOCUMENT_BYTES, NamedWitness, WitnessNext, WitnessRequest};
use documents::locked;
use wire::{ProxyAddress, TlsProblem, agent_config, client_config, unused_proxy};

/// Minimum pause between a cosignature of a witness and the next request to this witness.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after the first error of a witness. The pause doubles after each further error, and is shortened when the log
/// grows.
const TROUBLE: Duration = Duration::from_secs(2);
const MOST_TROUBLE: Duration = Duration::from_secs(300);
/// Interval between two checks for new log entries.
const TICK: Duration = Duration::from_millis(200);
/// Maximum size of a witness's answer in bytes. A witness's answer contains only a few signature lines.
const MAX_ANSWER_BYTES: u64 = 16 << 10;

/// State of the requests to one witness.
struct Turn {
    asking: bool,
    not_before: Instant,
    troubles: u32,
    size: u64,
}

/// Asks each witness of the current roster for cosignatures while the log grows. The function never returns.
pub async fn keep_witnessed(boundary: Boundary, proxy: Option<ProxyAddress>) {
    let agents = Agents::new(proxy);
    let (to, mut answers) = mpsc::unbounded_channel();
    let mut turns: HashMap<String, Turn> = HashMap::new();
    loop {
        let named = boundary.witnesses.witnesses_named();
        let size = boundary.witnesses.log_size();
        turns.retain(|vkey, turn| {
            turn.asking || named.iter().any(|witness| witness.key.vkey() == *vkey)
        });
        for witness in &named {
            let fresh = || Turn {
                asking: false,
                not_before: Instant::now(),
                troubles: 0,
                size,
            };
            let turn = turns.entry(witness.key.vkey()).or_insert_with(fresh);
            turn.notice(size);
            if turn.asking || Instant::now() < turn.not_before {
                continue;
            }
            match boundary.witnesses.witness_ask(witness, &named) {
                Ok(Some(ask)) => turn.asking = ask_aside(&agents, witness.clone(), ask, to.clone()),
                Ok(None) => {}
                Err(stopped) => {
                    tracing::error!("asking a witness: {stopped}");
                    turn.not_before = Instant::now() + TROUBLE;
                }
            }
        }
        // Without a witness in the roster, the loop only checks whether a new roster names one.
        let tick = if named.is_empty() { PAUSE } else { TICK };
        let Ok(Some((witness, ask, answer))) = tokio::time::timeout(tick, answers.recv()).await
        else {
            continue;
        };
        let next = match answer {
            Ok((status, body)) => boundary
                .witnesses
                .witness_answered(&witness, &ask, status, &body),
            Err(why) => {
                agents.forget_tls();
                boundary.witnesses.witness_failed(&witness, why.clone());
                WitnessNext::Trouble(why)
            }
        };
        if let Some(turn) = turns.get_mut(&witness.key.vkey()) {
            turn.rest(&next);
        }
    }
}

impl Turn {
    /// Shortens a long pause if the log has grown, because otherwise the boundary could wait for minutes after the
    /// witness works again. The pause is never shorter than the minimum, so that a busy log does not flood the witness.
    fn notice(&mut self, size: u64) {
        if !self.asking && size > self.size {
            self.size = size;
            self.not_before = self.not_before.min(Instant::now() + TROUBLE);
        }
    }

    fn rest(&mut self, next: &WitnessNext) {
        self.asking = false;
        self.troubles = match next {
            WitnessNext::Cosigned => 0,
            // Keep the error count, so that the pauses grow even if a faulty witness answers each request with a
            // different size.
            WitnessNext::Again => self.troubles,
            WitnessNext::Trouble(_) => self.troubles.saturating_add(1),
        };
        let pause = match next {
            WitnessNext::Again => Duration::ZERO,
            WitnessNext::Cosigned => PAUSE,
            WitnessNext::Trouble(_) => {
                MOST_TROUBLE.min(TROUBLE * 2_u32.saturating_pow(self.troubles.min(16) - 1))
            }
        };
        self.not_before = Instant::now() + pause;
    }
}

type Answer = Result<(u16, Vec<u8>), String>;

/// Sends the request in a new thread. Returns true if the thread was started.
fn ask_aside(
    agents: &Agents,
    witness: NamedWitness,
    ask: WitnessRequest,
    to: mpsc::UnboundedSender<(NamedWitness, WitnessRequest, Answer)>,
) -> bool {
    let agents = agents.clone();
    let thread = std::thread::Builder::new().name("witness".to_owned());
    let asked = thread.spawn(move || {
        let answer = post(&agents, &witness.url, &ask.body);
        let _ = to.send((witness, ask, answer));
    });
    asked.is_ok()
}

fn post(agents: &Agents, url: &str, body: &str) -> Answer {
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let agent = agents.for_url(&url)?;
    let unreachable = |error: ureq::Error| {
        let advice = match TlsProblem::of(&error) {
            Some(TlsProblem::UnknownAuthority) => {
                "check the address in the roster; if the witness has a certificate of your own authority, install \
                 this authority on this host, or name its file in SSL_CERT_FILE in the environment of the service"
            }
            _ => "check that it runs",
        };
        format!(
            "the witness can't be reached ({}): {advice}",
            why(&error, &url)
        )
    };
    let mut response = agent.post(&url).send(body).map_err(unreachable)?;
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_vec();
    body.map(|body| (status, body)).map_err(unreachable)
}

/// The HTTP clients for all witnesses.
#[derive(Clone)]
struct Agents {
    plain: Agent,
    /// `None` until the first request over TLS, because reading the authorities of the system takes time and memory.
    tls: Arc<Mutex<Option<Agent>>>,
    proxy: Option<ProxyAddress>,
}

impl Agents {
    fn new(proxy: Option<ProxyAddress>) -> Self {
        Self {
            plain: agent(None, None),
            tls: Arc::default(),
            proxy,
        }
    }

    fn for_url(&self, url: &str) -> Result<Agent, String> {
        if !url.starts_with("https://") {
            return Ok(self.plain.clone());
        }
        let mut kept = locked(&self.tls);
        if let Some(agent) = &*kept {
            return Ok(agent.clone());
        }
        let config = client_config(None, None).map_err(|error| {
            format!("the witness can't be reached ({error}): install the package ca-certificates on this host")
        })?;
        Ok(kept
            .insert(agent(Some(config), self.proxy.as_ref()))
            .clone())
    }

    /// Reads the authorities of the system again before the next request over TLS. The cause of an error may be an
    /// authority that the operator installs later.
    fn forget_tls(&self) {
        *locked(&self.tls) = None;
    }
}

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// Returns a client that follows no redirect. The proxy is for TLS only.
/// Returns the reason why a request failed. With TLS, the reason can be a problem of TLS.
pub fn why(error: &ureq::Error, url: &str) -> String {
    match TlsProblem::of(error) {
        Some(problem) if url.starts_with("https://") => problem.to_string(),
        _ => error.to_string(),
    }
}

pub fn agent(tls: Option<TlsConfig>, proxy: Option<&ProxyAddress>) -> Agent {
    agent_config(tls, proxy)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(ANSWER))
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Reads a document over TLS, without redirects and within 10 s. `authorities` is the PEM text of the trusted authorities;
/// without it, those of the system are trusted.
///
/// # Errors
/// Returns a message with the address.
pub fn issuer_document(
    url: &str,
    authorities: Option<&str>,
    proxy: Option<&ProxyAddress>,
) -> Result<Vec<u8>, String> {
    let of = |why: String| format!("{url}: {why}");
    let tls = client_config(authorities.map(str::as_bytes), None)
        .map_err(|error| of(error.to_string()))?;
    let answer = agent(Some(tls), proxy)
        .get(url)
        .header("accept", "application/json")
        .call();
    let mut answer = answer.map_err(|error| {
        let why = why(&error, url);
        let unused = unused_proxy("`proxy` in the configuration").filter(|_| proxy.is_none());
        of(unused.map_or_else(|| why.clone(), |advice| format!("{why}; {advice}")))
    })?;
    match answer.status().as_u16() {
        200 => {}
        status @ 300..400 => return Err(of(format!("the answer is a redirect ({status})"))),
        status => return Err(of(format!("the answer has the status {status}"))),
    }
    let body = answer
        .body_mut()
        .with_config()
        .limit(MAX_DOCUMENT_BYTES as u64)
        .read_to_vec();
    body.map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(most) => of(format!("the answer has more than {most} bytes")),
        error => of(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_after_errors_and_reset_after_success_or_log_growth() {
        let mut turn = Turn {
            asking: true,
            not_before: Instant::now(),
            troubles: 0,
            size: 7,
        };
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            turn.rest(&WitnessNext::Trouble(String::new()));
            let pause = turn.not_before - Instant::now();
            assert!(pause + Duration::from_millis(100) >= last && pause <= MOST_TROUBLE);
            last = pause;
        }
        assert!(last > MOST_TROUBLE - Duration::from_secs(1) && !turn.asking);
        turn.notice(7);
        assert!(
            turn.not_before > Instant::now() + TROUBLE,
            "the log has not grown"
        );
        turn.notice(8);
        assert!(
            turn.not_before <= Instant::now() + TROUBLE,
            "the log has grown"
        );
        turn.rest(&WitnessNext::Trouble(String::new()));
        turn.notice(8);
        assert!(
            turn.not_before > Instant::now() + TROUBLE,
            "it was noticed already"
        );
        turn.rest(&WitnessNext::Again);
        assert!(turn.not_before <= Instant::now() && turn.troubles == 41);
        turn.rest(&WitnessNext::Cosigned);
        assert!(turn.not_before - Instant::now() <= PAUSE && turn.troubles == 0);
    }
}
