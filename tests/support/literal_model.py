"""A model that takes texts at their word: it makes the call that a text names, when it says so, and no other."""

import re
from dataclasses import dataclass
from typing import Any

Arguments = dict[str, Any]
TOOLS = r"(modify_video|get_task|list_tasks|save_video|check_account)"
FORBIDDEN = re.compile(r"(do not|never) (call|repeat) [^.;:]*", re.IGNORECASE)
NAMED = re.compile(rf'{TOOLS} with task_id "(?P<id>[^"]+)"(?: and wait_seconds (?P<wait>-?\d+))?')
REPEATED = re.compile(r"\brepeat the (same (?P<tool>\w+) )?call\b", re.IGNORECASE)
AGAIN = re.compile(rf"\bcall {TOOLS} again\b", re.IGNORECASE)
BARE = re.compile(r"\bcall (list_tasks|check_account)\b", re.IGNORECASE)
PAUSE = re.compile(
    r"\bwait (?P<seconds>\d+) seconds|(?P<minute>wait a minute)|(?P<few>in a few seconds)", re.IGNORECASE
)
SOMEBODY = re.compile(r"\b(?P<what>[^.:;]+), then (?=call|repeat)", re.IGNORECASE)
FEW_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Call:
    tool: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Step:
    """What a text asks for."""

    call: Call | None = None
    pause: int = 0  # seconds to wait before the call
    first: str = ""  # what must have happened before it

    @property
    def now(self) -> Call | None:
        """Give the call if nothing must happen first."""
        return None if self.first else self.call


def read_step(text: str, last: Call) -> Step:
    """Read what to do after a call from the text of its answer."""
    allowed = FORBIDDEN.sub("", text)
    found = [match for kind in (NAMED, REPEATED, AGAIN, BARE) if (match := kind.search(allowed))]
    if not found:
        return Step()
    match = min(found, key=re.Match[str].start)
    before = SOMEBODY.search(allowed[: match.end()])
    pause = PAUSE.search(allowed)
    first = "" if pause or not before else before["what"].strip()
    return Step(call_in(match, last), seconds(pause), first)


def call_in(match: re.Match[str], last: Call) -> Call:
    if match.re is NAMED:
        waits = {"wait_seconds": int(match["wait"])} if match["wait"] else {}
        return Call(match[1], {"task_id": match["id"], **waits})
    if match.re is REPEATED:
        assert match["tool"] in (None, last.tool), f"{match[0]!r} does not mean {last.tool}"
        return last
    return last if match.re is AGAIN and match[1] == last.tool else Call(match[1], {})


def seconds(pause: re.Match[str] | None) -> int:
    if pause is None:
        return 0
    return 60 if pause["minute"] else FEW_SECONDS if pause["few"] else int(pause["seconds"])
