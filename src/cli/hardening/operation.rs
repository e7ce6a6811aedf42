//! The point about daily operation: free space, backups, witnesses, checkpoints and the clock.
//!
//! The file also has the points about the network: which clients can reach the service, and how.

use crate::{
    Config, DoctorFinding, InspectedBoundary, ServedAddress,
    cli::doctor::host::{fail, pass, unread, yours},
    node::{clock_sync, kept_checkpoint::is_from_another_place, last_backup, served_certificate},
};
use boundary::WitnessStatus;
use client::now;
use crossing::PROPOSAL_ROOM;
use documents::Timestamp;

const DAY_S: i64 = 86_400;
/// Maximum age of the last read of the metrics, in seconds.
const SCRAPE_S: u64 = 5 * 60;
/// Maximum age of an entry that a witness has not cosigned, in seconds.
const WITNESS_S: i64 = 3600;
/// Number of days for which the free space must suffice.
const DAYS_AHEAD: u64 = 30;

/// Checks the daily operation.
pub fn check(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let now = now();
    let mut findings = vec![space(boundary, now), backup(boundary, now)];
    findings.extend(checkpoints(boundary));
    match boundary.roster() {
        Ok(roster) => findings.push(witnesses(boundary, roster.witnesses.len())),
        Err(problems) => findings.extend(unread(boundary, problems)),
    }
    findings.extend(of_service(boundary));
    findings.push(clock());
    findings
}

/// Compares the free space with the growth of the last days.
fn space(boundary: &InspectedBoundary<'_>, now: Timestamp) -> DoctorFinding {
    let config = boundary.config;
    let free = match boundary.free_space() {
        Ok(free) => free,
        Err(says) => return fail(says, "check the path of `data` in countersign.toml"),
    };
    // If the database is on a server, the data on the disk of `data` does not grow.
    let growth = config.database.file().and_then(|_| boundary.growth(now));
    let (free_mib, room_mib) = (free >> 20, PROPOSAL_ROOM >> 20);
    let (says, is_enough) = match growth {
        Some(growth) => {
            let days = growth.lasts_days(free);
            let says = format!(
                "{free_mib} MiB are free: at {growth}, they last {days} days until {room_mib} MiB are left"
            );
            (says, days >= DAYS_AHEAD)
        }
        None => {
            let says = format!(
                "{free_mib} MiB are free, and {room_mib} MiB must stay free; no growth of the data is known"
            );
            (says, free >= PROPOSAL_ROOM)
        }
    };
    if is_enough {
        pass(says)
    } else {
        fail(
            says,
            "enlarge the disk of `data`, or keep outputs for a shorter time ([retention])",
        )
    }
}

fn backup(boundary: &InspectedBoundary<'_>, now: Timestamp) -> DoctorFinding {
    let fix = format!(
        "{}, each day (`systemctl enable --now countersign-backup.timer`, with the units that `init` wrote), and copy DIR to \
         another machine",
        boundary.command("store backup DIR")
    );
    let log = match (&boundary.stored, boundary.sealed()) {
        (_, Some(sealed)) => sealed.boundary.id,
        (Ok(_), None) => return pass("there is nothing to back up: the log has not begun"),
        (Err(_), None) => return yours("the store can't be read, so its backup is not checked"),
    };
    match last_backup::read(boundary.config, &log) {
        None => fail("no backup of this log was made", fix),
        Some(at) if at > now => fail(
            format!(
                "the last backup is of {at}, which is in the future: the clock was wrong then or is wrong now"
            ),
            fix,
        ),
        Some(at) if now.unix() - at.unix() <= DAY_S => pass(format!("the last backup is of {at}")),
        Some(at) => fail(
            format!("the last backup is of {at}, so it is older than a day"),
            fix,
        ),
    }
}

/// Returns the command that exports the log, with the address that other machines use.
fn export_command(boundary: &InspectedBoundary<'_>) -> String {
    let ServedAddress { listen, tls } = boundary.address();
    let (port, scheme) = (listen.port(), if tls { "https" } else { "http" });
    let (host, way) = match boundary.config.hosts.first() {
        Some(host) => (host.clone(), ""),
        None if listen.ip().is_loopback() => ("localhost".to_owned(), " through a tunnel"),
        None => (listen.ip().to_string(), ""),
    };
    let host = if host.contains(':') && !host.ends_with(']') {
        host
    } else {
        format!("{host}:{port}")
    };
    format!("`countersign log export DIR --url {scheme}://{host}`{way}")
}

/// Checks that the store is compared with a checkpoint from another place. `doctor` reports the checkpoint files that
/// stop the start.
fn checkpoints(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let fix = format!(
        "{} on another machine, copy its file `checkpoint` to a directory of this host outside `data`, and name the copy \
         under `known_checkpoints` in countersign.toml",
        export_command(boundary)
    );
    let stored = match &boundary.stored {
        Err(problems) => return unread(boundary, problems.list()),
        Ok(stored) => stored,
    };
    let others = stored.checkpoints.iter();
    let others: Vec<_> = others
        .filter(|(path, _)| is_from_another_place(boundary.config, path))
        .collect();
    if others.is_empty() {
        let says = "no checkpoint from another place is configured, so the boundary can't notice an old copy of its store";
        return vec![fail(says, fix)];
    }
    let matching = others
        .iter()
        .filter(|(_, compared)| matches!(compared, Ok(None)))
        .count();
    let notes = others
        .iter()
        .filter_map(|(_, compared)| compared.as_ref().ok()?.as_ref());
    let mut findings: Vec<DoctorFinding> = notes.map(|note| fail(note, &*fix)).collect();
    if matching > 0 {
        findings.push(pass(format!(
            "each start compares the store with {matching} checkpoints from other places"
        )));
    }
    findings
}

fn witnesses(boundary: &InspectedBoundary<'_>, count: usize) -> DoctorFinding {
    if count == 0 {
        return fail(
            "the roster names no witness: nobody detects a boundary that shows two histories or an old history",
            boundary.roster_fix("add a witness to `witnesses`"),
        );
    }
    pass(format!("{count} witnesses in the roster"))
}

/// Reads the status of the running service about its witnesses and its monitoring.
fn of_service(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let status = boundary.status.as_ref().ok().and_then(Option::as_ref);
    let Some(monitoring) = status.and_then(|status| status.monitoring.as_ref()) else {
        return vec![yours(
            "the service does not answer here, so witnesses and monitoring are not checked: run this list again while \
             the service runs",
        )];
    };
    let mut findings: Vec<DoctorFinding> = monitoring.witnesses.iter().map(of_witness).collect();
    let fix = "let a monitoring system read /metrics each minute (docs/operate.md has examples for Prometheus)";
    findings.push(match monitoring.last_scrape_s {
        Some(age) if age <= SCRAPE_S => {
            pass(format!("a monitoring system read the metrics {age} s ago"))
        }
        Some(age) => fail(format!("the last read of the metrics was {age} s ago"), fix),
        None => fail(
            "nobody has read the metrics since the start of the service",
            fix,
        ),
    });
    findings
}

fn of_witness(witness: &WitnessStatus) -> DoctorFinding {
    let name = &witness.name;
    let fix = format!(
        "check the address of {name} in the roster; /ready says why the witness does not cosign"
    );
    if !witness.has_cosigned {
        fail(
            format!("the witness {name} has cosigned nothing since the start of the service"),
            fix,
        )
    } else if witness.age_s > WITNESS_S {
        fail(
            format!(
                "the witness {name} has not cosigned for {} s",
                witness.age_s
            ),
            fix,
        )
    } else {
        pass(format!(
            "the witness {name} has cosigned the newest entries"
        ))
    }
}

fn clock() -> DoctorFinding {
    match clock_sync::is_synchronized() {
        Ok(true) => pass("the clock is synchronized"),
        Ok(false) => fail(
            "the clock of this host is not synchronized",
            "`timedatectl set-ntp true`",
        ),
        Err(error) => yours(format!(
            "this program can't ask the kernel about the clock ({error}): timedatectl"
        )),
    }
}

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
    let now = now();
    match served_certificate::check(files, now) {
        // `doctor` reports the problems.
        Err(_) => Vec::new(),
        Ok(pair) => {
            let valid = pair.valid;
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
