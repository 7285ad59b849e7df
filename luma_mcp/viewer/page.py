"""The page as one file of HTML, put together from its three parts, and what a browser may do for it."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Face = Literal["app", "gallery"]
RESULT_DOMAINS = ("https://*.runapi.ai",)  # where RunAPI's links to finished videos lead
FOLDER = Path(__file__).parent


def page_html(face: Face, *, picks_clips: bool = False) -> str:
    """Give the whole page: as an MCP App in a chat (`app`), or as a gallery in a browser (`gallery`).

    With `picks_clips` a person can upload a clip there.
    """
    page = part("page.html").replace("{{face}}", face)
    if picks_clips:
        page = page.replace("</main>", f"{part('upload_form.html')}</main>")
        page = page.replace("</body>", f"<script>{part('upload.js')}</script>\n</body>")
    return page.replace("{{style}}", part("page.css")).replace("{{script}}", part("page.js"))


def upload_html() -> str:
    """Give the page at an upload's address, on which a person picks the clip."""
    page = part("upload.html").replace("{{form}}", part("upload_form.html"))
    return page.replace("{{style}}", part("page.css")).replace("{{script}}", part("upload.js"))


def gallery_policy() -> str:
    """Give the Content-Security-Policy to serve the gallery under: its own scripts and style, and its own origin."""
    return policy(("page.js", "upload.js"), ("'self'", *RESULT_DOMAINS))


def upload_policy() -> str:
    """Give the Content-Security-Policy to serve the page at an upload's address under."""
    return policy(("upload.js",), ("'none'",))


def policy(scripts: Sequence[str], videos: Sequence[str]) -> str:
    own = " ".join(f"'{digest_of(script)}'" for script in scripts)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {own}",
            f"style-src '{digest_of('page.css')}'",
            "img-src 'self' data:",
            f"media-src {' '.join(videos)}",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def digest_of(name: str) -> str:
    """Name a part by its content as policies do; it stands between its tags exactly as it is in its file."""
    return f"sha256-{base64.b64encode(hashlib.sha256(part(name).encode()).digest()).decode()}"
