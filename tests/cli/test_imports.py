"""Importing without looking for garbage, and without what libraries load that no command uses."""

import gc
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

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


def test_no_plugin_that_others_installed_sees_what_is_checked(tmp_path: Path) -> None:
    about = tmp_path / "spy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pydantic]\nspy = spy\n")
    (tmp_path / "spy.py").write_text("print('here')\ndef new_schema_validator(*_): return None, None, None\n")
    checked = "import pydantic\nclass Checked(pydantic.BaseModel): key: str\n"
    ours = f"from luma_mcp.cli.imports import large_imports\nwith large_imports(): import pydantic\n{checked}"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))}
    paths.pop("PYDANTIC_DISABLE_PLUGINS", None)
    seen = [
        subprocess.run([sys.executable, "-P", "-c", each], capture_output=True, text=True, check=True, env=paths).stdout
        for each in (checked, ours)
    ]
    assert seen == ["here\n", ""]


def test_httpx_comes_without_its_own_command_line() -> None:
    ended = subprocess.run([sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "example.com", "True"]
