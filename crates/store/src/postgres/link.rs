//! One connection to the database. One thread of the process moves the bytes of all connections. A caller blocks until
//! the answers to its statements arrive, or until a time limit ends.
//!
//! The file also makes the PostgreSQL client use the TLS of this program.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::AbortHandle;
use tokio_postgres::config::Config;
use tokio_postgres::error::Severity;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Error, NoTls, Row, Socket, Statement};

use crate::{
    Fields, FromCell, ServerSettings, StoreFault, StoreResult,
    postgres::settings::{POOLER, fault, unreachable, words},
    refused, waits,
};
use documents::locked;
use wire::{DatabaseStream, DatabaseTls};

/// Time limit of a connection attempt to one server, from the first packet to the end of the authentication.
const CONNECT: Duration = Duration::from_secs(10);
/// Time limit of the answers to one flight. This limit is longer than each time limit of the server.
const ANSWER: Duration = Duration::from_secs(40);

/// The value of one parameter of a statement.
pub type Value<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// Boxes the values of one statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$(Box::new($value) as $crate::postgres::link::Value<'_>),*] };
}

/// A statement with its values. The statements of one flight are sent together, so that all of them take one round trip.
pub type StatementValues<'a> = (&'a str, Vec<Value<'a>>);

/// A connection with its prepared statements.
pub struct Link {
    client: Client,
    /// Warnings and worse messages that the server sent without an error.
    warnings: Arc<Mutex<Vec<String>>>,
    statements: Mutex<HashMap<String, Statement>>,
    task: AbortHandle,
}

impl Link {
    /// Connects with the options of a session.
    pub fn open(settings: &ServerSettings, options: &str) -> StoreResult<Self> {
        let config = settings.session(options);
        match &settings.tls {
            Some(tls) => Self::connect(config, Encryption(tls.clone())),
            None => Self::connect(config, NoTls),
        }
        .map_err(|why| {
            let place = settings.place();
            if why.starts_with(POOLER) {
                return refused(format!(
                    "the database {place} can't be used: {why}; name the server itself in the URL"
                ));
            }
            waits(format!("the database {place} cannot be reached: {why}; check the server, the URL and the network"))
        })
    }

    fn connect<T>(config: Config, tls: T) -> Result<Self, String>
    where
        T: MakeTlsConnect<Socket> + Send + 'static,
        T::TlsConnect: Send,
        T::Stream: Send + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let warnings = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&warnings);
        // The limit grows with the number of servers, so that an unreachable server leaves time for the next server.
        let limit = CONNECT * u32::try_from(config.get_hosts().len()).unwrap_or(1);
        let connected = driver()?.spawn(async move {
            let connecting = tokio::time::timeout(limit, config.connect(tls));
            let connected = connecting
                .await
                .map_err(|_| format!("the server sent no answer within {} s", limit.as_secs()))?;
            let (client, mut connection) = connected.map_err(|error| connect_problem(&error))?;
            let task = tokio::spawn(async move {
                while let Some(Ok(message)) =
                    poll_fn(|context| connection.poll_message(context)).await
                {
                    use Severity::{Debug, Info, Log, Notice};
                    // A message without a known level counts as a warning.
                    if let AsyncMessage::Notice(notice) = message
                        && !matches!(notice.parsed_severity(), Some(Notice | Info | Log | Debug))
                    {
                        locked(&seen).push(notice.message().to_owned());
                    }
                }
            });
            Ok::<_, String>((client, task.abort_handle()))
        });
        let (client, task) = block_on(connected, limit * 2)
            .ok_or("the connection was not made in time")?
            .map_err(|error| error.to_string())??;
        Ok(Self {
            client,
            warnings,
            statements: Mutex::default(),
            task,
        })
    }

    /// Returns true if the connection is lost.
    pub fn is_lost(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns the warnings since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.warnings))
    }

    /// Prepares the statements that this connection has not prepared yet, together.
    pub fn prepare<'s>(
        &self,
        during: &'static str,
        statements: impl IntoIterator<Item = &'s str>,
    ) -> StoreResult {
        let missing: Vec<&str> = {
            let known = locked(&self.statements);
            statements
                .into_iter()
                .filter(|sql| !known.contains_key(*sql))
                .collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let preparing = missing.iter().map(|sql| self.client.prepare(sql)).collect();
        let prepared = self.wait(during, together(preparing))?;
        for (sql, statement) in missing.into_iter().zip(prepared) {
            let statement = statement.map_err(|error| fault(during, &error))?;
            locked(&self.statements).insert(sql.to_owned(), statement);
        }
        Ok(())
    }

    /// Sends all statements of a flight together, and returns the answer to each of them. If a statement cannot be sent, the
    /// statements after it are not sent, and have no answer.
    pub fn send(
        &self,
        during: &'static str,
        flight: &[StatementValues<'_>],
    ) -> StoreResult<Vec<Result<Vec<Row>, Error>>> {
        self.prepare(during, flight.iter().map(|(sql, _)| *sql))?;
        let mut answers = Vec::with_capacity(flight.len());
        for (sql, values) in flight {
            let statement = locked(&self.statements)[*sql].clone();
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| &**value as _).collect();
            // The first poll of an `async` block sends the statement of the block.
            answers.push(async move { self.client.query(&statement, &values).await });
        }
        self.wait(during, together(answers))
    }

    /// Sends a flight whose statements must all succeed.
    pub fn rows(
        &self,
        during: &'static str,
        flight: &[StatementValues<'_>],
    ) -> StoreResult<Vec<Vec<Row>>> {
        let answers = self.send(during, flight)?;
        // An answer is missing only after a failed statement.
        answers
            .into_iter()
            .map(|rows| rows.map_err(|error| fault(during, &error)))
            .collect()
    }

    /// Sends one statement.
    pub fn query<'a>(
        &self,
        during: &'static str,
        sql: &'a str,
        values: Vec<Value<'a>>,
    ) -> StoreResult<Vec<Row>> {
        let mut rows = self.rows(during, &[(sql, values)])?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// Sends one statement, and returns the first value of its first row.
    pub fn value<T: for<'r> FromCell<'r>>(
        &self,
        during: &'static str,
        sql: &str,
        values: Vec<Value<'_>>,
    ) -> StoreResult<T> {
        let rows = self.query(during, sql, values)?;
        first(during, &rows)?.get(0)
    }

    /// Returns a fault if the server sent a warning since the last call of [`Self::take_warnings`], because a commit with a
    /// warning can be lost.
    pub fn confirm(&self, during: &'static str) -> StoreResult {
        let Some(warning) = self.take_warnings().into_iter().next() else {
            return Ok(());
        };
        let why = "the server committed with a warning";
        Err(waits(format!(
            "{during}: {why}: {warning}; check its replicas, then try again"
        )))
    }

    /// Executes a script of statements without parameters.
    pub fn script(&self, during: &'static str, sql: &str) -> StoreResult {
        self.wait(during, self.client.batch_execute(sql))?
            .map_err(|error| fault(during, &error))
    }

    fn wait<F: Future>(&self, during: &'static str, future: F) -> StoreResult<F::Output> {
        block_on(future, ANSWER).ok_or_else(|| {
            // The missing answer may still arrive, and would be taken for the answer to the next statement. So the
            // connection ends.
            self.task.abort();
            unreachable(during, "the server sent no answer within 40 s")
        })
    }
}

/// Polls futures in their order until all are ready. If a future fails at its first poll, the later futures are never
/// polled.
async fn together<T, E>(futures: Vec<impl Future<Output = Result<T, E>>>) -> Vec<Result<T, E>> {
    let mut futures: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    let mut first = true;
    poll_fn(|context| {
        let mut sent = futures.len();
        for (at, (future, answer)) in futures
            .iter_mut()
            .enumerate()
            .filter(|(_, (_, answer))| answer.is_none())
        {
            if let Poll::Ready(ready) = future.as_mut().poll(context) {
                let failed = ready.is_err();
                *answer = Some(ready);
                if first && failed {
                    sent = at + 1;
                    break;
                }
            }
        }
        first = false;
        futures.truncate(sent);
        if futures.iter().all(|(_, answer)| answer.is_some()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    futures
        .into_iter()
        .filter_map(|(_, answer)| answer)
        .collect()
}

/// Returns the reason why a connection attempt failed.
fn connect_problem(error: &Error) -> String {
    let why = words(error);
    if why.contains("unsupported startup parameter") {
        return format!("{POOLER} ({why})");
    }
    if why.contains("CaUsedAsEndEntity") {
        return "the server shows the certificate of an authority (CA:TRUE) in place of a certificate of its own; give the server \
                a certificate with CA:FALSE, and name its authority with `ca` in [postgres]"
            .to_owned();
    }
    if why.contains("does not allow writes") {
        return "no server of the URL takes writes: each is down, is a standby, or has \
                `default_transaction_read_only = on`; name the primary server"
            .to_owned();
    }
    why
}

/// Returns the first row of an answer that always has a row.
pub fn first<'r>(during: &'static str, rows: &'r [Row]) -> StoreResult<Fields<'r>> {
    let row = rows.first();
    row.map(|row| Fields::new(during, row))
        .ok_or_else(|| StoreFault::broken(during, "the server sent no row"))
}

/// Returns the runtime of the thread that moves the bytes of all connections.
fn driver() -> Result<&'static Handle, String> {
    static DRIVER: OnceLock<Result<Handle, String>> = OnceLock::new();
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let work = move || runtime.block_on(std::future::pending::<()>());
        std::thread::Builder::new()
            .name("store-db".to_owned())
            .spawn(work)?;
        Ok(handle)
    };
    let started = DRIVER.get_or_init(|| start().map_err(|error: io::Error| error.to_string()));
    started
        .as_ref()
        .map_err(|error| format!("the thread of the database connections cannot start: {error}"))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until the future is ready, or until `limit` ends. A worker of a tokio runtime first hands its
/// other tasks to another worker.
fn block_on<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    let run = || {
        let deadline = Instant::now() + limit;
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(output);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    };
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(run),
        _ => run(),
    }
}

/// Makes the encrypted stream of one connection.
pub struct Encryption(pub DatabaseTls);

/// The handshake with one server.
pub struct Handshake {
    tls: DatabaseTls,
    host: String,
}

/// An encrypted stream to the server.
pub struct Encrypted(DatabaseStream<Socket>);

impl MakeTlsConnect<Socket> for Encryption {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(Handshake {
            tls: self.0.clone(),
            host: host.to_owned(),
        })
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move { self.tls.connect(stream, self.host).await.map(Encrypted) })
    }
}

impl TlsStream for Encrypted {
    /// The certificate of the server is checked in any case, so the password needs no binding to the channel.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn no_statement_is_sent_after_a_statement_that_cannot_be_sent() {
        let polled = RefCell::new(Vec::new());
        let run = |fails: usize| {
            polled.borrow_mut().clear();
            let one = |number: usize| {
                let polled = &polled;
                async move {
                    polled.borrow_mut().push(number);
                    if number == fails {
                        Err(number)
                    } else {
                        Ok(number)
                    }
                }
            };
            block_on(together((0..3).map(one).collect()), Duration::from_secs(1)).expect("ready")
        };
        assert_eq!(run(9), [Ok(0), Ok(1), Ok(2)]);
        assert_eq!(run(1), [Ok(0), Err(1)]);
        assert_eq!(*polled.borrow(), [0, 1]);
    }
}
