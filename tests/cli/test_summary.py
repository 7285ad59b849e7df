"""The end of a task as a person is told it."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from luma_mcp.app.app import Outcome
from luma_mcp.cli import summary
from luma_mcp.cli.summary import Telling, duration_words, print_summary, repeated_flags, size_words, summary_lines
from luma_mcp.core.errors import GenerationFailed, SubmissionUnconfirmed
from luma_mcp.core.models import DAY_SECONDS, SANDBOX_ORIGIN, Status, Task, TaskSnapshot, VideoRequest
from luma_mcp.core.settings import load_settings
from luma_mcp.hosts.entries import quote_command
from tests.support.rig import API_URL, EPOCH, SOURCE

REQUEST = VideoRequest(prompt="it's fog", source=SOURCE)
ASKED = Task(key="k", caller="local", request=REQUEST, created_at=EPOCH, updated_at=EPOCH, origin=API_URL)
DONE = TaskSnapshot(status=Status.COMPLETED, video_urls=("https://example.com/out.mp4",), cost_usd=0.5)
MADE = ASKED.accepted("6c1f", Status.PROCESSING, EPOCH).read(DONE, EPOCH + 125)
SAVED = replace(MADE, video_path="/videos/fog.mp4")


@pytest.fixture(autouse=True)
def found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shell find this program by its name."""
    monkeypatch.setattr(summary, "typed_command", lambda *words: quote_command(["luma-mcp", *words]))


def told(
    outcome: Outcome, now: float = EPOCH + 130, size: int | None = None, flags: Sequence[str] = ()
) -> dict[str, str]:
    return dict(summary_lines(outcome, now, size, flags))


def test_a_saved_video_comes_with_its_time_cost_and_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert told(Outcome(SAVED, is_new=True, next_take=2), size=12_400_000) == {
        "Saved": "/videos/fog.mp4  (12.4 MB)",
        "Took": "2 min 5 s",
        "Cost": "0.50 USD",
        "Open": "xdg-open /videos/fog.mp4",
        "Next take": f"""luma-mcp modify {SOURCE} 'it'"'"'s fog' --take 2  (0.50 USD)""",
    }


def test_a_video_that_was_not_saved_has_a_link_and_the_way_to_keep_it() -> None:
    lines = told(Outcome(MADE, is_new=True, next_take=2))
    assert lines["Link"].startswith("https://example.com/out.mp4  (until ")
    assert lines["Keep it"] == "luma-mcp save 6c1f"
    assert "Link" not in told(Outcome(MADE), now=EPOCH + 8 * DAY_SECONDS)


def test_what_the_sandbox_makes_is_said_to_be_a_stand_in_and_stays_there() -> None:
    lines = told(Outcome(replace(SAVED, origin=SANDBOX_ORIGIN), is_new=True, next_take=2), flags=["--sandbox"])
    assert lines["Cost"] == "nothing: the sandbox is free, and the video is a stand-in"
    assert lines["Next take"].endswith("--take 2 --sandbox")


def test_a_clip_that_the_sandbox_gave_back_as_it_was_is_said_to_be_ones_own() -> None:
    lines = told(Outcome(replace(SAVED, origin=SANDBOX_ORIGIN), is_new=True, own_clip=True))
    assert lines["Cost"] == "nothing: the sandbox is free, and the video is your own clip, unchanged"


def test_a_cost_that_runapi_did_not_name_is_said_to_be_its_price() -> None:
    assert told(Outcome(replace(SAVED, cost_usd=None)))["Cost"] == "0.50 USD, by RunAPI's price"
    assert told(Outcome(replace(SAVED, cost_usd=0.4)))["Cost"] == "0.40 USD"


def test_a_repeated_request_says_when_it_was_made_and_that_nothing_is_charged_now(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_summary(Outcome(SAVED, joined=True, nothing_sent=True), EPOCH + 130, None, Telling(begun=EPOCH + 100))
    said = capsys.readouterr().err
    assert said.startswith("Already asked for on 20")
    assert "nothing now; 0.50 USD when it was made" in said


def test_one_that_this_very_command_made_is_said_to_be_made_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(Outcome(SAVED, joined=True), EPOCH + 130, None, Telling(begun=EPOCH - 1))
    assert "made only once" in capsys.readouterr().err


def test_a_command_to_type_repeats_what_it_would_mean_another_thing_without(home: Path) -> None:
    settings = load_settings(sandbox=True, data_dir=home / "elsewhere", base_url="http://127.0.0.1:9", output_dir=home)
    assert repeated_flags(settings) == [
        *("--sandbox", "--data-dir", str(home / "elsewhere"), "--base-url", "http://127.0.0.1:9")
    ]
    assert repeated_flags(load_settings()) == []


@pytest.mark.parametrize("prompt", ["-dark and cold", "clip.mp4", "fog"])
def test_a_prompt_that_would_pass_for_something_else_is_given_by_its_flag(prompt: str) -> None:
    task = replace(SAVED, request=replace(REQUEST, prompt=prompt))
    assert f"--prompt={prompt}" in told(Outcome(task, is_new=True, next_take=2))["Next take"]


def test_a_prompt_of_several_lines_is_the_same_request_in_one() -> None:
    task = replace(SAVED, request=replace(REQUEST, prompt="fog\nover  the lake"))
    assert "'fog over the lake'" in told(Outcome(task, is_new=True, next_take=2))["Next take"]


def test_a_failure_is_explained_and_offers_no_take_that_would_only_fail_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = ASKED.refused(GenerationFailed("no motion").failure(), EPOCH + 5)
    print_summary(Outcome(failed, is_new=True, next_take=2), EPOCH + 130, None, Telling())
    assert capsys.readouterr().err.splitlines() == [
        'the generation failed: RunAPI says: "no motion"',
        "  Nothing was charged.",
        "  Change the prompt, or try another clip.",
    ]


def test_nobody_is_told_to_repeat_a_command_that_would_send_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    doubtful = ASKED.unconfirmed(SubmissionUnconfirmed("Not known.").failure(), EPOCH)
    print_summary(Outcome(doubtful, joined=True, left_to_others=True), EPOCH + 1, None, Telling())
    shown = capsys.readouterr().err
    assert "Run the same command again" not in shown
    assert "Leave --no-spend out" in shown


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3720, "1 h 2 min")]
)
def test_durations_are_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


@pytest.mark.parametrize(("size", "words"), [(999, "1 KB"), (26_400, "26 KB"), (12_400_000, "12.4 MB")])
def test_sizes_are_in_words(size: int, words: str) -> None:
    assert size_words(size) == words
