"""What a ledger that somebody else wrote could make this server do: spend, read, write, call, crash. It does not."""

import json
import shutil
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp.core.errors import InvalidRequest, LedgerUnusable, SourceNotFound
from luma_mcp.core.models import DAY_SECONDS, Status, Task
from luma_mcp.sandbox.requests import bundled_clip
from luma_mcp.sandbox.transport import open_asgi_transport
from tests.support.forged_ledger import KEY_ID, THEIRS, finished, ledger_file, plant
from tests.support.rig import EPOCH, SOURCE, Rig, VirtualClock, open_rig, sandbox_for, structured

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
LONG_SECONDS = 1200.0  # longer than anything that was asked for counts
VIDEO = bundled_clip().read_bytes()


class Web(httpx.AsyncBaseTransport):
    """RunAPI as it is, and a video at every other address; remembers who was asked."""

    def __init__(self, runapi: httpx.AsyncBaseTransport) -> None:
        self._runapi = runapi
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.host.endswith("evil.example"):
            return await self._runapi.handle_async_request(request)
        self.asked.append(str(request.url))
        return httpx.Response(200, content=VIDEO, request=request)


@asynccontextmanager
async def opened(home: Path, **settings: Any) -> AsyncGenerator[tuple[Rig, Web]]:
    """Open the application on what was planted, as a host does whose first request is an innocent one."""
    clock = VirtualClock()
    sandbox = sandbox_for(home, clock=clock)
    async with (
        open_asgi_transport(sandbox) as runapi,
        open_rig(home, clock=clock, sandbox=sandbox, network=(web := Web(runapi)), **settings) as rig,
    ):
        rig.app.start_tracker()
        yield rig, web


async def listed(rig: Rig) -> list[Task]:
    return (await rig.app.list_tasks("local", "", 100, ""))[0]


def spent(rig: Rig) -> int:
    """Count what RunAPI was asked for beside questions: submissions and uploads."""
    return sum(seen.method != "GET" for seen in rig.sandbox.recorded_requests)


INTENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with another key's name": {"key_id": "0123456789abcdef"},
    "never old": {"created_at": 4e9, "updated_at": 4e9},
    "sent at zero": {"created_at": 4e9, "sent_at": 0.0},
    "sent in the future": {"sent_at": 4e9},
    "sent before": {"attempts": 1, "sent_at": EPOCH},
    "sent less than never": {"attempts": -1},
    "in doubt": {"status": "unconfirmed", "attempts": 1, "sent_at": EPOCH},
    "running without an id": {"status": "processing"},
    "finished without an id": {"status": "completed", "video_urls": "[]", "finished_at": EPOCH},
    "a private clip": {"source": "~/Videos/diary.mp4", "callback_url": "https://evil.example/hook"},
    "of another caller": {"caller": "somebody"},
}


@pytest.mark.parametrize("intent", INTENTS)
async def test_an_intent_that_no_server_with_this_key_wrote_is_never_sent(home: Path, intent: str) -> None:
    (home / "Videos").mkdir()
    shutil.copy(bundled_clip(), home / "Videos" / "diary.mp4")
    for _ in range(5):
        plant(home / "data", **INTENTS[intent])
    async with opened(home, media_roots=(home / "Videos",)) as (rig, web):
        await anyio.sleep(LONG_SECONDS)
        assert (spent(rig), web.asked) == (0, [])


async def test_an_intent_of_another_key_ends_uncharged_when_it_is_asked_for(home: Path) -> None:
    key, old = plant(home / "data", created_at=EPOCH), plant(home / "data", created_at=EPOCH - 1000)
    async with opened(home) as (rig, _):
        for each in (key, old):
            await rig.app.ensure_followed(each)
        await anyio.sleep(5)
        assert (await rig.parts.ledger.get(key)).status is Status.SUBMITTING, "its own server may still come"
        ended = await rig.parts.ledger.get(old)
    assert (ended.status, ended.error and ended.error.charged) == (Status.FAILED, "no")
    assert ended.error
    assert "could not be sent" in ended.error.message


@pytest.mark.parametrize(
    "time",
    [
        {"created_at": 4e9},
        {"created_at": EPOCH + 3600},
        {"wanted_at": 4e9},
        {"sent_at": EPOCH + 3600, "wanted_at": 0.0},
        {"created_at": 0.0},
    ],
)
async def test_even_with_the_keys_name_nothing_is_sent_that_was_not_asked_for_just_now(
    home: Path, time: dict[str, float]
) -> None:
    plant(home / "data", key_id=KEY_ID, **time)
    plant(home / "data", key_id=KEY_ID, status="unconfirmed", attempts=1, **time)
    async with opened(home) as (rig, _):
        await anyio.sleep(LONG_SECONDS)
        assert spent(rig) == 0


@pytest.mark.parametrize(("limit", "sent"), [({"daily_limit": 2}, 2), ({"max_active": 1}, 1), ({"daily_budget": 1}, 2)])
async def test_the_users_limits_are_asked_again_before_an_intent_is_sent(
    home: Path, limit: dict[str, int], sent: int
) -> None:
    for number in range(6):
        plant(home / "data", key_id=KEY_ID, prompt=f"take {number}")
    async with opened(home, **limit) as (rig, _):
        await anyio.sleep(20)
        refused = [task for task in await listed(rig) if task.status is Status.FAILED]
        assert rig.creates() <= sent
        assert {(task.error.code, task.error.charged) for task in refused if task.error} == {("limit_reached", "no")}


@pytest.mark.parametrize("limit", [{"daily_limit": 2}, {"max_active": 1}, {"daily_budget": 1}])
async def test_an_intent_that_says_it_was_sent_passes_no_limit_either(home: Path, limit: dict[str, int]) -> None:
    for number in range(6):
        plant(home / "data", key_id=KEY_ID, prompt=f"take {number}", attempts=1, sent_at=EPOCH, charged="unknown")
    async with opened(home, **limit) as (rig, _):
        await anyio.sleep(20)
        assert rig.creates() <= (1 if "max_active" in limit else 2)
        assert {task.error.charged for task in await listed(rig) if task.error} <= {"unknown"}


@pytest.mark.parametrize("status", ["submitting", "unconfirmed"])
async def test_a_server_that_never_pays_sends_nothing_that_lies_in_its_ledger(home: Path, status: str) -> None:
    doubt = {"attempts": 1, "sent_at": EPOCH, "charged": "unknown"} if status == "unconfirmed" else {}
    for number in range(3):
        plant(home / "data", key_id=KEY_ID, prompt=f"take {number}", status=status, **doubt)
    async with opened(home, daily_limit=0) as (rig, _):
        await anyio.sleep(60)
        assert spent(rig) == 0
        assert [task.status for task in await listed(rig)] == [Status(status)] * 3, "others may still send them"
        await anyio.sleep(LONG_SECONDS)
        assert spent(rig) == 0
        assert {task.charged for task in await listed(rig)} == {"unknown" if doubt else "no"}


@pytest.mark.parametrize(
    "request_",
    [
        {"source": "/etc/passwd"},
        {"source": "file:///etc/passwd"},
        {"source": "http://127.0.0.1/clip.mp4"},
        {"source": "gopher://example.com"},
        {"callback_url": "http://169.254.169.254/latest"},
        {"callback_url": "javascript:alert(1)"},
        {"model": "another-model"},
        {"prompt": " "},
        {"prompt": "x" * 30_000},
        {"origin": "https://evil.example"},
    ],
)
async def test_what_a_new_request_may_not_ask_a_stored_one_may_not_ask_either(
    home: Path, request_: dict[str, str]
) -> None:
    plant(home / "data", key_id=KEY_ID, **request_)
    async with opened(home) as (rig, web):
        await anyio.sleep(LONG_SECONDS)
        assert (spent(rig), web.asked) == (0, [])
        assert [task.status for task in await listed(rig)] in ([Status.FAILED], [])


@pytest.mark.parametrize(
    "callback", ["https://evil.example/callbacks/x", "https://mcp.example.com.evil.example/callbacks/x"]
)
async def test_runapi_is_told_to_call_no_address_but_this_servers_own(home: Path, callback: str) -> None:
    plant(home / "data", key_id=KEY_ID, callback=callback)
    own = "https://mcp.example.com/callbacks/0123456789"
    plant(home / "data", key_id=KEY_ID, callback=own)
    async with opened(home, transport="http", public_url="https://mcp.example.com") as (rig, _):
        await anyio.sleep(30)
        told = sorted(str(made.body.get("callback_url", "")) for made in rig.sandbox.state.generations())
    assert told == ["", own]


@pytest.mark.parametrize(
    "name",
    ["../../.bash_aliases", "/tmp/x.mp4", "..", "x.sh", ".bashrc", "a\0b.mp4", "a\x1b[2J.mp4", "CON.mp4", "x" * 300],  # noqa: S108 - refused
)
async def test_a_stored_file_name_leads_nowhere_but_into_the_output_folder(home: Path, name: str) -> None:
    plant(home / "data", **finished(key_id=KEY_ID, file_name=name))
    before = {path for path in home.rglob("*") if "out" not in path.parts}
    async with opened(home) as (rig, _):
        await anyio.sleep(60)
        (task,) = await listed(rig)
    (saved,) = (home / "out").iterdir()
    assert (task.video_path, saved.suffix, saved.name.startswith("2026-")) == (str(saved), ".mp4", True)
    assert {path for path in home.rglob("*") if "out" not in path.parts} - before <= {
        home / "runapi",
        *(home / "runapi").rglob("*"),
        *(home / "data").rglob("*"),
    }


async def test_a_key_that_leads_elsewhere_makes_and_removes_nothing_there(home: Path) -> None:
    kept = home / "mine.part"
    kept.touch()
    plant(home / "data", **finished(key_id=KEY_ID, key="/../../mine"))
    async with opened(home) as (rig, web):
        await anyio.sleep(LONG_SECONDS)
        assert await listed(rig) == []
    assert (web.asked, kept.exists()) == ([], True)


async def test_a_finished_task_of_another_key_is_fetched_only_when_somebody_asks_for_it(home: Path) -> None:
    plant(home / "data", **finished())
    async with opened(home) as (rig, web):
        await anyio.sleep(LONG_SECONDS)
        assert web.asked == []
        (task,) = await listed(rig)
        async with rig.client() as client:
            told = structured(await client.call_tool("save_video", {"task_id": task.task_id}))
        assert (web.asked, Path(told["video_path"]).parent) == ([THEIRS], home / "out")


@pytest.mark.parametrize("place", ["outside", "through a link", "relative", "a network path", "no video"])
async def test_a_stored_path_counts_only_inside_the_folders_where_videos_may_be(home: Path, place: str) -> None:
    (home / "secret").mkdir()
    shutil.copy(bundled_clip(), home / "secret" / "film.mp4")
    (home / "out").mkdir()
    (home / "out" / "note.mp4").write_text("no video")
    (home / "out" / "way").symlink_to(home / "secret")
    path = {
        "outside": str(home / "secret" / "film.mp4"),
        "through a link": str(home / "out" / "way" / "film.mp4"),
        "relative": "secret/film.mp4",
        "a network path": "\\\\evil.example\\share\\film.mp4",
        "no video": str(home / "out" / "note.mp4"),
    }[place]
    expired = EPOCH - 8 * DAY_SECONDS
    plant(home / "data", **finished(task_id="planted-id", video_path=path, finished_at=expired, created_at=expired))
    async with opened(home, media_roots=(home / "out",)) as (rig, web), rig.client() as client:
        for name in ("get_task", "save_video"):
            told = structured(
                await client.call_tool(name, {"task_id": "planted-id", **({"filename": "x"} if "save" in name else {})})
            )
            assert "film.mp4" not in json.dumps(told)
        assert [task.video_path for task in await listed(rig)] == [""]
        with pytest.raises(SourceNotFound):
            await rig.submit(source="luma://tasks/planted-id")
        assert (spent(rig), web.asked) == (0, [])
    assert not (home / "out" / "x.mp4").exists()


async def test_a_video_that_lies_where_it_may_is_told_and_continued_from(home: Path) -> None:
    (home / "out").mkdir()
    saved = home / "out" / "film.mp4"
    shutil.copy(bundled_clip(), saved)
    expired = EPOCH - 8 * DAY_SECONDS
    plant(home / "data", **finished(task_id="own-id", video_path=str(saved), finished_at=expired, created_at=expired))
    async with opened(home) as (rig, _):
        assert [task.video_path for task in await listed(rig)] == [str(saved)]
        assert (await rig.submit(source="luma://tasks/own-id")).status is Status.COMPLETED


DEEP = "[" * 100_000
FAILURE = {"code": "network", "message": "m", "retry_safe": True, "hint": "h"}
NONSENSE: list[tuple[str, Any]] = [
    *(("created_at", value) for value in (9e999, -9e999, -1.0, 1e300, "soon", b"now", None)),
    *(("finished_at", value) for value in (9e999, 1e15, "x")),
    *(("updated_at", value) for value in (9e999, -1.0)),
    *(("cost_usd", value) for value in (9e999, -1e308, "free")),
    *(("source_seconds", value) for value in (9e999, -1.0)),
    *(("source_bytes", value) for value in (1 << 62, -1, 1.5e300)),
    *(("attempts", value) for value in (-1, 1 << 62, "many")),
    *(("status", value) for value in ("paid", "", b"completed", None)),
    *(("video_urls", value) for value in ("", "{}", "null", DEEP, b"[]", '"https://x/y"')),
    *(("error", value) for value in ("", "[]", "{}", DEEP, json.dumps(FAILURE | {"more": 1}))),
    *(
        ("error", json.dumps(FAILURE | change))
        for change in ({"code": "x"}, {"charged": "maybe"}, {"retry_safe": 1}, {"message": 1})
    ),
    *(("task_id", value) for value in ("a b", "a/b", "x" * 300, "a\x1b[2J", b"id")),
    *(("key", value) for value in ("", "../x", "not-a-uuid", "\x1b]0;x\x07", b"k" * 16)),
    *(("caller", value) for value in (b"local",)),
    *(("origin", value) for value in ("a\nb", b"x")),
    *(("prompt", value) for value in (None, b"\xff", "x" * 50_000)),
    *(("watermark", value) for value in (2, "yes", None)),
]


@pytest.mark.parametrize(("column", "value"), NONSENSE)
async def test_a_row_that_makes_no_sense_is_passed_over_and_hides_no_other(home: Path, column: str, value: Any) -> None:
    good = plant(home / "data", **finished(task_id="good-id", key_id=KEY_ID))
    unique = column in ("key", "task_id")
    for number in range(1 if unique else 3):
        plant(home / "data", **finished(key_id=KEY_ID, task_id=f"bad-{number}") | {column: value})
        if not unique:
            plant(home / "data", **{"key_id": KEY_ID, column: value})
    async with opened(home) as (rig, web), rig.client() as client:
        await anyio.sleep(60)
        seen = structured(await client.call_tool("list_tasks", {"limit": 1}))
        assert [task["task_id"] for task in seen["tasks"]] == ["good-id"]
        assert [task.key for task in await listed(rig)] == [good]
        told = await client.call_tool("get_task", {"task_id": "bad-0"})
        assert told.is_error or structured(told)["task_id"] == "good-id"
        account = structured(await client.call_tool("check_account", {}))
        json.dumps(account, allow_nan=False)
        assert [each.uri for each in (await client.list_resources()).resources][-1] == "luma://tasks/good-id"
        assert rig.creates() == 0
        assert set(web.asked) == {THEIRS}


@pytest.mark.parametrize(
    "urls",
    [
        ["file:///etc/passwd"],
        ["ftp://evil.example/x"],
        ["https://evil.example/\ud83d"],
        ["https://evil.example/\x1b[2J"],
        ["https://evil.example/" + "x" * 10_000],
        [1, None, {}],
    ],
)
async def test_addresses_that_no_answer_of_runapi_would_bring_are_left_out(home: Path, urls: list[Any]) -> None:
    plant(home / "data", **finished(key_id=KEY_ID, video_urls=json.dumps(urls)))
    async with opened(home) as (rig, web), rig.client() as client:
        await anyio.sleep(60)
        (task,) = structured(await client.call_tool("list_tasks", {}))["tasks"]
        assert (task.get("video_urls", []), web.asked) == ([], [])


async def test_many_addresses_are_few(home: Path) -> None:
    plant(home / "data", **finished(video_urls=json.dumps([f"{THEIRS}?{n}" for n in range(20_000)])))
    async with opened(home) as (rig, _):
        (task,) = await listed(rig)
    assert len(task.video_urls) == 100


async def test_what_a_stored_failure_says_directs_no_terminal(home: Path) -> None:
    said = {"message": "\x1b[2J\u202e\ud83d\nwords", "hint": "\x07hint"}
    plant(home / "data", status="failed", task_id="id", error=json.dumps(FAILURE | said))
    async with opened(home) as (rig, _):
        (task,) = await listed(rig)
    assert task.error
    assert task.error.message.isprintable()
    assert task.error.hint.isprintable()
    task.error.message.encode()


async def test_a_row_larger_than_any_of_ours_is_told_and_not_read(home: Path) -> None:
    plant(home / "data", prompt="x" * (8 << 20))
    async with opened(home) as (rig, _):
        with pytest.raises(LedgerUnusable, match="too big"):
            await listed(rig)


@pytest.mark.parametrize(
    "sql", ["DELETE FROM revisions", "UPDATE revisions SET ledger = x'00'", "UPDATE revisions SET last = 'many'"]
)
async def test_a_count_of_changes_that_makes_no_sense_is_told(home: Path, sql: str) -> None:
    with closing(sqlite3.connect(ledger_file(home / "data"))) as db, db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(sql)
    async with opened(home) as (rig, _):
        with pytest.raises(LedgerUnusable):
            await rig.parts.ledger.changes(None)


async def test_a_joined_row_that_makes_no_sense_is_told_and_nothing_is_paid(home: Path) -> None:
    async with opened(home) as (rig, _):
        made = await rig.submit()
    with closing(sqlite3.connect(ledger_file(home / "data"))) as db, db:
        db.execute("UPDATE tasks SET video_urls = '{' WHERE key = ?", (made.key,))
    async with opened(home) as (rig, _):
        with pytest.raises(LedgerUnusable, match=made.key):
            await rig.submit()
        assert rig.task_count() == 1


async def test_a_stored_upload_is_not_used_for_longer_than_runapi_keeps_it(home: Path) -> None:
    clip = home / "out" / "clip.mp4"
    clip.parent.mkdir()
    shutil.copy(bundled_clip(), clip)
    async with opened(home) as (rig, _):
        found = await rig.parts.uploads.inspect_source_file(str(clip), "local")
        assert found
        digest = found.digest
    with closing(sqlite3.connect(ledger_file(home / "data"))) as db, db:
        db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?)", ("https://runapi.ai", KEY_ID, digest, THEIRS, 4e9))
    async with opened(home) as (rig, _):
        await rig.submit(source=str(clip))
        (made,) = rig.sandbox.state.generations()
    assert made.body["source_video_url"] != THEIRS


async def test_a_cost_that_was_made_up_neither_hides_nor_inflates_what_was_spent(home: Path) -> None:
    for cost in (9e999, -1e308, 1e308, "free", b"1"):
        plant(home / "data", **finished(task_id=f"id-{cost!r}", cost_usd=cost))
    async with opened(home) as (rig, _):
        account = await rig.app.check_account("local")
    assert account.spending.total_usd == 2.5


async def test_a_request_made_now_is_sent_beside_all_that_was_planted(home: Path) -> None:
    for intent in INTENTS.values():
        plant(home / "data", **intent)
    async with opened(home) as (rig, _):
        assert (await rig.submit("mine", source=SOURCE)).status is Status.COMPLETED
        assert rig.task_count() == 1
        with pytest.raises(InvalidRequest):
            await rig.app.list_tasks("local", "", 10, "inf_x")
