"""What hosts need that show pages in the chat (MCP Apps, revision 2026-01-26): the page, and what tells them of it."""

from collections.abc import Mapping
from typing import Any

import mcp.types as wire

from luma_mcp.core.text import is_list
from luma_mcp.server.context import CACHE_TTL_MS, RequestContext
from luma_mcp.viewer.page import RESULT_DOMAINS, page_html

EXTENSION_ID = "io.modelcontextprotocol/ui"
APP_MIME_TYPE = "text/html;profile=mcp-app"
PAGE_URI = "ui://luma/task.html"
PIECE_BYTES = 499_998  # of a video in one answer: what hosts pass on, in whole groups of base64, which can be joined
SHOWS_PAGE: Mapping[str, Any] = {  # of the tool whose answer the page shows; the page itself may not call it
    "ui": {"resourceUri": PAGE_URI, "visibility": ["model"]},
    "ui/resourceUri": PAGE_URI,  # where earlier hosts look
}
FOR_PAGE_ALONE: Mapping[str, Any] = {"ui": {"visibility": ["app"]}}
ABOUT_PAGE: Mapping[str, Any] = {
    "ui": {"csp": {"resourceDomains": [*RESULT_DOMAINS], "connectDomains": []}, "prefersBorder": True}
}
EXTENSIONS: Mapping[str, dict[str, Any]] = {EXTENSION_ID: {}}


def shows_pages(ctx: RequestContext) -> bool:
    """Tell whether a client can show pages in the chat: it names the extension, and the kind of page that this is."""
    capabilities = ctx.session.client_capabilities
    extensions = (capabilities.extensions if capabilities else None) or {}
    kinds: object = extensions.get(EXTENSION_ID, {}).get("mimeTypes")
    return is_list(kinds) and APP_MIME_TYPE in kinds


def read_page() -> wire.ReadResourceResult:
    """Answer `resources/read` for the page, which is the same for everybody."""
    page = wire.TextResourceContents(
        uri=PAGE_URI, mime_type=APP_MIME_TYPE, text=page_html("app"), _meta=dict(ABOUT_PAGE)
    )
    return wire.ReadResourceResult(contents=[page], ttl_ms=CACHE_TTL_MS, cache_scope="public")
