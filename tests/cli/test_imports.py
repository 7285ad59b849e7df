"""Importing without looking for garbage, and without what libraries load that no command uses."""

import gc
import subprocess
import sys
from collections.abc import Generator

import pytest

from luma_mcp.cli.imports import large_imports

PROGRAM = """\
import sys
from luma_mcp.cli.imports import large_imports
with large_imports():
    import httpx
print("pygments" in sys.modules, httpx.URL("https://example.com/").host, callable(httpx.main))
"""


@pytest.fixture(autouse=True)
def _thawed() -> Generator[None]:
    yield
    gc.unfreeze()


def test_what_is_imported_is_not_looked_through_for_garbage_then_or_later() -> None:
    with large_imports():
        assert not gc.isenabled()
        kept = [object()]
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000
    assert not any(each is kept for each in gc.get_objects())


def test_garbage_is_looked_for_again_after_an_import_that_failed() -> None:
    with pytest.raises(ModuleNotFoundError), large_imports():
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_httpx_comes_without_its_own_command_line() -> None:
    ended = subprocess.run([sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "example.com", "True"]
