"""What models read is short, uses one word for one thing, and says nothing that the code does not do."""

import re
from dataclasses import replace
from itertools import product

import pytest

from luma_mcp.app.app import MIN_SUBMIT_SECONDS
from luma_mcp.app.progress import describe
from luma_mcp.app.submit import MAX_PROMPT_LENGTH
from luma_mcp.core import models
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import PRICE_USD
from luma_mcp.core.settings import Settings, variable_name
from luma_mcp.media.transfers import Transfer
from luma_mcp.server.results import PROMPT_PREVIEW_LENGTH
from luma_mcp.worker import polling
from luma_mcp.worker.tracker import CRASH_COOLDOWN
from tests.support.jobs import PINNED as TRANSCRIPTS
from tests.support.model_texts import (
    SENTENCE,
    TASK,
    Text,
    kinds,
    known_names,
    step_texts,
    surface_texts,
    written_texts,
)
from tests.support.rig import EPOCH, SOURCE

EVERY = [*surface_texts(), *written_texts(), *step_texts()]
LONGEST = {"step": 330, "error": 260}
WRONG = {
    r"!": "no exclamation marks",
    r"\bplease\b": "no please",
    r"[$€]\s?\d|\bcents?\b|\bdollars?\b|\bUS\$": "money as 0.50 USD",
    r"\d USD\b(?<!\d\.\d\d USD)": "money with two digits after the point",
    r"\b(?!RunAPI\b|RUNAPI_|runapi\.)(?i:run ?api)\b": "RunAPI",
    r"\b(?i:amazing|powerful|seamless\w*|stunning|effortless\w*|simply|easily|magic\w*)\b": "no marketing",
    r"\b(?i:footage|movie|film clip)s?\b": "clip for what goes in, video for what comes out",
    r"\b(?i:job|generation|request)[ _]ids?\b": "task_id",
    r"\b(?i:billed|invoiced?|fees?|refund\w*)\b": "charged",
    r"\b(?i:persisted|written to disk)\b": "saved",
    r"\b(?i:timeouts?|timed out)\b": "time-out",
    r"\brestart it\b": "restart this server",
}
UNIT = r"(seconds?|minutes?|hours?|days?|USD|GB|MB|characters)"
WORDS = "one|two|three|four|five|six|seven|eight|ten|twelve"
NUMBER = re.compile(rf"\d+ {UNIT} to \d+ {UNIT}\b|(some )?(\d[\d.]*|{WORDS})( to \d+)? {UNIT}\b")
IDENTIFIER = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
VARIABLE = re.compile(r"\b(?:LUMA_MCP|RUNAPI)_[A-Z_]+\b")
FREE = re.compile(r"[Nn]othing was (charged|submitted)|was not charged")
MOVED, TRIED = r"(, \d+\.\d( of \d+\.\d)? MB)?", r"(, try \d+)?(: .{1,201})?"
PROGRESS = re.compile(rf"[a-z ]{{4,20}}{MOVED}, (generation took )?\d+ s{TRIED}([,;] usually \d+ (to \d+ )?s)?")
REPEATING = re.compile(r"(?<!not )\b[Rr]epeat (the|this) (same )?(modify_video )?call|call modify_video again")


def known_numbers() -> set[str]:
    """Write each number that a text may name, from the constant that it speaks of."""
    days, hours = models.OUTPUT_LIFETIME_SECONDS // models.DAY_SECONDS, models.FOLLOW_SECONDS // 3600
    low, high = polling.DOCUMENTED.low, polling.DOCUMENTED.high
    wait = Settings.model_fields["wait_seconds"].default
    takes = {f"{count * PRICE_USD:.2f} USD" for count in (1, 3)}
    return takes | {
        *(f"{wait} seconds", f"{MIN_SUBMIT_SECONDS:.0f} seconds", f"{models.REPLAY_SECONDS // 60} minutes"),
        *(f"{days} days", {7: "seven days"}[days], f"{hours} hours", f"{low:.0f} to {high:.0f} seconds"),
        *(f"{low:.0f} seconds to 20 minutes", "some 20 minutes", "one second"),  # contract 8.1: some take that long
        *(
            f"{MAX_PROMPT_LENGTH} characters",
            f"{PROMPT_PREVIEW_LENGTH} characters",
            {600.0: "ten minutes"}[CRASH_COOLDOWN.seconds],
        ),
    }


@pytest.mark.parametrize(("wrong", "right"), WRONG.items())
def test_one_word_stands_for_one_thing(wrong: str, right: str) -> None:
    assert [text for text in EVERY if re.search(wrong, text.words)] == [], right


def test_every_number_with_a_unit_is_the_constant_that_it_speaks_of() -> None:
    known = known_numbers()
    told = [(match[0], text) for text in EVERY for match in NUMBER.finditer(text.words)]
    assert len(told) > 20
    assert [(number, text) for number, text in told if number not in known] == []


def test_every_name_in_a_text_is_one_of_the_code() -> None:
    names, variables = known_names(), {variable_name(field, name) for name, field in Settings.model_fields.items()}
    told = [(name, text) for text in EVERY for name in IDENTIFIER.findall(without_urls(text.words))]
    assert [(name, text) for name, text in told if name not in names] == []
    settings = [(name, text) for text in EVERY for name in VARIABLE.findall(text.words)]
    assert [(name, text) for name, text in settings if name not in variables] == []


def without_urls(words: str) -> str:
    return re.sub(r"\b\w+://\S+", "", words)


def test_a_next_step_is_one_or_two_sentences() -> None:
    hints = [Text(kind.__name__, kind.hint, kind) for kind in kinds()]
    for text in (*step_texts(), *hints):
        assert text.words, text.where
        assert len(text.words) <= LONGEST["step"], text
        assert len(SENTENCE.split(text.words)) <= 2, text
        assert text.words.endswith("."), text


def test_the_texts_of_failures_are_short() -> None:
    assert [text for text in written_texts() if text.about and len(text.words) > LONGEST["error"]] == []


def test_only_what_is_not_charged_is_said_to_be_free_and_only_what_is_safe_is_to_be_repeated() -> None:
    told = [text for text in written_texts() if text.about]
    assert [text for text in told if FREE.search(text.words) and charged(text.about) != "no"] == []
    assert [text for text in told if REPEATING.search(text.words) and not safe(text.about)] == []


def test_no_text_asks_for_another_take_by_itself() -> None:
    told = [text.words for text in EVERY if re.search(r"the same arguments and take \d", text.words)]
    assert told
    assert [words for words in told if not re.search("only if the user", words, re.IGNORECASE)] == []
    assert [text.words for text in EVERY if "new_take" in text.words or "deliver" in text.words] == []


def test_progress_says_state_and_seconds_in_one_short_line() -> None:
    known = polling.DOCUMENTED
    for status, wants, moved in product(models.Status, (False, True), (None, Transfer(1_000_000, 2_000_000))):
        task = replace(TASK, status=status, wants_file=wants, video_urls=(SOURCE,), finished_at=EPOCH + 8)
        assert PROGRESS.fullmatch(describe(task, known, EPOCH + 12, moved)), status


def test_what_transcripts_show_keeps_the_rules_too() -> None:
    for path in TRANSCRIPTS.glob("*.md"):
        lines = path.read_text(encoding="utf-8").splitlines()
        told = [line for line in lines if line.lstrip().startswith(('"next_step"', '"message"', '"hint"'))]
        assert told, path
        assert [line for line in told for wrong in WRONG if re.search(wrong, line)] == []
        progress = [line.partition(": ")[2] for line in lines if line.startswith("- progress")]
        assert [line for line in progress if not PROGRESS.fullmatch(line)] == []


def charged(kind: type[LumaError] | None) -> str:
    return kind.charged if kind else ""


def safe(kind: type[LumaError] | None) -> bool:
    return bool(kind and kind.retry_safe)
