"""Modifying clips from the command line: what was typed becomes requests, which are paid for and waited for."""

import difflib
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from luma_mcp.app.app import App, Outcome
from luma_mcp.app.progress import Progress
from luma_mcp.cli.console import is_terminal, print_message
from luma_mcp.cli.explanations import FileMissing, WrongArguments
from luma_mcp.cli.output import Output, read_output
from luma_mcp.cli.save import with_copy
from luma_mcp.cli.wait import Job, follow_to_end, run_jobs
from luma_mcp.core.models import LOCAL_CALLER, PRICE_USD, VideoRequest
from luma_mcp.core.settings import Settings
from luma_mcp.hosts.entries import typed_command
from luma_mcp.media.sources import file_uri_path, resolve_typed_file

EXAMPLE_PROMPT = "a foggy autumn morning"
CLIP_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".gif")
SIMILARITY = 0.6


def run_modify(
    settings: Settings,
    arguments: Sequence[str],
    *,
    prompts: Sequence[str],
    output: str,
    take: int,
    yes: bool,
    as_json: bool,
) -> int:
    """Modify each source as each prompt says, wait for all, and tell how they ended."""
    typed = [as_typed(one) for one in arguments]
    flags = typed_flags(settings, output, take)
    sources, prompts = read_arguments(typed, [as_typed(one) for one in prompts], flags)
    place = read_output(output)
    settings, sources = with_sources(settings, sources)
    asked = [VideoRequest(prompt=words.strip(), source=one, take=take) for one in sources for words in prompts]
    requests = list(dict.fromkeys(asked))
    check_name(place, len(requests))
    confirm_price(settings, len(requests), yes=yes)
    if place:
        settings = settings.model_copy(update={"save": "auto"})  # there is nothing else to copy
    jobs = [job_for(request, place) for request in requests]
    return run_jobs(settings, jobs, as_json=as_json, single=len(requests) == 1)


def job_for(request: VideoRequest, output: Output | None) -> Job:
    return Job(partial(modify, request=request, output=output), f"{request.source}: {request.prompt}")


async def modify(app: App, progress: Progress, *, request: VideoRequest, output: Output | None) -> Outcome:
    """Submit or join a request, and have a copy of its video where that is wanted."""
    asked = await app.modify_video(request, LOCAL_CALLER, wait_seconds=app.settings.max_wait_seconds, progress=progress)
    return await with_copy(app, await follow_to_end(app, asked, progress), output)


def read_arguments(
    arguments: Sequence[str], prompts: Sequence[str], flags: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Give sources and prompts: without `prompts`, the last argument is the prompt.

    Raises `WrongArguments`, which says what to type, with some flags.
    """
    if prompts:
        return list(arguments), list(prompts)
    *sources, prompt = arguments
    if not sources or (looks_like_source(prompt) and all(map(looks_like_source, sources))):
        raise WrongArguments("There is no prompt: how should it look?", hint=example(*split_words(arguments), flags))
    if looks_like_source(prompt):
        raise WrongArguments("The clip comes first, then the prompt.", hint=example([prompt], " ".join(sources), flags))
    unquoted = next((place for place, word in enumerate(sources) if place and not looks_like_source(word)), None)
    if unquoted:
        hint = example(sources[:unquoted], " ".join(arguments[unquoted:]), flags)
        raise WrongArguments("The prompt belongs in quotes.", hint=hint)
    return sources, [prompt]


def split_words(arguments: Sequence[str]) -> tuple[list[str], str]:
    """Give the sources of arguments without a prompt, and a prompt: what else stands in the only one, or an example."""
    first, *rest = arguments[0].split(maxsplit=1)
    if len(arguments) == 1 and rest and looks_like_source(first):
        return [first], rest[0]
    return [*arguments], EXAMPLE_PROMPT


def example(sources: Sequence[str], prompt: str, flags: Sequence[str]) -> str:
    return typed_command("modify", *sources, prompt, *flags)


def typed_flags(settings: Settings, output: str, take: int) -> list[str]:
    """Give the flags that a command to type has to repeat: without --sandbox it would be charged."""
    sandbox = ["--sandbox"] if settings.sandbox else []
    return [*sandbox, *(["--output", output] if output else []), *(["--take", str(take)] if take != 1 else [])]


def looks_like_source(word: str) -> bool:
    """Tell whether a word names a clip rather than part of a prompt: an address, a video's name, or a file."""
    is_name = len(word.split()) == 1 and ("://" in word or Path(word).suffix.lower() in CLIP_SUFFIXES)
    return is_name or os.path.isfile(os.path.expanduser(word))


def with_sources(settings: Settings, sources: Sequence[str]) -> tuple[Settings, list[str]]:
    """Give settings that let the typed files be read, wherever they are, and the sources as requests name them."""
    named = [source_of(source) for source in sources]
    folders = [found.parent for found in named if isinstance(found, Path)]
    roots = (*settings.readable_folders, *dict.fromkeys(folders))
    return settings.model_copy(update={"media_roots": roots}) if folders else settings, [str(one) for one in named]


def source_of(typed: str) -> Path | str:
    """Give the real path of a file that was typed, or the address; raise `FileMissing` or `SourceNotFound`."""
    source = typed.strip() if typed.strip().lower().startswith("file:") else typed
    if source.lower().startswith("file:"):
        source = str(file_uri_path(source, "SOURCE"))
    elif not source.strip() or "://" in source:
        return source.strip()
    path = resolve_typed_file(Path(os.path.expanduser(source)))
    if not os.path.lexists(path):
        raise FileMissing(f"There is no file {source}.", hint=similar_name(path))
    return path


def similar_name(path: Path) -> str:
    """Name a file of the same folder that may be meant."""
    try:
        there = [name for name in os.listdir(path.parent) if looks_like_source(name)]
    except OSError:
        return f"There is no folder {path.parent} either."
    alike = difflib.get_close_matches(path.name, there, n=1, cutoff=SIMILARITY)
    return f"Did you mean {path.with_name(alike[0])}?" if alike else ""


def check_name(output: Output | None, count: int) -> None:
    if output and output.name and count > 1:
        raise WrongArguments(f"--output names one file, for {count} videos.", hint="Name a folder: --output DIR/")


def confirm_price(settings: Settings, count: int, *, yes: bool) -> None:
    """Have a person agree to the price of several videos; raise `WrongArguments` where nobody can be asked.

    Those that were made before are not charged again, which only their submission shows.
    """
    if count == 1 or yes or settings.sandbox:
        return
    price = f"{count} videos at {PRICE_USD:.2f} USD: {count * PRICE_USD:.2f} USD at most"
    if not is_interactive():
        raise WrongArguments(f"This would cost {price}.", hint="Add --yes to confirm.")
    forget_typed()
    print_message(f"{price}. Continue? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        print_message("Nothing was sent.")
        raise KeyboardInterrupt


def is_interactive() -> bool:
    """Tell whether there is somebody to ask."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def forget_typed() -> None:
    """Throw away what was typed before the question: it is no answer to that."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - only Windows has it

        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        import termios  # noqa: PLC0415 - Windows lacks it

        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def as_typed(words: str) -> str:
    """Give words of the command line as UTF-8, also where an old locale of Linux could not decode them."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return os.fsencode(words).decode("utf-8", "replace")
    return words
