//! The addresses to which a run's proxy may connect.
//!
//! Only addresses of the public Internet are allowed (RFC 6890 and its registries). Addresses of this host, of its
//! local network and of the metadata services of clouds are refused, and so are addresses that embed another address
//! (for example NAT64). A run requests a host by its name. The proxy checks every address of this name, and connects to
//! one of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Checks that an address belongs to the public Internet.
///
/// # Errors
/// Returns the kind of the address as an error if the address is not public.
pub fn check_public(address: IpAddr) -> Result<(), &'static str> {
    match address {
        IpAddr::V4(v4) => check_v4(v4),
        IpAddr::V6(v6) => check_v6(v6),
    }
}

fn check_v4(address: Ipv4Addr) -> Result<(), &'static str> {
    let bits = u32::from(address);
    for (network, length, what) in V4 {
        let shift = 32 - length;
        if bits >> shift == u32::from_be_bytes(network) >> shift {
            return Err(what);
        }
    }
    Ok(())
}

/// The special-purpose registry of RFC 6890, private and shared networks, multicast and reserved addresses. The public
/// address 168.63.129.16 is refused too, because Azure's host agent answers at this address.
const V4: [([u8; 4], u32, &str); 16] = [
    ([0, 0, 0, 0], 8, "this host's"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "of a carrier's network"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([168, 63, 129, 16], 32, "a cloud's host agent"),
    ([169, 254, 0, 0], 16, "link-local, where clouds have their metadata"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "of a protocol"),
    ([192, 0, 2, 0], 24, "for documentation"),
    ([192, 88, 99, 0], 24, "of a 6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "for benchmarks"),
    ([198, 51, 100, 0], 24, "for documentation"),
    ([203, 0, 113, 0], 24, "for documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

fn check_v6(address: Ipv6Addr) -> Result<(), &'static str> {
    let bits = u128::from(address);
    let within = |network: [u16; 8], length: u32| {
        let shift = 128 - length;
        bits >> shift == u128::from(Ipv6Addr::from(network)) >> shift
    };
    // All other prefixes are refused, for example loopback, IPv4-mapped, NAT64, unique local, link-local, multicast
    // and unassigned addresses.
    if !within([0x2000, 0, 0, 0, 0, 0, 0, 0], 3) {
        return Err("no public IPv6 address");
    }
    for (network, length, what) in V6 {
        if within(network, length) {
            return Err(what);
        }
    }
    Ok(())
}

const V6: [([u16; 8], u32, &str); 4] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "of a protocol (Teredo and others)"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "for documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "an embedded IPv4 address (6to4)"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "for documentation"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_accepted() {
        for good in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "168.63.129.17",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(check_public(good.parse().expect("an address")), Ok(()), "{good}");
        }
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "203.0.113.7",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(check_public(bad.parse().expect("an address")).is_err(), "{bad}");
        }
    }
}
