"""How much memory a large file takes, beside a small one: both through the whole job, in this process and over sockets.

python tests/system/benchmarks/files.py [megabytes]
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from luma_mcp.sandbox.requests import bundled_clip

MEGABYTE = 1 << 20
LARGEST_GROWTH_MIB = 40


def large_clip(path: Path, megabytes: int) -> Path:
    """Make a file that begins like a video and repeats nothing at short distance."""
    noise = random.Random(1).randbytes(MEGABYTE)  # noqa: S311 - noise, not a secret
    with path.open("wb") as file:
        file.write(bundled_clip().read_bytes())
        for turn in range(megabytes):
            file.write(noise[turn:] + noise[:turn])
    return path


def job(clip: Path, home: Path, surroundings: dict[str, str]) -> tuple[float, float, Path]:
    """Run the job in a process of its own; give its peak memory (MiB), its seconds, and the saved file."""
    command = [sys.executable, "-m", "luma_mcp", "modify", str(clip), "fog", "--output-dir", str(home / "out")]
    begun = time.monotonic()
    process = subprocess.Popen(command, env=surroundings, cwd=home, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.01)
    saved, _ = process.communicate()
    return peak / 1024, time.monotonic() - begun, Path(saved.strip())


@contextmanager
def sandbox(home: Path, surroundings: dict[str, str]) -> Generator[dict[str, str]]:
    """Play RunAPI in another process, and give the environment that leads there."""
    command = [sys.executable, "-m", "luma_mcp", "sandbox", "--listen", "0", "--seconds", "1"]
    with subprocess.Popen(command, env=surroundings, cwd=home, stderr=subprocess.PIPE, text=True) as playing:
        assert playing.stderr is not None
        url = playing.stderr.readline().split(" at ")[1].split()[0]
        try:
            yield surroundings | {"RUNAPI_BASE_URL": url, "RUNAPI_API_KEY": "sandbox"}
        finally:
            playing.terminate()


def compare(name: str, clips: dict[str, Path], home: Path, surroundings: dict[str, str]) -> None:
    """Print the figures of each clip, and check that what came back is what was sent."""
    peaks: list[float] = []
    for size, clip in clips.items():
        peak, seconds, saved = job(clip, home, surroundings)
        same = subprocess.run(["cmp", str(clip), str(saved)], check=False).returncode == 0  # noqa: S607 - of the system
        print(f"{name:<12} {size:<6} {peak:7.1f} MiB {seconds:6.1f} s  {'same bytes' if same else 'OTHER BYTES'}")
        peaks.append(peak)
        assert same
    print(f"{name:<12} growth {peaks[-1] - peaks[0]:6.1f} MiB")
    assert peaks[-1] - peaks[0] < LARGEST_GROWTH_MIB


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        surroundings = {name: os.environ[name] for name in ("PATH",)} | {"HOME": folder}
        small = Path(shutil.copy(bundled_clip(), home / "small.mp4"))
        clips = {"small": small, "large": large_clip(home / "large.mp4", megabytes)}
        compare("in process", clips, home, surroundings | {"LUMA_MCP_SANDBOX": "true"})
        with sandbox(home, surroundings) as there:
            compare("over sockets", clips, home, there)


if __name__ == "__main__":
    main()
