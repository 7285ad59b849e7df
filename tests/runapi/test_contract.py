"""The contract of RunAPI's HTTP has every section that a comment refers to, and stays in the checkout."""

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
CONTRACT = CHECKOUT / "luma_mcp" / "runapi" / "CONTRACT.md"
NUMBER = r"\d+(?:\.\d+)?"
CITATION = re.compile(rf"\bcontract:?\s+(?:sections?\s+)?({NUMBER}(?:(?:,|\s+and|\s+to)\s+{NUMBER})*)", re.IGNORECASE)
HEADING = re.compile(rf"^#+ ({NUMBER})\.? ", re.MULTILINE)


def cited(text: str) -> set[str]:
    """Give the sections that a text refers to."""
    return {number for citation in CITATION.findall(text) for number in re.findall(NUMBER, citation)}


def test_every_section_of_the_contract_that_is_cited_is_there() -> None:
    headings = HEADING.findall(CONTRACT.read_text(encoding="utf-8"))
    assert len(headings) == len(set(headings))
    paths = [path for folder in ("luma_mcp", "tests") for path in (CHECKOUT / folder).rglob("*.py")]
    citations = {path: cited(path.read_text(encoding="utf-8")) for path in paths if path != Path(__file__)}
    assert any(citations.values())
    assert {path: missing for path, numbers in citations.items() if (missing := numbers - set(headings))} == {}


def test_citations_are_found_in_all_their_forms() -> None:
    assert cited("(contract 98.1, RFC 9457), contract 97: 30 to 120 s") == {"98.1", "97"}
    assert cited("Contract: sections 91, 92 and 93.") == {"91", "92", "93"}
    assert cited("(contract\n    94.3, 95.2 to 95.4)") == {"94.3", "95.2", "95.4"}


def test_the_contract_is_not_installed_with_the_package() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    left_out = project["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"]
    assert CONTRACT.relative_to(CHECKOUT).as_posix() in left_out
