"""`server.json`: how the MCP registry and its readers learn of this server and its settings (schema of 2025-12-11)."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from luma_mcp import __version__
from luma_mcp.core.settings import Settings, variable_name
from luma_mcp.core.text import Json
from luma_mcp.hosts.existing import DISTRIBUTION
from luma_mcp.server.server import TITLE, WEBSITE

SCHEMA_URL = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
REGISTRY_NAME = "io.github.luma-mcp/luma-mcp"
DESCRIPTION = "Modify existing videos with Luma at RunAPI: paid once, never lost, saved on your disk."
FORMATS: dict[type, str] = {bool: "boolean", int: "number", Decimal: "number", Path: "filepath"}
HTTP_SETTINGS = (
    *("host", "port", "auth_tokens", "auth_tokens_file", "oauth_issuer", "oauth_audience", "oauth_callers"),
    *("metrics_token", "allowed_hosts", "public_url", "database_url"),
)
PORT_VARIABLE = "{LUMA_MCP_PORT}"
AUTHORIZATION_HEADER: Json = {
    "name": "Authorization",
    "description": "Bearer and the token: what `luma-mcp token` prints on the server's machine, or one of those in"
    " LUMA_MCP_AUTH_TOKENS.",
    "isRequired": False,
    "isSecret": True,
    "placeholder": "Bearer <token>",
}
TRANSPORTS: tuple[Json, ...] = (
    {"type": "stdio"},
    {"type": "streamable-http", "url": f"http://127.0.0.1:{PORT_VARIABLE}/mcp", "headers": [AUTHORIZATION_HEADER]},
    {"type": "sse", "url": f"http://127.0.0.1:{PORT_VARIABLE}/sse", "headers": [AUTHORIZATION_HEADER]},
)


def environment_variables() -> list[Json]:
    """Describe every setting as server.json does (schema of 2025-12-11, `KeyValueInput`)."""
    return [describe_setting(variable_name(field, name), field) for name, field in Settings.model_fields.items()]


def describe_setting(variable: str, field: FieldInfo) -> Json:
    meaning = f"{sentence(field.description or '')}. Accepts {extra(field, 'accepts')}."
    more: Json = {"default": default_of(field), "choices": choices_of(field.annotation)}
    if shown := extra(field, "shown"):
        meaning += f" Default: {shown.replace('`', '')}."
    return {
        "name": variable,
        "description": meaning,
        "isRequired": False,
        "isSecret": is_secret(field),
        "format": format_of(field),
        **{name: value for name, value in more.items() if value},
    }


def settings_table() -> str:
    """Write README's table: every setting but those that matter over HTTP alone."""
    rows = [
        f"| `{variable_name(field, name)}` | {shown_default(field)} | {meaning_with_choices(field)} |"
        for name, field in Settings.model_fields.items()
        if name not in HTTP_SETTINGS
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def meaning_with_choices(field: FieldInfo) -> str:
    choices = [] if field.annotation is bool else choices_of(field.annotation)
    return f"{extra(field, 'accepts')}: {field.description}" if choices else str(field.description)


def http_settings_table() -> str:
    """Write the table of the settings that matter over HTTP alone, with what each accepts."""
    rows = [
        f"| `{variable_name(field, name)}` | {shown_default(field)} | {extra(field, 'accepts')} | {field.description} |"
        for name, field in Settings.model_fields.items()
        if name in HTTP_SETTINGS
    ]
    return "\n".join(["| variable | default | accepts | meaning |", "|---|---|---|---|", *rows])


def extra(field: FieldInfo, name: str) -> str:
    return cast("dict[str, str]", field.json_schema_extra)[name]


def sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def default_of(field: FieldInfo) -> str:
    """Write a default as its variable would hold it; empty for none, and for one that depends on the machine."""
    plain: Any = None if field.default_factory else field.default
    if isinstance(plain, bool):
        return str(plain).lower()
    return "" if plain is None or plain == () else str(plain)


def shown_default(field: FieldInfo) -> str:
    plain = default_of(field)
    return extra(field, "shown") or (f"`{plain}`" if plain else "none")


def is_secret(field: FieldInfo) -> bool:
    return contains_type(field.annotation, SecretStr)


def contains_type(annotation: Any, kind: type, *, in_lists: bool = True) -> bool:
    """Tell whether a type is `kind`, or has it among its arguments."""
    parts = get_args(annotation) if in_lists or get_origin(annotation) is not tuple else ()
    return annotation is kind or any(contains_type(part, kind, in_lists=in_lists) for part in parts)


def choices_of(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in choices_of(part)]


def format_of(field: FieldInfo) -> str:
    """Name the `format` of server.json's schema; a list is a string, as its variable holds it."""
    return next(
        (name for kind, name in FORMATS.items() if contains_type(field.annotation, kind, in_lists=False)), "string"
    )


def server_json() -> Json:
    return {
        "$schema": SCHEMA_URL,
        "name": REGISTRY_NAME,
        "title": TITLE,
        "description": DESCRIPTION,
        "version": __version__,
        "websiteUrl": WEBSITE,
        "packages": [describe_package(transport) for transport in TRANSPORTS],
    }


def describe_package(transport: Json) -> Json:
    """Describe the package with the variable that makes it speak this transport."""
    variables = environment_variables()
    for variable in variables:
        if variable["name"] == "LUMA_MCP_TRANSPORT":
            variable["value"] = transport["type"]
    return {
        "registryType": "pypi",
        "identifier": DISTRIBUTION,
        "version": __version__,
        "runtimeHint": "uvx",
        "transport": transport,
        "environmentVariables": variables,
    }


def server_json_text() -> str:
    return json.dumps(server_json(), indent=2, ensure_ascii=False) + "\n"
