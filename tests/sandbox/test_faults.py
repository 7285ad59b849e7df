"""Faults that are ordered from the sandbox are what RunAPI's published client knows as errors."""

import pytest
from runapi.core import errors as official
from runapi.luma import LumaClient
from starlette.requests import Request
from starlette.responses import Response

from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.faults import Fault, Faults, Kind
from tests.support.sandbox_clients import ASK, official_client


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("400", official.ValidationError),
        ("401", official.AuthenticationError),
        ("402", official.InsufficientCreditsError),
        ("404", official.NotFoundError),
        ("409", official.ConflictError),
        ("422", official.ValidationError),
        ("429", official.RateLimitError),
        ("500", official.ServerError),
        ("502", official.ServerError),
        ("503", official.ServiceUnavailableError),
        ("504", official.ServerError),
        ("html", official.ServerError),
        ("empty", official.ServerError),
        ("drop_before", official.NetworkError),
        ("drop_after", official.NetworkError),
    ],
)
def test_each_fault_is_the_error_that_the_official_client_knows(
    luma: LumaClient, served: tuple[Sandbox, str], kind: Kind, error: type[Exception]
) -> None:
    served[0].faults.inject(Fault(kind, seconds=7))
    with pytest.raises(error) as raised:
        luma.modify_video.create(**ASK)
    if kind == "429":
        assert vars(raised.value)["retry_after"] == 7
    assert served[0].state.generations() == [] or kind == "drop_after"
    assert luma.modify_video.create(**ASK).id


def test_a_slow_answer_outlasts_the_official_clients_patience(served: tuple[Sandbox, str]) -> None:
    served[0].faults.inject(Fault("slow", seconds=0.2))
    with official_client(served[1], timeout=0.05) as hasty, pytest.raises(official.TimeoutError):
        hasty.modify_video.create(**ASK)


def test_a_malformed_answer_is_no_task(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    served[0].faults.inject(Fault("malformed"))
    with pytest.raises((official.Error, AttributeError, TypeError)):
        _ = luma.modify_video.create(**ASK).id


def test_a_failed_generation_is_told_and_free(luma: LumaClient, served: tuple[Sandbox, str]) -> None:
    served[0].faults.inject(Fault("fail", text="no motion in the clip"))
    with pytest.raises(official.TaskFailedError, match="no motion"):
        luma.modify_video.run(**ASK)
    assert luma.account.balance().spent_cents_total == 0


@pytest.mark.anyio
async def test_a_fault_happens_as_often_as_ordered_on_its_route_and_a_failed_generation_to_no_request() -> None:
    async def endpoint(_: Request) -> Response:
        return Response(status_code=200)

    async def answers(faults: Faults, *routes: str) -> list[int]:
        return [(await faults.answer(route, Request({"type": "http"}), endpoint)).status_code for route in routes]

    faults = Faults()
    faults.inject(Fault("fail"), Fault("503", times=2), Fault("402"))
    assert await answers(faults, "create", "read", "create", "create", "create") == [503, 200, 503, 402, 200]
    assert faults.take("create", generation=True) == Fault("fail")
    faults.inject(Fault("500"))
    faults.clear()
    assert await answers(faults, "create") == [200]
