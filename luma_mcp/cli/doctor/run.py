"""The whole examination: each part bounded in time, and none kept from its turn by another."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import anyio

from luma_mcp.cli.console import BAD_SETTING, EXIT_CODES, ExitCode, print_json, print_result
from luma_mcp.cli.doctor.hosts import HostConfig, check_host, no_host_found, read_host_config
from luma_mcp.cli.doctor.installation import check_key, check_previews, check_settings, check_variables, check_versions
from luma_mcp.cli.doctor.network import check_identity_provider, check_network
from luma_mcp.cli.doctor.probe import run_probe
from luma_mcp.cli.doctor.report import Finding, findings_json, format_findings, problem, problems
from luma_mcp.cli.doctor.storage import check_ledger, check_output_folder, check_source_folders
from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.hosts.registry import all_hosts

CHECK_TIMEOUT_SECONDS = 10.0
FAULTS = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError)
ACCESS = "Let this user read and write it."  # no other folder: for the ledger that would be an empty one
GONE = "Its disk may hang, or a network drive be gone: have it brought back, then look again."
T = TypeVar("T")


def run_doctor(flags: Mapping[str, Any], *, json: bool, probe: bool = False) -> int:
    """Examine everything, or probe RunAPI; the exit code is that of the first problem."""
    if probe:
        return run_probe(load_settings(**flags), json=json)
    findings = examine(flags)
    if json:
        print_json(findings_json(findings))
    else:
        print_result(format_findings(findings))
    wrong = problems(findings)
    return EXIT_CODES[wrong[0].code] if wrong else ExitCode.DONE


def examine(flags: Mapping[str, Any]) -> list[Finding]:
    """Look at everything; with a bad setting, only at what does not depend on settings."""
    found = [*check_versions(), check_previews()]
    try:
        settings = load_settings(**flags)
    except BadSetting as error:
        bad = problem("settings", error.message, "Correct it; the rest is looked at then.", BAD_SETTING)
        return [*found, bad, *check_variables()]
    hosts = [
        (host.title, look(host.title, partial(read_host_config, host)))
        for host in all_hosts().values()
        if host.has_config_file()
    ]
    brought = [title for title, one in hosts if isinstance(one, HostConfig) and one.brings_key]
    found += [*check_settings(settings), *check_key(settings, brought), *anyio.run(check_network, settings)]
    found += anyio.run(check_identity_provider, settings)
    found += examine_disk("ledger", partial(check_ledger, settings))
    found += examine_disk("output folder", partial(check_output_folder, settings))
    found += examine_disk("source folders", partial(check_source_folders, settings))
    for title, one in hosts:
        found += [one] if isinstance(one, Finding) else examine_disk(title, partial(check_host, one, settings))
    return found if hosts else [*found, no_host_found()]


def examine_disk(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    found = look(name, check)
    return [found] if isinstance(found, Finding) else found


def look(name: str, work: Callable[[], T]) -> T | Finding:
    """Look at a part of the disk; give what was found, or the problem that prevented it.

    This happens on a thread, which is left behind if it hangs, as on a network drive that is gone.
    """
    found: list[T | Finding] = []

    def attempt() -> None:
        try:
            found.append(work())
        except FAULTS as error:
            what = error.strerror if isinstance(error, OSError) else type(error).__name__
            found.append(problem(name, f"could not be looked at: {what}.", ACCESS, "output_not_writable"))

    looking = threading.Thread(target=attempt, daemon=True)
    looking.start()
    looking.join(CHECK_TIMEOUT_SECONDS)
    late = f"did not answer in {CHECK_TIMEOUT_SECONDS:.0f} seconds."
    return found[0] if found else problem(name, late, GONE, "output_not_writable")
