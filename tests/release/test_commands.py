"""The commands of developers in `.ci`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there bash comes with Git")


def run(checkout: Path, command: str, *arguments: str, environment: Path | None) -> subprocess.CompletedProcess[str]:
    """Type a command of a checkout elsewhere, with an active virtual environment or none."""
    shutil.copytree(CHECKOUT / ".ci", checkout / ".ci", dirs_exist_ok=True)
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    active = {"VIRTUAL_ENV": str(environment)} if environment else {}
    return subprocess.run(
        [checkout / ".ci" / command, *arguments], env=variables | active, capture_output=True, text=True, check=False
    )


def stand_in(environment: Path, *names: str) -> Path:
    """Put programs into an environment which say what they are told."""
    (environment / "bin").mkdir(parents=True)
    for name in names:
        (environment / "bin" / name).write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
        (environment / "bin" / name).chmod(0o755)
    return environment


@pytest.mark.parametrize("command", ["check", "test"])
def test_without_an_environment_one_line_says_what_to_install(tmp_path: Path, command: str) -> None:
    ended = run(tmp_path, command, environment=None)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert f"Type: python3 -m venv '{tmp_path}/.venv' && " in line
    assert "--group dev" in line


def test_the_active_environment_counts_else_that_of_the_checkout(tmp_path: Path) -> None:
    active = stand_in(tmp_path / "active", "python", "pytest")
    stand_in(tmp_path / "checkout" / ".venv", "python")
    given = run(tmp_path / "checkout", "test", "tests/a b", "-n0", environment=active)
    assert (given.returncode, given.stdout) == (0, "python -m pytest tests/a b -n0\n")
    assert "There is no pytest" in run(tmp_path / "checkout", "test", environment=None).stderr


def test_the_check_looks_at_format_lint_imports_and_the_types_of_three_systems(tmp_path: Path) -> None:
    active = stand_in(tmp_path / "active", "ruff", "mypy", "lint-imports", "pytest")
    told = run(tmp_path, "check", environment=active).stdout.splitlines()
    assert [line.rstrip() for line in told[:3]] == ["ruff format --check .", "ruff check .", "lint-imports"]
    assert {line.partition(" --cache-dir")[0] for line in told[3:]} == {
        f"mypy --platform {system}" for system in ("linux", "darwin", "win32")
    }


def test_readme_names_the_commands_and_ci_runs_the_same() -> None:
    commands = {path.name for path in (CHECKOUT / ".ci").iterdir() if os.access(path, os.X_OK)}
    assert commands == {"check", "test", "run"}
    for name in commands:
        assert f"- `.ci/{name}" in README
    everything = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert ".ci/check" in everything
    assert any(line.startswith(".ci/test ") for line in everything)
