"""What tests of media share: a clip where it may be read."""

import shutil
from pathlib import Path

import pytest

from luma_mcp.sandbox.requests import bundled_clip


@pytest.fixture
def clip(home: Path) -> Path:
    (home / "out").mkdir(exist_ok=True)
    return Path(shutil.copy(bundled_clip(), home / "out" / "clip.mp4"))
