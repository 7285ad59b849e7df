"""What an API complains of, in JSON of any shape (contract 4.1, FastAPI, RFC 9457, JSON:API, GraphQL and more)."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from luma_mcp.core.text import Json, child, is_list, is_object, text

MOST = 5
MOST_NAMES = 100
DEPTH = 6
SENTENCES = (
    "error", "title", "message", "errormessage", "errormsg", "failmsg", "errordescription", "msg", "detail",
    "description", "reason", "failurereason", "fault", "faultstring", "errors", "details", "fieldviolations",
    "invalidparams", "violations",
)  # fmt: skip
NESTED = ("data", "result", "response")
PLACES = ("loc", "field", "param", "parameter", "pointer", "path", "name", "property", "source")
CODES = ("code", "status", "statusCode", "status_code")


def said_in(value: object, depth: int = DEPTH) -> str:
    """Put what JSON of any shape complains of into words, which are as foreign as before; empty if there are none."""
    if is_object(value) and depth:
        return said_in_object(value, depth - 1) or said_by_field(value, depth - 1)
    if is_list(value) and depth:
        return "; ".join(distinct(said_in(one, depth - 1) for one in value[:MOST]))
    return text(value)


def said_in_object(found: Json, depth: int = DEPTH) -> str:
    """Give the sentences of an object, led by the field that they are about; its code if it has no sentence."""
    named = {re.sub("[_-]", "", name).lower(): value for name, value in islice(found.items(), MOST_NAMES)}
    sentences = list(distinct(said_in(named.get(name), depth) for name in SENTENCES))
    if sentences:
        return " ".join(distinct([place_in(named), ": ".join(sentences)]))
    nested = next(filter(None, (said_in_object(child(named, name), depth - 1) for name in NESTED if depth)), "")
    return nested or text(named.get("code"))


def said_by_field(found: Json, depth: int) -> str:
    """Give the complaints of an object that has them by field, as in `{"prompt": ["is required", "is short"]}`."""
    return "; ".join(f"{name} {said}" for name, value in islice(found.items(), MOST) if (said := listed(value, depth)))


def listed(value: object, depth: int) -> str:
    """Give the complaints about one field."""
    many = value[:MOST] if is_list(value) else [value]
    return ", ".join(distinct(said_in(one, depth) for one in many))


def place_in(named: Json) -> str:
    """Name the field that a complaint is about, by the last part of where it is."""
    for name in PLACES:
        value: object = named.get(name)
        value = next(iter(value.values()), "") if is_object(value) else value
        value = value[-1] if is_list(value) and value else value
        if place := text(value).rstrip("/").rpartition("/")[2]:
            return place
    return ""


def distinct(parts: Iterable[str]) -> Iterator[str]:
    """Leave out what is empty, and what was said already."""
    said = ""
    for part in parts:
        if part and part.lower() not in said:
            said += f"{part.lower()}\n"
            yield part


def denies(body: Json) -> bool:
    """Tell whether an answer says by itself that it is an error, whatever its HTTP status says."""
    flags = (body.get("success"), body.get("ok"))
    complaint = body.get("error") is True or any(said_in(body.get(name)) for name in ("error", "errors"))
    return complaint or any(flag is False for flag in flags) or code_in(body) is not None


def code_in(body: Json) -> int | None:
    """Find the HTTP status of an error that an answer names in its body."""
    for holder in (body, child(body, "error")):
        for name in CODES:
            value: object = holder.get(name)
            written = str(value) if isinstance(value, int | str) else ""
            if re.fullmatch("[45][0-9][0-9]", written):
                return int(written)
    return None
