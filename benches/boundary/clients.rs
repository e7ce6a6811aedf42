//! The load: clients submit signed authorizations over HTTP. The authorizations are made before the measurement.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{CommandFailure, CommandResult, Exit};
use documents::{
    Authorization, BoundaryRef, ContentDigest, Envelope, EnvelopeSignature, Grant, GrantId,
    GrantedSession, GrantedStep, Grantee, IdentError, KeyGrantee, KeyId, Name, Nonce, PAYLOAD_TYPE,
    Parameter, Profile, ProposalId, RenderedDigest, Revocation, RevokedSubject, SecretKey, SshKey,
    StepReference, canonical_of, pae,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::people;
use crate::service::{self, Service};

/// The fields that all authorizations of the load share.
pub struct Plan {
    boundary: BoundaryRef,
    step: StepReference,
    sandbox: Profile,
    rendered: RenderedDigest,
    secret: SecretKey,
    keyid: KeyId,
    proposer: Name,
    /// The grants of the authorizations, each for 1,000 uses, or none if approvers sign them.
    grants: Vec<ContentDigest>,
    next: AtomicUsize,
}

/// The measured results of the load.
pub struct Load {
    /// Duration of each crossing in microseconds, sorted.
    times: Vec<f64>,
    elapsed: Duration,
    /// Body of one answer.
    pub bundle: Vec<u8>,
}

/// Number of authorizations prepared for each second. If the server is faster, the load ends early.
const MOST_PER_S: u64 = 20_000;

impl Plan {
    /// Fetches from the boundary the values that an authorization contains.
    pub fn prepare(service: &Service, step: &str) -> CommandResult<Self> {
        let registry = service.get("/v1/registry")?;
        let step = service.get(&format!("/v1/steps/{step}"))?;
        let typed = |value: &Value, what: &str| -> CommandResult<Value> {
            value
                .get(what)
                .cloned()
                .ok_or_else(|| broken(&format!("the boundary's answer has no {what}")))
        };
        let read = |error: serde_json::Error| {
            broken(&format!("the boundary's answer can't be read: {error}"))
        };
        let secret = SecretKey::from_seed(service::APPROVER);
        let key = SshKey::from_public(secret.public(), "bench").map_err(|error| broken(&error))?;
        let source = step["definition"]["source"].as_str().unwrap_or_default();
        Ok(Self {
            boundary: serde_json::from_value(typed(&registry, "boundary")?).map_err(read)?,
            step: serde_json::from_value(json!({"ref": step["ref"], "digest": step["digest"]}))
                .map_err(read)?,
            sandbox: serde_json::from_value(typed(&step, "sandbox")?).map_err(read)?,
            rendered: RenderedDigest::of(source.as_bytes()),
            keyid: key.keyid(),
            secret,
            proposer: service::proposer()?,
            grants: Vec::new(),
            next: AtomicUsize::new(0),
        })
    }

    /// Returns the plan of uses of this many new grants.
    pub fn under_grants(&self, service: &Service, count: usize) -> CommandResult<Self> {
        let secret = SecretKey::from_seed(people::GRANTEE);
        let key = SshKey::from_public(secret.public(), "").map_err(|error| broken(&error))?;
        let grants = (0..count)
            .map(|_| self.grant(service))
            .collect::<Result<_, _>>()?;
        let proposer = people::GRANTEE_NAME
            .parse()
            .map_err(|error: IdentError| broken(&error))?;
        Ok(Self {
            boundary: self.boundary.clone(),
            step: self.step.clone(),
            sandbox: self.sandbox.clone(),
            rendered: self.rendered,
            keyid: key.keyid(),
            secret,
            proposer,
            grants,
            next: AtomicUsize::new(0),
        })
    }

    /// Makes a grant for 1,000 uses, which the approver signed, and puts it in force.
    pub fn grant(&self, service: &Service) -> CommandResult<ContentDigest> {
        let around = countersign::surroundings();
        let grantee = SshKey::from_public(SecretKey::from_seed(people::GRANTEE).public(), "");
        let grantee = grantee.map_err(|error| broken(&error))?.keyid();
        let now = (around.now)();
        let step = GrantedStep {
            reference: self.step.reference.clone(),
            digest: self.step.digest,
            params: Parameter::object(BTreeMap::new(), Vec::new()),
            permissions: Vec::new(),
            sandbox: self.sandbox.clone(),
        };
        let grant = Grant {
            boundary: self.boundary.clone(),
            grant: GrantId::new((around.millis)(), around.bytes()),
            grantee: Grantee::Key(KeyGrantee {
                name: people::GRANTEE_NAME
                    .parse()
                    .map_err(|e: IdentError| broken(&e))?,
                key: grantee,
            }),
            steps: vec![step],
            max_uses: 1000,
            rate: None,
            session: GrantedSession::None,
            artifacts: Vec::new(),
            proposer: service::proposer()?,
            reason: "bench".to_owned(),
            issued_at: now,
            not_before: now,
            expires_at: now.plus(7200),
        };
        let payload = grant
            .into_statement()
            .to_payload()
            .map_err(|error| broken(&error))?;
        let signature =
            EnvelopeSignature::new(self.keyid, &self.secret.sign(&pae(PAYLOAD_TYPE, &payload)));
        let envelope = Envelope::new(&payload, vec![signature]);
        service.post("/v1/grants", &json!({"envelope": envelope}))?;
        Ok(ContentDigest::of(&payload))
    }

    /// Returns the body of a request that freezes the boundary.
    pub fn freeze(&self) -> CommandResult<Value> {
        let revocation = Revocation {
            boundary: self.boundary.clone(),
            reason: "bench".to_owned(),
        };
        let statement = revocation.of(RevokedSubject::epoch(&self.boundary.epoch));
        let payload = statement.to_payload().map_err(|error| broken(&error))?;
        let signature =
            EnvelopeSignature::new(self.keyid, &self.secret.sign(&pae(PAYLOAD_TYPE, &payload)));
        serde_json::to_value(Envelope::new(&payload, vec![signature]))
            .map_err(|error| broken(&error))
    }

    /// Makes a signed authorization.
    ///
    /// # Errors
    /// Returns an error if the authorization cannot be serialized.
    pub fn body(&self) -> CommandResult<Vec<u8>> {
        self.authorization().map(|(_, body)| body)
    }

    /// Makes a signed authorization, and returns the id of its proposal too.
    ///
    /// # Errors
    /// Returns an error if the authorization cannot be serialized.
    pub fn authorization(&self) -> CommandResult<(ProposalId, Vec<u8>)> {
        let around = countersign::surroundings();
        let now = (around.now)();
        let end = now.plus(3600);
        let proposal = ProposalId::ending(end, around.bytes());
        let authorization = Authorization {
            boundary: self.boundary.clone(),
            proposal: proposal.clone(),
            nonce: Nonce::new(end, around.bytes()),
            step: self.step.clone(),
            params: json!({}),
            rendered: self.rendered,
            permissions: Vec::new(),
            sandbox: self.sandbox.clone(),
            proposer: self.proposer.clone(),
            reason: "bench".to_owned(),
            issued_at: now,
            not_before: now,
            expires_at: end,
            session: None,
            artifacts: None,
            plan: None,
            grant: self
                .grants
                .get(self.next.fetch_add(1, Ordering::Relaxed) / 1000)
                .copied(),
            by: None,
            emergency: None,
        };
        let statement = authorization
            .into_statement()
            .map_err(|error| broken(&error))?;
        let payload = statement.to_payload().map_err(|error| broken(&error))?;
        let signature = self.secret.sign(&pae(PAYLOAD_TYPE, &payload));
        let envelope = Envelope::new(
            &payload,
            vec![EnvelopeSignature::new(self.keyid, &signature)],
        );
        Ok((
            proposal,
            canonical_of(&envelope).map_err(|error| broken(&error))?,
        ))
    }

    /// Submits one authorization. Returns the bundle of the receipt.
    ///
    /// # Errors
    /// Returns an error if the boundary refuses the authorization.
    pub fn exchange(&self, service: &Service) -> CommandResult<Vec<u8>> {
        let request = self.request(&service.address, &service.token)?;
        runtime()?.block_on(async {
            let mut connection = Connection::open(service).await?;
            connection.exchange(&request).await?;
            Ok(connection.into_answer())
        })
    }

    /// Makes an HTTP request with a signed authorization.
    fn request(&self, address: &str, token: &str) -> CommandResult<Vec<u8>> {
        let body = self.body()?;
        let mut request = format!(
            "POST /v1/authorizations HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend(body);
        Ok(request)
    }
}

/// Submits authorizations during `time` with `count` clients. Each client has its own connection and waits for each
/// receipt.
pub fn load(service: &Service, plan: &Plan, count: usize, time: Duration) -> CommandResult<Load> {
    let most = if count == 1 {
        MOST_PER_S / 4
    } else {
        MOST_PER_S
    } * time.as_secs();
    let most = if plan.grants.is_empty() {
        most
    } else {
        plan.grants.len() as u64 * 1000
    };
    send(service, plan, count, most, time)
}

/// Submits at most `most` authorizations during `time` with `count` clients.
pub fn send(
    service: &Service,
    plan: &Plan,
    count: usize,
    most: u64,
    time: Duration,
) -> CommandResult<Load> {
    let made = (0..most)
        .map(|_| plan.request(&service.address, &service.token))
        .collect::<Result<Vec<_>, _>>()?;
    let requests = Mutex::new(made.into_iter());
    drive(service, count, time, move || {
        requests.lock().ok()?.next().map(Ok)
    })
}

/// Submits `most` authorizations with `count` clients. Each client signs an authorization when it submits it, so that
/// no core waits for signatures. `before` gets the number of each authorization, from 0, before it is signed.
pub fn sign_and_send(
    service: &Service,
    plan: &Arc<Plan>,
    count: usize,
    most: u64,
    before: impl Fn(u64) -> CommandResult<()> + Send + Sync + 'static,
) -> CommandResult<Load> {
    let (plan, address, token) = (plan.clone(), service.address.clone(), service.token.clone());
    let made = AtomicU64::new(0);
    drive(service, count, Duration::MAX, move || {
        let number = made.fetch_add(1, Ordering::Relaxed);
        (number < most).then(|| before(number).and_then(|()| plan.request(&address, &token)))
    })
}

/// Submits the requests that `next` returns, during `time` with `count` clients.
fn drive(
    service: &Service,
    count: usize,
    time: Duration,
    next: impl Fn() -> Option<CommandResult<Vec<u8>>> + Send + Sync + 'static,
) -> CommandResult<Load> {
    let next = Arc::new(next);
    let runtime = runtime()?;
    let connections = runtime.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(Connection::open(service).await?);
        }
        Ok::<_, CommandFailure>(connections)
    })?;
    let begin = Instant::now();
    let results = runtime.block_on(async {
        let mut clients = JoinSet::new();
        for mut connection in connections {
            let next = next.clone();
            clients.spawn(async move {
                let mut times = Vec::new();
                while begin.elapsed() < time {
                    let Some(request) = next().transpose()? else {
                        break;
                    };
                    let start = Instant::now();
                    connection.exchange(&request).await?;
                    times.push(start.elapsed().as_secs_f64() * 1e6);
                }
                Ok::<_, CommandFailure>((times, connection.into_answer()))
            });
        }
        clients.join_all().await
    });
    let elapsed = begin.elapsed();
    let mut load = Load {
        times: Vec::new(),
        elapsed,
        bundle: Vec::new(),
    };
    for result in results {
        let (times, bundle) = result?;
        load.times.extend(times);
        load.bundle = bundle;
    }
    load.times.sort_by(f64::total_cmp);
    Ok(load)
}

impl Load {
    pub fn crossings(&self) -> u64 {
        self.times.len() as u64
    }

    pub fn per_s(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub fn percentile(&self, part: f64) -> f64 {
        let at = (self.times.len() as f64 * part) as usize;
        self.times
            .get(at.min(self.times.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    }
}

/// Opens a connection with a complete handshake.
pub async fn open_encrypted(
    address: &str,
    client: &Arc<ClientConfig>,
) -> CommandResult<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| broken(&error))?;
    stream.set_nodelay(true).map_err(|error| broken(&error))?;
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    TlsConnector::from(client.clone())
        .connect(name, stream)
        .await
        .map_err(|error| broken(&error))
}

/// A plain or an encrypted stream.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A persistent connection without an HTTP library, so that the benchmark measures the boundary and not a library.
struct Connection {
    stream: Box<dyn Duplex>,
    /// The last answer, with its head.
    received: Vec<u8>,
    /// Offset of the body in `received`.
    body: usize,
}

impl Connection {
    async fn open(service: &Service) -> CommandResult<Self> {
        let address = &service.address;
        let stream: Box<dyn Duplex> = if let Some(client) = &service.tls {
            Box::new(open_encrypted(address, client).await?)
        } else {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| broken(&format!("{address}: {error}")))?;
            stream.set_nodelay(true).map_err(|error| broken(&error))?;
            Box::new(stream)
        };
        Ok(Self {
            stream,
            received: Vec::with_capacity(64 << 10),
            body: 0,
        })
    }

    async fn exchange(&mut self, request: &[u8]) -> CommandResult<()> {
        let hung_up = |error: std::io::Error| broken(&format!("the server hung up: {error}"));
        self.stream.write_all(request).await.map_err(hung_up)?;
        self.received.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.received.len() < whole) {
            if self
                .stream
                .read_buf(&mut self.received)
                .await
                .map_err(hung_up)?
                == 0
            {
                return Err(broken(&"the server hung up"));
            }
            if whole.is_none()
                && let Some(end) = self
                    .received
                    .windows(4)
                    .position(|four| four == b"\r\n\r\n")
            {
                self.body = end + 4;
                whole = Some(self.body + self.announced()?);
            }
        }
        if self.received.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        Err(broken(&format!(
            "the server refused: {}",
            String::from_utf8_lossy(&self.received)
        )))
    }

    /// Returns the body of the last answer.
    fn into_answer(mut self) -> Vec<u8> {
        self.received.split_off(self.body)
    }

    /// Returns the length of the body from the head of the answer.
    fn announced(&self) -> CommandResult<usize> {
        let head = String::from_utf8_lossy(&self.received[..self.body]).to_ascii_lowercase();
        head.lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok())
            .ok_or_else(|| broken(&format!("an answer without length: {head}")))
    }
}

/// All clients share one thread, as in load generators. With one thread for each client, every answer of the boundary
/// would have to wake another thread.
fn runtime() -> CommandResult<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()
        .map_err(|error| broken(&error))
}

fn broken(error: &dyn std::fmt::Display) -> CommandFailure {
    CommandFailure::new(Exit::Unreachable, error.to_string())
}
