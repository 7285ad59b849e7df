"""The tests stand on what is in `tests/support/`, never on each other, and on no name that is written as a string."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PATCHES = re.compile(r"(.+\.)?(set|del)attr|((.+\.)?mock\.)?patch(\.dict|\.multiple)?", re.DOTALL)


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


def patches_by_name(tree: ast.AST) -> Iterator[str]:
    """Find the patches that name what they replace, which no type checker and no renaming sees."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and PATCHES.fullmatch(ast.unparse(node.func)):
            targets = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "target")]
            if any(is_string(target) for target in targets):
                yield ast.unparse(node)


def is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def in_all_modules(find: Callable[[ast.AST], Iterator[str]]) -> dict[str, list[str]]:
    """Give what is found in the modules below `tests/`, those left out where nothing is."""
    modules = sorted(TESTS.rglob("*.py"))
    assert Path(__file__) in modules
    found = {path: list(find(ast.parse(path.read_text(encoding="utf-8")))) for path in modules}
    return {str(path.relative_to(TESTS)): names for path, names in found.items() if names}


def test_no_module_of_tests_is_imported() -> None:
    assert in_all_modules(imports_of_tests) == {}


def test_nothing_is_patched_by_its_name() -> None:
    assert in_all_modules(patches_by_name) == {}


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


@pytest.mark.parametrize(
    "code",
    [
        'monkeypatch.setattr("luma_mcp.ledger.schema.LOCK_SECONDS", 0.2)',
        'monkeypatch.setattr(f"{MODULE}.LOCK_SECONDS", 0.2)',
        'monkeypatch.setattr(target="os.fsync", name=synced)',
        'monkeypatch.delattr("luma_mcp.hosts.files.os.chown")',
        'self.patch.setattr("os.fsync", synced)',
        'patch("luma_mcp.media.downloads.publish", full)',
        'mock.patch("luma_mcp.media.downloads.publish")',
        'unittest.mock.patch("luma_mcp.media.downloads.publish")',
        'patch.dict("luma_mcp.hosts.known.HOSTS", {})',
        'patch.multiple("luma_mcp.media.files", publish=full)',
        '@patch("luma_mcp.media.downloads.publish")\ndef test() -> None: ...',
    ],
)
def test_every_way_to_patch_by_a_name_is_found(code: str) -> None:
    assert len(list(patches_by_name(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        'monkeypatch.setattr(schema, "LOCK_SECONDS", 0.2)',
        'patch.object(sqlite3, "connect", connected)',
        'patch.dict(os.environ, {"HOME": "/"})',
        'await plain.patch("/mcp")',
    ],
)
def test_other_patches_are_let_alone(code: str) -> None:
    assert list(patches_by_name(ast.parse(code))) == []
