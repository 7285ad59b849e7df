"""A video attached in ChatGPT: an argument that OpenAI's hosts fill with a link to the file (`openai/fileParams`).

The argument is shown to those hosts alone, over HTTP: it is an object, which other hosts and models' APIs may refuse.
They are known by the name that they give themselves in `clientInfo`: `openai-mcp`, since September 2026 mostly with the
product behind it, as in `openai-mcp (ChatGPT)`. The link lasts for minutes, so the video is fetched and uploaded within
the call.
"""

from collections.abc import Mapping
from typing import Any

from luma_mcp.core.addresses import MAX_URL_LENGTH
from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.text import Json
from luma_mcp.server import tool_texts
from luma_mcp.server.context import RequestContext

OPENAI_CLIENT = "openai-mcp"
ATTACHED = "source_video"
FILE_PARAMETERS: Mapping[str, Any] = {"openai/fileParams": [ATTACHED]}
MAX_FILE_ID = 300
SCHEMA: Json = {  # these four and no other, as the host demands
    "type": "object",
    "title": "Source Video",
    "description": tool_texts.ATTACHED,
    "properties": {
        "download_url": {"type": "string"},
        "file_id": {"type": "string"},
        "mime_type": {"type": "string"},
        "file_name": {"type": "string"},
    },
    "required": ["download_url", "file_id"],
}
BOTH = f"Give either {ATTACHED} or source_video_url, not both."
NEITHER = f"modify_video needs the clip: the attached video as {ATTACHED}, or source_video_url."
NO_FILE = f"{ATTACHED} must be one attached video, as the host gives it: an object with download_url and file_id."


def fills_file_parameters(ctx: RequestContext) -> bool:
    """Tell whether the client is one of OpenAI's hosts, over HTTP."""
    about = ctx.session.client_params
    name = about.client_info.name.partition(" (")[0] if about else ""
    return ctx.lifespan_context.settings.serves_http and name == OPENAI_CLIENT


def with_file_parameter(schema: Json) -> Json:
    """Give the input schema of `modify_video` with an attached video in place of `source_video_url`, or beside it."""
    properties = dict(schema["properties"])
    prompt, source = properties.pop("prompt"), dict(properties.pop("source_video_url"))
    source.pop("minLength", None)
    source |= {"default": "", "description": tool_texts.SOURCE_BESIDE_ATTACHED}
    taken = {"prompt": prompt, ATTACHED: SCHEMA, "source_video_url": source, **properties}
    return {**schema, "properties": taken, "required": ["prompt"]}


def attached_url(given: Mapping[str, Any] | None, source_video_url: str) -> str:
    """Give the link to an attached video, empty if there is none but an address; raise `InvalidRequest`."""
    if given and source_video_url.strip():
        raise InvalidRequest(BOTH)
    if not given and not source_video_url.strip():
        raise InvalidRequest(NEITHER)
    if not given:
        return ""
    url, file_id = given.get("download_url"), given.get("file_id")
    if not is_filled(url, MAX_URL_LENGTH) or not is_filled(file_id, MAX_FILE_ID):
        raise InvalidRequest(NO_FILE)
    return str(url)


def is_filled(value: object, length: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= length and value.isprintable() and " " not in value
