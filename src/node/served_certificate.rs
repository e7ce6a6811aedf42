//! The certificate of the service: its check at the start, and new files while the service runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::boundary::Boundary;
use crate::metrics::readings::CertificateReading;
use crate::node::config::{Config, ServerTlsFiles};
use crate::node::file_problem::FileProblem;
use crate::node::owned::{read_certificates, read_private};
use crate::node::private;
use crate::record::validity::Timestamp;
use crate::tls::server::TlsServer;
use crate::tls::server_pair::{PairFile, PairText, ServerPair, ValidTime};

/// Interval between two looks at the files.
const EVERY: Duration = Duration::from_secs(5);
/// Variable with the directory of the credentials that systemd gives to the service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The served certificate with its files.
pub struct ServedCertificate {
    files: ServerTlsFiles,
    /// Content of the files in force.
    text: PairText,
    server: Arc<TlsServer>,
    /// The real paths that no run of this service can see (rule R9).
    private: Vec<PathBuf>,
    /// Errors of the files at the last look.
    refused: Option<String>,
}

/// Reads and checks the files.
///
/// # Errors
/// Returns all errors of the files.
pub fn check(files: &ServerTlsFiles, now: Timestamp) -> Result<ValidTime, Vec<FileProblem>> {
    read(files).and_then(|text| parse(files, &text, now)).map(|pair| pair.valid())
}

fn read(files: &ServerTlsFiles) -> Result<PairText, Vec<FileProblem>> {
    let credentials = std::env::var_os(CREDENTIALS).map(PathBuf::from);
    let is_credential = credentials.is_some_and(|directory| files.key.starts_with(directory));
    let certificate = read_certificates(&files.certificate);
    let key = read_private(&files.key, is_credential);
    let client_ca = files.client_ca.as_deref().map(read_certificates).transpose();
    match (certificate, key, client_ca) {
        (Ok(certificate), Ok(key), Ok(client_ca)) => Ok(PairText { certificate, key, client_ca }),
        (certificate, key, client_ca) => {
            Err([certificate.err(), key.err(), client_ca.err()].into_iter().flatten().collect())
        }
    }
}

fn parse(files: &ServerTlsFiles, text: &PairText, now: Timestamp) -> Result<ServerPair, Vec<FileProblem>> {
    let path = |file: PairFile| match file {
        PairFile::Certificate => &files.certificate,
        PairFile::Key => &files.key,
        PairFile::ClientCa => files.client_ca.as_ref().unwrap_or(&files.certificate),
    };
    ServerPair::check(text, now)
        .map_err(|flaws| flaws.into_iter().map(|flaw| FileProblem::whole(path(flaw.file), flaw.message)).collect())
}

impl ServedCertificate {
    /// Reads and checks the files for the start of the service. Returns `None` without `[tls]`.
    ///
    /// # Errors
    /// Returns all errors of the files.
    pub fn open(config: &Config, now: Timestamp) -> Result<Option<Self>, Vec<FileProblem>> {
        let Some(files) = config.tls.clone() else { return Ok(None) };
        let text = read(&files)?;
        let server = Arc::new(TlsServer::new(parse(&files, &text, now)?));
        let private = private::set(config).iter().map(|path| private::real(path)).collect();
        Ok(Some(Self { files, text, server, private, refused: None }))
    }

    /// Returns the server side of TLS with this certificate.
    #[must_use]
    pub fn server(&self) -> Arc<TlsServer> {
        self.server.clone()
    }

    /// Takes new files, after a look every few seconds or after a notification (SIGHUP). The comparison uses the
    /// content of the files, because a renewal may replace a symbolic link. If the new files can't be used, the old
    /// certificate stays in force, and the health report says why.
    pub async fn keep(mut self, boundary: Boundary, hangup: Arc<Notify>) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = hangup.notified() => {}
            }
            let now = boundary.crossing.now();
            let looked = tokio::task::spawn_blocking(move || {
                self.look(now);
                self
            });
            self = match looked.await {
                Ok(looked) => looked,
                // The runtime is ending.
                Err(_) => return,
            };
            let valid = self.server.valid();
            let (expiry, reload_failed) = (valid.not_after.unix(), self.refused.is_some());
            boundary.monitoring.set_certificate(CertificateReading { expiry, reload_failed });
            let expired = valid.objection(now);
            let expired = expired.map(|why| format!("clients refuse the certificate of the service: {why}"));
            boundary.health.set_certificate_notes(self.refused.iter().cloned().chain(expired).collect());
        }
    }

    fn look(&mut self, now: Timestamp) {
        let taken = read(&self.files).and_then(|text| self.take(text, now));
        self.refused = taken.err().map(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            format!("the new certificate is not taken, the old one stays in force: {}", problems.join("; "))
        });
    }

    fn take(&mut self, text: PairText, now: Timestamp) -> Result<(), Vec<FileProblem>> {
        // A link may lead to another place with the same content.
        self.check_place()?;
        if text == self.text {
            return Ok(());
        }
        let pair = parse(&self.files, &text, now)?;
        let valid = pair.valid();
        self.server.replace(pair);
        self.text = text;
        tracing::info!(expires = %valid.not_after, "took a new certificate");
        Ok(())
    }

    /// Checks that no run can see the key. The sandbox got the private paths at the start of the service.
    fn check_place(&self) -> Result<(), Vec<FileProblem>> {
        let place = self.files.key.canonicalize().unwrap_or_else(|_| self.files.key.clone());
        if self.private.iter().any(|private| place.starts_with(private)) {
            return Ok(());
        }
        let message = format!(
            "the link leads to another place ({}), which the private set of this start does not contain: restart the \
             service",
            place.display()
        );
        Err(vec![FileProblem::whole(&self.files.key, message)])
    }
}
