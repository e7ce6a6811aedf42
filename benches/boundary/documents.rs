//! Measures only the documents of a crossing: parsing, verifying, writing, signing and hashing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{CommandFailure, CommandResult, Exit};
use documents::{
    Authorization, Base64, Bundle, Envelope, EnvelopeSignature, KeyId, MAX_BUNDLE_BYTES,
    PAYLOAD_TYPE, Receipt, SecretKey, Signed, SshKey, Statement, canonical, leaf_hash, pae,
};
use rustix::time::{ClockId, clock_gettime};

use crate::clients::Plan;
use crate::service::{self, Service};

/// Number of threads that the boundary and its clients keep busy. Cores that share an execution unit are slower if both
/// are busy.
const THREADS: usize = 2;

/// The documents of one crossing: the submitted authorization and the receipt for the log.
pub struct Documents {
    receipt: Statement<Receipt>,
    approver: SshKey,
    secret: SecretKey,
    keyid: KeyId,
}

/// Returns the CPU microseconds for the documents of one crossing. Every boundary must do this work: parse the
/// envelope, verify its only signature, parse and hash the payload, and write, sign and hash the receipt.
///
/// # Errors
/// Returns an error if a document of the boundary cannot be parsed.
pub fn cpu_us(service: &Service, plan: &Plan, time: Duration) -> CommandResult<f64> {
    let body = plan.body()?;
    let documents = Documents::of(&plan.exchange(service)?)?;
    let (done, used) = (AtomicU64::new(0), AtomicU64::new(0));
    let until = Instant::now() + time;
    std::thread::scope(|scope| {
        let work = || -> CommandResult<()> {
            let before = thread_time();
            let mut rounds = 0;
            while Instant::now() < until {
                documents.read(&body)?;
                let _ = std::hint::black_box(leaf_hash(&documents.write()?));
                rounds += 1;
            }
            done.fetch_add(rounds, Ordering::Relaxed);
            used.fetch_add(
                (thread_time() - before).as_micros() as u64,
                Ordering::Relaxed,
            );
            Ok(())
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(broken(&"a thread panicked")))
        })
    })?;
    Ok(used.into_inner() as f64 / done.into_inner().max(1) as f64)
}

impl Documents {
    /// Takes the documents of a crossing from its bundle.
    pub fn of(bundle: &[u8]) -> CommandResult<Self> {
        let bundle = Bundle::parse(&bundle[..bundle.len().min(MAX_BUNDLE_BYTES)])
            .map_err(|error| broken(&error))?;
        let payload = Base64::Strict
            .decode("", &bundle.receipt.payload)
            .map_err(|error| broken(&error))?;
        let secret = SecretKey::from_seed(service::APPROVER);
        let approver =
            SshKey::from_public(secret.public(), "bench").map_err(|error| broken(&error))?;
        let receipt = Statement::from_payload(&payload).map_err(|error| broken(&error))?;
        Ok(Self {
            receipt,
            keyid: approver.keyid(),
            approver,
            secret,
        })
    }

    /// Parses an authorization, verifies its only signature, and hashes its payload.
    pub fn read(&self, body: &[u8]) -> CommandResult<()> {
        let envelope: Envelope =
            canonical::read_as(body, body.len()).map_err(|error| broken(&error))?;
        let signed = Signed::<Authorization>::from_envelope(&envelope, Base64::Lenient);
        let verified = signed
            .map_err(|error| broken(&error))?
            .verify(|keyid| (*keyid == self.keyid).then_some(&self.approver))
            .map_err(|error| broken(&error))?;
        let _ = std::hint::black_box(verified.digest());
        Ok(())
    }

    /// Writes and signs the receipt for the log.
    pub fn write(&self) -> CommandResult<Vec<u8>> {
        let payload = self.receipt.to_payload().map_err(|error| broken(&error))?;
        let signature = self.secret.sign(&pae(PAYLOAD_TYPE, &payload));
        let receipt = Envelope::new(
            &payload,
            vec![EnvelopeSignature::new(self.keyid, &signature)],
        );
        receipt.to_canonical().map_err(|error| broken(&error))
    }
}

/// Returns the CPU time of the calling thread (clock_gettime(2)).
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn broken(error: &dyn std::fmt::Display) -> CommandFailure {
    CommandFailure::new(
        Exit::Unreachable,
        format!("measuring the documents: {error}"),
    )
}
