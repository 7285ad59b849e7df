"""What README says of the rooms is what the rooms say of themselves."""

import tomllib
from pathlib import Path

from luma_mcp.release.rooms import ORDER, ROOMS, charter

CHECKOUT = Path(__file__).parents[2]


def test_every_room_has_a_charter_and_its_place_in_the_list_and_in_the_contract() -> None:
    rooms = {folder.name for folder in ROOMS.iterdir() if (folder / "__init__.py").exists()}
    assert set(ORDER) == rooms
    assert all(charter(ROOMS / room).endswith(".") for room in ORDER)
    contract = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [room.strip() for layer in contract["contracts"][0]["layers"] for room in layer.split("|")]
    assert {layer.removeprefix("luma_mcp.") for layer in layers} == {*rooms, "__main__"}


def test_the_tests_mirror_the_rooms() -> None:
    folders = {folder.name for folder in (CHECKOUT / "tests").iterdir() if (folder / "__init__.py").exists()}
    assert folders == {*ORDER, "support", "system"}
