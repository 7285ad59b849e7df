"""Settings: read once, frozen, passed as an argument. The only place that looks at the environment.

Two things are looked at again: RunAPI's own file, for the key that a login brings while a server runs, and the file of
tokens.
"""

import logging
import os
from collections.abc import Mapping
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from luma_mcp.core.default_folders import default_data_folder, default_output_folder, default_source_folders
from luma_mcp.core.models import LOCAL_CALLER, Limits, to_micros
from luma_mcp.core.settings_sources import (
    BASE_URL_VARIABLE,
    FILE_FIELD,
    KEY_FIELD,
    KEY_VARIABLE,
    PREFIX,
    ApiKey,
    Audiences,
    BadSetting,
    DatabaseUrl,
    Folder,
    Folders,
    Hosts,
    LogLevel,
    OAuthCallers,
    SecretToken,
    Tokens,
    environment,
    find_env_file,
    name_and_token,
    non_empty,
    passwords_in,
    read_env_file,
    read_runapi_file,
    read_tokens_file,
    resolve_typed_path,
    runapi_file_path,
    setting,
    settings_in,
    settings_in_runapi_file,
    validate_api_url,
    validate_issuer,
    validate_public_url,
)
from luma_mcp.core.uris import CALLBACKS_PATH

USUAL_BASE_URL = "https://runapi.ai"
WAIT_LIMIT_SECONDS = 3600
MAX_BUDGET_USD = 1_000_000
DEFAULT_WAIT_SECONDS = 40  # below the 60 s at which common hosts cut a call

logger = logging.getLogger(__name__)


class Settings(BaseModel):
    """All that can be set. Flags beat environment beats a file that either names beats RunAPI's own file."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_default=True)

    api_key: ApiKey | None = setting(
        "the RunAPI key", "the key as RunAPI shows it", default=None, validation_alias=KEY_VARIABLE
    )
    base_url: Annotated[str, AfterValidator(validate_api_url)] = setting(
        "the address of RunAPI",
        "an https:// address (http:// only on this machine or a private network)",
        default=USUAL_BASE_URL,
        validation_alias=BASE_URL_VARIABLE,
    )
    data_dir: Folder = setting(
        "the folder of the task ledger",
        "an absolute path",
        shown="your data folder",
        default_factory=default_data_folder,
    )
    database_url: DatabaseUrl | None = setting(
        "a PostgreSQL database that holds the tasks in place of a file in the data folder, for several machines",
        "an address such as postgresql://user:password@host/name",
        default=None,
    )
    output_dir: Folder = setting(
        "the folder for saved videos",
        "an absolute path",
        shown="your video folder, `luma` in it",
        default_factory=default_output_folder,
    )
    save: Literal["auto", "never"] | None = setting(
        "save each finished video by itself, or never",
        "auto or never",
        shown="`auto`, over HTTP `never`",
        default=None,
    )
    media_roots: Folders | None = setting(
        "the folders that source files may be read from, separated by ':' (on Windows ';')",
        f"absolute paths separated by {os.pathsep!r}",
        shown="the output folder and your video, download and desktop folders; none over HTTP",
        default=None,
    )
    wait_seconds: int = setting(
        "how long a waiting call waits by default, in seconds; common hosts cut a call at 60",
        f"a whole number of seconds from 0 to {WAIT_LIMIT_SECONDS}",
        default=DEFAULT_WAIT_SECONDS,
        ge=0,
        le=WAIT_LIMIT_SECONDS,
    )
    max_wait_seconds: int = setting(
        "the longest wait of a call, in seconds; a call that asks for more waits that long",
        f"a whole number of seconds from 1 to {WAIT_LIMIT_SECONDS}",
        default=300,
        ge=1,
        le=WAIT_LIMIT_SECONDS,
    )
    max_active: int = setting(
        "how many tasks may run at once, for each caller", "a whole number from 1", default=20, ge=1
    )
    daily_limit: int | None = setting(
        "how many tasks may be submitted in 24 hours, by each caller; 0 makes a server that never pays",
        "a whole number from 0",
        default=None,
        ge=0,
    )
    daily_budget: Decimal | None = setting(
        "how many USD may be charged in 24 hours, to each caller; what runs or is in doubt counts with its price",
        f"a number of USD above 0, at most {MAX_BUDGET_USD}, such as 5 or 2.50",
        default=None,
        gt=0,
        le=MAX_BUDGET_USD,
        decimal_places=6,
    )
    confirm: Literal["never", "ask"] = setting(
        "whether the host asks a person before each charge", "never or ask", default="never"
    )
    polls_per_second: int = setting(
        "how often in a second RunAPI is asked how tasks are doing, for all of them together and"
        " from all servers that share them",
        "a whole number from 1 to 1000",
        default=200,
        ge=1,
        le=1000,
    )
    callback_hosts: Hosts = setting(
        "the hosts that a `callback_url` may name for clips of your own: RunAPI sends the result there",
        "host names separated by commas, each with a port or without",
        default=(),
    )
    keep_days: int | None = setting(
        "after how many days ended tasks are deleted from the ledger, so that they can be paid for again (saved videos"
        " stay, unconfirmed tasks too); without it, never",
        "a whole number from 1",
        default=None,
        ge=1,
    )
    transport: Literal["stdio", "sse", "streamable-http", "http"] = setting(
        "how hosts connect; http is the last two on one port", "stdio, sse, streamable-http or http", default="stdio"
    )
    host: str = setting("the address that HTTP transports listen on", "a host name or address", default="127.0.0.1")
    port: int = setting(
        "the port of HTTP transports; 0 is any free one", "a port from 0 to 65535", default=8000, ge=0, le=65535
    )
    auth_tokens: Tokens | None = setting(
        "who may connect over HTTP; each name has tasks and limits of its own",
        "name:token pairs separated by commas (names of letters, digits, '.', '_' and '-', but not 'local'; tokens of"
        " 16 characters or more), or none to let in all programs and users of this machine",
        shown="one for yourself, kept in the data folder: `luma-mcp token` prints it",
        default=None,
    )
    auth_tokens_file: Folder | None = setting(
        "a file of more such pairs, one a line: it is looked at again while the server runs, so adding or deleting a"
        " line needs no restart",
        "an absolute path",
        default=None,
    )
    oauth_issuer: Annotated[str, AfterValidator(validate_issuer)] = setting(
        "the identity provider whose access tokens let people in over HTTP",
        "the issuer as the provider's metadata writes it: an https:// address (http:// only on this machine)",
        default="",
    )
    oauth_audience: Audiences = setting(
        "the address at which clients reach this server, for which the provider makes its tokens",
        "an https:// address (http:// only on this machine), and behind commas other names for it in tokens (`aud`)",
        default=(),
    )
    oauth_callers: OAuthCallers = setting(
        "who of the provider's users may come in: nobody else does",
        "sub:ID, email:ADDRESS (verified ones only) or group:NAME, separated by commas",
        default=(),
    )
    metrics_token: SecretToken | None = setting(
        "the token with which a Prometheus reads `/metrics`; without it there is no such page",
        "a token of 16 characters or more",
        default=None,
    )
    allowed_hosts: Hosts = setting(
        "the names, beside loopback, under which HTTP clients reach this server, as behind a proxy",
        "host names separated by commas, each with a port or without",
        default=(),
    )
    public_url: Annotated[str, AfterValidator(validate_public_url)] = setting(
        "the address under which RunAPI reaches this server over HTTP, to call back when a task ends, and people, to"
        " upload clips and to see saved videos",
        "an https:// address (http:// only on this machine)",
        default="",
    )
    legacy_tasks: bool = setting(
        "answer hosts of the protocol 2025-11-25 by tasks too, where they ask for them; VS Code then freezes the chat"
        " until the end",
        "true or false",
        default=False,
    )
    sandbox: bool = setting(
        "simulate RunAPI inside this process: no key, no network, no cost", "true or false", default=False
    )
    allow_private: bool = setting(
        "take results from, and upload clips to, private and loopback addresses too", "true or false", default=False
    )
    log_level: Annotated[LogLevel, BeforeValidator(lambda v: v.upper() if isinstance(v, str) else v)] = setting(
        "how much is logged, on stderr only", "DEBUG, INFO, WARNING or ERROR", default="INFO"
    )
    env_file: Folder | None = setting(
        "a file of lines such as `LUMA_MCP_PORT=8000`, for settings that are given neither by flags nor by environment",
        "an absolute path (as a flag, any path)",
        default=None,
    )
    _key_may_change: bool = PrivateAttr(default=False)
    _later_keys: set[SecretStr] = PrivateAttr(default_factory=set[SecretStr])
    _file_tokens: frozenset[SecretStr] = PrivateAttr(default=frozenset())

    def model_post_init(self, context: Any, /) -> None:
        """Note where the key came from: only RunAPI's own file is looked at again."""
        from_file = self.api_key is None or key_sources(self.env_file)[:1] == ["file"]
        self._key_may_change = from_file and not self.sandbox

    def reload_key(self) -> SecretStr | None:
        """Read RunAPI's own file again, after `luma-mcp login`; None if it holds no key that may be used here.

        A key that was given otherwise is never replaced, and a key never goes to another address than its own.
        """
        if not self._key_may_change:
            return None
        own = read_runapi_file()
        address = own.base_url or USUAL_BASE_URL
        if own.fault:
            logger.warning("%s, so nothing in it counts", own.fault)
        elif own.key and address != self.base_url:
            logger.warning("The key in %s is for %s, so it is not used here", runapi_file_path(), address)
        elif own.key:
            self._later_keys.add(SecretStr(own.key))
            return SecretStr(own.key)
        return None

    def reload_tokens(self) -> tuple[tuple[tuple[str, SecretStr], ...], tuple[str, ...]]:
        """Read the file of tokens again; give its pairs and what is wrong with it, of which nothing lets anybody in."""
        if self.auth_tokens_file is None:
            return (), ()
        try:
            pairs, faults = read_tokens_file(self.auth_tokens_file)
        except OSError as error:
            pairs, faults = (), (f"it cannot be read: {error.strerror}",)
        self._file_tokens = frozenset(token for _, token in pairs)
        return pairs, faults

    @property
    def secrets(self) -> frozenset[SecretStr]:
        """Give all that no log may show: the key, those that came later, and the tokens."""
        tokens = (token for _, token in self.tokens)
        database = () if self.database_url is None else (self.database_url, *passwords_in(self.database_url))
        later = (*self._later_keys, *self._file_tokens)
        return frozenset(filter(None, (self.api_key, *later, *tokens, self.metrics_token, *database)))

    @property
    def serves_http(self) -> bool:
        """Tell whether clients come over the network."""
        return self.transport != "stdio"

    @property
    def tokens(self) -> tuple[tuple[str, SecretStr], ...]:
        """Give the name and the token of each who may connect over HTTP."""
        return tuple(name_and_token(pair.get_secret_value()) for pair in self.auth_tokens or ())

    @property
    def callers(self) -> tuple[tuple[str, SecretStr], ...]:
        """Give those of `tokens` that have a name of their own; who has another token is this user, as on stdio."""
        return tuple((name, token) for name, token in self.tokens if name != LOCAL_CALLER)

    @property
    def names_callers(self) -> bool:
        """Tell whether those who connect over HTTP have names: by tokens, or by an identity provider."""
        return bool(self.callers or self.auth_tokens_file or self.oauth_issuer)

    @property
    def needs_no_token(self) -> bool:
        """Tell whether all programs and users of this machine may connect over HTTP."""
        return self.auth_tokens == ()

    @property
    def callback_base_url(self) -> str:
        """Give the address below which RunAPI can call back; empty on stdio, and where none is set."""
        return self.public_url if self.serves_http else ""

    @property
    def callback_prefix(self) -> str:
        """Give the beginning of the addresses that RunAPI calls, one for each task; empty if it cannot call."""
        return f"{self.callback_base_url}{CALLBACKS_PATH}/" if self.callback_base_url else ""

    @property
    def takes_uploads(self) -> bool:
        """Tell whether models can name addresses at which people elsewhere upload clips."""
        return bool(self.callback_base_url)

    @property
    def limits(self) -> Limits:
        """Give how many tasks may run at once and be submitted in 24 hours, and for how much."""
        budget = None if self.daily_budget is None else to_micros(self.daily_budget)
        return Limits(self.max_active, self.daily_limit, budget)

    @property
    def never_pays(self) -> bool:
        """Tell whether this server submits nothing, whoever asks."""
        return self.daily_limit == 0

    @property
    def tasks_dir(self) -> Path:
        """Give the folder of the ledger, which the sandbox has one of its own for."""
        return self.sandbox_dir if self.sandbox else self.data_dir

    @property
    def database_schema(self) -> str:
        """Name what holds the ledger's tables in a database, which the sandbox has one of its own for."""
        return "luma_mcp_sandbox" if self.sandbox else "luma_mcp"

    @property
    def sandbox_dir(self) -> Path:
        """Give the folder of the sandbox's state and ledger."""
        return self.data_dir / "sandbox"

    @property
    def saved_folders(self) -> tuple[Path, ...]:
        """List the folders that a saved video may lie in."""
        return (self.output_dir, *self.readable_folders)

    @property
    def saves(self) -> bool:
        """Tell whether finished videos are saved without being asked for."""
        return self.save == "auto" or (self.save is None and not self.serves_http)

    @property
    def readable_folders(self) -> tuple[Path, ...]:
        """List the folders that source files may be read from."""
        if self.media_roots is not None:
            return self.media_roots
        if self.serves_http:
            return ()
        named = (self.output_dir,) if "output_dir" in self.model_fields_set else ()
        return (*named, *self.implicit_folders)

    @property
    def implicit_folders(self) -> tuple[Path, ...]:
        """List the readable folders that no setting names: nothing hidden is read below them."""
        if self.media_roots is not None or self.serves_http:
            return ()
        return default_source_folders(() if "output_dir" in self.model_fields_set else (self.output_dir,))

    def clamp_wait(self, wait_seconds: int) -> float:
        """Give the seconds that a call may wait: -1 means the setting, and nothing exceeds the longest."""
        return float(min(self.wait_seconds if wait_seconds < 0 else wait_seconds, self.max_wait_seconds))


def load_sources(flags: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Give the settings of flags, of the environment, and of the file that either names.

    Nothing in the working directory is a source. Raises `BadSetting` if the file cannot be read.
    """
    names = {variable_name(field, name): name for name, field in Settings.model_fields.items()}
    typed, variables = non_empty(flags), settings_in(environment(), names)
    return typed, variables, settings_in(read_env_file(find_env_file((typed, variables))), names)


def load_settings(**flags: Any) -> Settings:
    """Read all sources; raise `BadSetting`, which names the variable and what it accepts."""
    given = {name: value for name, value in flags.items() if value is not None}
    if FILE_FIELD in given:
        given[FILE_FIELD] = resolve_typed_path(given[FILE_FIELD])
    typed, variables, named = load_sources(given)
    found = {**named, **variables, **typed}
    try:
        settings = Settings.model_validate({**settings_in_runapi_file(found), **found})
    except ValidationError as error:
        name = str(error.errors(include_input=False)[0]["loc"][0])
        raise BadSetting(*describe_accepted(name)) from None
    if settings.database_url and find_spec("psycopg_pool") is None:
        raise BadSetting("LUMA_MCP_DATABASE_URL", "needs the extra `postgres`, which is not installed")
    return settings


def describe_accepted(name: str) -> tuple[str, str]:
    fields = Settings.model_fields
    field = fields.get(name) or next(field for field in fields.values() if field.validation_alias == name)
    return variable_name(field, name), f"accepts {cast('dict[str, str]', field.json_schema_extra)['accepts']}"


def variable_name(field: FieldInfo, name: str) -> str:
    """Give the environment variable of a field."""
    return str(field.validation_alias or f"{PREFIX}{name.upper()}")


def key_sources(env_file: Path | None = None) -> list[str]:
    """Name the sources that hold a key, the one that counts first: environment, env_file (named), file (RunAPI's)."""
    _, variables, named = load_sources({FILE_FIELD: env_file} if env_file else {})
    has_key = {
        "environment": KEY_FIELD in variables,
        "env_file": KEY_FIELD in named,
        "file": bool(read_runapi_file().key),
    }
    return [name for name, is_there in has_key.items() if is_there]
