"""What a person is told of errors: what to type, in a person's words, and never what is meant for a model."""

import re

import pytest

from luma_mcp.cli.explanations import ADVICE, ADVICE_BY_FLAW, print_error, print_task_failure
from luma_mcp.core import errors
from luma_mcp.core.errors import Failure, LumaError
from luma_mcp.media.mp4 import Flaw

FOR_MODELS = re.compile(
    r"\b(?:get_task|modify_video|save_video|list_tasks|check_account|video_urls|wait_seconds|source_video_url"
    r"|next_step|task_id|[Tt]ell the user|repeat the call|[Tt]his server)\b"
)


def known_errors(kind: type[LumaError] = LumaError) -> list[type[LumaError]]:
    """List the errors of requests and tasks; those of the command line's own have hints for people."""
    found = [one for child in kind.__subclasses__() for one in (child, *known_errors(child))]
    return [one for one in found if one.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", known_errors())
def test_every_error_has_advice_for_people(kind: type[LumaError]) -> None:
    assert any(ancestor in ADVICE for ancestor in kind.__mro__ if ancestor is not LumaError)


@pytest.mark.parametrize("charged", ["no", "yes", "unknown"])
@pytest.mark.parametrize("kind", known_errors())
def test_no_words_for_models_reach_a_person(
    kind: type[LumaError], charged: errors.Charged, capsys: pytest.CaptureFixture[str]
) -> None:
    error = LumaError.__new__(kind)
    LumaError.__init__(error, "It went wrong.", charged=charged)
    vars(error)["variable"] = "HTTPS_PROXY"  # which `ProxyUnusable` has
    print_error(error)
    print_task_failure(error.failure(), "6c1f", lost=False)
    print_task_failure(error.failure(), "6c1f", lost=True)
    said = capsys.readouterr().err
    assert "It went wrong." in said
    assert not FOR_MODELS.search(said), said
    assert ("Nothing was charged." in said) == (charged == "no")


def test_every_flaw_of_a_clip_has_advice() -> None:
    assert ADVICE_BY_FLAW.keys() == {flaw for flaw in Flaw if flaw}


def test_arguments_have_the_names_that_were_typed(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(errors.InvalidRequest("source_video_url: there is no finished task 'x' to continue from."))
    print_error(errors.InvalidRequest("take must be from 1 to 100."))
    assert capsys.readouterr().err.splitlines() == [
        "error: SOURCE: there is no finished task 'x' to continue from.",
        "error: --take must be from 1 to 100.",
    ]


def test_an_unknown_outcome_is_asked_for_again_only_while_that_is_safe(capsys: pytest.CaptureFixture[str]) -> None:
    for retry_safe, told in ((True, "is not paid twice"), (False, "Look at your RunAPI account first")):
        failure = Failure("submission_unconfirmed", "Nobody knows.", "unknown", retry_safe, hint="")
        print_task_failure(failure, "", lost=True)
        assert told in capsys.readouterr().err


def test_what_is_lost_is_not_asked_for_again(capsys: pytest.CaptureFixture[str]) -> None:
    gone = errors.VideoGone("RunAPI keeps a video for seven days, and these are over.").failure()
    print_task_failure(gone, "6c1f", lost=True)
    assert capsys.readouterr().err.splitlines() == [
        "error: RunAPI keeps a video for seven days, and these are over.",
        "  It was charged: 0.50 USD.",
    ]
