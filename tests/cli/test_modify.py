"""Modifying a clip from the command line, as a person and a script see it."""

import io
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.console import (
    EXIT_CODES,
)
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.rig import KEY, SOURCE
from tests.support.sandbox_process import SERVER


def test_a_clip_is_modified_and_its_path_is_all_that_stdout_says(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = home / "anywhere" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(bundled_clip().read_bytes() + b"mine")
    assert main(["modify", "anywhere/clip.mp4", "fog"]) == 0
    output = capsys.readouterr()
    assert Path(output.out.strip()).read_bytes() == clip.read_bytes()
    assert output.err == ""
    assert main(["tasks"]) == 0
    listed = capsys.readouterr().out
    assert "completed" in listed
    assert output.out.strip() in listed


def test_a_failed_generation_is_explained_on_stderr(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    httpx.post(f"{configured}/sandbox/faults", json={"kind": "fail", "text": "no motion"})
    assert main(["modify", SOURCE, "rain"]) == EXIT_CODES["generation_failed"]
    output = capsys.readouterr()
    assert output.out == ""
    assert 'generation_failed: RunAPI says: "no motion"' in output.err
    assert "charged: no" in output.err


def test_without_a_key_the_way_to_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modify", SOURCE, "fog"]) == 2
    assert "RUNAPI_API_KEY" in capsys.readouterr().err


def test_a_result_that_nobody_has_read_is_there_for_who_asks_again(home: Path, configured: str) -> None:
    command = [*SERVER, "modify", SOURCE, "unread"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr
        assert "Traceback" not in process.stderr.read()
    again = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert json.loads(again.stdout)["joined"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_ended_in_the_middle_of_a_submission_keeps_its_answer(
    home: Path, url: str, configured: str, number: signal.Signals
) -> None:
    httpx.post(f"{url}/sandbox/faults", json={"kind": "slow", "seconds": 0.9})
    command = [*SERVER, "modify", SOURCE, f"ended by {number}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not sent(home):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait() == 130
        assert process.stderr
        assert "A submitted task goes on" in process.stderr.read()
    assert [len(task_id) for task_id in sent(home)] == [36]


def sent(home: Path) -> list[str]:
    """Give the ids of the tasks that were sent to RunAPI, empty while it has not answered."""
    found = list(home.rglob("tasks.sqlite3"))
    if not found:
        return []
    with closing(sqlite3.connect(found[0])) as db:
        return [task_id for (task_id,) in db.execute("SELECT task_id FROM tasks WHERE attempts > 0")]


def test_a_refusal_is_json_too_where_that_is_asked_for(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modify", SOURCE, " ", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["charged"] == "no"


def test_a_prompt_is_taken_as_it_was_typed_in_a_locale_without_names_for_it(home: Path, url: str) -> None:
    surroundings = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment = {"HOME": str(home), "RUNAPI_API_KEY": KEY, "RUNAPI_BASE_URL": url, **surroundings}
    command = [*SERVER, "modify", SOURCE, "霧の秋の朝", "--json"]
    ended = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert json.loads(ended.stdout.decode())["prompt"] == "霧の秋の朝"


def test_a_person_sees_upload_generation_and_saving_in_one_display(home: Path, url: str) -> None:
    clip = home / "clip.mp4"
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 10_000_000)
    watching, terminal = pytest.importorskip("pty").openpty()
    environment = {"HOME": str(home), "RUNAPI_API_KEY": KEY, "RUNAPI_BASE_URL": url, "COLUMNS": "100"}
    command = [*SERVER, "modify", "clip.mp4", "fog"]
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=terminal) as process:
        os.close(terminal)
        shown = b"".join(pieces_of(watching)).decode()
        saved = Path((process.stdout or io.BytesIO()).read().decode().strip())
    assert process.returncode == 0
    assert saved.read_bytes() == clip.read_bytes()
    lines = [line.rstrip() for line in shown.split("\r") if line.strip()]
    stages = [line.split(" %  ")[1].split(",")[0] for line in lines]
    assert [stage for stage in dict.fromkeys(stages) if stage not in {"pending", "submitting"}] == [
        *("uploading the clip", "processing", "saving the video", "completed")
    ]
    shares = [int(line.split("] ")[1].split(" %")[0]) for line in lines]
    assert shares == sorted(shares)
    assert shares[-1] == 100


def pieces_of(descriptor: int) -> Generator[bytes]:
    """Read what was written to a terminal until it is closed."""
    try:
        while piece := os.read(descriptor, 65536):
            yield piece
    except OSError:  # how Linux says that nobody writes to it any more
        pass
    finally:
        os.close(descriptor)
