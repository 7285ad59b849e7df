"""The settings as flags, in the words of a command line; what they mean to a server says `core/settings.py`.

Nothing here loads the settings themselves: reading a command line must be quick. The tests hold the two together.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SettingFlag:
    """How a setting is given as a flag; secrets are never flags, because others on the machine can read them."""

    value: str  # what stands for the value, with all values in braces where they are few; empty for a switch
    meaning: str  # short: the help of a command fits a screen

    @property
    def choices(self) -> tuple[str, ...]:
        """Give the values that there are, if they are few."""
        return tuple(self.value.strip("{}").split(",")) if self.value.startswith("{") else ()


FLAGS: Mapping[str, SettingFlag] = {
    "sandbox": SettingFlag("", "simulate RunAPI: no key, no network, nothing charged"),
    "output_dir": SettingFlag("DIR", "where videos are saved"),
    "save": SettingFlag("{auto,never}", "save each finished video, or none"),
    "media_roots": SettingFlag("DIRS", "folders that clips may be read from"),
    "daily_limit": SettingFlag("N", "how many tasks may be made in 24 hours (any)"),
    "daily_budget": SettingFlag("USD", "how much may be charged in 24 hours (any)"),
    "max_active": SettingFlag("N", "how many tasks may run at once (20)"),
    "polls_per_second": SettingFlag("N", "questions to RunAPI in a second, of all tasks (200)"),
    "confirm": SettingFlag("{never,ask}", "have the host ask before each charge (never)"),
    "transport": SettingFlag(
        "{stdio,sse,streamable-http,http}", "how hosts connect (stdio); http: the last two at once"
    ),
    "host": SettingFlag("ADDRESS", "the address to listen on (127.0.0.1)"),
    "port": SettingFlag("PORT", "the port to listen on (8000)"),
    "public_url": SettingFlag("URL", "where RunAPI reaches this server, to call back"),
    "auth_tokens_file": SettingFlag("FILE", "a file of name:token lines, read again when changed"),
    "oauth_issuer": SettingFlag("URL", "the identity provider whose users may come in"),
    "oauth_audience": SettingFlag("NAMES", "this server's address, as its tokens name it"),
    "oauth_callers": SettingFlag("WHO", "sub:ID, email:ADDRESS or group:NAME, by commas"),
    "allowed_hosts": SettingFlag("NAMES", "names under which clients reach this server"),
    "callback_hosts": SettingFlag("NAMES", "hosts that may be told of your own clips' results"),
    "wait_seconds": SettingFlag("SECONDS", "how long tool calls wait (40; many hosts cut at 60)"),
    "max_wait_seconds": SettingFlag("SECONDS", "the longest wait that a call may ask for (300)"),
    "keep_days": SettingFlag("DAYS", "forget ended tasks after so many days (never)"),
    "legacy_tasks": SettingFlag("", "offer tasks to hosts of MCP 2025-11-25, too"),
    "data_dir": SettingFlag("DIR", "where the list of tasks is kept"),
    "env_file": SettingFlag("FILE", "a file of settings: lines like LUMA_MCP_PORT=8000"),
    "base_url": SettingFlag("URL", "the address of RunAPI (https://runapi.ai)"),
    "allow_private": SettingFlag("", "fetch results from private addresses too"),
    "log_level": SettingFlag("{DEBUG,INFO,WARNING,ERROR}", "how much is logged on stderr (INFO)"),
}
ALL = tuple(FLAGS)
NO_SPEND = "--no-spend"  # means `--daily-limit 0`, whatever limit is given beside it
NO_SPEND_SETS = "daily_limit"
NO_SPEND_MEANING = "never pay: look, join, save and preview only"
RULE = """\
Each is a variable of the environment, too: --output-dir is LUMA_MCP_OUTPUT_DIR.
Only --base-url is RUNAPI_BASE_URL. Flags beat variables, which beat --env-file."""
SECRETS = """\
Secrets are never flags, for others can read these: the key is RUNAPI_API_KEY,
or what luma-mcp login keeps; tokens for HTTP are LUMA_MCP_AUTH_TOKENS."""


def flag_name(setting: str) -> str:
    """Give the flag of a setting: `output_dir` is `--output-dir`."""
    return f"--{setting.replace('_', '-')}"


def add_setting_flags(group: argparse._ArgumentGroup, settings: Iterable[str], *, shown: bool = True) -> None:
    """Add the flags of some settings, also to the help if `shown`; what is not given is absent afterwards.

    The values are checked with those of all other sources, and may be placeholders that a host left unexpanded.
    """
    for name in settings:
        flag = FLAGS[name]
        meaning = flag.meaning if shown else argparse.SUPPRESS
        kind: dict[str, Any] = {"metavar": flag.value} if flag.value else {"action": "store_true"}
        group.add_argument(flag_name(name), dest=name, default=argparse.SUPPRESS, help=meaning, **kind)
        if name == NO_SPEND_SETS:
            words = NO_SPEND_MEANING if shown else argparse.SUPPRESS
            group.add_argument(NO_SPEND, action="store_true", default=argparse.SUPPRESS, help=words)
