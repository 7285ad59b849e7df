"""Who may use the gallery's API, and who may not: other origins, names, users and callers."""

from pathlib import Path

import anyio.to_thread
import httpx
import pytest

from luma_mcp.core.errors import LedgerUnusable, NetworkFailure, SourceNotAllowed, TaskNotFound
from luma_mcp.core.models import LOCAL_CALLER
from luma_mcp.transports import gallery
from luma_mcp.transports.gallery_access import MAX_BODY_BYTES, failure_response
from tests.support.gallery_client import API, browsing, gallery_server, make_video
from tests.support.http_server import TOKENS, bearer, hosted
from tests.support.raw_http import all_that_comes

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]
READS = ["tasks", "tasks/{id}", "videos/{id}/result", "videos/{id}/source", "account"]
SAVE = f"{API}/tasks/{{id}}/save"
FOREIGN_PAGES: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:{port}"},
    {"Origin": "http://127.0.0.1:{port}.evil.example"},
    {"Origin": "http://127.0.0.1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-origin"},
]


def session_value(answer: httpx.Response) -> str:
    return answer.headers["set-cookie"].split("=", 1)[1].split(";")[0]


async def test_without_a_session_or_token_nothing_is_told(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server) as browser:
        task = await make_video(server, "ann")
        for path in READS:
            answer = await browser.read(path.format(id=task.task_id))
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "refused")
        assert (await browser.change(SAVE.format(id=task.task_id), {})).status_code == 401


async def test_a_token_is_exchanged_for_a_session_of_its_caller(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server) as browser:
        answer = await browser.log_in(TOKENS["ann"])
        assert (answer.status_code, answer.content) == (204, b"")
        cookie = answer.headers["set-cookie"]
        name, value, *attributes = cookie.replace("=", ";", 1).split(";")
        assert name == f"luma_gallery_{server.port}"
        assert len(value) == 43
        assert {attribute.strip().lower() for attribute in attributes} == {
            "httponly",
            "path=/gallery",
            "samesite=strict",
        }
        assert TOKENS["ann"] not in cookie
        await make_video(server, "ann", "fog")
        await make_video(server, "bob", "snow")
        assert await browser.prompts() == ["fog"]
        assert (await browser.log_in(TOKENS["bob"])).status_code == 204
        assert await browser.prompts() == ["snow"]


@pytest.mark.parametrize(
    "token", ["", "x", TOKENS["ann"][:-1], f"{TOKENS['ann']}x", f"ann:{TOKENS['ann']}", "a" * 4000]
)
async def test_another_token_opens_nothing(home: Path, token: str) -> None:
    async with gallery_server(home) as server, browsing(server) as browser:
        answer = await browser.log_in(token)
        assert answer.status_code in {400, 401}
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b'{"token": "%s"}'),
        ("application/x-www-form-urlencoded", b"token=%s"),
        ("", b'{"token": "%s"}'),
        ("application/json", b'["%s"]'),
        ("application/json", b'{"token": ["%s"]}'),
        ("application/json", b'{"token": "%s"'),
        ("application/json", b"[" * 4000 + b"%s"),
        ("application/json", b'{"token": "\\ud800%s"}'),
        ("application/json", b"\xff%s"),
    ],
)
async def test_a_token_in_another_form_is_refused(home: Path, kind: str, body: bytes) -> None:
    async with gallery_server(home) as server, browsing(server) as browser:
        headers = {"Origin": browser.origin} | ({"Content-Type": kind} if kind else {})
        content = body % TOKENS["ann"].encode()
        answer = await browser.http.post("gallery/session", headers=headers, content=content)
        assert (answer.status_code, "set-cookie" in answer.headers) == (400, False)


async def test_a_large_body_is_refused_and_not_read(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        task = await make_video(server, "ann")
        large = {"token": "x" * MAX_BODY_BYTES}
        assert (await browser.log_in(large["token"])).status_code == 413
        assert (await browser.change(SAVE.format(id=task.task_id), large)).status_code == 413
        assert (await browser.change(SAVE.format(id=task.task_id), {})).status_code == 200
        head = f"POST /gallery/session HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {browser.origin}\r\n"
        endless = f"{head}Content-Length: 999999999999\r\n\r\n".encode() + b"x" * (MAX_BODY_BYTES + 1)
        answer = await anyio.to_thread.run_sync(all_that_comes, server.port, endless)
        assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_that_does_not_come_takes_nobody_elses_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MAX_LOGINS", 0)
    async with gallery_server(home) as server, browsing(server) as browser:
        assert (await browser.log_in(TOKENS["ann"])).status_code == 429
        assert (await browser.http.get(f"{API}/tasks", headers=bearer("ann"))).status_code == 200


async def test_pages_of_other_origins_reach_nothing_even_with_the_session(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        task = await make_video(server, "ann")
        save = SAVE.format(id=task.task_id)
        for headers in FOREIGN_PAGES:
            sent = {name: value.format(port=server.port) for name, value in headers.items()}
            for path in READS:
                answer = await browser.http.get(f"{API}/{path.format(id=task.task_id)}", headers=sent)
                assert answer.status_code == 403, sent
                assert not {name for name in answer.headers if name.startswith("access-control")}
            assert (await browser.http.post(save, headers=sent, json={})).status_code == 403, sent
            exchange = await browser.http.post("gallery/session", headers=sent, json={"token": TOKENS["ann"]})
            assert (exchange.status_code, "set-cookie" in exchange.headers) == (403, False), sent
            asked = await browser.http.options(save, headers=sent | {"Access-Control-Request-Method": "POST"})
            assert asked.status_code in {403, 405}, sent


async def test_what_changes_something_must_say_where_it_comes_from(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        task = await make_video(server, "ann")
        save = SAVE.format(id=task.task_id)
        assert (await browser.http.post(save, json={})).status_code == 403
        assert (await browser.http.post(save, json={}, headers={"Sec-Fetch-Site": "none"})).status_code == 403
        assert (await browser.http.post("gallery/session", json={"token": TOKENS["ann"]})).status_code == 403
        assert (await browser.http.post(save, json={}, headers=bearer("ann"))).status_code == 200
        assert (await browser.http.get(f"{API}/tasks", headers={"Sec-Fetch-Site": "none"})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:{port}", "", "127.0.0.2"])
async def test_under_a_name_of_somebody_else_nothing_is_served(home: Path, host: str) -> None:
    async with gallery_server(home) as server, browsing(server, "ann") as browser:
        headers = {"Host": host.format(port=server.port)}
        for path in ("", f"{API}/tasks"):
            assert (await browser.http.get(path, headers=headers)).status_code == 421
        exchange = await browser.http.post("gallery/session", headers=headers, json={"token": TOKENS["ann"]})
        assert exchange.status_code == 421


async def test_a_session_opens_the_gallery_alone(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server) as browser:
        value = session_value(await browser.log_in(TOKENS["ann"]))
        cookie = {"Cookie": f"luma_gallery_{server.port}={value}"}
        as_token = {"Authorization": f"Bearer {value}"}
        for path in ("/mcp", "/sse"):
            assert (await browser.http.get(path, headers=cookie)).status_code == 401
            assert (await browser.http.get(path, headers=as_token)).status_code == 401
        browser.http.cookies.clear()
        assert (await browser.http.get(f"{API}/tasks", headers=cookie)).status_code == 200
        for wrong in (f"luma_gallery={value}", f"luma_gallery_{server.port}={value}x", f"luma_gallery_{server.port}="):
            assert (await browser.http.get(f"{API}/tasks", headers={"Cookie": wrong})).status_code == 401
        assert (await browser.http.get(f"{API}/tasks?token={TOKENS['ann']}")).status_code == 401


async def test_a_session_of_another_process_is_none_here(home: Path) -> None:
    async with gallery_server(home) as server, browsing(server) as browser:
        value = session_value(await browser.log_in(TOKENS["ann"]))
    async with gallery_server(home) as server, browsing(server) as browser:
        cookie = {"Cookie": f"luma_gallery_{server.port}={value}"}
        assert (await browser.http.get(f"{API}/tasks", headers=cookie)).status_code == 401


async def test_where_no_token_is_wanted_none_is_wanted_here_and_other_origins_stay_out(home: Path) -> None:
    async with hosted(home, runs=True) as server, browsing(server) as browser:
        await make_video(server, "local")
        assert await browser.prompts() == ["fog"]
        foreign = {"Origin": "http://127.0.0.1:1"}
        assert (await browser.http.get(f"{API}/tasks", headers=foreign)).status_code == 403
        assert (await browser.log_in("x" * 43)).status_code == 401
        forwarded = {"X-Forwarded-For": "192.0.2.1"}
        assert (await browser.http.get(f"{API}/tasks", headers=forwarded)).status_code == 403


async def test_the_users_own_token_shows_the_users_own_tasks(home: Path) -> None:
    async with gallery_server(home, auth_tokens=None, allowed_hosts="luma.example") as server:
        own = dict(server.app.settings.tokens)[LOCAL_CALLER].get_secret_value()
        await make_video(server, LOCAL_CALLER, "fog")
        await make_video(server, "ann", "snow")
        async with browsing(server) as browser:
            assert (await browser.read("tasks")).status_code == 401
            assert (await browser.log_in(own)).status_code == 204
            assert await browser.prompts() == ["fog"]


async def test_behind_tls_the_cookie_never_leaves_it_and_keeps_to_the_public_path(home: Path) -> None:
    public = {"public_url": "https://example.com/luma"}
    async with gallery_server(home, **public) as server, browsing(server) as browser:
        headers = {"Host": "example.com", "Origin": "https://example.com"}
        answer = await browser.http.post("gallery/session", headers=headers, json={"token": TOKENS["ann"]})
        assert answer.status_code == 204
        assert "; Path=/luma/gallery; " in answer.headers["set-cookie"]
        assert "; Secure" in answer.headers["set-cookie"]
        cookie = {"Host": "example.com", "Cookie": answer.headers["set-cookie"].split(";")[0]}
        assert (await browser.http.get(f"{API}/tasks", headers=cookie)).status_code == 200


async def test_tokens_and_sessions_are_in_no_log(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with gallery_server(home) as server, browsing(server) as browser:
        value = session_value(await browser.log_in(TOKENS["ann"]))
        await browser.log_in("wrong-token-0123456789")
        await browser.read("tasks")
    messages = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    told = [message for message in messages if '"/gallery"' in message]
    assert len(told) == 3
    assert '"caller": "ann"' in told[-1]
    for secret in (TOKENS["ann"], value, "wrong-token-0123456789"):
        assert secret not in "".join(messages)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TaskNotFound("There is none."), 404),
        (SourceNotAllowed("No."), 404),
        (LedgerUnusable("The ledger is locked."), 503),
        (NetworkFailure("RunAPI cannot be reached."), 503),
    ],
)
def test_a_failure_is_told_as_tools_tell_it(error: TaskNotFound, status: int) -> None:
    answer = failure_response(error)
    assert answer.status_code == status
    assert error.message.encode() in bytes(answer.body)
