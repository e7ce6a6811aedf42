//! The certificate of the service: its check at the start, and new files while the service runs.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Notify;

use crate::{
    Config, TlsTable,
    node::{private, watchdog::every},
    read_certificates, read_private,
};
use boundary::Boundary;
use documents::{Timestamp, joined};
use reading::FileProblem;
use store::CertificateReading;
use wire::{PairFile, PairText, RenewedServer, ServerPair, TlsServer};

/// Variable with the directory of the credentials that systemd gives to the service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The served certificate with its files.
pub struct ServedCertificate {
    files: TlsTable,
    renewed: RenewedServer,
    /// The real paths that no run of this service can see (rule R9).
    private: Vec<PathBuf>,
    /// Errors of the files at the last read.
    refused: Option<String>,
}

/// Reads and checks the files.
///
/// # Errors
/// Returns all errors of the files.
pub fn check(files: &TlsTable, now: Timestamp) -> Result<ServerPair, Vec<FileProblem>> {
    read(files).and_then(|text| parse(files, &text, now))
}

fn read(files: &TlsTable) -> Result<PairText, Vec<FileProblem>> {
    let certificate = read_certificates(&files.certificate);
    let key = read_private(&files.key, is_credential(&files.key));
    let client_ca = files
        .client_ca
        .as_deref()
        .map(read_certificates)
        .transpose();
    match (certificate, key, client_ca) {
        (Ok(certificate), Ok(key), Ok(client_ca)) => Ok(PairText {
            certificate,
            key,
            client_ca,
        }),
        (certificate, key, client_ca) => Err([certificate.err(), key.err(), client_ca.err()]
            .into_iter()
            .flatten()
            .collect()),
    }
}

/// Returns true if systemd made the file as a credential of a service. A command that an operator runs does not have the
/// variable of the service, so the fixed place of credentials (`/run/credentials/UNIT/NAME`), which only root can write,
/// counts too.
fn is_credential(path: &Path) -> bool {
    let given = std::env::var_os(CREDENTIALS).map(PathBuf::from);
    let below = path.strip_prefix("/run/credentials").ok();
    let names: Vec<Component<'_>> = below.into_iter().flat_map(Path::components).collect();
    given.is_some_and(|directory| path.starts_with(directory))
        || matches!(names[..], [Component::Normal(_), Component::Normal(_)])
}

fn parse(
    files: &TlsTable,
    text: &PairText,
    now: Timestamp,
) -> Result<ServerPair, Vec<FileProblem>> {
    let path = |file: PairFile| match file {
        PairFile::Certificate => &files.certificate,
        PairFile::Key => &files.key,
        PairFile::ClientCa => files.client_ca.as_ref().unwrap_or(&files.certificate),
    };
    ServerPair::check(text, now).map_err(|flaws| {
        flaws
            .into_iter()
            .map(|flaw| FileProblem::whole(path(flaw.file), flaw.message))
            .collect()
    })
}

impl ServedCertificate {
    /// Reads and checks the files for the start of the service. Returns `None` without `[tls]`.
    ///
    /// # Errors
    /// Returns all errors of the files.
    pub fn open(config: &Config, now: Timestamp) -> Result<Option<Self>, Vec<FileProblem>> {
        let Some(files) = config.tls.clone() else {
            return Ok(None);
        };
        let renewed = RenewedServer::new(read(&files)?, |text| parse(&files, text, now))?;
        let private = private::set(config)
            .iter()
            .map(|path| private::real(path))
            .collect();
        Ok(Some(Self {
            files,
            renewed,
            private,
            refused: None,
        }))
    }

    /// Returns the server side of TLS with this certificate.
    pub fn server(&self) -> Arc<TlsServer> {
        self.renewed.server()
    }

    /// Reads the files every few seconds and after SIGHUP, and takes new files. If the new files can't be used, the old
    /// certificate stays in force, and the health report says why.
    pub async fn keep(mut self, boundary: Boundary, hangup: Arc<Notify>) {
        let mut every = every(RenewedServer::EVERY);
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
                Err(error) => {
                    tracing::error!(
                        "the check of the certificate files failed ({error}), so the service loads no new certificate: \
                         restart the service"
                    );
                    return;
                }
            };
            let valid = self.server().valid();
            let (expiry, reload_failed) = (valid.not_after.unix(), self.refused.is_some());
            boundary.monitoring.set_certificate(CertificateReading {
                expiry,
                reload_failed,
            });
            let expired = valid.objection(now);
            let expired =
                expired.map(|why| format!("clients refuse the certificate of the service: {why}"));
            boundary
                .health
                .set_certificate_notes(self.refused.iter().cloned().chain(expired).collect());
        }
    }

    fn look(&mut self, now: Timestamp) {
        let taken = read(&self.files).and_then(|text| self.take(text, now));
        self.refused = taken.err().map(|problems| {
            format!(
                "the service can't use the new files of [tls] and continues with the old certificate: {}",
                joined(&problems, "; ")
            )
        });
    }

    fn take(&mut self, text: PairText, now: Timestamp) -> Result<(), Vec<FileProblem>> {
        // A copy of the same key at another place would be visible to runs.
        self.check_place()?;
        if let Some(valid) = self
            .renewed
            .take(text, |text| parse(&self.files, text, now))?
        {
            tracing::info!(expires = %valid.not_after, "took a new certificate");
        }
        Ok(())
    }

    /// Checks that no run can see the key. The sandbox got the private paths at the start of the service.
    fn check_place(&self) -> Result<(), Vec<FileProblem>> {
        let key = &self.files.key;
        let place = key.canonicalize().unwrap_or_else(|_| key.clone());
        if self
            .private
            .iter()
            .any(|private| place.starts_with(private))
        {
            return Ok(());
        }
        let message = format!(
            "the link leads to a new place ({}), which the sandbox hides from runs only after a restart: restart the \
             service",
            place.display()
        );
        Err(vec![FileProblem::whole(key, message)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_directly_in_the_directory_of_a_unit_is_a_credential() {
        for (path, expected) in [
            ("/run/credentials/countersign@prod.service/tls.key", true),
            ("/run/credentials/tls.key", false),
            ("/run/credentials/../tls.key", false),
            ("/run/credentials/a.service/../../key", false),
            ("/run/credentials/a.service/deep/tls.key", false),
            ("/run/credentials2/a.service/tls.key", false),
            ("/etc/tls.key", false),
        ] {
            assert_eq!(is_credential(Path::new(path)), expected, "{path}");
        }
    }
}
