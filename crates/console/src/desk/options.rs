//! Starts a desk.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use client::{
    CommandFailure, CommandResult, GlobalOptions, Terminal, TrustArgs, fail_usage, now,
    read_bounded, read_private, show_own_letters,
};
use documents::{check_origin, joined};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use wire::{PairFile, PairText, RenewedServer, ServerPair};

use crate::{
    Desk, DeskBoundary,
    desk::{desk_routes::desk_routes, listening::serve},
    web::opened::{failed, run_server},
};

/// Maximum size of a file for TLS in bytes.
const MAX_PEM: usize = 1 << 20;
/// Port of `https://` addresses without a port.
const USUAL_PORT: u16 = 443;

/// Name, certificate and address of a desk.
#[derive(clap::Args)]
#[command(next_help_heading = "Desk")]
pub struct DeskOptions {
    /// Serve the pages to phones and other devices. Their passkeys sign, and this program loads no key
    #[arg(long, requires_all = ["host", "certificate", "certificate_key"], conflicts_with_all = ["audit", "key", "browser", "port"])]
    pub desk: bool,
    /// The name of the desk, and its port if that is not the port of --listen. Each passkey belongs to one name
    #[arg(long, requires = "desk", value_name = "NAME[:PORT]")]
    host: Option<String>,
    /// The certificate for this name, followed by the certificates of its issuers (PEM)
    #[arg(long, requires = "desk", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM, mode 0600)
    #[arg(long, requires = "desk", value_name = "FILE")]
    certificate_key: Option<PathBuf>,
    /// The address on which the desk listens
    #[arg(
        long,
        requires = "desk",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:443"
    )]
    listen: SocketAddr,
    /// The address of a proxy that passes connections through, and that begins each with a header of the PROXY protocol,
    /// version 2; may be repeated. The desk then counts the attempts of the address in the header
    #[arg(long, requires = "desk", value_name = "ADDR")]
    proxy_from: Vec<IpAddr>,
}

/// Serves the pages until a signal ends the program.
///
/// # Errors
/// Returns an error if the certificate is not valid now or not for the name, if a boundary has no roster file, or if
/// the address can't be opened.
pub fn run(
    options: &DeskOptions,
    trust: &TrustArgs,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> CommandResult {
    let (Some(host), Some(certificate), Some(key)) = (
        &options.host,
        &options.certificate,
        &options.certificate_key,
    ) else {
        return fail_usage("a desk needs --host, --certificate and --certificate-key");
    };
    let (name, port) = name_and_port(host)
        .map_err(|why| CommandFailure::usage(format!("--host {host}: {why}")))?;
    show_own_letters(true)?;
    let files = DeskFiles {
        name,
        certificate,
        key,
    };
    let renewed = RenewedServer::new(files.read()?, |text| files.check(text))?;
    let boundaries = global
        .chosen()?
        .into_iter()
        .map(|one| DeskBoundary::new(one, trust, name));
    let boundaries = boundaries.collect::<Result<Vec<_>, _>>()?;
    run_server("desk", async {
        let taken = |error: io::Error| {
            CommandFailure::usage(format!(
                "{} can't be opened: {error}; choose another --listen",
                options.listen
            ))
        };
        let listener = TcpListener::bind(options.listen).await.map_err(taken)?;
        let port = port
            .map_or_else(|| listener.local_addr().map(|own| own.port()), Ok)
            .map_err(taken)?;
        let origin = origin(name, port);
        let desk = Desk::new(&origin, boundaries)
            .map_err(|error| failed("the desk can't make its secrets", error))?;
        terminal.line(format!("the desk serves {origin}"))?;
        terminal.say(format!(
            "people make their passkeys at {origin}/enrol; Ctrl-C ends the command"
        ));
        let proxies = options
            .proxy_from
            .iter()
            .map(IpAddr::to_canonical)
            .collect();
        let serving = tokio::spawn(serve(
            listener,
            renewed.server(),
            desk_routes(Arc::new(desk)),
            proxies,
        ));
        files.keep(renewed, serving, terminal).await;
        Err(CommandFailure::unreachable(
            "the server of the desk ended too early: start the desk again",
        ))
    })
}

/// Splits the name of a desk from its port.
fn name_and_port(host: &str) -> Result<(&str, Option<u16>), String> {
    if host.contains("://") {
        return Err("leave https:// and the path out: write NAME or NAME:PORT".to_owned());
    }
    let (name, port) = host
        .split_once(':')
        .map_or((host, None), |(name, port)| (name, Some(port)));
    if host.starts_with('[') || host.parse::<IpAddr>().or_else(|_| name.parse()).is_ok() {
        return Err(
            "passkeys belong to a name, and this is an address: give the name that people type"
                .to_owned(),
        );
    }
    check_origin(&origin(name, USUAL_PORT))?;
    let number =
        |port: &str| -> Option<u16> { port.parse().ok().filter(|_| !port.starts_with(['+', '0'])) };
    let no_port = || "the port is no number from 1 to 65535: write NAME:PORT".to_owned();
    Ok((
        name,
        port.map(|port| number(port).ok_or_else(no_port))
            .transpose()?,
    ))
}

/// Returns the address as browsers write an origin.
fn origin(name: &str, port: u16) -> String {
    if port == USUAL_PORT {
        format!("https://{name}")
    } else {
        format!("https://{name}:{port}")
    }
}

/// The files of the certificate, and the name for which it must be.
struct DeskFiles<'a> {
    name: &'a str,
    certificate: &'a Path,
    key: &'a Path,
}

impl DeskFiles<'_> {
    fn read(&self) -> CommandResult<PairText> {
        Ok(PairText {
            certificate: read_bounded(self.certificate, MAX_PEM)?,
            key: read_private(self.key, MAX_PEM, "private key")?.into(),
            client_ca: None,
        })
    }

    fn check(&self, text: &PairText) -> CommandResult<ServerPair> {
        let Self {
            name,
            certificate,
            key,
        } = self;
        let pair = ServerPair::check(text, now()).map_err(|flaws| {
            let flaws = flaws.iter().map(|flaw| {
                let file = if flaw.file == PairFile::Key {
                    key
                } else {
                    certificate
                };
                format!("{}: {}", file.display(), flaw.message)
            });
            CommandFailure::usage(joined(flaws, "; "))
        })?;
        if pair.is_for(name) {
            return Ok(pair);
        }
        fail_usage(format!(
            "{}: the certificate is not for {name}: issue a certificate with subjectAltName=DNS:{name}, or give its name with \
             --host. Passkeys of one name are no passkeys of another name",
            certificate.display()
        ))
    }

    /// Takes new files every few seconds, as long as the desk serves. Tells each problem once.
    async fn keep(
        &self,
        mut renewed: RenewedServer,
        mut serving: JoinHandle<()>,
        terminal: &Terminal,
    ) {
        let mut told: Option<String> = None;
        while timeout(RenewedServer::EVERY, &mut serving).await.is_err() {
            let problem = match self
                .read()
                .and_then(|text| renewed.take(text, |text| self.check(text)))
            {
                Ok(Some(valid)) => {
                    terminal.say(format!(
                        "took a new certificate, which expires at {}",
                        valid.not_after
                    ));
                    None
                }
                Ok(None) => {
                    let expired = renewed.server().valid().objection(now());
                    expired.map(|why| format!("browsers refuse the certificate of the desk: {why}"))
                }
                Err(why) => Some(format!(
                    "the desk can't use the new files and continues with the old certificate: {why}"
                )),
            };
            if let Some(problem) = problem
                .as_ref()
                .filter(|problem| told.as_ref() != Some(problem))
            {
                terminal.say(problem);
            }
            told = problem;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_has_a_name_and_a_port_as_browsers_write_it() {
        assert_eq!(name_and_port("desk.example"), Ok(("desk.example", None)));
        assert_eq!(
            name_and_port("desk.example:8443"),
            Ok(("desk.example", Some(8443)))
        );
        for (bad, why) in [
            ("https://desk.example", "leave https:// and the path out"),
            ("127.0.0.1", "this is an address"),
            ("127.0.0.1:443", "this is an address"),
            ("::1", "this is an address"),
            ("[::1]:443", "this is an address"),
            ("Desk.example", "lower-case"),
            ("desk.example:0", "from 1 to 65535"),
            ("desk.example:+5", "from 1 to 65535"),
            ("desk.example:0443", "from 1 to 65535"),
            ("desk.example:65536", "from 1 to 65535"),
            ("desk.example:", "from 1 to 65535"),
            ("desk.example:1:2", "from 1 to 65535"),
        ] {
            let refused = name_and_port(bad).expect_err(bad);
            assert!(refused.contains(why), "{bad}: {refused}");
        }
    }
}
