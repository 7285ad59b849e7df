"""What the README says is held to the code."""

import re
from pathlib import Path

from luma_mcp import clips, fetching
from luma_mcp.downloads import LONGEST_SECONDS
from luma_mcp.gate import BODY_SECONDS, LARGEST_HEAD_BYTES
from luma_mcp.listening import HEAD_SECONDS, MOST_CONNECTIONS, STALL_SECONDS
from luma_mcp.prompts import luma_prompts
from luma_mcp.saved_files import SPARE_BYTES
from luma_mcp.settings import Settings, variable_of
from luma_mcp.sse import MOST_AT_ONCE
from luma_mcp.submission import STALE_SECONDS
from luma_mcp.web import LARGEST_MESSAGE_BYTES, MOST_SESSIONS, SESSION_IDLE_SECONDS
from tests.test_surface import TOOLS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Give the cells of the table under a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_tools_names_every_tool() -> None:
    assert [row[0] for row in rows("Tools")] == list(TOOLS)


def test_the_table_of_prompts_names_every_prompt_and_its_form() -> None:
    known = {name: [argument.name for argument in prompt.arguments] for name, prompt in luma_prompts().items()}
    assert {row[0]: re.findall(r"\w+", row[2]) for row in rows("Prompts")} == known


def test_the_table_of_settings_names_every_setting_and_its_default() -> None:
    told = {row[0]: row[1] for row in rows("Settings")}
    known = {variable_of(field, name): field for name, field in Settings.model_fields.items()}
    assert list(told) == list(known)
    for variable, default in told.items():
        plain = known[variable].default
        if re.fullmatch(r"[\w:/.]+", default) and plain is not None:
            assert str("none" if plain in ((), "") else plain).lower() == default.lower()


def test_the_readme_has_exactly_two_commands_for_newcomers() -> None:
    section = README.split("## Try it without a key")[1].split("\n## ")[0]
    assert len(re.findall(r"```sh\n(.+)\n```", section)) == 2


def test_the_bounds_over_http_are_those_of_the_code() -> None:
    section = README.split("What is bounded: ")[1].split("\n## ")[0]
    assert [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", section)] == [
        *(LARGEST_HEAD_BYTES >> 10, LARGEST_MESSAGE_BYTES >> 20, HEAD_SECONDS, MOST_CONNECTIONS),
        *(MOST_SESSIONS, SESSION_IDLE_SECONDS / 60, MOST_AT_ONCE),
    ]
    assert HEAD_SECONDS == BODY_SECONDS
    assert STALL_SECONDS == 60


def test_the_bounds_of_files_are_those_of_the_code() -> None:
    section = " ".join(README.split("## Files and privacy")[1].split("\n## ")[0].split())
    assert f"at most {clips.LARGEST_BYTES / 1e9:.0f} GB" in section
    assert f"{SPARE_BYTES >> 20} MB to spare" in section
    assert f"A video may be {fetching.LARGEST_BYTES / 1e9:.1f} GB large and take two hours" in section
    assert LONGEST_SECONDS == 2 * 3600
    assert STALE_SECONDS == 3600, "a clip that takes over an hour to upload is not submitted"
