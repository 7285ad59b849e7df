"""The flags of settings are those that there are."""

from types import NoneType
from typing import Any, Literal, get_args, get_origin

import pytest

from luma_mcp.cli.main import parse_command_line
from luma_mcp.cli.setting_flags import FLAGS, RULE, flag_name
from luma_mcp.core.settings import Settings, variable_name

SECRET = {"api_key", "auth_tokens", "metrics_token", "database_url"}


def literals(annotation: Any) -> tuple[str, ...]:
    """Give the values of a setting that has only a few, as those of a `Literal`."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Literal:
            return tuple(part.__args__)
    return ()


def test_every_setting_but_secrets_is_a_flag() -> None:
    assert set(FLAGS) == Settings.model_fields.keys() - SECRET


def test_a_flag_shows_the_values_that_its_setting_takes_and_a_switch_takes_none() -> None:
    for name, flag in FLAGS.items():
        annotation = Settings.model_fields[name].annotation
        assert flag.choices == literals(annotation), name
        assert (flag.value == "") == (annotation is bool), name
        assert annotation is not NoneType


def test_the_rule_for_variables_holds_for_all_but_the_one_it_names() -> None:
    odd = {}
    for name in FLAGS:
        variable = variable_name(Settings.model_fields[name], name)
        if variable != f"LUMA_MCP_{name.upper()}":
            odd[name] = variable
    assert odd == {"base_url": "RUNAPI_BASE_URL"}
    assert f"{flag_name('base_url')} is RUNAPI_BASE_URL" in RULE


def test_a_meaning_fits_beside_its_flag() -> None:
    assert max(len(flag.meaning) for flag in FLAGS.values()) <= 54


def test_no_spend_is_short_for_a_daily_limit_of_none(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--no-spend"], ["account", "--no-spend"], ["modify", "a.mp4", "fog", "--no-spend"]):
        assert parse_command_line(words)["daily_limit"] == 0
        assert parse_command_line([word.replace("--no-spend", "--daily-limit=0") for word in words])["daily_limit"]
    with pytest.raises(SystemExit):
        parse_command_line(["wait", "--no-spend"])
    assert "--no-spend" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["account"], ["modify", "a.mp4", "fog"]])
@pytest.mark.parametrize("flags", [["--no-spend", "--daily-limit=3"], ["--daily-limit=3", "--no-spend"]])
def test_no_limit_given_beside_no_spend_makes_a_server_that_pays(command: list[str], flags: list[str]) -> None:
    first, second = flags
    for words in ([*flags, *command], [*command, *flags], [first, *command, second]):
        assert parse_command_line(words)["daily_limit"] == 0


def test_every_setting_of_a_server_that_a_host_starts_can_be_put_into_the_hosts_entry() -> None:
    over_http = {"auth_tokens_file", "oauth_issuer", "oauth_audience", "oauth_callers", "allowed_hosts"}
    for name in FLAGS.keys() - over_http:
        assert name in parse_command_line(["config", "zed", flag_name(name), *(["1"] if FLAGS[name].value else [])])
