"""What may be a source: hosts that RunAPI can reach, files in allowed folders, earlier results."""

from pathlib import Path

import pytest

from luma_mcp.core.errors import InvalidRequest, LumaError, SourceNotAllowed, SourceNotFound
from luma_mcp.media.sources import (
    AttachedClip,
    LocalFile,
    PublicUrl,
    Source,
    TaskOutput,
    parse_source,
    resolve_allowed_file,
)


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("https://example.com/a.mp4?sig=a%20b", PublicUrl("https://example.com/a.mp4?sig=a%20b")),
        ("HTTP://example.com/a.mp4", PublicUrl("HTTP://example.com/a.mp4")),
        ("luma://tasks/abc", TaskOutput("abc")),
        ("luma://clips/md5%3A1B2M2Y8AsgTpgAmY7PhCfg%3D%3D%3A9", AttachedClip("md5:1B2M2Y8AsgTpgAmY7PhCfg==:9")),
        ("/home/me/my clip.mp4", LocalFile(Path("/home/me/my clip.mp4"))),
        ("file:///home/me/my%20clip.mp4", LocalFile(Path("/home/me/my clip.mp4"))),
        ("file://localhost/home/me/a.mp4", LocalFile(Path("/home/me/a.mp4"))),
    ],
)
def test_each_form_of_a_source_is_understood(value: str, source: Source) -> None:
    assert parse_source(value) == source


def test_the_home_folder_may_be_written_short(home: Path) -> None:
    assert parse_source("~/a.mp4") == LocalFile(home / "a.mp4")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("", InvalidRequest),
        ("clip.mp4", InvalidRequest),
        ("../clip.mp4", InvalidRequest),
        ("~nobody-of-that-name/clip.mp4", InvalidRequest),
        ("data:video/mp4;base64,AAAA", InvalidRequest),
        ("luma://clips/md5", InvalidRequest),
        ("javascript:alert(1)", InvalidRequest),
        ("https://", InvalidRequest),
        ("https://exam ple.com/", InvalidRequest),
        ("https://example.com:port/", InvalidRequest),
        ("https://example.com/\nHost: x", InvalidRequest),
        ("https://example.com/" + "a" * 5000, InvalidRequest),
        ("file://server/share/a.mp4", InvalidRequest),
        ("file:", InvalidRequest),
        ("file://[::1/a.mp4", InvalidRequest),
        ("https://example.com:99999/", InvalidRequest),
        ("/home/me/\x00.mp4", InvalidRequest),
        ("https://me:pw@example.com/a.mp4", SourceNotAllowed),
        ("https://[::1]/a.mp4", SourceNotAllowed),
        ("http://localhost:8000/a.mp4", SourceNotAllowed),
    ],
)
def test_anything_else_is_refused(value: str, error: type[LumaError]) -> None:
    with pytest.raises(error):
        parse_source(value)


def test_only_files_inside_the_allowed_folders_are_read_after_links_are_resolved(home: Path) -> None:
    inside, outside = home / "in", home / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.mp4").touch()
    (inside / "out.mp4").symlink_to(outside / "a.mp4")
    (inside / "loop.mp4").symlink_to(inside / "loop.mp4")
    (outside / "in.mp4").symlink_to(inside / "a.mp4")
    assert resolve_allowed_file(inside / "a.mp4", [inside]) == inside / "a.mp4"
    assert resolve_allowed_file(outside / "in.mp4", [inside]) == inside / "a.mp4"
    (inside / "secret.mp4").symlink_to(outside / "a name nobody should learn")
    for path in (outside / "a.mp4", inside / "out.mp4", inside / ".." / "out" / "a.mp4", outside / "none.mp4"):
        with pytest.raises(SourceNotAllowed):
            resolve_allowed_file(path, [inside])
    with pytest.raises(SourceNotAllowed) as raised:
        resolve_allowed_file(inside / "secret.mp4", [inside])
    assert "nobody" not in raised.value.message
    for path in (inside / "none.mp4", inside, inside / "loop.mp4", inside / ("x" * 300)):
        with pytest.raises(SourceNotFound):
            resolve_allowed_file(path, [inside])
    with pytest.raises(SourceNotAllowed, match="reads no files"):
        resolve_allowed_file(inside / "a.mp4", [])


def test_hidden_files_are_read_only_below_folders_that_somebody_named(home: Path) -> None:
    named, unnamed = home / ".named", home / "unnamed"
    hidden = (".a.mp4", ".b/c.mp4", "d/.e/f.mp4", "..g/h.mp4")
    for folder in (named, unnamed):
        for name in (*hidden, "plain.mp4"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    (unnamed / "link.mp4").symlink_to(unnamed / ".a.mp4")
    (unnamed / "way").symlink_to(named)
    roots = [named, unnamed]
    for name in hidden:
        assert resolve_allowed_file(named / name, roots, unnamed=[unnamed]) == named / name
        assert resolve_allowed_file(unnamed / "way" / name, roots, unnamed=[unnamed]) == named / name
        with pytest.raises(SourceNotAllowed):
            resolve_allowed_file(unnamed / name, roots, unnamed=[unnamed])
        assert resolve_allowed_file(unnamed / name, [unnamed]) == unnamed / name
    with pytest.raises(SourceNotAllowed):
        resolve_allowed_file(unnamed / "link.mp4", roots, unnamed=[unnamed])
    assert resolve_allowed_file(unnamed / "plain.mp4", roots, unnamed=[unnamed]) == unnamed / "plain.mp4"
    inner = unnamed / ".b"
    assert resolve_allowed_file(inner / "c.mp4", [unnamed, inner], unnamed=[unnamed]) == inner / "c.mp4"
