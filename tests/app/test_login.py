"""The first key while a server runs: one page at a time, and a key that every server finds."""

import json
from pathlib import Path

import anyio
import pytest

from luma_mcp.core.errors import MissingApiKey
from luma_mcp.core.runapi_file import RunAPIFileUnusable
from luma_mcp.runapi.login import PAGE_SECONDS
from tests.support.key_page import CODE, open_key_rig, page_query, visit
from tests.support.runapi_keys import NEW_KEY, runapi_file

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]


@pytest.mark.sockets
async def test_who_asks_meanwhile_gets_the_same_page_and_afterwards_a_new_one(home: Path) -> None:
    async with open_key_rig(home) as opened:
        app = opened.rig.app
        login = await app.open_login()
        assert await app.open_login() is login
        assert app.find_login(login.name) is login
        assert app.find_login("another") is None
        await visit(login.url, code=CODE)
        await login.ended.wait()
        assert login.failure is None
        assert app.find_login(login.name) is login
        assert (await app.open_login()).url != login.url
    assert json.loads(runapi_file(home).read_text(encoding="utf-8")) == {"api_key": NEW_KEY}


@pytest.mark.sockets
async def test_a_key_for_another_address_is_kept_with_it(home: Path) -> None:
    async with open_key_rig(home, base_url="https://runapi.example") as opened:
        login = await opened.rig.app.open_login()
        assert login.url.startswith("https://runapi.example/cli/authorize?")
        await visit(login.url, code=CODE)
        await login.ended.wait()
    written = json.loads(runapi_file(home).read_text(encoding="utf-8"))
    assert written == {"api_key": NEW_KEY, "base_url": "https://runapi.example"}


async def test_a_page_that_nobody_finishes_ends_by_itself(home: Path) -> None:
    async with open_key_rig(home) as opened:
        login = await opened.rig.app.open_login()
        begun = anyio.current_time()
        await login.ended.wait()
        assert anyio.current_time() - begun == pytest.approx(PAGE_SECONDS)
        assert isinstance(login.failure, MissingApiKey)


async def test_no_page_is_opened_for_a_key_that_could_not_be_kept(home: Path) -> None:
    runapi_file(home).parent.mkdir(parents=True)
    runapi_file(home).write_text("no JSON")
    async with open_key_rig(home) as opened:
        with pytest.raises(RunAPIFileUnusable):
            await opened.rig.app.open_login()
        assert not opened.is_asked


async def test_a_server_that_ends_does_not_wait_for_the_page(home: Path) -> None:
    async with open_key_rig(home) as opened:
        login = await opened.rig.app.open_login()
        begun = anyio.current_time()
        assert login.url not in repr(login)
        assert page_query(login.url)["state"] not in repr(login)
    assert login.ended.is_set()
    assert anyio.current_time() - begun < 5
