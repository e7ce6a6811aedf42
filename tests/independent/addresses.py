"""Which word of policy a host of a list needs. From `formats-policy.md`, section 11."""

import ipaddress

NEVER = "never"
NETWORKS = {
    NEVER: """0.0.0.0/8 100.100.100.200/32 168.63.129.16/32 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24
        198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 fd00:ec2::/32 fd20:ce::/32
        fd00:c1::/32 2001::/23 2001:db8::/32 2002::/16 3fff::/20""",
    "localhost": "127.0.0.0/8 ::1/128",
    "private": "10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.168.0.0/16 fc00::/7",
    None: "0.0.0.0/0 2000::/3",
}


def word_of(host):
    """`private`, `localhost`, NEVER, or None for a public address and for a name that only the run resolves."""
    name, _, _ = host.rpartition(":")
    if name == "localhost":
        return "localhost"
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    for word, networks in NETWORKS.items():
        if any(address in ipaddress.ip_network(network) for network in networks.split()):
            return word
    return NEVER
