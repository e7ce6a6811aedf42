//! The addresses of this host, and the listeners of this process.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Returns true if `address` belongs to this host. A socket can be bound only to addresses of this host, unless
/// `ip_nonlocal_bind` is set. With this setting, `address` is compared with the source address that the kernel selects.
pub(super) fn is_own(address: IpAddr) -> bool {
    let (any, family): (IpAddr, &str) = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), "ipv4"),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), "ipv6"),
    };
    if UdpSocket::bind((address, 0)).is_err() {
        return false;
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

/// Returns true if a listener of this process accepts connections to `address`, which belongs to this host. Without `/proc`,
/// the answer is always true.
pub(super) fn listens_here(address: SocketAddr) -> bool {
    let Ok(own) = std::fs::read_dir("/proc/self/fd") else { return true };
    let own: BTreeSet<String> = own
        .flatten()
        .filter_map(|entry| {
            Some(std::fs::read_link(entry.path()).ok()?.to_str()?.strip_prefix("socket:[")?.replace(']', ""))
        })
        .collect();
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter().any(|table| match std::fs::read_to_string(table) {
        Ok(lines) => lines.lines().skip(1).any(|line| {
            listener_of(line).is_none_or(|(listener, inode)| {
                let is_for_all = listener.ip().is_unspecified() || listener.ip() == address.ip();
                listener.port() == address.port() && is_for_all && own.contains(inode)
            })
        }),
        // A kernel without IPv6 has no second table.
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    })
}

/// Reads the local address and the inode of a line of `/proc/net/tcp` (proc_pid_net(5)). Sockets that do not listen have the
/// port 0 here, which no run connects to.
fn listener_of(line: &str) -> Option<(SocketAddr, &str)> {
    const LISTENS: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let is_listener = fields.nth(1)? == LISTENS;
    let port = if is_listener { u16::from_str_radix(port, 16).ok()? } else { 0 };
    // The kernel prints each word of four bytes as a number of its own byte order.
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            IpAddr::from(<[u8; 16]>::try_from(words.concat()).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some((SocketAddr::new(ip, port), fields.nth(5)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

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
    fn listeners_of_this_process_are_found_at_each_address_that_they_accept() {
        let one = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let all = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let at = |ip: &str, listener: &TcpListener| {
            listens_here(SocketAddr::new(ip.parse().expect("an address"), listener.local_addr().expect("bound").port()))
        };
        assert!(at("127.0.0.1", &one) && at("127.0.0.1", &all) && at("127.8.9.10", &all));
        assert!(!at("127.8.9.10", &one));
        if let Ok(both) = TcpListener::bind("[::]:0") {
            assert!(at("::1", &both) && at("127.0.0.1", &both));
        }
        let client = std::net::TcpStream::connect(one.local_addr().expect("bound")).expect("connected");
        assert!(!listens_here(client.local_addr().expect("bound")), "a connection is no listener");
        let gone = one.local_addr().expect("bound");
        drop((one, client));
        assert!(!listens_here(gone));
    }

    #[test]
    fn a_line_of_the_kernel_is_read_as_address_and_inode() {
        let line = "   1: 0100007F:1D09 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 31337 1 0 100 0";
        assert_eq!(listener_of(line), Some(("127.0.0.1:7433".parse().expect("one"), "31337")));
        let line =
            "   0: 00000000000000000000000001000000:1D09 00000000000000000000000000000000:0000 0A 0:0 00:0 0 998 0 7 1";
        assert_eq!(listener_of(line), Some(("[::1]:7433".parse().expect("one"), "7")));
        assert_eq!(listener_of("0: 0100007F:1D09 0100007F:22 01 0:0 00:0 0 0 0 7").map(|(at, _)| at.port()), Some(0));
        assert_eq!(listener_of("nonsense"), None);
    }
}
