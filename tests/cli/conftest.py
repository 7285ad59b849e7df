"""A sandbox RunAPI of their own for the tests of commands."""

from collections.abc import Generator

import pytest

from tests.support.rig import KEY
from tests.support.sandbox_process import sandbox_process


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with sandbox_process(tmp_path_factory.mktemp("sandbox"), seconds=0.2) as url:
        yield url


@pytest.fixture
def configured(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    return url
