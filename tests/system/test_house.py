"""The package is laid out as it says."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "luma_mcp"
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def modules() -> Iterator[Path]:
    """Yield the modules of all rooms, the charters left out."""
    for room in ROOMS:
        yield from (path for path in sorted(room.rglob("*.py")) if path.name != "__init__.py")


def defined_in(path: Path) -> set[str]:
    """Name what a module defines at its top."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what a module imports from this package, as module and name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("luma_mcp."):
            yield from ((node.module, alias.name) for alias in node.names)


def room_of(module: str) -> str:
    return module.split(".")[1]


def public_names() -> dict[str, set[str]]:
    """Give what other rooms import, each name with the modules that it is imported from."""
    owners: dict[str, set[str]] = defaultdict(set)
    for path in modules():
        room = path.relative_to(PACKAGE).parts[0]
        for module, name in imports(path):
            if room_of(module) != room:
                owners[name].add(module)
    return owners


def public_faces(path: Path, names: set[str]) -> Iterator[tuple[str, str | None]]:
    """Yield what other rooms may use of a module, and public methods of it, each with its docstring."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name in names:
            yield node.name, ast.get_docstring(node)
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", ast.get_docstring(inner)


def test_what_other_rooms_import_says_what_it_is() -> None:
    names = set(public_names())
    silent = [name for path in modules() for name, words in public_faces(path, names) if not words]
    assert silent == []


def test_no_two_names_that_other_rooms_import_are_the_same() -> None:
    owners = public_names()
    assert {name: found for name, found in owners.items() if len(found) > 1} == {}
    for path in modules():
        module = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
        for name in defined_in(path) & owners.keys():
            assert owners[name] == {module}, f"{name} means another thing in {module}"


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.name))
def test_a_room_says_what_it_is_for_and_imports_nothing(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("module", list(modules()), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_has_a_test_of_its_name(module: Path) -> None:
    place = module.relative_to(PACKAGE)
    assert (CHECKOUT / "tests" / place.with_name(f"test_{place.name}")).is_file()
