"""Which addresses and names are on the public internet, in every way to write them.

The table is our own, because those of Python's versions differ: IANA's registries of special-purpose addresses, and
what clouds keep for themselves.
"""

import ipaddress
import re
import socket

import httpx

MAX_URL_LENGTH = 4096
LOOPBACK = "127.0.0.1"  # this machine alone
LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home.arpa", ".home", ".corp")
WILDCARD_ADDRESSES = frozenset({"0.0.0.0", "::", "[::]", ""})  # noqa: S104 - named to be told apart from real addresses
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
PRIVATE_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
            "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
            "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
UNICAST_V6 = ipaddress.IPv6Network("2000::/3")  # all that was ever given out
PRIVATE_V6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
EMBEDDING = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "::ffff:0:0/96", "::ffff:0:0:0/96")))


def is_public_address(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in PRIVATE_V4)
    return address in UNICAST_V6 and not any(address in network for network in PRIVATE_V6)


def unwrap_address(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 address stands for: mapped, translated or 6to4; else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if int(address) > 1 and any(address in network for network in EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour or address


def is_public_host(host: str) -> bool:
    """Tell whether a host name or address could be on the public internet, however the address is written."""
    name = host.rstrip(".").lower()
    if address := parse_address(name):
        return is_public_address(address)
    return "." in name and not name.endswith(LOCAL_SUFFIXES)


def is_port(port: int | None) -> bool:
    """Tell whether a port can be connected to; None is the scheme's own."""
    return port is None or 0 < port < 65536


def parse_address(host: str) -> Address | None:
    """Read a literal address: dotted, decimal, hexadecimal, octal, IPv6, IPv4 inside IPv6; None for a name."""
    try:
        return unwrap_address(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        return inet_aton_address(host)


def inet_aton_address(host: str) -> ipaddress.IPv4Address | None:
    """Read the number forms of IPv4 that resolvers accept, such as 2130706433 and 0x7f.1."""
    if not re.fullmatch(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+)){0,3}", host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_loopback_url(url: str) -> bool:
    """Tell whether an address is on this machine."""
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        return False
    address = parse_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def bracketed(host: str) -> str:
    """Write a host as URLs and `Host` headers do, which put an IPv6 address into brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
