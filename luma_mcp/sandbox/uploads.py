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

from luma_mcp.core.models import UPLOAD_LIFETIME_SECONDS
from luma_mcp.sandbox.requests import (
    EndpointContext,
    ErrorReply,
    JsonObject,
    bundled_clip,
    read_body,
    read_json_body,
    require_key,
    timestamp,
)
from luma_mcp.sandbox.state import MAX_STORED_BYTES, Upload

LARGEST_FILE_BYTES = 32 << 20  # as base64, in JSON


class UploadEndpoints:
    """Takes files and serves them for an hour."""

    def __init__(self, setup: EndpointContext) -> None:
        self._setup = setup
        self._reserved_bytes = 0  # of files that are being uploaded

    async def prepare(self, request: Request) -> Response:
        require_key(request)
        body = await read_json_body(request)
        name, size, checksum = body.get("filename"), body.get("byte_size"), body.get("checksum")
        if not (isinstance(name, str) and type(size) is int and isinstance(checksum, str) and len(checksum) == 24):
            raise ErrorReply(
                self._setup.variant.validation_code, {"error": "filename, byte_size and checksum are required"}
            )
        if not 0 <= size <= MAX_STORED_BYTES:
            raise ErrorReply(
                self._setup.variant.validation_code, {"error": f"byte_size is not 0 to {MAX_STORED_BYTES}"}
            )
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
        upload = self._setup.state.find_upload("token", request.path_params["token"])
        if upload is None or upload.state != "prepared":
            raise ErrorReply(403, {"error": "This upload address was used or never given"})
        if "authorization" in request.headers or request.headers.get("content-md5") != upload.checksum:
            raise ErrorReply(400, {"error": "The headers are not those that were given"})
        path = self._setup.state.path(upload)
        with self._reserve_space(upload.size), remove_on_error(path):
            if await write(request, path, upload.size) != (upload.size, upload.checksum):
                raise ErrorReply(400, {"error": "The bytes are not those that were announced"})
            self._setup.state.set_upload_state(upload, "received")
        return Response(status_code=204)

    async def confirm(self, request: Request) -> Response:
        require_key(request)
        body = await read_json_body(request)
        upload = self._setup.state.find_upload("signed_id", str(body.get("signed_id")))
        if upload is None or upload.state == "prepared":
            raise ErrorReply(404, {"error": "Not found"})
        self._setup.state.set_upload_state(upload, "confirmed")
        return JSONResponse(self._stored(upload))

    async def register(self, request: Request) -> Response:
        """Take a file as base64, or a URL, which stands for the clip that comes with the sandbox."""
        require_key(request)
        body = await read_json_body(request, LARGEST_FILE_BYTES)
        source = cast("JsonObject", body.get("source") if isinstance(body.get("source"), dict) else {})
        name = str(body.get("file_name") or "clip.mp4")
        match source.get("type"):
            case "base64":
                content = decode_base64(str(source.get("data")), self._setup.variant.validation_code)
            case "url":
                content = bundled_clip().read_bytes()
            case _:
                raise ErrorReply(self._setup.variant.validation_code, {"error": "source is required"})
        with self._reserve_space(len(content)):
            return JSONResponse(self._stored(self._setup.state.store(name, content)))

    @contextmanager
    def _reserve_space(self, size: int) -> Generator[None]:
        """Reserve room for a file inside, deleting expired ones if need be; raise `ErrorReply` if there is none."""
        if not self._setup.state.make_room(self._reserved_bytes + size):
            raise ErrorReply(413, {"error": f"The sandbox keeps {MAX_STORED_BYTES} bytes at most"})
        self._reserved_bytes += size
        try:
            yield
        finally:
            self._reserved_bytes -= size

    def _stored(self, upload: Upload) -> JsonObject:
        return {
            "file_name": upload.name,
            "url": f"{self._setup.storage_url}/files/{upload.token}/clip.mp4",
            "size_bytes": upload.size,
            "mime_type": "video/mp4",
            "created_at": timestamp(upload.created_at),
            "expires_at": timestamp(upload.created_at + UPLOAD_LIFETIME_SECONDS),
        }

    async def file(self, request: Request) -> Response:
        upload = self._setup.state.find_upload("token", request.path_params["token"])
        if upload is None or not upload.is_available(self._setup.now()):
            raise ErrorReply(404, {"error": "Not found"})
        return FileResponse(self._setup.state.path(upload), media_type="video/mp4")


@contextmanager
def remove_on_error(path: Path) -> Generator[None]:
    """Delete the file if what is done inside fails."""
    with ExitStack() as unless_whole:
        unless_whole.callback(path.unlink, missing_ok=True)
        yield
        unless_whole.pop_all()


async def write(request: Request, path: Path, most: int) -> tuple[int, str]:
    """Write a body of at most `most` bytes to a file; return its size, and its MD5 as base64."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:

        def keep(piece: bytes) -> None:
            file.write(piece)
            digest.update(piece)

        await read_body(request, most, keep)
        size = file.tell()
    return size, base64.b64encode(digest.digest()).decode()


def decode_base64(data: str, refusal_code: int) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise ErrorReply(refusal_code, {"error": "source.data is not base64"}) from None
