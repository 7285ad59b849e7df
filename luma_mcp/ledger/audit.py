"""The audit trail: one line for each charge, for whoever has to account for it.

Who, what, how much and which task. The prompt is not in it, because logs go where prompts have no business: its digest
tells whether a text that somebody shows is the one that was paid for, and the ledger has the text under the task's key.
"""

import hashlib
import json
import logging

from luma_mcp.core.models import SANDBOX_ORIGIN, Task

MAX_WORD_LENGTH = 500  # of names that others chose: the log cuts lines at 4,000 characters
MAX_ODD_WORD_LENGTH = 50  # of such that JSON needs up to 12 characters for each of

audit_logger = logging.getLogger("luma_mcp.audit")


def log_charge(task: Task) -> None:
    """Write that a task is being recorded as charged, or perhaps charged, before that can be relied on.

    A server that dies between the two lets the next one write the line again: each task has at least one.
    """
    audit_logger.info("%s", json.dumps(charge_line(task)))


def charge_line(task: Task) -> dict[str, object]:
    """Give what is told of a charge; JSON of it is ASCII, so that nothing in it breaks a line."""
    return {
        "event": "charge",
        "charged": task.settled_charge,
        "usd": task.counted_usd,
        "reported": task.charged == "yes" and task.cost_usd is not None,
        "simulated": task.origin == SANDBOX_ORIGIN,
        "caller": bounded(task.caller),
        "task": task.key,
        "task_id": bounded(task.task_id),
        "status": str(task.status),
        "take": task.request.take,
        "model": bounded(task.request.model),
        "prompt_sha256": hashlib.sha256(task.request.prompt.encode(errors="replace")).hexdigest(),
    }


def bounded(word: str) -> str:
    return word[: MAX_WORD_LENGTH if word.isascii() and word.isprintable() else MAX_ODD_WORD_LENGTH]
