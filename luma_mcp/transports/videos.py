"""Saved videos for whoever has a signed link to one: `GET /videos/<ticket>`, whole or in ranges."""

from collections import Counter
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, request_response

from luma_mcp.app.app import App
from luma_mcp.app.tickets import TicketSpent
from luma_mcp.app.videos import VideoFile
from luma_mcp.core.errors import InvalidRequest, LumaError, SourceNotFound
from luma_mcp.core.uris import VIDEOS_PATH
from luma_mcp.transports.gallery_access import SAFE_HEADERS, status_of
from luma_mcp.transports.middleware import ConcurrencyLimit
from luma_mcp.transports.video_response import open_response

STATUS_CODES: dict[type[LumaError], int] = {TicketSpent: 410, SourceNotFound: 404, InvalidRequest: 404}
MAX_DOWNLOADS = 200  # at once, of all who have links


def video_routes(app: App) -> list[BaseRoute]:
    """Serve the videos that links lead to: nothing in the address is part of a path."""

    async def send_video(request: Request) -> Response:
        try:
            found = await app.open_linked_video(request.path_params["ticket"])
            if isinstance(found, str):
                return RedirectResponse(found, 307, SAFE_HEADERS)
            return await open_response(found, SAFE_HEADERS | {"Content-Disposition": disposition(found)})
        except LumaError as error:
            return PlainTextResponse(
                f"{error.message} {error.hint}", status_of(error, STATUS_CODES), headers=SAFE_HEADERS
            )

    served = ConcurrencyLimit(request_response(send_video), MAX_DOWNLOADS, Counter())
    return [Route(f"{VIDEOS_PATH}/{{ticket}}", served, methods=["GET"])]


def disposition(video: VideoFile) -> str:
    """Have a browser show the video, and call it by its file's name when it is kept (RFC 6266)."""
    plain = "video.mov" if video.mime_type == "video/quicktime" else "video.mp4"
    name = quote(video.path.name.encode(errors="replace"), safe="")
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{name}"
