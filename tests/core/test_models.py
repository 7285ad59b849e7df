"""How a task may change, and what names a request: the pure parts."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.core.errors import DownloadFailed
from luma_mcp.core.models import REPLAY_SECONDS, Status, Task, TaskSnapshot, VideoRequest
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
