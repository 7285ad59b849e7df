"""One job as it goes between a person, a model that takes texts at their word, the host and this server, as text."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp_types import CallToolResult

from luma_mcp.core.models import PRICE_USD
from luma_mcp.sandbox.application import Sandbox
from luma_mcp.sandbox.requests import ContractVariant
from luma_mcp.server.server import instructions
from tests.support.literal_model import Arguments, Call, Step, read_step
from tests.support.rig import ERAS, SOURCE, ProgressRecorder, Rig, open_rig, result_text, sandbox_for, structured

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
WISH = f"Make {SOURCE} a foggy autumn morning. 0.50 USD is fine."
PROMPT = "a foggy autumn morning, the people unchanged"
ASK = {"prompt": PROMPT, "source_video_url": SOURCE}
MOST_CALLS = 20
CUT_OFF = "If a call was cut off"
REQUEST = re.compile(r"req_[0-9a-f]{16}")


@dataclass
class Conversation:
    """A job under way: each of its methods is a line of the transcript."""

    rig: Rig
    client: Client
    home: Path
    last: Call = field(default_factory=lambda: Call("", {}))
    answer: Arguments = field(default_factory=dict[str, Any])
    lines: list[str] = field(default_factory=list[str])
    result: CallToolResult | None = None

    def note(self, who: str, words: str) -> None:
        self.lines.append(f"**{who}:** {words}")

    async def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool because the person's words ask for it."""
        return await self.call(Call(tool, arguments))

    async def call(self, call: Call, *, host_limit: float | None = None) -> dict[str, Any]:
        """Call a tool as the model; a host that is at its limit cancels the call, and the model gets no answer."""
        told, begun, before = ProgressRecorder(), anyio.current_time(), self.rig.sandbox.state.charged_cents()
        self.last, self.answer = call, {}
        self.note("Model calls", f"`{call.tool}`\n\n{block(call.arguments)}")
        with anyio.move_on_after(host_limit or 3600):
            self.result = await self.client.call_tool(call.tool, call.arguments, progress_callback=told)
            self.answer = structured(self.result)
        self.lines += [f"- progress {value:.0f} of 100: {message}" for value, _, message in told.reports]
        elapsed = f"after {anyio.current_time() - begun:.0f} seconds"
        if not self.answer:
            self.note("Host", f"gives up {elapsed}; the model is told that the call timed out.")
            return {}
        assert self.result is not None
        said_free = self.answer.get("error", {}).get("charged") == "no"
        assert not said_free or self.rig.sandbox.state.charged_cents() == before
        self.note("Answer", f"{elapsed}{', isError' if self.result.is_error else ''}\n\n{shown(self.result)}")
        return self.answer

    async def repeat(self, call: Call, *, host_limit: float | None = None) -> Arguments:
        """Do what the instructions say after a call that was cut off."""
        sentence = next(
            part for part in re.split(r"(?<=[.;])\s", instructions(self.rig.app.settings)) if CUT_OFF in part
        )
        self.note("Model remembers the instructions", sentence)
        assert "costs nothing" in sentence
        return await self.call(call, host_limit=host_limit)

    @property
    def step(self) -> Step:
        """What the last answer asks for."""
        return read_step(self.answer["next_step"], self.last)

    async def follow(self) -> dict[str, Any]:
        """Make the calls that the answers name until one asks for none, or for somebody to do something first."""
        for _ in range(MOST_CALLS):
            if (call := self.step.now) is None:
                self.note("Model tells the person", self.answer["next_step"])
                return self.answer
            await self.wait(self.step.pause)
            await self.call(call)
        raise AssertionError(f"The texts lead nowhere: {self.answer['next_step']}")

    async def go_on(self, done: str) -> dict[str, Any]:
        """Make the call that the last answer names, now that somebody did what it asks for first."""
        step = self.step
        assert step.call, self.answer["next_step"]
        self.note("Person", done)
        await self.call(step.call)
        return await self.follow()

    async def wait(self, seconds: float) -> None:
        if seconds:
            self.note("Model", f"waits {seconds:g} seconds.")
            await anyio.sleep(seconds)

    def end(self, *, agreed: int) -> None:
        """Note what was charged, and check that it is as many tasks as the person agreed to."""
        cents = self.rig.sandbox.state.charged_cents()
        assert cents == round(agreed * PRICE_USD * 100), (cents, agreed)
        self.note("Charged", f"{cents / 100:.2f} USD, as agreed with the person.")

    def text(self, title: str) -> str:
        """Give the whole transcript, the same each time: ids, short ids and folders are replaced."""
        whole = "\n\n".join([f"# {title}", *self.lines]) + "\n"
        whole = whole.replace(json.dumps(str(self.home))[1:-1], "/home/me").replace(str(self.home), "/home/me")
        for number, known in enumerate(dict.fromkeys(UUID.findall(whole)), 1):
            short = f"{number:08x}"
            whole = whole.replace(known, f"{short}-0000-4000-8000-000000000000").replace(known[:8], short)
        return REQUEST.sub("req_0123456789abcdef", whole).replace("\n\n- progress", "\n- progress")


def block(value: object) -> str:
    return f"```json\n{json.dumps(value, ensure_ascii=False, indent=2)}\n```"


def shown(result: CallToolResult) -> str:
    """Show a result as the model sees it: its text, and nothing else."""
    return f"```json\n{result_text(result)}\n```"


@asynccontextmanager
async def conversation(
    home: Path, era: str = ERAS[0], *, seconds: float = 8.0, sandbox: Sandbox | None = None, **settings: Any
) -> AsyncGenerator[Conversation]:
    """Open a server with a sandbox whose generations take some seconds, and a client of an era that talks to it.

    The sandbox tells no more than RunAPI does.
    """
    folders: Arguments = {} if "transport" in settings else {"media_roots": (home / "out", home / "Videos")}
    played = sandbox or sandbox_for(home, seconds=seconds, shape=ContractVariant(tells_seconds=False))
    async with open_rig(home, sandbox=played, **folders, **settings) as rig, rig.client(era) as client:
        yield Conversation(rig, client, home)
