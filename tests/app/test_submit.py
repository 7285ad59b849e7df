"""What is checked before a request becomes a task (clip, callback, limits), and which task it has already."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp.app.app import Outcome
from luma_mcp.app.progress import Progress
from luma_mcp.app.submit import Charge, Confirm, check_callback
from luma_mcp.core.errors import ConfirmationDeclined, InvalidRequest, LimitReached, LumaError, SourceNotAllowed
from luma_mcp.core.models import Status, VideoRequest
from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.sandbox.faults import Fault
from luma_mcp.sandbox.requests import bundled_clip
from tests.support.mp4_files import film
from tests.support.rig import SOURCE, Rig, open_rig, silent, structured

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
OWN_CLIPS = ("/home/me/clip.mp4", "~/clip.mp4", "file:///home/me/clip.mp4", "luma://tasks/earlier")
HOOK = "https://hooks.example.com/luma"
HOUR = 3600.0


def refusal(url: str, source: str, hosts: tuple[str, ...]) -> type[LumaError] | None:
    """Give the kind of refusal of a callback, if it is one."""
    try:
        check_callback(VideoRequest(prompt="fog", source=source, callback_url=url), hosts)
    except LumaError as error:
        return type(error)
    return None


@pytest.mark.parametrize("source", OWN_CLIPS)
@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        (HOOK, ("hooks.example.com",)),
        (HOOK, ("other.example", "hooks.example.com:443")),
        ("http://HOOKS.Example.com./x", ("hooks.example.com:80",)),
        ("https://hooks.example.com:8443/x", ("hooks.example.com",)),
        ("https://hooks.example.com:8443/x", ("hooks.example.com:8443",)),
        ("https://8.8.8.8/x", ("8.8.8.8",)),
        ("https://[2606:4700::1]/x", ("[2606:4700::1]",)),
        ("https://bücher.example/x", ("xn--bcher-kva.example",)),
    ],
)
def test_a_named_host_may_be_called_for_a_clip_of_the_users_own(source: str, url: str, hosts: tuple[str, ...]) -> None:
    assert refusal(url, source, hosts) is None


@pytest.mark.parametrize("source", OWN_CLIPS)
@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        (HOOK, ()),
        (HOOK, ("example.com",)),
        (HOOK, ("hooks.example.com:8443",)),
        (HOOK, ("evil.hooks.example.com", "hooks.example.com.evil.example")),
        ("https://hooks.example.com.evil.example/x", ("hooks.example.com",)),
        ("https://evil.example/hooks.example.com", ("hooks.example.com",)),
        ("https://evil.example#@hooks.example.com", ("hooks.example.com",)),
        ("https://evil.example?hooks.example.com", ("hooks.example.com",)),
        ("https://me@hooks.example.com/x", ("hooks.example.com",)),
        ("https://hooks.example.com@evil.example/x", ("hooks.example.com",)),
        ("https://134744072/x", ("8.8.8.8",)),
        ("http://127.0.0.1/x", ("127.0.0.1",)),
    ],
)
def test_no_other_host_may_be_called_for_it(source: str, url: str, hosts: tuple[str, ...]) -> None:
    assert refusal(url, source, hosts) is SourceNotAllowed


def test_for_a_public_clip_any_public_address_may_be_called() -> None:
    for hosts in ((), ("other.example",)):
        assert refusal(HOOK, SOURCE, hosts) is None
        assert refusal("http://127.0.0.1/x", SOURCE, hosts) is SourceNotAllowed
        assert refusal("hook", SOURCE, hosts) is InvalidRequest
        assert refusal("", OWN_CLIPS[0], hosts) is None


@pytest.mark.parametrize("kind", ["file", "uri", "result"])
async def test_a_model_cannot_have_a_private_result_sent_to_a_host_that_nobody_named(
    rig: Rig, home: Path, kind: str
) -> None:
    ask = await asking(rig, home, kind)
    before = len(rig.sandbox.recorded_requests)
    async with rig.client() as client:
        refused = await client.call_tool("modify_video", ask | {"callback_url": "https://evil.example/x"})
    error = structured(refused)["error"]
    assert (error["code"], error["charged"]) == ("source_not_allowed", "no")
    assert "LUMA_MCP_CALLBACK_HOSTS" in error["hint"]
    assert len(rig.sandbox.recorded_requests) == before, "nothing was uploaded or sent"


async def test_a_host_that_the_user_named_is_told_to_runapi(home: Path, inline_threads: None) -> None:
    async with open_rig(home, callback_hosts="hooks.example.com") as rig, rig.client() as client:
        ask = await asking(rig, home, "file") | {"callback_url": HOOK}
        assert structured(await client.call_tool("modify_video", ask))["status"] == "completed"
        assert rig.sandbox.state.generations()[-1].body["callback_url"] == HOOK


async def asking(rig: Rig, home: Path, kind: str) -> dict[str, Any]:
    """Ask for a clip of the user's own to be modified."""
    clip = home / "out" / "own.mp4"
    clip.parent.mkdir(exist_ok=True)
    clip.write_bytes(bundled_clip().read_bytes())
    source = {"file": str(clip), "uri": clip.as_uri()}.get(kind)
    if source is None:
        source = f"luma://tasks/{(await rig.submit()).task_id}"
    return {"prompt": "at night", "source_video_url": source}


def test_callback_hosts_are_names_as_in_other_settings() -> None:
    assert load_settings().callback_hosts == ()
    assert load_settings(callback_hosts=" A.example ,b.example:8443").callback_hosts == ("a.example", "b.example:8443")
    for wrong in ("https://a.example", "a.example/x", "*.example"):
        with pytest.raises(BadSetting, match="LUMA_MCP_CALLBACK_HOSTS"):
            load_settings(callback_hosts=wrong)


async def test_limits_refuse_before_money_is_spent(home: Path) -> None:
    async with open_rig(home, max_active=2, daily_limit=3) as rig:
        await rig.submit("one", wait=0)
        await rig.submit("two", wait=0)
        with pytest.raises(LimitReached, match="LUMA_MCP_MAX_ACTIVE"):
            await rig.submit("three")
        await anyio.sleep(60)
        assert (await rig.submit("three")).status is Status.COMPLETED
        with pytest.raises(LimitReached, match="LUMA_MCP_DAILY_LIMIT"):
            await rig.submit("four")
        assert rig.task_count() == 3
        rig.clock.jumped += 24 * HOUR
        assert (await rig.submit("four")).status is Status.COMPLETED


async def test_a_budget_refuses_before_money_is_spent_and_for_each_caller(home: Path) -> None:
    async with open_rig(home, daily_budget=1) as rig:
        await rig.submit("one", wait=0)
        assert (await rig.submit("two")).cost_usd == 0.5
        with pytest.raises(LimitReached, match=r"LUMA_MCP_DAILY_BUDGET allows 1\.00: 0\.00 USD are left"):
            await rig.submit("three")
        assert (await rig.submit("one")).status is Status.COMPLETED, "a repetition needs no money"
        assert (await rig.submit("three", caller="ann")).status is Status.COMPLETED
        assert rig.creates() == 3
        rig.clock.jumped += 24 * HOUR
        assert (await rig.submit("three")).status is Status.COMPLETED


async def test_what_failed_for_free_gives_its_money_back(home: Path) -> None:
    async with open_rig(home, daily_budget="0.50") as rig:
        rig.sandbox.faults.inject(Fault("fail"))
        assert (await rig.submit("one")).charged == "no"
        assert (await rig.submit("two")).charged == "yes"
        with pytest.raises(LimitReached):
            await rig.submit("three")


async def test_however_many_ask_at_once_a_budget_is_not_overspent(home: Path) -> None:
    async with (
        open_rig(home, daily_budget="1.75") as rig,
        open_rig(home, daily_budget="1.75", clock=rig.clock, sandbox=rig.sandbox) as other,
    ):
        refused: list[LumaError] = []

        async def ask(server: Rig, prompt: str) -> None:
            try:
                await server.submit(prompt, wait=0)
            except LimitReached as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(ask, (rig, other)[number % 2], f"take {number}")
        assert (len(refused), rig.creates()) == (5, 3)


async def never(_: Charge) -> None:
    raise ConfirmationDeclined("no")


async def test_a_refused_confirmation_leaves_no_trace_and_a_join_needs_none(rig: Rig) -> None:
    with pytest.raises(ConfirmationDeclined):
        await confirmed(rig, never)
    assert (rig.creates(), (await rig.app.list_tasks("local", "", 10, ""))[0]) == (0, [])
    await rig.submit()
    assert (await confirmed(rig, never)).joined


async def test_a_person_is_asked_once_about_exactly_one_charge(rig: Rig) -> None:
    asked: list[Charge] = []

    async def note(charge: Charge) -> None:
        asked.append(charge)
        await anyio.sleep(25)

    task = (await confirmed(rig, note)).task
    (charge,) = asked
    assert (charge.request, charge.price, charge.is_simulated) == (task.request, 500_000, False)
    assert task.elapsed_seconds(rig.clock()) < 25, "the task begins with the yes"
    assert rig.creates() == 1


async def confirmed(rig: Rig, confirm: Confirm) -> Outcome:
    request = VideoRequest(prompt="fog", source=SOURCE)
    return await rig.app.modify_video(request, "local", wait_seconds=40, progress=Progress(silent), confirm=confirm)


async def test_a_clip_that_is_no_video_or_not_there_is_refused(rig: Rig, home: Path) -> None:
    (home / "out").mkdir()
    (home / "out" / "notes.mp4").write_text("these are my notes")
    (home / "out" / "empty.mp4").touch()
    for name in ("notes.mp4", "empty.mp4", "none.mp4"):
        with pytest.raises(LumaError) as raised:
            await rig.submit(source=str(home / "out" / name))
        assert raised.value.code == "source_not_found"
    assert rig.sandbox.recorded_requests == []


async def test_an_expired_result_is_continued_from_its_saved_file_while_that_exists(rig: Rig) -> None:
    task = await rig.submit()
    rig.clock.jumped += 8 * 24 * HOUR
    again = await rig.submit("snow", source=f"luma://tasks/{task.task_id}")
    assert again.status is Status.COMPLETED
    Path(task.video_path).unlink()
    with pytest.raises(LumaError) as raised:
        await rig.submit("rain", source=f"luma://tasks/{task.task_id}")
    assert raised.value.code == "source_not_found"


async def test_the_same_file_under_another_name_joins(rig: Rig, home: Path) -> None:
    (home / "out").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (home / "out" / name).write_bytes(film())
    first = await rig.submit(source=str(home / "out" / "a.mp4"), wait=0)
    second = await rig.submit(source=str(home / "out" / "b.mp4"), wait=0)
    assert first.key == second.key


async def test_a_planted_task_under_the_name_of_a_request_is_not_its_result(rig: Rig, home: Path) -> None:
    first = await rig.ask()
    assert first.task.video_path

    with closing(sqlite3.connect(home / "data" / "tasks.sqlite3")) as db, db:
        db.execute("UPDATE tasks SET prompt = 'something else'")
    with pytest.raises(LumaError, match="under the name of another request"):
        await rig.ask()
    assert rig.task_count() == 1


async def test_unknown_outcomes_count_as_running_while_they_may_be(home: Path) -> None:
    async with open_rig(home, max_active=2) as rig:
        rig.sandbox.faults.inject(Fault("drop_after", times=1000))
        for prompt in ("one", "two"):
            assert (await rig.submit(prompt)).status is Status.UNCONFIRMED
        with pytest.raises(LimitReached, match="LUMA_MCP_MAX_ACTIVE"):
            await rig.submit("three")
        assert rig.task_count() == 2


@pytest.mark.parametrize(("prompt", "source"), [("fog\0", SOURCE), ("fog", f"{SOURCE}\0"), ("a \ud800", SOURCE)])
async def test_text_that_cannot_be_kept_as_it_is_is_refused_before_anything_is_sent(
    rig: Rig, prompt: str, source: str
) -> None:
    with pytest.raises(InvalidRequest, match="valid Unicode text"):
        await rig.submit(prompt, source=source)
    assert rig.creates() == 0
