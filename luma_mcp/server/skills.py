"""The skill that this server brings along (extension `io.modelcontextprotocol/skills`, SEP-2640, for 2026-07-28).

Its file is a resource that clients of both eras can read. It is in no list of resources: a picker shows the user's
tasks, and some frameworks make tools of what is listed there.
"""

import hashlib
from pathlib import Path
from typing import Any

import mcp.types as wire
from mcp.server import Server
from mcp.server.context import HandlerResult
from mcp.shared.exceptions import MCPError

from luma_mcp.app.app import App
from luma_mcp.core.addresses import MAX_URL_LENGTH
from luma_mcp.server.context import CACHE_TTL_MS, PageParams, RequestContext, reject_cursor, require_modern

EXTENSION_ID = "io.modelcontextprotocol/skills"
SKILL_NAME = "modify-video"
SKILL_URI = f"skill://{SKILL_NAME}/SKILL.md"
MARKDOWN_MIME_TYPE = "text/markdown"
FENCE = "---\n"


class SkillParams(wire.RequestParams, defer_build=True):
    """Which skill is asked for."""

    uri: str


def skill_text() -> str:
    """Give the skill's file, the same for everybody."""
    return Path(__file__).with_name("SKILL.md").read_text(encoding="utf-8")


def frontmatter(text: str) -> dict[str, str]:
    """Give the fields at the head of a skill's file, each of which is plain text on one line."""
    _, head, _ = text.split(FENCE, 2)
    return dict(line.split(": ", 1) for line in head.splitlines())


def add_skills(server: Server[App]) -> None:
    """Let a server answer for the skill, and say so."""
    server.extensions[EXTENSION_ID] = {}
    server.add_request_handler("skills/list", wire.PaginatedRequestParams, list_skills)
    server.add_request_handler("skills/get", SkillParams, get_skill)


async def list_skills(ctx: RequestContext, params: PageParams) -> HandlerResult:
    require_modern(ctx)
    reject_cursor(params)
    return cacheable({"skills": [skill_entry()]})


async def get_skill(ctx: RequestContext, params: SkillParams) -> HandlerResult:
    require_modern(ctx)
    if params.uri != SKILL_URI:
        known = f"There is no such skill; there is {SKILL_URI}."
        raise MCPError(wire.INVALID_PARAMS, known, {"uri": params.uri[:MAX_URL_LENGTH]})
    return cacheable({"skill": skill_entry()})


def skill_entry() -> dict[str, Any]:
    """Describe the skill and its only file, so that a host can check what it reads."""
    text = skill_text()
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    return {
        "uri": SKILL_URI,
        "frontmatter": frontmatter(text),
        "resources": [{"uri": SKILL_URI, "digest": f"sha256:{digest}", "size": len(content)}],
    }


def cacheable(answer: dict[str, Any]) -> HandlerResult:
    return {"resultType": "complete", **answer, "ttlMs": CACHE_TTL_MS, "cacheScope": "public"}


def read_skill() -> wire.ReadResourceResult:
    """Answer `resources/read` for the skill's file."""
    file = wire.TextResourceContents(uri=SKILL_URI, mime_type=MARKDOWN_MIME_TYPE, text=skill_text())
    return wire.ReadResourceResult(contents=[file], ttl_ms=CACHE_TTL_MS, cache_scope="public")
