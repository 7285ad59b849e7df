"""What the sandbox makes of a clip: its own one comes back in fog, any other with fog and the word SANDBOX over it."""

import filecmp
import importlib.util
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio

import luma_mcp
from luma_mcp.core.settings_sources import environment
from luma_mcp.sandbox.requests import bundled_clip, foggy_clip

CHILD_SECONDS = 15.0
MAX_TREATED_BYTES = 100 << 20
KEPT_VARIABLES = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without which programs do not start
PROGRAM = (sys.executable, "-P", "-m", "luma_mcp.sandbox.fog")  # -P: nothing from the folder where it is started


class Treatment:
    """Lays fog over clips, one at a time."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()

    async def result(self, clip: Path, treated: Path) -> Path:
        """Give the path of what a task makes of a clip: `treated`, or the clip itself where that cannot be made."""
        async with self._lock:
            found = find_result(clip, treated)
            if found is None:
                publish_treated(treated, done=await lay_fog_over(clip, part_path(treated)))
                found = find_result(clip, treated)
        return found or clip


def find_result(clip: Path, treated: Path) -> Path | None:
    """Give what was decided to be the result of a clip; None if fog is to be laid over it."""
    if filecmp.cmp(clip, bundled_clip(), shallow=False):
        return foggy_clip()
    if treated.exists():
        return treated if treated.stat().st_size else clip
    suits = importlib.util.find_spec("av") is not None and clip.stat().st_size <= MAX_TREATED_BYTES
    return None if suits else clip


def publish_treated(treated: Path, *, done: bool) -> None:
    """Keep what was made; an empty file keeps for good that it could not be: a video may be fetched in parts."""
    if not done:
        part_path(treated).write_bytes(b"")
    part_path(treated).replace(treated)


def part_path(treated: Path) -> Path:
    return treated.with_suffix(".part")


async def lay_fog_over(clip: Path, made: Path) -> bool:
    """Have another process do it, which ends within seconds whatever the clip is; tell whether it did."""
    package, nothing = Path(luma_mcp.__file__).parents[1], subprocess.DEVNULL
    kept = {name: value for name, value in environment().items() if name in KEPT_VARIABLES}
    with anyio.move_on_after(CHILD_SECONDS), suppress(OSError):  # no process can be started
        ended = await anyio.run_process(
            [*PROGRAM, str(clip), str(made)],
            check=False,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            cwd=package,
            env={**kept, "PYTHONPATH": str(package)},  # nothing secret
            start_new_session=True,
        )
        return ended.returncode == 0
    return False
