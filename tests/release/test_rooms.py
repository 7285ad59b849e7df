"""What README says of the rooms is what the rooms and the contracts say."""

import tomllib
from pathlib import Path

from luma_mcp.release.rooms import ORDER, ROOMS, charter, layer_picture

CHECKOUT = Path(__file__).parents[2]


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
