"""What the doctor finds, and how it is told."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from luma_mcp.cli.printable import printable

State = Literal["ok", "note", "problem"]
BAD_SETTING = "bad_setting"  # no error code of a task, but of the command line
INDENT = " " * 9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is about, how it stands, and what to do about it.

    `code` is the error code that a problem of this kind leads to.
    """

    check: str
    state: State
    message: str
    fix: str = ""
    code: str = ""


def ok(check: str, message: str) -> Finding:
    """Find something as it should be."""
    return Finding(check, "ok", message)


def note(check: str, message: str, fix: str = "") -> Finding:
    """Find something that works, but that people should know of."""
    return Finding(check, "note", message, fix)


def problem(check: str, message: str, fix: str, code: str = "invalid_request") -> Finding:
    """Find something that keeps this server from working."""
    return Finding(check, "problem", message, fix, code)


def problems(findings: Sequence[Finding]) -> list[Finding]:
    """Give what has to be mended."""
    return [finding for finding in findings if finding.state == "problem"]


def as_lines(findings: Sequence[Finding]) -> str:
    """Lay findings out for reading, each fix below what it mends."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.state:<8} {finding.check}: {finding.message}")
        if finding.fix:
            lines.append(f"{INDENT}fix: {finding.fix}")
    wrong = [finding.check for finding in problems(findings)]
    lines.append(f"To mend: {', '.join(wrong)}." if wrong else "Nothing keeps this server from working.")
    return "\n".join(map(printable, lines))


def as_json(findings: Sequence[Finding]) -> str:
    """Write findings for programs; `fix` and `code` only where there is something to do or wrong."""
    listed = [
        {
            "check": finding.check,
            "state": finding.state,
            "message": finding.message,
            **({"fix": finding.fix} if finding.fix else {}),
            **({"code": finding.code} if finding.state == "problem" else {}),
        }
        for finding in findings
    ]
    return json.dumps({"ok": not problems(findings), "findings": listed}, indent=2, ensure_ascii=False)
