"""The release's Dockerfile, read line by line: what each step does, and what the image does in the end."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

DOCKERFILE = Path(__file__).parents[2] / "luma_mcp" / "release" / "Dockerfile"
NAMED_CONTEXT = re.compile(r"--from=(\S+)\s+")
WORDS = {"FROM", "COPY", "RUN", "USER", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}


class Instruction(NamedTuple):
    """A word such as `RUN`, and what stands behind it."""

    word: str
    rest: str


class Copy(NamedTuple):
    """Files that are copied to a place, from an earlier stage if one is named."""

    stage: str
    sources: list[str]
    target: str


@dataclass(frozen=True)
class Image:
    """What the last stage says of the image."""

    environment: dict[str, str]
    user: str
    command: list[str]
    health_check: list[str]
    volume: str
    port: str


def instructions(text: str) -> Iterator[Instruction]:
    """Give the instructions in their order, without comments; raise `ValueError` for one that is not known here."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            if word not in WORDS:
                raise ValueError(f"{word} is not known here")
            yield Instruction(word, rest.strip())


def image_of(text: str) -> Image:
    """Give what the last stage says of the image."""
    stage = list(instructions(text[text.rindex("\nFROM ") :]))
    last = dict(stage)
    return Image(
        environment=dict(rest.split("=", 1) for word, rest in stage if word == "ENV"),
        user=last["USER"],
        command=json.loads(last["CMD"]),
        health_check=json.loads(last["HEALTHCHECK"].partition("CMD ")[2]),
        volume=last["VOLUME"],
        port=last["EXPOSE"],
    )


def copy_of(rest: str) -> Copy:
    """Read what stands behind `COPY`."""
    named = NAMED_CONTEXT.match(rest)
    *sources, target = (rest[named.end() :] if named else rest).split()
    return Copy(named[1] if named else "", sources, target)
