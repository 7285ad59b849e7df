"""Windows and macOS, as far as they can be played here: code pages, signals, files that are open, names and paths."""

import json
import os
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path, PureWindowsPath
from typing import Any
from unittest.mock import Mock

import pytest

from luma_mcp.core.errors import SourceNotAllowed, SourceNotFound
from luma_mcp.media import sources
from luma_mcp.media.clips import Clips
from luma_mcp.media.files import check_writable, publish, remove_leftovers, temporary_file
from luma_mcp.media.sources import file_uri_path, is_on_other_machine, resolve_allowed_file
from luma_mcp.sandbox.requests import bundled_clip, foggy_clip
from tests.support.ledgers import aside, damage_index
from tests.support.sandbox_process import SERVER, sandbox_process, server_environment
from tests.support.stdio_client import StdioClient
from tests.system.like_windows import CTRL_BREAK, LEAVING_SECONDS

WINDOWS = [sys.executable, "-m", "tests.system.like_windows"]
WORDS = "霧の秋の朝 ½ façade 🦊"
C_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
CODE_PAGES = {
    "cp932": {"PYTHONIOENCODING": "cp932", "PYTHONUTF8": "0"},
    "cp1252": {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    "C": C_LOCALE,
}
SYSTEMS = {"Windows": WINDOWS, "here": SERVER}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    """Files and processes live in real time."""
    return "asyncio"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with sandbox_process(tmp_path_factory.mktemp("sandbox"), seconds=0.2) as url:
        yield url


def environment_of(home: Path, url: str, **more: str) -> dict[str, str]:
    """Give the environment of a server or command."""
    return server_environment(home, url, PYTHONPATH=str(ROOT), **more)


@contextmanager
def started(command: list[str], environment: dict[str, str]) -> Generator[tuple[StdioClient, subprocess.Popen[bytes]]]:
    """Start a server, and speak to it as a host on Windows may: in plain UTF-8, with lines that end in CR LF."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        stdin = TextIOWrapper(process.stdin, encoding="utf-8", newline="\r\n")
        wire = StdioClient(stdin, TextIOWrapper(process.stdout, encoding="utf-8"), escapes=False)
        try:
            wire.initialize()
            yield wire, process
        finally:
            process.kill()


def left_in_order(process: subprocess.Popen[bytes], home: Path) -> None:
    """Hold that a process has ended by itself, and closed its ledger."""
    assert process.wait(LEAVING_SECONDS) == 0
    assert process.stderr
    assert b"Traceback" not in process.stderr.read()
    assert not (home / ".local/share/luma-mcp/tasks.sqlite3-journal").exists()


WINDOWS_LACKS = [
    "import fcntl",
    "import pwd as users",
    "from termios import FIONREAD",
    "import os; os.getuid()",
    "import os; getattr(os, 'geteuid')()",
    "import os.path; os.fork",
    "from os import O_NOFOLLOW",
    "import os as system; system.sysconf",
    "import select; select.poll()",
    "import signal; signal.SIGHUP",
    "import signal; signal.alarm(0)",
    "import socket; socket.AF_UNIX",
    "import sys; assert sys.platform == 'linux'",
    "import os; assert os.name == 'posix'",
    "import os; os.close(os.open('.', os.O_RDONLY))",
    "import os; os.readlink('/proc/self/fd/0')",
    "from pathlib import Path; Path('one').rename('two')",
    "from pathlib import Path; file = open('one'); Path('one').replace('three')",
    "import os; file = open('one'); os.unlink('one')",
    "import anyio\nasync def run():\n with anyio.open_signal_receiver(2): pass\nanyio.run(run)",
    "import asyncio\nasync def run():\n asyncio.get_running_loop().add_signal_handler(2, print)\nasyncio.run(run())",
]
PLANT = """\
import json, sys
from pathlib import Path
from tests.system.like_windows import become_windows
become_windows()
worked = []
for statements in json.load(sys.stdin):
    for name in ("one", "two"):
        Path(name).touch()
    try:
        exec(statements, {"__name__": sys.argv[1]})
        worked.append(statements)
    except (ImportError, AttributeError, AssertionError, OSError, NotImplementedError):
        pass
print(json.dumps(worked))
"""


def planted(module: str, home: Path) -> list[str]:
    """List the statements that work on the played Windows when they stand in a module of that name."""
    said = subprocess.run(
        [sys.executable, "-c", PLANT, module],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=home,
        input=json.dumps(WINDOWS_LACKS),
        capture_output=True,
        text=True,
        check=True,
    )
    worked: list[str] = json.loads(said.stdout)
    return worked


def test_what_windows_lacks_is_missing_for_our_own_code(home: Path) -> None:
    assert planted("luma_mcp.planted", home) == []


@pytest.mark.parametrize("module", ["platformdirs.unix", "anyio._backends._asyncio", "tempfile", "__main__"])
def test_nothing_is_missing_for_dependencies_which_have_other_ways_on_windows(home: Path, module: str) -> None:
    assert planted(module, home) == WINDOWS_LACKS


@pytest.mark.parametrize(("system", "code_page"), [*(("Windows", each) for each in CODE_PAGES), ("here", "C")])
def test_a_prompt_goes_through_stdio_as_it_is_whatever_the_code_page(
    home: Path, url: str, system: str, code_page: str
) -> None:
    clip = home / "Videos" / ("clip.mp4" if code_page == "C" else "霧.mp4")
    clip.parent.mkdir()
    clip.write_bytes(bundled_clip().read_bytes())
    with started(SYSTEMS[system], environment_of(home, url, **CODE_PAGES[code_page])) as (wire, process):
        done = wire.call("modify_video", {"prompt": WORDS, "source_video_url": str(clip)})["structuredContent"]
        wire.stdin.close()
        left_in_order(process, home)
    assert done["prompt"].encode() == WORDS.encode()
    saved = Path(done["video_path"])
    assert saved.read_bytes() == foggy_clip().read_bytes()
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert ("霧の秋の朝" in saved.name) == (code_page != "C")
    assert WORDS.encode() in (home / ".local/share/luma-mcp/tasks.sqlite3").read_bytes()


@pytest.mark.parametrize(("system", "code_page"), [("Windows", "cp932"), ("here", "cp1252")])
def test_the_command_line_writes_utf_8_whatever_the_code_page(
    home: Path, url: str, system: str, code_page: str
) -> None:
    environment = environment_of(home, url, **CODE_PAGES[code_page])
    clip = home / "霧.mp4"
    clip.write_bytes(bundled_clip().read_bytes())
    made = run(SYSTEMS[system], ["modify", str(clip), WORDS, "--json"], environment)
    assert f'"prompt": "{WORDS}"'.encode() in made.stdout
    assert WORDS.encode() in run(SYSTEMS[system], ["tasks"], environment).stdout
    missing = run(SYSTEMS[system], ["modify", str(home / "雪🦊.mp4"), WORDS], environment)
    assert (missing.returncode, missing.stdout) == (4, b"")
    assert "雪🦊.mp4".encode() in missing.stderr


def run(command: list[str], arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, CTRL_BREAK])
def test_a_signal_ends_a_server_on_stdio_in_order_where_event_loops_take_none(
    home: Path, url: str, number: signal.Signals
) -> None:
    with started(WINDOWS, environment_of(home, url)) as (wire, process):
        wire.call("list_tasks", {})
        wire.send("tools/call", {"name": "modify_video", "arguments": {"prompt": WORDS, "source_video_url": "x"}})
        process.send_signal(number)
        left_in_order(process, home)


@pytest.mark.parametrize("number", [signal.SIGINT, CTRL_BREAK])
def test_a_signal_ends_a_server_over_http_in_order_where_event_loops_take_none(
    home: Path, url: str, number: signal.Signals
) -> None:
    environment = environment_of(home, url, LUMA_MCP_TRANSPORT="http", LUMA_MCP_PORT="0")
    with subprocess.Popen(WINDOWS, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr
        while b"luma-mcp serves" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        left_in_order(process, home)


def test_a_damaged_ledger_is_rescued_where_no_open_file_can_be_replaced(home: Path, url: str) -> None:
    ledger = home / ".local/share/luma-mcp/tasks.sqlite3"
    with started(WINDOWS, environment_of(home, url)) as (wire, process):
        asked = {"prompt": WORDS, "source_video_url": "https://example.com/clip.mp4"}
        done = wire.call("modify_video", asked)["structuredContent"]
        wire.stdin.close()
        left_in_order(process, home)
    damage_index(ledger)
    with started(WINDOWS, environment_of(home, url)) as (wire, process):
        assert "was damaged" in str(wire.call("list_tasks", {}))
        assert [each["task_id"] for each in tasks_of(wire)] == [done["task_id"]]
        wire.stdin.close()
        left_in_order(process, home)
    assert len(aside(ledger)) == 1
    assert not list(ledger.parent.glob("*.rescued"))


def tasks_of(wire: StdioClient) -> list[dict[str, Any]]:
    """List the tasks that a server knows."""
    listed: list[dict[str, Any]] = wire.call("list_tasks", {})["structuredContent"]["tasks"]
    return listed


def test_a_video_is_saved_although_its_temporary_file_is_still_looked_at(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = home / ".key-1.part"
    part.write_bytes(bundled_clip().read_bytes())

    def looked_at(path: Path) -> None:
        raise PermissionError(13, "The process cannot access the file", str(path))

    with monkeypatch.context() as scanned:
        scanned.setattr(os, "unlink", looked_at)
        check_writable(home / "out")
        with temporary_file(part):
            saved = publish(part, home / "fog.mp4")
        remove_leftovers(home, "key-1")
    assert saved.path.read_bytes() == bundled_clip().read_bytes()
    assert part.exists()
    remove_leftovers(home, "key")
    assert not part.exists()


@pytest.mark.parametrize(
    ("path", "root", "elsewhere"),
    [
        (r"\\evil.example\share\clip.mp4", r"C:\Users\me\Videos", True),
        ("//evil.example/share/clip.mp4", r"C:\Users\me\Videos", True),
        (r"\\?\UNC\evil.example\share\clip.mp4", r"C:\Users\me\Videos", True),
        (r"\\.\pipe\name", r"C:\Users\me\Videos", True),
        (r"\\NAS\videos\clip.mp4", r"\\nas\Videos", False),
        (r"\\nas\secrets\clip.mp4", r"\\nas\Videos", True),
        (r"C:\Users\me\Videos\clip.mp4", r"C:\Users\me\Videos", False),
        (r"D:\clip.mp4", r"C:\Users\me\Videos", False),
    ],
)
def test_a_share_of_another_machine_is_known_by_its_name(path: str, root: str, elsewhere: bool) -> None:
    assert is_on_other_machine(PureWindowsPath(path), [PureWindowsPath(root)]) is elsewhere


def test_a_path_that_lies_elsewhere_is_refused_without_a_look(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "is_on_other_machine", Mock(return_value=True))
    monkeypatch.setattr(sources, "real_path", None)
    with pytest.raises(SourceNotAllowed, match="outside"):
        resolve_allowed_file(home / "clip.mp4", [home])


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///C:/Users/me/my%20clip.mp4", "C:/Users/me/my clip.mp4"),
        ("file:///c%3A/Users/me/%E9%9C%A7.mp4", "c:/Users/me/霧.mp4"),
        ("file://localhost/C:/clip.mp4", "C:/clip.mp4"),
        ("file:C:/a:b.mp4", "C:/a:b.mp4"),
        ("file::x", ":x"),
    ],
)
def test_file_uris_with_drives_are_understood_on_windows(monkeypatch: pytest.MonkeyPatch, uri: str, path: str) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert str(file_uri_path(uri, "source_video_url")) == path


def test_names_that_the_file_system_holds_for_one_are_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "Vidéos"
    folder.mkdir()
    (folder / "clip.mp4").touch()
    (home / "Other").mkdir()
    (home / "Other" / "clip.mp4").touch()
    look = os.stat
    places = (folder, *folder.iterdir(), home / "Other", home / "Other" / "clip.mp4")
    known: dict[str, Any] = {fold(str(path)): path for path in places}

    def indifferent(path: Any, **more: Any) -> os.stat_result:
        return look(known.get(fold(str(path)), path), **more)

    monkeypatch.setattr(os, "stat", indifferent)
    written = home / unicodedata.normalize("NFD", "vidéos") / "Clip.mp4"
    assert resolve_allowed_file(written, [folder]) == written
    for outside in (home / "other" / "clip.mp4", home / "none" / "clip.mp4"):
        with pytest.raises(SourceNotAllowed):
            resolve_allowed_file(outside, [folder])


def fold(name: str) -> str:
    """Write a name as macOS compares it."""
    return unicodedata.normalize("NFC", name).casefold()


def test_a_path_that_the_system_cannot_write_is_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unwritable = Mock(side_effect=UnicodeEncodeError("ascii", "霧", 0, 1, "ordinal not in range(128)"))
    monkeypatch.setattr(os.path, "realpath", unwritable)
    monkeypatch.setattr(os, "stat", unwritable)
    with pytest.raises(SourceNotFound, match="there is no file"):
        resolve_allowed_file(home / "霧.mp4", [home])


@pytest.mark.anyio
async def test_a_file_that_the_system_hides_is_not_said_to_be_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = home / "clip.mp4"
    clip.write_bytes(bundled_clip().read_bytes())

    def hidden(path: Any, *_: Any, **__: Any) -> Any:
        raise PermissionError(1, "Operation not permitted", str(path))

    with monkeypatch.context() as hiding:
        hiding.setattr(os, "open", hidden)
        with pytest.raises(SourceNotFound, match="Operation not permitted") as unread:
            await Clips().inspect(clip)
    monkeypatch.setattr(os, "stat", hidden)
    with pytest.raises(SourceNotFound, match="does not let this program look at") as unseen:
        resolve_allowed_file(clip, [home])
    assert all("System Settings" in error.value.hint for error in (unread, unseen))
