"""Ledgers as somebody else may have left them: real SQLite files with rows of any kind."""

import hashlib
import json
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from luma_mcp.core.models import Task, VideoRequest, new_key
from luma_mcp.ledger.files import LEDGER_NAME
from luma_mcp.ledger.records import row_of
from luma_mcp.ledger.schema import create_database
from tests.support.rig import API_URL, EPOCH, KEY, SOURCE

KEY_ID = hashlib.sha256(KEY.encode()).hexdigest()[:16]  # which nobody knows who has not read the ledger
THEIRS = "https://evil.example/result.mp4"


def ledger_file(folder: Path) -> Path:
    """Give the path of the ledger in a data folder, made empty if there is none."""
    path = folder / LEDGER_NAME
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        create_database(path)
    return path


def plant(folder: Path, **columns: Any) -> str:
    """Write a row past all checks, as an attacker does; return its key."""
    request = VideoRequest(prompt="planted", source=SOURCE)
    draft = Task(
        key=new_key(),
        caller="local",
        request=request,
        created_at=EPOCH,
        updated_at=EPOCH,
        wanted_at=columns.get("created_at", EPOCH),
        origin=API_URL,
        wants_file=True,
    )
    row = row_of(draft) | {"name": draft.key} | columns
    with unchecked(ledger_file(folder)) as db:
        db.execute(f"INSERT INTO tasks ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))  # noqa: S608 - column names of ours
    return str(row["key"])


@contextmanager
def unchecked(path: Path) -> Generator[sqlite3.Connection]:
    """Open a ledger that checks nothing inside, and looks as before afterwards."""
    with closing(sqlite3.connect(path)) as db:
        (text,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'tasks'").fetchone()
    rewrite(path, text.replace("NOT NULL", ""))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        yield db
    rewrite(path, text)


def rewrite(path: Path, text: str) -> None:
    """Replace the schema of the table of tasks."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'tasks'", (text,))
        db.execute(f"PRAGMA schema_version = {db.execute('PRAGMA schema_version').fetchone()[0] + 1}")


def finished(**columns: Any) -> dict[str, Any]:
    number = hashlib.sha256(repr(columns).encode()).hexdigest()[:8]
    done = {"status": "completed", "task_id": f"task-{number}", "finished_at": EPOCH, "attempts": 1, "sent_at": EPOCH}
    done |= {"charged": "yes"}
    return done | {"video_urls": json.dumps([THEIRS])} | columns
