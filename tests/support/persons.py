"""Persons at a host who are asked before a charge, and calls of MCP 2026-07-28 with and without what they said."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp import Client
from mcp_types import ElicitRequestParams, ElicitRequestURLParams, ElicitResult, ErrorData

from tests.support.rig import MODERN_META, SOURCE

ASK: dict[str, Any] = {"prompt": "fog", "source_video_url": SOURCE}
YES: dict[str, Any] = {"action": "accept", "content": {"pay": True}}
NO: dict[str, Any] = {"action": "decline"}
CAN_ASK: dict[str, Any] = {"elicitation": {"form": {}}}
Said = ElicitResult | ErrorData


def said(answer: dict[str, Any]) -> ElicitResult:
    return ElicitResult.model_validate(answer)


@dataclass
class Person:
    """Answers each form in the same way, some seconds after it was shown, and after `meanwhile`; opens no page."""

    answer: Said = field(default_factory=lambda: said(YES))
    after: float = 0.0
    meanwhile: Callable[[], Any] | None = None
    questions: list[str] = field(default_factory=list[str])
    forms: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def __call__(self, _: object, params: ElicitRequestParams) -> Said:
        if isinstance(params, ElicitRequestURLParams):
            return said(NO)
        self.questions.append(params.message)
        self.forms.append(params.model_dump(mode="json", by_alias=True)["requestedSchema"])
        await anyio.sleep(self.after)
        if self.meanwhile:
            await self.meanwhile()
        return self.answer


def modern_call(arguments: dict[str, Any], capabilities: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Give the parameters of a call of `modify_video` in 2026-07-28, by a client that can ask, or with capabilities."""
    can = CAN_ASK if capabilities is None else capabilities
    meta = MODERN_META | {"io.modelcontextprotocol/clientCapabilities": can}
    return {"name": "modify_video", "arguments": arguments, "_meta": meta, **more}


def answered(asked: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Give what a client adds to its next call after the result `asked`."""
    return {"inputResponses": {"charge": answer}, "requestState": asked["requestState"]}


async def call(client: Client, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Call `modify_video` in 2026-07-28 as it goes over the wire."""
    return await client.session._dispatcher.send_raw_request("tools/call", modern_call(arguments, **more))
