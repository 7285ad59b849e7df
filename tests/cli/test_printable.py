"""Whatever others wrote is seen as it is, steers nothing and hides nothing."""

import json

from hypothesis import given
from hypothesis import strategies as st

from luma_mcp.cli.printable import printable, printable_json
from tests.support.terminals import steers

SEEN = "霧 é e\u0301 \u3000\u00a0 🎬\ufe0f a\\b"


@given(st.text(st.characters(codec=None)))
def test_whatever_comes_is_seen_and_json_keeps_its_values(words: str) -> None:
    assert not steers(printable(words))
    assert "\n" not in printable(words)
    document = json.dumps({"a": words, words: [1]}, ensure_ascii=False, indent=2)
    assert not steers(printable_json(document))
    assert json.loads(printable_json(document)) == json.loads(document)


def test_what_is_seen_stays_and_the_rest_is_written_out() -> None:
    assert printable(SEEN) == SEEN
    assert printable("a\x1b[31m\u202eb\ud83d\n") == r"a\x1b[31m\u202eb\ud83d\n"
