"""What a caller may name as a source, and what it means. Nothing is fetched and no name is resolved here."""

import json
import os
import stat
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path, PurePath, PureWindowsPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import httpx

from luma_mcp.core.addresses import MAX_URL_LENGTH, is_public_host
from luma_mcp.core.errors import InvalidRequest, SourceNotAllowed, SourceNotFound
from luma_mcp.core.paths import hidden_parts, is_inside, real_path, try_resolve
from luma_mcp.core.uris import TASK_PREFIX, clip_digest_of, task_id_of, upload_id_of
from luma_mcp.media.similar_names import find_similar_names

NO_FILES_HINT = "Give an http(s) URL that anyone on the internet can open, or luma://tasks/<task_id>."
FILE_URI = "file:///C:/Users/me/clip.mp4" if sys.platform == "win32" else "file:///home/me/clip.mp4"
WHICH = "Ask the user which of them is meant; repeat the call with its path (here as JSON writes it)."
MAY_NOT_READ = (
    "Close programs that still write the file, and let this one read it (on macOS, for the host, in System Settings,"
    " Privacy & Security, Files and Folders); or copy it into another allowed folder."
)
FORMS = "an http(s) URL, a file:// URI, an absolute or ~ path, or luma://tasks/<task_id>"


class PublicUrl(NamedTuple):
    """A clip that RunAPI fetches by itself."""

    url: str


class LocalFile(NamedTuple):
    """A clip on this machine, which is uploaded first."""

    path: Path


class TaskOutput(NamedTuple):
    """The output of an earlier task."""

    task_id: str


class AttachedClip(NamedTuple):
    """A clip that a host handed over with a call, by its content; it is nowhere but at RunAPI afterwards."""

    digest: str


class UploadedClip(NamedTuple):
    """A clip that a caller elsewhere sends, or has sent, by an upload ticket; it lies at RunAPI alone."""

    upload_id: str


Source = PublicUrl | LocalFile | TaskOutput | AttachedClip | UploadedClip


class PathFault(StrEnum):
    """Why no file can be read at a path, as the beginning of a sentence that the path ends."""

    MISSING = "there is no file"
    IRREGULAR = "no regular file lies at"
    HIDDEN = "the system does not let this program look at"


def parse_source(value: str, argument: str = "source_video_url") -> Source:
    """Understand a source; raise `InvalidRequest` or `SourceNotAllowed` for one that cannot be used."""
    scheme = value.partition(":")[0].lower()
    if os.path.isabs(path := os.path.expanduser(value)) and "\0" not in value:
        return LocalFile(Path(path))  # people's files may be called anything
    if not value or any((c.isspace() and c != " ") or not c.isprintable() for c in value):
        raise InvalidRequest(f"{argument} must be {FORMS}.")
    if value.lower().startswith(TASK_PREFIX):
        return TaskOutput(task_id_of(value) or value[len(TASK_PREFIX) :])
    if digest := clip_digest_of(value):
        return AttachedClip(digest)
    if upload_id := upload_id_of(value):
        return UploadedClip(upload_id)
    if scheme in ("http", "https"):
        return PublicUrl(check_public_url(value, argument))
    if scheme == "file":
        return LocalFile(file_uri_path(value, argument))
    raise InvalidRequest(f"{argument} {value[:80]!r} is none of these: {FORMS}.")


def file_uri_path(uri: str, argument: str) -> Path:
    """Give the path in a `file://` URI of this machine; raise `InvalidRequest`."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidRequest(f"{argument} is not a well-formed URI.") from error
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path or "\0" in path:
        raise InvalidRequest(f"{argument}: a file:// URI must name a file on this machine, as in {FILE_URI}.")
    return Path(path[1:] if PureWindowsPath(path[1:]).drive and sys.platform == "win32" else path)


def check_public_url(url: str, argument: str) -> str:
    """Give the URL if it is well formed and its host, as far as the name tells, is public.

    Raises `InvalidRequest` or `SourceNotAllowed`.
    """
    try:
        parsed = httpx.URL(url)
        host = parsed.host
    except (httpx.InvalidURL, ValueError) as error:  # the host's encoded form is read only when asked for
        raise InvalidRequest(f"{argument} is not a well-formed URL.") from error
    if len(url) > MAX_URL_LENGTH or " " in url or not host or not 0 < (parsed.port or 443) < 65536:
        raise InvalidRequest(f"{argument} is not a well-formed URL of at most {MAX_URL_LENGTH} characters.")
    if parsed.scheme not in ("http", "https"):
        raise InvalidRequest(f"{argument} must be an http(s) URL.")
    if parsed.userinfo:
        raise SourceNotAllowed(f"{argument} must not contain a user name or password.")
    if not is_public_host(host):
        raise SourceNotAllowed(f"{argument}: {host} is not on the public internet, so RunAPI cannot reach it.")
    return url


def resolve_allowed_file(
    path: Path, roots: Sequence[Path], argument: str = "source_video_url", *, unnamed: Sequence[Path] = ()
) -> Path:
    """Give the real path of a file inside one of the allowed folders, links resolved.

    Folders that are allowed by default (`unnamed`) give no hidden files. If there is no file of that name, one whose
    name differs only in how it is written is meant. Raises `SourceNotAllowed` or `SourceNotFound`.
    """
    if not roots:
        raise SourceNotAllowed(f"{argument}: this server reads no files of its own machine.", hint=NO_FILES_HINT)
    try:
        return file_inside(path, roots, argument, unnamed)
    except (SourceNotAllowed, SourceNotFound):
        if is_on_other_machine(path, roots) or fault_at(path) is not PathFault.MISSING:
            raise
        alike = dict.fromkeys(
            filter(None, (find_readable_file(found, roots, unnamed) for found in find_similar_names(path, roots)))
        )
        if not alike:
            raise
        return pick_only_match(path, list(alike), argument)


def file_inside(path: Path, roots: Sequence[Path], argument: str, unnamed: Sequence[Path]) -> Path:
    """Give the real path of a file of exactly this name inside a folder; errors do not reveal where links lead."""
    elsewhere = is_on_other_machine(path, roots)
    real = None if elsewhere else try_resolve(path)
    if elsewhere or (real and not any(is_visible_in(real, root, hidden=root not in unnamed) for root in roots)):
        listed = ", ".join(str(root) for root in roots)
        raise SourceNotAllowed(
            f"{argument}: {path} is outside the folders that this server may read ({listed}).",
            hint="Have the file moved into one of these folders, or its folder added to LUMA_MCP_MEDIA_ROOTS.",
        )
    fault = fault_at(real) if real else PathFault.MISSING
    if fault or real is None:
        raise SourceNotFound(f"{argument}: {fault} {path}.", hint=MAY_NOT_READ if fault is PathFault.HIDDEN else "")
    return real


def find_readable_file(path: Path, roots: Sequence[Path], unnamed: Sequence[Path]) -> Path | None:
    try:
        return file_inside(path, roots, "", unnamed)
    except (SourceNotAllowed, SourceNotFound):
        return None


def pick_only_match(path: Path, alike: Sequence[Path], argument: str) -> Path:
    """Give the only path; raise `SourceNotFound`, which lists them, if there are several."""
    if len(alike) == 1:
        return alike[0]
    listed = ", ".join(json.dumps(str(found)) for found in alike)  # in a form that shows how they differ
    raise SourceNotFound(
        f"{argument}: there is no file {path}, but several are called almost so: {listed}.", hint=WHICH
    )


def resolve_typed_file(path: Path) -> Path:
    """Give the real path of a file, in whatever folder, that a person typed on the command line.

    Raises `SourceNotFound` if several names are meant.
    """
    whole = Path(os.path.abspath(path))
    if os.path.lexists(path) or not (alike := find_similar_names(whole, [Path(whole.anchor)])):
        return real_path(path)
    return pick_only_match(path, list(dict.fromkeys(map(real_path, alike))), "SOURCE")


def is_on_other_machine(path: PurePath, roots: Sequence[PurePath]) -> bool:
    """Tell whether a path of Windows names another machine or a device that no allowed folder is on.

    It must not even be looked at: Windows would show the user's credentials to that machine.
    """
    return path.drive.startswith("\\\\") and path.drive.lower() not in {root.drive.lower() for root in roots}


def is_visible_in(path: Path, root: Path, *, hidden: bool) -> bool:
    """Tell whether a path without links lies in a folder, and hidden only where that is allowed (`hidden`)."""
    folder = try_resolve(root)
    return folder is not None and is_inside(path, folder) and (hidden or not hidden_parts(path, folder))


def fault_at(path: Path) -> PathFault | None:
    try:
        return None if stat.S_ISREG(os.stat(path).st_mode) else PathFault.IRREGULAR
    except PermissionError:
        return PathFault.HIDDEN
    except (OSError, ValueError):
        return PathFault.MISSING
