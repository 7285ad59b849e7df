"""The doctor, and a machine on which all is well."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.console import EXIT_CODES
from luma_mcp.core.text import Json
from tests.support.doctor import Doctor
from tests.support.rig import KEY
from tests.support.sandbox_process import sandbox_process


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with sandbox_process(tmp_path_factory.mktemp("sandbox"), seconds=0) as url:
        yield url


@pytest.fixture
def configured(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("Videos/luma", "Downloads", "Desktop"):
        (home / name).mkdir(parents=True)
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    return url


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Give a function that asks the doctor, and gives its exit code and what it found by subject."""

    def ask(*flags: str) -> tuple[int, dict[str, Json]]:
        capsys.readouterr()
        code = main(["doctor", "--json", *flags])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert KEY not in told.out + told.err
        answer = json.loads(told.out)
        wrong = [finding for finding in answer["findings"] if finding["state"] == "problem"]
        assert answer["ok"] == (code == 0) == (not wrong)
        assert all(finding["code"] in EXIT_CODES for finding in wrong)
        assert all(finding.get("fix") for finding in answer["findings"] if finding["state"] != "ok")
        return code, {finding["check"]: finding for finding in answer["findings"]}

    return ask
