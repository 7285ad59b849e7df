"""The tests stand on what is in `tests/support/`, and never on each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def imports_of_tests(tree: ast.AST) -> Iterator[str]:
    """Find what is imported of a module of tests, wherever in the code that is."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imported = [each.name for each in names]
            case ast.ImportFrom(module=module, names=names):
                imported = [f"{module or ''}.{each.name}" for each in names]
            case _:
                imported = []
        yield from (name for name in imported if any(part.startswith("test_") for part in name.split(".")))


def test_no_module_of_tests_is_imported() -> None:
    modules = sorted(TESTS.rglob("*.py"))
    assert Path(__file__) in modules
    found = {path: list(imports_of_tests(ast.parse(path.read_text(encoding="utf-8")))) for path in modules}
    assert {str(path.relative_to(TESTS)): names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "code",
    [
        "from tests.ledger.test_ledger import add",
        "from tests.ledger import test_ledger",
        "from tests.ledger import test_ledger as others",
        "import tests.ledger.test_ledger",
        "import pytest, tests.ledger.test_ledger as others",
        "from . import test_ledger",
        "from .test_ledger import add",
        "def later():\n    from tests.ledger.test_ledger import add",
    ],
)
def test_every_way_to_import_tests_is_found(code: str) -> None:
    assert len(list(imports_of_tests(ast.parse(code)))) == 1


@pytest.mark.parametrize("code", ["from tests.support.ledgers import add", "import pytest", "from test import support"])
def test_other_imports_are_let_alone(code: str) -> None:
    assert list(imports_of_tests(ast.parse(code))) == []
