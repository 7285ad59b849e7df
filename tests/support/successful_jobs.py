"""Jobs that go well: one clip, several takes, a further change, a file that was deleted, another machine."""

import re
from pathlib import Path

from mcp_types import TextContent

from tests.support.literal_model import Call
from tests.support.rig import SOURCE
from tests.support.transcript import ASK, PROMPT, WISH, Conversation, conversation


async def one_clip(home: Path, era: str) -> Conversation:
    """One clip by URL."""
    async with conversation(home, era) as job:
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK)
        assert Path((await job.follow())["video_path"]).is_file()
        job.end(agreed=1)
        return job


async def a_long_generation(home: Path, era: str) -> Conversation:
    """A generation that takes longer than a call waits."""
    async with conversation(home, era, seconds=95) as job:
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK)
        assert (await job.follow())["video_path"]
        job.end(agreed=1)
        return job


async def three_takes_compared(home: Path, era: str) -> Conversation:
    """Three takes of one clip with the prompt compare_takes."""
    async with conversation(home, era, seconds=60) as job:
        form = {"source_video_url": SOURCE, "prompts": "in fog\nin snow\nat night"}
        message = (await job.client.get_prompt("compare_takes", form)).messages[0].content
        assert isinstance(message, TextContent)
        job.note("Person starts compare_takes", f"\n\n{message.text}")
        job.note("Model tells the person", "3 takes: in fog; in snow; at night. Up to 1.50 USD (3 x 0.50 USD).")
        job.note("Person", "Yes.")
        asked = r'call modify_video with source_video_url "(.+?)", its prompt, its take and wait_seconds (\d+)'
        named = re.search(asked, message.text)
        assert named
        start = {"source_video_url": named[1], "wait_seconds": int(named[2])}
        takes = re.findall(r'^\d+\. "(.+)", take (\d+)$', message.text, re.MULTILINE)
        started = [await job.ask("modify_video", prompt=words, take=int(take), **start) for words, take in takes]
        for job.answer in started:
            assert (await job.follow())["video_path"]
        job.end(agreed=3)
        return job


async def three_takes_of_one_prompt(home: Path, era: str) -> Conversation:
    """Three takes of one clip with the same words; the host cuts the last call off."""
    async with conversation(home, era) as job:
        job.note("Person", f"Make {SOURCE} a foggy autumn morning, three versions. 1.50 USD is fine.")
        await job.ask("modify_video", **ASK)
        await job.follow()
        for number, limit in ((2, None), (3, 3)):
            take = Call("modify_video", ASK | {"take": number})
            if not await job.call(take, host_limit=limit):
                await job.repeat(take)
            assert (await job.follow())["video_path"]
        job.end(agreed=3)
        return job


async def a_deleted_file(home: Path, era: str) -> Conversation:
    """A saved video that was deleted, is saved again, and once more after its link has expired."""
    async with conversation(home, era) as job:
        job.note("Person", WISH)
        made = await job.ask("modify_video", **ASK)
        await job.follow()
        Path(made["video_path"]).unlink()
        job.note("Person", "I deleted the file. Where is it?")
        await job.ask("get_task", task_id=made["task_id"])
        assert "save_video" in job.answer["next_step"]
        assert Path((await job.follow())["video_path"]).is_file()
        Path(made["video_path"]).unlink()
        job.rig.clock.jumped = 8 * 86_400
        job.note("Person", "Now, eight days later, it is gone again.")
        await job.ask("save_video", task_id=made["task_id"])
        await job.follow()
        job.end(agreed=1)
        return job


async def a_chained_edit(home: Path, era: str) -> Conversation:
    """A further change to a result."""
    async with conversation(home, era) as job:
        job.note("Person", WISH)
        made = await job.ask("modify_video", **ASK)
        await job.follow()
        job.note("Person", "Now with birds, for another 0.50 USD.")
        await job.ask("modify_video", prompt=f"{PROMPT}, birds", source_video_url=f"luma://tasks/{made['task_id']}")
        assert (await job.follow())["video_path"]
        job.end(agreed=2)
        return job


async def a_lost_id(home: Path, era: str) -> Conversation:
    """A new chat, in which nobody knows the id of the task that goes on."""
    async with conversation(home, era, seconds=60) as job:
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK, wait_seconds=0)
        job.note("Person", "(in a new chat) What became of my clip?")
        listed = (await job.ask("list_tasks"))["tasks"]
        await job.ask("get_task", task_id=listed[0]["task_id"])
        assert (await job.follow())["video_path"]
        job.end(agreed=1)
        return job


async def over_http(home: Path, era: str) -> Conversation:
    """A server on another machine, which gives links."""
    async with conversation(home, era, transport="streamable-http") as job:
        job.note("Person", WISH)
        await job.ask("modify_video", prompt=PROMPT, source_video_url="/home/me/clip.mp4")
        await job.follow()
        job.note("Person", f"It is at {SOURCE} too.")
        await job.ask("modify_video", **ASK)
        assert (await job.follow())["video_urls"]
        job.end(agreed=1)
        return job
