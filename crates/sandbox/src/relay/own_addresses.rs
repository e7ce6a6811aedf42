//! The addresses of this host, and the listeners of this process.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    path::PathBuf,
};

use rustix::io::Errno;

/// Returns true if `address` belongs to this host. A socket can be bound only to addresses of this host, unless
/// `ip_nonlocal_bind` is set. With this setting, `address` is compared with the source address that the kernel selects.
pub fn is_own(address: IpAddr) -> bool {
    let (any, family): (IpAddr, &str) = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), "ipv4"),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), "ipv6"),
    };
    if let Err(error) = UdpSocket::bind((address, 0)) {
        // Another error, for example that no descriptor is free, does not say whose address this is.
        return !matches!(
            Errno::from_io_error(&error),
            Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)
        );
    }
    let anything_goes = std::fs::read_to_string(format!("/proc/sys/net/{family}/ip_nonlocal_bind"));
    if anything_goes.is_ok_and(|value| value.trim() == "0") {
        return true;
    }
    // Connecting a UDP socket sends no packet.
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

/// Returns true if this process listens on a port, at any address of this host. Without `/proc`, the answer is always true.
pub fn listens_on(port: u16) -> bool {
    let is_own = |socket: PathBuf| match std::fs::read_dir("/proc/self/fd") {
        Ok(own) => own
            .flatten()
            .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == socket)),
        Err(_) => true,
    };
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .any(|table| match File::open(table) {
            // After the title and the listeners, the table has all connections of the host, which can be very many.
            Ok(table) => BufReader::new(table)
                .lines()
                .skip(1)
                .take_while(|line| line.as_ref().map_or(true, |line| line.contains(" 0A ")))
                .any(|line| line.map_or(true, |line| listener_of(&line, port).is_some_and(is_own))),
            // A kernel without IPv6 has no second table.
            Err(error) => error.kind() != ErrorKind::NotFound,
        })
}

/// Returns the name of the socket in a line of `/proc/net/tcp` (proc_pid_net(5)), or `None` if this socket does not
/// listen on `port`. The name has the form of the links in `/proc/self/fd`.
fn listener_of(line: &str, port: u16) -> Option<PathBuf> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let is_listener = fields.get(1)?.ends_with(&format!(":{port:04X}")) && *fields.get(3)? == "0A";
    is_listener.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn addresses_of_this_host_are_detected() {
        for own in ["127.0.0.1", "127.8.9.10"] {
            assert!(is_own(own.parse().expect("an address")), "{own}");
        }
        for other in ["203.0.113.77", "2001:db8::77"] {
            assert!(!is_own(other.parse().expect("an address")), "{other}");
        }
    }

    #[test]
    fn listeners_of_this_process_are_found_at_each_address() {
        for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(bound) else {
                continue;
            };
            let port = listener.local_addr().expect("bound").port();
            assert!(listens_on(port), "{bound}");
            let client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
            assert!(
                !listens_on(client.local_addr().expect("bound").port()),
                "a connection is no listener"
            );
            drop((listener, client));
            assert!(!listens_on(port), "{bound}");
        }
    }

    #[test]
    fn a_line_of_the_kernel_is_read_as_port_and_socket() {
        let line = "   1: 0100007F:1D09 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 31337 1 0 100 0";
        assert_eq!(listener_of(line, 7433), Some("socket:[31337]".into()));
        assert_eq!(listener_of(line, 7434), None);
        assert_eq!(listener_of(&line.replace(" 0A ", " 01 "), 7433), None);
        assert_eq!(listener_of("nonsense", 7433), None);
    }
}
