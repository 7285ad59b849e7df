"""The typical jobs, played by a model that takes texts at their word, go as their transcripts say."""

from pathlib import Path

import pytest

from tests.support.jobs import JOBS, PINNED, played
from tests.support.literal_model import Call, read_step
from tests.support.rig import ERAS

pytestmark = pytest.mark.anyio
WRITE_ANEW = "If the change is wanted, run: python -m tests.support.jobs, and read what it wrote"
LAST = Call("modify_video", {"prompt": "fog"})


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", JOBS)
async def test_a_job_goes_as_its_transcript_says(home: Path, inline_threads: None, name: str, era: str) -> None:
    pinned = (PINNED / f"{name}.md").read_text(encoding="utf-8")
    assert await played(name, home, era) == pinned, WRITE_ANEW


def test_there_is_one_transcript_for_each_job() -> None:
    assert {path.stem for path in PINNED.iterdir()} == set(JOBS)


@pytest.mark.parametrize(
    ("text", "call", "first"),
    [
        (
            'Call get_task with task_id "x" and wait_seconds 40.',
            Call("get_task", {"task_id": "x", "wait_seconds": 40}),
            "",
        ),
        ("Repeat the same modify_video call.", Call("modify_video", {"prompt": "fog"}), ""),
        ("Add credits, then repeat the call.", Call("modify_video", {"prompt": "fog"}), "Add credits"),
        ("Tell the user; do not call modify_video again.", None, ""),
        ("Do not repeat modify_video. Call list_tasks.", Call("list_tasks", {}), ""),
        ("Give the user the link.", None, ""),
    ],
)
def test_the_model_makes_the_call_that_a_text_names_and_no_other(text: str, call: Call | None, first: str) -> None:
    step = read_step(text, LAST)
    assert (step.call, step.first) == (call, first)
