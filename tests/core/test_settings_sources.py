"""Where settings come from, and what may stand in one: precedence, placeholders, pasted keys, files of others."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from luma_mcp.__main__ import main
from luma_mcp.core.settings import Settings, load_settings, variable_name
from luma_mcp.core.settings_sources import BadSetting, find_program, read_runapi_file
from luma_mcp.core.small_files import MAX_SMALL_FILE_BYTES
from tests.support.rig import make_pipe


def runapi_file(home: Path, content: object, folder: str = ".config/runapi") -> None:
    """Write RunAPI's own configuration file."""
    path = home / folder / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def write(path: Path, text: str) -> Path:
    """Write a file, and give its path."""
    path.write_text(text)
    return path


def key_of(settings: Settings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None


def test_flags_beat_environment_beats_a_named_file_beats_runapis_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runapi_file(home, {"api_key": "from-file", "base_url": "https://file.example"})
    assert (key_of(load_settings()), load_settings().base_url) == ("from-file", "https://file.example")
    (home / "my.env").write_text("RUNAPI_API_KEY=from-named\nexport luma_mcp_wait_seconds='11'\nOTHER=x\n")
    named = load_settings(env_file="my.env")
    assert (key_of(named), named.wait_seconds, named.env_file) == ("from-named", 11, home / "my.env")
    assert named.base_url == "https://runapi.ai", "the address in RunAPI's file counts for the key there only"
    monkeypatch.setenv("LUMA_MCP_ENV_FILE", "~/my.env")
    assert (key_of(load_settings()), load_settings().wait_seconds) == ("from-named", 11)
    assert key_of(load_settings(env_file=write(home / "other.env", "RUNAPI_API_KEY=other"))) == "other"
    monkeypatch.setenv("RUNAPI_API_KEY", "from-environment")
    monkeypatch.setenv("LUMA_MCP_WAIT_SECONDS", "12")
    assert (key_of(load_settings()), load_settings().wait_seconds) == ("from-environment", 12)
    assert load_settings(wait_seconds="13").wait_seconds == 13


@pytest.mark.parametrize(
    "placeholder",
    [
        "",
        "  ",
        "${user_config.api_key}",
        "${RUNAPI_API_KEY}",
        "$RUNAPI_API_KEY",
        "<your key>",
        "your key",
        "%RUNAPI_API_KEY%",
        "{{key}}",
    ],
)
def test_what_a_host_left_unexpanded_counts_as_unset_in_every_source(
    home: Path, monkeypatch: pytest.MonkeyPatch, placeholder: str
) -> None:
    runapi_file(home, {"api_key": "from-file"})
    monkeypatch.setenv("RUNAPI_API_KEY", placeholder)
    monkeypatch.setenv("LUMA_MCP_OUTPUT_DIR", placeholder)
    monkeypatch.setenv("LUMA_MCP_MAX_WAIT_SECONDS", placeholder)
    monkeypatch.setenv("LUMA_MCP_SANDBOX", placeholder)
    file = write(home / "my.env", f"RUNAPI_API_KEY='{placeholder}'\n")
    settings = load_settings(save=placeholder, env_file=file)
    assert key_of(settings) == "from-file"
    assert settings.output_dir == home / "Videos" / "luma"
    assert (settings.max_wait_seconds, settings.sandbox, settings.saves) == (300, False, True)


@pytest.mark.parametrize("pasted", ["k-1", " k-1\n", '"k-1"', "'k-1'", "Bearer k-1", ' "bearer  k-1" '])
def test_a_key_is_taken_out_of_what_was_pasted_around_it(monkeypatch: pytest.MonkeyPatch, pasted: str) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", pasted)
    settings = load_settings()
    assert key_of(settings) == "k-1"
    assert "k-1" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8788", "http://localhost:1", "http://10.0.0.7", "https://gw.example/runapi/"]
)
def test_plain_http_is_for_this_machine_and_private_networks(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RUNAPI_BASE_URL", address)
    assert load_settings().base_url == address.rstrip("/")


@pytest.mark.parametrize("content", ["not json", "[]", {"api_key": 5}, {}])
def test_a_file_of_runapi_that_says_nothing_useful_is_passed_over(home: Path, content: object) -> None:
    runapi_file(home, content)
    assert key_of(load_settings()) is None


def test_runapis_file_is_found_where_its_own_tools_keep_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runapi_file(home, {"apiKey": "xdg", "baseUrl": "https://xdg.example"}, "x/runapi")
    runapi_file(home, {"api_key": "own"}, "own")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "x"))
    assert (key_of(load_settings()), load_settings().base_url) == ("xdg", "https://xdg.example")
    monkeypatch.setenv("RUNAPI_CONFIG_DIR", str(home / "own"))
    assert key_of(load_settings()) == "own"


@pytest.mark.parametrize(
    "address", ["https://evil.example", "http://127.0.0.1:8788", "http://localhost:1", "https://exa:mple"]
)
def test_an_address_in_runapis_file_counts_for_the_key_in_it_only(
    home: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    runapi_file(home, {"api_key": "bait", "base_url": address})
    monkeypatch.setenv("RUNAPI_API_KEY", "users-key")
    assert (key_of(load_settings()), load_settings().base_url) == ("users-key", "https://runapi.ai")
    monkeypatch.delenv("RUNAPI_API_KEY")
    named = load_settings(env_file=write(home / "my.env", "RUNAPI_API_KEY=users-key"))
    assert (key_of(named), named.base_url) == ("users-key", "https://runapi.ai")
    flagged = load_settings(api_key="users-key")
    assert (key_of(flagged), flagged.base_url) == ("users-key", "https://runapi.ai")


def test_an_address_in_runapis_file_without_a_key_beside_it_does_not_count_and_that_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runapi_file(home, {"base_url": "https://elsewhere.example"})
    monkeypatch.setenv("RUNAPI_API_KEY", "users-key")
    assert load_settings().base_url == "https://runapi.ai"
    assert "is ignored, because the key comes from elsewhere" in caplog.text


def test_an_address_of_the_environment_or_a_named_file_goes_with_a_key_from_anywhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runapi_file(home, {"api_key": "from-file", "base_url": "https://file.example"})
    file = write(home / "my.env", "RUNAPI_BASE_URL=https://named.example")
    assert load_settings(env_file=file).base_url == "https://named.example"
    monkeypatch.setenv("RUNAPI_BASE_URL", "https://own.example")
    assert (key_of(load_settings()), load_settings().base_url) == ("from-file", "https://own.example")


def test_files_that_notepad_saved_are_read_and_those_of_another_encoding_are_refused_in_one_line(home: Path) -> None:
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_bytes('\ufeff{"api_key": "rk-file"}'.encode())
    assert load_settings().api_key == SecretStr("rk-file")
    named = home / "my.env"
    named.write_bytes("\ufeffRUNAPI_API_KEY=rk-env\r\nLUMA_MCP_PORT=1\r\n".encode())
    assert load_settings(env_file=named).api_key == SecretStr("rk-env")
    assert load_settings(env_file=named).port == 1
    named.write_bytes("RUNAPI_API_KEY=rk-env\r\n".encode("utf-16"))
    with pytest.raises(BadSetting, match=r"^LUMA_MCP_ENV_FILE: .*my\.env must be text in UTF-8"):
        load_settings(env_file=named)


def test_a_named_file_is_taken_as_it_is_written_and_carries_no_other_secret_anywhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret")
    lines = (
        "RUNAPI_API_KEY=abc${AWS_SECRET_ACCESS_KEY}",
        "LUMA_MCP_ALLOWED_HOSTS=a.example",
        "LUMA_MCP_AUTH_TOKENS='ann:abcdefghijklmnop'",
    )
    settings = load_settings(env_file=write(home / "my.env", "\n".join(lines)))
    assert key_of(settings) == "abc${AWS_SECRET_ACCESS_KEY}"
    file = write(home / "my.env", "RUNAPI_API_KEY=${AWS_SECRET_ACCESS_KEY}\n")
    assert load_settings(env_file=file).api_key is None
    file = write(home / "my.env", "LUMA_MCP_PUBLIC_URL=https://x.example/${AWS_SECRET_ACCESS_KEY}\n")
    assert "aws-secret" not in load_settings(env_file=file).public_url


def test_a_named_file_names_no_other_file(home: Path) -> None:
    other = write(home / "other.env", "LUMA_MCP_PORT=7")
    settings = load_settings(env_file=write(home / "my.env", f"LUMA_MCP_ENV_FILE={other}\nluma_mcp_env_file={other}"))
    assert (settings.port, settings.env_file) == (8000, home / "my.env")


@pytest.mark.parametrize("named", ["my.env", "./my.env", "../my.env", "~nobody-of-that-name/my.env", "x${HOME}"])
def test_the_environment_names_a_file_by_an_absolute_path_only(
    home: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    write(home / "my.env", "LUMA_MCP_PORT=7")
    monkeypatch.setenv("LUMA_MCP_ENV_FILE", named)
    with pytest.raises(BadSetting, match=r"^LUMA_MCP_ENV_FILE: accepts an absolute path"):
        load_settings()


@pytest.mark.parametrize("unset", ["", "  ", '""', "${user_config.env_file}", "$ENV_FILE"])
def test_a_file_that_nobody_meant_to_name_is_not_read(home: Path, monkeypatch: pytest.MonkeyPatch, unset: str) -> None:
    monkeypatch.setenv("LUMA_MCP_ENV_FILE", unset)
    assert load_settings(env_file=unset).env_file is None


def no_files(home: Path) -> dict[str, Path]:
    """Make what is no file that can be read, by what is wrong with it."""
    make_pipe(home / "fifo")
    (home / "large").write_bytes(b"A=" + bytes(MAX_SMALL_FILE_BYTES))
    return {
        "No such file": home / "none",
        "Not a directory": home / "large" / "below",
        "no regular file": home / "fifo",
        "regular file": Path("/dev/zero"),
        "it is no regular": home,
        "larger than 256 KiB": home / "large",
        "it has no such name": home / "x\0y",
    }


def test_a_named_file_that_cannot_be_read_ends_the_start_with_one_line_and_is_not_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what, path in no_files(home).items():
        with pytest.raises(BadSetting) as refused:
            load_settings(env_file=str(path))
        assert refused.value.message.startswith("LUMA_MCP_ENV_FILE: ")
        assert what in refused.value.message or "\0" in str(path)
        assert "\n" not in refused.value.message


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_named_file_that_others_keep_to_themselves_ends_the_start(home: Path) -> None:
    (path := write(home / "my.env", "")).chmod(0)
    with pytest.raises(BadSetting, match="Permission denied"):
        load_settings(env_file=path)


HOSTILE: dict[str, bytes] = {
    "nested too deeply": b'{"api_key":' * 100_000,
    "a list": b'["users-secret"]',
    "a text": b'"users-secret"',
    "half a text": b'{"api_key": "users-secret',
    "a number for a key": b'{"api_key": 12345678}',
    "an object for a key": b'{"api_key": {"users-secret": 1}}',
    "a number for an address": b'{"api_key": "users-secret", "base_url": 5}',
    "an address of another kind": b'{"api_key": "users-secret", "base_url": "file:///etc/passwd"}',
    "plain http": b'{"api_key": "users-secret", "base_url": "http://evil.example"}',
    "control characters": b'{"api_key": "users-secret\\r\\nX: y"}',
    "an escape of a terminal": b'{"api_key": "users-secret\\u001b[2J"}',
    "half a character": b'{"api_key": "users-secret\\ud83d"}',
    "no UTF-8": b'{"api_key": "users-secret\xff"}',
    "UTF-16": '{"api_key": "users-secret"}'.encode("utf-16"),
    "a number without an end": b'{"api_key": ' + b"9" * 10_000 + b"}",
    "too large": b'{"api_key": "users-secret", "x": "' + b"x" * MAX_SMALL_FILE_BYTES + b'"}',
    "nothing": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_broken_file_of_runapis_does_not_count_and_is_told_of_without_what_stands_in_it(
    home: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    runapi_file(home, "")
    path = home / ".config/runapi/config.json"
    path.write_bytes(content)
    settings = load_settings()
    assert (settings.api_key, settings.base_url) == (None, "https://runapi.ai")
    assert main(["doctor", "--sandbox"]) == 0
    assert main(["doctor", "--base-url", "http://127.0.0.1:9"]) == 2
    told = capsys.readouterr()
    assert str(path) in told.out
    assert str(path) in caplog.text
    assert "users-secret" not in told.out + told.err + caplog.text
    assert "Traceback" not in told.err + caplog.text


def test_what_lies_in_place_of_runapis_file_is_not_waited_for(home: Path) -> None:
    for kind in (make_pipe, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)):
        runapi_file(home, "")
        path = home / ".config/runapi/config.json"
        path.unlink()
        kind(path)
        assert load_settings().api_key is None
        shutil.rmtree(home / ".config")


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_of_runapis_that_others_may_write_does_not_count_and_one_warning_says_so(
    home: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    runapi_file(home, {"api_key": "from-file"})
    path = home / ".config/runapi/config.json"
    path.chmod(mode)
    assert load_settings().api_key is None
    assert [record.message for record in caplog.records] == [
        f"{path} cannot be used: other users may write it, so nothing in it counts"
    ]
    path.chmod(0o644)
    assert key_of(load_settings()) == "from-file"


def test_a_file_of_runapis_that_another_user_made_does_not_count(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runapi_file(home, {"api_key": "from-file"})
    real = os.fstat

    def of_another_user(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        return os.stat_result((*found[:4], 4321, *found[5:10]))

    monkeypatch.setattr(os, "fstat", of_another_user)
    assert read_runapi_file().fault.endswith("it belongs to another user")
    assert load_settings().api_key is None


@pytest.mark.parametrize("written", ['"{}"', "'{}'", ' "{}" ', "{}\n", "' {} '", "{}\r"])
@pytest.mark.parametrize(
    ("variable", "value", "field", "meant"),
    [
        ("RUNAPI_API_KEY", "k-12345", "api_key", SecretStr("k-12345")),
        ("RUNAPI_BASE_URL", "https://own.example", "base_url", "https://own.example"),
        ("LUMA_MCP_DATA_DIR", "/data", "data_dir", Path("/data")),
        ("LUMA_MCP_OUTPUT_DIR", "/out", "output_dir", Path("/out")),
        ("LUMA_MCP_SAVE", "never", "save", "never"),
        ("LUMA_MCP_MEDIA_ROOTS", "/a:/b", "media_roots", (Path("/a"), Path("/b"))),
        ("LUMA_MCP_WAIT_SECONDS", "7", "wait_seconds", 7),
        ("LUMA_MCP_DAILY_LIMIT", "7", "daily_limit", 7),
        ("LUMA_MCP_TRANSPORT", "http", "transport", "http"),
        ("LUMA_MCP_HOST", "localhost", "host", "localhost"),
        ("LUMA_MCP_PORT", "8001", "port", 8001),
        ("LUMA_MCP_ALLOWED_HOSTS", "a.example,b.example", "allowed_hosts", ("a.example", "b.example")),
        ("LUMA_MCP_AUTH_TOKENS", "ann:0123456789abcdef", "auth_tokens", (SecretStr("ann:0123456789abcdef"),)),
        ("LUMA_MCP_AUTH_TOKENS", "none", "auth_tokens", ()),
        ("LUMA_MCP_PUBLIC_URL", "https://me.example", "public_url", "https://me.example"),
        ("LUMA_MCP_SANDBOX", "true", "sandbox", True),
        ("LUMA_MCP_LOG_LEVEL", "debug", "log_level", "DEBUG"),
    ],
)
def test_blanks_and_quotes_around_a_value_are_taken_off(
    monkeypatch: pytest.MonkeyPatch, written: str, variable: str, value: str, field: str, meant: object
) -> None:
    monkeypatch.setenv(variable, written.format(value))
    assert getattr(load_settings(), field) == meant
    monkeypatch.delenv(variable)
    if field not in {"api_key", "auth_tokens"}:
        assert getattr(load_settings(**{field: written.format(value)}), field) == meant


@pytest.mark.parametrize("empty", ['""', "''", '" "', ' "" '])
def test_empty_quotes_mean_unset(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    usual = load_settings()
    for name, field in Settings.model_fields.items():
        monkeypatch.setenv(variable_name(field, name), empty)
    assert load_settings() == usual


def test_programs_are_found_by_absolute_folders_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (home, home / "rel", home / "bin"):
        folder.mkdir(exist_ok=True)
        (folder / "uvx").touch(mode=0o755)
    for path in ("", ".", "rel", f"{os.pathsep}rel{os.pathsep}.{os.pathsep}"):
        monkeypatch.setenv("PATH", path)
        assert find_program("uvx") is None
    monkeypatch.setenv("PATH", f"rel{os.pathsep}{home / 'none'}{os.pathsep}{home / 'bin'}")
    assert find_program("uvx") == home / "bin" / "uvx"
    (home / "bin" / "uvx").chmod(0o644)
    if os.name != "nt":
        assert find_program("uvx") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oauth_issuer", "http://idp.example.com"),
        ("oauth_issuer", "idp.example.com"),
        ("oauth_issuer", "https://idp.example.com/?x"),
        ("oauth_issuer", "https://user@idp.example.com"),
        ("oauth_audience", "api://luma"),
        ("oauth_audience", "http://luma.example.com/mcp"),
        ("oauth_audience", 'https://luma.example.com/mcp,a"b'),
        ("oauth_callers", "user-1"),
        ("oauth_callers", "sub:"),
        ("oauth_callers", "email:ann"),
        ("oauth_callers", "sub:${USER_ID}"),
        ("oauth_callers", "role:admin"),
        ("auth_tokens_file", "tokens.txt"),
    ],
)
def test_what_cannot_say_who_may_come_in_is_refused(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=f"^LUMA_MCP_{name.upper()}: accepts "):
        load_settings(**{name: value})


def test_an_identity_provider_is_named_as_it_names_itself() -> None:
    given = {"oauth_issuer": " https://idp.example.com/ ", "oauth_audience": "http://localhost:8000/mcp, api://luma"}
    settings = load_settings(**given, oauth_callers="sub:auth0|1, email:Ann@Example.com,group:Video Editors")
    assert settings.oauth_issuer == "https://idp.example.com/"
    assert settings.oauth_audience == ("http://localhost:8000/mcp", "api://luma")
    assert settings.oauth_callers == ("sub:auth0|1", "email:ann@example.com", "group:Video Editors")
