//! Measures a scrape of the metrics over HTTP, with a small log and with a log of a million entries.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use client::CommandResult;
use countersign::Config;
use documents::{
    AuthorizationDigest, AuthorizationRef, Consumption, Envelope, EnvelopeSignature, LeafHash,
    Nonce, SealDigest, SecretKey, Spent, SshKey, Timestamp,
};
use serde::Serialize;
use store::{Ledger, sqlite};

use crate::floors::broken;
use crate::{ledger, service};

#[derive(clap::Args)]
pub struct Args {
    /// Number of entries of the large log
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Number of scrapes of each log
    #[arg(long, default_value_t = 1000)]
    scrapes: usize,
}

/// The durations of the scrapes of one log, in microseconds.
#[derive(Debug, Serialize)]
pub struct Scraped {
    entries: u64,
    bytes: usize,
    p50_us: f64,
    p99_us: f64,
}

/// Number of senders, which share the commits of the log.
const SENDERS: u64 = 256;

pub fn measure(args: &Args) -> CommandResult<Vec<Scraped>> {
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir()
        .map_err(|error| broken(&error))?;
    let (path, token) = service::create(dir.path(), service::RUNBOOK)?;
    let small = scraped(&path, &token, args.scrapes)?;
    let config = Config::load(&path)?;
    fill(config.database.file().expect("a file"), args.entries, 0)?;
    let large = scraped(&path, &token, args.scrapes)?;
    Ok(vec![small, large])
}

/// Appends copies of a consumption of `age_s` seconds ago. The service accepts the entries, but an audit would not.
pub fn fill(database: &Path, entries: u64, age_s: i64) -> CommandResult<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .build()
        .map_err(|error| broken(&error))?;
    let seconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|error| broken(&error))?
        .as_secs();
    let (store, reads) = sqlite::open(database).map_err(|error| broken(&error))?;
    let now = Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX));
    let log = ledger::open(store, reads, database, now);
    let entry = consumption(now.plus(-age_s))?;
    let first = log.state().size;
    runtime.block_on(async {
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..SENDERS {
            let (log, entry): (Ledger, _) = (log.clone(), entry.clone());
            let count = (first + sender..entries)
                .step_by(usize::try_from(SENDERS).unwrap_or(1))
                .count();
            senders.spawn(async move {
                for _ in 0..count {
                    log.refuse(entry.clone(), log.now())
                        .await
                        .map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(())
            });
        }
        for done in senders.join_all().await {
            done.map_err(|error| broken(&error))?;
        }
        // `close` would sign a checkpoint with the key of the benchmark, because it is not the boundary's key.
        drop(log);
        Ok(())
    })
}

/// Returns the envelope of a consumption whose window has ended. Its signature is not valid.
fn consumption(at: Timestamp) -> CommandResult<Vec<u8>> {
    let spent = Spent {
        grant: None,
        grant_use: None,
        authorization: AuthorizationRef {
            digest: AuthorizationDigest::from_bytes([1; 32]),
            index: 0,
            leaf: LeafHash::from_bytes([1; 32]),
        },
        nonce: Nonce::new(at, [1; 16]),
        expires_at: at,
        handed_in_by: "agent".parse().map_err(|error| broken(&error))?,
        session: None,
    };
    let consumption = Consumption {
        seal: SealDigest::from_bytes([1; 32]),
        at,
        spent: vec![spent],
    };
    let payload = consumption
        .into_statement()
        .to_payload()
        .map_err(|error| broken(&error))?;
    let key = SshKey::from_public(SecretKey::from_seed([3; 32]).public(), "")
        .map_err(|error| broken(&error))?;
    let signature = EnvelopeSignature::new(key.keyid(), &[0; 64]);
    Envelope::new(&payload, vec![signature])
        .to_canonical()
        .map_err(|error| broken(&error))
}

fn scraped(config: &Path, token: &str, scrapes: usize) -> CommandResult<Scraped> {
    let service = service::serve(config, token.to_owned())?;
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let once = || -> CommandResult<(Duration, String)> {
        let began = Instant::now();
        let request = agent.get(format!("http://{}/metrics", service.address));
        let mut answer = request
            .header("Authorization", format!("Bearer {token}"))
            .call()
            .map_err(|e| broken(&e))?;
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|error| broken(&error))?;
        Ok((began.elapsed(), text))
    };
    let (_, text) = once()?;
    let entries = text
        .lines()
        .find_map(|line| line.strip_prefix("countersign_log_entries ")?.parse().ok());
    let mut times = (0..scrapes)
        .map(|_| Ok(once()?.0))
        .collect::<CommandResult<Vec<_>>>()?;
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    Ok(Scraped {
        entries: entries.unwrap_or(0),
        bytes: text.len(),
        p50_us: at(0.5),
        p99_us: at(0.99),
    })
}

pub fn table(report: &[Scraped]) -> String {
    let lines = report.iter().map(|at| {
        format!(
            "{} entries: a scrape of {:.1} KB takes {:.0} us (p50), {:.0} us (p99)\n",
            at.entries,
            at.bytes as f64 / 1e3,
            at.p50_us,
            at.p99_us
        )
    });
    lines.collect()
}
