"""Jobs that a person can start from a host's menu; each becomes instructions that make a model use the tools well."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from luma_mcp.app.arguments import LONGEST_PROMPT
from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import Status, Task
from luma_mcp.core.money import PRICE_USD
from luma_mcp.core.uris import task_uri
from luma_mcp.server.results import USUAL_WAIT

MOST_TAKES = 10
TAKES_FORM = f"2 to {MOST_TAKES} descriptions, one per line or separated by |"
MARKER = re.compile(r"^(\d{1,2}[.)]|[-*\u2022])\s+")  # of a line in a list
PRICE = f"{PRICE_USD:.2f} USD"
SOURCE = "source_video_url"
TASK_ID = "task_id"
SANDBOX_PRICE = "nothing, because this is the sandbox: results are stand-ins, cost_usd is played; outside it, "
WORDING = """\
Write each prompt for Luma in English, as one description of how the finished clip looks, in the present tense: \
setting, light, weather, materials, style. Name what must stay as it is, above all people, faces, movement and \
framing. Say what is there rather than what is not, and give no orders about cutting, length, camera or sound: Luma \
keeps the motion and the timing of the clip."""
WAITING = """\
Do what next_step says in the answer: while done is false that is usually get_task with that task_id and wait_seconds \
{wait}, repeated until done is true; the work goes on meanwhile. Never call modify_video again to wait or to check, \
unless next_step says so."""
REPORTING = """\
When done is true and next_step asks for no other call, tell me where the video is, as next_step says: the file \
(video_path), or the link in video_urls and until when it works (expires_at)."""
FAILING = """\
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


@dataclass(frozen=True, slots=True)
class Argument:
    """One field of a prompt's form; `suggestions` are offered while a person types."""

    name: str
    title: str
    description: str
    required: bool = True
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """What a prompt is filled in with: the form, and the task that it speaks of, if it does."""

    values: Mapping[str, str]
    sandbox: bool
    earlier: Task | None = None
    wait: int = USUAL_WAIT

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


@dataclass(frozen=True, slots=True)
class LumaPrompt:
    """A job with its form, and how it reads when filled in."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    text: Callable[[Given], str]


CLIP = Argument(
    SOURCE,
    "Clip",
    "The clip: an http(s) URL that anyone can open, the path of a file in an allowed folder, or luma://tasks/<task_id>"
    " for the result of an earlier task.",
)
KEEP = Argument("keep", "Keep", "What must stay as it is, such as the faces or the logo.", required=False)


def luma_prompts() -> dict[str, LumaPrompt]:
    """List the prompts by name."""
    style = Argument("style", "Style", "The look that the clip gets.", suggestions=STYLES)
    light = Argument("light", "Light", "The light that the clip gets.", suggestions=LIGHTS)
    weather = Argument("weather", "Weather", "The weather or season that comes.", suggestions=WEATHERS)
    takes = Argument("prompts", "Takes", f"How the takes look: {TAKES_FORM}.")
    earlier = Argument(TASK_ID, "Earlier task", "The earlier task's task_id; type words of its prompt to find it.")
    change = Argument("change", "Change", "What changes next; the rest stays as in the earlier result.")
    made = (
        look("restyle", "Restyle a clip", "Give a clip another look, such as watercolour or film noir.", style),
        look("relight", "Relight a clip", "Put a clip into another light, such as golden hour or neon.", light),
        look(
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
            (CLIP, takes, KEEP),
            several_takes,
        ),
        LumaPrompt(
            "edit_again",
            "Edit an earlier result further",
            f"Continue from the result of an earlier task with another change. Costs {PRICE} when it succeeds.",
            (earlier, change, KEEP),
            another_edit,
        ),
    )
    return {prompt.name: prompt for prompt in made}


def look(name: str, title: str, about: str, wanted: Argument) -> LumaPrompt:
    """Make a prompt that gives one clip one other look."""
    return LumaPrompt(
        name,
        title,
        f"{about} Costs {PRICE} when it succeeds.",
        (CLIP, wanted, KEEP),
        lambda given: one_take(given, f"the same scene with this {wanted.name}: {quoted(given[wanted.name])}"),
    )


def filled_in(prompt: LumaPrompt, form: Mapping[str, str]) -> dict[str, str]:
    """Check a form and give its values without the blanks around them; raise `InvalidRequest`.

    Fields that it does not have are ignored: hosts add some of their own.
    """
    names = {argument.name for argument in prompt.arguments}
    values = {name: value.strip() for name, value in form.items() if name in names}
    for name, value in values.items():
        if len(value) > LONGEST_PROMPT:
            raise InvalidRequest(f"{name} must be at most {LONGEST_PROMPT} characters.")
    for argument in prompt.arguments:
        if argument.required and not values.get(argument.name):
            raise InvalidRequest(f"{prompt.name} needs the argument {argument.name}. {argument.description}")
    return values


def one_take(given: Given, wanted: str) -> str:
    """Ask for one modified clip."""
    return job(
        f"Modify one clip with Luma.\n\nClip: {quoted(given[SOURCE])}\nWanted: {wanted}{keeping(given)}",
        agreeing(given, 1),
        f"Call modify_video with source_video_url {quoted(given[SOURCE])} and the prompt. {waiting(given)}",
        f"{REPORTING} {FAILING}",
    )


def several_takes(given: Given) -> str:
    """Ask for several takes of one clip."""
    looks = [MARKER.sub("", " ".join(line.split())) for line in given["prompts"].replace("|", "\n").splitlines()]
    looks = [look for look in looks if look]
    if not 2 <= len(looks) <= MOST_TAKES:
        raise InvalidRequest(f"prompts must hold {TAKES_FORM}; it holds {len(looks)}.")
    looks = [unicodedata.normalize("NFC", look) for look in looks]
    alike = [look.casefold() for look in looks]
    numbered = [(look, alike[:place].count(alike[place]) + 1) for place, look in enumerate(looks)]
    takes = "\n".join(f"{place}. {quoted(look)}, take {take}" for place, (look, take) in enumerate(numbered, 1))
    return job(
        f"Make {len(looks)} takes of one clip with Luma, to compare.\n\nClip: {quoted(given[SOURCE])}\n"
        f"Takes:\n{takes}{keeping(given)}",
        agreeing(given, len(looks)),
        f"For each line call modify_video with source_video_url {quoted(given[SOURCE])}, its prompt, its take and"
        " wait_seconds 0, so that they run side by side. Equal descriptions get the same prompt, to the letter, and"
        " differ in take only. Then follow each:"
        f" {waiting(given)[0].lower()}{waiting(given)[1:]}",
        "When all have ended, show them in one table: number, description, where it is as next_step says (video_path,"
        f" or the link in video_urls and its expires_at), cost. {FAILING}",
    )


def another_edit(given: Given) -> str:
    """Ask for a further change to an earlier result."""
    earlier = given.earlier
    if earlier is None:
        raise InvalidRequest("edit_again needs an earlier task.")
    if earlier.status is Status.FAILED:
        raise InvalidRequest(f"Task {earlier.task_id} has failed: it has no result to continue from.")
    source, awaited = quoted(task_uri(earlier.task_id)), quoted(earlier.task_id)
    wait = (
        f"Call get_task with task_id {awaited} and wait_seconds {given.wait}, repeated until done is true or next_step"
        " says something else. If that task has failed or will not end, tell me and stop."
    )
    return job(
        f"Continue from an earlier result with Luma.\n\nEarlier task: {awaited}\n"
        f"Its prompt: {quoted(earlier.request.prompt)}\nChange: {quoted(given['change'])}{keeping(given)}",
        agreeing(given, 1),
        *([] if earlier.status.done else [wait]),
        f"Call modify_video with source_video_url {source} and a prompt that keeps what the earlier one says and adds"
        f" the change. {waiting(given)}",
        f"{REPORTING} {FAILING}",
    )


def job(task: str, *steps: str) -> str:
    """Put a job and its steps together."""
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate((WORDING, *steps), 1))
    return f"{task}\n\nDo it like this, with the Luma tools of this server:\n{numbered}"


def agreeing(given: Given, takes: int) -> str:
    """Have the cost said before it is spent."""
    total = PRICE if takes == 1 else f"up to {takes * PRICE_USD:.2f} USD ({takes} x {PRICE})"
    price = f"{SANDBOX_PRICE}{total}" if given.sandbox else total
    return (
        f"Before you spend anything, show me the wording and say what it costs: {price}, charged only for what"
        " succeeds. Go on only when I have agreed to this wording and price: to start this job is not yet to agree."
    )


def waiting(given: Given) -> str:
    """Say how to wait for the end."""
    return WAITING.format(wait=given.wait)


def keeping(given: Given) -> str:
    """Name what must stay."""
    return f"\nKeep as it is: {quoted(given['keep'])}" if given["keep"] else ""


def quoted(words: str) -> str:
    """Set off a person's words, so that they stay data: in one line, nothing hidden, nothing that turns it around."""
    plain = json.dumps(words, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in plain)
