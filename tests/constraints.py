"""Pins what the tests install: `python -m tests.constraints` writes tests/constraints.txt, for every Python and system.

A pin stays as it is for as long as pyproject.toml allows it; `--upgrade` takes the newest versions. Needs uv, from the
group `clients`. `--check` instead tells whether all that is installed where this runs is pinned, at that version.
"""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
ALL = CHECKOUT / "tests" / "constraints.txt"
RUNTIME = CHECKOUT / "luma_mcp" / "release" / "runtime.txt"
GROUPS = ("build", "test", "lint", "clients", "frameworks")
NOT_PINNED = {"runapi-luma-mcp", "setuptools"}  # this project; and what Python 3.11 puts into each virtual environment


def write(*more: str) -> None:
    """Pin everything for every system and Python, then with the same versions what the package needs where it runs."""
    resolve(ALL, *(word for group in GROUPS for word in ("--group", group)), *more)
    resolve(RUNTIME, "--constraint", str(ALL), *more)


def resolve(file: Path, *more: str) -> None:
    """Let uv write a file of pins."""
    oldest = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    form = ("--universal", "--python-version", oldest.removeprefix(">="), "--no-header", "--no-annotate", "--quiet")
    command = (sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--output-file", str(file), *form, *more)
    subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)


def pins(text: str) -> set[tuple[str, str]]:
    """Give the names and versions in a file of pins; some machines may need another version than the rest."""
    return set(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))


def not_pinned() -> dict[str, str]:
    """Give the version of each installed distribution that is not pinned at that version."""
    installed = {(re.sub(r"[-_.]+", "-", each.name).lower(), each.version) for each in distributions()}
    pinned = pins(ALL.read_text(encoding="utf-8"))
    return {name: version for name, version in installed - pinned if name not in NOT_PINNED}


def main(*words: str) -> str:
    """Do what is asked for; give what is wrong."""
    if words != ("--check",):
        write(*words)
        return ""
    return f"not as in {ALL.name}: {found}" if (found := not_pinned()) else ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
