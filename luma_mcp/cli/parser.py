"""Reading a command line as people of `gh` and `uv` expect: short help, and one line for what is not understood."""

import argparse
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from luma_mcp.cli.printable import printable

HELP_COLUMN = 28
PAGE_WIDTH = 80
KEY_FLAGS = ("--key", "--api-key", "--token")
LIKENESS = 0.7


class Parser(argparse.ArgumentParser):
    """Repeats what it does not understand in a form that is fit for a terminal, and guesses what was meant."""

    def __init__(self, **more: Any) -> None:
        layout = partial(argparse.RawDescriptionHelpFormatter, max_help_position=HELP_COLUMN, width=PAGE_WIDTH)
        super().__init__(formatter_class=layout, allow_abbrev=False, **more)
        self.color = False  # Python 3.14 colours help, and we write the usage ourselves

    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"{self.prog}: {message} (help: {self.prog} --help)") + "\n")

    def refuse_unknown(self, words: Sequence[str]) -> NoReturn:
        """End with the first flag that there is not, and the one that was probably meant, or the first word too many.

        A flag comes first, for what follows it may be its value.
        """
        flag = next((word.partition("=")[0] for word in words if word.startswith("-")), "")
        if not flag:
            self.error(f"{words[0]!r} is one word too many: are quotes missing?")
        if flag in KEY_FLAGS:
            self.error("the key is never a flag, for others can read these: run luma-mcp login")
        known = [option for action in actions_of(self) for option in action.option_strings]
        self.error(f"there is no {flag!r}{guess(flag, known)}")


class TopParser(Parser):
    """The parser of the whole command line, with a front page of its own and a parser for each command."""

    def __init__(self, front_page: str, **more: Any) -> None:
        super().__init__(**more)
        self.commands: Mapping[str, Parser] = {}
        self._front_page = front_page

    def format_help(self) -> str:
        return self._front_page

    def find_command(self, words: Sequence[str], known: Collection[str]) -> str | None:
        """Find the first word that belongs to no flag; end with what was probably meant if it is no known command."""
        word = first_word(words, value_flags(self))
        if word is not None and word not in known:
            self.error(f"there is no command {word!r}{guess(word, known)}")
        return word


def actions_of(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    """List the arguments and flags of a parser."""
    return parser._actions  # noqa: SLF001 - argparse has no public list


def value_flags(parser: Parser) -> frozenset[str]:
    """Name the flags that are followed by a value."""
    return frozenset(option for action in actions_of(parser) if action.nargs != 0 for option in action.option_strings)


def first_word(words: Sequence[str], before_values: frozenset[str]) -> str | None:
    """Find the first word that is neither a flag nor the value of one."""
    rest = iter(words)
    for word in rest:
        if word in before_values:
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None


def guess(typed: str, known: Iterable[str]) -> str:
    """Say what was probably meant; nothing if it is like nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - most people type what there is

    near = get_close_matches(typed, list(known), 1, LIKENESS)
    return f": did you mean {near[0]}?" if near else ""
