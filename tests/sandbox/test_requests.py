"""Keys, bodies and ids of requests to the sandbox."""

import httpx
import pytest

from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.requests import MAX_BODY_BYTES
from luma_mcp.sandbox.tasks import TASKS_PATH


@pytest.mark.parametrize("authorization", ["Bearer invalid", "Bearer", "Basic a2V5"])
def test_a_bad_key_is_refused(served: tuple[Sandbox, str], authorization: str) -> None:
    answer = httpx.get(f"{served[1]}/api/v1/me", headers={"Authorization": authorization})
    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorized"})
    assert answer.headers["x-request-id"]


def test_the_client_request_id_comes_back(served: tuple[Sandbox, str]) -> None:
    answer = httpx.get(f"{served[1]}/api/v1/price_schedules", headers={"X-Client-Request-Id": "mine"})
    assert answer.headers["X-Client-Request-Id"] == "mine"


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.parametrize("path", [TASKS_PATH, "/api/v1/files/prepare", "/api/v1/price_quotes", "/sandbox/faults"])
async def test_bodies_are_bounded_and_of_any_depth(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.post(path, content=b" " * (MAX_BODY_BYTES + 1))).status_code == 413
    assert (await http.post(path, content=b'{"a":' * 100_000)).status_code == 400
    assert (await http.post(path, content=b"\xff")).status_code == 400
