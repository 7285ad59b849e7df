"""The links to uploaded clips: each account has its own, for as long as RunAPI keeps the clip."""

from collections.abc import Generator
from contextlib import closing

import pytest

from luma_mcp.core.models import OUTPUT_LIFETIME_SECONDS
from luma_mcp.ledger.ledger import Ledger
from tests.support.ledgers import Another
from tests.support.rig import API_URL, EPOCH

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads")]
ACCOUNT, OTHER_ACCOUNT = (API_URL, "one"), (API_URL, "other")
DIGEST, OTHER_DIGEST = f"md5:{'A' * 22}==:12345", f"md5:{'B' * 22}==:12345"
URL, NEWER_URL = "https://cdn.example/clip", "https://cdn.example/newer"


@pytest.fixture
def ledger(another: Another) -> Generator[Ledger]:
    with closing(another()) as opened:
        yield opened


async def test_a_link_is_found_by_account_and_content_until_it_expires(ledger: Ledger) -> None:
    await ledger.uploads.remember(ACCOUNT, DIGEST, URL, EPOCH + 60, EPOCH)
    assert await ledger.uploads.find_url(ACCOUNT, DIGEST, EPOCH + 59) == URL
    assert await ledger.uploads.find_url(ACCOUNT, DIGEST, EPOCH + 60) == ""
    assert await ledger.uploads.find_url(OTHER_ACCOUNT, DIGEST, EPOCH) == ""
    assert await ledger.uploads.find_url(ACCOUNT, OTHER_DIGEST, EPOCH) == ""


async def test_a_newer_link_to_the_same_content_takes_the_place_of_the_older(ledger: Ledger) -> None:
    for url, seconds in ((URL, 60), (NEWER_URL, 120)):
        await ledger.uploads.remember(ACCOUNT, DIGEST, url, EPOCH + seconds, EPOCH)
    assert await ledger.uploads.find_url(ACCOUNT, DIGEST, EPOCH + 119) == NEWER_URL


async def test_a_link_that_was_of_no_use_is_forgotten_for_every_account(ledger: Ledger) -> None:
    for account in (ACCOUNT, OTHER_ACCOUNT):
        await ledger.uploads.remember(account, DIGEST, URL, EPOCH + 60, EPOCH)
    await ledger.uploads.remember(ACCOUNT, OTHER_DIGEST, NEWER_URL, EPOCH + 60, EPOCH)
    await ledger.uploads.forget(URL, EPOCH)
    found = [await ledger.uploads.find_url(account, DIGEST, EPOCH) for account in (ACCOUNT, OTHER_ACCOUNT)]
    assert found == ["", ""]
    assert await ledger.uploads.find_url(ACCOUNT, OTHER_DIGEST, EPOCH) == NEWER_URL


async def test_what_has_expired_is_forgotten_when_another_link_is_remembered(another: Another) -> None:
    with closing(another()) as ledger:
        await ledger.uploads.remember(ACCOUNT, DIGEST, URL, EPOCH + 60, EPOCH)
        await ledger.uploads.remember(ACCOUNT, OTHER_DIGEST, NEWER_URL, EPOCH + 90, EPOCH + 60)
        assert await ledger.uploads.find_url(ACCOUNT, DIGEST, EPOCH) == ""


@pytest.mark.parametrize(
    ("url", "seconds"), [("file:///etc/passwd", 60), ("https://x/\ny", 60), (URL, OUTPUT_LIFETIME_SECONDS)]
)
async def test_a_link_that_this_server_cannot_have_written_is_none(ledger: Ledger, url: str, seconds: float) -> None:
    await ledger.uploads.remember(ACCOUNT, DIGEST, url, EPOCH + seconds, EPOCH)
    assert await ledger.uploads.find_url(ACCOUNT, DIGEST, EPOCH) == ""
