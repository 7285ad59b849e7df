"""Findings, for people and for programs."""

import json

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.console import EXIT_CODES
from luma_mcp.cli.doctor.report import findings_json, format_findings, note, ok, problem


def test_people_read_each_finding_with_its_fix_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--base-url", "https://name.invalid"]) == EXIT_CODES["missing_api_key"]
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("problem  key: "))
    assert lines[place + 1].startswith("         fix: Run `luma-mcp login`")
    assert lines[-1] == "Needs fixing: key, RunAPI."


def test_only_a_problem_is_to_be_mended_and_has_the_code_of_what_it_leads_to() -> None:
    fine, odd, wrong = (
        ok("a", "is there"),
        note("b", "is odd", "look"),
        problem("c", "is gone", "bring it back", "network"),
    )
    told = json.loads(findings_json([fine, odd, wrong]))
    assert told == {
        "ok": False,
        "findings": [
            {"check": "a", "state": "ok", "message": "is there"},
            {"check": "b", "state": "note", "message": "is odd", "fix": "look"},
            {"check": "c", "state": "problem", "message": "is gone", "fix": "bring it back", "code": "network"},
        ],
    }
    assert json.loads(findings_json([fine, odd]))["ok"]
    assert format_findings([wrong, odd, fine]).splitlines()[-1] == "Needs fixing: c."
    assert format_findings([odd, fine]).splitlines()[-1] == "Everything works."
