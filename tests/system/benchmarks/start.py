"""How long until `initialize` is answered, and how much memory then, against an empty SDK server, in pairs.

Run by hand: python tests/system/benchmarks/start.py [PAIRS]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EMPTY = "from mcp.server import MCPServer; MCPServer('empty', log_level='WARNING').run('stdio')"
SERVERS = {"empty": [sys.executable, "-c", EMPTY], "luma": [sys.executable, "-m", "luma_mcp"]}
PARAMS = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}
INITIALIZE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": PARAMS}) + "\n"


def measure(command: list[str], home: str) -> tuple[float, float]:
    """Start a server, shake hands, and give seconds until the answer and MiB of resident memory."""
    environment = {**os.environ, "HOME": home, "PYTHONDONTWRITEBYTECODE": ""}
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
    with process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(INITIALIZE)
        process.stdin.flush()
        assert "result" in json.loads(process.stdout.readline())
        seconds = time.perf_counter() - begun
        memory = resident_mebibytes(process.pid)
        process.stdin.close()
    return seconds, memory


def resident_mebibytes(pid: int) -> float:
    """Read the resident memory of a process (Linux)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def main(pairs: int) -> None:
    """Measure in turn, so that a drifting machine drifts for both; print medians and the ratio pair by pair."""
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory() as home:
        for number in range(pairs + 1):
            for name, command in SERVERS.items():
                measured = measure(command, home)
                if number:  # the first pair compiles byte code
                    figures[name].append(measured)
    for name, measured_pairs in figures.items():
        seconds, memory = (statistics.median(column) for column in zip(*measured_pairs, strict=True))
        print(f"{name:>6}: initialize answered after {seconds:.3f} s, {memory:.1f} MiB resident (medians of {pairs})")
    ratios = [ours[0] / empty[0] for ours, empty in zip(figures["luma"], figures["empty"], strict=True)]
    print(f" ratio: {statistics.median(ratios):.3f} (lowest {min(ratios):.3f}, highest {max(ratios):.3f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
