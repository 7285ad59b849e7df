"""Files of every form: read or refused in a line, changed where they should be, and the same everywhere else."""

from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.hosts.formats import FileFormat, changed, parse_document
from luma_mcp.hosts.registry import all_hosts
from tests.support.host_files import others, placed
from tests.support.rig import KEY


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("codex", "mcp_servers = 1\n"),
        ("codex", "[broken\n"),
        ("hermes", "a: [1\n"),
        ("hermes", "- a\n"),
        ("hermes", "mcp_servers: x\n"),
        ("hermes", "---\na: 1\n---\nb: 1\n"),
        ("goose", "extensions: &all\n  x: {cmd: y}\nmore: *all\n"),
        ("openclaw", "{mcp: {servers: {}}}"),
    ],
)
def test_a_file_of_another_form_that_cannot_be_used_is_left_as_it_is(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    path = placed(all_hosts()[name], text)
    assert main(["config", name, "--write"]) == 4
    assert str(path) in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == text


def test_what_stands_in_a_broken_file_is_not_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [
        *(("hermes", text) for text in (f"env: [ {KEY}\n{KEY}: : x", f"a: {KEY}-1\na: {KEY}-2", f"a: *{KEY}")),
        *(("hermes", text) for text in (f"a: !{KEY} x", f"a: !!int {KEY}", f'a: "{KEY}')),
        *(("codex", text) for text in (f"key = {KEY}", f"[{KEY}]\n[{KEY}]", f'x = {{"{KEY}"=1,"{KEY}"=2}}')),
        ("cursor", f'{{"a": {KEY}'),
    ]
    for name, text in broken:
        placed(all_hosts()[name], text)
        assert main(["config", name, "--write"]) == 4, text
    assert main(["doctor", "--sandbox"]) == 4
    told = capsys.readouterr()
    assert KEY not in told.out + told.err


@pytest.mark.parametrize("name", ["codex", "hermes", "goose", "zed"])
@pytest.mark.parametrize("has_servers", [True, False])
def test_files_with_the_line_ends_of_windows_keep_them(home: Path, name: str, has_servers: bool) -> None:
    host = all_hosts()[name]
    text = others(host) if has_servers else {"toml": "a = 1\n", "yaml": "a: 1\n", "jsonc": "{}\n"}[host.file_format]
    path = placed(host, text.replace("\n", "\r\n"))
    for flags in ([], ["--daily-limit", "5"]):
        assert main(["config", name, "--write", *flags]) == 0
        written = path.read_bytes()
        assert written.count(b"\n") == written.count(b"\r\n")


HOSTILE: list[tuple[str, FileFormat, str]] = [
    ("comments that do not end", "jsonc", "/* " * 300_000),
    ("comments that nearly end", "jsonc", "/*/ " * 300_001),
    ("quotes", "jsonc", '"' * 300_001),
    ("escaped quotes", "jsonc", '"' + '\\"' * 300_000),
    ("backslashes", "jsonc", '"' + "\\" * 300_001),
    ("commas", "jsonc", "[" + "," * 300_000),
    ("blanks", "jsonc", "[1," + " " * 300_000 + "x"),
    ("blanks and commas", "jsonc", "[" + ", " * 300_000),
    ("brackets", "json", "[" * 300_000),
    ("braces", "jsonc", '{"a":' * 300_000),
    ("a long number", "json", '{"a": ' + "9" * 300_000 + "}"),
    ("brackets in TOML", "toml", "a = " + "[" * 100_000),
    ("inline tables in TOML", "toml", "a = " + "{a = " * 50_000),
    ("a large text", "toml", "a = '" + "x" * 300_000 + "'\n"),
    ("many tables", "toml", "".join(f"[a.b{number}]\n" for number in range(40_000))),
]


@pytest.mark.parametrize(("form", "text"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_other_forms_are_refused_in_a_line_too(form: FileFormat, text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{1,300}$"):
        parse_document(form, text)


FORMS: list[FileFormat] = ["json", "jsonc", "toml", "yaml"]


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_file_of_any_form_takes_values_and_is_read_back(form: FileFormat) -> None:
    assert parse_document(form, "") == {}
    first = changed(form, "", {("servers", "luma"): {"command": "x", "args": ["a"]}, ("limit",): 5})
    again = changed(form, first, {("servers", "luma", "command"): "y"})
    assert parse_document(form, again) == {"servers": {"luma": {"command": "y", "args": ["a"]}}, "limit": 5}


@pytest.mark.parametrize(
    ("form", "text"), [("json", "[]"), ("json", "5"), ("jsonc", '"x"'), ("yaml", "- a"), ("yaml", "a")]
)
def test_a_document_without_names_at_its_top_is_refused(form: FileFormat, text: str) -> None:
    with pytest.raises(ValueError, match=r"^it holds no names with values$"):
        parse_document(form, text)
