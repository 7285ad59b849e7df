"""The command line: which commands, arguments and flags there are, and what they are told to do."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luma_mcp import __version__
from luma_mcp.cli.console import EXIT_HELP, print_result
from luma_mcp.cli.parser import Parser, TopParser
from luma_mcp.cli.setting_flags import (
    ALL,
    FLAGS,
    NO_SPEND,
    NO_SPEND_MEANING,
    NO_SPEND_SETS,
    RULE,
    SECRETS,
    add_setting_flags,
    flag_name,
)
from luma_mcp.core.models import PRICE_USD, Status

AddArguments = Callable[[Parser], None]
BARE = "luma_mcp.cli.welcome:run_bare"
OFFERS = ("hosts", "tasks")  # what a script asks for while a person types
SHELLS = ("bash", "zsh", "fish")
AT_RUNAPI = ("data_dir", "env_file", "base_url", "log_level")
SAVING = ("output_dir", "media_roots", "allow_private")
ADDRESS = ("transport", "host", "port", "public_url")
WAITS = ("wait_seconds", "max_wait_seconds")
LIMITS = ("daily_limit", "daily_budget", "max_active")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command as people see it, and the function that does it: `package.module:function`, imported when it runs.

    The function is given what `takes` says (settings as of a person at this machine, those of a server, or the flags),
    and its own arguments by name.
    """

    name: str
    example: str
    summary: str
    about: str
    run: str
    add_arguments: AddArguments
    usage: str = ""  # where argparse's own is not what people should type
    settings: Sequence[str] = ()
    unshown: Sequence[str] = ()  # settings that it has, too, and its help has no room for
    takes: Literal["settings", "server_settings", "flags"] = "settings"
    gathers: str = ""  # the argument that takes all words, also those behind flags
    exits: str = ""


def modify_arguments(parser: Parser) -> None:
    parser.add_argument(
        "arguments",
        metavar="SOURCE... PROMPT",
        nargs="+",
        help="clips (files, URLs, luma://tasks/ID), then the look",
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        action="append",
        dest="prompts",
        default=[],
        help="a look; then all arguments are clips, and get each",
    )
    add_output(parser)
    parser.add_argument("--take", metavar="N", type=int, default=1, help="which version of the same, 1 to 100 (1)")
    parser.add_argument("--yes", action="store_true", help="do not ask before several videos are paid for")
    add_json(parser, "print the whole task as JSON")


def wait_arguments(parser: Parser) -> None:
    parser.add_argument("task_id", metavar="TASK_ID", nargs="?", default="", help="the task (without: all that run)")
    add_json(parser, "print the whole task as JSON")


def save_arguments(parser: Parser) -> None:
    parser.add_argument("task_id", metavar="TASK_ID", help="the finished task, as luma-mcp tasks lists it")
    add_output(parser)
    add_json(parser, "print the whole task as JSON")


def preview_arguments(parser: Parser) -> None:
    parser.add_argument("task_id", metavar="TASK_ID", help="the finished task, as luma-mcp tasks lists it")
    parser.add_argument("--output", metavar="FILE", default="", help="the file or folder to write the picture to")


def tasks_arguments(parser: Parser) -> None:
    parser.add_argument("words", metavar="WORDS", nargs="*", help="only tasks with these words in prompt or id")
    states = "{" + ",".join(Status) + "}"
    parser.add_argument(
        "--status",
        metavar=states,
        choices=[state.value for state in Status],
        default="",
        help="only tasks in this state",
    )
    parser.add_argument("--limit", metavar="N", type=int, default=20, help="how many, 1 to 100 (20)")
    add_json(parser, "print all that is known of them as JSON")


def account_arguments(parser: Parser) -> None:
    add_json(parser, "print it as JSON")


def gallery_arguments(parser: Parser) -> None:
    parser.add_argument("--listen", type=port_number, default=0, metavar="PORT", help="the port (any that is free)")


def login_arguments(parser: Parser) -> None:
    parser.add_argument("--with-key", action="store_true", help="take a key that you type or pipe in")


def config_arguments(parser: Parser) -> None:
    parser.add_argument("for_host", metavar="HOST", nargs="?", default="", help="the host (without: lists all)")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--write", action="store_true", help="put it into the host's file, of which a backup is kept")
    change.add_argument("--remove", action="store_true", help="take it out again")
    parser.add_argument("--file", type=Path, metavar="FILE", help="another file than the host's own")


def doctor_arguments(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--probe", action="store_true", help="ask RunAPI what is free: a report without secrets")


def completion_arguments(parser: Parser) -> None:
    shells = "{" + ",".join(SHELLS) + "}"
    parser.add_argument("shell", metavar=shells, type=shell_name, help="the shell that you use")


def sandbox_arguments(parser: Parser) -> None:
    parser.add_argument("--listen", type=port_number, default=8788, metavar="PORT", help="the port (8788)")
    parser.add_argument("--seconds", type=float, default=8, metavar="SECONDS", help="how long a task takes (8)")


def no_arguments(_: Parser) -> None:
    """Add nothing: the command has only settings."""


def add_output(parser: Parser) -> None:
    parser.add_argument("--output", metavar="FILE", default="", help="where a copy of the video goes: a file or folder")


def add_json(parser: Parser, meaning: str) -> None:
    parser.add_argument("--json", action="store_true", dest="as_json", help=meaning)


def shell_name(value: str) -> str:
    """Read the name of a shell, or what its script asks for."""
    if value not in (*SHELLS, *OFFERS):
        raise argparse.ArgumentTypeError(f"there is no script for {value!r}")
    return value


def port_number(value: str) -> int:
    """Read a port; 0 means any that is free."""
    if not 0 <= int(value) <= 65535:
        raise ValueError(value)
    return int(value)


WORK = (
    Command(
        name="modify",
        example='modify clip.mp4 "fog at dawn"',
        summary=f"a new version of a clip ({PRICE_USD:.2f} USD)",
        about=f"""\
Modify a clip, show how it goes, save the result and print its path. Each video
costs {PRICE_USD:.2f} USD when it succeeds, nothing with --sandbox. The same request is the
same task: interrupting leaves it alive, and typing it again joins it, for free.

  luma-mcp modify clip.mp4 "a foggy autumn morning" --output fog.mp4
  luma-mcp modify a.mp4 b.mp4 --prompt "in snow" --prompt "at night\"""",
        run="luma_mcp.cli.modify:run_modify",
        add_arguments=modify_arguments,
        usage="SOURCE... PROMPT [OPTIONS]",
        settings=("sandbox", *SAVING, "save", *LIMITS, *AT_RUNAPI),
        gathers="arguments",
        exits=EXIT_HELP,
    ),
    Command(
        name="wait",
        example="wait",
        summary="wait for what runs, and save it",
        about="""\
Wait for a task, or for all that run, save the results and print their paths.

  luma-mcp wait
  luma-mcp wait 550e8400-e29b-41d4-a716-446655440000""",
        run="luma_mcp.cli.wait:run_wait",
        add_arguments=wait_arguments,
        settings=("sandbox", *SAVING, "save", *AT_RUNAPI),
        exits=EXIT_HELP,
    ),
    Command(
        name="save",
        example="save TASK_ID --output fog.mp4",
        summary="save a result again, or elsewhere",
        about="""\
Save the result of a finished task, again or elsewhere, and print its path. That
costs nothing. No file is ever overwritten: the new one gets a number.

  luma-mcp save 550e8400-e29b-41d4-a716-446655440000 --output ~/Desktop/""",
        run="luma_mcp.cli.save:run_save",
        add_arguments=save_arguments,
        settings=("sandbox", *SAVING, *AT_RUNAPI),
        exits=EXIT_HELP,
    ),
    Command(
        name="preview",
        example="preview TASK_ID",
        summary="a picture of a result beside its source",
        about="""\
Make a picture of a finished task: frames of its source in the upper row, frames
of the result at the same moments below them. Prints the path of the JPEG, which
is in the output folder if you name no other. Costs nothing, overwrites nothing.

  luma-mcp preview 550e8400-e29b-41d4-a716-446655440000 --output fog.jpg""",
        run="luma_mcp.cli.preview:run_preview",
        add_arguments=preview_arguments,
        settings=("sandbox", *SAVING, *AT_RUNAPI),
        exits=EXIT_HELP,
    ),
    Command(
        name="tasks",
        example="tasks fog",
        summary="earlier tasks, newest first",
        about="""\
List earlier tasks, newest first: all, or those with some words in the prompt.

  luma-mcp tasks fog
  luma-mcp tasks --status failed --limit 5""",
        run="luma_mcp.cli.tasks:run_tasks",
        add_arguments=tasks_arguments,
        usage="[WORDS...] [OPTIONS]",
        settings=("sandbox", "output_dir", "media_roots", *AT_RUNAPI),
        gathers="words",
    ),
    Command(
        name="account",
        example="account",
        summary="price, balance, spending and limits",
        about="""\
Show what a video costs, what is left on the RunAPI account, what was spent,
what runs now, and what the limits leave.

  luma-mcp account""",
        run="luma_mcp.cli.account:run_account",
        add_arguments=account_arguments,
        settings=("sandbox", *LIMITS, *AT_RUNAPI),
    ),
    Command(
        name="gallery",
        example="gallery",
        summary="all that was made, in your browser",
        about="""\
Look at all tasks in your browser: before and after, side by side. It is served
to you alone, at an address that lets one browser in, until you press Ctrl-C.
Nothing can be bought there.

  luma-mcp gallery
  luma-mcp gallery --sandbox""",
        run="luma_mcp.cli.gallery:run_gallery",
        add_arguments=gallery_arguments,
        settings=("sandbox", *SAVING, *AT_RUNAPI),
    ),
)
SET_UP = (
    Command(
        name="login",
        example="login",
        summary="get a RunAPI key",
        about="""\
Get a RunAPI key: opens RunAPI's page in your browser, where you log in and
agree, and puts the key into RunAPI's own file, which every server of yours
reads. The key is checked, never printed, and is not stored in any host's file.

  luma-mcp login
  luma-mcp login --with-key < key.txt""",
        run="luma_mcp.cli.login:run_login",
        add_arguments=login_arguments,
        settings=("sandbox", "env_file", "base_url", "log_level"),
    ),
    Command(
        name="logout",
        example="logout",
        summary="remove the key again",
        about="""\
Take the RunAPI key out of RunAPI's own file.

  luma-mcp logout""",
        run="luma_mcp.cli.login:run_logout",
        add_arguments=no_arguments,
        takes="flags",
    ),
    Command(
        name="config",
        example="config claude-desktop --write",
        summary="add this server to an MCP host",
        about="""\
Add this server to a host: prints what goes into its configuration file, or puts
it there; the rest of the file stays as it is. Settings become part of the
entry. A key is never printed. With --transport http the entry has the
address of a server that you start yourself, and the token for it.

  luma-mcp config
  luma-mcp config claude-desktop --write --sandbox
  luma-mcp config claude-desktop --remove""",
        run="luma_mcp.cli.config:run_config",
        add_arguments=config_arguments,
        settings=(
            "sandbox",
            "output_dir",
            "save",
            "media_roots",
            *LIMITS,
            "confirm",
            *ADDRESS,
            "wait_seconds",
            "data_dir",
            "env_file",
        ),
        unshown=(
            "max_wait_seconds",
            "callback_hosts",
            "polls_per_second",
            "keep_days",
            "legacy_tasks",
            "base_url",
            "allow_private",
            "log_level",
        ),
        takes="flags",
    ),
    Command(
        name="doctor",
        example="doctor",
        summary="what is wrong, and how to fix it",
        about="""\
Look at everything that this server depends on: versions, settings, key, the way
to RunAPI, balance, ledger, folders, and the hosts on this machine. Changes and
costs nothing, never shows a key. Each problem comes with its fix.

  luma-mcp doctor""",
        run="luma_mcp.cli.doctor.run:run_doctor",
        add_arguments=doctor_arguments,
        settings=("sandbox", *SAVING, "save", *LIMITS, *WAITS, *AT_RUNAPI),
        unshown=("confirm", "callback_hosts", "polls_per_second", "keep_days", "legacy_tasks"),
        takes="flags",
        exits=EXIT_HELP,
    ),
    Command(
        name="completion",
        example="completion zsh",
        summary="have your shell complete commands",
        about="""\
Print a script that has your shell complete commands, flags, hosts and task ids.

  bash, in ~/.bashrc:  source <(luma-mcp completion bash)
  zsh, in ~/.zshrc:    source <(luma-mcp completion zsh)    # after compinit
  fish:  luma-mcp completion fish > ~/.config/fish/completions/luma-mcp.fish""",
        run="luma_mcp.cli.completion:run_completion",
        add_arguments=completion_arguments,
        unshown=("sandbox",),
        takes="flags",
    ),
)
SERVERS = (
    Command(
        name="token",
        example="token",
        summary="the token for your own HTTP clients",
        about="""\
Print the token with which your own programs connect to a server over HTTP, as
the header Authorization: Bearer TOKEN. It is made when it is first needed, and
kept in the data folder, readable by you only. To have a new one, delete the
file http-token there, and start the server anew.

  luma-mcp token""",
        run="luma_mcp.cli.servers:run_token",
        add_arguments=no_arguments,
        settings=("data_dir", "env_file"),
        takes="server_settings",
    ),
    Command(
        name="sandbox",
        example="sandbox",
        summary="serve a RunAPI that costs nothing, on a port",
        about="""\
Serve the sandbox RunAPI on a port of this machine, for programs of your own.

  luma-mcp sandbox --listen 8788 --seconds 2""",
        run="luma_mcp.cli.servers:run_sandbox",
        add_arguments=sandbox_arguments,
        settings=("data_dir", "env_file", "log_level"),
        takes="server_settings",
    ),
)
COMMANDS = (*WORK, *SET_UP, *SERVERS)
FRONT_PAGE = """\
usage: luma-mcp [COMMAND] [ARGUMENTS]

Modify videos with Luma at RunAPI. Without a command it is a host's MCP server.

{commands}
To try it without a key or cost: luma-mcp modify CLIP.mp4 "in snow" --sandbox
More: luma-mcp COMMAND --help, luma-mcp --help-settings, luma-mcp --version
"""
SETTINGS_PAGE = """\
Settings of the server, and of the commands for which they mean something.
{rule}

{settings}

{secrets}
"""


def build_parser(words: Sequence[str] | None = None) -> TopParser:
    """Make the parser of all commands; for the words of a command line only that of the command which they name."""
    top = TopParser(FRONT_PAGE.format(commands=command_table()), prog="luma-mcp")
    top.add_argument("--version", action="version", version=f"luma-mcp {__version__}", help="the version")
    top.add_argument("--help-settings", action=HelpSettings, nargs=0, default=argparse.SUPPRESS, help="all settings")
    top.set_defaults(run=BARE, takes="server_settings")
    add_setting_flags(top.add_argument_group("settings"), ALL)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    named = None if words is None else top.find_command(words, [command.name for command in COMMANDS])
    needed = [command for command in COMMANDS if words is None or command.name == named]
    top.commands = {command.name: add_command(commands, command) for command in needed}
    return top


def add_command(commands: Any, command: Command) -> Parser:
    added: Parser = commands.add_parser(command.name, description=command.about, epilog=command.exits or None)
    command.add_arguments(added)
    usage = command.usage or added.format_usage().split(f"{command.name} [-h]", 1)[1].strip()
    added.usage = f"%(prog)s {usage}{' [SETTINGS]' if command.settings else ''}"
    if command.settings or command.unshown:
        group = added.add_argument_group("settings (more of them: luma-mcp --help-settings)")
        add_setting_flags(group, command.settings)
        add_setting_flags(group, command.unshown, shown=False)
    added.set_defaults(run=command.run, takes=command.takes)
    return added


def parse_command_line(words: Sequence[str]) -> dict[str, Any]:
    """Read a command line: `run`, `takes`, and all that was given by name. Ends the process with help or a refusal."""
    words = [*words[1:], "--help"] if words[:1] == ["help"] else words
    top = build_parser(words)
    known, rest = top.parse_known_args(words)
    given = vars(known)
    if given.pop("no_spend", False):
        given[NO_SPEND_SETS] = 0
    command = next((command for command in COMMANDS if command.name == given["command"]), None)
    parser = top.commands[command.name] if command else top
    gathers = command.gathers if command else ""
    if rest and (not gathers or any(word.startswith("-") for word in rest[: end_of_flags(rest)])):
        if command:
            refuse_meaningless([name for name in FLAGS if flag_name(name) in rest], command, parser)
        parser.refuse_unknown(rest)
    if rest:
        given[gathers] += [word for number, word in enumerate(rest) if number != end_of_flags(rest)]
    if command:
        refuse_meaningless([name for name in FLAGS if name in given], command, parser)
    return {name: value for name, value in given.items() if name != "command"}


def refuse_meaningless(settings: Sequence[str], command: Command, parser: Parser) -> None:
    """End if one of the settings is none of this command."""
    for name in settings:
        if name not in (*command.settings, *command.unshown):
            parser.error(f"{flag_name(name)} means nothing to this command")


def end_of_flags(words: Sequence[str]) -> int:
    """Find the `--` after which nothing is a flag."""
    return words.index("--") if "--" in words else len(words)


def command_table() -> str:
    """List the commands in their groups, each with an example."""
    http = ("--transport http", "serve many hosts on a port")
    groups = {
        "work": [(command.example, command.summary) for command in WORK],
        "set up": [(command.example, command.summary) for command in SET_UP],
        "servers": [http, *((command.example, command.summary) for command in SERVERS)],
    }
    return "\n".join(
        line for group, rows in groups.items() for line in (f"{group}:", *(f"  {a:<32}{b}" for a, b in rows))
    )


class HelpSettings(argparse.Action):
    """Prints all settings, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print_result(settings_page().rstrip())
        parser.exit()


def settings_page() -> str:
    flags = [(f"{flag_name(name)} {flag.value}".rstrip(), flag.meaning) for name, flag in FLAGS.items()]
    flags.insert(list(FLAGS).index(NO_SPEND_SETS) + 1, (NO_SPEND, NO_SPEND_MEANING))
    rows = [f"  {flag:<32}{meaning}" if len(flag) < 32 else f"  {flag}\n{'':34}{meaning}" for flag, meaning in flags]
    return SETTINGS_PAGE.format(rule=RULE, settings="\n".join(rows), secrets=SECRETS)
