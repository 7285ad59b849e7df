"""How a task may change, and what names a request: the pure parts."""

import unicodedata
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.core.errors import DownloadFailed
from luma_mcp.core.models import (
    REPLAY_SECONDS,
    Limits,
    Status,
    Task,
    TaskSnapshot,
    Usage,
    VideoRequest,
    format_usd,
    to_micros,
)
from tests.support.rig import API_URL, EPOCH, SOURCE

REQUEST = VideoRequest(prompt="fog", source=SOURCE)
TASK = Task(key="k", caller="local", request=REQUEST, created_at=EPOCH, updated_at=EPOCH, wants_file=True)
VIDEO = ("https://a.example/v.mp4",)
readings = st.builds(
    TaskSnapshot,
    status=st.sampled_from([Status.PENDING, Status.PROCESSING, Status.COMPLETED, Status.FAILED]),
    video_urls=st.just(VIDEO),
    error=st.just("why"),
    cost_usd=st.none() | st.just(0.5),
    retry_after=st.none(),
)


@given(st.lists(readings))
def test_a_status_never_goes_back_and_an_end_is_final(said: list[TaskSnapshot]) -> None:
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
        assert again.read(TaskSnapshot(status=end), EPOCH + 10).failures == 0
    assert (again.accepted("id", Status.PENDING, EPOCH).failures, again.saved("/v.mp4", EPOCH).failures) == (0, 0)
    assert troubled.read(TaskSnapshot(status=Status.PROCESSING), EPOCH + 2).error is None
    assert troubled.read(TaskSnapshot(status=Status.PENDING), EPOCH + 2).error is None


FAILURE = DownloadFailed("x").failure()


@pytest.mark.parametrize(
    ("task", "seconds", "ended"),
    [
        (TASK, 0.0, False),
        (TASK.accepted("id", Status.PROCESSING, EPOCH), 0.0, False),
        (TASK.accepted("id", Status.PROCESSING, EPOCH).left(FAILURE, EPOCH), 0.0, True),
        (replace(TASK, status=Status.COMPLETED, video_urls=VIDEO), 0.0, False),
        (replace(TASK, status=Status.COMPLETED, video_urls=VIDEO).saved("/v.mp4", EPOCH), 0.0, True),
        (replace(TASK, status=Status.COMPLETED, video_urls=VIDEO, error=FAILURE), 0.0, True),
        (replace(TASK, status=Status.COMPLETED, video_urls=VIDEO, wants_file=False), 0.0, True),
        (TASK.refused(FAILURE, EPOCH), 0.0, True),
        (replace(TASK, sent_at=EPOCH).unconfirmed(FAILURE, EPOCH), REPLAY_SECONDS, False),
        (replace(TASK, sent_at=EPOCH).unconfirmed(FAILURE, EPOCH), REPLAY_SECONDS + 1, True),
    ],
)
def test_a_task_has_ended_once_asking_later_brings_nothing_new(task: Task, seconds: float, ended: bool) -> None:
    assert task.has_ended(EPOCH + seconds) is ended


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


@pytest.mark.parametrize(
    ("usd", "micros", "written"),
    [
        (0.5, 500_000, "0.50"),
        (0.1 + 0.2, 300_000, "0.30"),
        (1.005, 1_005_000, "1.005"),
        (0.0000004, 0, "0.00"),
        (Decimal("2.50"), 2_500_000, "2.50"),
        (1234567.891, 1_234_567_891_000, "1234567.891"),
        (0, 0, "0.00"),
    ],
)
def test_money_is_whole_millionths_and_is_written_exactly(usd: float, micros: int, written: str) -> None:
    assert to_micros(usd) == micros
    assert format_usd(micros) == written


@given(st.integers(0, 10**15))
def test_what_is_written_of_money_is_what_it_is(micros: int) -> None:
    assert to_micros(Decimal(format_usd(micros))) == micros


@pytest.mark.parametrize(
    ("limits", "used", "variable", "left"),
    [
        (Limits(), Usage(99, 99, 10**12), None, None),
        (Limits(2, 5), Usage(1, 4), None, 1),
        (Limits(2, 5), Usage(2, 4), "LUMA_MCP_MAX_ACTIVE", 0),
        (Limits(2, 5), Usage(2, 5), "LUMA_MCP_DAILY_LIMIT", 0),
        (Limits(daily=0), Usage(0, 0), "LUMA_MCP_DAILY_LIMIT", 0),
        (Limits(budget=1_000_000), Usage(0, 0), None, 2),
        (Limits(budget=1_000_000), Usage(1, 1, 500_000), None, 1),
        (Limits(budget=1_000_000), Usage(1, 1, 500_001), "LUMA_MCP_DAILY_BUDGET", 0),
        (Limits(budget=1_000_000), Usage(3, 3, 1_500_000), "LUMA_MCP_DAILY_BUDGET", 0),
        (Limits(budget=400_000, price=100_000), Usage(1, 1, 100_000), None, 3),
        (Limits(budget=1, price=0), Usage(1, 1, 1), None, None),
        (Limits(active=20, budget=1, price=0), Usage(1, 1, 2), "LUMA_MCP_DAILY_BUDGET", 0),
    ],
)
def test_limits_say_what_refuses_and_what_is_left(
    limits: Limits, used: Usage, variable: str | None, left: int | None
) -> None:
    refusal = limits.refusal(used)
    assert (refusal and refusal.variable, limits.tasks_left(used)) == (variable, left)


def test_a_spent_budget_says_what_is_left_and_what_a_task_costs() -> None:
    refusal = Limits(budget=to_micros(1.25)).refusal(Usage(1, 2, to_micros(1)))
    assert refusal
    assert "LUMA_MCP_DAILY_BUDGET allows 1.25: 0.25 USD are left, and another task costs 0.50." in refusal.message
    assert refusal.hint.startswith("Wait")


def test_nobody_is_told_to_wait_for_a_budget_that_is_smaller_than_the_price() -> None:
    refusal = Limits(budget=to_micros(0.49)).refusal(Usage(0, 0, 0))
    assert refusal
    assert "0.49 USD are left, and another task costs 0.50." in refusal.message
    assert "Waiting does not help" in refusal.hint
