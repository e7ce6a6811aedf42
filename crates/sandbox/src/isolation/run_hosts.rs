//! The hosts of a run's list, on the loopback device of the run.
//!
//! Each name of the list has an address of its own in 127.77.0.0/16, which only the `/etc/hosts` of the run names. An
//! IP address of the list is put on the loopback device itself. The first process of the run opens a listener for each
//! host and sends the listeners to the service in the order of the list. The listener of a connection tells the service
//! to which host the run connects. The kernel refuses a connection to any other address, because no process listens
//! there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{fd::AsFd as _, unix::net::UnixStream},
    time::{Duration, Instant},
};

use crate::{
    AtStage as _, HelperMessage, SetupResult, SetupStage, isolation::syscalls::loopback, protocol,
};
use documents::is_localhost;

/// Maximum time until the kernel lets a process bind to a new IPv6 address.
const NEW_ADDRESS: Duration = Duration::from_secs(1);

/// Opens a listener for each host, and sends the listeners to the service.
pub fn listen(hosts: &[String], control: &UnixStream) -> SetupResult {
    let what = |host: &String| format!("listen for connections of the run to {host}");
    let hosts: Vec<_> = hosts.iter().zip(addresses(hosts)).collect();
    // An address can be listed with several ports. All addresses are added first, because the kernel makes a new IPv6
    // address usable a moment later.
    let numbers: BTreeSet<IpAddr> = hosts
        .iter()
        .map(|(_, at)| at.ip())
        .filter(|ip| !ip.is_loopback())
        .collect();
    for (number, ip) in numbers.into_iter().enumerate() {
        let what = format!("put {ip} on the loopback device of the run");
        loopback::add_address(number, ip).at(SetupStage::NetworkNamespace, what)?;
    }
    for (host, at) in hosts {
        let listener = bind(at).at(SetupStage::NetworkNamespace, what(host))?;
        protocol::send_descriptor(control, &HelperMessage::Listening, listener.as_fd())
            .at(SetupStage::NetworkNamespace, what(host))?;
    }
    Ok(())
}

/// Binds to an address of the loopback device, as soon as the address is usable.
fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(at) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrNotAvailable
                    && at.is_ipv6()
                    && begun.elapsed() < NEW_ADDRESS =>
            {
                std::thread::sleep(Duration::from_micros(50));
            }
            bound => return bound,
        }
    }
}

/// Returns the lines of the run's `/etc/hosts` for the names of the list. The list is sorted.
pub fn lines(hosts: &[String]) -> String {
    let is_name =
        |(host, at): &(&String, SocketAddr)| host.parse() != Ok(*at) && !is_localhost(host);
    let named = hosts.iter().zip(addresses(hosts)).filter(is_name);
    let line = |(host, at): (&String, SocketAddr)| {
        let name = host.rsplit_once(':').map_or("", |(name, _)| name);
        format!("{} {name}\n", at.ip())
    };
    let mut lines: Vec<String> = named.map(line).collect();
    lines.dedup();
    lines.concat()
}

/// Returns the address of each host in the run. Hosts with the same name and different ports have the same address.
fn addresses(hosts: &[String]) -> impl Iterator<Item = SocketAddr> {
    let mut names: BTreeMap<&str, IpAddr> = BTreeMap::new();
    hosts.iter().map(move |host| {
        if let Ok(number) = host.parse() {
            return number;
        }
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        let [high, low] = u16::try_from(names.len() + 1)
            .unwrap_or(u16::MAX)
            .to_be_bytes();
        let own = Ipv4Addr::new(127, 77, high, low).into();
        let address = if is_localhost(host) {
            Ipv4Addr::LOCALHOST.into()
        } else {
            *names.entry(name).or_insert(own)
        };
        SocketAddr::new(address, port.parse().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_address_and_a_number_is_its_own_address() {
        let hosts = [
            "10.1.2.3:5432",
            "[fd00::1]:443",
            "a.example:443",
            "a.example:80",
            "countersign:1",
            "localhost:5432",
        ];
        let hosts = hosts.map(str::to_owned);
        let found: Vec<String> = addresses(&hosts).map(|at| at.to_string()).collect();
        assert_eq!(
            found,
            [
                "10.1.2.3:5432",
                "[fd00::1]:443",
                "127.77.0.1:443",
                "127.77.0.1:80",
                "127.77.0.2:1",
                "127.0.0.1:5432"
            ]
        );
        assert_eq!(
            lines(&hosts),
            "127.77.0.1 a.example\n127.77.0.2 countersign\n"
        );
    }
}
