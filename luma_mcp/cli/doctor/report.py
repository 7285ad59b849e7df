"""What the doctor finds, and how it is told."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from luma_mcp.cli.printable import printable

FindingState = Literal["ok", "note", "problem"]
INDENT = " " * 9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str  # what it is about
    state: FindingState
    message: str
    fix: str = ""
    code: str = ""  # of a problem: the error code that calls will end with


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def note(check: str, message: str, fix: str = "") -> Finding:
    """Something that works, but that people should know of."""
    return Finding(check, "note", message, fix)


def problem(check: str, message: str, fix: str, code: str = "invalid_request") -> Finding:
    """Something that keeps this server from working."""
    return Finding(check, "problem", message, fix, code)


def problems(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.state == "problem"]


def format_findings(findings: Sequence[Finding]) -> str:
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.state:<8} {finding.check}: {finding.message}")
        if finding.fix:
            lines.append(f"{INDENT}fix: {finding.fix}")
    wrong = [finding.check for finding in problems(findings)]
    lines.append(f"Needs fixing: {', '.join(wrong)}." if wrong else "Everything works.")
    return "\n".join(map(printable, lines))


def findings_json(findings: Sequence[Finding]) -> str:
    """Write findings for programs; `fix` only where there is something to do, `code` only for problems."""
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
