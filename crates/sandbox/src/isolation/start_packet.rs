//! The packet with which the service asks the helper to start a run.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use serde::{Deserialize, Serialize};

use crate::{
    HostId, RunForm,
    isolation::protocol::{invalid, receive, send},
};

/// Request to the helper for the first process of a run. Init reads the rest of the request from its own socket.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub form: RunForm,
    /// User of the run on the host, or `None` for the user of the service.
    pub host_id: Option<HostId>,
    /// True if the run gets a network namespace (only with [`RunForm::Namespaces`]).
    pub own_network: bool,
}

/// The descriptors that the service sends with a [`Start`], in this order.
pub struct Descriptors {
    pub control: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// The control group in which the new process is created.
    pub cgroup: Option<OwnedFd>,
}

/// Maximum size of a [`Start`] in bytes.
const MAX_START: usize = 1024;

/// Requests a run from the helper with one packet.
pub fn send_start(to: &OwnedFd, start: &Start, descriptors: &Descriptors) -> io::Result<()> {
    let packet = serde_json::to_vec(start)?;
    let mut all = vec![
        descriptors.control.as_fd(),
        descriptors.stdout.as_fd(),
        descriptors.stderr.as_fd(),
    ];
    all.extend(descriptors.cgroup.as_ref().map(AsFd::as_fd));
    send(to, &packet, &all)
}

/// Receives one packet, or returns `None` if the service has exited.
pub fn receive_start(from: &OwnedFd) -> io::Result<Option<(Start, Descriptors)>> {
    let mut packet = [0; MAX_START];
    let (bytes, descriptors) = receive(from, &mut packet)?;
    if bytes == 0 {
        return Ok(None);
    }
    let start = parse_start(&packet[..bytes])?;
    let mut descriptors = descriptors.into_iter();
    let mut next = || {
        descriptors
            .next()
            .ok_or_else(|| invalid("a descriptor is missing"))
    };
    let (control, stdout, stderr) = (next()?, next()?, next()?);
    Ok(Some((
        start,
        Descriptors {
            control,
            stdout,
            stderr,
            cgroup: descriptors.next(),
        },
    )))
}

fn parse_start(packet: &[u8]) -> io::Result<Start> {
    serde_json::from_slice(packet).map_err(|error| invalid(&error.to_string()))
}

/// Parses bytes as the helper parses a start packet.
///
/// # Errors
/// Returns an error if the helper would refuse the packet.
pub fn check_start(bytes: &[u8]) -> io::Result<()> {
    parse_start(bytes).map(drop)
}
