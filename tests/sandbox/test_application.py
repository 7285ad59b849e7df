"""RunAPI's own published client works against the sandbox, at the routes that RunAPI has and no others."""

from typing import Any

import httpx
import pytest
from runapi.core import errors as official
from runapi.luma import LumaClient

from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.requests import bundled_clip
from luma_mcp.sandbox.tasks import TASKS_PATH
from tests.support.rig import SOURCE
from tests.support.sandbox_clients import ASK


def test_the_official_client_creates_reads_and_runs(luma: LumaClient) -> None:
    made = luma.modify_video.create(**ASK)
    assert made.status == "processing"
    assert made.response_header("X-RunAPI-Task-Id") == made.id
    assert made.response_header("x-request-id")
    done = luma.modify_video.get(made.id)
    assert done.status == "completed"
    assert done.usage.cost == 0.5
    assert done.sources[0].url == SOURCE
    run = luma.modify_video.run(**ASK)
    assert httpx.get(run.videos[0].url).content == bundled_clip().read_bytes()


def test_unknown_and_malformed_ids_and_routes_that_do_not_exist_are_refused(
    luma: LumaClient, served: tuple[Sandbox, str]
) -> None:
    with pytest.raises(official.NotFoundError):
        luma.modify_video.get("00000000-0000-4000-8000-000000000000")
    with pytest.raises(official.ValidationError) as raised:
        luma.modify_video.get("tsk_abc123")
    assert raised.value.code == "invalid_resource_id"
    path = f"{served[1]}/api/v1/luma/modify_video"
    assert (httpx.get(path).status_code, httpx.delete(f"{path}/x").status_code) == (404, 404)


def test_faults_can_be_ordered_over_http(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    url = f"{served[1]}/sandbox/faults"
    assert httpx.post(url, json={"kind": "402", "times": 2}).status_code == 204
    assert httpx.post(url, json={"sort": "402"}).status_code == 400
    for _ in range(2):
        with pytest.raises(official.InsufficientCreditsError):
            luma.modify_video.create(**ASK)
    assert luma.modify_video.create(**ASK).id


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["999", "", [], {}, None, "abc"])
async def test_a_fault_that_there_is_not_is_refused(http: httpx.AsyncClient, kind: Any) -> None:
    assert (await http.post("/sandbox/faults", json={"kind": kind})).status_code == 400


@pytest.mark.anyio
async def test_no_address_of_the_sandbox_leads_elsewhere(http: httpx.AsyncClient) -> None:
    for path in (f"{TASKS_PATH}/", "/api/v1/files/prepare/", "/api/v1/me/", "//api/v1/me", "/sandbox/faults/"):
        answer = await http.post(path, headers={"Host": "evil.example"}, json={})
        assert (answer.status_code, "location" in answer.headers) == (404, False)
