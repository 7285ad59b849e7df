"""Jobs that meet trouble: a host that gives up, a failed generation, a file out of reach, no key, no money, limits."""

from pathlib import Path

import anyio

from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.literal_model import Call
from tests.support.rig import SOURCE, sandbox_for
from tests.support.transcript import ASK, PROMPT, WISH, Conversation, conversation


async def a_failed_generation(home: Path, era: str) -> Conversation:
    """A generation that fails, and another prompt."""
    async with conversation(home, era) as job:
        job.rig.sandbox.faults.inject(Fault("fail", text="The prompt was declined by moderation."))
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK)
        await job.follow()
        job.end(agreed=0)
        step = job.step
        assert step.call
        assert step.first
        job.note("Person", "Then fog without people.")
        await job.call(Call(step.call.tool, step.call.arguments | {"prompt": "a foggy autumn morning"}))
        await job.follow()
        job.end(agreed=1)
        return job


async def a_local_file(home: Path, era: str) -> Conversation:
    """A file outside the folders that may be read, moved into one of them."""
    async with conversation(home, era) as job:
        outside, inside = home / "clip.mp4", home / "Videos" / "clip.mp4"
        outside.write_bytes(bundled_clip().read_bytes())
        job.note("Person", f"Make {outside} a foggy autumn morning. 0.50 USD is fine.")
        await job.ask("modify_video", prompt=PROMPT, source_video_url=str(outside))
        await job.follow()
        job.note("Person", f"I moved it to {inside}.")
        inside.parent.mkdir()
        outside.rename(inside)
        await job.ask("modify_video", prompt=PROMPT, source_video_url=str(inside))
        assert (await job.follow())["video_path"]
        job.end(agreed=1)
        return job


async def a_missing_key(home: Path, era: str) -> Conversation:
    """No RunAPI key."""
    async with conversation(home, era, api_key="") as job:
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK)
        await job.follow()
        job.note("Person", "What would it cost?")
        await job.ask("check_account")
        await job.follow()
        job.end(agreed=0)
        return job


async def too_little_money(home: Path, era: str) -> Conversation:
    """An account that cannot pay, and credits that are added."""
    sandbox = sandbox_for(home, credit_cents=20)
    async with conversation(home, era, sandbox=sandbox) as job:
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK)
        await job.follow()
        sandbox.state._credit_cents = 100
        assert (await job.go_on("I have added credits."))["video_path"]
        job.end(agreed=1)
        return job


async def a_lost_answer(home: Path, era: str) -> Conversation:
    """A submission whose answer is lost, again and again."""
    async with conversation(home, era) as job:
        job.rig.sandbox.faults.inject(Fault("drop_after"), Fault("drop_before", times=5))
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK)
        assert job.answer["error"]["charged"] == "unknown"
        assert (await job.follow())["video_path"]
        job.end(agreed=1)
        return job


async def a_slow_submission(home: Path, era: str) -> Conversation:
    """A submission that RunAPI takes long to confirm, by a model that does not want to wait."""
    async with conversation(home, era) as job:
        job.rig.sandbox.faults.inject(Fault("slow", seconds=12))
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK, wait_seconds=0)
        assert (await job.follow())["video_path"]
        job.end(agreed=1)
        return job


async def a_limit(home: Path, era: str) -> Conversation:
    """A limit on tasks at once, and one a day."""
    async with conversation(home, era, max_active=1, daily_limit=2) as job:
        job.note("Person", "Make the clip foggy, and one snowy. 1.00 USD is fine.")
        first = await job.ask("modify_video", prompt="fog", source_video_url=SOURCE, wait_seconds=0), job.last
        second = await job.ask("modify_video", prompt="snow", source_video_url=SOURCE), job.last
        job.answer, job.last = first
        await job.follow()
        job.answer, job.last = second
        assert (await job.go_on("The first one has ended."))["video_path"]
        job.note("Person", "And one at night. Another 0.50 USD is fine.")
        await job.ask("modify_video", prompt="night", source_video_url=SOURCE)
        await job.follow()
        await job.ask("check_account")
        await job.follow()
        job.end(agreed=2)
        return job


async def a_broken_download(home: Path, era: str) -> Conversation:
    """A finished video whose storage does not answer for a while."""
    async with conversation(home, era) as job:
        job.rig.sandbox.faults.inject(Fault("503", route="output", times=12))
        job.note("Person", WISH)
        await job.ask("modify_video", **ASK)
        await job.follow()
        await anyio.sleep(600)
        job.note("Person", "(ten minutes later) Is it there now?")
        await job.ask("get_task", task_id=job.answer["task_id"])
        assert (await job.follow())["video_path"]
        job.end(agreed=1)
        return job


async def a_host_that_times_out(home: Path, era: str) -> Conversation:
    """A host that gives up after ten seconds, so that the model repeats its call."""
    async with conversation(home, era, seconds=25) as job:
        job.note("Person", WISH)
        call = Call("modify_video", ASK)
        await job.call(call, host_limit=10)
        for limit in (10, None):
            await job.repeat(call, host_limit=limit)
        assert job.answer["joined"]
        await job.follow()
        job.end(agreed=1)
        return job


async def a_host_with_a_short_limit(home: Path, era: str) -> Conversation:
    """A host that gives up after 30 seconds, and a server that is set to answer after 20."""
    async with conversation(home, era, seconds=55, wait_seconds=20) as job:
        job.note("Person", WISH)
        await job.call(Call("modify_video", ASK), host_limit=30)
        while job.step.now:
            assert await job.call(job.step.now, host_limit=30), "next_step names a wait that the host cuts off"
        await job.follow()
        job.end(agreed=1)
        return job
