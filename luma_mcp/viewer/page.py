"""The page as one file of HTML, put together from its three parts, and what a browser may do for it."""

import base64
import hashlib
from pathlib import Path
from typing import Literal

Face = Literal["app", "gallery"]
RESULT_DOMAINS = ("https://*.runapi.ai",)  # where RunAPI's links to finished videos lead
FOLDER = Path(__file__).parent


def page_html(face: Face) -> str:
    """Give the whole page: as an MCP App in a chat (`app`), or as a gallery in a browser (`gallery`)."""
    page = page_part("html").replace("{{face}}", face)
    return page.replace("{{style}}", page_part("css")).replace("{{script}}", page_part("js"))


def gallery_policy() -> str:
    """Give the Content-Security-Policy to serve the gallery under: its own script and style, and its own origin."""
    videos = " ".join(RESULT_DOMAINS)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{digest_of('js')}'",
            f"style-src '{digest_of('css')}'",
            "img-src 'self' data:",
            f"media-src 'self' {videos}",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def page_part(kind: Literal["html", "css", "js"]) -> str:
    return (FOLDER / f"page.{kind}").read_text(encoding="utf-8")


def digest_of(kind: Literal["css", "js"]) -> str:
    """Name a part by its content as policies do; it stands between its tags exactly as it is in its file."""
    return f"sha256-{base64.b64encode(hashlib.sha256(page_part(kind).encode()).digest()).decode()}"
