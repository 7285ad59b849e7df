"""`luma-mcp completion`: a script for the person's shell, made from the parser itself."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luma_mcp.cli.console import print_result
from luma_mcp.cli.main import COMMANDS, build_parser
from luma_mcp.cli.parser import Parser, actions_of

Kind = Literal["words", "files", "folders", "hosts", "tasks", "anything", "nothing"]
KINDS: Mapping[str, Kind] = {
    "SOURCE... PROMPT": "files",
    "FILE": "files",
    "DIR": "folders",
    "DIRS": "folders",
    "HOST": "hosts",
    "TASK_ID": "tasks",
}
PROGRAMS = ("luma-mcp", "runapi-luma-mcp")


@dataclass(frozen=True, slots=True)
class Completed:
    """An argument or flag as a shell completes it: what follows a flag, or takes the place of an argument."""

    flags: tuple[str, ...]
    meaning: str
    kind: Kind
    words: tuple[str, ...] = ()
    repeats: bool = False  # an argument that takes any number of words


@dataclass(frozen=True, slots=True)
class CompletedCommand:
    """A command with what it takes; the one without a name is the program itself."""

    name: str
    summary: str
    takes: tuple[Completed, ...]

    @property
    def flags(self) -> tuple[Completed, ...]:
        return tuple(one for one in self.takes if one.flags)

    @property
    def arguments(self) -> tuple[Completed, ...]:
        return tuple(one for one in self.takes if not one.flags)


def run_completion(flags: Mapping[str, Any], shell: str) -> int:
    """Print the script for a shell, or what it asks for while a person types: silent where nothing can be found."""
    if shell in SCRIPTS:
        print_result(SCRIPTS[shell](list(completed_commands())))
        return 0
    from luma_mcp.cli.offers import list_offers  # noqa: PLC0415 - a script needs no settings, hosts and ledger

    if offers := list_offers(shell, flags):
        print_result("\n".join(offers))
    return 0


def completed_commands() -> Iterator[CompletedCommand]:
    """Read the program and its commands out of the parser."""
    top = build_parser()
    yield CompletedCommand("", "", tuple(completed_of(top)))
    for command in COMMANDS:
        yield CompletedCommand(command.name, command.summary, tuple(completed_of(top.commands[command.name])))


def completed_of(parser: Parser) -> Iterator[Completed]:
    for action in actions_of(parser):
        if action.help is not argparse.SUPPRESS and action.dest != "command":
            kind, words = kind_of(action)
            repeats = action.nargs in ("+", "*")
            yield Completed(tuple(action.option_strings), action.help or "", kind, words, repeats=repeats)


def kind_of(action: argparse.Action) -> tuple[Kind, tuple[str, ...]]:
    """Tell what a value can be, by the word that stands for it in the help."""
    shown = str(action.metavar or "")
    if action.nargs == 0:
        return "nothing", ()
    if shown.startswith("{"):
        return "words", tuple(shown.strip("{}").split(","))
    return KINDS.get(shown, "anything"), ()


# -- bash ------------------------------------------------------------------------------------------------------------

BASH = """\
_luma_mcp() {{
  local IFS=$'\\n' current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command='' sandbox='' word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in
      --sandbox) sandbox=--sandbox ;;
      {names}) [[ -z $command ]] && command=$word ;;
    esac
  done
  COMPREPLY=()
  case "$command $previous" in
{values}
  esac
  case "$command" in
{commands}
  esac
}}
_luma_mcp_files() {{ compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")); }}
_luma_mcp_folders() {{ compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$current")); }}
_luma_mcp_hosts() {{ COMPREPLY=($(compgen -W "$({ask} hosts 2>/dev/null | cut -f 1)" -- "$current")); }}
_luma_mcp_tasks() {{
  COMPREPLY=($(compgen -W "$({ask} tasks $sandbox 2>/dev/null | cut -f 1)" -- "$current"))
}}
_luma_mcp_words() {{ local IFS=$' \\n'; COMPREPLY=($(compgen -W "$*" -- "$current")); }}
complete -F _luma_mcp {programs}"""


def bash_script(commands: Sequence[CompletedCommand]) -> str:
    names = [command.name for command in commands if command.name]
    values = [
        f"    {pattern}) {bash_call(flag)}; return ;;"
        for command in commands
        for flag in command.flags
        if flag.kind != "nothing"
        for pattern in ["|".join(f'"{command.name} {option}"' for option in flag.flags)]
    ]
    rest = [f'    "{command.name}") {bash_rest(command, names)} ;;' for command in commands]
    return BASH.format(
        names="|".join(names), values="\n".join(values), commands="\n".join(rest), ask=ASK, programs=" ".join(PROGRAMS)
    )


def bash_call(one: Completed) -> str:
    if one.kind == "words":
        return f"_luma_mcp_words {' '.join(one.words)}"
    return f"_luma_mcp_{one.kind}" if one.kind in ("files", "folders", "hosts", "tasks") else ":"


def bash_rest(command: CompletedCommand, names: Sequence[str]) -> str:
    """Complete flags where one was begun, and arguments elsewhere; without a command, its name."""
    flags = " ".join(option for flag in command.flags for option in flag.flags)
    arguments = [bash_call(argument) for argument in command.arguments] or [":"]
    otherwise = arguments[0] if command.name else f"_luma_mcp_words {' '.join(names)}"
    return f"if [[ $current == -* ]]; then _luma_mcp_words {flags}; else {otherwise}; fi"


# -- zsh -------------------------------------------------------------------------------------------------------------

ZSH = """\
#compdef {programs}
_luma_mcp_ask() {{
  local -a found
  found=(${{(f)"$({ask} $1 ${{words[(r)--sandbox]}} 2>/dev/null)"}})
  found=(${{found//:/\\\\:}})
  found=(${{found/$'\\t'/:}})
  _describe $1 found
}}
_luma_mcp() {{
  local curcontext="$curcontext" state line
  typeset -A opt_args
  _arguments -C -S \\
{top} \\
    '1:command:(({names}))' \\
    '*::argument:->rest'
  [[ $state == rest ]] || return
  case $words[1] in
{commands}
  esac
}}
if [[ $funcstack[1] == _luma_mcp ]]; then _luma_mcp "$@"; else compdef _luma_mcp {programs}; fi"""
CONTINUED = " \\\n    "
ZSH_CALLS = {"files": "_files", "folders": "_files -/", "hosts": "_luma_mcp_ask hosts", "tasks": "_luma_mcp_ask tasks"}


def zsh_script(commands: Sequence[CompletedCommand]) -> str:
    top, *named = commands
    names = " ".join(f"{command.name}\\:{zsh_quoted(command.summary, inner=True)}" for command in named)
    rest = [f"    {command.name}) _arguments -S {zsh_specs(command, ' ')} ;;" for command in named]
    return ZSH.format(
        top="    " + zsh_specs(top, CONTINUED),
        names=names,
        commands="\n".join(rest),
        ask=ASK,
        programs=" ".join(PROGRAMS),
    )


def zsh_specs(command: CompletedCommand, between: str) -> str:
    return between.join(spec for one in command.takes for spec in zsh_spec(one))


def zsh_spec(one: Completed) -> Iterator[str]:
    action = f"({' '.join(one.words)})" if one.kind == "words" else ZSH_CALLS.get(one.kind, "")
    value = "" if one.kind == "nothing" else f":value:{action}"
    for flag in one.flags:
        yield f"'{flag}[{zsh_quoted(one.meaning)}]{value}'"
    if not one.flags:
        yield f"'{'*' if one.repeats else ''}:{zsh_quoted(one.meaning)}:{action}'"


def zsh_quoted(words: str, *, inner: bool = False) -> str:
    """Fit words into a quoted spec, where brackets and colons separate; `inner` is a list within one."""
    plain = words.replace("'", "'\\''").replace(":", "\\:").replace("[", "(").replace("]", ")")
    return f'"{plain}"' if inner else plain


# -- fish ------------------------------------------------------------------------------------------------------------

FISH = """\
function __luma_mcp_ask
    {ask} $argv (string match -- --sandbox (commandline -opc)) 2>/dev/null
end
complete -c luma-mcp -f
{lines}
complete -c runapi-luma-mcp -w luma-mcp"""
FISH_CALLS = {
    "files": "-r -F",
    "folders": "-x -a '(__fish_complete_directories)'",
    "hosts": "-x -a '(__luma_mcp_ask hosts)'",
    "tasks": "-x -a '(__luma_mcp_ask tasks)'",
}


def fish_script(commands: Sequence[CompletedCommand]) -> str:
    names = " ".join(command.name for command in commands if command.name)
    lines = [
        f"complete -c luma-mcp -n '{where}' {line}"
        for command in commands
        for where in [f"__fish_seen_subcommand_from {command.name}" if command.name else none_of(names)]
        for line in fish_lines(command)
    ]
    lines += [
        f"complete -c luma-mcp -n '{none_of(names)}' -a {command.name} -d '{fish_quoted(command.summary)}'"
        for command in commands
        if command.name
    ]
    return FISH.format(lines="\n".join(lines), ask=ASK)


def none_of(names: str) -> str:
    return f"not __fish_seen_subcommand_from {names}"


def fish_lines(command: CompletedCommand) -> Iterator[str]:
    for one in command.takes:
        value = f"-x -a '{' '.join(one.words)}'" if one.kind == "words" else FISH_CALLS.get(one.kind, "-x")
        if not one.flags:
            if one.kind not in ("anything", "nothing"):
                yield value
            continue
        options = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in one.flags)
        yield f"{options}{'' if one.kind == 'nothing' else f' {value}'} -d '{fish_quoted(one.meaning)}'"


def fish_quoted(words: str) -> str:
    return words.replace("\\", "\\\\").replace("'", "\\'")


ASK = "command luma-mcp completion"
SCRIPTS: Mapping[str, Callable[[Sequence[CompletedCommand]], str]] = {
    "bash": bash_script,
    "zsh": zsh_script,
    "fish": fish_script,
}
