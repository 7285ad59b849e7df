"""How a task may change, when RunAPI is asked, and what is told meanwhile: the pure parts."""

import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.app.app import Outcome
from luma_mcp.core.backoff import backoff
from luma_mcp.core.errors import GenerationFailed, NoVideoNamed
from luma_mcp.core.models import Reading, Status, Task, VideoRequest
from luma_mcp.core.storage_errors import DownloadFailed
from luma_mcp.server.results import is_failure, next_step, task_object
from luma_mcp.worker.polling import DOCUMENTED, estimate, poll_after, usual
from tests.support.rig import API_URL, EPOCH, SOURCE

REQUEST = VideoRequest(prompt="fog", source=SOURCE)
TASK = Task(key="k", caller="local", request=REQUEST, created_at=EPOCH, updated_at=EPOCH, wants_file=True)
VIDEO = ("https://a.example/v.mp4",)
readings = st.builds(
    Reading,
    status=st.sampled_from([Status.PENDING, Status.PROCESSING, Status.COMPLETED, Status.FAILED]),
    video_urls=st.just(VIDEO),
    error=st.just("why"),
    cost_usd=st.none() | st.just(0.5),
    retry_after=st.none(),
)
seconds = st.floats(0, 1e6)
durations = st.lists(st.floats(0.1, 3600), max_size=60)


@given(st.lists(readings))
def test_a_status_never_goes_back_and_an_end_is_final(said: list[Reading]) -> None:
    task = TASK.accepted("id", Status.PROCESSING, EPOCH)
    for number, reading in enumerate(said):
        after = task.read(reading, EPOCH + number)
        assert after.status.rank >= task.status.rank
        if task.status.done:
            assert replace(after, error=None) == replace(task, error=None)
        task = after


def test_trouble_is_told_until_the_next_good_reading() -> None:
    running = TASK.accepted("id", Status.PROCESSING, EPOCH)
    troubled = running.troubled(DownloadFailed("x").failure(), EPOCH + 1)
    assert troubled.error
    again = replace(troubled, failures=2).troubled(DownloadFailed("x").failure(), EPOCH + 9)
    assert (again.failures, again.updated_at) == (2, EPOCH + 1), "the same trouble is told once, and counted each time"
    for end in (Status.PROCESSING, Status.PENDING, Status.COMPLETED, Status.FAILED):
        assert again.read(Reading(status=end), EPOCH + 10).failures == 0
    assert (again.accepted("id", Status.PENDING, EPOCH).failures, again.saved("/v.mp4", EPOCH).failures) == (0, 0)
    assert troubled.read(Reading(status=Status.PROCESSING), EPOCH + 2).error is None
    assert troubled.read(Reading(status=Status.PENDING), EPOCH + 2).error is None


@given(st.text(), st.text(), st.booleans())
def test_requests_that_differ_in_any_word_have_different_names(prompt: str, other: str, mark: bool) -> None:
    one = VideoRequest(prompt=prompt, source=SOURCE, watermark=mark)
    assert one.name("me", API_URL) == replace(one, take=2, callback_url="https://me.example").name("me", API_URL)
    same = words(prompt) == words(other)
    assert (one.name("me", API_URL) == replace(one, prompt=other).name("me", API_URL)) == same
    assert one.name("me", API_URL) != one.name("you", API_URL)
    assert one.name("me", API_URL) != replace(one, watermark=not mark).name("me", API_URL)
    assert one.name("me", API_URL) != one.name("me", "https://other.example")
    assert one.name("me", API_URL) != replace(one, model="other").name("me", API_URL)


def words(prompt: str) -> list[str]:
    """Take a prompt apart into the words that name it, however they are written."""
    return unicodedata.normalize("NFC", prompt).split()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a foggy  morning", "a\tfoggy morning\n", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("Fog", "fog", False),
        ("fog, rain", "fog rain", False),
    ],
)
def test_blanks_and_accents_name_the_same_and_case_does_not(one: str, other: str, same: bool) -> None:
    names = {VideoRequest(prompt=prompt, source=SOURCE).name("me", API_URL) for prompt in (one, other)}
    assert (len(names) == 1) is same


def test_a_file_is_named_by_its_content_an_earlier_result_by_its_task_and_an_address_as_it_is_written() -> None:
    def name(source: str, digest: str = "") -> str:
        return VideoRequest(prompt="fog", source=source).name("me", API_URL, digest)

    assert name("/a/clip.mp4", "md5:x:1") == name("/b/other.mp4", "md5:x:1") != name("/a/clip.mp4", "md5:y:1")
    assert name("luma://tasks/a-1", "md5:x:1") == name("luma://tasks/a%2D1") != name("luma://tasks/a-2", "md5:x:1")
    assert name("https://example.com/a.mp4") != name("https://example.com/a.mp4?again")


@given(durations, seconds, seconds)
def test_the_estimate_rises_with_time_up_to_its_ceiling(known: list[float], one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0 <= estimate(early, usual(known)) <= estimate(late, usual(known)) <= 0.95
    assert estimate(usual(known).middle / 2, usual(known)) == pytest.approx(0.5)


@given(durations, seconds, st.none() | st.floats(0, 600))
def test_polls_keep_their_distance_and_do_what_the_server_asked(
    known: list[float], elapsed: float, asked: float | None
) -> None:
    wait = poll_after(elapsed, usual(known), retry_after=asked)
    assert wait >= max(2, asked or 0)
    assert wait <= max(30, asked or 0)


def test_polls_are_fewer_than_at_a_fixed_pace_and_notice_the_end_soon() -> None:
    for duration in (30, 60, 120, 600):
        for known in (DOCUMENTED, usual([duration * factor for factor in (0.8, 0.9, 1, 1.1, 1.2)])):
            at, polls = 0.0, 0
            while at < duration:
                at += poll_after(at, known)
                polls += 1
            assert polls < duration / 2
            assert at - duration <= 0.2 * duration


def test_the_usual_range_is_learnt_from_enough_tasks_and_documented_before() -> None:
    assert usual([5, 6, 7, 8]) is DOCUMENTED
    learnt = usual([60, 50, 40, 70, 30, 80, 20, 90, 10, 100, 0])
    assert (learnt.low, learnt.middle, learnt.high) == (10, 50, 90)
    assert (DOCUMENTED.low, DOCUMENTED.middle, DOCUMENTED.high) == (30, 75, 120)


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 3600))
def test_backoff_doubles_to_its_limit_and_obeys_the_server(failures: int, jitter: float, asked: float | None) -> None:
    wait = backoff(failures, jitter=jitter, retry_after=asked)
    assert wait >= max(min(2.0 ** min(failures - 1, 6), 60), asked or 0)
    assert wait <= max(90, asked or 0)


@pytest.mark.parametrize(
    ("changes", "failed", "step"),
    [
        ({}, False, "same modify_video call"),
        ({"status": Status.PENDING, "task_id": "id"}, False, 'get_task with task_id "id"'),
        ({"status": Status.COMPLETED, "video_urls": VIDEO}, False, "being saved"),
        ({"status": Status.COMPLETED, "video_urls": VIDEO, "wants_file": False}, False, "video_urls"),
        ({"status": Status.COMPLETED, "video_urls": VIDEO, "video_path": "/v.mp4"}, False, "/v.mp4"),
        (
            {"status": Status.COMPLETED, "video_urls": VIDEO, "error": DownloadFailed("x").failure()},
            True,
            "works until expires_at",
        ),
        ({"status": Status.COMPLETED, "charged": "yes", "error": NoVideoNamed().failure()}, True, "save_video later"),
        ({"status": Status.FAILED, "error": GenerationFailed("x").failure()}, True, "Change the prompt"),
        ({"status": Status.FAILED}, False, "Nothing more"),
        ({"status": Status.UNCONFIRMED, "error": GenerationFailed("x").failure()}, True, "Change"),
    ],
)
def test_every_state_says_whether_it_is_a_failure_and_what_to_do_next(
    changes: dict[str, Any], failed: bool, step: str
) -> None:
    task = replace(TASK, **changes)
    assert (is_failure(task, task.created_at), step in next_step(task, task.created_at)) == (failed, True)


def test_what_is_not_known_is_absent_from_the_task_object() -> None:
    fresh = dict(task_object(Outcome(TASK), EPOCH + 1.26))
    assert fresh["elapsed_seconds"] == 1.3
    assert fresh["created_at"] == "2026-09-21T14:13:20.000Z"
    assert not fresh.keys() & {"finished_at", "expires_at", "cost_usd", "error"}
    done = replace(TASK, status=Status.COMPLETED, finished_at=EPOCH + 5, cost_usd=0.5, video_urls=VIDEO)
    told = dict(task_object(Outcome(done, joined=True, next_take=2), EPOCH + 60))
    assert (told["elapsed_seconds"], told["cost_usd"], told["joined"]) == (5, 0.5, True)
    assert told["expires_at"] == "2026-09-28T14:13:25.000Z"
