"""Runs every command block of README, and of the page on HTTP, as a newcomer would, one after the other, in a home.

Usage, in a fresh checkout: python3 tests/readme_commands.py HOME. Needs nothing but Python, pip, uv and bash. The block
that runs the tests is left to CI. Docker, Claude Code and curl are played: what is passed to them is looked at.
`luma-mcp login` is left out, as it needs a person: tests/release/test_readme_commands.py plays one.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PAGES = ("README.md", "luma_mcp/transports/HTTP.md")
LOGIN = "luma-mcp login\n"
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
TESTS = "python -m pytest"
SERVES = "luma-mcp --transport http"
STAND_IN = '#!/bin/sh\necho "$(basename "$0") $*" >> "$HOME/played"\n'
PLAYED = {
    "docker build": r"--file luma_mcp/release/Dockerfile --tag luma-mcp \.$",
    "docker run": r"(--env (RUNAPI|LUMA_MCP)_\w+ )+--volume luma:/data --read-only --publish [\d.:]+ luma-mcp$",
    "docker compose": r"--file luma_mcp/release/compose.yaml up --detach --build --wait$",
    "curl -T": r"clip.mp4 https://luma.example.com/uploads/THE-TICKET$",
    "claude mcp": r"add --transport http luma https://\S+/mcp --header Authorization: Bearer secret$",
}


def main(home: Path) -> None:
    """Run all blocks."""
    programs = home / "played-programs"
    programs.mkdir(parents=True)
    for name in ("docker", "claude", "curl"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    path = f"{home}/.local/bin:{home}/luma-mcp/bin:{programs}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(home), "PATH": path, "LUMA_MCP_PORT": "0", "TOKEN": "secret"}
    text = "".join((CHECKOUT / page).read_text(encoding="utf-8") for page in PAGES)
    for block in (found.replace(LOGIN, "") for found in BLOCK.findall(text) if TESTS not in found):
        print(f"$ {block.strip()}", flush=True)
        (serve if SERVES in block else run)(block, environment)
    check_played((home / "played").read_text())
    (CHECKOUT / "tokens.env").unlink()
    shutil.rmtree(CHECKOUT / "luma_mcp/release/secrets")


def run(block: str, environment: dict[str, str]) -> None:
    """Run a block to its end."""
    ended = subprocess.run(
        ["/bin/bash", "-ec", block], cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True
    )
    print(ended.stdout, end="", flush=True)
    assert ended.returncode == 0, f"exit code {ended.returncode}"
    if "modify" in block:
        saved = Path(ended.stdout.strip().splitlines()[-1])
        assert saved.read_bytes() == (CHECKOUT / "luma_mcp/sandbox/foggy.mp4").read_bytes()


def serve(block: str, environment: dict[str, str]) -> None:
    """Run a block that serves until it is alive, then end it in order."""
    command = ["/bin/bash", "-ec", block.replace("luma-mcp --", "exec luma-mcp --")]
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr or ())
        address = next(found[1] for line in lines if (found := re.search(r"serves at (http://[^/]+)", line)))
        with urllib.request.urlopen(f"{address}/healthz") as answer:  # noqa: S310 - on this machine
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def check_played(told: str) -> None:
    """Check what the programs that are not here were told."""
    for begin, rest in PLAYED.items():
        assert re.search(rf"^{begin} {rest}", told, re.MULTILINE), f"{begin}: {told}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
