"""Builds and runs the release's image without a container engine: the steps of its Dockerfile, into a folder (Linux).

The server then runs as the image says: under a number that is not root, with a file system that cannot be written but
for its volume, and its health check is asked. What this machine does not allow is left out, and told.

Usage: python -m tests.system.image FOLDER
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.dockerfile import DOCKERFILE, Image, copy_of, image_of, instructions
from tests.support.postgres import free_port

CHECKOUT = Path(__file__).parents[2]
PLACES = ("/src", "/opt/luma", "/data")
PLACE = re.compile(rf"(?<![\w.])({'|'.join(PLACES)})(?![\w-])")
PORT = "8000"
# The interpreter of this machine may lie in a home that others cannot enter.
MAY_READ = "-all,+dac_read_search"
READ_ONLY = 'mount --bind "$1" "$1"; mount -o remount,bind,ro /; shift; exec "$@"'
START_SECONDS = 60.0


def main(folder: Path) -> None:
    """Build the image in a folder, run it, and ask its health check."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    build(text, folder)
    image, port = image_of(text), str(free_port())
    settings = {"LUMA_MCP_PORT": port, "LUMA_MCP_SANDBOX": "true", "LUMA_MCP_AUTH_TOKENS": f"ann:{'a' * 32}"}
    environment = {name: moved(value, folder) for name, value in image.environment.items()} | settings
    environment["PATH"] = environment["PATH"].replace("$PATH", os.environ["PATH"])
    with running(image, folder, environment) as server:
        await_health(server, [word.replace(PORT, port) for word in image.health_check], environment)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            assert answer.status == 200
        assert owner_of(server.pid) == (
            int(image.user.partition(":")[0]) if is_root() else Path("/proc/self").stat().st_uid
        )
        server.terminate()
        assert server.wait(10) == 0
    print("The image is healthy and ready, and ends in order.")


def build(text: str, folder: Path) -> None:
    """Do the steps that make files."""
    for word, rest in instructions(text):
        if word == "COPY":
            copy(rest, folder)
        elif word == "RUN":
            print(f"RUN {rest}", flush=True)
            ours = rest if is_root() else re.sub(r"-[og] \d+ ", "", rest)
            subprocess.run(["/bin/bash", "-ec", moved(ours, folder)], check=True, cwd=folder)


def copy(rest: str, folder: Path) -> None:
    """Copy from the checkout; all stages are one here, so what comes from another is there already."""
    copied = copy_of(rest)
    target = Path(moved(copied.target, folder))
    if copied.stage:
        assert target.exists(), rest
        return
    for source in copied.sources:
        if (CHECKOUT / source).is_dir():
            shutil.copytree(CHECKOUT / source, target, ignore=shutil.ignore_patterns("__pycache__", "secrets"))
        else:
            place = target / source if copied.target.endswith("/") else target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / source, place)


def moved(words: str, folder: Path) -> str:
    """Move the places that an image has into a folder."""
    return PLACE.sub(lambda found: f"{folder}{found[1]}", words)


@contextmanager
def running(image: Image, folder: Path, environment: Mapping[str, str]) -> Generator["subprocess.Popen[bytes]"]:
    """Run the image's command as its user, and without a place to write but its volume, where this machine can."""
    program = shutil.which(image.command[0], path=environment["PATH"]) or ""
    read_only = ["unshare", "--mount", "/bin/sh", "-ec", READ_ONLY, "sh", moved(image.volume, folder)]
    confined = allowed(read_only, "a file system that cannot be written") + as_user(image.user)
    print(shlex.join([*confined, program]), flush=True)
    with subprocess.Popen([*confined, program, *image.command[1:]], env=dict(environment), cwd="/") as server:
        try:
            yield server
        finally:
            server.kill()


def as_user(user: str) -> list[str]:
    """Give what runs a command as another user, who may read what root may, and nothing more than that."""
    if not is_root():
        return []
    number, _, group = user.partition(":")
    become = ["setpriv", "--reuid", number, "--regid", group, "--clear-groups", "--no-new-privs"]
    reading = [f"--{kind}={MAY_READ}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    return allowed([*become, *reading], "to read what root may") or become


def allowed(prefix: list[str], what: str) -> list[str]:
    """Give what is to stand before a command if this machine allows it, else nothing, and say so."""
    if is_root() and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0:
        return prefix
    print(f"Left out, as this machine does not allow it: {what}.")
    return []


def await_health(server: "subprocess.Popen[bytes]", check: list[str], environment: Mapping[str, str]) -> None:
    """Ask the health check until it is content."""
    begun = time.monotonic()
    program = shutil.which(check[0], path=environment["PATH"]) or ""
    while subprocess.run([program, *check[1:]], env=dict(environment), check=False, capture_output=True).returncode:
        assert server.poll() is None, "it ended"
        assert time.monotonic() < begun + START_SECONDS, "it did not become healthy"


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


if __name__ == "__main__":
    place = Path(sys.argv[1]).resolve()
    place.mkdir(parents=True)
    main(place)
