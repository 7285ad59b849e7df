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
from luma_mcp.app.parts import open_network
from luma_mcp.cli.console import ExitCode, print_json, print_message, print_result
from luma_mcp.cli.doctor.redaction import harmless_headers, other_headers, shape
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import MODEL
from luma_mcp.core.settings import Settings
from luma_mcp.core.text import Json, json_object, json_value, redact_secret
from luma_mcp.runapi.client import BALANCE_PATH, MODIFY_VIDEO_PATH, PRICE_SECONDS, PRICES_PATH, RunAPI
from luma_mcp.runapi.responses import balance_in, price_in, task_id_in

MADE_UP = SecretStr("invalid")  # the one key that the sandbox refuses, too
INCOMPLETE: Json = {"model": MODEL}  # without prompt and source nothing can be made of it
LARGEST_BODY = 1 << 16
MADE_A_TASK = (
    "WARNING: RunAPI made a task of a request without prompt and source. It may cost money: look at your account."
)
ABOUT = "It holds no key, account, e-mail address or amount (# stands for numbers); read it before you hand it on."
Key = Literal["own", "made up", "none"]


@dataclass(frozen=True, slots=True, eq=False)  # questions are told apart by identity
class Question:
    """A request that can cost nothing."""

    about: str
    method: str
    path: str
    key: Key = "own"
    body: Json | None = None


BAD_KEY = Question("a made-up key", "GET", BALANCE_PATH, "made up")
UNKNOWN_TASK = Question("a task that nobody has", "GET", f"{MODIFY_VIDEO_PATH}/{uuid.uuid4()}")
MALFORMED_ID = Question("an id in no form of an id", "GET", f"{MODIFY_VIDEO_PATH}/not-an-id")
SUBMISSION = Question("a submission without prompt and source", "POST", MODIFY_VIDEO_PATH, body=INCOMPLETE)
WATERMARKED = Question(
    "the same with watermark: true", "POST", MODIFY_VIDEO_PATH, body={**INCOMPLETE, "watermark": True}
)
PRICE = Question("the price", "GET", PRICES_PATH, "none")
BALANCE = Question("the balance", "GET", BALANCE_PATH)
QUESTIONS = (BAD_KEY, UNKNOWN_TASK, MALFORMED_ID, SUBMISSION, WATERMARKED, PRICE, BALANCE)  # asked in this order


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer to a question, or the failure that kept it from coming."""

    question: Question
    seconds: float  # until the answer
    failure: str = ""  # its error code and message
    response: httpx.Response = field(default_factory=lambda: httpx.Response(0))

    @property
    def status(self) -> int:
        """The HTTP status, 0 for no answer."""
        return self.response.status_code

    @property
    def body(self) -> Json:
        return json_object(self.response)

    @property
    def task_id(self) -> str:
        """The id of the task that a submission made or its refusal names, empty for none."""
        body = self.body if self.response.is_success else {}
        return task_id_in(body, self.response.headers) if self.question.method == "POST" else ""


def run_probe(settings: Settings, *, json: bool) -> int:
    seen, base_url, hidden = anyio.run(probe, settings)
    report = report_of(seen, base_url, hidden)
    if json:
        print_json(writer.dumps(report, indent=2, ensure_ascii=False))
    else:
        print_result(format_report(report))
    if made := [one.task_id for one in seen if one.task_id]:
        print_message(f"{MADE_A_TASK} Its id is {redact_secret(made[0], hidden)}.")
        return ExitCode.OUTCOME_UNKNOWN
    return ExitCode.DONE if any(one.status for one in seen) else ExitCode.SERVICE_OR_NETWORK


async def probe(settings: Settings) -> tuple[list[ProbeResult], str, SecretStr | None]:
    """Ask all questions; no submission where nothing is to be paid, and no further one once one has made a task."""
    seen: list[ProbeResult] = []
    async with open_network(settings, time.time, None) as way:
        apis: dict[Key, RunAPI] = {
            "own": RunAPI(way.clients, way.base_url, way.key),
            "made up": RunAPI(way.clients, way.base_url, MADE_UP),
            "none": RunAPI(way.clients, way.base_url, None),
        }
        for question in QUESTIONS:
            may_submit = not (settings.never_pays or any(one.task_id for one in seen))
            if question.method != "POST" or may_submit:
                seen.append(await send_request(apis[question.key], question))
    return seen, way.base_url, way.key


async def send_request(api: RunAPI, question: Question) -> ProbeResult:
    begun = anyio.current_time()
    try:
        if question.key == "none":
            response = await api.get_without_key(question.path, {}, PRICE_SECONDS)
        else:
            response = await api.send_with_key(question.method, question.path, question.body)
    except LumaError as error:
        return ProbeResult(question, anyio.current_time() - begun, f"{error.code}: {error.message}")
    return ProbeResult(question, anyio.current_time() - begun, "", response)


def report_of(seen: Sequence[ProbeResult], base_url: str, hidden: SecretStr | None) -> Json:
    return {
        "version": __version__,
        "python": platform.python_version(),
        "base_url": base_url,
        "made_a_task": any(one.task_id for one in seen),
        "answers": [answer_of(one, hidden) for one in seen],
        "assumptions": [{"assumption": text, "holds": holds} for text, holds in assumptions(seen).items()],
    }


def answer_of(one: ProbeResult, hidden: SecretStr | None) -> Json:
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


def assumptions(seen: Sequence[ProbeResult]) -> Mapping[str, bool | None]:
    """Tell which of this server's assumptions hold; None for those that could not be seen."""
    found = {question: ProbeResult(question, 0.0, "not asked") for question in QUESTIONS}
    found |= {one.question: one for one in seen}
    bad_key, unknown, malformed = found[BAD_KEY], found[UNKNOWN_TASK], found[MALFORMED_ID]
    plain, marked, price, balance = found[SUBMISSION], found[WATERMARKED], found[PRICE], found[BALANCE]
    refused = {400, 422}
    words = marked.response.text.lower()
    return {
        "a made-up key is answered with 401": verdict(bad_key, bad_key.status == 401),
        "a task that nobody has is answered with 404": verdict(unknown, unknown.status == 404),
        "an id in no form of an id is answered with 400 or 404": verdict(malformed, malformed.status in {400, 404}),
        "a submission without prompt is refused with 400 or 422": verdict(plain, plain.status in refused),
        "the refusal names the prompt": verdict(plain, "prompt" in plain.response.text.lower()),
        "watermark: true is not complained of": verdict(marked, marked.status in refused and "watermark" not in words),
        "no task is made of what is refused": verdict(plain, not (plain.task_id or marked.task_id)),
        "the price is public and understood": verdict(price, can_parse(price_in, price)),
        "the price can be asked for again by its ETag": verdict(price, "etag" in price.response.headers),
        "the balance is understood": verdict(balance, can_parse(balance_in, balance)),
        "every answer names its request": verdict(price, all(names_request(one) for one in seen if one.status)),
    }


def verdict(one: ProbeResult, is_so: bool) -> bool | None:  # noqa: FBT001 - the verdict itself
    return is_so if one.status else None


def can_parse(read: Any, one: ProbeResult) -> bool:
    try:
        read(one.body)
    except LumaError:
        return False
    return True


def names_request(one: ProbeResult) -> bool:
    return "x-request-id" in one.response.headers


def format_report(report: Json) -> str:
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
