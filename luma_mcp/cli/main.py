"""The command line: commands, arguments and flags."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from luma_mcp import __version__
from luma_mcp.cli.commands import run_sandbox, run_tasks, run_token, serve, with_settings
from luma_mcp.cli.config import ADDRESS_FLAGS, run_config
from luma_mcp.cli.console import EXIT_HELP
from luma_mcp.cli.doctor.run import run_doctor
from luma_mcp.cli.login import run_login, run_logout
from luma_mcp.cli.modify import run_modify
from luma_mcp.cli.printable import printable
from luma_mcp.cli.wait import run_wait
from luma_mcp.core.models import PRICE_USD
from luma_mcp.core.settings import Settings, variable_name

ABOUT = """\
Modify videos with Luma at RunAPI: a prompt and a clip in, the re-rendered clip out, saved on disk.

Without a command, luma-mcp is an MCP server on stdin and stdout: hosts such as Claude Desktop
start it by themselves. With --transport http it serves many of them on a port. To try the whole
job without a key, network or cost:

  luma-mcp modify CLIP.mp4 "a foggy autumn morning" --sandbox"""
MODIFY_ABOUT = f"""\
Modify one clip: submits it, shows progress, saves the result, and prints the path of the saved
file on stdout. Costs {PRICE_USD:.2f} USD when it succeeds (nothing with --sandbox). The same request is the
same task: interrupting it leaves the task alive, and the same command joins it, or shows its
result, at any time and without another charge. --take 2, 3, … makes other versions."""
CONFIG_ABOUT = """\
Let a host know this server: prints what belongs into the host's configuration file, with the paths
of this machine, or puts it there. Everything else in the file stays as it is. Settings given as
flags become part of the entry: --sandbox is for trying without a key. A key is never printed. With
--transport http the entry holds the address of a server that you start yourself, and the token for it."""
DOCTOR_ABOUT = """\
Look at everything that this server depends on: versions, settings, where the key comes from, the
way to RunAPI, balance, ledger, folders, and the hosts on this machine with their limits. Changes
nothing, costs nothing, never shows a key. Each problem comes with its fix, and the exit code tells
of the first one."""
LOGIN_ABOUT = """\
Get a RunAPI key: opens RunAPI's page in your browser, where you log in and agree, and puts the key
into RunAPI's own file, which every server of this user reads. With --with-key it takes a key that
you type (it is not shown) or pipe in. RunAPI is asked whether it takes the key; the key is never
printed, and stands in no host's file."""
ACCESS_ABOUT = """\
Print the token with which your own programs connect to a server over HTTP (luma-mcp --transport http),
as the header Authorization: Bearer TOKEN. It is made when it is first needed, and kept in the data
folder, readable by you only. To have a new one, delete the file http-token there, and start the
server anew."""
SECRET: frozenset[str] = frozenset({"api_key", "auth_tokens"})
ADDRESS_SETTINGS = ADDRESS_FLAGS | {"transport"}
HTTP_ONLY = ADDRESS_SETTINGS | {"allowed_hosts"}


AddCommand = Callable[..., argparse.ArgumentParser]


class Parser(argparse.ArgumentParser):
    """Repeats arguments that it does not understand in a form that is fit for a terminal."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def build_parser() -> argparse.ArgumentParser:
    top = Parser(prog="luma-mcp", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"runapi-luma-mcp {__version__}")
    top.set_defaults(run=with_settings(serve))
    add_setting_flags(top, hidden=SECRET)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    command = partial(add_command, commands)
    add_work_commands(command)
    add_server_commands(command)
    add_setup_commands(command)
    return top


def add_work_commands(command: AddCommand) -> None:
    modify = command("modify", with_settings(run_modify), "modify one clip and save the result", MODIFY_ABOUT)
    modify.add_argument("arguments", metavar="SOURCE PROMPT", nargs="+", help="the clips, and how they should look")
    modify.add_argument("--prompt", action="append", default=[], dest="prompts", metavar="TEXT", help="a prompt")
    modify.add_argument("--output", default="", metavar="FILE-or-FOLDER", help="where to save")
    modify.add_argument(
        "--take", type=int, default=1, metavar="N", help="which version of the same request, 1 to 100; each is paid for"
    )
    modify.add_argument("--yes", action="store_true", help="agree to the price of several videos")
    modify.add_argument("--json", action="store_true", dest="as_json", help="print the whole task as JSON")

    wait = command("wait", with_settings(run_wait), "wait for a task, or all that run")
    wait.add_argument("task_id", nargs="?", default="", metavar="TASK_ID", help="the task; none means all that run")
    wait.add_argument("--json", action="store_true", dest="as_json", help="print the task as JSON")

    tasks = command("tasks", with_settings(run_tasks), "list earlier tasks, newest first")
    tasks.add_argument("--status", default="", metavar="STATUS", help="only tasks in this state")
    tasks.add_argument("--limit", type=int, default=20, metavar="N", help="how many, 1 to 100 (default 20)")
    tasks.add_argument("--json", action="store_true", dest="as_json", help="print the list as JSON")


def add_server_commands(command: AddCommand) -> None:
    command("token", with_settings(run_token), "print the token of your own clients over HTTP", ACCESS_ABOUT)

    sandbox = command("sandbox", with_settings(run_sandbox), "serve the sandbox RunAPI on a port of this machine")
    sandbox.add_argument("--listen", type=port_number, default=8788, metavar="PORT", help="the port (default 8788)")
    sandbox.add_argument("--seconds", type=float, default=8, metavar="S", help="how long a task takes (default 8)")


def add_setup_commands(command: AddCommand) -> None:
    login = command(
        "login", with_settings(run_login), "get a RunAPI key, and keep it where all servers read it", LOGIN_ABOUT
    )
    login.add_argument("--with-key", action="store_true", help="take a key that you type or pipe in, not RunAPI's page")
    command("logout", run_logout, "take the RunAPI key out of RunAPI's own file")

    config = command("config", run_config, "let a host know this server", CONFIG_ABOUT, shown=ADDRESS_SETTINGS)
    config.add_argument("for_host", metavar="HOST", nargs="?", default="", help="the host; none lists all")
    change = config.add_mutually_exclusive_group()
    change.add_argument("--write", action="store_true", help="put it into the host's file, and keep a backup of that")
    change.add_argument("--remove", action="store_true", help="take it out of the host's file again, with a backup too")
    config.add_argument("--file", type=Path, metavar="PATH", help="another file than the host's own")

    doctor = command("doctor", run_doctor, "look for what is wrong, and say how to mend it", DOCTOR_ABOUT)
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.add_argument(
        "--probe", action="store_true", help="ask RunAPI what is free, and print a report without secrets to hand back"
    )


def port_number(value: str) -> int:
    """Read a port; 0 means any that is free."""
    if not 0 <= int(value) <= 65535:
        raise ValueError(value)
    return int(value)


def add_command(
    commands: Any,
    name: str,
    run: Callable[..., int],
    summary: str,
    about: str = "",
    *,
    shown: frozenset[str] = frozenset(),
) -> argparse.ArgumentParser:
    """Add a command with the flags that all share; `shown` are flags of servers that it has too."""
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=about or f"{summary[:1].upper()}{summary[1:]}.",
        epilog=EXIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_setting_flags(added, hidden=SECRET | (HTTP_ONLY - shown))
    added.set_defaults(run=run)
    return added


def add_setting_flags(to: argparse.ArgumentParser, *, hidden: frozenset[str]) -> None:
    """Add a flag for each setting; secrets are never flags, because others on the machine can read command lines."""
    group = to.add_argument_group("settings", "each can also be given as the environment variable named")
    for name, field in Settings.model_fields.items():
        if name in hidden:
            continue
        more: dict[str, Any] = {"action": "store_true"} if field.annotation is bool else {"metavar": "VALUE"}
        about = f"{field.description} [{variable_name(field, name)}]".replace("%", "%%")
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, default=argparse.SUPPRESS, help=about, **more)
