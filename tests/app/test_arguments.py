"""To whom RunAPI may send a result: for a clip of the user's own, only to hosts that the user named."""

from pathlib import Path
from typing import Any

import pytest

from luma_mcp.app.arguments import check_callback
from luma_mcp.core.errors import InvalidRequest, LumaError, SourceNotAllowed
from luma_mcp.core.models import VideoRequest
from luma_mcp.core.settings import load_settings
from luma_mcp.core.settings_values import BadSetting
from luma_mcp.sandbox.http import bundled_clip
from tests.support.rig import SOURCE, Rig, facts, open_rig

OWN_CLIPS = ("/home/me/clip.mp4", "~/clip.mp4", "file:///home/me/clip.mp4", "luma://tasks/earlier")
HOOK = "https://hooks.example.com/luma"


def refusal(url: str, source: str, hosts: tuple[str, ...]) -> type[LumaError] | None:
    """Give the kind of refusal of a callback, if it is one."""
    try:
        check_callback(VideoRequest(prompt="fog", source=source, callback_url=url), hosts)
    except LumaError as error:
        return type(error)
    return None


@pytest.mark.parametrize("source", OWN_CLIPS)
@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        (HOOK, ("hooks.example.com",)),
        (HOOK, ("other.example", "hooks.example.com:443")),
        ("http://HOOKS.Example.com./x", ("hooks.example.com:80",)),
        ("https://hooks.example.com:8443/x", ("hooks.example.com",)),
        ("https://hooks.example.com:8443/x", ("hooks.example.com:8443",)),
        ("https://8.8.8.8/x", ("8.8.8.8",)),
        ("https://[2606:4700::1]/x", ("[2606:4700::1]",)),
        ("https://bücher.example/x", ("xn--bcher-kva.example",)),
    ],
)
def test_a_named_host_may_be_called_for_a_clip_of_the_users_own(source: str, url: str, hosts: tuple[str, ...]) -> None:
    assert refusal(url, source, hosts) is None


@pytest.mark.parametrize("source", OWN_CLIPS)
@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        (HOOK, ()),
        (HOOK, ("example.com",)),
        (HOOK, ("hooks.example.com:8443",)),
        (HOOK, ("evil.hooks.example.com", "hooks.example.com.evil.example")),
        ("https://hooks.example.com.evil.example/x", ("hooks.example.com",)),
        ("https://evil.example/hooks.example.com", ("hooks.example.com",)),
        ("https://evil.example#@hooks.example.com", ("hooks.example.com",)),
        ("https://evil.example?hooks.example.com", ("hooks.example.com",)),
        ("https://me@hooks.example.com/x", ("hooks.example.com",)),
        ("https://hooks.example.com@evil.example/x", ("hooks.example.com",)),
        ("https://134744072/x", ("8.8.8.8",)),
        ("http://127.0.0.1/x", ("127.0.0.1",)),
    ],
)
def test_no_other_host_may_be_called_for_it(source: str, url: str, hosts: tuple[str, ...]) -> None:
    assert refusal(url, source, hosts) is SourceNotAllowed


def test_for_a_public_clip_any_public_address_may_be_called() -> None:
    for hosts in ((), ("other.example",)):
        assert refusal(HOOK, SOURCE, hosts) is None
        assert refusal("http://127.0.0.1/x", SOURCE, hosts) is SourceNotAllowed
        assert refusal("hook", SOURCE, hosts) is InvalidRequest
        assert refusal("", OWN_CLIPS[0], hosts) is None


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["file", "uri", "result"])
async def test_a_model_cannot_have_a_private_result_sent_to_a_host_that_nobody_named(
    rig: Rig, home: Path, kind: str
) -> None:
    ask = await asking(rig, home, kind)
    before = len(rig.sandbox.seen)
    async with rig.client() as client:
        refused = await client.call_tool("modify_video", ask | {"callback_url": "https://evil.example/x"})
    error = facts(refused)["error"]
    assert (error["code"], error["charged"]) == ("source_not_allowed", "no")
    assert "LUMA_MCP_CALLBACK_HOSTS" in error["hint"]
    assert len(rig.sandbox.seen) == before, "nothing was uploaded or sent"


@pytest.mark.anyio
async def test_a_host_that_the_user_named_is_told_to_runapi(home: Path, inline_threads: None) -> None:
    async with open_rig(home, callback_hosts="hooks.example.com") as rig, rig.client() as client:
        ask = await asking(rig, home, "file") | {"callback_url": HOOK}
        assert facts(await client.call_tool("modify_video", ask))["status"] == "completed"
        assert rig.sandbox.state.generations()[-1].body["callback_url"] == HOOK


async def asking(rig: Rig, home: Path, kind: str) -> dict[str, Any]:
    """Ask for a clip of the user's own to be modified."""
    clip = home / "out" / "own.mp4"
    clip.parent.mkdir(exist_ok=True)
    clip.write_bytes(bundled_clip().read_bytes())
    source = {"file": str(clip), "uri": clip.as_uri()}.get(kind)
    if source is None:
        source = f"luma://tasks/{(await rig.submit()).task_id}"
    return {"prompt": "at night", "source_video_url": source}


def test_callback_hosts_are_names_as_in_other_settings() -> None:
    assert load_settings().callback_hosts == ()
    assert load_settings(callback_hosts=" A.example ,b.example:8443").callback_hosts == ("a.example", "b.example:8443")
    for wrong in ("https://a.example", "a.example/x", "*.example"):
        with pytest.raises(BadSetting, match="LUMA_MCP_CALLBACK_HOSTS"):
            load_settings(callback_hosts=wrong)
