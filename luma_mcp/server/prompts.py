"""The prompts: forms that a person fills in, and the text for the model that comes of it."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import mcp.types as wire

from luma_mcp.app.submit import MAX_PROMPT_LENGTH
from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import PRICE_USD, Status, Task
from luma_mcp.core.settings import DEFAULT_WAIT_SECONDS
from luma_mcp.core.uris import task_uri
from luma_mcp.server.context import PageParams, RequestContext, caller_of, reject_cursor, unknown_name
from luma_mcp.server.results import PRICE, advised_wait

MAX_COMPARED_TAKES = 10
TAKES_FORM = f"2 to {MAX_COMPARED_TAKES} descriptions, one per line or separated by |"
MARKER = re.compile(r"^(\d{1,2}[.)]|[-*\u2022])\s+")  # the number or bullet of a line in a list
SOURCE_FIELD = "source_video_url"
TASK_ID_FIELD = "task_id"
SANDBOX_PRICE = "nothing, because this is the sandbox: results are stand-ins, cost_usd is simulated; outside it, "
WORDING_TEXT = """\
Write each prompt for Luma in English, as one description of how the finished clip looks, in the present tense: \
setting, light, weather, materials, style. Name what must stay as it is, above all people, faces, movement and \
framing. Say what is there rather than what is not, and give no orders about cutting, length, camera or sound: Luma \
keeps the motion and the timing of the clip."""
WAIT_TEMPLATE = """\
{do} what next_step says in the answer: while done is false that is usually get_task with that task_id and \
wait_seconds {wait}, repeated until done is true; the work goes on meanwhile. Never call modify_video again to wait \
or to check, unless next_step says so."""
REPORT_TEXT = """\
When done is true and next_step asks for no other call, tell me where the video is, as next_step says: the file \
(video_path), or the link in video_urls and until when it works (expires_at)."""
FAILURE_TEXT = """\
If a call is refused or a task fails, tell me error.message and error.charged, and ask me before you spend anything \
else."""
STYLES = (
    "watercolour painting", "film noir, black and white", "hand-drawn anime", "claymation", "oil painting",
    "1970s film stock", "cyberpunk", "pencil sketch", "stop-motion felt",
)  # fmt: skip
LIGHTS = (
    "golden hour, low warm sun", "blue hour after sunset", "moonlit night", "neon signs at night",
    "soft overcast daylight", "candlelight", "harsh midday sun", "stage spotlights",
)  # fmt: skip
WEATHERS = (
    "thick morning fog", "heavy rain", "light snowfall", "snow-covered winter", "autumn with falling leaves",
    "clear summer day", "thunderstorm", "spring blossom",
)  # fmt: skip


class Argument(NamedTuple):
    """One field of a prompt's form."""

    name: str
    title: str
    description: str
    required: bool = True
    suggestions: tuple[str, ...] = ()  # offered while a person types


@dataclass(frozen=True, slots=True)
class PromptInput:
    """A filled-in form, and what its text depends on beside."""

    values: Mapping[str, str]
    sandbox: bool
    earlier: Task | None = None  # the task that the form names, if it has a field for one
    wait: int = DEFAULT_WAIT_SECONDS  # the advised wait_seconds

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


class LumaPrompt(NamedTuple):
    """A job for the model: its form, and `render`, which makes the text from a filled-in one."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    render: Callable[[PromptInput], str]


CLIP = Argument(
    SOURCE_FIELD,
    "Clip",
    "The clip: an http(s) URL that anyone can open, the path of a file in an allowed folder, or luma://tasks/<task_id>"
    " for the result of an earlier task.",
)


KEEP_ARGUMENT = Argument("keep", "Keep", "What must stay as it is, such as the faces or the logo.", required=False)


class PromptHandlers:
    """Answers `prompts/list` and `prompts/get`."""

    def __init__(self, prompts: dict[str, LumaPrompt]) -> None:
        self._prompts = prompts

    async def list_prompts(self, _: RequestContext, params: PageParams) -> wire.ListPromptsResult:
        reject_cursor(params)
        return wire.ListPromptsResult(prompts=[wire_prompt(prompt) for prompt in self._prompts.values()])

    async def get_prompt(self, ctx: RequestContext, params: wire.GetPromptRequestParams) -> wire.GetPromptResult:
        prompt, app = find_prompt(self._prompts, params.name), ctx.lifespan_context
        values = parse_form(prompt, params.arguments or {})
        earlier = await app.find(values[TASK_ID_FIELD], caller_of(ctx)) if TASK_ID_FIELD in values else None
        await app.check_earlier_outputs(values.get(SOURCE_FIELD, ""), earlier, caller_of(ctx))
        text = prompt.render(PromptInput(values, app.settings.sandbox, earlier, advised_wait(app.settings)))
        message = wire.PromptMessage(role="user", content=wire.TextContent(type="text", text=text))
        return wire.GetPromptResult(description=prompt.description, messages=[message])


def wire_prompt(prompt: LumaPrompt) -> wire.Prompt:
    arguments = [
        wire.PromptArgument(
            name=argument.name, title=argument.title, description=argument.description, required=argument.required
        )
        for argument in prompt.arguments
    ]
    return wire.Prompt(name=prompt.name, title=prompt.title, description=prompt.description, arguments=arguments)


def find_prompt(prompts: Mapping[str, LumaPrompt], name: str) -> LumaPrompt:
    """Look a prompt up; raise `InvalidRequest` for a name that there is not."""
    if name not in prompts:
        raise unknown_name("prompt", name, prompts)
    return prompts[name]


def parse_form(prompt: LumaPrompt, form: Mapping[str, str]) -> dict[str, str]:
    """Give the stripped values of a form; raise `InvalidRequest` for one that is missing or too long.

    Unknown fields are ignored: hosts add some of their own.
    """
    names = {argument.name for argument in prompt.arguments}
    values = {name: value.strip() for name, value in form.items() if name in names}
    for name, value in values.items():
        if len(value) > MAX_PROMPT_LENGTH:
            raise InvalidRequest(f"{name} must be at most {MAX_PROMPT_LENGTH} characters.")
    for argument in prompt.arguments:
        if argument.required and not values.get(argument.name):
            raise InvalidRequest(f"{prompt.name} needs the argument {argument.name}. {argument.description}")
    return values


def luma_prompts() -> dict[str, LumaPrompt]:
    style = Argument("style", "Style", "The look that the clip gets.", suggestions=STYLES)
    light = Argument("light", "Light", "The light that the clip gets.", suggestions=LIGHTS)
    weather = Argument("weather", "Weather", "The weather or season that comes.", suggestions=WEATHERS)
    takes = Argument("prompts", "Takes", f"How the takes look: {TAKES_FORM}.")
    earlier = Argument(
        TASK_ID_FIELD, "Earlier task", "The earlier task's task_id; type words of its prompt to find it."
    )
    change = Argument("change", "Change", "What changes next; the rest stays as in the earlier result.")
    made = (
        look_prompt("restyle", "Restyle a clip", "Give a clip another look, such as watercolour or film noir.", style),
        look_prompt("relight", "Relight a clip", "Put a clip into another light, such as golden hour or neon.", light),
        look_prompt(
            "change_weather",
            "Change the weather or season",
            "Put a clip into another weather or season, such as thick fog.",
            weather,
        ),
        LumaPrompt(
            "compare_takes",
            "Compare several takes of a clip",
            "Make one take for each of several descriptions of the same clip, to choose from."
            f" Costs {PRICE} for each take that succeeds.",
            (CLIP, takes, KEEP_ARGUMENT),
            render_takes,
        ),
        LumaPrompt(
            "edit_again",
            "Edit an earlier result further",
            f"Continue from the result of an earlier task with another change. Costs {PRICE} when it succeeds.",
            (earlier, change, KEEP_ARGUMENT),
            render_edit,
        ),
    )
    return {prompt.name: prompt for prompt in made}


def look_prompt(name: str, title: str, about: str, wanted: Argument) -> LumaPrompt:
    """Make a prompt that gives one clip another look, light or weather: what `wanted` asks for."""
    return LumaPrompt(
        name,
        title,
        f"{about} Costs {PRICE} when it succeeds.",
        (CLIP, wanted, KEEP_ARGUMENT),
        lambda given: render_one_take(
            given, f"the same scene with this {wanted.name}: {quote_user_text(given[wanted.name])}"
        ),
    )


def render_one_take(given: PromptInput, wanted: str) -> str:
    source = quote_user_text(given[SOURCE_FIELD])
    return render_steps(
        f"Modify one clip with Luma.\n\nClip: {source}\nWanted: {wanted}{keep_line(given)}",
        agreement_step(given, 1),
        f"Call modify_video with source_video_url {source} and the prompt. {wait_text(given)}",
        f"{REPORT_TEXT} {FAILURE_TEXT}",
    )


def render_takes(given: PromptInput) -> str:
    looks = [MARKER.sub("", " ".join(line.split())) for line in given["prompts"].replace("|", "\n").splitlines()]
    looks = [look for look in looks if look]
    if not 2 <= len(looks) <= MAX_COMPARED_TAKES:
        raise InvalidRequest(f"prompts must hold {TAKES_FORM}; it holds {len(looks)}.")
    looks = [unicodedata.normalize("NFC", look) for look in looks]
    alike = [look.casefold() for look in looks]
    numbered = [(look, alike[:place].count(alike[place]) + 1) for place, look in enumerate(looks)]
    takes = "\n".join(
        f"{place}. {quote_user_text(look)}, take {take}" for place, (look, take) in enumerate(numbered, 1)
    )
    source = quote_user_text(given[SOURCE_FIELD])
    return render_steps(
        f"Make {len(looks)} takes of one clip with Luma, to compare.\n\nClip: {source}\n"
        f"Takes:\n{takes}{keep_line(given)}",
        agreement_step(given, len(looks)),
        f"For each line call modify_video with source_video_url {source}, its prompt, its take and wait_seconds 0,"
        " so that they run side by side. Equal descriptions get the same prompt, to the letter, and"
        f" differ in take only. Then follow each: {wait_text(given, 'do')}",
        "When all have ended, show them in one table: number, description, where it is as next_step says (video_path,"
        f" or the link in video_urls and its expires_at), cost. {FAILURE_TEXT}",
    )


def render_edit(given: PromptInput) -> str:
    earlier = given.earlier
    if earlier is None:
        raise InvalidRequest("edit_again needs an earlier task.")
    if earlier.status is Status.FAILED:
        raise InvalidRequest(f"Task {earlier.task_id} has failed: it has no result to continue from.")
    source, awaited = quote_user_text(task_uri(earlier.task_id)), quote_user_text(earlier.task_id)
    wait = (
        f"Call get_task with task_id {awaited} and wait_seconds {given.wait}, repeated until done is true or next_step"
        " says something else. If that task has failed or will not end, tell me and stop."
    )
    return render_steps(
        f"Continue from an earlier result with Luma.\n\nEarlier task: {awaited}\n"
        f"Its prompt: {quote_user_text(earlier.request.prompt)}\n"
        f"Change: {quote_user_text(given['change'])}{keep_line(given)}",
        agreement_step(given, 1),
        *([] if earlier.status.done else [wait]),
        f"Call modify_video with source_video_url {source} and a prompt that keeps what the earlier one says and adds"
        f" the change. {wait_text(given)}",
        f"{REPORT_TEXT} {FAILURE_TEXT}",
    )


def render_steps(task: str, *steps: str) -> str:
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate((WORDING_TEXT, *steps), 1))
    return f"{task}\n\nDo it like this, with the Luma tools of this server:\n{numbered}"


def agreement_step(given: PromptInput, takes: int) -> str:
    total = PRICE if takes == 1 else f"up to {takes * PRICE_USD:.2f} USD ({takes} x {PRICE})"
    price = f"{SANDBOX_PRICE}{total}" if given.sandbox else total
    return (
        f"Before you spend anything, show me the wording and say what it costs: {price}, charged only for what"
        " succeeds. Go on only when I have agreed to this wording and price: to start this job is not yet to agree."
    )


def wait_text(given: PromptInput, do: str = "Do") -> str:
    return WAIT_TEMPLATE.format(do=do, wait=given.wait)


def keep_line(given: PromptInput) -> str:
    return f"\nKeep as it is: {quote_user_text(given['keep'])}" if given["keep"] else ""


def quote_user_text(words: str) -> str:
    """Quote a person's words so that they stay data: one line, with invisible and direction-changing ones escaped."""
    plain = json.dumps(words, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in plain)
