//! Points about the network: who can reach the service, and how.

use crate::{
    Config, DoctorFinding, ServedAddress,
    cli::doctor::finding::{fail, pass, yours},
    node::{served_certificate, start},
};

/// Minimum time that a certificate should still be valid, in seconds. A third of its whole validity is also enough,
/// because some CAs issue certificates for a day.
const LEFT_S: i64 = 14 * 86_400;

/// Checks that clients reach the service only over the loopback or with TLS.
pub fn network(address: ServedAddress) -> Vec<DoctorFinding> {
    let ServedAddress { listen, tls } = address;
    vec![if tls {
        pass(format!("{listen} accepts only TLS"))
    } else if listen.ip().is_loopback() {
        pass(format!(
            "{listen} is a loopback address; clients on other machines need a certificate under [tls], a tunnel, or a \
             proxy with TLS on this host whose name is in `hosts`"
        ))
    } else {
        fail(
            format!(
                "other machines can reach {listen} without TLS, so anyone who can read the traffic can read tokens"
            ),
            "name a certificate and its key under [tls], or listen on 127.0.0.1 behind a proxy on this host",
        )
    }]
}

/// Checks the certificate of the service.
pub fn certificate(config: &Config) -> Vec<DoctorFinding> {
    let Some(files) = &config.tls else {
        return vec![pass(
            "there is no certificate: the service does not use TLS",
        )];
    };
    let now = (start::surroundings().now)();
    match served_certificate::check(files, now) {
        // `doctor` reports the problems.
        Err(_) => Vec::new(),
        Ok(pair) => {
            let valid = pair.valid();
            let end = valid.not_after;
            let (left, whole) = (
                end.unix() - now.unix(),
                end.unix() - valid.not_before.unix(),
            );
            let says = format!("the certificate is valid until {end}");
            let time = if left < LEFT_S && left < whole / 3 {
                fail(
                    says,
                    "renew the certificate: the service takes the new files without a restart",
                )
            } else {
                pass(format!("{says}, and only the service can read its key"))
            };
            let others = config.hosts.iter().filter(|host| !pair.is_for(host));
            let other = |host: &String| {
                fail(
                    format!(
                        "the certificate is not for {host}, so clients that use this name refuse the connection"
                    ),
                    "issue a certificate whose subject alternative names contain this name, or remove the name from \
                     `hosts` in countersign.toml",
                )
            };
            [time].into_iter().chain(others.map(other)).collect()
        }
    }
}

/// Reminds the operator of the firewall, which this program can't check.
pub fn firewall(address: ServedAddress) -> Vec<DoctorFinding> {
    if address.listen.ip().is_loopback() {
        return vec![pass(
            "no firewall rule is necessary: the service listens on the loopback only",
        )];
    }
    vec![yours(format!(
        "open port {} only for the networks of agents, approvers and auditors",
        address.listen.port()
    ))]
}
