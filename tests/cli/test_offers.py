"""What a shell offers while a person types: quick, harmless, and silent."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from luma_mcp.__main__ import main
from luma_mcp.app.app import open_app
from luma_mcp.app.progress import Progress
from luma_mcp.cli.offers import list_offers
from luma_mcp.core.models import VideoRequest
from luma_mcp.ledger.files import LEDGER_NAME
from tests.support.rig import SOURCE, settings_for, silent
from tests.support.terminals import ODD, steers


def test_hosts_are_offered_by_the_names_that_config_takes() -> None:
    assert "claude-desktop\tClaude Desktop" in list_offers("hosts", {})


def test_tasks_are_offered_by_id_and_prompt_and_what_a_shell_would_run_is_not(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(home, sandbox=True)

    async def submit() -> list[str]:
        async with open_app(settings) as app:
            ids = []
            for prompt in ("one", "two"):
                request = VideoRequest(prompt=prompt, source=SOURCE)
                outcome = await app.modify_video(request, "local", wait_seconds=0, progress=Progress(silent))
                ids.append(outcome.task.task_id)
            return ids

    first, second = anyio.run(submit)
    with closing(sqlite3.connect(settings.tasks_dir / LEDGER_NAME, isolation_level=None)) as ledger:
        ledger.execute(
            "UPDATE tasks SET prompt = ? WHERE prompt = 'two'", (ODD.replace("\ud83d", "").replace("\0", ""),)
        )
        ledger.execute("UPDATE tasks SET task_id = '$(touch x)' WHERE task_id = ?", (first,))
    flags = {"data_dir": str(settings.data_dir), "sandbox": True}
    [offer] = list_offers("tasks", flags)
    assert offer.startswith(f"{second}\t")
    assert not steers(offer.replace("\t", ""))


def test_where_there_is_nothing_nothing_is_said_and_nothing_is_made(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "tasks", "--sandbox"]) == 0
    monkeypatch.setenv("LUMA_MCP_DATA_DIR", "relative")
    assert main(["completion", "tasks"]) == 0
    assert capsys.readouterr() == ("", "")
    assert list(home.iterdir()) == []
