"""Each charge leaves a line: who, what, how much, which task; at least once, and never the prompt."""

import hashlib
import json
import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.cli.logs import MAX_LINE_LENGTH, RedactingFormatter
from luma_mcp.core import failpoints
from luma_mcp.core.errors import GenerationFailed, SubmissionUnconfirmed
from luma_mcp.core.models import SANDBOX_ORIGIN, Status, Task, TaskSnapshot, VideoRequest
from luma_mcp.core.observer import Observer, Settled
from luma_mcp.core.settings import load_settings
from luma_mcp.ledger.audit import log_charge
from luma_mcp.ledger.ledger import Ledger
from tests.support.ledgers import Another, add
from tests.support.rig import EPOCH
from tests.support.tasks import task

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]  # SQLite writes on a thread
DOUBT = SubmissionUnconfirmed("Nobody knows.").failure()
DONE = TaskSnapshot(status=Status.COMPLETED, video_urls=("https://cdn.example/v.mp4?signature=secret",), cost_usd=0.45)


@pytest.fixture
def ledger(another: Another) -> Generator[Ledger]:
    with closing(another()) as opened:
        yield opened


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "luma_mcp.audit")
    return caplog


def told(lines: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in lines.records if record.name == "luma_mcp.audit"]


async def taken(ledger: Ledger, number: int = 0) -> Task:
    """Give a task that RunAPI has taken."""
    added, _ = await add(ledger, task(number, caller="ann"))
    sent = added.sending("", EPOCH)
    return await ledger.record_accepted(sent.accepted(f"id-{number}", Status.PENDING, EPOCH))


async def test_a_task_that_completed_leaves_one_line(ledger: Ledger, lines: pytest.LogCaptureFixture) -> None:
    running = await taken(ledger)
    assert told(lines) == []
    done = await ledger.record(running.read(DONE, EPOCH + 60))
    await ledger.record_saved(done.saved("/v/fog.mp4", EPOCH + 70))
    assert told(lines) == [
        {
            "event": "charge",
            "charged": "yes",
            "usd": 0.45,
            "reported": True,
            "simulated": False,
            "caller": "ann",
            "task": running.key,
            "task_id": "id-0",
            "status": "completed",
            "take": 1,
            "model": "luma-modify-video",
            "prompt_sha256": hashlib.sha256(b"take 0").hexdigest(),
        }
    ]


async def test_neither_the_prompt_nor_an_address_is_in_it(ledger: Ledger, lines: pytest.LogCaptureFixture) -> None:
    running = await taken(ledger)
    await ledger.record(running.read(DONE, EPOCH + 60))
    for secret in (running.request.prompt, running.request.source, "cdn.example", "signature"):
        assert secret not in lines.text


async def test_a_price_that_runapi_did_not_report_is_called_that(
    ledger: Ledger, lines: pytest.LogCaptureFixture
) -> None:
    await ledger.record((await taken(ledger)).read(replace(DONE, cost_usd=None), EPOCH + 60))
    assert [(line["usd"], line["reported"]) for line in told(lines)] == [(0.5, False)]


async def test_what_the_sandbox_made_is_called_simulated(ledger: Ledger, lines: pytest.LogCaptureFixture) -> None:
    added, _ = await add(ledger, replace(task(), origin=SANDBOX_ORIGIN))
    accepted = await ledger.record_accepted(added.sending("", EPOCH).accepted("id", Status.PENDING, EPOCH))
    await ledger.record(accepted.read(DONE, EPOCH + 60))
    assert [(line["usd"], line["simulated"]) for line in told(lines)] == [(0.45, True)]


async def test_what_cost_nothing_leaves_no_line(ledger: Ledger, lines: pytest.LogCaptureFixture) -> None:
    await ledger.record((await taken(ledger)).refused(GenerationFailed("No.", charged="no").failure(), EPOCH + 60))
    assert told(lines) == []


async def test_what_may_have_been_charged_says_so_and_later_that_it_was(
    ledger: Ledger, lines: pytest.LogCaptureFixture
) -> None:
    added, _ = await add(ledger, task())
    doubted = await ledger.record(added.sending("", EPOCH).unconfirmed(DOUBT, EPOCH))
    await ledger.record(replace(doubted, failures=1))
    accepted = await ledger.record_accepted(doubted.accepted("id", Status.PENDING, EPOCH + 30))
    await ledger.record(accepted.read(DONE, EPOCH + 60))
    assert [(line["charged"], line["task"]) for line in told(lines)] == [("unknown", added.key), ("yes", added.key)]


async def test_a_task_that_was_given_up_may_have_been_charged(ledger: Ledger, lines: pytest.LogCaptureFixture) -> None:
    await ledger.record((await taken(ledger)).left(DOUBT, EPOCH + 86_400))
    assert [(line["charged"], line["status"]) for line in told(lines)] == [("unknown", "pending")]


async def test_of_two_servers_that_record_an_end_the_first_writes_the_line(
    ledger: Ledger, another: Another, lines: pytest.LogCaptureFixture
) -> None:
    running = await taken(ledger)
    await ledger.record(running.read(DONE, EPOCH + 60))
    await ledger.release_all()
    with closing(another()) as other:
        await other.claim([running.key], EPOCH + 60, EPOCH + 75)
        await other.record(running.read(DONE, EPOCH + 61))
    assert len(told(lines)) == 1


class Killed(BaseException):
    """Stands for the end of the process."""


async def test_the_line_is_there_before_the_charge_is_and_again_after_a_crash(
    path: Path, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(point: str) -> None:
        if point == "ledger.written":
            raise Killed

    with closing(Ledger.in_file(path)) as ledger:
        running = await taken(ledger)
        with monkeypatch.context() as armed:
            armed.setattr(failpoints, "reach", die)
            with pytest.raises(Killed):
                await ledger.record(running.read(DONE, EPOCH + 60))
        assert not (await ledger.get(running.key)).status.done
        assert len(told(lines)) == 1
        await ledger.record(running.read(DONE, EPOCH + 62))
    assert [line["task"] for line in told(lines)] == [running.key, running.key]


async def test_an_observer_hears_of_each_end_and_charge_once_written(path: Path) -> None:
    heard: list[tuple[Status, Settled]] = []

    class Listening(Observer):
        def settled(self, task: Task, settled: Settled) -> None:
            heard.append((task.status, settled))

    with closing(Ledger.in_file(path, observer=Listening())) as ledger:
        done = await ledger.record((await taken(ledger)).read(DONE, EPOCH + 60))
        await ledger.record(replace(done, failures=1))
    assert [each for each in heard if each[1] != Settled()] == [(Status.COMPLETED, Settled(ended=True, charged=True))]


@pytest.mark.parametrize(
    "odd",
    ['x"\n\r\u2028\x1b[31m, "caller": "bob"}', "\ud800" * 1000, "\U0001f600" * 1000, '"' * 1000, "\x7f" * 1000],
    ids=["forged", "half", "wide", "quotes", "control"],
)
def test_nothing_in_a_task_can_break_its_line(lines: pytest.LogCaptureFixture, odd: str) -> None:
    request = VideoRequest(prompt=odd, source=odd, model=odd)
    log_charge(replace(task(caller=odd), request=request, task_id=odd, status=Status.COMPLETED, charged="yes"))
    formatted = RedactingFormatter(load_settings()).format(lines.records[-1])
    assert formatted.isprintable()
    assert len(formatted) < MAX_LINE_LENGTH
    line = json.loads(formatted.partition("luma_mcp.audit: ")[2])
    assert odd.startswith(line["caller"])
    assert len(line["caller"]) >= min(len(odd), 50)
