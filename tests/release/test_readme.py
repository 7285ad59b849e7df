"""What the pages for people say is held to the code."""

import ast
import json
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.app.account import ACCOUNT_TIMEOUT_SECONDS
from luma_mcp.app.identity_provider import (
    FRESH_SECONDS,
    LOAD_SECONDS,
    MAX_DOCUMENT_BYTES,
    RETRY_SECONDS,
    USABLE_SECONDS,
)
from luma_mcp.app.save import PREVIEW_SECONDS
from luma_mcp.core.errors import MissingApiKey
from luma_mcp.core.filenames import make_filename
from luma_mcp.core.models import PRICE_USD, REPLAY_SECONDS, Task, VideoRequest
from luma_mcp.core.settings import Settings, load_settings, variable_name
from luma_mcp.hosts.registry import all_hosts
from luma_mcp.media import clips, contact_sheet, downloads, frames, parts, preview
from luma_mcp.media.downloads import MAX_PARALLEL_DOWNLOADS, TURN_SECONDS
from luma_mcp.media.files import MIN_FREE_BYTES
from luma_mcp.release.readme import EXAMPLE, ROOMS, charter, host_names, room_picture
from luma_mcp.server.prompts import luma_prompts
from luma_mcp.transports.access_tokens import LEEWAY_SECONDS, MAX_TOKEN_LENGTH
from luma_mcp.transports.caller_sessions import MAX_CALLERS
from luma_mcp.transports.middleware import MAX_HEAD_BYTES
from luma_mcp.transports.require_token import RECHECK_SECONDS
from luma_mcp.transports.routes import MAX_MESSAGE_BYTES, MAX_SESSIONS, SESSION_IDLE_SECONDS
from luma_mcp.transports.sockets import MAX_CONNECTIONS, REQUEST_SECONDS, STALL_SECONDS
from luma_mcp.transports.sse import MAX_UNANSWERED
from luma_mcp.worker.submission import STALE_SECONDS
from tests.support.rig import EPOCH, SOURCE
from tests.support.surface import TOOLS

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
TOOLS_PAGE, FILES_PAGE, HTTP_PAGE = PAGES = [
    CHECKOUT / "luma_mcp" / page for page in ("server/TOOLS.md", "media/FILES.md", "transports/HTTP.md")
]
TEXTS = {page: page.read_text(encoding="utf-8") for page in (CHECKOUT / "README.md", *PAGES)}
MOST_LINES = 349
FIRST_SCREEN_LINES = 45
PROMISES = (
    *("Paid once", "Never lost", "Never hangs", "Never lies", "Safe as shipped", "Tried in a minute"),
    "Simple rules",
)


def section(heading: str, text: str = README) -> str:
    """Give what stands under a heading."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(heading: str, text: str = README) -> list[list[str]]:
    """Give the cells of the table under a heading."""
    lines = [line for line in section(heading, text).splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_people_can_finish_the_page_and_its_first_screen_is_one() -> None:
    assert len(README.splitlines()) <= MOST_LINES
    first = README.split("\n## ")[0]
    assert len(first.splitlines()) <= FIRST_SCREEN_LINES
    assert "](luma_mcp/release/contact-sheet.png)" in first


def test_the_table_of_tools_names_every_tool() -> None:
    assert [row[0] for row in rows("What to ask for")] == list(TOOLS)


def test_the_table_of_tools_names_prices_and_bounds_of_the_code() -> None:
    told = {row[0]: (row[2], row[3]) for row in rows("What to ask for")}
    wait = f"{load_settings().wait_seconds} seconds"
    assert told["modify_video"][0].startswith(f"{PRICE_USD:.2f} USD")
    assert {price for name, (price, _) in told.items() if name != "modify_video"} == {"nothing"}
    assert told["modify_video"][1].endswith(f"answers within {wait}")
    assert told["save_video"][1] == f"a download, at most {wait} a call"
    assert told["preview_video"][1] == f"seconds, at most {PREVIEW_SECONDS:.0f}"
    assert told["check_account"][1] == f"a moment, at most {ACCOUNT_TIMEOUT_SECONDS:.0f} seconds"


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    text = " ".join(README.split())
    settings = load_settings()
    for sentence in (
        f"A video costs {PRICE_USD:.2f} USD",
        f"by itself for {REPLAY_SECONDS / 60:.0f} minutes",
        f"At most {settings.max_active} tasks run at once",
        f"Answers take up to {settings.wait_seconds} seconds",
        f"gives up before {settings.wait_seconds} seconds",
        f"whole videos of at most {clips.MAX_CLIP_BYTES / 1e9:.0f} GB",
        f'"{MissingApiKey().message.partition(",")[0]}"',
    ):
        assert sentence in text, sentence
    assert main(["--wait-seconds", "soon"]) == 2
    assert "A bad value ends the start with exit code 2" in text


def test_the_table_of_prompts_names_every_prompt_and_its_form() -> None:
    known = {name: [argument.name for argument in prompt.arguments] for name, prompt in luma_prompts().items()}
    told = {row[0]: re.findall(r"\w+", row[2]) for row in rows("Prompts", TEXTS[TOOLS_PAGE])}
    assert told == known
    assert all(f"`{name}`" in section("What to ask for") for name in known)


def test_the_bounds_of_previews_are_those_of_the_code() -> None:
    text = " ".join(TEXTS[TOOLS_PAGE].split())
    assert f"one JPEG of at most {contact_sheet.MAX_PICTURE_BYTES // 1000} KB" in text
    assert f"at most the first {parts.MAX_PART_BYTES / 1e6:.0f} MB" in text
    assert f"may use {frames.MAX_MEMORY_BYTES >> 30} GiB and {contact_sheet.MAX_SECONDS} seconds" in text
    assert f"The {preview.MAX_SHEETS} newest pictures" in text


def test_the_bounds_over_http_are_those_of_the_code() -> None:
    bounds = TEXTS[HTTP_PAGE].split("What is bounded: ")[1].split("\n## ")[0]
    assert [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", bounds)] == [
        *(MAX_HEAD_BYTES >> 10, MAX_MESSAGE_BYTES >> 20, REQUEST_SECONDS, MAX_CONNECTIONS),
        *(MAX_CALLERS, MAX_SESSIONS, SESSION_IDLE_SECONDS / 60, MAX_UNANSWERED),
    ]
    assert STALL_SECONDS == 60


def test_the_bounds_of_files_are_those_of_the_code() -> None:
    text = " ".join(TEXTS[FILES_PAGE].split())
    assert f"at most {clips.MAX_CLIP_BYTES / 1e9:.0f} GB" in text
    assert f"{MIN_FREE_BYTES >> 20} MB to spare" in text
    assert f"A video may be {downloads.MAX_VIDEO_BYTES / 1e9:.1f} GB large and take two hours" in text
    assert downloads.MAX_DOWNLOAD_SECONDS == 2 * 3600
    assert "Four are fetched at a time, in turns of a minute" in text
    assert (MAX_PARALLEL_DOWNLOADS, TURN_SECONDS) == (4, 60)
    assert STALE_SECONDS == 3600, "a clip that takes over an hour to upload is not submitted"


def test_the_name_of_a_saved_video_is_made_as_the_pages_show() -> None:
    request = VideoRequest(prompt="a foggy autumn morning", source=SOURCE)
    made = make_filename(Task(key="k", caller="local", request=request, created_at=EPOCH, updated_at=EPOCH), Path("/"))
    name = r"\d{4}-\d\d-\d\d-a-foggy-autumn-morning-\w+\.mp4"
    assert re.fullmatch(name, made)
    assert re.search(f"`{name}`", section("Files and safety"))
    assert re.search(f"`{name}`", TEXTS[FILES_PAGE])


def test_every_module_that_the_text_runs_exists() -> None:
    modules = {
        module
        for text in TEXTS.values()
        for module in re.findall(r"python\s(?:-P )?-m ((?:luma_mcp|tests)[\w.]*)", text)
    }
    assert {"luma_mcp.release", "tests.support.surface", "tests.support.jobs", "tests.system.soak"} <= modules
    assert all(find_spec(module) for module in modules)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_setting_in_the_text_exists(page: Path) -> None:
    known = {variable_name(field, name) for name, field in Settings.model_fields.items()}
    assert set(re.findall(r"\b(?:LUMA_MCP|RUNAPI)_[A-Z_]+[A-Z]", TEXTS[page])) <= known


def test_every_setting_has_a_row_in_one_of_the_two_tables() -> None:
    told = [row[0] for row in (*rows("Settings"), *rows("Settings for HTTP", TEXTS[HTTP_PAGE]))]
    assert sorted(told) == sorted(variable_name(field, name) for name, field in Settings.model_fields.items())


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]*(?:#[^)]+)?)\)", TEXTS[page]):
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not place or place in headings(target), link


def headings(page: Path) -> set[str]:
    """List the places in a page that links can lead to."""
    lines = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in lines}


def test_examples_of_host_files_are_json() -> None:
    for example in re.findall(r"^ *```json\n(.*?)^ *```", TEXTS[HTTP_PAGE], re.DOTALL | re.MULTILINE):
        assert json.loads(example)["mcpServers"]["luma"]


def test_every_host_is_named_as_the_command_knows_it() -> None:
    named = " ".join(host_names().split()).rstrip(".").replace(" and ", ", ").split(", ")
    assert sorted(named) == sorted(host.title for host in all_hosts().values())


def test_every_promise_is_named_with_tests_that_exist() -> None:
    table = [line.strip("|").split("|") for line in section("Promises").splitlines() if line.startswith("| **")]
    assert [promise.strip(" *") for promise, _, _ in table] == list(PROMISES)
    for _, _, held_by in table:
        tests = re.findall(r"\[(\w+)::(\w+)\]\((tests/[\w/]+\.py)\)", held_by)
        assert tests
        for module, name, path in tests:
            assert Path(path).stem == module
            assert name in named_tests(CHECKOUT / path), f"{path}::{name}"


def named_tests(module: Path) -> set[str]:
    """Name the tests of a module."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_framework_has_an_example_and_it_sets_what_the_table_says() -> None:
    table = [line.strip("|").split("|") for line in section("Agent frameworks").splitlines() if ".py)" in line]
    examples = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLE.parent.glob("with_*.py")}
    assert {re.findall(r"/(\w+\.py)\)", row[3])[0] for row in table} == examples.keys()
    for _, needed, _, link in table:
        example = examples[re.findall(r"/(\w+\.py)\)", link)[0]]
        limits = re.findall(r"(?:\w+_)?timeout\w*=\d+", example)
        assert limits == re.findall(r"`([^`]+)`", needed), link


def test_every_room_has_a_charter_and_its_place_in_the_contract() -> None:
    rooms = {folder.name for folder in ROOMS.iterdir() if (folder / "__init__.py").exists()}
    assert all(charter(ROOMS / room).endswith(".") for room in rooms)
    contract = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [room.strip() for layer in contract["contracts"][0]["layers"] for room in layer.split("|")]
    assert {layer.removeprefix("luma_mcp.") for layer in layers} == {*rooms, "__main__"}


def test_the_picture_shows_each_layer_of_the_contract_from_the_top_down_and_what_is_forbidden_besides() -> None:
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers, forbidden = contracts["contracts"][:2]
    picture = room_picture()
    drawn: list[list[str]] = []
    for begins, room, told in re.findall(r"^([├│]) (\w+) +(.*)$", picture, re.MULTILINE):
        assert told == charter(ROOMS / room)
        drawn += [[room]] if begins == "├" else []
        drawn[-1] += [] if begins == "├" else [room]
    assert drawn == [
        [room for room in layer.replace("luma_mcp.", "").split(" | ") if room != "__main__"]
        for layer in layers["layers"]
    ]
    below = ", ".join(forbidden["forbidden_modules"]).replace("luma_mcp.", "")
    assert f"server, transports may not import {below}." in picture
    assert picture in README, "run: python -m luma_mcp.release"


def test_the_tests_mirror_the_rooms() -> None:
    rooms = {folder.name for folder in ROOMS.iterdir() if (folder / "__init__.py").exists()}
    folders = {folder.name for folder in (CHECKOUT / "tests").iterdir() if (folder / "__init__.py").exists()}
    assert folders == {*rooms, "support", "system"}


RECIPES = README.split("\n### Recipes\n")[1].split("\n## ")[0]
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


def test_the_bounds_of_an_identity_provider_are_those_of_the_code() -> None:
    text = " ".join(TEXTS[HTTP_PAGE].split("What is checked of a token: ")[1].split("\n## ")[0].split())
    assert f"at most {MAX_TOKEN_LENGTH >> 10} KiB" in text
    assert (LEEWAY_SECONDS, FRESH_SECONDS, USABLE_SECONDS) == (60, 600, 6 * 3600)
    assert f"for {LOAD_SECONDS:.0f} seconds and {MAX_DOCUMENT_BYTES >> 10} KiB at most" in text
    assert f"never twice in {RETRY_SECONDS:.0f} seconds" in text
    assert f"ends within {RECHECK_SECONDS:.0f} seconds: streams" in " ".join(TEXTS[HTTP_PAGE].split())
    assert f"{RECHECK_SECONDS + LEEWAY_SECONDS:.0f} seconds later at most" in TEXTS[HTTP_PAGE]
