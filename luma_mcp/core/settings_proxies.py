"""Which proxy a URL goes through: by the environment's variables, or by the system's settings where there are none."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.request import getproxies

import httpx

from luma_mcp.core.addresses import Address, is_port
from luma_mcp.core.errors import ProxyUnusable
from luma_mcp.core.text import strip_all_quotes

PORTS = {"http": 80, "https": 443}
SOCKS = ("socks5", "socks5h")
HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?")
WITH_PORT = re.compile(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that can be used."""

    url: httpx.URL = field(repr=False)  # may hold a password
    variable: str  # which names it, empty for the system's settings

    @property
    def place(self) -> str:
        """Give host and port, without user and password."""
        return self.url.netloc.decode("ascii")

    @property
    def is_tls(self) -> bool:
        """Tell whether the connection to the proxy itself is encrypted."""
        return self.url.scheme == "https"


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxies are set."""

    # By http, https or all: the address as it is written, and the variable that holds it.
    by_scheme: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]], repr=False)
    exceptions: tuple[str, ...] = ()  # the parts of NO_PROXY

    def proxy_for(self, url: httpx.URL) -> Proxy | None:
        """Give the proxy that a URL goes through, None for none; raise `ProxyUnusable` if that one cannot be used."""
        if any(is_excepted(url, part) for part in self.exceptions):
            return None
        named = self.by_scheme.get(url.scheme) or self.by_scheme.get("all")
        return parse_proxy(*named) if named else None


def read_proxies() -> Proxies:
    """Read the environment, and the system's settings if it names no proxies.

    Lower case counts before upper case, and what is empty unsets; a CGI program does not look at `HTTP_PROXY`.
    """
    found = {scheme: strip_all_quotes(value) for scheme, value in getproxies().items()}
    named = {scheme: (found[scheme], proxy_variable(scheme)) for scheme in (*PORTS, "all") if found.get(scheme)}
    return Proxies(named, tuple(part for part in re.split(r"[\s,;]+", found.get("no", "")) if part))


def proxy_variable(scheme: str) -> str:
    names = [name for name, value in os.environ.items() if value and name.lower() == f"{scheme}_proxy"]
    return min(names, key=lambda name: name != name.lower(), default="")


def parse_proxy(address: str, variable: str) -> Proxy:
    """Give the proxy at an address; raise `ProxyUnusable`, which does not repeat the address: it may hold a password.

    Without a scheme it is http. An `@` behind the host shows that a password was cut at a `/`, `?` or `#` in it.
    """
    try:
        url = httpx.URL(address if "://" in address else f"http://{address.lstrip('/')}")
        known = url.scheme in PORTS or (url.scheme in SOCKS and find_spec("socksio") is not None)
        cut = b"@" in url.raw_path or "@" in url.fragment
        if not known or cut or not HOST.fullmatch(url.raw_host.decode("ascii")) or not is_port(url.port):
            raise ProxyUnusable(variable)
    except httpx.InvalidURL as error:
        raise ProxyUnusable(variable) from error
    return Proxy(url, variable)


def is_excepted(url: httpx.URL, part: str) -> bool:
    """Tell whether a part of `NO_PROXY` is about a URL; what makes no sense is about none.

    A part is `*`, a name (with all names below it, led by a dot or not), an address or a range of addresses, each with
    a port or without. No name is resolved.
    """
    scheme, _, place = part.lower().rpartition("://")
    with_port = WITH_PORT.fullmatch(place)
    host, port = (with_port[1], int(with_port[2])) if with_port else (place, None)
    if scheme not in ("", "all", url.scheme) or port not in (None, url.port or PORTS.get(url.scheme)):
        return False
    address = address_in(url.raw_host.decode("ascii"))
    return host == "*" or (
        is_in_range(address, host) if address else any(is_in_domain(name, host) for name in host_spellings(url))
    )


def address_in(host: str) -> Address | None:
    """Read an address, IPv4 where it is mapped into IPv6; None for a name, which includes the number forms of IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def is_in_range(address: Address, written: str) -> bool:
    plain = re.sub(r"[\[\]]|%[^/]*", "", written)
    try:
        return address_in(plain) == address or address in ipaddress.ip_network(plain, strict=False)
    except ValueError:
        return False


def host_spellings(url: httpx.URL) -> Iterator[str]:
    """Yield the host of a URL in its ASCII form and as people write it."""
    yield url.raw_host.decode("ascii").lower().rstrip(".")
    try:
        yield url.host.lower().rstrip(".")
    except UnicodeError:  # in a form that no host can have
        return


def is_in_domain(name: str, written: str) -> bool:
    ending = written.lstrip("*").strip(".")
    return bool(ending) and f".{name}".endswith(f".{ending}")
