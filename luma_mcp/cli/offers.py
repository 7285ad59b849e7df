"""What a shell offers while a person types: hosts and task ids, each with words that tell it, or nothing at all."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import anyio

from luma_mcp.cli.printable import printable
from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import LOCAL_CALLER, Status
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.hosts.registry import all_hosts, pasted_hosts
from luma_mcp.ledger.files import ledger_path
from luma_mcp.ledger.ledger import open_ledger

SAFE_ID = re.compile(r"[A-Za-z0-9._-]+")  # bash expands what it is offered, and ids are RunAPI's words
MAX_TASKS = 50
PROMPT_LENGTH = 60


def list_offers(what: str, flags: Mapping[str, Any]) -> list[str]:
    """Give lines of a word and, behind a tab, what it is; none where nothing can be read: nobody asked for an error."""
    try:
        return list(host_lines() if what == "hosts" else anyio.run(task_lines, load_settings(**flags)))
    except LumaError:
        return []


def host_lines() -> Iterator[str]:
    for host in (*all_hosts().values(), *pasted_hosts().values()):
        yield f"{host.name}\t{host.title}"


async def task_lines(settings: Settings) -> list[str]:
    """List the newest tasks by id and prompt; a ledger that is not there is not made."""
    if not settings.database_url and not ledger_path(settings).path.exists():
        return []
    with closing(open_ledger(settings)) as ledger:
        tasks = await ledger.search_tasks(LOCAL_CALLER, "", list(Status), MAX_TASKS)
    tasks = [task for task in tasks if SAFE_ID.fullmatch(task.task_id)]
    return [f"{task.task_id}\t{printable(' '.join(task.request.prompt.split())[:PROMPT_LENGTH])}" for task in tasks]
