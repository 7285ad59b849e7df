"""Standard error is never waited for, whoever reads it, and what is read is whole and in order."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from luma_mcp.transports.stderr import DROPPED, MAX_QUEUED_BYTES
from tests.support.sandbox_process import SERVER, server_environment
from tests.support.stdio_client import StdioClient

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors as POSIX has them")
LEAVING_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
PIPE = subprocess.PIPE
START = """
import logging, os, sys, threading, warnings
from luma_mcp.transports.stderr import install_nonblocking_stderr
install_nonblocking_stderr()
"""
NOISE = """
import faulthandler, os, sys, threading, time, warnings
def shout():
    while True:
        sys.stderr.write("noise " * 1000 + "\\n")
        print("noise " * 1000, file=sys.stderr, flush=True)
        sys.stderr.flush()
        warnings.warn("noise " * 1000)
        faulthandler.dump_traceback(file=2)
        threading.excepthook(threading.ExceptHookArgs([ValueError, ValueError("noise" * 1000), None, None]))
        try:
            os.write(2, b"noise " * 1000)
        except BlockingIOError:
            pass
        time.sleep(0.05)
def wait():
    while type(sys.stderr).__module__ != "luma_mcp.transports.stderr":
        time.sleep(0.01)
    shout()
warnings.simplefilter("always")
threading.Thread(target=wait, daemon=True).start()
"""


def let_wait(descriptor: int, *, waits: bool) -> None:
    """Set whether whoever writes to a descriptor waits until there is room."""
    if sys.platform != "win32":
        os.set_blocking(descriptor, waits)


def full() -> int:
    """Give the end of a pipe that takes nothing more, and that nobody reads."""
    _, into = os.pipe()
    let_wait(into, waits=False)
    try:
        while True:
            os.write(into, b"x" * 4096)
    except BlockingIOError:
        let_wait(into, waits=True)
    return into  # the other end stays open, and unread


def broken() -> int:
    """Give the end of a pipe that nobody holds any more."""
    source, into = os.pipe()
    os.close(source)
    return into


def opened(path: str, flags: int) -> Callable[[], int]:
    """Give something that opens a file."""
    return lambda: os.open(path, flags)


ENDS = {
    "full": full,
    "broken": broken,
    "on a full disk": opened("/dev/full", os.O_WRONLY),
    "not for writing": opened(os.devnull, os.O_RDONLY),
}


@contextmanager
def serving(command: list[str], environment: dict[str, str], stderr: int | None) -> Generator[subprocess.Popen[str]]:
    """Run a server whose standard error is a descriptor, or is closed."""
    closed = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh"] if stderr is None else []
    started = subprocess.Popen(
        [*closed, *command], env=environment, text=True, stdin=PIPE, stdout=PIPE, stderr=stderr if stderr else PIPE
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        for stream in (started.stdin, started.stdout, started.stderr):
            if stream:
                stream.close()


def noisy(home: Path) -> dict[str, str]:
    """Give the environment of a server in which a library writes to standard error without end."""
    (home / "lib").mkdir()
    (home / "lib" / "sitecustomize.py").write_text(NOISE)
    return server_environment(home, "http://127.0.0.1:9", PYTHONPATH=str(home / "lib"), PYTHONASYNCIODEBUG="1")


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
@pytest.mark.parametrize("end", [*ENDS, "closed"])
def test_a_server_works_and_ends_whatever_becomes_of_its_standard_error(
    home: Path, end: str, number: signal.Signals | None
) -> None:
    stderr = ENDS[end]() if end in ENDS else None
    with serving(SERVER, noisy(home), stderr) as process:
        assert process.stdin
        assert process.stdout
        wire = StdioClient(process.stdin, process.stdout)
        wire.initialize()
        for _ in range(5):
            assert wire.call("modify_video", {"prompt": "fog", "source_video_url": "http://localhost/a.mp4"})["isError"]
        assert wire.receive(wire.send("tools/list"))[-1]["result"]["tools"]
        if number:
            process.send_signal(number)
        else:
            wire.stdin.close()
        assert process.wait(LEAVING_SECONDS) == 0
    if stderr:
        os.close(stderr)


def script(words: str, **more: Any) -> subprocess.Popen[bytes]:
    """Run a program that spares its standard error."""
    return subprocess.Popen([sys.executable, "-c", START + words], **{"stderr": PIPE, "stdout": PIPE, **more})


def test_what_is_read_is_whole_and_in_order_to_the_last_line() -> None:
    words = """
        for number in range(5000):
            print("line", number, file=sys.stderr)
        os._exit(0) if sys.stderr.drain() else os._exit(1)"""
    with script("if True:" + words) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert said.decode().splitlines() == [f"line {number}" for number in range(5000)]


def test_what_comes_from_many_threads_is_whole_and_in_order_for_each() -> None:
    words = """
        logging.basicConfig(level="INFO", format="%(message)s")
        def work(name):
            for number in range(200):
                logging.info("%s %s", name, number)
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
        for each in threads: each.start()
        for each in threads: each.join()"""
    with script("if True:" + words) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    lines = said.decode().splitlines()
    for name in "abcdefgh":
        assert [line for line in lines if line.startswith(name)] == [f"{name} {number}" for number in range(200)]


def test_what_is_written_past_the_text_comes_too() -> None:
    words = """
        import faulthandler, subprocess
        os.write(2, b"bytes\\n")
        sys.__stderr__.write("before\\n")
        subprocess.run(["/bin/sh", "-c", "echo child >&2"])
        faulthandler.dump_traceback(file=2)
        warnings.warn("odd")"""
    with script("if True:" + words.replace("\\\\", "\\")) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    for words in ("bytes\n", "before\n", "child\n", "most recent call first", "UserWarning: odd"):
        assert words in said.decode()


def test_an_error_that_nobody_caught_is_told_at_the_end() -> None:
    words = "at = threading.Thread(target=lambda: 1 / 0)\nat.start()\nat.join()\nraise ValueError('the last word')"
    with script(words) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "ZeroDivisionError" in said.decode()
    assert said.decode().endswith("ValueError: the last word\n")


@pytest.mark.parametrize("end", ENDS)
def test_an_error_that_nobody_caught_ends_a_process_that_nobody_reads(end: str) -> None:
    stderr = ENDS[end]()
    with script("raise ValueError('x' * 100_000)", stderr=stderr) as process:
        assert process.wait(PATIENCE_SECONDS) == 1
    os.close(stderr)


def test_what_is_too_much_is_dropped_and_counted_where_it_is_missing() -> None:
    words = f"""
        print("first " + "x" * {MAX_QUEUED_BYTES}, file=sys.stderr)
        for number in range(100):
            print("lost", number, file=sys.stderr)
        print("ready", flush=True)
        sys.stdin.read()
        while not sys.stderr.drain(): pass
        print("last", file=sys.stderr)"""
    with script("if True:" + words, stdin=PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        _, said = process.communicate(b"", timeout=PATIENCE_SECONDS)
    first, told, last = said.decode().splitlines(keepends=True)
    assert len(first) == len("first ") + MAX_QUEUED_BYTES + 1
    assert (told, last) == (DROPPED.format(count=101), "last\n")


def test_a_descriptor_that_does_not_wait_gets_all_the_same() -> None:
    source, into = os.pipe()
    let_wait(into, waits=False)
    with script('print("x" * 500_000, file=sys.stderr)\nsys.stderr.drain()', stderr=into) as process:
        os.close(into)
        with os.fdopen(source, "rb") as reader:
            said = reader.read()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert len(said) == 500_001


def test_a_standard_error_that_is_missing_is_nowhere_and_no_file_takes_its_number() -> None:
    words = (
        "assert sys.stderr is None\ninstall_nonblocking_stderr()\n"
        'print("gone", file=sys.stderr)\nos.write(2, b"gone")\n'
        'print(os.open("/dev/zero", os.O_RDONLY) > 2, os.path.realpath("/proc/self/fd/1"))'
    )
    command = [sys.executable, "-c", START.removesuffix("install_nonblocking_stderr()\n") + words]
    ended = subprocess.run(["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command], stdout=PIPE, check=False)
    assert (ended.returncode, ended.stdout[:5]) == (0, b"True ")
    assert b"gone" not in ended.stdout


def test_a_bad_setting_is_not_told_on_stdout_where_there_is_no_stderr(home: Path) -> None:
    environment = server_environment(home, "", LUMA_MCP_WAIT_SECONDS="soon")
    closed = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh"]
    ended = subprocess.run([*closed, *SERVER], env=environment, stdout=PIPE, stdin=subprocess.DEVNULL)
    assert (ended.returncode, ended.stdout) == (2, b"")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("command", [["--transport", "http", "--port", "0"], ["sandbox", "--listen", "0"]])
def test_servers_on_a_port_start_and_end_too(home: Path, command: list[str], end: str) -> None:
    stderr = ENDS[end]()
    with serving([*SERVER, *command], server_environment(home, "http://127.0.0.1:9"), stderr) as process:
        while not listens(process.pid):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(2 * LEAVING_SECONDS) in {0, -signal.SIGTERM}
    os.close(stderr)


def listens(pid: int) -> bool:
    """Tell whether a process has a socket that takes connections."""
    listening = {line.split()[9] for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines() if " 0A " in line}
    links: list[str] = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(link))
    return any(link == f"socket:[{number}]" for link in links for number in listening)
