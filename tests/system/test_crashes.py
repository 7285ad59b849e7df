"""The crash matrix: a real server is killed at every step, and started again: one charge, one file, nothing lost."""

import re
import shutil
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.sandbox.requests import bundled_clip, foggy_clip
from tests.support.sandbox_process import count_charges, sandbox_process, server_environment
from tests.support.stores import use_database
from tests.system.crashing import Crashing, server

GENERATION_SECONDS = 8.0  # RunAPI is asked twice, by a slow machine too
LEDGER_WRITES = 9  # as many as a job has at least, in either store, however many are written together
AT_ONCE = 24  # most of a round is waiting for a lease to run out
POINTS = (
    "submission.intended",
    "submission.preparing",
    "upload.prepared",
    "upload.sent",
    "upload.confirmed",
    "submission.sending",
    "submission.answered",
    "poll.asking",
    "poll.asking:2",
    "poll.answered",
    "poll.answered:2",
    "download.begun",
    "download.receiving",
    "download.complete",
    "download.published",
    "download.saved",
)
WRITES = tuple(f"ledger.{step}:{n}" for n in range(1, LEDGER_WRITES + 1) for step in ("written", "committed"))


@dataclass(frozen=True)
class Place:
    """Where one round happens: a home of its own, and the RunAPI that all rounds share."""

    point: str
    home: Path
    url: str
    runapi: Path

    @property
    def call(self) -> dict[str, Any]:
        return {"prompt": self.home.name, "source_video_url": "~/Videos/clip.mp4", "wait_seconds": 300}

    def server(self, die_at: str = "") -> Any:
        return server(server_environment(self.home, self.url), self.home / "log", die_at)

    def charges(self) -> int:
        """Count the tasks that RunAPI made for this round."""
        return count_charges(self.runapi, self.home.name)


def until_killed(wire: Crashing, place: Place) -> bool:
    """Ask for a video until the server dies; tell whether it did so at the point."""
    with suppress(EOFError, OSError):
        wire.call("modify_video", place.call)
    return wire.killed


def verdict(wire: Crashing, place: Place) -> str:
    """Finish the job with a server that lives, and say what is wrong with the outcome; nothing if all is well."""
    for _ in range(2):
        answer = wire.call("modify_video", place.call)["structuredContent"]
        if answer["status"] != "completed":
            return f"the repeated call says {answer['status']}: {answer['next_step']}"
    tasks = wire.call("list_tasks", {})["structuredContent"]["tasks"]
    if [task["status"] for task in tasks] != ["completed"]:
        return f"the list says {[task['status'] for task in tasks]}"
    files = sorted(place.home.glob("Videos/luma/*")) + sorted(place.home.glob("Videos/luma/.*"))
    if [str(file) for file in files] != [tasks[0]["video_path"]]:
        return f"the folder holds {[file.name for file in files]}"
    if files[0].read_bytes() != foggy_clip().read_bytes():
        return "the file is not the video"
    return "" if place.charges() == 1 else f"charged {place.charges()} times"


def crash_and_start_again(place: Place) -> str:
    """Kill the only server at a point, and let the next one finish."""
    with place.server(place.point) as first:
        if not until_killed(first, place):
            return "never reached"
    with place.server() as second:
        return verdict(second, place)


def crash_beside_another(place: Place) -> str:
    """Kill one of two servers that were asked for the same, and let the other finish."""
    with place.server() as other, place.server(place.point) as first:
        other.call("list_tasks", {})
        if not until_killed(first, place):
            return "never reached"
        return verdict(other, place)


@pytest.fixture(scope="module")
def runapi(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("runapi")
    with sandbox_process(folder, seconds=GENERATION_SECONDS) as url:
        yield url, folder / "served" / "sandbox"


def places(
    home: Path, runapi: tuple[str, Path], points: Sequence[str], kind: str, new_database: Callable[[], str] | None
) -> Generator[Place]:
    """Make a home with a clip for each point, and with a database where these are to be used."""
    for point in points:
        own = home / re.sub(r"\W", "-", f"{kind}-{point}")
        (own / "Videos").mkdir(parents=True)
        shutil.copy(bundled_clip(), own / "Videos" / "clip.mp4")
        if new_database:
            use_database(own, new_database())
        yield Place(point, own, *runapi)


def test_a_server_killed_at_any_step_is_followed_by_one_that_finishes(
    home: Path, runapi: tuple[str, Path], new_database: Callable[[], str] | None
) -> None:
    beside = places(home, runapi, POINTS, "b", new_database)
    alone = places(home, runapi, POINTS + WRITES, "a", new_database)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rounds = {
            **{f"{at.point} beside": pool.submit(crash_beside_another, at) for at in beside},
            **{at.point: pool.submit(crash_and_start_again, at) for at in alone},
        }
    assert {name: round.result() for name, round in rounds.items() if round.result()} == {}
