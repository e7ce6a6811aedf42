//! Two baselines for a crossing, with group commits like those of the store: only the nonces, and only the bytes.
//!
//! One writer commits all waiting rows in one transaction, and each client waits for the commit of its row. The
//! baselines verify, sign and run nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use crate::support::random::Random;

/// Commits nonces for `clients` concurrent clients during `time`. Returns the number of commits per second.
///
/// # Errors
/// Returns an error if the database cannot be written.
pub fn nonces_a_second(path: &Path, clients: usize, time: Duration) -> Result<f64, String> {
    let broken = |error: rusqlite::Error| format!("measuring nonces alone: {error}");
    let mut connection = Connection::open(path).map_err(broken)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=8000;
             CREATE TABLE nonce (nonce BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;",
        )
        .map_err(broken)?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (inbox, waiting) = mpsc::sync_channel::<([u8; 24], mpsc::SyncSender<()>)>(clients);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (inbox, stop, done) = (inbox.clone(), &stop, &done);
            scope.spawn(move || {
                let (answer, answered) = mpsc::sync_channel(1);
                let mut random = Random(client as u64);
                while !stop.load(Ordering::Relaxed) {
                    // Like a real nonce, this one begins with a time in seconds. So inserts go to neighbouring pages.
                    let mut nonce = [0; 24];
                    nonce[..8].copy_from_slice(&begin.elapsed().as_secs().to_be_bytes());
                    nonce[8..16].copy_from_slice(&random.next().to_be_bytes());
                    nonce[16..].copy_from_slice(&random.next().to_be_bytes());
                    if inbox.send((nonce, answer.clone())).is_err() || answered.recv().is_err() {
                        break;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        drop(inbox);
        let written = write(&mut connection, &waiting, begin + time, &stop);
        stop.store(true, Ordering::Relaxed);
        drop(waiting);
        written.map_err(broken)
    })?;
    Ok(done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
}

fn write(
    connection: &mut Connection,
    waiting: &mpsc::Receiver<([u8; 24], mpsc::SyncSender<()>)>,
    until: Instant,
    stop: &AtomicBool,
) -> Result<(), rusqlite::Error> {
    let mut answers = Vec::new();
    while let Ok(first) = waiting.recv() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO nonce VALUES (?1)")?;
            for (nonce, answer) in std::iter::once(first).chain(waiting.try_iter()) {
                insert.execute([&nonce[..]])?;
                answers.push(answer);
            }
        }
        transaction.commit()?;
        for answer in answers.drain(..) {
            let _ = answer.send(());
        }
        if Instant::now() >= until {
            stop.store(true, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Writes the bytes of a crossing as rows, without any check: first the envelope with a nonce, then the leaf that
/// replaces the envelope. All clones share one writer thread, which ends when the last clone is dropped.
#[derive(Clone)]
pub struct Rows(tokio::sync::mpsc::Sender<Row>);

enum Row {
    Claim(Vec<u8>, oneshot::Sender<u64>),
    End(u64, Vec<u8>, oneshot::Sender<()>),
}

impl Rows {
    /// Creates a database and starts the writer thread.
    ///
    /// # Errors
    /// Returns an error if the database or the thread cannot be created.
    pub fn open(path: &Path) -> Result<Self, String> {
        let broken = |message: String| format!("measuring rows alone: {message}");
        let connection = Connection::open(path).map_err(|error| broken(error.to_string()))?;
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=8000;
                 CREATE TABLE nonce (nonce BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
                 CREATE TABLE crossing (id INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
                 CREATE TABLE leaf (idx INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;",
            )
            .map_err(|error| broken(error.to_string()))?;
        let (inbox, waiting) = tokio::sync::mpsc::channel(1024);
        let work = move || {
            write_rows(&connection, waiting)
                .unwrap_or_else(|error| eprintln!("countersign: {error}"))
        };
        std::thread::Builder::new()
            .name("rows".to_owned())
            .spawn(work)
            .map_err(|error| broken(error.to_string()))?;
        Ok(Self(inbox))
    }

    /// Commits a nonce and an envelope. Returns the id of the row, or `None` if the writer thread has ended.
    pub async fn claim(&self, envelope: Vec<u8>) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Row::Claim(envelope, answer)).await.ok()?;
        answered.await.ok()
    }

    /// Commits a leaf and deletes the envelope with this id.
    pub async fn end(&self, id: u64, leaf: Vec<u8>) -> Option<()> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Row::End(id, leaf, answer)).await.ok()?;
        answered.await.ok()
    }
}

fn write_rows(
    connection: &Connection,
    mut waiting: tokio::sync::mpsc::Receiver<Row>,
) -> Result<(), rusqlite::Error> {
    let (mut batch, mut number) = (Vec::new(), 0_u64);
    let (mut claimed, mut ended) = (Vec::new(), Vec::new());
    while waiting.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
        gather(&mut waiting, &mut batch);
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for row in batch.drain(..) {
            number += 1;
            match row {
                Row::Claim(envelope, answer) => {
                    let mut nonce = [0; 24];
                    nonce[..8].copy_from_slice(&number.to_be_bytes());
                    connection
                        .prepare_cached("INSERT INTO nonce VALUES (?1)")?
                        .execute([&nonce[..]])?;
                    connection
                        .prepare_cached("INSERT INTO crossing VALUES (?1, ?2)")?
                        .execute((number, envelope))?;
                    claimed.push((answer, number));
                }
                Row::End(id, leaf, answer) => {
                    connection
                        .prepare_cached("INSERT INTO leaf VALUES (?1, ?2)")?
                        .execute((number, leaf))?;
                    connection
                        .prepare_cached("DELETE FROM crossing WHERE id = ?1")?
                        .execute([id])?;
                    ended.push(answer);
                }
            }
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        for (answer, id) in claimed.drain(..) {
            let _ = answer.send(id);
        }
        for answer in ended.drain(..) {
            let _ = answer.send(());
        }
    }
    Ok(())
}

/// Collects a batch as the writer of the store does.
fn gather<M>(inbox: &mut tokio::sync::mpsc::Receiver<M>, batch: &mut Vec<M>) {
    let mut before = 1;
    while batch.len() > before && batch.len() < MAX_BATCH {
        before = batch.len();
        std::thread::yield_now();
        while batch.len() < MAX_BATCH
            && let Ok(message) = inbox.try_recv()
        {
            batch.push(message);
        }
    }
}

/// Maximum number of rows in a transaction, as in the writer of the store.
const MAX_BATCH: usize = 256;
