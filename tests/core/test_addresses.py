"""Which hosts are on the public internet or on this machine, in every way to write them."""

import pytest

from luma_mcp.core.addresses import is_loopback_url, is_port, is_public_host, parse_address


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST.", "a.localhost", "printer.local", "db.internal", "nas", "router.lan", "x.home.arpa",
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "0.0.0.0", "10.1.2.3",
        "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "[::1]",
        "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
        "192.0.0.192", "192.0.0.9", "168.63.129.16", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "3fff::1", "2001:db8::1", "2001::1", "2001:2::1", "2001:20::1", "64:ff9b:1::808:808", "100::1", "5f00::1",
        "240.0.0.1",
        "fec0::1", "4000::1", "64:ff9b::a83f:8110", "::ffff:168.63.129.16", "::ffff:0:7f00:1", "100.127.255.255",
    ],
)  # fmt: skip
def test_a_host_off_the_public_internet_is_recognised_however_it_is_written(host: str) -> None:
    assert not is_public_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "cdn.runapi.ai",
        "8.8.8.8",
        "2606:4700::1111",
        "xn--bcher-kva.example",
        "100.63.255.255",
        "100.128.0.1",
        "192.0.1.1",
        "168.63.129.17",
        "2a00:1450::1",
        "2001:200::1",
        "64:ff9b::808:808",
    ],
)
def test_a_public_host_is_let_through(host: str) -> None:
    assert is_public_host(host)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("[::ffff:10.0.0.1]", "10.0.0.1"),
        ("2002:7f00:1::", "127.0.0.1"),
        ("64:ff9b::808:808", "8.8.8.8"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1", "::1"),
        ("example.com", "None"),
        ("1.2.3.4.5", "None"),
        ("0x7f.g", "None"),
        ("999.1.1.1", "None"),
    ],
)
def test_an_address_is_read_in_every_way_to_write_it_and_a_name_is_none(host: str, address: str) -> None:
    assert str(parse_address(host)) == address


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:8000/x", True),
        ("http://127.0.0.1", True),
        ("http://127.9.9.9:1", True),
        ("http://[::1]:8000", True),
        ("http://2130706433", True),
        ("http://0.0.0.0", False),
        ("http://192.168.1.5", False),
        ("https://localhost.example.com", False),
        ("https://exa:mple", False),
        ("", False),
    ],
)
def test_an_address_of_this_machine_is_known(url: str, here: bool) -> None:
    assert is_loopback_url(url) is here


def test_a_port_is_from_1_to_65535_or_the_schemes_own() -> None:
    assert [is_port(port) for port in (None, 1, 65535, 0, -1, 65536)] == [True, True, True, False, False, False]
