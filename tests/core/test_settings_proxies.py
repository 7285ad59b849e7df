"""Which proxy a URL goes through, as the environment says it, however that is written."""

import os
import re
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.cli.doctor.network import proxy_name
from luma_mcp.core import settings_proxies
from luma_mcp.core.errors import ProxyUnusable
from luma_mcp.core.settings_proxies import Proxies, read_proxies

URL = "https://runapi.ai/api"
PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def no_proxies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name == "REQUEST_METHOD"]:
        monkeypatch.delenv(name)


def place(url: str = URL) -> str:
    """Tell through which proxy a URL goes, and see that the doctor says the same."""
    proxy = read_proxies().proxy_for(httpx.URL(url))
    told = proxy.place if proxy else ""
    assert proxy_name(url) == told
    return told


@pytest.mark.parametrize(
    ("variables", "url", "through"),
    [
        ({}, URL, ""),
        ({"HTTPS_PROXY": PROXY}, URL, "proxy.example:3128"),
        ({"https_proxy": PROXY}, URL, "proxy.example:3128"),
        ({"HTTPS_PROXY": PROXY}, "http://runapi.ai", ""),
        ({"HTTP_PROXY": PROXY}, URL, ""),
        ({"HTTP_PROXY": PROXY}, "http://runapi.ai", "proxy.example:3128"),
        ({"ALL_PROXY": PROXY}, URL, "proxy.example:3128"),
        ({"all_proxy": PROXY}, "http://runapi.ai", "proxy.example:3128"),
        ({"HTTPS_PROXY": "http://other:1", "https_proxy": PROXY}, URL, "proxy.example:3128"),
        ({"HTTPS_PROXY": PROXY, "https_proxy": ""}, URL, ""),
        ({"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, URL, "proxy.example:3128"),
        ({"HTTPS_PROXY": "  ", "ALL_PROXY": PROXY}, URL, "proxy.example:3128"),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://runapi.ai", ""),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http://runapi.ai", "proxy.example:3128"),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "socks5://127.0.0.1:9"}, URL, "proxy.example:3128"),
        ({"HTTPS_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": PROXY}, "http://runapi.ai", "proxy.example:3128"),
        ({"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "runapi.ai"}, URL, ""),
        ({"FTP_PROXY": "nonsense", "TRAVIS_APT_PROXY": "::"}, URL, ""),
    ],
)
def test_the_variables_are_chosen_among_as_everywhere(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, through: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place(url) == through


@pytest.mark.parametrize(
    ("value", "through"),
    [
        ("proxy:3128", "proxy:3128"),
        ("//proxy:3128", "proxy:3128"),
        (" http://proxy:3128/\n", "proxy:3128"),
        ('"http://proxy:3128"', "proxy:3128"),
        ("HTTP://Proxy:3128", "proxy:3128"),
        ("https://proxy:3128", "proxy:3128"),
        ("http://proxy", "proxy"),
        ("user:pass@proxy:3128", "proxy:3128"),
        ("http://user:p%40s%2Fs%23%25@proxy:3128", "proxy:3128"),
        ("http://user:p@ss:w!rd@proxy:3128", "proxy:3128"),
        ("http://[::1]:3128", "[::1]:3128"),
    ],
)
def test_an_address_of_a_proxy_may_be_written_in_many_ways(
    monkeypatch: pytest.MonkeyPatch, value: str, through: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert place() == through
    assert "ss" not in repr(read_proxies())


def test_the_password_of_a_proxy_arrives_as_it_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://us%3Aer:p%40s%2Fs%23%25@proxy:3128")
    proxy = read_proxies().proxy_for(httpx.URL(URL))
    assert proxy is not None
    assert httpx.Proxy(proxy.url).auth == ("us:er", "p@s/s#%")


@pytest.mark.parametrize(
    "value",
    [
        "socks5://127.0.0.1:9",
        "socks5h://secret@127.0.0.1:9",
        "socks4://127.0.0.1:9",
        "socks://127.0.0.1:9",
        "ftp://proxy",
        "http://proxy:port",
        "http://proxy:99999",
        "http://proxy:0",
        "http://proxy:-1",
        "http://u:secret@[::1",
        "http://u:s/ecret@proxy:3",
        "http://u:12/ecret@proxy:3",
        "http://u#secret@proxy:3",
        "http://u?secret@proxy:3",
        "http://",
        "http://:3128",
        "${HTTPS_PROXY}",
        "direct://",
        "http://pro xy",
        "://",
        "\x01",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_what_is_no_proxy_is_told_by_its_variable_and_never_by_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ProxyUnusable) as raised:
        read_proxies().proxy_for(httpx.URL(URL))
    assert variable in raised.value.message
    assert variable in raised.value.hint
    assert not {"ecret", "127.0.0.1", "99999"} & set(re.findall(r"[\w.-]+", raised.value.message + raised.value.hint))
    assert not raised.value.transient
    assert proxy_name(URL) == ""
    if variable != "ALL_PROXY":
        assert place("http://runapi.ai") == ""


def test_the_systems_own_settings_count_where_the_environment_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_proxies, "getproxies", lambda: {"https": PROXY, "http": "socks4://x:1"})
    assert place() == "proxy.example:3128"
    with pytest.raises(ProxyUnusable, match="system's proxy settings") as raised:
        read_proxies().proxy_for(httpx.URL("http://runapi.ai"))
    assert "Set HTTPS_PROXY" in raised.value.hint


EXCEPTIONS = [
    ("*", URL, True),
    ("other.example, *", URL, True),
    ("runapi.ai", URL, True),
    ("RunAPI.AI", URL, True),
    ("runapi.ai.", URL, True),
    (".runapi.ai", URL, True),
    ("*.runapi.ai", "https://files.runapi.ai", True),
    ("runapi.ai", "https://files.runapi.ai", True),
    (".runapi.ai", "https://files.runapi.ai", True),
    ("runapi.ai", "https://notrunapi.ai", False),
    ("files.runapi.ai", URL, False),
    ("ai", URL, True),
    ("runapi.ai:443", URL, True),
    ("runapi.ai:8443", URL, False),
    ("runapi.ai:8443", "https://runapi.ai:8443", True),
    ("runapi.ai:80", "http://runapi.ai", True),
    ("https://runapi.ai", URL, True),
    ("http://runapi.ai", URL, False),
    ("all://runapi.ai", URL, True),
    (" , ,,runapi.ai,", URL, True),
    ("a.example runapi.ai", URL, True),
    ("a.example;runapi.ai", URL, True),
    ("127.0.0.1", "https://127.0.0.1", True),
    ("127.0.0.1", "https://127.0.0.10", False),
    ("0.0.1", "https://127.0.0.1", False),
    ("127.0.0.1:8443", "https://127.0.0.1:8443", True),
    ("127.0.0.1:8443", "https://127.0.0.1", False),
    ("10.0.0.0/8", "https://10.20.30.40", True),
    ("10.1.2.3/8", "https://10.20.30.40", True),
    ("10.0.0.0/255.0.0.0", "https://10.20.30.40", True),
    ("10.0.0.0/8", "https://11.0.0.1", False),
    ("10.0.0.0/8", URL, False),
    ("fd00::/8", "https://[fd12::1]", True),
    ("fd00::/8", "https://[fe80::1]", False),
    ("fd00::/8", "https://10.0.0.1", False),
    ("fd00::/8", URL, False),
    ("[fd00::]/8", "https://[fd12::1]", True),
    ("::1", "https://[::1]", True),
    ("[::1]", "https://[::1]", True),
    ("[::1]:8443", "https://[::1]:8443", True),
    ("[::1]:8443", "https://[::1]", False),
    ("0:0:0:0:0:0:0:1", "https://[::1]", True),
    ("10.0.0.1", "https://[::ffff:10.0.0.1]", True),
    ("fe80::1%eth0", "https://[fe80::1]", True),
    ("bücher.example", "https://bücher.example", True),
    ("xn--bcher-kva.example", "https://bücher.example", True),
    ("localhost", "http://localhost:8788", True),
    ("localhost", "http://127.0.0.1:8788", False),
]


@pytest.mark.parametrize(("exceptions", "url", "excepted"), EXCEPTIONS)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_no_proxy_is_understood_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, variable: str, exceptions: str, url: str, excepted: bool
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv(variable, exceptions)
    assert place(url) == ("" if excepted else "proxy.example:3128")


@pytest.mark.parametrize(
    "nonsense",
    ["fd00::/8", "fd00::/999", "[", "]", "[::", "::/", "/", "a/b", ":", ":80", "//", "://", "%", ".", "*.", "é"],
)
def test_no_proxy_alone_is_never_in_the_way(monkeypatch: pytest.MonkeyPatch, nonsense: str) -> None:
    monkeypatch.setenv("NO_PROXY", nonsense)
    assert place() == ""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert place() == "proxy.example:3128"


@given(st.lists(st.text(), max_size=3), st.sampled_from([URL, "https://[::1]:1/", "http://10.0.0.1", "https://xn--0/"]))
def test_no_exception_breaks_on_anything(exceptions: list[str], url: str) -> None:
    proxies = Proxies({"all": (PROXY, "ALL_PROXY")}, tuple(exceptions))
    proxy = proxies.proxy_for(httpx.URL(url))
    assert proxy is None or proxy.place == "proxy.example:3128"
