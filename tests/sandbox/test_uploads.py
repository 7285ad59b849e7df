"""Files in the sandbox: taken once and whole, kept for an hour, and never more than there is room for."""

import base64
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from runapi.core import errors as official
from runapi.luma import LumaClient

from luma_mcp.core.models import UPLOAD_LIFETIME_SECONDS
from luma_mcp.sandbox import state
from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.http_server import SandboxClock
from tests.support.rig import SOURCE
from tests.support.sandbox_clients import ASK


def test_a_file_uploaded_by_the_official_client_is_the_source_and_comes_back(luma: LumaClient, home: Path) -> None:
    clip = home / "clip.mp4"
    clip.write_bytes(bundled_clip().read_bytes() + b"tail")
    stored = luma.files.create(file=clip)
    assert (stored.size_bytes, stored.mime_type) == (clip.stat().st_size, "video/mp4")
    assert httpx.get(stored.url).content == clip.read_bytes()
    run = luma.modify_video.run(**{**ASK, "source_video_url": stored.url})
    assert httpx.get(run.videos[0].url).content == clip.read_bytes()


def test_files_come_as_base64_or_url_too_and_nothing_else(luma: LumaClient) -> None:
    stored = luma.files.create(source=base64.b64encode(b"clip").decode())
    assert httpx.get(stored.url).content == b"clip"
    assert httpx.get(luma.files.create(source=SOURCE).url).content == bundled_clip().read_bytes()
    for source in ({"type": "ftp"}, {"type": "base64", "data": "***"}):
        with pytest.raises(official.ValidationError):
            luma.files.create(source=source)


def test_an_upload_is_taken_once_complete_and_without_a_key(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    content = b"0123456789"
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    auth = {"Authorization": "Bearer k"}

    def prepared() -> dict[str, Any]:
        body = {"filename": "a.mp4", "byte_size": len(content), "checksum": digest}
        answer: dict[str, Any] = httpx.post(f"{served[1]}/api/v1/files/prepare", json=body, headers=auth).json()
        return answer

    def put(target: dict[str, Any], data: bytes, **more: str) -> int:
        return httpx.put(target["upload_url"], content=data, headers={**target["headers"], **more}).status_code

    def confirm(target: dict[str, Any]) -> int:
        body = {"signed_id": target["signed_id"]}
        return httpx.post(f"{served[1]}/api/v1/files/confirm", json=body, headers=auth).status_code

    target = prepared()
    assert not target["upload_url"].startswith(served[1])
    assert confirm(target) == 404
    assert [put(target, content, Authorization="Bearer k"), put(target, content[:-1]), put(target, b"9" * 10)] == [
        400
    ] * 3
    assert [put(target, content), put(target, content), confirm(target)] == [204, 403, 200]


def test_an_upload_dies_after_an_hour_and_a_task_on_it_fails(luma: LumaClient, clock: SandboxClock, home: Path) -> None:
    (home / "clip.mp4").write_bytes(b"clip")
    stored = luma.files.create(file=home / "clip.mp4")
    clock.passed += 3600
    assert httpx.get(stored.url).status_code == 404
    with pytest.raises(official.TaskFailedError):
        luma.modify_video.run(**{**ASK, "source_video_url": stored.url})


async def announced(http: httpx.AsyncClient, size: Any, content: bytes = b"") -> httpx.Response:
    """Announce a file."""
    checksum = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    body = {"filename": "a.mp4", "byte_size": size, "checksum": checksum}
    return await http.post("/api/v1/files/prepare", json=body)


async def sent(http: httpx.AsyncClient, size: int, content: bytes) -> httpx.Response:
    """Announce a file, and send other bytes perhaps."""
    given = (await announced(http, size, content)).json()
    return await httpx_put(http, given, content)


async def httpx_put(http: httpx.AsyncClient, given: dict[str, Any], content: bytes) -> httpx.Response:
    """Send bytes to where they go, piece by piece and without a key."""

    async def pieces() -> AsyncGenerator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    request = http.build_request("PUT", given["upload_url"], headers=given["headers"], content=pieces())
    del request.headers["authorization"]
    return await http.send(request)


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.parametrize("size", [-1, True, 1.5, "9", None, state.MAX_STORED_BYTES + 1, 1 << 80])
async def test_only_a_size_that_there_could_be_room_for_is_taken(http: httpx.AsyncClient, size: Any) -> None:
    assert (await announced(http, size)).status_code == 400


@pytest.mark.anyio
@pytest.mark.sockets
async def test_no_more_bytes_are_taken_than_were_announced(http: httpx.AsyncClient, home: Path) -> None:
    assert (await sent(http, 5000, b"x" * 10_000)).status_code == 413
    assert (await sent(http, 5000, b"x" * 4_000)).status_code == 400
    assert list((home / "s" / "files").iterdir()) == []
    assert (await sent(http, 5000, b"x" * 5_000)).status_code == 204


@pytest.mark.anyio
@pytest.mark.sockets
async def test_files_that_expired_make_room_and_others_do_not(
    http: httpx.AsyncClient, home: Path, clock: SandboxClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MAX_STORED_BYTES", 10_000)
    for size, code in ((6_000, 204), (4_000, 204), (1, 413)):
        assert (await sent(http, size, b"x" * size)).status_code == code
    stored = {"source": {"type": "base64", "data": "eA=="}}
    assert (await http.post("/api/v1/files", json=stored)).status_code == 413
    clock.passed += UPLOAD_LIFETIME_SECONDS
    assert (await http.post("/api/v1/files", json=stored)).status_code == 200
    assert sum(path.stat().st_size for path in (home / "s" / "files").iterdir()) == 4_001
