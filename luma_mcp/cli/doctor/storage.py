"""What the doctor finds on the disk: the ledger, and the folders for videos."""

import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from luma_mcp.cli.doctor.report import Finding, note, ok, problem
from luma_mcp.core.errors import LedgerUnusable
from luma_mcp.core.settings import Settings
from luma_mcp.core.small_files import is_owned_by_other
from luma_mcp.ledger.database import count_tasks
from luma_mcp.ledger.errors import LOCAL_HINT, OWN_HINT, hint_for_error
from luma_mcp.ledger.files import (
    describe_foreign_access,
    ledger_path,
    list_ledger_files,
    network_disk,
    refuse_unsafe_file,
)
from luma_mcp.media.files import MIN_FREE_BYTES, megabytes, probe_folder

OTHER_DATA = LedgerUnusable.hint
DATABASE_FIX = "See whether it is up, and whether the address, user and password in LUMA_MCP_DATABASE_URL are right."
RESCUE = "If it is damaged, the next call rescues what can be read."
UNDONE = "Nothing is to be done: the next call takes back what was not complete."
OTHER_OUTPUT = "Make it writable for this user, or name another folder with LUMA_MCP_OUTPUT_DIR."
NAME_OTHERS = "If you keep clips elsewhere, name the folders with LUMA_MCP_MEDIA_ROOTS."
ALLOW = "On macOS allow it in System Settings, Privacy & Security, Files and Folders; else make it readable."


def check_ledger(settings: Settings) -> list[Finding]:
    """Check the ledger without changing it: whether it is whole, fits this version, and what is in it."""
    if settings.database_url:
        writable = check_folder_writable("data folder", settings.tasks_dir, OTHER_DATA)
        return [writable, check_database(settings.database_url, settings.database_schema)]
    place = ledger_path(settings)
    path, folder = place.path, place.path.parent
    found = [
        check_folder_writable("data folder", folder, OTHER_DATA),
        *check_ledger_folder(path, named=place.is_configured),
        check_ledger_file(path),
    ]
    damaged = sorted(folder.glob(f"{path.name}.damaged-*")) if os.path.exists(folder) else []
    if damaged:
        fix = "Look at your RunAPI account for tasks that are missing here; then the file can go."
        found.append(note("ledger", f"An earlier, damaged one is kept as {damaged[-1]}.", fix))
    return found


def check_database(url: SecretStr, schema: str) -> Finding:
    """Check the database that holds the tasks, without changing it."""
    from luma_mcp.ledger.postgres import count_tasks_in, describe_database  # noqa: PLC0415 - an extra

    try:
        counted = count_tasks_in(url, schema)
    except LedgerUnusable as error:
        return problem("ledger", error.message, DATABASE_FIX, error.code)
    found = describe_counts(counted) if counted else "it begins with the first task"
    return ok("ledger", f"{describe_database(url)} answers: {found}")


def describe_counts(counted: tuple[int, int, int]) -> str:
    tasks, running, unsaved = counted
    return f"{tasks} tasks, {running} of them unfinished, {unsaved} finished but not saved"


def check_ledger_folder(path: Path, *, named: bool) -> list[Finding]:
    """Find who else could write the ledger, and whether its disk is one that cannot be shared."""
    found: list[Finding] = []
    if kind := network_disk(path.parent):
        what = f"{path.parent} is on a network disk or shared folder ({kind}), where a ledger can be damaged"
        found.append(note("data folder's disk", what, LOCAL_HINT))
    if os.path.exists(path.parent) and (fault := describe_foreign_access(path)):
        foreign = is_owned_by_other(os.stat(path.parent)) and not named
        kept = "" if named else "; the next start takes that away if it can"
        found.append(
            problem("data folder's owner", f"{fault}.", OWN_HINT, "output_not_writable")
            if foreign
            else note("data folder's owner", f"{fault}{kept}", OWN_HINT)
        )
    return found


def check_ledger_file(path: Path) -> Finding:
    try:
        for file in list_ledger_files(path):
            with suppress(FileNotFoundError):  # a journal lies there only while somebody writes
                refuse_unsafe_file(file)
        found = count_tasks(path)
        if found is None:
            return ok("ledger", f"{path} begins with the first task")
        return ok("ledger", f"{path} is sound: {describe_counts(found)}")
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) == sqlite3.SQLITE_READONLY_ROLLBACK:
            return note("ledger", f"{path} was being written when a server was killed.", UNDONE)
        said = error.strerror if isinstance(error, OSError) else error
        fix = hint_for_error(error, path) or (OTHER_DATA if isinstance(error, OSError) else RESCUE)
        return problem("ledger", f"{path} cannot be used: {said}.", fix, "output_not_writable")


def check_output_folder(settings: Settings) -> list[Finding]:
    if not settings.saves:
        return [ok("output folder", "not used by itself: finished videos are given as links")]
    return [check_folder_writable("output folder", settings.output_dir, OTHER_OUTPUT)]


def check_folder_writable(check: str, folder: Path, fix: str) -> Finding:
    """Check whether a folder, or the one that it will be made in, takes a file, and has room."""
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    try:
        with suppress(FileNotFoundError):
            folder.stat()  # whose name may be too long, or lie below a file
        probe_folder(there)
        free = shutil.disk_usage(there).free
    except OSError as error:
        return problem(check, f"{there} cannot be written: {error.strerror}.", fix, "output_not_writable")
    if free < MIN_FREE_BYTES:
        more = f"Free some space on its disk. {fix}"
        return problem(check, f"{there} has only {megabytes(free)} left.", more, "output_not_writable")
    made = "" if there == folder else " is made when it is needed; its place"
    return ok(check, f"{folder}{made} can be written, {megabytes(free)} are free")


def check_source_folders(settings: Settings) -> list[Finding]:
    if not settings.readable_folders:
        return [note("source folders", "none: clips can only be given as URLs", NAME_OTHERS)]
    own = {settings.output_dir}  # looked at already
    return [check_folder_readable(folder) for folder in settings.readable_folders if folder not in own]


def check_folder_readable(folder: Path) -> Finding:
    try:
        with os.scandir(folder):
            return ok("source folder", f"{folder} can be read")
    except FileNotFoundError:
        return note("source folder", f"{folder} is not there, so no clip can be read from it", NAME_OTHERS)
    except OSError as error:
        return problem("source folder", f"{folder} cannot be read: {error.strerror}.", ALLOW, "source_not_allowed")
