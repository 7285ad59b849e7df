"""The page as its two faces are served, as far as it can be told without a browser; `tests/system/viewer` has one."""

import base64
import hashlib
import re

import pytest

from luma_mcp.viewer.page import Face, gallery_policy, page_html, part, upload_html, upload_policy

FACES: tuple[Face, ...] = ("app", "gallery")
LARGEST_PAGE = 64_000  # bytes: the page goes through the host's own messages
UNSAFE = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "new Function",
    "srcdoc",
    "DOMParser",
)
PAGE = page_html("app")


@pytest.mark.parametrize("face", FACES)
def test_the_page_is_one_small_file_that_knows_its_face(face: Face) -> None:
    page = page_html(face)
    assert len(page.encode()) < LARGEST_PAGE
    assert f'<body data-face="{face}">' in page
    assert "{{" not in page
    assert page.count("<script") == page.count("<style") == 1


def test_nothing_of_the_page_is_loaded_from_elsewhere() -> None:
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", part("page.html")) == []
    assert re.findall(r"@import|url\(", part("page.css")) == []
    assert re.findall(r"https?://", PAGE) == []


@pytest.mark.parametrize("means", UNSAFE)
def test_no_script_of_the_page_can_make_html_or_script_of_text(means: str) -> None:
    assert means not in part("page.js")


def test_no_attribute_of_the_page_is_a_script_or_a_style() -> None:
    assert re.findall(r"\s(?:on\w+|style)=", part("page.html")) == []


def test_the_page_calls_no_tool_that_costs_money() -> None:
    called = re.findall(r"""call\("(\w+)\"""", part("page.js"))
    assert set(called) == {"get_task", "list_tasks", "save_video", "read_video_bytes"}
    assert 'name: "modify_video"' not in PAGE


def test_a_clip_is_picked_in_the_gallery_and_on_a_page_of_its_own_and_never_in_a_chat() -> None:
    gallery, alone = page_html("gallery", picks_clips=True), upload_html()
    assert 'type="file"' not in PAGE + page_html("gallery")
    for page, policy in ((gallery, gallery_policy()), (alone, upload_policy())):
        assert 'type="file"' in page
        assert "{{" not in page
        for part_of_page in page.split("<script>")[1:]:
            inside = part_of_page.split("</script>")[0]
            assert f"sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}" in policy
        assert "unsafe" not in policy
    assert [means for means in UNSAFE if means in part("upload.js")] == []
    assert re.findall(r"\s(?:on\w+|style)=", part("upload.html") + part("upload_form.html")) == []


def test_every_field_has_a_label() -> None:
    html = part("page.html")
    fields = re.findall(r"<(?:input|select)\b[^>]*\bid=\"([\w-]+)\"", html)
    inside = re.findall(r"<label class=\"range\"[^>]*>.*?id=\"([\w-]+)\"", html)
    unlabelled = [field for field in fields if f'for="{field}"' not in html and field not in inside]
    assert unlabelled == []


def test_the_gallery_runs_its_own_script_and_style_and_no_other() -> None:
    page, policy = page_html("gallery"), gallery_policy()
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        inside = page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
