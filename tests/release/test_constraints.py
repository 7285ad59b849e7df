"""What the tests install is pinned, within what pyproject.toml allows, for every Python and system that it names."""

import re
import tomllib
from itertools import product
from pathlib import Path
from typing import cast

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import constraints
from tests.constraints import ALL, CHECKOUT, GROUPS, RUNTIME, pins

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
WRITE_AGAIN = "run: python -m tests.constraints"
LINE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[a-z0-9.]+( ; [a-zA-Z0-9_.'=!<>() -]+)?")
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
SYSTEMS = {"linux": ("posix", "Linux"), "darwin": ("posix", "Darwin"), "win32": ("nt", "Windows")}


def machine(python: str, system: str) -> dict[str, str]:
    """Describe a machine as markers ask about it."""
    os_name, platform_system = SYSTEMS[system]
    python_is = {"python_version": python, "python_full_version": f"{python}.1"}
    return {"sys_platform": system, "os_name": os_name, "platform_system": platform_system, **python_is}


def valid(lines: list[str], there: dict[str, str]) -> list[Requirement]:
    """Give the requirements that count on a machine."""
    environment = cast("dict[str, str]", default_environment()) | there
    requirements = [Requirement(line) for line in lines]
    return [each for each in requirements if not each.marker or each.marker.evaluate(environment)]


def declared(*groups: str) -> list[str]:
    """List what the package and some groups need."""
    return [
        *PROJECT["project"]["dependencies"],
        *(line for each in groups for line in PROJECT["dependency-groups"][each]),
    ]


@pytest.mark.parametrize("file", [ALL, RUNTIME])
def test_pins_are_plain_lines_that_name_no_place(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert (names := [line.partition("==")[0] for line in lines]) == sorted(names)


@pytest.mark.parametrize(("python", "system"), [*product(PYTHONS, SYSTEMS)])
@pytest.mark.parametrize(("file", "groups"), [(ALL, GROUPS), (RUNTIME, ())])
def test_whatever_is_declared_is_pinned_once_and_within_its_range(
    file: Path, groups: tuple[str, ...], python: str, system: str
) -> None:
    there = machine(python, system)
    pinned = valid(file.read_text(encoding="utf-8").splitlines(), there)
    versions = {each.name: str(each.specifier).removeprefix("==") for each in pinned}
    assert len(versions) == len(pinned)
    for needed in valid(declared(*groups), there):
        assert needed.specifier.contains(versions[canonicalize_name(needed.name)]), f"{needed}: {WRITE_AGAIN}"


def test_the_bundle_runs_with_what_the_tests_ran_with() -> None:
    assert pins(RUNTIME.read_text(encoding="utf-8")) <= pins(ALL.read_text(encoding="utf-8"))


def test_readmes_command_for_tests_installs_nothing_that_is_not_pinned() -> None:
    command = re.findall(r"^(.*python -m pytest)$", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    installing = [part for part in command[0].split(" && ") if "pip install" in part]
    assert len(installing) == 2
    assert all("--constraint tests/constraints.txt" in part for part in installing)
    assert "--build-constraint tests/constraints.txt" in installing[1]


def test_what_is_installed_but_not_pinned_is_named(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    other = home / "constraints.txt"
    other.write_text(re.sub("^httpx==.*", "httpx==0", ALL.read_text(encoding="utf-8"), flags=re.MULTILINE))
    monkeypatch.setattr(constraints, "ALL", other)
    assert "httpx" in constraints.not_pinned()
    assert constraints.main("--check").startswith("not as in constraints.txt: ")
