"""Runs examples for agent frameworks as they stand, with a played model and the sandbox: no key, no network, no cost.

Usage, in a checkout: python -m tests.system.frameworks.run HOME [EXAMPLE...], with `luma-mcp` in PATH, and what the
examples say that they need in this Python. `pip install --group frameworks` has it for the two lightest, which are run
if no EXAMPLE is named.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.played_model import played_model

HERE = Path(__file__).parent
LIGHTEST = ("openai_agents", "pydantic_ai")
OPENAI_ADDRESSES = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
KEYS = ("OPENAI_API_KEY", "GOOGLE_API_KEY")
QUIET = {"OPENAI_AGENTS_DISABLE_TRACING": "1", "CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true"}


def main(home: Path, *examples: str) -> None:
    """Run each example, and check that it ends by naming the saved video."""
    with played_model() as address:
        addresses = {"GOOGLE_GEMINI_BASE_URL": address, **dict.fromkeys(OPENAI_ADDRESSES, f"{address}/v1")}
        environment = {**os.environ, **QUIET, **addresses, **dict.fromkeys(KEYS, "played")}
        for name in examples or LIGHTEST:
            own = home / name  # with tasks of its own: the same request would be the same task
            own.mkdir(parents=True)
            print(f"== {name}: {run(HERE / f'with_{name}.py', environment | {'HOME': str(own)})}", flush=True)


def run(example: Path, environment: dict[str, str]) -> Path:
    """Run an example, and give the path of the video that it says was saved."""
    ended = subprocess.run([sys.executable, example], env=environment, capture_output=True, text=True, check=False)
    named = re.findall(r"""["']video_path["']: ?["']([^"']+\.mp4)["']""", ended.stdout.replace("\\", ""))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert named, ended.stdout + ended.stderr
    assert Path(named[-1]).stat().st_size > 0
    return Path(named[-1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
