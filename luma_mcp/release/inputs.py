"""The settings, as forms and tables of other programs want them described."""

from typing import Any, Literal, cast, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from luma_mcp.core.settings import Settings, variable_of
from luma_mcp.core.text import Json


def environment_variables() -> list[Json]:
    """Describe every setting as server.json does (schema of 2025-12-11, `KeyValueInput`)."""
    return [described(variable_of(field, name), field) for name, field in Settings.model_fields.items()]


def described(variable: str, field: FieldInfo) -> Json:
    """Describe one setting: what it means and accepts, its default, choices and secrecy."""
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
    """Write the table of settings for README."""
    rows = [
        f"| `{variable_of(field, name)}` | {shown_default(field)} | {extra(field, 'accepts')} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | accepts | meaning |", "|---|---|---|---|", *rows])


def extra(field: FieldInfo, name: str) -> str:
    """Give what a setting was declared with."""
    return cast("dict[str, str]", field.json_schema_extra)[name]


def sentence(words: str) -> str:
    """Begin with a capital letter."""
    return words[:1].upper() + words[1:]


def default_of(field: FieldInfo) -> str:
    """Write a default as a variable holds it; empty for none, and for one that depends on the machine."""
    plain: Any = None if field.default_factory else field.default
    if isinstance(plain, bool):
        return str(plain).lower()
    return "" if plain is None or plain == () else str(plain)


def shown_default(field: FieldInfo) -> str:
    """Write a default for people."""
    plain = default_of(field)
    return extra(field, "shown") or (f"`{plain}`" if plain else "none")


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a setting holds a secret."""
    return holds(field.annotation, SecretStr)


def holds(annotation: Any, kind: type) -> bool:
    """Tell whether a type is, or is made of, another."""
    return annotation is kind or any(holds(part, kind) for part in get_args(annotation))


def choices_of(annotation: Any) -> list[str]:
    """List the values of a setting that has only a few."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in choices_of(part)]


def format_of(field: FieldInfo) -> str:
    """Name the kind of input."""
    kinds: dict[Any, str] = {bool: "boolean", int: "number"}
    found = next((name for kind, name in kinds.items() if holds(field.annotation, kind)), "string")
    return "filepath" if extra(field, "accepts").startswith("an absolute path") else found
