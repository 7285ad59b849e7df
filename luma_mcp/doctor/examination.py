"""The whole examination: each part bounded in time, and none kept from its turn by another."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from luma_mcp.console import EXIT_CODES, show
from luma_mcp.doctor.findings import Finding, as_json, as_lines, problem, problems
from luma_mcp.doctor.known_hosts import bring_keys, hosts, hosts_here
from luma_mcp.doctor.machine import key, settings_read, variables, versions
from luma_mcp.doctor.network import network
from luma_mcp.doctor.storage import ledger, output_folder, source_folders
from luma_mcp.setting_values import BadSetting
from luma_mcp.settings import Settings, load_settings

BOUND_SECONDS = 10.0
Check = Callable[[Settings], list[Finding]]


def run_doctor(flags: Mapping[str, Any], *, json: bool) -> int:
    """Examine, tell, and give the exit code of the first problem's kind, 0 if there is none."""
    findings = examine(flags)
    show(as_json(findings) if json else as_lines(findings))
    wrong = problems(findings)
    return EXIT_CODES[wrong[0].code] if wrong else 0


def examine(flags: Mapping[str, Any]) -> list[Finding]:
    """Look at everything; with a setting that cannot be read, at what does not depend on settings."""
    found = versions()
    try:
        settings = load_settings(**flags)
    except BadSetting as error:
        bad = problem("settings", error.message, "Correct it; the rest is looked at then.", "missing_api_key")
        return [*found, bad, *variables()]
    on_disk: dict[str, Check] = {
        "ledger": ledger,
        "output folder": output_folder,
        "source folders": source_folders,
        "hosts": hosts,
    }
    found += [*settings_read(settings), *key(settings, bring_keys(hosts_here())), *anyio.run(network, settings)]
    return found + [finding for name, check in on_disk.items() for finding in bounded(name, check, settings)]


def bounded(name: str, check: Check, settings: Settings) -> list[Finding]:
    """Look at a part of the disk on a thread that is left behind if it hangs, as on a network drive that is gone."""
    found: list[Finding] = []
    looking = threading.Thread(target=lambda: found.extend(check(settings)), daemon=True)
    looking.start()
    looking.join(BOUND_SECONDS)
    if looking.is_alive():
        fix = "A network drive may be gone. Name another folder."
        return [problem(name, f"did not answer in {BOUND_SECONDS:.0f} seconds.", fix, "output_not_writable")]
    return found
