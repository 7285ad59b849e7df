"""Settings: defaults, what they mean together, and one clear line for a bad value."""

from pathlib import Path

import pytest

from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_sources import BadSetting


def test_the_defaults_are_those_of_the_design(home: Path) -> None:
    settings = load_settings()
    assert settings.api_key is None
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


def test_a_wait_is_clamped_to_the_longest() -> None:
    settings = load_settings(wait_seconds=40, max_wait_seconds=30)
    assert [settings.clamp_wait(wait) for wait in (-1, 0, 20, 3600)] == [30, 0, 20, 30]


def test_secrets_are_masked_and_lists_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", "ann:t0ken-0123456789, bob:t1ken-0123456789")
    monkeypatch.setenv("LUMA_MCP_ALLOWED_HOSTS", "a.example , b.example")
    settings = load_settings(log_level="debug", public_url="https://me.example")
    assert [(name, token.get_secret_value()) for name, token in settings.tokens] == [
        ("ann", "t0ken-0123456789"),
        ("bob", "t1ken-0123456789"),
    ]
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.log_level == "DEBUG"
    assert "t0ken" not in repr(settings)


def test_a_folder_that_somebody_named_counts_whatever_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_MEDIA_ROOTS", f"{home}:{home}/.clips")
    settings = load_settings()
    assert settings.readable_folders == (home, home / ".clips")
    assert settings.implicit_folders == ()
    monkeypatch.delenv("LUMA_MCP_MEDIA_ROOTS")
    monkeypatch.setenv("LUMA_MCP_OUTPUT_DIR", str(home))
    settings = load_settings()
    assert settings.readable_folders == (home, home / "Videos", home / "Downloads", home / "Desktop")
    assert settings.implicit_folders == (home / "Videos", home / "Downloads", home / "Desktop")
