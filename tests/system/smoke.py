"""A plain client of each protocol era runs the main job against an installed server. Needs nothing but the package.

Usage: python smoke.py COMMAND HOME
"""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters


async def modify_once(command: str, home: Path, clip: Path, era: str) -> None:
    """Modify a clip in the sandbox, with progress, look at the saved file, and have it saved under another name."""
    told: list[float] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    environment = {"HOME": str(home), "LUMA_MCP_SANDBOX": "true"}
    async with Client(StdioServerParameters(command=command, env=environment), mode=era) as client:
        request = {"prompt": f"fog, {era}", "source_video_url": str(clip)}
        result = await client.call_tool("modify_video", request, progress_callback=tell)
        task: dict[str, Any] = dict(result.structured_content or {})
        assert not result.is_error, task
        copied = await client.call_tool("save_video", {"task_id": task["task_id"], "filename": f"fog {era}"})
        account = await client.call_tool("check_account", {})
        page = await client.read_resource("ui://luma/task.html")  # its parts are files that packages can forget
    assert "<script>" in page.model_dump_json(), page
    assert task["status"] == "completed", task
    assert task["source_duration_seconds"] == 4.0, task
    assert told == sorted(set(told)), told
    assert told[-1] == 100, told
    copy = Path(dict(copied.structured_content or {})["video_path"])
    assert copy.name == f"fog {era}.mp4", copy
    assert Path(task["video_path"]).read_bytes() == copy.read_bytes() == clip.read_bytes()
    assert dict(account.structured_content or {})["price_usd"] == 0.5, account
    print(f"{era}: {task['video_path']} after {task['elapsed_seconds']} s, progress told {len(told)} times")


async def main(command: str, home: Path) -> None:
    """Run the job in both eras, with a clip of the user's own."""
    clip = home / "Videos" / "my clip.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes((files("luma_mcp.sandbox") / "clip.mp4").read_bytes() + b"mine")
    for era in ("legacy", "2026-07-28"):
        await modify_once(command, home, clip, era)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]))
