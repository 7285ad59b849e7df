"""A plain client of each protocol era runs the main job against an installed server. Needs nothing but the package.

Usage: python smoke.py COMMAND HOME
"""

import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters


async def modify_once(command: str, home: Path, era: str) -> None:
    """Modify a clip in the sandbox, with progress, and look at the saved file."""
    told: list[float] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    environment = {"HOME": str(home), "LUMA_MCP_SANDBOX": "true"}
    async with Client(StdioServerParameters(command=command, env=environment), mode=era) as client:
        request = {"prompt": f"fog, {era}", "source_video_url": "https://example.com/clip.mp4"}
        result = await client.call_tool("modify_video", request, progress_callback=tell)
    task: dict[str, Any] = dict(result.structured_content or {})
    assert not result.is_error, task
    assert task["status"] == "completed", task
    assert told == sorted(set(told)), told
    assert told[-1] == 100, told
    first_bytes = Path(task["video_path"]).read_bytes()[4:8]
    assert first_bytes == b"ftyp", first_bytes
    print(f"{era}: {task['video_path']} after {task['elapsed_seconds']} s, progress told {len(told)} times")


async def main(command: str, home: Path) -> None:
    """Run the job in both eras."""
    home.mkdir()
    for era in ("legacy", "2026-07-28"):
        await modify_once(command, home, era)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]))
