"""Settings: defaults, what they mean together, and one clear line for a bad value."""

import sys
from pathlib import Path

import pytest

from luma_mcp.core import settings as settings_module
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.settings_sources import BadSetting
from tests.support.runapi_keys import NEW_KEY, OLD_KEY, write_key


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
        ("LUMA_MCP_DAILY_LIMIT", "-1"),
        ("LUMA_MCP_DAILY_BUDGET", "0"),
        ("LUMA_MCP_DAILY_BUDGET", "-5"),
        ("LUMA_MCP_DAILY_BUDGET", "5 USD"),
        ("LUMA_MCP_DAILY_BUDGET", "nan"),
        ("LUMA_MCP_DAILY_BUDGET", "inf"),
        ("LUMA_MCP_DAILY_BUDGET", "1e999999"),
        ("LUMA_MCP_DAILY_BUDGET", "0.0000001"),
        ("LUMA_MCP_CONFIRM", "yes"),
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


@pytest.mark.parametrize(("value", "micros"), [("5", 5_000_000), ("2.50", 2_500_000), ("0.1", 100_000), ("", None)])
def test_a_budget_is_read_exactly(monkeypatch: pytest.MonkeyPatch, value: str, micros: int | None) -> None:
    monkeypatch.setenv("LUMA_MCP_DAILY_BUDGET", value)
    assert load_settings().limits.budget == micros


def test_a_server_pays_and_asks_nobody_unless_it_is_said() -> None:
    settings = load_settings()
    assert (settings.never_pays, settings.confirm, settings.daily_budget) == (False, "never", None)
    assert load_settings(daily_limit=0).never_pays
    assert not load_settings(daily_limit=1).never_pays


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


def key_of(settings: Settings) -> str | None:
    key = settings.reload_key()
    return key.get_secret_value() if key else None


def test_a_key_that_a_login_brought_is_found_without_a_restart(home: Path) -> None:
    settings = load_settings()
    assert key_of(settings) is None
    file = write_key(home, NEW_KEY)
    assert key_of(settings) == NEW_KEY
    write_key(home, OLD_KEY, "https://runapi.ai/")
    assert key_of(settings) == OLD_KEY
    file.unlink()
    assert key_of(settings) is None


def test_a_key_out_of_the_file_gives_way_to_what_the_file_holds_later(home: Path) -> None:
    write_key(home, OLD_KEY, "https://runapi.example")
    settings = load_settings()
    write_key(home, NEW_KEY, "https://runapi.example")
    assert key_of(settings) == NEW_KEY
    write_key(home, NEW_KEY)
    assert key_of(settings) is None


def test_a_key_of_another_address_is_not_taken(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual = load_settings()
    monkeypatch.setenv("RUNAPI_BASE_URL", "https://runapi.example")
    own = load_settings()
    write_key(home, NEW_KEY)
    assert (key_of(usual), key_of(own)) == (NEW_KEY, None)
    write_key(home, NEW_KEY, "https://runapi.example")
    assert (key_of(usual), key_of(own)) == (None, NEW_KEY)
    assert "is for https://runapi.example, so it is not used here" in caplog.text
    assert NEW_KEY not in caplog.text


@pytest.mark.parametrize("source", ["environment", "env_file", "argument", "sandbox"])
def test_a_key_that_was_given_otherwise_is_never_replaced(
    home: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    if source == "environment":
        monkeypatch.setenv("RUNAPI_API_KEY", OLD_KEY)
    elif source == "env_file":
        (home / "own.env").write_text(f"RUNAPI_API_KEY={OLD_KEY}\n", encoding="utf-8")
        monkeypatch.setenv("LUMA_MCP_ENV_FILE", str(home / "own.env"))
    settings = load_settings(api_key=OLD_KEY if source == "argument" else None, sandbox=source == "sandbox")
    (home / "own.env").unlink(missing_ok=True)
    write_key(home, NEW_KEY)
    assert key_of(settings) is None


def test_a_placeholder_in_the_environment_is_no_key_so_the_file_counts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNAPI_API_KEY", "${user_config.api_key}")
    settings = load_settings()
    write_key(home, NEW_KEY)
    assert key_of(settings) == NEW_KEY


@pytest.mark.parametrize("text", ["", '{"api_key": "sk-torn', '["sk"]', '{"api_key": "two words"}', "\x00"])
def test_a_torn_file_brings_no_key_and_says_why(home: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    settings = load_settings()
    write_key(home, NEW_KEY).write_text(text, encoding="utf-8")
    assert key_of(settings) is None
    assert "so nothing in it counts" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bits")
def test_a_file_that_others_can_write_brings_no_key_even_behind_a_link(home: Path) -> None:
    settings = load_settings()
    file = write_key(home, NEW_KEY)
    file.chmod(0o622)
    assert key_of(settings) is None
    real = file.rename(home / "dotfile.json")
    file.symlink_to(real)
    assert key_of(settings) is None
    real.chmod(0o600)
    assert key_of(settings) == NEW_KEY


def test_all_keys_are_secrets_of_the_settings_and_of_their_copies(home: Path) -> None:
    write_key(home, OLD_KEY)
    settings = load_settings(auth_tokens="ann:t0ken-0123456789")
    write_key(home, NEW_KEY)
    settings.model_copy(update={"transport": "http"}).reload_key()
    assert {secret.get_secret_value() for secret in settings.secrets} == {OLD_KEY, NEW_KEY, "t0ken-0123456789"}
    assert not any(key in repr(settings) + str(vars(settings)) for key in (OLD_KEY, NEW_KEY))


@pytest.mark.parametrize(
    "address",
    ["postgresql://ann:pw@db.example:5432/luma", "postgres:///luma", "postgresql://a,b/luma?target_session_attrs=any"],
)
def test_the_address_of_a_database_is_taken_and_never_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_DATABASE_URL", address)
    settings = load_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == address
    assert address not in repr(settings)
    assert address in {secret.get_secret_value() for secret in settings.secrets}


def test_the_password_in_the_address_of_a_database_is_a_secret_as_written_and_as_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUMA_MCP_DATABASE_URL", "postgresql://ann:p%40ss-word@db.example/luma")
    assert {"p%40ss-word", "p@ss-word"} <= {secret.get_secret_value() for secret in load_settings().secrets}


@pytest.mark.parametrize(
    "address", ["mysql://a/b", "postgresql://host", "my-own-word", "postgresql://h:x/b", "postgresql://h:0/b"]
)
def test_what_is_no_address_of_a_database_ends_the_start(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_DATABASE_URL", address)
    with pytest.raises(BadSetting, match=r"LUMA_MCP_DATABASE_URL: accepts .*postgresql://") as raised:
        load_settings()
    assert address not in str(raised.value)


def test_a_database_needs_what_speaks_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "find_spec", lambda name: None)
    monkeypatch.setenv("LUMA_MCP_DATABASE_URL", "postgresql://host/luma")
    with pytest.raises(BadSetting, match="needs the extra `postgres`"):
        load_settings()
