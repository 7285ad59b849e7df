"""Every way a request can end badly: the tree is as it is drawn, and the facts about money fit the advice."""

import inspect
from collections.abc import Iterator

import pytest

from luma_mcp.core import errors
from luma_mcp.core.errors import CHARGED_HINT, UNCLEAR_HINT, GenerationFailed, LumaError, ProxyUnusable, RateLimited


def drawn() -> Iterator[tuple[str, str, str]]:
    """Read the tree in the docstring: each class with the one that it hangs from and the code beside it."""
    above = {0: "LumaError"}
    for line in (errors.__doc__ or "").splitlines():
        branch, _, words = line.partition("── ")
        if words:
            depth = len(branch) // 4 + 1
            name, _, code = words.partition(" ")
            above[depth] = name
            yield name, above[depth - 1], code.strip()


def test_the_tree_that_is_drawn_is_the_tree_that_is() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LumaError)]
    found = {kind.__name__: kind.__base__ and kind.__base__.__name__ for kind in kinds if kind is not LumaError}
    assert {name: above for name, above, _ in drawn()} == found


def test_a_class_has_the_code_that_stands_beside_it_or_that_of_the_class_above_it() -> None:
    codes: dict[str, str] = {}
    for name, above, code in drawn():
        codes[name] = code or codes[above]
        assert getattr(errors, name).code == codes[name]
    assert len({code for _, _, code in drawn() if code}) == sum(bool(code) for _, _, code in drawn())


def test_an_error_gives_its_facts_as_they_were_raised() -> None:
    raised = errors.InvalidRequest("no", hint="do this", charged="unknown")
    assert raised.failure() == errors.Failure("invalid_request", "no", "unknown", retry_safe=True, hint="do this")
    usual = errors.InvalidRequest("no").failure()
    assert (usual.charged, usual.hint) == ("no", errors.InvalidRequest.hint)


def test_a_failed_generation_is_said_to_be_free_only_where_it_is() -> None:
    hints = [GenerationFailed("why", charged=charged).hint for charged in ("no", "yes", "unknown")]
    assert hints == [GenerationFailed.hint, CHARGED_HINT, UNCLEAR_HINT]


def test_the_words_of_others_are_quoted_once() -> None:
    assert GenerationFailed('a "bad" prompt').message == "RunAPI says: \"a 'bad' prompt\""
    assert GenerationFailed("").message == "RunAPI gave no reason."


@pytest.mark.parametrize(("seconds", "words"), [(7.4, "Wait 7 s"), (None, "Wait a minute"), (0.0, "Wait a minute")])
def test_a_slower_pace_is_asked_for_in_seconds_where_they_are_known(seconds: float | None, words: str) -> None:
    assert RateLimited("slower", seconds).hint.startswith(words)


@pytest.mark.parametrize(
    ("variable", "named", "to_set"), [("ALL_PROXY", "ALL_PROXY", "ALL_PROXY"), ("", "the system's", "HTTPS_PROXY")]
)
def test_a_proxy_is_named_by_its_variable_or_the_system(variable: str, named: str, to_set: str) -> None:
    error = ProxyUnusable(variable)
    assert named in error.message
    assert error.hint.startswith(f"Set {to_set} to ")
