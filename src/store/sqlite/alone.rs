//! Nonces alone, committed in groups: the bound that a crossing is measured against.
//!
//! One writer takes what is there and commits it; clients wait for their commit. Nothing is verified, signed or run.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use crate::store::Fault;

/// Commits one nonce after another for each of `clients` during `time`; gives how many a second.
///
/// # Errors
/// When the database can't be written.
pub fn nonces_a_second(path: &Path, clients: usize, time: Duration) -> Result<f64, Fault> {
    let broken =
        |error: rusqlite::Error| Fault::Database { during: "measuring nonces alone", message: error.to_string() };
    let mut connection = Connection::open(path).map_err(broken)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=8000;
             CREATE TABLE nonce (nonce BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
        )
        .map_err(broken)?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (inbox, waiting) = mpsc::sync_channel::<([u8; 22], mpsc::SyncSender<()>)>(clients);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (inbox, stop, done) = (inbox.clone(), &stop, &done);
            scope.spawn(move || {
                let (answer, answered) = mpsc::sync_channel(1);
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    // As real nonces: time first, so that inserts stay local.
                    let mut nonce = [0; 22];
                    nonce[..8].copy_from_slice(&(begin.elapsed().as_micros() as u64).to_be_bytes());
                    nonce[8..14].copy_from_slice(&number.to_be_bytes()[2..]);
                    nonce[14..].copy_from_slice(&(client as u64).to_be_bytes());
                    if inbox.send((nonce, answer.clone())).is_err() || answered.recv().is_err() {
                        break;
                    }
                    number += 1;
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
    waiting: &mpsc::Receiver<([u8; 22], mpsc::SyncSender<()>)>,
    until: Instant,
    stop: &AtomicBool,
) -> Result<(), rusqlite::Error> {
    let mut answers = Vec::new();
    while let Ok(first) = waiting.recv() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO nonce VALUES (?1, ?2)")?;
            for (nonce, answer) in std::iter::once(first).chain(waiting.try_iter()) {
                insert.execute((&nonce[..], 1_800_000_000_i64))?;
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
