"""All statements of the ledger with realistic values: noted while it does everything that it can."""

import ast
import re
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio

import luma_mcp
from luma_mcp.core.errors import Conflict, LedgerDamaged, LimitReached
from luma_mcp.core.models import Limits, Status, UploadTicket, new_key
from luma_mcp.ledger.database import count_tasks, count_tasks_of
from luma_mcp.ledger.errors import LeaseLost
from luma_mcp.ledger.ledger import Ledger
from tests.support.ledgers import add, damage_index
from tests.support.old_sqlite import Statement, run
from tests.support.rig import API_URL, EPOCH
from tests.support.tasks import task

SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|PRAGMA|BEGIN|SAVEPOINT|RELEASE|ROLLBACK|CREATE|DROP|ALTER|WITH)\b.*", re.DOTALL
)
WHERE_SQL_IS = ("ledger/*.py",)


class Recording(sqlite3.Connection):
    """A connection that notes what it is asked."""

    noted: list[Statement]

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        self.note("execute", sql, values)
        return super().execute(sql, values)

    def executemany(self, sql: str, values: Iterable[Any], /) -> sqlite3.Cursor:
        listed = list(values)
        self.note("executemany", sql, listed)
        return super().executemany(sql, listed)

    def executescript(self, sql: str, /) -> sqlite3.Cursor:
        self.note("executescript", sql)
        return super().executescript(sql)

    def note(self, way: str, sql: str, *values: Any) -> None:
        if sql not in [each["sql"] for each in self.noted]:
            self.noted.append({"way": way, "sql": sql, "values": list(values)})


def recorded() -> list[Statement]:
    """Give each statement once, with values and with how many rows it gives on this SQLite, in an order that works.

    Raises `AssertionError` if the code holds a statement that was not run.
    """
    with tempfile.TemporaryDirectory() as folder, recording() as noted:
        anyio.run(everything, Path(folder).resolve() / "data" / "tasks.sqlite3")
    missing = [found for found in in_code() if not any(found.fullmatch(each["sql"]) for each in noted)]
    assert not missing, missing
    return [each | {"rows": rows} for each, (_, rows) in zip(noted, run(sqlite3, noted), strict=True)]


@contextmanager
def recording() -> Generator[list[Statement]]:
    """Note each statement that is run meanwhile on a connection that is opened meanwhile, once, with its values."""
    noted: list[Statement] = []
    connect = sqlite3.connect

    def connected(*arguments: Any, **named: Any) -> sqlite3.Connection:
        db = connect(*arguments, **named, factory=Recording)
        assert isinstance(db, Recording)
        db.noted = noted
        return db

    with patch.object(sqlite3, "connect", connected):
        yield noted


async def plans(path: Path, ask: Callable[[Ledger], Awaitable[object]]) -> list[str]:
    """Say how SQLite finds what a ledger is asked for in its tasks, in the order in which it is asked."""
    with recording() as noted, closing(Ledger.in_file(path)) as ledger:
        await ask(ledger)
    asked = [each for each in noted if each["sql"].lstrip().startswith("SELECT") and "FROM tasks" in each["sql"]]
    with closing(sqlite3.connect(path)) as db:
        return [row[3] for each in asked for row in db.execute(f"EXPLAIN QUERY PLAN {each['sql']}", *each["values"])]


async def everything(path: Path) -> None:
    with closing(Ledger.in_file(path)) as ledger:
        one, _ = await add(ledger, replace(task(1), wants_file=True), "same")
        await ledger.join_or_add(task(2), "same", Limits(5, 5))
        await ledger.join_or_add(task(3), "other", Limits(5, 5, 10_000_000))
        await ledger.find_by_request("local", "same", 1)
        await ledger.unused_take(one.key)
        await ledger.set_wanted_at(one.key, EPOCH)
        sent = await ledger.record_sending(replace(one, attempts=1, sent_at=EPOCH), Limits(5, 5), EPOCH)
        doubted = await ledger.record(sent.unconfirmed(Conflict("held").failure(), EPOCH))
        await ledger.find_unattended(API_URL, "", EPOCH + 5, 100)
        await ledger.resubmit(doubted.key, EPOCH)
        done = replace(sent, status=Status.COMPLETED, task_id="id", finished_at=EPOCH + 60, video_urls=("https://x/y",))
        await ledger.record_accepted(done)
        await ledger.record_saved(done)
        await ledger.request_save(done, "fog.mp4", EPOCH)
        await ledger.clear_path_elsewhere("/v/fog.mp4", done.key)
        await ledger.clear_wants_file(done.key)
        await ledger.set_wants_file(done.key)
        await ledger.update_video_urls(done)
        await ledger.check_writable()
        with suppress(LimitReached):
            await ledger.join_or_add(task(5), "one more", Limits(0, 0))
        await lease_and_release(ledger, done.key)
        await ledger.get(done.key)
        await ledger.find("local", "id")
        await ledger.count_unended()
        await ledger.durations(done.request.model, API_URL)
        await ledger.page("local", "", 10, "")
        await ledger.page("local", "completed", 10, "")
        await ledger.search_tasks("local", "TAKE id", list(Status), 10)
        count_tasks_of(path, "local")
        await ledger.changes(None)
        await ledger.spending("local", API_URL, EPOCH)
        await ledger.spent_since("local", API_URL, EPOCH)
        await remember_and_forget_upload(ledger)
        await issue_and_use_ticket(ledger)
        await remove_while_in_use(ledger, path)
        await add(ledger, replace(done, key=new_key(), task_id="long", source_url="x" * 30_000))
        await ledger.forget(EPOCH + 1e6, 1)
    count_tasks(path)
    await rescue(path)


async def lease_and_release(ledger: Ledger, key: str) -> None:
    await ledger.say_alive(EPOCH + 15)
    await ledger.free_tasks_of_silent_servers(EPOCH + 100)
    await ledger.count_servers(EPOCH + 100)
    await ledger.claim([key], EPOCH + 100, EPOCH + 115)
    await ledger.get_held(key)
    await ledger.leased()
    await ledger.release_all()
    await ledger.claim([key], EPOCH + 100, EPOCH + 115)
    await ledger.release(key)
    with suppress(LeaseLost):
        await ledger.record(await ledger.get(key))


async def issue_and_use_ticket(ledger: Ledger) -> None:
    await ledger.tickets.add(UploadTicket("A" * 16, "ann", "open", EPOCH + 3600), EPOCH)
    await ledger.tickets.claim("A" * 16, EPOCH)
    await ledger.tickets.release("A" * 16)
    await ledger.tickets.claim("A" * 16, EPOCH)
    await ledger.tickets.use("A" * 16, f"md5:{'A' * 22}==:1", 5.2)
    await ledger.tickets.find("A" * 16)
    await ledger.tickets.secret()


async def remember_and_forget_upload(ledger: Ledger) -> None:
    await ledger.uploads.remember((API_URL, ""), "md5:x:1", "https://x/y", EPOCH + 60, EPOCH)
    await ledger.uploads.find_url((API_URL, ""), "md5:x:1", EPOCH)
    await ledger.uploads.forget("https://x/y", EPOCH)


async def remove_while_in_use(ledger: Ledger, path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()
    await ledger.check_writable()


async def rescue(path: Path) -> None:
    damage_index(path)
    with closing(Ledger.in_file(path)) as ledger, suppress(LedgerDamaged):
        await ledger.page("local", "", 10, "")


def in_code() -> Iterator[re.Pattern[str]]:
    """Find what looks like a statement in the code; what is put into one later may be anything."""
    for pattern in WHERE_SQL_IS:
        for module in Path(luma_mcp.__path__[0]).glob(pattern):
            if module.name.startswith("postgres"):
                continue  # its own words are another engine's
            tree = ast.parse(module.read_text(encoding="utf-8"))
            inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            for node in ast.walk(tree):
                text = text_of(node) if id(node) not in inside else ""
                if SQL.fullmatch(text):
                    yield from (re.compile(each, re.DOTALL) for each in patterns(text))


def text_of(node: ast.AST) -> str:
    """Give the text of a string, with a hole for each value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def patterns(text: str) -> Iterator[str]:
    """Take a script apart, and let its holes match anything."""
    begun = ""
    for part in filter(str.strip, text.split(";")):
        begun += part if part == text else f"{part};"
        if sqlite3.complete_statement(f"{begun};"):
            yield re.sub(r"\\\{\w*\\\}", ".*", re.escape(begun))
            begun = ""


if __name__ == "__main__":
    sys.exit("python -m tests.support.old_sqlite list")
