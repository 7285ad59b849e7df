"""A key without editing a file: by RunAPI's page, or typed."""

import io
import json
import os
import stat
import sys
from collections.abc import Generator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from luma_mcp.cli import login
from luma_mcp.cli.login import run_login, run_logout
from luma_mcp.core.errors import InvalidApiKey, InvalidRequest, NetworkFailure
from luma_mcp.core.runapi_file import RunAPIFileUnusable
from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.runapi.login import LoginFailed
from tests.support.login_page import LoginPage, Query, agree, refuse, serving_login_page


@pytest.fixture
def page(home: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[LoginPage]:
    monkeypatch.delenv("RUNAPI_API_KEY", raising=False)
    with serving_login_page() as served:
        monkeypatch.setenv("RUNAPI_BASE_URL", served.url)
        yield served


@pytest.fixture
def file(home: Path) -> Path:
    return home / ".config" / "runapi" / "config.json"


def log_in(page: LoginPage) -> int:
    return run_login(load_settings(), with_key=False, open_page=page.browse)


def test_who_agrees_on_the_page_has_a_key_that_the_next_server_uses(
    page: LoginPage, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log_in(page) == 0
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written == {"api_key": page.keys[0], "base_url": page.url}
    monkeypatch.delenv("RUNAPI_BASE_URL")
    settings = load_settings()
    assert settings.api_key is not None
    assert (settings.api_key.get_secret_value(), settings.base_url) == (page.keys[0], page.url)
    said = capsys.readouterr()
    assert "ann@example.com" in said.err
    assert "Balance: 12.50 USD" in said.err
    assert page.keys[0] not in said.err + said.out
    assert said.out == ""
    if sys.platform != "win32":
        assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


def test_the_page_learns_that_it_is_done_and_may_read_that(page: LoginPage) -> None:
    log_in(page)
    (answer,) = page.answers
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == page.url


def test_the_terminal_shows_the_code_that_the_page_shows(page: LoginPage, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    def browse(url: str) -> bool:
        shown.append(parse_qs(urlsplit(url).query)["display_code"][0])
        return page.browse(url)

    run_login(load_settings(), with_key=False, open_page=browse)
    assert shown[0] in capsys.readouterr().err


def test_the_exchange_names_this_machine_and_proves_who_began(page: LoginPage) -> None:
    log_in(page)
    (exchange,) = page.exchanges
    assert exchange["hostname"]
    assert len(exchange["code_verifier"]) >= 43


def test_a_refusal_on_the_page_is_told_and_nothing_is_written(page: LoginPage, file: Path) -> None:
    page.person = refuse
    with pytest.raises(LoginFailed, match="You said no"):
        log_in(page)
    assert not file.exists()


def test_a_code_that_has_expired_is_told_and_nothing_is_written(page: LoginPage, file: Path) -> None:
    def late(_: LoginPage, query: Query) -> Query:
        return {"code": "expired", "state": query["state"]}

    page.person = late
    with pytest.raises(LoginFailed, match="invalid or has expired"):
        log_in(page)
    assert not file.exists()


def test_an_answer_with_another_state_is_refused_and_the_right_one_is_still_taken(page: LoginPage, file: Path) -> None:
    def attacked(double: LoginPage, query: Query) -> Query:
        forged = {"code": "theirs", "state": "guessed"}
        callback = f"http://127.0.0.1:{query['redirect_port']}/callback"
        double.answers.append(httpx.get(callback, params=forged, trust_env=False))
        return agree(double, query)

    page.person = attacked
    assert log_in(page) == 0
    assert [answer.status_code for answer in page.answers] == [400, 200]
    assert json.loads(file.read_text(encoding="utf-8"))["api_key"] == page.keys[0]


def test_a_page_under_a_name_that_only_leads_here_is_refused(page: LoginPage) -> None:
    def rebound(double: LoginPage, query: Query) -> Query:
        callback = f"http://127.0.0.1:{query['redirect_port']}/callback"
        stolen = {"code": "theirs", "state": query["state"]}
        evil = {"Host": f"evil.example:{query['redirect_port']}"}
        double.answers.append(httpx.get(callback, params=stolen, headers=evil, trust_env=False))
        return agree(double, query)

    page.person = rebound
    assert log_in(page) == 0
    assert [answer.status_code for answer in page.answers] == [400, 200]


def test_nobody_who_agrees_is_not_waited_for_for_ever(page: LoginPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "PAGE_SECONDS", 0.1)
    page.person = lambda _page, _query: None
    with pytest.raises(LoginFailed, match="Nobody agreed"):
        log_in(page)


def test_without_a_browser_the_address_is_there_to_be_opened_by_hand(
    page: LoginPage, capsys: pytest.CaptureFixture[str]
) -> None:
    def by_hand(url: str) -> bool:
        page.browse(url)
        return False

    assert run_login(load_settings(), with_key=False, open_page=by_hand) == 0
    said = capsys.readouterr().err
    assert "open the page by hand" in said
    assert f"{page.url}/cli/authorize?" in said


def test_a_key_on_stdin_is_checked_before_it_is_written(
    page: LoginPage, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("sk-not-one-of-theirs\n"))
    with pytest.raises(InvalidApiKey):
        run_login(load_settings(), with_key=True)
    assert not file.exists()
    page.keys.append("sk-right-one-of-theirs")
    monkeypatch.setattr(sys, "stdin", io.StringIO("  sk-right-one-of-theirs \n"))
    assert run_login(load_settings(), with_key=True) == 0
    assert json.loads(file.read_text(encoding="utf-8"))["api_key"] == "sk-right-one-of-theirs"
    assert "sk-right" not in capsys.readouterr().err


def test_a_key_that_cannot_be_checked_is_not_written(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAPI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "stdin", io.StringIO("sk-whatever-it-is\n"))
    with pytest.raises(NetworkFailure):
        run_login(load_settings(), with_key=True)
    assert not file.exists()


@pytest.mark.parametrize("typed", ["", "\n", "<your key>\n", "two words\n", "${RUNAPI_API_KEY}\n"])
def test_what_is_no_key_is_refused(page: LoginPage, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    with pytest.raises(BadSetting, match="--with-key"):
        run_login(load_settings(), with_key=True)


def test_a_file_that_cannot_be_changed_is_told_before_anybody_agrees_to_anything(page: LoginPage, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("no JSON", encoding="utf-8")
    with pytest.raises(RunAPIFileUnusable, match="not JSON"):
        log_in(page)
    assert (page.keys, file.read_text(encoding="utf-8")) == ([], "no JSON")


def test_who_has_a_key_in_the_environment_is_told_that_it_counts_first(
    page: LoginPage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", "sk-of-the-environment")
    log_in(page)
    assert "RUNAPI_API_KEY is set in the environment" in capsys.readouterr().err


def test_logging_out_takes_the_key_away_and_leaves_the_rest(
    page: LoginPage, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(page)
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"theme": "dark"}), encoding="utf-8")
    assert run_logout({}) == 0
    assert "keeps the key until RunAPI refuses it or the server ends" in capsys.readouterr().err
    assert json.loads(file.read_text(encoding="utf-8")) == {"theme": "dark"}
    assert run_logout({}) == 0
    assert "There is no key" in capsys.readouterr().err
    assert os.listdir(file.parent) == ["config.json"]


def test_the_sandbox_needs_no_login(home: Path) -> None:
    with pytest.raises(InvalidRequest, match="needs no key"):
        run_login(load_settings(sandbox=True), with_key=False)
