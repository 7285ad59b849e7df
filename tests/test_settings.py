"""Settings: sources, precedence, placeholders, and one clear line for a bad value."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from luma_mcp.setting_values import BadSetting
from luma_mcp.settings import Settings, load_settings


def runapi_file(home: Path, content: object, folder: str = ".config/runapi") -> None:
    """Write RunAPI's own configuration file."""
    path = home / folder / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def key_of(settings: Settings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None


def test_the_defaults_are_those_of_the_design(home: Path) -> None:
    settings = load_settings()
    assert key_of(settings) is None
    assert settings.base_url == "https://runapi.ai"
    assert (settings.wait_seconds, settings.max_wait_seconds) == (40, 300)
    assert (settings.transport, settings.host, settings.port) == ("stdio", "127.0.0.1", 8000)
    assert (settings.sandbox, settings.allow_private, settings.log_level) == (False, False, "INFO")
    assert settings.output_dir == home / "Videos" / "luma"
    assert settings.data_dir.is_relative_to(home)
    assert settings.saves
    assert settings.readable_folders == (
        home / "Videos" / "luma",
        home / "Videos",
        home / "Downloads",
        home / "Desktop",
    )


def test_over_http_nothing_is_saved_or_read_unless_told(home: Path) -> None:
    settings = load_settings(transport="sse")
    assert settings.serves_http
    assert not settings.saves
    assert settings.readable_folders == ()
    told = load_settings(transport="sse", save="auto", media_roots=str(home))
    assert told.saves
    assert told.readable_folders == (home,)


def test_flags_beat_environment_beats_dotenv_beats_runapis_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runapi_file(home, {"api_key": "from-file", "base_url": "https://file.example"})
    assert (key_of(load_settings()), load_settings().base_url) == ("from-file", "https://file.example")
    (home / ".env").write_text("RUNAPI_API_KEY=from-dotenv\nLUMA_MCP_WAIT_SECONDS=11\nOTHER=x\n")
    assert (key_of(load_settings()), load_settings().wait_seconds) == ("from-dotenv", 11)
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
    (home / ".env").write_text(f"RUNAPI_API_KEY='{placeholder}'\n")
    settings = load_settings(save=placeholder)
    assert key_of(settings) == "from-file"
    assert settings.output_dir == home / "Videos" / "luma"
    assert (settings.max_wait_seconds, settings.sandbox, settings.saves) == (300, False, True)


@pytest.mark.parametrize("pasted", ["k-1", " k-1\n", '"k-1"', "'k-1'", "Bearer k-1", ' "bearer  k-1" '])
def test_a_key_is_taken_out_of_what_was_pasted_around_it(monkeypatch: pytest.MonkeyPatch, pasted: str) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", pasted)
    settings = load_settings()
    assert key_of(settings) == "k-1"
    assert "k-1" not in repr(settings) + str(settings)


@pytest.mark.parametrize("folder", ["~/clips", "${HOME}/clips", "$HOME/clips"])
def test_a_folder_may_be_written_as_in_a_shell(home: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setenv("LUMA_MCP_OUTPUT_DIR", folder)
    monkeypatch.setenv("LUMA_MCP_MEDIA_ROOTS", f"{folder}::/srv/clips")
    settings = load_settings()
    assert settings.output_dir == home / "clips"
    assert settings.readable_folders == (home / "clips", Path("/srv/clips"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RUNAPI_API_KEY", "two words"),
        ("RUNAPI_API_KEY", "ké"),
        ("RUNAPI_BASE_URL", "runapi.ai"),
        ("RUNAPI_BASE_URL", "http://runapi.ai"),
        ("RUNAPI_BASE_URL", "https://me:secret@runapi.ai"),
        ("RUNAPI_BASE_URL", "https://runapi.ai?x=1"),
        ("RUNAPI_BASE_URL", "ftp://runapi.ai"),
        ("RUNAPI_BASE_URL", "https://runapi.ai:port"),
        ("LUMA_MCP_DATA_DIR", "relative/folder"),
        ("LUMA_MCP_OUTPUT_DIR", "relative"),
        ("LUMA_MCP_OUTPUT_DIR", "~nobody-of-that-name/clips"),
        ("LUMA_MCP_MEDIA_ROOTS", "relative"),
        ("LUMA_MCP_SAVE", "sometimes"),
        ("LUMA_MCP_WAIT_SECONDS", "soon"),
        ("LUMA_MCP_WAIT_SECONDS", "-1"),
        ("LUMA_MCP_MAX_WAIT_SECONDS", "0"),
        ("LUMA_MCP_MAX_ACTIVE", "0"),
        ("LUMA_MCP_DAILY_LIMIT", "many"),
        ("LUMA_MCP_TRANSPORT", "carrier pigeon"),
        ("LUMA_MCP_PORT", "70000"),
        ("LUMA_MCP_PUBLIC_URL", "http://example.com"),
        ("LUMA_MCP_SANDBOX", "perhaps"),
        ("LUMA_MCP_ALLOW_PRIVATE", "2"),
        ("LUMA_MCP_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_names_its_variable_and_what_it_accepts_and_not_itself(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSetting) as raised:
        load_settings()
    assert raised.value.message.startswith(f"{variable}: accepts ")
    assert "\n" not in raised.value.message
    assert "secret" not in raised.value.message
    assert "two words" not in raised.value.message
    assert raised.value.__suppress_context__


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
    ("dotenv", "environment", "address"),
    [
        ("RUNAPI_BASE_URL=https://evil.example", "", "https://runapi.ai"),
        ("RUNAPI_BASE_URL=https://evil.example", "users-key", "https://runapi.ai"),
        ("RUNAPI_BASE_URL=https://evil.example\nRUNAPI_API_KEY=bait", "users-key", "https://runapi.ai"),
        ("RUNAPI_BASE_URL=https://own.example\nRUNAPI_API_KEY=own", "", "https://own.example"),
        ("RUNAPI_BASE_URL=http://127.0.0.1:8788", "users-key", "http://127.0.0.1:8788"),
        ("RUNAPI_BASE_URL=https://exa:mple", "users-key", "https://runapi.ai"),
    ],
)
def test_a_dotenv_of_some_project_cannot_send_the_users_key_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch, dotenv: str, environment: str, address: str
) -> None:
    runapi_file(home, {"api_key": "from-file"})
    (home / ".env").write_text(dotenv)
    monkeypatch.setenv("RUNAPI_API_KEY", environment)
    assert load_settings().base_url == address


def test_a_wait_is_clamped_to_the_longest() -> None:
    settings = load_settings(wait_seconds=40, max_wait_seconds=30)
    assert [settings.bound(wait) for wait in (-1, 0, 20, 3600)] == [30, 0, 20, 30]


def test_secrets_are_masked_and_lists_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", "ann:t0ken, bob:t1ken")
    monkeypatch.setenv("LUMA_MCP_ALLOWED_HOSTS", "a.example , b.example")
    settings = load_settings(log_level="debug", public_url="https://me.example")
    assert [token.get_secret_value() for token in settings.auth_tokens] == ["ann:t0ken", "bob:t1ken"]
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.log_level == "DEBUG"
    assert "t0ken" not in repr(settings)


def test_files_that_notepad_saved_are_read_and_those_of_another_encoding_are_refused_in_one_line(home: Path) -> None:
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_bytes('\ufeff{"api_key": "rk-file"}'.encode())
    assert load_settings().api_key == SecretStr("rk-file")
    (home / ".env").write_bytes("\ufeffRUNAPI_API_KEY=rk-env\r\nLUMA_MCP_PORT=1\r\n".encode())
    assert load_settings().api_key == SecretStr("rk-env")
    assert load_settings().port == 1
    (home / ".env").write_bytes("RUNAPI_API_KEY=rk-env\r\n".encode("utf-16"))
    with pytest.raises(BadSetting, match=r"^\.env: must be text in UTF-8"):
        load_settings()


def test_an_env_file_carries_no_other_secret_into_key_or_address(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret")
    (home / ".env").write_text("RUNAPI_BASE_URL=https://x.example/${AWS_SECRET_ACCESS_KEY}\nRUNAPI_API_KEY=abc12345\n")
    assert "aws-secret" not in load_settings().base_url
    (home / ".env").write_text("RUNAPI_API_KEY=${AWS_SECRET_ACCESS_KEY}\n")
    assert load_settings().api_key is None


def test_an_env_file_that_cannot_be_read_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("luma_mcp.settings.Settings.__init__", refuse)
    with pytest.raises(BadSetting, match=r"^\.env: cannot be read: Permission denied"):
        load_settings()
