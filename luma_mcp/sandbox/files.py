"""The sandbox's endpoints for temporary files: prepare, PUT, confirm, and the JSON form (contract 5.1)."""

import base64
import binascii
import hashlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from luma_mcp.sandbox.http import Json, Refused, Setup, authorise, bundled_clip, json_body, take, timestamp
from luma_mcp.sandbox.state import MOST_STORED_BYTES, UPLOAD_LIFETIME_SECONDS, Upload

LARGEST_FILE_BYTES = 32 << 20  # as base64, in JSON


class Files:
    """Takes files and serves them for an hour."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._coming = 0  # bytes of files that are on their way in

    async def prepare(self, request: Request) -> Response:
        """Say where the bytes of a file go."""
        authorise(request)
        body = await json_body(request)
        name, size, checksum = body.get("filename"), body.get("byte_size"), body.get("checksum")
        if not (isinstance(name, str) and type(size) is int and isinstance(checksum, str) and len(checksum) == 24):
            raise Refused(self._setup.shape.validation_code, {"error": "filename, byte_size and checksum are required"})
        if not 0 <= size <= MOST_STORED_BYTES:
            raise Refused(self._setup.shape.validation_code, {"error": f"byte_size is not 0 to {MOST_STORED_BYTES}"})
        upload = self._setup.state.prepare(name, size, checksum)
        return JSONResponse(
            {
                "signed_id": upload.signed_id,
                "upload_url": f"{self._setup.storage_url}/uploads/{upload.token}",
                "headers": {"Content-Type": "video/mp4", "Content-MD5": checksum},
            }
        )

    async def receive(self, request: Request) -> Response:
        """Take the bytes: once, complete, with the headers that were given, and without any key."""
        upload = self._setup.state.upload("token", request.path_params["token"])
        if upload is None or upload.state != "prepared":
            raise Refused(403, {"error": "This upload address was used or never given"})
        if "authorization" in request.headers or request.headers.get("content-md5") != upload.checksum:
            raise Refused(400, {"error": "The headers are not those that were given"})
        path = self._setup.state.path(upload)
        with self._room(upload.size), whole_or_nothing(path):
            if await write(request, path, upload.size) != (upload.size, upload.checksum):
                raise Refused(400, {"error": "The bytes are not those that were announced"})
            self._setup.state.advance(upload, "received")
        return Response(status_code=204)

    async def confirm(self, request: Request) -> Response:
        """Finish an upload and say where the file is."""
        authorise(request)
        body = await json_body(request)
        upload = self._setup.state.upload("signed_id", str(body.get("signed_id")))
        if upload is None or upload.state == "prepared":
            raise Refused(404, {"error": "Not found"})
        self._setup.state.advance(upload, "confirmed")
        return JSONResponse(self._stored(upload))

    async def register(self, request: Request) -> Response:
        """Take a file as base64, or a URL, which stands for the clip that comes with the sandbox."""
        authorise(request)
        body = await json_body(request, LARGEST_FILE_BYTES)
        source = cast("Json", body.get("source") if isinstance(body.get("source"), dict) else {})
        name = str(body.get("file_name") or "clip.mp4")
        match source.get("type"):
            case "base64":
                content = decoded(str(source.get("data")), self._setup.shape.validation_code)
            case "url":
                content = bundled_clip().read_bytes()
            case _:
                raise Refused(self._setup.shape.validation_code, {"error": "source is required"})
        with self._room(len(content)):
            return JSONResponse(self._stored(self._setup.state.store(name, content)))

    @contextmanager
    def _room(self, size: int) -> Generator[None]:
        """Keep room for a file inside, in place of files that have expired; refuse it if there is none."""
        if not self._setup.state.make_room(self._coming + size):
            raise Refused(413, {"error": f"The sandbox keeps {MOST_STORED_BYTES} bytes at most"})
        self._coming += size
        try:
            yield
        finally:
            self._coming -= size

    def _stored(self, upload: Upload) -> Json:
        return {
            "file_name": upload.name,
            "url": f"{self._setup.storage_url}/files/{upload.token}/clip.mp4",
            "size_bytes": upload.size,
            "mime_type": "video/mp4",
            "created_at": timestamp(upload.created_at),
            "expires_at": timestamp(upload.created_at + UPLOAD_LIFETIME_SECONDS),
        }

    async def file(self, request: Request) -> Response:
        """Serve an uploaded file while it lives."""
        upload = self._setup.state.upload("token", request.path_params["token"])
        if upload is None or not upload.alive(self._setup.now()):
            raise Refused(404, {"error": "Not found"})
        return FileResponse(self._setup.state.path(upload), media_type="video/mp4")


@contextmanager
def whole_or_nothing(path: Path) -> Generator[None]:
    """Make a file inside, and leave nothing of it if that fails."""
    with ExitStack() as unless_whole:
        unless_whole.callback(path.unlink, missing_ok=True)
        yield
        unless_whole.pop_all()


async def write(request: Request, path: Path, most: int) -> tuple[int, str]:
    """Write a body of at most so many bytes to a file, and give its size and checksum."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:

        def keep(piece: bytes) -> None:
            file.write(piece)
            digest.update(piece)

        await take(request, most, keep)
        size = file.tell()
    return size, base64.b64encode(digest.digest()).decode()


def decoded(data: str, refusal_code: int) -> bytes:
    """Decode base64, or refuse what is none."""
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise Refused(refusal_code, {"error": "source.data is not base64"}) from None
