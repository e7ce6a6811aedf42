//! Compares crossings over TLS with crossings over plain HTTP, and counts handshakes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{CommandFailure, CommandResult};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::clients::{self, Plan};
use crate::floors::{broken, median};
use crate::service::{self, Service};

#[derive(clap::Args)]
pub struct Args {
    /// Seconds of each load.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Number of clients.
    #[arg(long, default_value_t = 16)]
    clients: u16,
    /// Number of times that plain HTTP and TLS are measured, one after the other.
    #[arg(long, default_value_t = 5)]
    rounds: u16,
    /// Directory for the store, on the disk to measure. The default is the current directory.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

/// The medians of all rounds.
#[derive(Debug, Serialize)]
pub struct Report {
    clients: u16,
    plain_per_s: f64,
    tls_per_s: f64,
    ratio: f64,
    plain_server_cpu_us: f64,
    tls_server_cpu_us: f64,
    handshakes_per_s: f64,
    handshakes_per_core_s: f64,
}

/// Measures one boundary, with and without TLS.
pub fn measure(args: &Args) -> CommandResult<Report> {
    let here = args.dir.clone().unwrap_or_else(|| ".".into());
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(here)
        .map_err(|error| broken(&error))?;
    let time = Duration::from_secs(args.seconds.max(1));
    let count = usize::from(args.clients.max(1));
    let (config, token) = service::create(dir.path(), service::RUNBOOK)?;
    let plain_text = std::fs::read_to_string(&config).map_err(|error| broken(&error))?;
    let client = certificate(dir.path())?;
    let (mut plain, mut encrypted, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut plan = None;
    for _ in 0..args.rounds.max(1) {
        std::fs::write(&config, &plain_text).map_err(|error| broken(&error))?;
        let service = service::start_at(&config, &token)?;
        let plan = match &plan {
            Some(plan) => plan,
            None => plan.insert(Plan::prepare(&service, "bench:noop")?),
        };
        let _ = clients::load(&service, plan, count, crate::WARM)?;
        let one = crate::loaded(&service, plan, count, time)?;
        drop(service);
        let service = start_encrypted(&config, &plain_text, dir.path(), &token, &client)?;
        let _ = clients::load(&service, plan, count, crate::WARM)?;
        let other = crate::loaded(&service, plan, count, time)?;
        ratios.push(other.0.per_s() / one.0.per_s());
        plain.push((one.0.per_s(), one.1));
        encrypted.push((other.0.per_s(), other.1));
    }
    let service = start_encrypted(&config, &plain_text, dir.path(), &token, &client)?;
    let _ = handshakes(&service, &client, count, crate::WARM)?;
    let before = service.usage();
    let begin = Instant::now();
    let made = handshakes(&service, &client, count, time)? as f64;
    let (elapsed, used) = (begin.elapsed(), service.usage() - before);
    let of = |values: &[(f64, f64)], what: fn(&(f64, f64)) -> f64| {
        median(values.iter().map(what).collect())
    };
    Ok(Report {
        clients: args.clients,
        plain_per_s: of(&plain, |it| it.0),
        tls_per_s: of(&encrypted, |it| it.0),
        ratio: median(ratios),
        plain_server_cpu_us: of(&plain, |it| it.1),
        tls_server_cpu_us: of(&encrypted, |it| it.1),
        handshakes_per_s: made / elapsed.as_secs_f64(),
        handshakes_per_core_s: made / used.as_secs_f64(),
    })
}

fn start_encrypted(
    config: &Path,
    plain: &str,
    dir: &Path,
    token: &str,
    client: &Arc<ClientConfig>,
) -> CommandResult<Service> {
    let pair = format!(
        "[tls]\ncertificate = \"{0}/tls.pem\"\nkey = \"{0}/tls.key\"\n",
        dir.display()
    );
    std::fs::write(config, plain.replace("[tls]\n", &pair)).map_err(|error| broken(&error))?;
    let mut service = service::start_at(config, token)?;
    service.tls = Some(client.clone());
    Ok(service)
}

/// Makes a certificate with an ECDSA key, and the configuration of a client that trusts it. The client resumes no
/// sessions, so each connection has a full handshake.
fn certificate(dir: &Path) -> CommandResult<Arc<ClientConfig>> {
    let words = "umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key \
                 -out tls.pem -days 30 -subj /CN=bench -addext subjectAltName=IP:127.0.0.1 \
                 -addext basicConstraints=critical,CA:FALSE";
    let output = Command::new("sh")
        .args(["-c", words])
        .current_dir(dir)
        .output()
        .map_err(|error| broken(&error))?;
    if !output.status.success() {
        return Err(broken(&String::from_utf8_lossy(&output.stderr)));
    }
    let certificate =
        CertificateDer::from_pem_file(dir.join("tls.pem")).map_err(|error| broken(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| broken(&error))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Opens connections with `count` clients during `time`, each with a handshake. Returns the number of handshakes.
fn handshakes(
    service: &Service,
    client: &Arc<ClientConfig>,
    count: usize,
    time: Duration,
) -> CommandResult<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(&error))?;
    let begin = Instant::now();
    let results = runtime.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let (address, client) = (service.address.clone(), client.clone());
            clients.spawn(async move {
                let mut made = 0;
                while begin.elapsed() < time {
                    drop(clients::open_encrypted(&address, &client).await?);
                    made += 1;
                }
                Ok::<u64, CommandFailure>(made)
            });
        }
        clients.join_all().await
    });
    results.into_iter().sum()
}

/// Returns the report as text.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} clients with kept connections: plain {:.0} crossings/s, TLS {:.0} crossings/s: {:.2} of plain",
        report.clients, report.plain_per_s, report.tls_per_s, report.ratio
    );
    let _ = writeln!(
        text,
        "server CPU of a crossing: plain {:.1} us, TLS {:.1} us",
        report.plain_server_cpu_us, report.tls_server_cpu_us
    );
    let _ = writeln!(
        text,
        "full handshakes (TLS 1.3, P-256): {:.0}/s, {:.0}/s for each core of the server",
        report.handshakes_per_s, report.handshakes_per_core_s
    );
    text
}
