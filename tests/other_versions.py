"""Runs the tests with the newest and the lowest versions that pyproject.toml allows, and says what breaks with them.

Usage: python -m tests.other_versions FOLDER. Needs uv, from the group `clients`. What breaks is news for whoever takes
care of the ranges, no failure of this checkout, which is held to its pins: this ends with 0 whatever it finds, and
prints nothing that looks like the last lines of a test run.
"""

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from tests.constraints import ALL, CHECKOUT, pins

RESOLUTIONS = {"newest": "highest", "lowest": "lowest-direct"}
LONGEST_SECONDS = 200  # for each end of the ranges: CI has forty minutes in all
MOST_LINES = 20
# The rooms that stand on the libraries; the others say how this program's own processes and files fare.
ROOMS = ("core", "runapi", "server")


class Run(NamedTuple):
    """How many tests ran, which of them broke, and how each began to say why."""

    tests: int
    broken: list[str]


def main(folder: Path) -> None:
    """Try both ends of the ranges."""
    for name, resolution in RESOLUTIONS.items():
        begun = time.monotonic()
        try:
            lines = [*install(folder / name, resolution), *told(run_tests(folder / name))]
        except (subprocess.SubprocessError, OSError, ElementTree.ParseError) as error:
            lines = ["0 tests ran:", *last_lines(error)]
        print(f"{name} allowed versions, {time.monotonic() - begun:.0f} s", *lines, sep="\n  ", flush=True)


def install(environment: Path, resolution: str) -> list[str]:
    """Install what the tests are pinned to, then other versions of what the package needs; say which differ."""
    python = ("--quiet", "--python", str(environment))
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    uv("pip", "install", *python, "--editable", ".", "--group", "test", "--constraint", str(ALL))
    uv("pip", "install", *python, "--upgrade", "--resolution", resolution, "--requirement", "pyproject.toml")
    others = pins(uv("pip", "freeze", *python)) - pins(ALL.read_text(encoding="utf-8"))
    return [f"other than pinned: {', '.join(map(' '.join, sorted(others))) or 'none'}"]


def uv(*words: str) -> str:
    """Run uv, and give what it says."""
    command = (sys.executable, "-m", "uv", *words)
    return subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout


def run_tests(environment: Path) -> Run:
    """Run the tests of some rooms, within a bound; raise `SubprocessError` if they do not begin or end."""
    report = environment / "tests.xml"
    python = environment / "bin" / "python"
    rooms = [f"tests/{room}" for room in ROOMS]
    command = (str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *rooms)
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS)
    if not report.exists():
        raise subprocess.CalledProcessError(ended.returncode, command, stderr=ended.stdout + ended.stderr)
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - just written by our own process
    return Run(len(cases), [broken for case in cases if (broken := why(case))])


def why(case: ElementTree.Element) -> str:
    """Say which test broke and why, in a line; nothing of one that did not."""
    found = [each for kind in ("failure", "error") for each in case.findall(kind)]
    first = (found[0].get("message") or "").strip().partition("\n")[0] if found else ""
    return f"{case.get('classname')}::{case.get('name')}: {first}"[:200] if found else ""


def told(run: Run) -> list[str]:
    """Say how a run went."""
    lines = [f"{run.tests} tests ran, {len(run.broken)} of them broke", *run.broken]
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more"]


def last_lines(error: Exception) -> list[str]:
    """Give the end of what a program said that could not do its work."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return [f"| {line}" for line in said.splitlines()[-MOST_LINES:]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
