"""README's recipes for developers name what is there."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
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
