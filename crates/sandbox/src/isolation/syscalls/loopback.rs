//! The loopback device of a run's network namespace.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd as _,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::isolation::syscalls::check;

/// Enables the loopback device of this process's network namespace.
pub fn bring_up() -> io::Result<()> {
    let mut request = loopback_request("lo");
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    configure_network(AddressFamily::INET, libc::SIOCSIFFLAGS, &request)
}

/// Adds an address to the loopback device of this process's network namespace. `number` is different for each IPv4 address.
/// The calls need no netlink socket, which the systemd unit of the service forbids (netdevice(7)).
pub fn add_address(number: usize, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(v4) => {
            // The device gets the name of an alias, such as `lo:3`. Without the second call, the mask would be that of the
            // address class, and other addresses of the network would belong to the run too.
            let mut request = loopback_request(&format!("lo:{number}"));
            for (call, address) in [
                (libc::SIOCSIFADDR, v4),
                (libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST),
            ] {
                // In a `sockaddr_in`, the address follows the two bytes of the port.
                let mut data = [0; 14];
                data[2..6].copy_from_slice(&address.octets().map(|byte| byte as libc::c_char));
                request.ifr_ifru.ifru_addr = libc::sockaddr {
                    sa_family: libc::AF_INET as libc::sa_family_t,
                    sa_data: data,
                };
                configure_network(AddressFamily::INET, call, &request)?;
            }
            Ok(())
        }
        IpAddr::V6(v6) => {
            let request = libc::in6_ifreq {
                ifr6_addr: libc::in6_addr {
                    s6_addr: v6.octets(),
                },
                ifr6_prefixlen: 128,
                // The loopback device is the first device of each network namespace.
                ifr6_ifindex: 1,
            };
            configure_network(AddressFamily::INET6, libc::SIOCSIFADDR, &request)
        }
    }
}

fn loopback_request(name: &str) -> libc::ifreq {
    #[expect(unsafe_code, reason = "a zeroed structure of C")]
    // SAFETY: `ifreq` consists of a name and a union of plain data, for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte as libc::c_char;
    }
    request
}

/// Calls an ioctl of netdevice(7) that only reads `request`, which is an `ifreq`, or an `in6_ifreq` for IPv6 addresses.
fn configure_network<T>(family: AddressFamily, call: libc::c_ulong, request: &T) -> io::Result<()> {
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    #[expect(unsafe_code, reason = "there is no safe wrapper of this ioctl")]
    // SAFETY: The calls of this file pass the structure that the ioctl reads, which lives until the call returns.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), call as libc::Ioctl, &raw const *request) };
    check(result.into()).map(drop)
}
