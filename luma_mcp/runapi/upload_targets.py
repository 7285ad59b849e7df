"""Where the bytes of a clip go, and how they are sent: without the key, to public https addresses (contract 5.1)."""

import re
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass

import httpx

from luma_mcp.core.storage_errors import UploadAddressRefused, UploadRefused
from luma_mcp.runapi.api import bounded
from luma_mcp.runapi.ssrf import REDIRECTS, UploadNetwork

TIMEOUT = httpx.Timeout(120.0, connect=10.0)
MOVED = frozenset((307, 308))
LONGEST_VALUE = 4096
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
OF_THE_CONTENT = re.compile(r"content-.*|cache-control|x-(amz|goog|ms)-.*")  # what S3, Google and Azure may ask for
OURS = frozenset(("content-length",))


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """Where the bytes of a local file go (contract 5.1); single use."""

    signed_id: str
    url: str
    headers: dict[str, str]


async def put(
    http: httpx.AsyncClient, network: UploadNetwork, target: UploadTarget, size: int, content: AsyncIterable[bytes]
) -> httpx.Response:
    """Send a file of `size` bytes, and once more to each address that this leads to; give the last answer.

    `content` is gone through anew for each. Raises `UploadAddressRefused`, `UploadRefused` and httpx's errors.
    """
    headers = content_headers(target.headers) | {"Content-Length": str(size)}
    url = address(target.url)
    for _ in range(REDIRECTS + 1):
        response = await put_once(http, network, url, headers, content)
        if response.status_code not in MOVED:
            return response
        url = address(response.headers.get("location", ""), url)
    raise UploadRefused("The upload address that RunAPI named redirects in circles.")


async def put_once(
    http: httpx.AsyncClient,
    network: UploadNetwork,
    url: httpx.URL,
    headers: Mapping[str, str],
    content: AsyncIterable[bytes],
) -> httpx.Response:
    """Send a file to one address."""
    watch = network.watch(url)
    more = {"trace": watch}
    request = http.build_request("PUT", url, headers=headers, content=content, timeout=TIMEOUT, extensions=more)
    try:
        response = await http.send(request, follow_redirects=False, stream=True)
    except (httpx.RemoteProtocolError, ValueError) as error:
        if isinstance(error, ValueError) or isinstance(
            error.__context__, httpx.InvalidURL
        ):  # of where a redirect leads
            raise UploadAddressRefused("The upload address that RunAPI named redirects to what is none.") from error
        raise
    try:
        watch.confirm(response)
        return await bounded(response)
    finally:
        await response.aclose()


def address(written: str, base: httpx.URL | None = None) -> httpx.URL:
    """Read an address, which may be relative to another."""
    try:
        return base.join(written) if base else httpx.URL(written)
    except (httpx.InvalidURL, ValueError) as error:
        raise UploadAddressRefused("RunAPI named an upload address that is none.") from error


def content_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Give those headers that say something of the content or to a storage; all others are not for RunAPI to choose.

    Raises `UploadAddressRefused` for what cannot be a header.
    """
    for name, value in given.items():
        if not TOKEN.fullmatch(name) or len(value) > LONGEST_VALUE or not (value.isascii() and value.isprintable()):
            raise UploadAddressRefused("RunAPI named headers for the upload that cannot be used.")
    lower = {name.lower(): value for name, value in given.items()}
    return {name: value for name, value in lower.items() if OF_THE_CONTENT.fullmatch(name) and name not in OURS}
