"""Commands: what they print where, and how they end."""

import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import anyio
import httpx
import pytest

from luma_mcp.__main__ import main
from luma_mcp.app.app import open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.console import (
    EXIT_CODES,
)
from luma_mcp.core.models import VideoRequest
from luma_mcp.core.settings import load_settings
from luma_mcp.ledger.files import LEDGER_NAME
from luma_mcp.sandbox.requests import bundled_clip
from luma_mcp.transports.auth import (
    ensure_local_token,
)
from tests.support.rig import KEY, SOURCE, settings_for, silent
from tests.support.sandbox_process import SERVER, sandbox_process
from tests.support.terminals import ODD, steers


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with sandbox_process(tmp_path_factory.mktemp("sandbox"), seconds=0.2) as url:
        yield url


@pytest.fixture
def configured(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    return url


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


def test_the_whole_task_can_be_had_as_json(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modify", SOURCE, "snow", "--json", "--save", "never"]) == 0
    task = json.loads(capsys.readouterr().out)
    assert (task["status"], task["video_path"]) == ("completed", "")
    assert main(["tasks", "--json", "--status", "completed", "--limit", "1"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [found["task_id"] for found in listed["tasks"]] == [task["task_id"]]


def test_a_failed_generation_is_explained_on_stderr(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    httpx.post(f"{configured}/sandbox/faults", json={"kind": "fail", "text": "no motion"})
    assert main(["modify", SOURCE, "rain"]) == EXIT_CODES["generation_failed"]
    output = capsys.readouterr()
    assert output.out == ""
    assert 'generation_failed: RunAPI says: "no motion"' in output.err
    assert "charged: no" in output.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["modify", "none.mp4", "fog"], 4),
        (["modify", "~nobody-of-that-name/a.mp4", "fog"], 4),
        (["modify", "circle.mp4", "fog"], 4),
        (["modify", "http://localhost/a.mp4", "fog"], 4),
        (["modify", SOURCE, " "], 4),
        (["tasks", "--status", "odd"], 4),
        (["tasks", "--limit", "0"], 4),
        (["modify", SOURCE, "fog", "--wait-seconds", "soon"], 2),
        (["--data-dir", "relative", "tasks"], 2),
    ],
)
def test_bad_input_is_explained_without_a_traceback(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    (home / "circle.mp4").symlink_to(home / "circle.mp4")
    assert main(arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err
    assert "Traceback" not in output.err


def test_without_a_key_the_way_to_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modify", SOURCE, "fog"]) == 2
    assert "RUNAPI_API_KEY" in capsys.readouterr().err


def test_a_port_for_other_machines_without_tokens_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUMA_MCP_TRANSPORT", "http")
    for host in ("0.0.0.0", "::"):
        assert main(["--host", host, "--port", "0"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("LUMA_MCP_AUTH_TOKENS: ")
        assert host in said


def test_no_tasks_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--sandbox"]) == 0
    assert capsys.readouterr().out == "No tasks.\n"


def test_a_port_that_is_taken_is_told_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        assert main(["sandbox", "--listen", number, "--data-dir", str(home)]) == 2
    assert capsys.readouterr().err.startswith(f"--listen: port {number} cannot be used: ")


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


def test_tasks_of_a_hostile_ledger_are_listed_without_harm(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_for(home, sandbox=True)
    typed = ODD.replace("\ud83d", "").replace("\x00", "")  # what a command line and a database can hold

    async def submit() -> None:
        async with open_app(settings) as app:
            request = VideoRequest(prompt="fog", source=SOURCE)
            await app.modify_video(request, "local", wait_seconds=0, progress=Progress(silent))

    anyio.run(submit)
    with closing(sqlite3.connect(settings.data_dir / "sandbox" / LEDGER_NAME, isolation_level=None)) as ledger:
        ledger.execute("UPDATE tasks SET prompt = ?, source = ?", (typed, f"https://example.com/{typed}"))
    for arguments in (["tasks"], ["tasks", "--json"], ["tasks", "--status", typed], ["modify", typed, typed]):
        main([*arguments, "--sandbox", "--data-dir", str(settings.data_dir)])
        output = capsys.readouterr()
        assert output.out + output.err
        assert not steers(output.out + output.err), arguments


def test_the_command_prints_the_token_and_nothing_else_on_stdout(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token"]) == 0
    told = capsys.readouterr()
    token = ensure_local_token(load_settings().data_dir).get_secret_value()
    assert (told.out, told.err) == (f"{token}\n", "")
    for tokens, word in (("none", "none"), ("ann:0123456789abcdef", "tokens of ann")):
        monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", tokens)
        assert main(["token"]) == 0
        told = capsys.readouterr()
        assert told.out == f"{token}\n"
        assert word in told.err
        assert "0123456789abcdef" not in told.err
