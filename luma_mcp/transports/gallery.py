"""The gallery over HTTP: the page in a browser, and what it asks for. Nothing here can spend."""

from collections import Counter
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, request_response
from starlette.types import ASGIApp

from luma_mcp.app.app import App, Outcome
from luma_mcp.app.progress import Progress, report_to_nobody
from luma_mcp.core.errors import InvalidRequest, LumaError
from luma_mcp.server.results import TaskObject, account_object, advised_wait, task_object
from luma_mcp.transports.gallery_access import (
    GALLERY_PATH,
    SAFE_HEADERS,
    TOO_LARGE,
    CallersOnly,
    GalleryAccess,
    failure_response,
    json_response,
    read_bounded,
    refusal_as_json,
)
from luma_mcp.transports.middleware import ConcurrencyLimit
from luma_mcp.transports.video_response import open_response
from luma_mcp.viewer.page import gallery_policy, page_html

MAX_WORDS_LENGTH = 200  # more than a person types; each word is searched for in every prompt
MAX_LOGINS = 50  # exchanges of tokens at once
PAGE_SIZE = 50
Handler = Callable[[str, Request], Awaitable[Response]]
Bound = Callable[[ASGIApp], ASGIApp]


class Gallery:
    """The page, and the tasks, videos and account of whoever looks at it."""

    def __init__(self, app: App, access: GalleryAccess, *, takes_uploads: bool = False) -> None:
        self._app = app
        self._access = access
        self._takes_uploads = takes_uploads
        policy = {"Content-Security-Policy": gallery_policy()}
        page = page_html("gallery", picks_clips=takes_uploads)
        self._page = Response(page, headers=SAFE_HEADERS | policy, media_type="text/html")

    def routes(self, bound: Bound) -> list[BaseRoute]:
        """List what is served; `bound` wraps all that is served to a caller."""
        logins = ConcurrencyLimit(request_response(self._access.begin_session), MAX_LOGINS, Counter())
        served: dict[str, tuple[str, Handler]] = {
            "tasks": ("GET", self._list_tasks),
            "tasks/{task_id}": ("GET", self._get_task),
            "tasks/{task_id}/preview": ("GET", self._send_preview),
            "tasks/{task_id}/save": ("POST", self._save_video),
            "videos/{task_id}/{which}": ("GET", self._send_video),
            "account": ("GET", self._check_account),
        }
        if self._takes_uploads:
            served["uploads"] = ("POST", self._offer_upload)
        return [
            Route("/", self._page, methods=["GET"]),
            Route(f"{GALLERY_PATH}/session", logins, methods=["POST"]),
            *(
                Route(
                    f"{GALLERY_PATH}/api/{path}",
                    CallersOnly(bound(request_response(self._answering(handler))), self._access),
                    methods=[method],
                )
                for path, (method, handler) in served.items()
            ),
        ]

    def _answering(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return await handler(self._access.caller_in(request.scope), request)
            except LumaError as error:
                return failure_response(error)

        return answer

    async def _list_tasks(self, caller: str, request: Request) -> Response:
        asked = request.query_params
        words, status, limit = asked.get("words", "").strip(), asked.get("status", ""), page_size(asked.get("limit"))
        if len(words) > MAX_WORDS_LENGTH:
            raise InvalidRequest(f"words can have {MAX_WORDS_LENGTH} characters.")
        if words:
            tasks, cursor = await self._app.find_tasks(caller, words, status, limit), ""
        else:
            tasks, cursor = await self._app.list_tasks(caller, status, limit, asked.get("cursor", ""))
        told = [self._task_object(Outcome(task)) for task in tasks]
        spent = await self._app.spent_this_month(caller)
        return json_response({"tasks": told, "next_cursor": cursor, "spent_month_usd": round(spent, 4)})

    async def _get_task(self, caller: str, request: Request) -> Response:
        task_id = request.path_params["task_id"]
        outcome = await self._app.get_task(task_id, caller, wait_seconds=0, progress=None)
        return json_response(self._task_object(outcome))

    async def _save_video(self, caller: str, request: Request) -> Response:
        if await read_bounded(request) is None:
            return refusal_as_json(413, TOO_LARGE)
        task_id = request.path_params["task_id"]
        outcome = await self._app.save_video(task_id, caller, "", progress=Progress(report_to_nobody))
        return json_response(self._task_object(outcome))

    async def _offer_upload(self, caller: str, request: Request) -> Response:
        if await read_bounded(request) is None:
            return refusal_as_json(413, TOO_LARGE)
        return json_response({"path": (await self._app.offer_upload(caller)).path.lstrip("/")})

    async def _send_video(self, caller: str, request: Request) -> Response:
        """Send a file that the task has a right to: nothing in the address is part of a path."""
        video = await self._app.open_video(request.path_params["task_id"], caller, request.path_params["which"])
        return await open_response(video, SAFE_HEADERS)

    async def _send_preview(self, caller: str, request: Request) -> Response:
        preview = await self._app.preview(request.path_params["task_id"], caller)
        return Response(preview.jpeg, headers=SAFE_HEADERS, media_type="image/jpeg")

    async def _check_account(self, caller: str, _: Request) -> Response:
        account = await self._app.check_account(caller)
        return json_response(account_object(account, self._app.origin, shared=self._app.settings.names_callers))

    def _task_object(self, outcome: Outcome) -> TaskObject:
        settings = self._app.settings
        return task_object(outcome, self._app.now(), remote=settings.serves_http, wait=advised_wait(settings))


def page_size(value: str | None) -> int:
    """Read how many tasks are asked for; raise `InvalidRequest` for what is no number."""
    try:
        return int(value) if value else PAGE_SIZE
    except ValueError as error:
        raise InvalidRequest("limit must be from 1 to 100.") from error
