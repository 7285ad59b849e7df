"""The free questions about what is uncertain of RunAPI (contract 12), as a report without secrets to hand back."""

import json as writer
import platform
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import httpx
from pydantic import SecretStr

from luma_mcp import __version__
from luma_mcp.app.app import open_network
from luma_mcp.cli.console import EXIT_CODES, say, show, show_json
from luma_mcp.cli.doctor.shapes import harmless_headers, other_headers, shape
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import MODEL
from luma_mcp.core.settings import Settings
from luma_mcp.core.text import Json, json_object, json_value, without_secret
from luma_mcp.runapi.client import BALANCE, PRICE_SECONDS, PRICES, TASKS, RunAPI
from luma_mcp.runapi.responses import balance_in, price_in, task_id_in

MADE_UP = SecretStr("invalid")  # the one key that the sandbox refuses, too
INCOMPLETE: Json = {"model": MODEL}  # without prompt and source nothing can be made of it
LARGEST_BODY = 1 << 16
MADE_A_TASK = (
    "WARNING: RunAPI made a task of a request without prompt and source. It may cost money: look at your account."
)
ABOUT = "It holds no key, account, e-mail address or amount (# stands for numbers); read it before you hand it on."
Key = Literal["own", "made up", "none"]


@dataclass(frozen=True, slots=True)
class Question:
    """A request that can cost nothing."""

    about: str
    method: str
    path: str
    key: Key = "own"
    body: Json | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a question: an answer, or the failure that kept it from coming."""

    question: Question
    seconds: float
    failure: str = ""
    response: httpx.Response = field(default_factory=lambda: httpx.Response(0))

    @property
    def status(self) -> int:
        """Give the HTTP status, 0 for no answer."""
        return self.response.status_code

    @property
    def body(self) -> Json:
        """Give the answer's JSON object, empty for anything else."""
        return json_object(self.response)

    @property
    def task_id(self) -> str:
        """Give the id of the task that an answer to a submission names, empty for none."""
        body = self.body if self.response.is_success else {}
        return task_id_in(body, self.response.headers) if self.question.method == "POST" else ""


def questions() -> tuple[Question, ...]:
    """List what is asked, in this order."""
    return (
        Question("a made-up key", "GET", BALANCE, "made up"),
        Question("a task that nobody has", "GET", f"{TASKS}/{uuid.uuid4()}"),
        Question("an id in no form of an id", "GET", f"{TASKS}/not-an-id"),
        Question("a submission without prompt and source", "POST", TASKS, body=INCOMPLETE),
        Question("the same with watermark: true", "POST", TASKS, body={**INCOMPLETE, "watermark": True}),
        Question("the price", "GET", PRICES, "none"),
        Question("the balance", "GET", BALANCE),
    )


def run_probe(settings: Settings, *, json: bool) -> int:
    """Ask, print the report, and give the exit code."""
    seen, base_url, hidden = anyio.run(probe, settings)
    report = report_of(seen, base_url, hidden)
    if json:
        show_json(writer.dumps(report, indent=2, ensure_ascii=False))
    else:
        show(as_text(report))
    if made := [one.task_id for one in seen if one.task_id]:
        say(f"{MADE_A_TASK} Its id is {without_secret(made[0], hidden)}.")
        return EXIT_CODES["submission_unconfirmed"]
    return 0 if any(one.status for one in seen) else EXIT_CODES["network"]


async def probe(settings: Settings) -> tuple[list[Seen], str, SecretStr | None]:
    """Ask everything, without submissions once one has made a task."""
    seen: list[Seen] = []
    async with open_network(settings, time.time, None) as (connection, _, base_url, key):
        apis: dict[Key, RunAPI] = {
            "own": RunAPI(connection, base_url, key),
            "made up": RunAPI(connection, base_url, MADE_UP),
            "none": RunAPI(connection, base_url, None),
        }
        for question in questions():
            if question.method != "POST" or not any(one.task_id for one in seen):
                seen.append(await asked(apis[question.key], question))
    return seen, base_url, key


async def asked(api: RunAPI, question: Question) -> Seen:
    """Ask one question, and tell how long the answer took."""
    begun = anyio.current_time()
    try:
        if question.key == "none":
            response = await api.ask_publicly(question.path, {}, PRICE_SECONDS)
        else:
            response = await api.send(question.method, question.path, question.body)
    except LumaError as error:
        return Seen(question, anyio.current_time() - begun, f"{error.code}: {error.message}")
    return Seen(question, anyio.current_time() - begun, "", response)


def report_of(seen: Sequence[Seen], base_url: str, hidden: SecretStr | None) -> Json:
    """Put together what can be handed back."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "base_url": base_url,
        "made_a_task": any(one.task_id for one in seen),
        "answers": [answer_of(one, hidden) for one in seen],
        "assumptions": [{"assumption": text, "holds": holds} for text, holds in assumptions(seen).items()],
    }


def answer_of(one: Seen, hidden: SecretStr | None) -> Json:
    """Describe one answer."""
    question, headers = one.question, one.response.headers
    asked_for = {"about": question.about, "method": question.method, "path": question.path, "key": question.key}
    if one.failure:
        return {**asked_for, "failure": one.failure, "seconds": round(one.seconds, 2)}
    told = harmless_headers(headers, hidden)
    body = json_value(one.response)
    described = shape(body, hidden, sentences=not one.response.is_success)
    return {
        **asked_for,
        "status": one.status,
        "seconds": round(one.seconds, 2),
        "headers": told,
        "other_headers": other_headers(headers, list(told)),
        "body": described if body is not None else f"no JSON, {min(len(one.response.content), LARGEST_BODY)} bytes",
    }


def assumptions(seen: Sequence[Seen]) -> Mapping[str, bool | None]:
    """Tell which of this server's assumptions hold; None for what could not be seen."""
    bad_key, unknown, malformed, *posted, price, balance = by_question(seen)
    plain, marked = posted
    refused = {400, 422}
    words = marked.response.text.lower()
    return {
        "a made-up key is answered with 401": holds(bad_key, bad_key.status == 401),
        "a task that nobody has is answered with 404": holds(unknown, unknown.status == 404),
        "an id in no form of an id is answered with 400 or 404": holds(malformed, malformed.status in {400, 404}),
        "a submission without prompt is refused with 400 or 422": holds(plain, plain.status in refused),
        "the refusal names the prompt": holds(plain, "prompt" in plain.response.text.lower()),
        "watermark: true is not complained of": holds(marked, marked.status in refused and "watermark" not in words),
        "no task is made of what is refused": holds(plain, not (plain.task_id or marked.task_id)),
        "the price is public and understood": holds(price, understood(price_in, price)),
        "the price can be asked for again by its ETag": holds(price, "etag" in price.response.headers),
        "the balance is understood": holds(balance, understood(balance_in, balance)),
        "every answer names its request": holds(price, all(names_request(one) for one in seen if one.status)),
    }


def by_question(seen: Sequence[Seen]) -> list[Seen]:
    """Give what was seen of each question, nothing for those that were not asked."""
    found = {one.question.about: one for one in seen}
    return [found.get(question.about, Seen(question, 0.0, "not asked")) for question in questions()]


def holds(one: Seen, is_so: bool) -> bool | None:  # noqa: FBT001 - the verdict itself
    """Give a verdict, None without an answer."""
    return is_so if one.status else None


def understood(read: Any, one: Seen) -> bool:
    """Tell whether this server can read an answer."""
    try:
        read(one.body)
    except LumaError:
        return False
    return True


def names_request(one: Seen) -> bool:
    """Tell whether an answer names its request, for RunAPI's support."""
    return "x-request-id" in one.response.headers


def as_text(report: Json) -> str:
    """Lay the report out for reading."""
    lines = [f"runapi-luma-mcp {report['version']}, Python {report['python']}, {report['base_url']}", ABOUT]
    if report["made_a_task"]:
        lines.insert(0, MADE_A_TASK)
    for one in report["answers"]:
        key = {"own": "with your key", "made up": "with a made-up key", "none": "without a key"}[one["key"]]
        came = one.get("failure") or one["status"]
        lines += ["", f"{one['about']}: {one['method']} {one['path']} {key}", f"  {came} in {one['seconds']} s"]
        if "status" in one:
            lines += [f"  headers: {writer.dumps(one['headers'])}, also {', '.join(one['other_headers'])}"]
            lines += [f"  body: {writer.dumps(one['body'], ensure_ascii=False)}"]
    verdicts = {True: "holds", False: "DOES NOT HOLD", None: "not seen"}
    lines += ["", *(f"{verdicts[one['holds']]:<14} {one['assumption']}" for one in report["assumptions"])]
    return "\n".join(lines)
