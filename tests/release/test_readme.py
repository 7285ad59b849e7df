"""What the README says is held to the code."""

import json
import re
import tomllib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.app.account import ACCOUNT_TIMEOUT_SECONDS
from luma_mcp.app.progress import describe, progress_of
from luma_mcp.cli.main import build_parser
from luma_mcp.cli.progress_bar import BAR_WIDTH
from luma_mcp.core.errors import MissingApiKey
from luma_mcp.core.filenames import make_filename
from luma_mcp.core.models import PRICE_USD, REPLAY_SECONDS, Status, Task, VideoRequest
from luma_mcp.core.settings import Settings, load_settings, variable_name
from luma_mcp.hosts.registry import all_hosts
from luma_mcp.media import clips, downloads
from luma_mcp.media.downloads import MAX_PARALLEL_DOWNLOADS, TURN_SECONDS
from luma_mcp.media.files import MIN_FREE_BYTES
from luma_mcp.release.readme import ORDER, ROOMS, charter, layer_picture
from luma_mcp.server.prompts import luma_prompts
from luma_mcp.transports.middleware import MAX_HEAD_BYTES
from luma_mcp.transports.routes import MAX_MESSAGE_BYTES, MAX_SESSIONS, SESSION_IDLE_SECONDS
from luma_mcp.transports.sockets import MAX_CONNECTIONS, REQUEST_SECONDS, STALL_SECONDS
from luma_mcp.transports.sse import MAX_UNANSWERED
from luma_mcp.worker.polling import DOCUMENTED
from luma_mcp.worker.submission import STALE_SECONDS
from tests.support.rig import EPOCH, SOURCE
from tests.support.surface import TOOLS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
CHECKOUT = Path(__file__).parents[2]


def rows(heading: str) -> list[list[str]]:
    """Give the cells of the table under a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_tools_names_every_tool() -> None:
    assert [row[0] for row in rows("Tools")] == list(TOOLS)


def test_the_table_of_tools_names_prices_and_bounds_of_the_code() -> None:
    told = {row[0]: (row[2], row[3]) for row in rows("Tools")}
    wait = f"{load_settings().wait_seconds} seconds"
    assert told["modify_video"][0].startswith(f"{PRICE_USD:.2f} USD")
    assert {price for name, (price, _) in told.items() if name != "modify_video"} == {"nothing"}
    assert told["modify_video"][1].endswith(f"answers within {wait}")
    assert told["save_video"][1] == f"a download, at most {wait} a call"
    assert told["check_account"][1] == f"a moment, at most {ACCOUNT_TIMEOUT_SECONDS:.0f} seconds"


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    text = " ".join(README.split())
    settings = load_settings()
    for sentence in (
        f"costs {PRICE_USD:.2f} USD",
        f"this server does so by itself for {REPLAY_SECONDS / 60:.0f} minutes",
        f"At most {settings.max_active} tasks run at once",
        f"by default {settings.wait_seconds}, the answer is",
        f"For another of the {NUMBERS[len(all_hosts())]} hosts, take its name from the table",
        f'"{MissingApiKey().message.partition(",")[0]}"',
    ):
        assert sentence in text, sentence
    assert main(["--wait-seconds", "soon"]) == 2
    assert "A bad value ends the start with exit code 2" in text


NUMBERS = dict(enumerate(("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"), 12))


def test_the_table_of_prompts_names_every_prompt_and_its_form() -> None:
    known = {name: [argument.name for argument in prompt.arguments] for name, prompt in luma_prompts().items()}
    assert {row[0]: re.findall(r"\w+", row[2]) for row in rows("Prompts")} == known


def test_the_readme_has_exactly_two_commands_for_newcomers() -> None:
    section = README.split("## Try it without a key")[1].split("\n## ")[0]
    assert len(re.findall(r"```sh\n(.+)\n```", section)) == 2


def test_the_bounds_over_http_are_those_of_the_code() -> None:
    section = README.split("What is bounded: ")[1].split("\n## ")[0]
    assert [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", section)] == [
        *(MAX_HEAD_BYTES >> 10, MAX_MESSAGE_BYTES >> 20, REQUEST_SECONDS, MAX_CONNECTIONS),
        *(MAX_SESSIONS, SESSION_IDLE_SECONDS / 60, MAX_UNANSWERED),
    ]
    assert STALL_SECONDS == 60


def test_the_bounds_of_files_are_those_of_the_code() -> None:
    section = " ".join(README.split("## Files and privacy")[1].split("\n## ")[0].split())
    assert f"at most {clips.MAX_CLIP_BYTES / 1e9:.0f} GB" in section
    assert f"{MIN_FREE_BYTES >> 20} MB to spare" in section
    assert f"A video may be {downloads.MAX_VIDEO_BYTES / 1e9:.1f} GB large and take two hours" in section
    assert downloads.MAX_DOWNLOAD_SECONDS == 2 * 3600
    assert "Four are fetched at a time, in turns of a minute" in section
    assert (MAX_PARALLEL_DOWNLOADS, TURN_SECONDS) == (4, 60)
    assert STALE_SECONDS == 3600, "a clip that takes over an hour to upload is not submitted"


def code_spans() -> list[str]:
    """List the commands of ours in README's sentences and in its list of commands."""
    spans = re.findall(r"`(luma-mcp[^`\n]*)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
    listed = README.split("```text\nluma-mcp ")[1].split("```")[0]
    lines = [f"luma-mcp {line}" for line in re.findall(r"^(?:luma-mcp)?(.*?)(?:  .*)?$", listed, re.MULTILINE)]
    return [*spans, *(" ".join(line.split()) for line in lines if not line.startswith("luma-mcp  "))]


@pytest.mark.parametrize("command", code_spans())
def test_every_command_in_the_text_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.split()[1:]
    if words and words[-1] in {"--help", "--version"}:
        with pytest.raises(SystemExit, match="0"):
            build_parser().parse_args(words)
    else:
        assert build_parser().parse_args(words).run


def test_every_module_that_the_text_runs_exists() -> None:
    modules = re.findall(r"`?python (?:-P )?-m ((?:luma_mcp|tests)[\w.]*)", README)
    assert {"luma_mcp", "luma_mcp.release", "tests.support.surface", "tests.support.jobs", "tests.system.soak"} <= set(
        modules
    )
    assert all(find_spec(module) for module in modules)


def test_every_setting_in_the_text_exists() -> None:
    known = {variable_name(field, name) for name, field in Settings.model_fields.items()}
    assert set(re.findall(r"\b(?:LUMA_MCP|RUNAPI)_[A-Z_]+[A-Z]", README)) <= known


def test_every_link_within_the_text_leads_somewhere() -> None:
    places = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in headings()}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= places


ASKED = VideoRequest(prompt="a foggy autumn morning", source=SOURCE)


def headings() -> list[str]:
    """List README's headings."""
    return re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE)


def test_the_picture_shows_what_the_server_says() -> None:
    picture = README.split("```text\n")[1].split("```")[0]
    progress = re.search(r"\[(#+)-+\]  (\d+) %  (processing, 35 s, usually 30 to 120 s)", picture)
    task = Task(key="k", caller="local", request=ASKED, created_at=EPOCH, updated_at=EPOCH, task_id="1")
    running = replace(task, status=Status.PROCESSING, wants_file=True, source_bytes=1, source_url=SOURCE)
    assert progress
    assert describe(running, DOCUMENTED, EPOCH + 35) == progress[3]
    assert progress_of(running, DOCUMENTED, EPOCH + 35) == pytest.approx(int(progress[2]), abs=0.5)
    assert len(progress[1]) == round(BAR_WIDTH * int(progress[2]) / 100)
    name = make_filename(replace(task, request=ASKED), Path("/"))
    assert re.fullmatch(r"[\d-]+-a-foggy-autumn-morning-\w+\.mp4", name)
    assert re.search(r"~/Videos/luma/2026-11-22-a-foggy-autumn-morning-550e8400\.mp4", picture)


def test_examples_of_host_files_are_json() -> None:
    for example in re.findall(r"^ *```json\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE):
        assert json.loads(example)["mcpServers"]["luma"]


def test_every_room_has_a_charter_and_its_place_in_the_list_and_in_the_contract() -> None:
    rooms = {folder.name for folder in ROOMS.iterdir() if (folder / "__init__.py").exists()}
    assert set(ORDER) == rooms
    assert all(charter(ROOMS / room).endswith(".") for room in ORDER)
    contract = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [room.strip() for layer in contract["contracts"][0]["layers"] for room in layer.split("|")]
    assert {layer.removeprefix("luma_mcp.") for layer in layers} == {*rooms, "__main__"}


def test_the_picture_shows_each_layer_of_the_contract_from_the_top_down_and_what_it_may_not_import() -> None:
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers, forbidden = contracts["contracts"][:2]
    picture = layer_picture()
    drawn = [line[2:].split(" │") for line in picture.splitlines() if line.startswith("│ ")]
    assert [rooms.rstrip() for rooms, _ in drawn] == [
        layer.replace("luma_mcp.", "").replace(" | ", ", ") for layer in layers["layers"]
    ]
    below = ", ".join(forbidden["forbidden_modules"]).replace("luma_mcp.", "")
    assert {rooms.rstrip(): told for rooms, told in drawn if told} == dict.fromkeys(
        ("transports", "server"), f"  but not {below}"
    )
    assert picture in (CHECKOUT / "README.md").read_text(encoding="utf-8"), "run: python -m luma_mcp.release"


def test_the_tests_mirror_the_rooms() -> None:
    folders = {folder.name for folder in (CHECKOUT / "tests").iterdir() if (folder / "__init__.py").exists()}
    assert folders == {*ORDER, "support", "system"}


RECIPES = README.split("\n### Recipes\n")[1].split("\n### ")[0]
WORDS = {word for span in re.findall(r"`([^`]+)`", RECIPES) for word in span.split()}
PATHS = sorted(word for word in WORDS if re.fullmatch(r"[\w/]+(/|\.py|\.json|\.md)|tests/\w+", word))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_that_a_recipe_names_exists(path: str) -> None:
    assert (CHECKOUT / path).exists() or (CHECKOUT / "luma_mcp" / path).exists()


def test_a_recipe_has_five_steps() -> None:
    assert re.findall(r"^(?:\*\*(.*)\*\*|(\d)\. )", RECIPES, re.MULTILINE) == [
        step
        for title in ("Add a tool", "Add an error", "Add a setting", "Add an MCP host")
        for step in ((title, ""), *(("", str(number)) for number in range(1, 6)))
    ]
