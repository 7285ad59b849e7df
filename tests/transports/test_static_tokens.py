"""Tokens of the operator's own, added and revoked while the server runs."""

import sys
from pathlib import Path

import anyio
import pytest

from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.transports.bearer import TokenRefused
from luma_mcp.transports.sockets import check_exposure
from luma_mcp.transports.static_tokens import FILE_SECONDS, StaticTokens
from tests.support.rig import settings_for

pytestmark = pytest.mark.anyio
ANN, BOB, EVE = "token-of-ann-0123456789", "token-of-bob-0123456789", "token-of-eve-0123456789"


@pytest.fixture
def file(home: Path) -> Path:
    path = home / "tokens"
    path.write_text(f"ann:{ANN}\n")
    return path


def tokens_in(home: Path, file: Path, **more: str) -> StaticTokens:
    return StaticTokens(settings_for(home, transport="http", auth_tokens_file=file, **more))


async def name_of(tokens: StaticTokens, token: str) -> str:
    try:
        return (await tokens.verify_token(token)).client_id
    except TokenRefused:
        return ""


async def test_tokens_are_added_and_revoked_without_a_restart(home: Path, file: Path) -> None:
    tokens = tokens_in(home, file)
    ann = await tokens.verify_token(ANN)
    assert (ann.client_id, ann.scopes) == ("ann", ["luma:read", "luma:spend"])
    file.write_text(f"# those who may come in\n\n bob : {BOB} \n")
    await anyio.sleep(FILE_SECONDS)
    assert [await name_of(tokens, token) for token in (ANN, BOB)] == ["", "bob"]
    assert not ann.is_current()


async def test_the_file_is_read_once_a_second_at_most(home: Path, file: Path) -> None:
    tokens = tokens_in(home, file)
    await tokens.verify_token(ANN)
    file.unlink()
    assert await name_of(tokens, ANN) == "ann"
    await anyio.sleep(FILE_SECONDS)
    assert await name_of(tokens, ANN) == ""


async def test_tokens_of_settings_count_beside_those_of_the_file(home: Path, file: Path) -> None:
    tokens = tokens_in(home, file, auth_tokens=f"bob:{BOB}")
    file.write_text("")
    assert [await name_of(tokens, token) for token in (ANN, BOB)] == ["", "bob"]


async def test_whose_a_token_is_that_stands_in_both_the_settings_say(home: Path, file: Path) -> None:
    tokens = tokens_in(home, file, auth_tokens=f"bob:{BOB}")
    file.write_text(f"eve:{BOB}\n")
    assert await name_of(tokens, BOB) == "bob"


async def test_a_line_that_is_wrong_lets_nobody_in_and_keeps_nobody_else_out(
    home: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = tokens_in(home, file)
    file.write_text(f"ann:{ANN}\nlocal:{EVE}\neve:short\neve\nbob:{ANN}\n")
    for _ in range(3):
        assert [await name_of(tokens, token) for token in (ANN, EVE, "short", "")] == ["ann", "", "", ""]
        await anyio.sleep(FILE_SECONDS)
    (told,) = caplog.messages
    assert all(f"line {number}:" in told for number in (2, 3, 4, 5))
    assert not any(token in told for token in (ANN, EVE, "short"))


@pytest.mark.parametrize("content", [b"\xff\xfe", bytes(1 << 19), None])
async def test_a_file_that_cannot_be_read_lets_nobody_in(home: Path, file: Path, content: bytes | None) -> None:
    tokens = tokens_in(home, file)
    assert await name_of(tokens, ANN) == "ann"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    await anyio.sleep(FILE_SECONDS)
    assert await name_of(tokens, ANN) == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such permissions")
async def test_a_file_that_others_may_write_lets_nobody_in(home: Path, file: Path) -> None:
    file.chmod(0o666)
    assert await name_of(tokens_in(home, file), ANN) == ""


async def test_tokens_of_the_file_are_in_no_log(home: Path, file: Path) -> None:
    settings = settings_for(home, transport="http", auth_tokens_file=file)
    await StaticTokens(settings).verify_token(ANN)
    assert ANN in {secret.get_secret_value() for secret in settings.secrets}
    assert ANN not in repr(settings)


@pytest.mark.parametrize("content", [None, "ann", f"ann:{ANN}\nbob:{ANN}"])
def test_a_start_with_a_file_that_is_wrong_is_refused(home: Path, file: Path, content: str | None) -> None:
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadSetting, match=r"^LUMA_MCP_AUTH_TOKENS_FILE: ") as refused:
        check_exposure(settings_for(home, transport="http", auth_tokens_file=file))
    assert ANN not in refused.value.message


def test_an_open_server_has_no_file_of_tokens(home: Path, file: Path) -> None:
    with pytest.raises(BadSetting, match=r"^LUMA_MCP_AUTH_TOKENS: must not be none"):
        check_exposure(settings_for(home, transport="http", auth_tokens="none", auth_tokens_file=file))
