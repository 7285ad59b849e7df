"""Where the bytes of a clip go, and how they are sent: without the key, to public https addresses (contract 5.1)."""

import re
from collections.abc import AsyncIterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import httpx

from luma_mcp.core.errors import UploadAddressRefused, UploadRefused
from luma_mcp.runapi.connection import CONNECT_SECONDS, read_bounded
from luma_mcp.runapi.ssrf import MAX_REDIRECTS, UploadGuard

UPLOAD_TIMEOUT = httpx.Timeout(120.0, connect=CONNECT_SECONDS)
MOVED = frozenset((HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT))
MAX_HEADER_LENGTH = 4096
HEADER_NAME_PATTERN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
ALLOWED_HEADERS = re.compile(r"content-.*|cache-control|x-(amz|goog|ms)-.*")  # what S3, Google and Azure may ask for
OWN_HEADERS = frozenset(("content-length",))


class UploadTarget(NamedTuple):
    """Where the bytes of a local file go (contract 5.1); single use."""

    signed_id: str
    url: str
    headers: dict[str, str]


async def put_file(
    http: httpx.AsyncClient, network: UploadGuard, target: UploadTarget, size: int, content: AsyncIterable[bytes]
) -> httpx.Response:
    """Send a file of `size` bytes, and once more to each address that this redirects to; give the last response.

    `content` is read anew for each. Raises `UploadAddressRefused`, `UploadRefused` and httpx's errors.
    """
    headers = content_headers(target.headers) | {"Content-Length": str(size)}
    url = parse_upload_url(target.url)
    for _ in range(MAX_REDIRECTS + 1):
        response = await put_once(http, network, url, headers, content)
        if response.status_code not in MOVED:
            return response
        url = parse_upload_url(response.headers.get("location", ""), url)
    raise UploadRefused("The upload address that RunAPI named redirects in circles.")


async def put_once(
    http: httpx.AsyncClient,
    network: UploadGuard,
    url: httpx.URL,
    headers: Mapping[str, str],
    content: AsyncIterable[bytes],
) -> httpx.Response:
    watch = network.check_url(url)
    more = {"trace": watch}
    request = http.build_request("PUT", url, headers=headers, content=content, timeout=UPLOAD_TIMEOUT, extensions=more)
    try:
        response = await http.send(request, follow_redirects=False, stream=True)
    except (httpx.RemoteProtocolError, ValueError) as error:
        # httpx reads where a redirect leads, though it does not follow it
        if isinstance(error, ValueError) or isinstance(error.__context__, httpx.InvalidURL):
            raise UploadAddressRefused("The upload address that RunAPI named redirects to what is none.") from error
        raise
    try:
        watch.confirm(response)
        return await read_bounded(response)
    finally:
        await response.aclose()


def parse_upload_url(written: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        return base.join(written) if base else httpx.URL(written)
    except (httpx.InvalidURL, ValueError) as error:
        raise UploadAddressRefused("RunAPI named an upload address that is none.") from error


def content_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Keep the headers about the content or for a storage; all others are not for RunAPI to choose.

    Raises `UploadAddressRefused` for what cannot be a header.
    """
    for name, value in given.items():
        if (
            not HEADER_NAME_PATTERN.fullmatch(name)
            or len(value) > MAX_HEADER_LENGTH
            or not (value.isascii() and value.isprintable())
        ):
            raise UploadAddressRefused("RunAPI named headers for the upload that cannot be used.")
    lower = {name.lower(): value for name, value in given.items()}
    return {name: value for name, value in lower.items() if ALLOWED_HEADERS.fullmatch(name) and name not in OWN_HEADERS}
