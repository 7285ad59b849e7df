"""Progress tells what happens, and is moved by nothing but bytes and time spent generating."""

import io
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.app.progress import HEARTBEAT_SECONDS, MAX_ERROR_LENGTH, Progress, describe, progress_of
from luma_mcp.cli.progress_bar import ProgressBar
from luma_mcp.core.errors import DownloadFailed, GenerationFailed, NetworkFailure
from luma_mcp.core.models import Status, Task, TaskSnapshot, VideoRequest
from luma_mcp.media.downloads import MAX_FAILURES
from luma_mcp.media.transfers import Transfer
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import ContractVariant, bundled_clip
from luma_mcp.sandbox.transport import open_asgi_transport
from luma_mcp.worker.polling import DOCUMENTED, MIN_DURATIONS, DurationProfile
from tests.support.networks import Outage, SlowOutput, SlowUpload
from tests.support.rig import (
    EPOCH,
    ERAS,
    SOURCE,
    ProgressRecorder,
    Rig,
    VirtualClock,
    open_rig,
    sandbox_for,
    structured,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
ASK = {"prompt": "fog", "source_video_url": SOURCE, "wait_seconds": 300}
REQUEST = VideoRequest(prompt="fog", source=SOURCE)
TASK = Task(key="k", caller="local", request=REQUEST, created_at=EPOCH, updated_at=EPOCH, wants_file=True)
RUNNING = TASK.accepted("id", Status.PROCESSING, EPOCH)
GONE = NetworkFailure("runapi.ai could not be reached (All connection attempts failed).").failure()
DRAWN = re.compile(r"\[([#-]+)\] +(\d+) %  (.*?) *")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> list[tuple[int, str]]:
        """What the bar stood at, and what was said beside it, one after the other."""
        lines = [DRAWN.fullmatch(line) for line in self.getvalue().split("\r")]
        return [(int(line[2]), line[3]) for line in lines if line]


@asynccontextmanager
async def open_slow(home: Path, network: Any, *how: Any, seconds: float = 8.0, **more: Any) -> AsyncGenerator[Rig]:
    """Open the application behind a network that is slow or gone, as told."""
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock, seconds=seconds, shape=ContractVariant(tells_seconds=False))
    async with (
        open_asgi_transport(sandbox) as web,
        open_rig(home, clock=clock, sandbox=sandbox, network=network(web, *how, **more)) as rig,
    ):
        yield rig


def told_in(told: ProgressRecorder, stage: str) -> list[tuple[float, str]]:
    """Give the values and messages of a stage."""
    return [(value, message) for value, _, message in told.reports if message.startswith(stage)]


def is_steady(values: list[float]) -> bool:
    """Tell whether each value is 0.01 more than the one before, as where nothing moves."""
    return all(later - sooner == pytest.approx(0.01) for sooner, later in pairwise(values))


async def test_progress_is_told_at_each_state_and_as_a_heartbeat_between() -> None:
    told = ProgressRecorder()
    progress = Progress(told)
    done = RUNNING.read(TaskSnapshot(status=Status.COMPLETED, video_urls=(SOURCE,)), EPOCH + 50)
    for task, at in (
        (TASK, 0),
        (RUNNING, 0),
        (RUNNING, HEARTBEAT_SECONDS - 1),
        (RUNNING, HEARTBEAT_SECONDS),
        (RUNNING, 40),
        (RUNNING, 20),  # the clock was set back
        (RUNNING, 46),
        (done, 50),
        (done, 56),
        (done.saved("/v.mp4", EPOCH + 57), 57),
        (done.saved("/v.mp4", EPOCH + 57), 99),
    ):
        await progress.report_if_due(task, EPOCH + at)
    assert told.values == pytest.approx([0, 0.01, 6, 48, 48.01, 55.2, 90, 90.01, 100])
    assert [message for _, _, message in told.reports] == [
        "submitting, 0 s",
        "processing, 0 s, usually 30 to 120 s",
        "processing, 5 s, usually 30 to 120 s",
        "processing, 40 s, usually 30 to 120 s",
        "processing, 20 s, usually 30 to 120 s",
        "processing, 46 s, usually 30 to 120 s",
        "saving the video, 0 s",
        "saving the video, 6 s",
        "completed, generation took 50 s",
    ]


async def test_however_often_something_stands_it_rises_and_stays_below_the_whole() -> None:
    told = ProgressRecorder()
    progress = Progress(told)
    saving = RUNNING.read(TaskSnapshot(status=Status.COMPLETED, video_urls=(SOURCE,)), EPOCH)
    for beat in range(720):
        await progress.report_if_due(saving, EPOCH + 5 * beat, Transfer(9, 9))
    assert len(told.values) == 720
    assert told.values == sorted(set(told.values))
    assert told.values[-1] < 100


@pytest.mark.parametrize(
    ("task", "at", "moved", "value", "message"),
    [
        (replace(TASK, source_bytes=4_000_000), 12, None, 0, "uploading the clip, 12 s"),
        (
            replace(TASK, source_bytes=4_000_000),
            900,
            Transfer(1_000_000, 4_000_000),
            2.5,
            "uploading the clip, 1.0 of 4.0 MB, 900 s",
        ),
        (replace(TASK, source_bytes=4, source_url=SOURCE), 900, None, 10, "submitting, 900 s"),
        (replace(TASK, source_bytes=4, source_url=SOURCE, sent_at=EPOCH + 890), 900, None, 10, "submitting, 10 s"),
        (replace(RUNNING, sent_at=EPOCH + 10), 40, None, 36, "processing, 30 s, usually 30 to 120 s"),
        (replace(RUNNING, wants_file=False), 30, None, 40, "processing, 30 s, usually 30 to 120 s"),
        (RUNNING, 1200, None, 85.5, "processing, 1200 s, usually 30 to 120 s"),
        (replace(RUNNING, wants_file=False), 1200, None, 95, "processing, 1200 s, usually 30 to 120 s"),
        (TASK.refused(GONE, EPOCH + 3), 9, None, 0, "failed, 3 s"),
        (RUNNING.refused(GenerationFailed("x").failure(), EPOCH + 30), 90, None, 36, "failed, generation took 30 s"),
        (replace(TASK, status=Status.UNCONFIRMED, error=GONE, failures=3), 30, None, 0, "unconfirmed, 30 s"),
    ],
)
def test_each_stage_has_its_share_and_its_words(
    task: Task, at: float, moved: Transfer | None, value: float, message: str
) -> None:
    assert progress_of(task, DOCUMENTED, EPOCH + at, moved) == pytest.approx(value)
    assert describe(task, DOCUMENTED, EPOCH + at, moved) == message


def test_a_trouble_is_told_with_the_number_of_the_try() -> None:
    troubled = replace(TASK, failures=3).troubled(GONE, EPOCH + 20)
    gone = "runapi.ai could not be reached (All connection attempts failed)"
    assert describe(troubled, DOCUMENTED, EPOCH + 25) == f"submitting, 25 s, try 4: {gone}"
    running = replace(RUNNING, failures=1).troubled(GONE, EPOCH + 20)
    assert describe(running, DOCUMENTED, EPOCH + 25) == f"processing, 25 s, try 2: {gone}; usually 30 to 120 s"
    again, part = replace(troubled, source_bytes=9_000_000), Transfer(2_000_000, 9_000_000)
    moving = "uploading the clip, 2.0 of 9.0 MB, 25 s, try 4"
    assert describe(again, DOCUMENTED, EPOCH + 25, part) == moving, "nothing is wrong any more"
    saving = RUNNING.read(TaskSnapshot(status=Status.COMPLETED, video_urls=(SOURCE,)), EPOCH)
    assert describe(replace(saving, failures=1), DOCUMENTED, EPOCH + 9) == "saving the video, 9 s, try 2"
    endless = replace(saving, failures=3).troubled(DownloadFailed("x" * 1000).failure(), EPOCH + 9)
    assert describe(endless, DOCUMENTED, EPOCH + 9) == f"saving the video, 0 s, try 4: {'x' * MAX_ERROR_LENGTH}…"


async def test_what_cannot_be_asked_about_stands_until_it_answers_again() -> None:
    told, shown = ProgressRecorder(), ProgressRecorder()
    strict, bar = Progress(told), Progress(shown, heartbeat_seconds=0.5, strictly=False)
    another = replace(GONE, message="another trouble")
    seen = [
        (RUNNING, 30),
        (RUNNING.troubled(GONE, EPOCH + 32), 35),
        (RUNNING.troubled(another, EPOCH + 38), 40),
        (RUNNING.troubled(another, EPOCH + 38), 70),
        (RUNNING, 75),
    ]
    for task, at in seen:
        await strict.report_if_due(task, EPOCH + at)
        await bar.report_if_due(task, EPOCH + at)
    assert told.values == pytest.approx([36, 36.01, 36.02, 36.03, 85.5])
    assert shown.values == pytest.approx([36, 36, 36, 36, 85.5])
    late = RUNNING.troubled(GONE, EPOCH + 30)
    assert progress_of(late, DOCUMENTED, EPOCH + 1000) == pytest.approx(36), "who joins late hears of what was known"


@pytest.mark.parametrize("era", ERAS)
async def test_without_a_network_nothing_moves_and_what_is_wrong_is_told(home: Path, era: str) -> None:
    told = ProgressRecorder()
    async with open_slow(home, Outage, (0, 150)) as rig, rig.client(era) as client:
        await client.call_tool("modify_video", ASK, progress_callback=told)
    unsent = told_in(told, "submitting")
    assert len(unsent) > 10
    assert is_steady([value for value, _ in unsent])
    assert unsent[-1][0] < 1
    gone = r"submitting, \d+ s, try (\d): runapi.ai could not be reached \(.+\)"
    tries = [re.fullmatch(gone, said) for _, said in unsent]
    numbers = [int(found[1]) for found in tries[1:] if found]
    assert len(numbers) == len(unsent) - 1
    assert numbers == sorted(numbers)
    assert numbers[-1] > 4
    assert max(later - sooner for sooner, later in pairwise(told.times)) <= 10


@pytest.mark.parametrize("era", ERAS)
async def test_a_generation_stands_while_the_network_is_gone_and_goes_on_after(home: Path, era: str) -> None:
    told = ProgressRecorder()
    async with open_slow(home, Outage, (20, 170), seconds=280) as rig, rig.client(era) as client:
        done = structured(await client.call_tool("modify_video", ASK, progress_callback=told))
    assert done["status"] == "completed"
    assert told.values == sorted(set(told.values))
    running = told_in(told, "processing")
    gone = [(value, said) for value, said in running if "could not be reached" in said]
    assert len(gone) > 10
    assert is_steady([value for value, _ in gone])
    assert 20 < gone[0][0] < gone[-1][0] < 40
    tries = [re.search(r", try (\d): runapi", said) for _, said in gone]
    numbers = [int(found[1]) for found in tries if found]
    assert len(numbers) == len(gone)
    assert numbers == sorted(numbers)
    assert numbers[-1] > 4
    assert "try" not in running[-1][1], "who got through counts anew"
    assert running[-1][0] == pytest.approx(85.5, abs=0.5), "the time that was spent counts once that is known"


async def test_a_generation_is_counted_from_the_try_that_was_taken(home: Path) -> None:
    told = ProgressRecorder()
    async with open_slow(home, Outage, (0, 60), seconds=60) as rig:
        task = (await rig.app.modify_video(REQUEST, "local", wait_seconds=300, progress=Progress(told))).task
        assert 59 < (await rig.parts.ledger.durations(task.request.model, task.origin))[0] < 75, (
            "without the time without a network"
        )
    value, said = told_in(told, "processing")[0]
    assert (round(value), said) == (0, "processing, 0 s, usually 30 to 120 s")


async def test_a_bar_on_a_terminal_stands_where_nothing_moves(home: Path) -> None:
    terminal = Terminal()
    async with open_slow(home, Outage, (0, 6), (20, 170), seconds=280) as rig:
        bar = Progress(ProgressBar(terminal).report, heartbeat_seconds=0.5, strictly=False)
        task = (await rig.app.modify_video(REQUEST, "local", wait_seconds=300, progress=bar)).task
    assert task.status is Status.COMPLETED
    unsent = [(value, said) for value, said in terminal.shown if said.startswith("submitting")]
    assert {value for value, _ in unsent} == {0}
    assert sum("runapi.ai could not be" in said for _, said in unsent) > 3
    gone = [value for value, said in terminal.shown if said.startswith("processing") and "could not be" in said]
    assert len(gone) > 100
    assert len(set(gone)) == 1
    assert terminal.shown[-1][0] == 100


@pytest.mark.parametrize("era", ERAS)
async def test_an_upload_moves_by_its_bytes_and_ends_at_its_share(home: Path, era: str) -> None:
    (home / "out").mkdir()
    clip = Path(shutil.copy(bundled_clip(), home / "out" / "clip.mp4"))
    clip.write_bytes(clip.read_bytes() + b"\0" * 4_000_000)
    told = ProgressRecorder()
    async with open_slow(home, SlowUpload, 12.0, breaks=0) as rig, rig.client(era) as client:
        await client.call_tool("modify_video", ASK | {"source_video_url": str(clip)}, progress_callback=told)
    assert told.states == ["uploading the clip", "processing", "saving the video", "completed"]
    assert told.values == sorted(set(told.values))
    uploading = told_in(told, "uploading")
    assert len(uploading) > 8
    for value, said in uploading[1:]:
        sent = re.search(r", (\d\.\d) of 4\.1 MB, ", said)
        assert sent
        assert value == pytest.approx(10 * float(sent[1]) / 4.1, abs=0.2)
    first, said = told_in(told, "processing")[0]
    assert first == pytest.approx(10, abs=0.1), said


async def test_a_generation_of_twenty_minutes_waits_at_the_ceiling_of_the_estimate(home: Path) -> None:
    shown = ProgressRecorder()
    bar = Progress(shown, heartbeat_seconds=0.5, strictly=False)
    async with open_slow(home, Outage, seconds=1200) as rig:
        task = (await rig.app.modify_video(REQUEST, "local", wait_seconds=300, progress=bar)).task
        async with rig.client() as client:
            told = ProgressRecorder()
            await client.call_tool("get_task", {"task_id": task.task_id, "wait_seconds": 300}, progress_callback=told)
        while not task.is_settled:
            task = await rig.app.wait(task.key, 300, bar)
    running = told_in(shown, "processing")
    assert max(value for value, _ in running) == pytest.approx(85.5)
    assert sum(value == pytest.approx(85.5) for value, _ in running) > 500
    assert told.values[0] == pytest.approx(85.5), "who joins late hears of all the time that was spent"
    assert is_steady(told.values)
    assert shown.values == sorted(shown.values)
    assert shown.values[-1] == 100


async def test_who_joins_late_hears_at_once_how_far_it_is(home: Path) -> None:
    async with open_slow(home, Outage, seconds=60) as rig, rig.client() as client:
        made = structured(await client.call_tool("modify_video", ASK | {"wait_seconds": 30}))
        told = ProgressRecorder()
        await client.call_tool("modify_video", ASK, progress_callback=told)
        assert told.reports[0][2] == "processing, 30 s, usually 30 to 120 s"
        assert told.values[0] == pytest.approx(36)
        again = ProgressRecorder()
        await client.call_tool("get_task", {"task_id": made["task_id"], "wait_seconds": 1}, progress_callback=again)
        assert again.values == [100]


async def test_the_usual_time_is_learnt_and_stays_as_it_is_for_one_who_waits(home: Path) -> None:
    early, late = (ProgressRecorder(), ProgressRecorder())
    waiting, new = (Progress(told, heartbeat_seconds=0.5, strictly=False) for told in (early, late))
    async with open_slow(home, Outage, seconds=40) as rig:
        for number in range(MIN_DURATIONS):
            await rig.submit(f"earlier {number}", wait=0)
        await anyio.sleep(30)
        task = (await rig.app.modify_video(REQUEST, "local", wait_seconds=0, progress=waiting)).task
        await anyio.sleep(20)
        assert waiting.profile is DOCUMENTED
        for progress in (waiting, new):
            await rig.app.wait(task.key, 0.1, progress)
    assert isinstance(new.profile, DurationProfile)
    assert new.profile.middle == pytest.approx(43, abs=4)
    assert early.reports[-1][2] == "processing, 20 s, usually 30 to 120 s"
    assert early.values[-1] == pytest.approx(90 * 20 / 75, abs=0.5)
    assert re.fullmatch(r"processing, 20 s, usually 4\d( to 4\d)? s", late.reports[-1][2])
    assert late.values[-1] == pytest.approx(90 * 20 / new.profile.middle, abs=0.5)


async def test_a_save_that_fails_is_told_with_the_number_of_the_try(home: Path) -> None:
    told = ProgressRecorder()
    saving = Progress(told, heartbeat_seconds=0.5, strictly=False)
    async with open_slow(home, Outage) as rig:
        rig.sandbox.faults.inject(Fault("503", route="output", times=2 + MAX_FAILURES))
        task = (await rig.app.modify_video(REQUEST, "local", wait_seconds=300, progress=saving)).task
    assert (task.video_path != "", task.failures) == (True, 0)
    assert any(re.fullmatch(r"saving the video, \d+ s, try 2", said) for _, said in told_in(told, "saving"))


async def test_saving_moves_by_its_bytes(home: Path) -> None:
    told, pieces = ProgressRecorder(), 20
    saving = Progress(told, heartbeat_seconds=0.5, strictly=False)
    async with open_slow(home, SlowOutput, 3.0, pieces) as rig:
        task = (await rig.app.modify_video(REQUEST, "local", wait_seconds=300, progress=saving)).task
    assert task.video_path
    shares = [round((value - 90) / 9 * pieces, 1) for value, said in told_in(told, "saving")]
    assert shares == sorted(shares)
    assert set(range(pieces)) <= {round(share) for share in shares}
    assert told.values[-1] == 100
