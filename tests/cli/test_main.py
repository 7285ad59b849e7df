"""The command line: what it prints where, and how it ends."""

import io
import json
import logging
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
from luma_mcp.cli.console import EXIT_CODES, ProgressBar, exit_code, table
from luma_mcp.cli.logs import Redacting
from luma_mcp.core.errors import Failure, LumaError
from luma_mcp.core.models import Status, Task, VideoRequest
from luma_mcp.core.settings import load_settings
from luma_mcp.sandbox.http import bundled_clip
from tests.support.rig import EPOCH, KEY, SOURCE
from tests.support.served import SERVER, sandbox_process
from tests.support.terminals import Terminal


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


def test_an_interruption_says_that_the_task_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "run", interrupted)
    assert main(["modify", SOURCE, "fog", "--sandbox"]) == 130
    assert "goes on" in capsys.readouterr().err


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


@pytest.mark.parametrize("arguments", [["--help"], ["modify", "--help"], ["tasks", "--help"], ["sandbox", "--help"]])
def test_help_is_for_newcomers(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "LUMA_MCP_SANDBOX" in text
    assert "--api-key" not in text
    assert "auth" not in text


def test_a_prompt_is_taken_as_it_was_typed_in_a_locale_without_names_for_it(home: Path, url: str) -> None:
    surroundings = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment = {"HOME": str(home), "RUNAPI_API_KEY": KEY, "RUNAPI_BASE_URL": url, **surroundings}
    command = [*SERVER, "modify", SOURCE, "霧の秋の朝", "--json"]
    ended = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert json.loads(ended.stdout.decode())["prompt"] == "霧の秋の朝"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == "runapi-luma-mcp 0.1.0\n"


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


@pytest.mark.anyio
async def test_the_bar_is_drawn_over_itself_on_a_terminal_and_nowhere_else() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        bar = ProgressBar(stream)
        await bar.report(25, 100, "processing, 12 s elapsed")
        await bar.report(100, 100, "completed, " + "x" * 40)
        await bar.report(100, 100, "x" * 500)
        bar.clear()
    first, second, long, last, end = terminal.getvalue().split("\r")[1:]
    assert first == "[######------------------]  25 %  processing, 12 s elapsed"
    assert second == "[" + "#" * 18 + "] 100 %  completed, " + "x" * 40, "the bar makes room for what it says"
    assert long.startswith("[######] 100 %  xxx")
    assert len(long) < 80
    assert (last, end) == (" " * len(long), ""), "what was drawn is written over, as old consoles know no other way"
    assert file.getvalue() == ""


def test_every_error_code_has_an_exit_code() -> None:
    codes = {kind.code for kind in all_errors(LumaError)}
    assert codes == EXIT_CODES.keys()
    failure = Failure("no such code", "", "no", retry_safe=True, hint="")
    request = VideoRequest(prompt="a  long\tprompt " + "霧" * 40, source=SOURCE)
    task = Task(key="k", caller="local", request=request, created_at=EPOCH, updated_at=EPOCH, error=failure)
    assert exit_code(task) == 1
    assert "a long prompt 霧霧" in table([task])
    assert "…" in table([task])
    assert Status.SUBMITTING in table([task])


def all_errors(kind: type[LumaError]) -> list[type[LumaError]]:
    return [found for child in kind.__subclasses__() for found in (child, *all_errors(child))]


def test_logs_show_no_secret_wherever_it_came_from() -> None:
    settings = load_settings(api_key=KEY, auth_tokens="ann:t0ken-0123456789")
    record = logging.LogRecord(
        "x", logging.ERROR, "f", 1, "sent %s and t0ken-0123456789 ann:t0ken-0123456789", (KEY,), None
    )
    line = Redacting(settings).format(record)
    assert KEY not in line
    assert "t0ken-0123456789" not in line
    assert "sent [secret]" in line
