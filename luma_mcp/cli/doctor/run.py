"""The whole examination: each part bounded in time, and none kept from its turn by another."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio

from luma_mcp.cli.console import EXIT_CODES, show, show_json
from luma_mcp.cli.doctor.hosts import brings_key, judged, nowhere
from luma_mcp.cli.doctor.installation import key, settings_read, variables, versions
from luma_mcp.cli.doctor.network import network
from luma_mcp.cli.doctor.probe import run_probe
from luma_mcp.cli.doctor.report import BAD_SETTING, Finding, as_json, as_lines, problem, problems
from luma_mcp.cli.doctor.storage import ledger, output_folder, source_folders
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.hosts.known import known_hosts

BOUND_SECONDS = 10.0
EXIT_BAD_SETTING = 2
FAULTS = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError)
ACCESS = "Let this user read and write it."  # no other folder: for the ledger that would be an empty one
GONE = "Its disk may hang, or a network drive be gone: have it brought back, then look again."
Check = Callable[[Settings], list[Finding]]


def run_doctor(flags: Mapping[str, Any], *, json: bool, probe: bool = False) -> int:
    """Examine, tell, and give the exit code of the first problem's kind, 0 if there is none; or probe RunAPI."""
    if probe:
        return run_probe(load_settings(**flags), json=json)
    findings = examine(flags)
    if json:
        show_json(as_json(findings))
    else:
        show(as_lines(findings))
    wrong = problems(findings)
    return EXIT_CODES.get(wrong[0].code, EXIT_BAD_SETTING) if wrong else 0


def examine(flags: Mapping[str, Any]) -> list[Finding]:
    """Look at everything; with a setting that cannot be read, at what does not depend on settings."""
    found = versions()
    try:
        settings = load_settings(**flags)
    except BadSetting as error:
        bad = problem("settings", error.message, "Correct it; the rest is looked at then.", BAD_SETTING)
        return [*found, bad, *variables()]
    here = [host for host in known_hosts().values() if host.is_here()]
    on_disk: dict[str, Check] = {
        "ledger": ledger,
        "output folder": output_folder,
        "source folders": source_folders,
        **{host.title: partial(judged, host) for host in here},
    }
    hosts = [] if here else [nowhere()]
    brought = [
        one.check for host in here for one in bounded(host.title, partial(brings_key, host), settings) if one.code == ""
    ]
    found += [*settings_read(settings), *key(settings, brought), *anyio.run(network, settings)]
    return [*found, *(one for name, check in on_disk.items() for one in bounded(name, check, settings)), *hosts]


def bounded(name: str, check: Check, settings: Settings) -> list[Finding]:
    """Look at a part of the disk on a thread that is left behind if it hangs, as on a network drive that is gone."""
    found: list[list[Finding]] = []

    def look() -> None:
        try:
            found.append(check(settings))
        except FAULTS as error:
            what = error.strerror if isinstance(error, OSError) else type(error).__name__
            found.append([problem(name, f"could not be looked at: {what}.", ACCESS, "output_not_writable")])

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(BOUND_SECONDS)
    late = f"did not answer in {BOUND_SECONDS:.0f} seconds."
    return found[0] if found else [problem(name, late, GONE, "output_not_writable")]
