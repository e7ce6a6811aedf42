//! The hosts of a list for the network: their text, and the addresses that a run may reach.
//!
//! A host is a name or an IP address with a port. The boundary resolves a name when a run connects, and judges each address
//! of the name. An address in the list is judged by the same function before anything is signed.
//!
//! The file also checks the names of other objects of the host in a step: addresses and users.
//!
//! These checks read only the text and never ask the host, so that the boundary and the approver's program derive the same
//! profile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ISOLATED, Network};

/// Maximum number of hosts of one list, because the service opens a listener for each host of each run.
pub const MAX_HOSTS: usize = 64;

/// A host that policy allows: a text such as `api.example.com:443`, or a map with `host` and words about its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "AllowedHostForm", into = "AllowedHostForm")]
pub struct AllowedHost {
    /// The host with its port.
    pub host: String,
    /// True if the addresses of the host may be private.
    pub private: bool,
    /// True if the addresses of the host may belong to the host of the boundary.
    pub localhost: bool,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
enum AllowedHostForm {
    /// A host whose addresses must be public.
    Public(String),
    /// A host with words about its addresses.
    WithWords {
        /// The host with its port, for example `db.internal:5432`.
        host: String,
        /// With `true`, the addresses of the host may be private.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        private: bool,
        /// With `true`, the addresses of the host may belong to the host of the boundary, for example 127.0.0.1.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        localhost: bool,
    },
}

impl From<AllowedHostForm> for AllowedHost {
    fn from(form: AllowedHostForm) -> Self {
        match form {
            AllowedHostForm::Public(host) => Self {
                host,
                ..Self::default()
            },
            AllowedHostForm::WithWords {
                host,
                private,
                localhost,
            } => Self {
                host,
                private,
                localhost,
            },
        }
    }
}

impl From<AllowedHost> for AllowedHostForm {
    fn from(
        AllowedHost {
            host,
            private,
            localhost,
        }: AllowedHost,
    ) -> Self {
        if private || localhost {
            Self::WithWords {
                host,
                private,
                localhost,
            }
        } else {
            Self::Public(host)
        }
    }
}

impl Network {
    /// Returns the hosts, each with the words of policy about its addresses (`private` and `localhost`).
    pub fn allowed(&self) -> impl Iterator<Item = AllowedHost> {
        self.hosts.iter().map(|host| AllowedHost {
            host: host.clone(),
            private: self.private.contains(host),
            localhost: self.localhost.contains(host),
        })
    }
}

words! {
    /// The reason why a run got no connection to a host of its list.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum HostRefusal {
        /// An address is private, and policy does not say `private: true` of the host.
        Private = "its address is private; the policy must say private: true of this host",
        /// An address belongs to the host of the boundary, and policy does not say `localhost: true` of the host.
        Localhost = "its address belongs to the host of the boundary; the policy must say localhost: true of this host",
        /// No run may reach an address of this kind, for example the metadata service of a cloud.
        Never = "its address is of a kind that no step may reach, for example of a cloud's metadata service; remove the host",
        /// The address and the port belong to the boundary, its database, a witness or another node.
        Boundary = "at its address is the boundary, its database, a witness or another node, which no step may reach; remove the host",
        /// The name has no address, or more than 16, or it could not be resolved.
        Unresolved = "the host of the boundary finds no address for the name, or more than 16; check the name there with `getent ahosts`",
        /// No address of the host accepted the connection.
        Unreachable = "it accepts no connection from the host of the boundary; check address, port and firewall",
        /// The run had reached its limit of connections or of bytes.
        Limit = "the run had too many connections at one time, or in all, or transferred too many bytes",
    }
}

impl HostRefusal {
    /// Returns true if a later connection of the same run can succeed without a change of the policy.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Unresolved | Self::Unreachable)
    }
}

/// Networks of IPv4 that no run reaches: "this network" (0.0.0.0/8), link-local addresses with the metadata of clouds,
/// addresses for protocols, examples, relays, benchmarks and multicast, and reserved addresses with the broadcast
/// address. Two single addresses are added: Alibaba's metadata service (100.100.100.200) has a shared address, and
/// Azure's host agent (168.63.129.16) has a public address.
const NEVER_V4: [([u8; 4], u32); 12] = [
    ([0, 0, 0, 0], 8),
    ([100, 100, 100, 200], 32),
    ([168, 63, 129, 16], 32),
    ([169, 254, 0, 0], 16),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];
/// Private networks of IPv4 (RFC 1918, RFC 6598).
const PRIVATE_V4: [([u8; 4], u32); 4] = [
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
];
/// Networks of IPv6 that no run reaches, although they lie in [`PUBLIC_V6`] or [`PRIVATE_V6`]. Each entry has the first
/// 32 bits of the network and the length of its prefix. These networks are for the metadata services of Amazon, Oracle,
/// Scaleway, Akamai and Google, for protocols (such as Teredo), for examples in documentation, and for 6to4.
const NEVER_V6: [(u32, u32); 9] = [
    (0xfd00_0ec2, 32),
    (0xfd00_00c1, 32),
    (0xfd00_0042, 32),
    (0xfd00_a9fe, 32),
    (0xfd20_00ce, 32),
    (0x2001_0000, 23),
    (0x2001_0db8, 32),
    (0x2002_0000, 16),
    (0x3fff_0000, 20),
];
/// Private networks of IPv6 (RFC 4193).
const PRIVATE_V6: (u32, u32) = (0xfc00_0000, 7);
const PUBLIC_V6: (u32, u32) = (0x2000_0000, 3);
/// Addresses that a run has on its own loopback for the names of its list.
const OF_NAMES: ([u8; 4], u32) = ([127, 77, 0, 0], 16);

/// Returns true if the first `length` bits of an address are those of the network.
fn is_in(address: u32, (network, length): (u32, u32)) -> bool {
    (address ^ network) >> (32 - length) == 0
}

fn is_in_v4(address: Ipv4Addr, (network, length): ([u8; 4], u32)) -> bool {
    is_in(address.into(), (u32::from_be_bytes(network), length))
}

/// Returns the word of policy that an address needs, or `None` for a public address.
///
/// # Errors
/// Returns `Never` if no word lets a run reach the address. IPv6 addresses outside of the public range (2000::/3), of private
/// networks (fc00::/7) and of the loopback are all refused, among them IPv4 addresses in any IPv6 form.
fn needs(address: IpAddr) -> Result<Option<HostRefusal>, HostRefusal> {
    let (never, private, public) = match address {
        IpAddr::V4(v4) => {
            let within = |networks: &[_]| networks.iter().any(|network| is_in_v4(v4, *network));
            (within(&NEVER_V4), within(&PRIVATE_V4), true)
        }
        IpAddr::V6(v6) => {
            let first = (u128::from(v6) >> 96) as u32;
            let never = NEVER_V6.into_iter().any(|network| is_in(first, network));
            (never, is_in(first, PRIVATE_V6), is_in(first, PUBLIC_V6))
        }
    };
    if address.is_loopback() {
        Ok(Some(HostRefusal::Localhost))
    } else if never || !(private || public) {
        Err(HostRefusal::Never)
    } else {
        Ok(private.then_some(HostRefusal::Private))
    }
}

/// Checks that a run may reach an address of a host. `is_own` is true if the address belongs to the host of the boundary.
///
/// # Errors
/// Returns the reason why the run may not reach the address.
pub fn check_reach(host: &AllowedHost, address: IpAddr, is_own: bool) -> Result<(), HostRefusal> {
    let of_kind = needs(address)?;
    match if is_own {
        Some(HostRefusal::Localhost)
    } else {
        of_kind
    } {
        Some(HostRefusal::Localhost) if host.localhost => Ok(()),
        Some(HostRefusal::Private) if host.private => Ok(()),
        needed => needed.map_or(Ok(()), Err),
    }
}

/// Checks a host without resolving its name: an IP address by its network, and `localhost` as the loopback of the
/// boundary's host. Every other name passes.
///
/// # Errors
/// Returns the reason why no run may reach the host.
pub fn check_unresolved(host: &AllowedHost) -> Result<(), HostRefusal> {
    match host.host.parse::<SocketAddr>() {
        Ok(number) => check_reach(host, number.ip(), false),
        Err(_) if is_localhost(&host.host) => check_reach(host, Ipv4Addr::LOCALHOST.into(), true),
        Err(_) => Ok(()),
    }
}

/// Returns true if the host is `localhost` with a port.
pub fn is_localhost(host: &str) -> bool {
    host.starts_with("localhost:")
}

/// Checks the text of a host: a lower-case name or an IP address, with a port. Examples are `api.example.com:443`,
/// `10.1.2.3:5432` and `[fd12::1]:443`.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_host(text: &str) -> Result<(), String> {
    let Ok(number) = text.parse::<SocketAddr>() else {
        return check_address(text);
    };
    let refuse = |why: &str| Err(format!("the address {text:?} {why}"));
    let zone = matches!(number, SocketAddr::V6(v6) if v6.scope_id() != 0);
    if zone || number.port() == 0 || number.to_string() != text {
        let plain = SocketAddr::new(number.ip(), number.port());
        return refuse(&format!(
            "must be in its plain form, with a port from 1 to 65535: write {plain}"
        ));
    }
    if matches!(number.ip(), IpAddr::V4(v4) if is_in_v4(v4, OF_NAMES)) {
        return refuse(
            "is in 127.77.0.0/16, which each run has for the names of its list: write another address",
        );
    }
    match needs(number.ip()) {
        Ok(_) => Ok(()),
        Err(never) => refuse(&format!("can't be in a list: {never}")),
    }
}

/// Checks a lower-case host name with a port, for example `api.example.com:443`.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_address(text: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("the address {:?} {why}", shortened(text)));
    let Some((name, port)) = text.rsplit_once(':') else {
        return refuse("has no port: write name:port, for example \"api.example.com:443\"");
    };
    let digits = !port.is_empty()
        && port.len() <= 5
        && port.bytes().all(|c| c.is_ascii_digit())
        && !port.starts_with('0');
    if !digits || port.parse::<u16>().is_err() {
        return refuse("has no port between 1 and 65535: write name:port");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.contains('*') {
        return refuse("is a pattern: list each host by its full name");
    }
    if name.contains(':')
        || name
            .split('.')
            .all(|part| part.bytes().all(|c| c.is_ascii_digit()))
    {
        return refuse("is not a name: write name:port");
    }
    // Some resolvers interpret a name whose last part is a number as an IP address (0x7f.1).
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|c| c.is_ascii_digit()) || last.starts_with("0x");
    if name.len() > 253 || numeric || !name.split('.').all(label) {
        return refuse("is not a lower-case host name: write name:port");
    }
    Ok(())
}

/// Checks the address of a website as browsers write an origin: `https://NAME` or `https://NAME:PORT`, where the port 443 is
/// left out.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_origin(text: &str) -> Result<(), String> {
    let name = text
        .strip_prefix("https://")
        .ok_or_else(|| "the address must be https://NAME".to_owned())?;
    match name.strip_suffix(":443") {
        Some(plain) => Err(format!(
            "browsers leave the port 443 out: write https://{plain}"
        )),
        None if name.contains(':') => check_address(name),
        None => check_address(&format!("{name}:443")),
    }
}

/// Checks the name of a user of the host. Root is never allowed.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_user(text: &str) -> Result<(), String> {
    let first = |c: u8| c.is_ascii_lowercase() || c == b'_';
    let ok = (1..=32).contains(&text.len())
        && text.bytes().next().is_some_and(first)
        && text
            .bytes()
            .all(|c| first(c) || c.is_ascii_digit() || c == b'-' || c == b'.');
    if text == "root" {
        Err("no step runs as root: name another user".to_owned())
    } else if text == ISOLATED || !ok {
        Err(format!(
            "{:?} is not the name of a user: use lower-case letters, digits and _ - .",
            shortened(text)
        ))
    } else {
        Ok(())
    }
}

/// Returns the first characters of a text for a message.
pub fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(private: bool, localhost: bool) -> AllowedHost {
        AllowedHost {
            host: "a:1".to_owned(),
            private,
            localhost,
        }
    }

    /// Returns the reason against an address for a host without words, with `private`, with `localhost` and with both.
    fn reasons(address: &str) -> [Option<HostRefusal>; 4] {
        let address = address.parse().expect("an address");
        [(false, false), (true, false), (false, true), (true, true)].map(|(private, localhost)| {
            check_reach(&host(private, localhost), address, false).err()
        })
    }

    #[test]
    fn each_kind_of_address_needs_its_own_word_of_policy() {
        use HostRefusal::{Localhost, Never, Private};
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "168.63.129.17",
            "172.32.0.1",
            "172.15.255.255",
            "100.128.0.1",
            "192.0.1.1",
            "192.167.255.255",
            "11.0.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
            "2003::1",
        ] {
            assert_eq!(reasons(public), [None; 4], "{public}");
        }
        for private in [
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.201",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "fc00::1",
            "fdff:ffff::1",
            "fd00::1",
            "fd20:cf::254",
        ] {
            assert_eq!(
                reasons(private),
                [Some(Private), None, Some(Private), None],
                "{private}"
            );
        }
        for own in ["127.0.0.1", "127.255.0.1", "127.77.0.1", "::1"] {
            assert_eq!(
                reasons(own),
                [Some(Localhost), Some(Localhost), None, None],
                "{own}"
            );
        }
        for never in [
            "0.0.0.0",
            "0.1.2.3",
            "100.100.100.200",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::a00:1",
            "::ffff:0:a00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2002:808:808::1",
            "3fff::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fd00:a9fe:a9fe::1",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "5f00::1",
            "4000::1",
        ] {
            assert_eq!(reasons(never), [Some(Never); 4], "{never}");
        }
    }

    #[test]
    fn an_address_of_the_host_itself_needs_the_word_localhost_also_if_it_is_public_or_private() {
        for own in ["10.0.0.1", "1.1.1.1", "fd00::1"] {
            let check = |private, localhost| {
                check_reach(
                    &host(private, localhost),
                    own.parse().expect("an address"),
                    true,
                )
            };
            assert_eq!(check(true, false), Err(HostRefusal::Localhost), "{own}");
            assert_eq!(check(false, true), Ok(()), "{own}");
        }
        assert_eq!(
            check_reach(&host(true, true), "169.254.1.1".parse().expect("one"), true),
            Err(HostRefusal::Never)
        );
    }

    #[test]
    fn a_number_in_a_list_is_plain_and_of_a_kind_that_a_run_may_reach() {
        for good in [
            "10.1.2.3:5432",
            "[fd12::1]:443",
            "1.1.1.1:53",
            "127.0.0.1:8080",
            "[::1]:80",
            "127.78.0.1:1",
            "192.168.0.255:1",
            "a.example:443",
            "localhost:5432",
        ] {
            assert_eq!(check_host(good), Ok(()), "{good}");
        }
        for (bad, word) in [
            ("10.1.2.3:0", "plain form"),
            ("10.1.2.3:05432", "plain form"),
            ("[FD12::1]:443", "write [fd12::1]:443"),
            ("[fd12:0:0::1]:443", "write [fd12::1]:443"),
            ("[fd12::1%3]:443", "write [fd12::1]:443"),
            ("127.77.0.1:80", "127.77.0.0/16"),
            ("127.77.255.255:80", "127.77.0.0/16"),
            ("169.254.169.254:80", "metadata"),
            ("0.0.0.0:80", "no step may reach"),
            ("[::ffff:10.0.0.1]:80", "no step may reach"),
            ("[64:ff9b::a00:1]:80", "no step may reach"),
            ("[fe80::1]:80", "no step may reach"),
            ("255.255.255.255:80", "no step may reach"),
            ("10.1.2.3", "port"),
            ("10.1.2:80", "not a name"),
            ("010.1.2.3:80", "not a name"),
            ("fd12::1:443", "not a name"),
            ("0x7f.1:80", "lower-case host name"),
            ("2130706433:80", "not a name"),
            ("10.1.2.3:65536", "port"),
            ("A.example:443", "lower-case"),
        ] {
            let why = check_host(bad).expect_err(bad);
            assert!(why.contains(word), "{bad}: {why}");
        }
    }

    #[test]
    fn localhost_and_numbers_are_judged_before_a_run() {
        let check = |text: &str, private, localhost| {
            check_unresolved(&AllowedHost {
                host: text.to_owned(),
                private,
                localhost,
            })
            .err()
        };
        assert_eq!(
            check("localhost:80", true, false),
            Some(HostRefusal::Localhost)
        );
        assert_eq!(check("localhost:80", false, true), None);
        assert_eq!(
            check("10.1.2.3:80", false, true),
            Some(HostRefusal::Private)
        );
        assert_eq!(check("10.1.2.3:80", true, false), None);
        assert_eq!(check("[::1]:80", true, false), Some(HostRefusal::Localhost));
        assert_eq!(
            check("169.254.169.254:80", true, true),
            Some(HostRefusal::Never)
        );
        assert_eq!(
            check("db.internal:80", false, false),
            None,
            "the boundary resolves a name at the connection"
        );
    }
}

#[cfg(test)]
mod host_names_tests {
    use super::*;

    #[test]
    fn a_network_address_consists_of_a_name_and_a_port() {
        for good in [
            "api.example.com:443",
            "a:1",
            "xn--bcher-kva.example:8443",
            "db_1.internal:5432",
            "1a.example:1",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        let bad = "a a: a:0 a:65536 a:080 a:+1 A.example:1 a..b:1 .a:1 a.:1 -a:1 127.0.0.1:80 [::1]:80 \
                   ::1:80 2130706433:80 0x7f.1:80 a.0x7f:80 a.1:80 *.a:1 user@a:1 a/b:1 ä.example:1";
        for bad in bad.split(' ').chain(["", "a: 1", "a b:1", "a\n:1"]) {
            assert!(check_address(bad).is_err(), "{bad}");
        }
        assert!(check_address(&format!("{}:1", "a.".repeat(130))).is_err());
    }

    #[test]
    fn the_address_of_a_website_is_an_origin() {
        for good in [
            "https://desk.example",
            "https://desk.example:8443",
            "https://localhost:1",
        ] {
            assert_eq!(check_origin(good), Ok(()), "{good}");
        }
        for bad in
            "http://a.example https://a.example/ https://a.example:443 https:// https://A.example https://127.0.0.1 a"
                .split(' ')
        {
            assert!(check_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_step_runs_as_root() {
        for good in ["web", "www-data", "_apt", "a1.b"] {
            assert_eq!(check_user(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "root",
            "isolated",
            "0",
            "Web",
            "a b",
            "-a",
            &"a".repeat(33),
        ] {
            assert!(check_user(bad).is_err(), "{bad}");
        }
    }
}
