"""RunAPI's answers about tasks: ids, states, results and costs, in whatever form they come."""

from typing import Any

import httpx
import pytest

from luma_mcp.core import errors
from luma_mcp.core.errors import BadAnswer
from luma_mcp.core.models import SANDBOX_SECONDS_HEADER, Balance, Price, Status, TaskSnapshot
from luma_mcp.runapi.responses import balance_in, lifetime_in, parse_task, price_in, told_seconds_in
from tests.support.questions import UUID, create, read, unsubmitted_task
from tests.support.rig import EPOCH, SOURCE

pytestmark = pytest.mark.anyio
OFFER = {"model": "luma-modify-video", "currency": "USD", "unit_price_cents": 50}


@pytest.mark.parametrize("code", [200, 201, 202])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"id": UUID}, {}),
        ({"task_id": UUID}, {}),
        ({"data": {"id": UUID}}, {}),
        ({"data": {"task_id": UUID}}, {}),
        ({"id": UUID, "task_id": "other"}, {}),
        ({"id": "", "task_id": UUID}, {}),
        ({}, {"X-RunAPI-Task-Id": UUID}),
        ({"id": 17}, {"X-RunAPI-Task-Id": UUID}),
        ({"id": "two words"}, {"X-RunAPI-Task-Id": UUID}),
        ({"taskId": UUID}, {}),
        ({"result": {"task": {"id": UUID}}}, {}),
        ({"data": [{"id": UUID}]}, {}),
        ({"code": 200, "msg": "success", "data": {"taskId": UUID}}, {}),
        ({"id": UUID, "status": "processing", "error": None, "success": True}, {}),
        ({"error": "the callback was not taken"}, {"X-RunAPI-Task-Id": UUID}),
        ({"id": True}, {"X-RunAPI-Task-Id": UUID}),
        ({"id": "<script>"}, {"X-RunAPI-Task-Id": UUID}),
    ],
)
async def test_the_task_id_is_found_wherever_it_is(code: int, body: Any, headers: dict[str, str]) -> None:
    accepted = await create(httpx.Response(code, json=body, headers=headers))
    assert accepted.task_id == UUID


@pytest.mark.parametrize("code", [400, 402, 409, 429, 500, 503])
async def test_an_error_that_names_a_task_means_that_the_task_exists(code: int) -> None:
    answer = httpx.Response(code, json={"error": "text"}, headers={"X-RunAPI-Task-Id": UUID})
    assert (await create(answer)).task_id == UUID


async def test_an_id_in_the_body_of_an_error_is_not_a_tasks() -> None:
    with pytest.raises(errors.InvalidRequest):
        await create(httpx.Response(400, json={"id": "err_17", "error": "text"}))


@pytest.mark.parametrize("id_", [123456, 9007199254740993, 10**20])
@pytest.mark.parametrize("shape", ["id", "task_id", "data", "number in the way"])
async def test_a_number_is_an_id_too(id_: int, shape: str) -> None:
    body = {
        "id": {"id": id_},
        "task_id": {"task_id": id_, "status": "pending"},
        "data": {"data": {"id": id_}},
        "number in the way": {"id": None, "data": {"taskId": id_}},
    }[shape]
    assert (await create(httpx.Response(200, json=body))).task_id == str(id_)


@pytest.mark.parametrize("id_", ["true", "false", "1.5", "1e3", "0", "-5", "NaN", "9" * 5000, "[]", "{}", '"\\ud800"'])
async def test_what_is_no_id_is_not_taken_for_one(id_: str) -> None:
    with pytest.raises(errors.BadAnswer) as raised:
        await create(httpx.Response(200, text=f'{{"id": {id_}}}'))
    assert raised.value.charged == "unknown"


async def test_an_id_survives_what_is_odd_beside_it() -> None:
    for beside in ('"note": "caf\xe9"', '"n": ' + "9" * 5000, '"x": NaN', '"y": 1e400', '"z": "\\ud800"'):
        content = f'{{{beside}, "id": "{UUID}"}}'.encode("latin-1")
        assert (await create(httpx.Response(200, content=content))).task_id == UUID


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.PENDING),
        ("queued", Status.PENDING),
        ("processing", Status.PROCESSING),
        ("Completed", Status.COMPLETED),
        ("success", Status.COMPLETED),
        ("FAILED", Status.FAILED),
        ("generate_failed", Status.FAILED),
        ("cancelled", Status.FAILED),
        ("dreaming", Status.PROCESSING),
        ("in queue", Status.PENDING),
        ("In-Progress", Status.PROCESSING),
        (" COMPLETED ", Status.COMPLETED),
        ("Success", Status.COMPLETED),
        ("done", Status.COMPLETED),
        ("ok", Status.COMPLETED),
        ("ready", Status.COMPLETED),
        ("partially_completed", Status.COMPLETED),
        ("ganz fertig", Status.COMPLETED),
        (None, Status.COMPLETED),
        (200, Status.COMPLETED),
        ("rejected", Status.FAILED),
        ("expired", Status.FAILED),
        ("Moderated", Status.FAILED),
        ("NSFW", Status.FAILED),
        ("timed out", Status.FAILED),
    ],
)
async def test_status_words_are_understood_and_an_unknown_one_with_a_result_is_an_end(
    word: Any, status: Status
) -> None:
    answer = {"id": UUID, "status": word, "videos": [{"url": "https://x.example/v.mp4"}]}
    assert (await read(httpx.Response(200, json=answer))).status is status


@pytest.mark.parametrize("word", ["dreaming", "exploring", "processing", None, "in progress"])
@pytest.mark.parametrize("more", [{}, {"videos": []}, {"video_url": SOURCE}, {"sources": [{"url": SOURCE}]}])
async def test_a_task_without_a_result_runs_whatever_its_word(word: Any, more: dict[str, Any]) -> None:
    answer = httpx.Response(200, json={"id": UUID, "status": word, **more})
    assert await read(answer) == TaskSnapshot(status=Status.PROCESSING)


@pytest.mark.parametrize(
    ("more", "charged"),
    [
        ({"status": "failed"}, "no"),
        ({"status": "failed", "usage": {"cost": 0.5}}, "yes"),
        ({"status": "expired"}, "unknown"),
        ({"status": "moderated", "usage": {"cost": 0}}, "no"),
        ({"status": "nsfw", "usage": {"cost": "0.50"}}, "yes"),
    ],
)
async def test_a_task_that_ended_badly_is_free_only_as_far_as_that_is_certain(
    more: dict[str, Any], charged: str
) -> None:
    found = await read(httpx.Response(200, json={"id": UUID, **more}))
    assert (found.status, found.charged) == (Status.FAILED, charged)
    told = unsubmitted_task().accepted(UUID, Status.PENDING, EPOCH).read(found, EPOCH).error
    assert told
    assert (told.code, told.charged, "Nothing was charged" in told.hint) == (
        "generation_failed",
        charged,
        charged == "no",
    )


@pytest.mark.parametrize(
    ("more", "reading"),
    [
        (
            {
                "videos": [{"url": "https://a.example/1.mp4"}, {"url": ""}, "https://a.example/2.mp4"],
                "usage": {"cost": 0.5},
            },
            TaskSnapshot(
                status=Status.COMPLETED, video_urls=("https://a.example/1.mp4", "https://a.example/2.mp4"), cost_usd=0.5
            ),
        ),
        (
            {"output": {"url": "https://a.example/1.mp4"}, "billing": {"settlement": {"charged_amount_cents": 50}}},
            TaskSnapshot(status=Status.COMPLETED, video_urls=("https://a.example/1.mp4",), cost_usd=0.5),
        ),
        (
            {"video_url": "https://a.example/1.mp4", "usage": {"cost": 10**400}},
            TaskSnapshot(status=Status.COMPLETED, video_urls=("https://a.example/1.mp4",)),
        ),
        (
            {"video_url": "https://a.example/1.mp4", "billing": {"settlement": None}, "usage": {"cost": True}},
            TaskSnapshot(status=Status.COMPLETED, video_urls=("https://a.example/1.mp4",)),
        ),
    ],
)
async def test_a_completed_task_gives_its_videos_and_its_cost(more: dict[str, Any], reading: TaskSnapshot) -> None:
    assert await read(httpx.Response(200, json={"id": UUID, "status": "completed", **more})) == reading


@pytest.mark.parametrize(
    ("body", "status", "urls"),
    [
        ({"status": "success", "data": {"id": UUID, "status": "processing"}}, "processing", 0),
        ({"status": "success", "data": {"status": "failed"}}, "failed", 0),
        ({"data": {"id": UUID, "status": "completed", "videos": [{"url": "https://a.example/1"}]}}, "completed", 1),
        ({"result": {"task": {"status": "done", "output": ["https://a.example/1"]}}}, "completed", 1),
        ({"id": UUID, "status": "completed", "result": {"video_url": "https://a.example/1"}}, "completed", 1),
        ({"id": UUID, "status": "completed", "result": [{"url": "https://a.example/1"}]}, "completed", 1),
        ({"id": UUID, "status": "finished", "videos": "https://a.example/1"}, "completed", 1),
        ({"id": UUID, "status": "failed", "result": {"status": "ok"}}, "failed", 0),
        ({"task": {"id": 5, "status": "pending"}}, "pending", 0),
    ],
)
async def test_a_task_is_found_in_what_it_is_wrapped_in(body: dict[str, Any], status: str, urls: int) -> None:
    found = await read(httpx.Response(200, json=body))
    assert (found.status, len(found.video_urls)) == (status, urls)


@pytest.mark.parametrize(
    "body",
    [
        {"status": "done", "video_urls": ["https://x.example/v.mp4"]},
        {"status": "done", "urls": ["https://x.example/v.mp4"]},
        {"status": "fulfilled", "url": "https://x.example/v.mp4"},
        {"data": {"state": "SUCCESS", "output": {"video": {"url": "https://x.example/v.mp4"}}}},
        {"data": {"state": "anything", "response": {"resultUrls": ["https://x.example/v.mp4"]}}},
    ],
)
def test_a_result_is_found_wherever_it_may_stand(body: dict[str, Any]) -> None:
    found = parse_task(body, None)
    assert (found.status, found.video_urls) == (Status.COMPLETED, ("https://x.example/v.mp4",))


@pytest.mark.parametrize(
    ("cost", "usd"),
    [
        ("0.5", 0.5), ('"0.5"', 0.5), ('" 0.50 "', 0.5), ('"half"', None), ("NaN", None), ("Infinity", None),
        ("1e400", None), ("-1", None), ('"-1"', None), ("true", None), ("null", None), ("[0.5]", None),
        ("9" * 5000, None), ('"1e3"', None), ("1e300", None),
    ],
)  # fmt: skip
async def test_a_cost_is_a_sum_of_money_or_unknown(cost: str, usd: float | None) -> None:
    text = f'{{"id": "{UUID}", "status": "completed", "video_url": "https://a.example/1", "usage": {{"cost": {cost}}}}}'
    assert (await read(httpx.Response(200, text=text))).cost_usd == usd


async def test_the_reason_of_a_failure_is_found_in_any_form_and_quoted() -> None:
    for more in (
        {"error": {"reason": "too dark"}},
        {"errors": ["too dark"]},
        {"message": "too dark"},
        {"failMsg": "too dark"},
    ):
        found = await read(httpx.Response(200, json={"id": UUID, "status": "failed", **more}))
        told = unsubmitted_task().accepted(UUID, Status.PENDING, EPOCH).read(found, EPOCH).error
        assert told
        assert told.message == 'RunAPI says: "too dark"'


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text='{"id": "550e84'),
        httpx.Response(200, text="<html><title>Sign in</title></html>"),
        httpx.Response(200, text=""),
        httpx.Response(200, json=["completed"]),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(200, text='{"status": "completed", "videos": [{"url": "https://a.example/\\ud800.mp4"}]}'),
        httpx.Response(200, json={"status": "completed"}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "javascript:alert(1)"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "https://me:secret@a.example/v.mp4"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": f"https://a.example/{'v' * 4096}"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "https:///v.mp4"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "https://a.example:0/v.mp4"}]}),
        httpx.Response(200, json={"status": "completed", "videos": [{"url": "https://a.example/\nv.mp4"}]}),
        httpx.Response(200, json={"success": False, "message": "try later"}),
        httpx.Response(200, json={"error": "try later"}),
        httpx.Response(200, json={"status": "error", "message": "try later"}),
        httpx.Response(200, json={"message": "Welcome"}),
    ],
)
async def test_an_answer_that_cannot_be_understood_is_a_bad_answer(answer: httpx.Response) -> None:
    with pytest.raises(errors.BadAnswer):
        await read(answer)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"created_at": "2026-01-01T10:30:00Z", "expires_at": "2026-01-01T11:30:00Z"}, 3600),
        ({"created_at": "2026-01-01T10:30:00Z", "expires_at": "2026-01-08T10:30:00.000Z"}, 7 * 86_400),
        ({"created_at": "2026-01-01T10:30:00Z", "expires_at": "2036-01-08T10:30:00Z"}, 7 * 86_400),
        ({"created_at": "2026-01-01T10:30:00Z", "expires_at": "2025-01-08T10:30:00Z"}, 0),
        ({"created_at": "2026-01-01T10:30:00", "expires_at": "2026-01-01T11:30:00Z"}, 3600),
        ({"expires_at": "2026-01-01T11:00:00Z"}, 3600),
        ({"created_at": 5, "expires_at": "soon"}, 3600),
        ({}, 3600),
    ],
)
def test_an_uploaded_clip_is_kept_as_long_as_runapi_says(answer: dict[str, Any], seconds: float) -> None:
    assert lifetime_in(answer) == seconds


@pytest.mark.parametrize(
    "schedules",
    [
        None,
        [],
        "free",
        [{**OFFER, "model": "other"}],
        [{**OFFER, "currency": "EUR"}],
        [{**OFFER, "unit_price_cents": "50"}],
        [{**OFFER, "unit_price_cents": -1}],
        [5],
    ],
)
def test_a_price_is_not_invented(schedules: Any) -> None:
    with pytest.raises(BadAnswer):
        price_in({"price_schedules": schedules})


def test_a_price_and_a_balance_are_read() -> None:
    assert price_in({"as_of": "2026", "price_schedules": [{}, {**OFFER, "unit_price_cents": 37}]}) == Price(
        0.37, "2026"
    )
    assert balance_in({"balance_cents": -50, "spent_cents_today": 1}) == Balance(-0.5, 0.01, None)
    for body in (
        {},
        {"balance_cents": True},
        {"balance_cents": None},
        {"balance_cents": "1"},
        {"balance_cents": 1e300},
    ):
        with pytest.raises(BadAnswer):
            balance_in(body)


def test_what_a_sandbox_tells_of_its_tasks_is_kept_until_it_tells_otherwise() -> None:
    def told(*values: str, known: float | None = None) -> float | None:
        return told_seconds_in(httpx.Headers([(SANDBOX_SECONDS_HEADER, value) for value in values]), known)

    assert told("8") == 8
    assert told("0.2", known=8) == 0.2
    assert told() is None
    assert told(known=8) == 8
    for nonsense in ("", "-1", "nan", "inf", "1e9", "12345", "8 s"):
        assert told(nonsense) is None
    assert told("8", "9") is None
