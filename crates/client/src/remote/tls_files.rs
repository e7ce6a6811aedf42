//! Options of a client for TLS: the trusted authorities, the client certificate and the proxy.

use std::path::{Path, PathBuf};

use clap::Args;
use ureq::tls::TlsConfig;

use crate::{CommandFailure, CommandResult, PrintableText, read_bounded, read_private};
use wire::{ClientCertificatePem, ClientConfigError, ProxyAddress, client_config};

/// Maximum size of a file with certificates in bytes. The list of a whole system has a quarter of this size.
const MAX_CERTIFICATES_BYTES: usize = 1 << 20;
const MAX_KEY_BYTES: usize = 64 << 10;

/// The files and the proxy for `https://` addresses.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsFiles {
    /// For https: a PEM file with the certificate authorities to trust, instead of those of this system
    #[arg(long, global = true, env = "COUNTERSIGN_CACERT", value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// For https: a PEM file with your client certificate, if the boundary requires one
    #[arg(long, global = true, env = "COUNTERSIGN_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// The PEM file of mode 0600 with the private key of --cert
    #[arg(long, global = true, env = "COUNTERSIGN_CERT_KEY", value_name = "FILE")]
    pub cert_key: Option<PathBuf>,
    /// For https: connect through this HTTP proxy (CONNECT), http://HOST:PORT. The environment never names a proxy
    #[arg(long, global = true, value_name = "URL")]
    pub proxy: Option<ProxyAddress>,
}

impl TlsFiles {
    /// Returns the files for a server to which the client sends no credentials.
    pub fn without_certificate(&self) -> Self {
        Self {
            cert: None,
            cert_key: None,
            ..self.clone()
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be used, or if the system has no list of authorities.
    pub fn config(&self) -> CommandResult<TlsConfig> {
        let authorities = self
            .cacert
            .as_ref()
            .map(|path| read_bounded(path, MAX_CERTIFICATES_BYTES))
            .transpose()?;
        let pair = match (&self.cert, &self.cert_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((
                read_bounded(cert, MAX_CERTIFICATES_BYTES)?,
                read_private(key, MAX_KEY_BYTES, "key")?,
            )),
            (Some(_), None) => {
                return Err(CommandFailure::usage(
                    "--cert (COUNTERSIGN_CERT) needs its private key: name the file with --cert-key \
                     (COUNTERSIGN_CERT_KEY)",
                ));
            }
            (None, Some(_)) => {
                return Err(CommandFailure::usage(
                    "--cert-key (COUNTERSIGN_CERT_KEY) is the key of a client certificate: name the file of the \
                     certificate with --cert (COUNTERSIGN_CERT)",
                ));
            }
        };
        let pem = pair
            .as_ref()
            .map(|(certificates, key)| ClientCertificatePem { certificates, key });
        client_config(authorities.as_deref(), pem).map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, error: &ClientConfigError) -> CommandFailure {
        let shown = |path: &Option<PathBuf>| {
            PrintableText::text(&path.as_deref().unwrap_or(Path::new("")).to_string_lossy())
                .to_string()
        };
        let why = PrintableText::text(&error.to_string()).to_string();
        CommandFailure::usage(match error {
            ClientConfigError::NoSystemAuthorities(_) => format!(
                "{why}: install one (on Debian the package ca-certificates), or name the authority of the server \
                 with --cacert FILE (COUNTERSIGN_CACERT)"
            ),
            ClientConfigError::Authorities(_) => format!("--cacert {}: {why}", shown(&self.cacert)),
            ClientConfigError::Certificate(_) => format!("--cert {}: {why}", shown(&self.cert)),
            ClientConfigError::Key(_) => format!("--cert-key {}: {why}", shown(&self.cert_key)),
            ClientConfigError::OtherKey => {
                format!(
                    "{why}: --cert {} and --cert-key {} must be a pair",
                    shown(&self.cert),
                    shown(&self.cert_key)
                )
            }
        })
    }
}
