"""What the sandbox remembers: tasks, uploads and money, in a folder, so that a restarted process finds them again.

The state of a task is a function of the clock; nothing runs in the background.
"""

import base64
import hashlib
import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luma_mcp.core.models import UPLOAD_LIFETIME_SECONDS, Clock

PRICE_CENTS = 50
MAX_STORED_BYTES = 1 << 30
FAILED_SOURCE = "The source video could not be fetched."
SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY, key TEXT UNIQUE, digest TEXT NOT NULL, body TEXT NOT NULL, created_at REAL NOT NULL,
    seconds REAL NOT NULL, failure TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS files (
    token TEXT PRIMARY KEY, signed_id TEXT UNIQUE NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    checksum TEXT NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Generation:
    """A task as the sandbox knows it."""

    id: str
    digest: str
    body: Mapping[str, Any]
    created_at: float  # POSIX seconds
    seconds: float  # how long it takes
    failure: str  # why it fails in the end, empty if it does not

    def status(self, now: float) -> str:
        """Give the status at a moment: pending for a quarter of the time, then processing, then the end."""
        elapsed = now - self.created_at
        if elapsed >= self.seconds:
            return "failed" if self.failure else "completed"
        return "pending" if elapsed < self.seconds / 4 else "processing"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file, announced or uploaded."""

    token: str
    signed_id: str
    name: str
    size: int
    checksum: str  # MD5 as base64
    state: str  # prepared, received or confirmed
    created_at: float  # POSIX seconds

    def is_available(self, now: float) -> bool:
        return self.state != "prepared" and now < self.created_at + UPLOAD_LIFETIME_SECONDS


class SandboxState:
    """Tasks and files in a folder, which is made when it is first needed."""

    def __init__(self, folder: Path, now: Clock, *, credit_cents: int) -> None:
        self._folder = folder
        self._now = now
        self._credit_cents = credit_cents
        self._opened: sqlite3.Connection | None = None

    def close(self) -> None:
        if self._opened:
            self._opened.close()
            self._opened = None

    def create_or_replay(
        self, key: str | None, body: Mapping[str, Any], seconds: float, failure: str
    ) -> tuple[Generation, bool]:
        """Create a task, or find the one of this idempotency key, whatever its body; the flag says which was done."""
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        row = (str(uuid.uuid4()), key, digest, json.dumps(body), self._now(), seconds, failure)
        made = self._db.execute("INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING", row)
        if made.rowcount == 1:
            return self._generation("id", row[0]), False
        return self._generation("key", key), True

    def has_task_for_key(self, key: str | None) -> bool:
        return bool(key) and self._db.execute("SELECT 1 FROM tasks WHERE key = ?", (key,)).fetchone() is not None

    def generation(self, task_id: str) -> Generation | None:
        row = self._db.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
        return generation_of(row) if row else None

    def generations(self) -> list[Generation]:
        """List all tasks, oldest first."""
        return [generation_of(row) for row in self._db.execute("SELECT * FROM tasks ORDER BY created_at, rowid")]

    def charged_cents(self, since: float = 0.0) -> int:
        """Add up what tasks cost that were completed since a moment in POSIX seconds; failed ones are free."""
        now = self._now()
        ended = [task for task in self.generations() if task.status(now) == "completed"]
        return PRICE_CENTS * sum(task.created_at + task.seconds >= since for task in ended)

    def balance_cents(self) -> int:
        return self._credit_cents - self.charged_cents()

    def can_afford_task(self) -> bool:
        """Tell whether another task could be paid if all running ones are completed."""
        now = self._now()
        owed = sum(task.status(now) != "failed" for task in self.generations())
        return self._credit_cents - PRICE_CENTS * owed >= PRICE_CENTS

    def prepare(self, name: str, size: int, checksum: str) -> Upload:
        made = Upload(uuid.uuid4().hex, uuid.uuid4().hex, name, size, checksum, "prepared", self._now())
        row = (made.token, made.signed_id, made.name, made.size, made.checksum, made.state, made.created_at)
        self._db.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return made

    def store(self, name: str, content: bytes) -> Upload:
        made = self.prepare(
            name, len(content), base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        )
        self.path(made).write_bytes(content)
        self.set_upload_state(made, "confirmed")
        return self.find_upload("token", made.token) or made

    def find_upload(self, by: str, value: str) -> Upload | None:
        """Find a file by `token` or `signed_id`."""
        column = {"token": "token", "signed_id": "signed_id"}[by]
        row = self._db.execute(f"SELECT * FROM files WHERE {column} = ?", (value,)).fetchone()  # noqa: S608 - one of two names
        return Upload(*row) if row else None

    def make_room(self, size: int) -> bool:
        """Delete expired files, oldest first, until there is room for `size` bytes; tell whether there is."""
        kept = [
            Upload(*row) for row in self._db.execute("SELECT * FROM files WHERE state != 'prepared' ORDER BY rowid")
        ]
        now, stored = self._now(), sum(path.stat().st_size for upload in kept for path in self._files(upload))
        for upload in kept:
            if stored + size > MAX_STORED_BYTES and not upload.is_available(now):
                for path in self._files(upload):
                    stored -= path.stat().st_size
                    path.unlink()
                self._db.execute("DELETE FROM files WHERE token = ?", (upload.token,))
        return stored + size <= MAX_STORED_BYTES

    def set_upload_state(self, upload: Upload, state: str) -> None:
        self._db.execute("UPDATE files SET state = ? WHERE token = ?", (state, upload.token))

    def path(self, upload: Upload) -> Path:
        folder = self._folder / "files"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / upload.token

    def _files(self, upload: Upload) -> list[Path]:
        """List the file and what tasks have made of it, whose names begin with its own."""
        return sorted(self.path(upload).parent.glob(f"{upload.token}*"))

    @property
    def _db(self) -> sqlite3.Connection:
        if self._opened is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._opened = sqlite3.connect(
                self._folder / "runapi.sqlite3", isolation_level=None, check_same_thread=False
            )
            self._opened.execute("PRAGMA journal_mode = WAL")
            self._opened.executescript(SCHEMA)
        return self._opened

    def _generation(self, column: str, value: str | None) -> Generation:
        row = self._db.execute(f"SELECT * FROM tasks WHERE {column} = ?", (value,)).fetchone()  # noqa: S608 - one of two names
        return generation_of(row)


def generation_of(row: tuple[Any, ...]) -> Generation:
    task_id, _, digest, body, created_at, seconds, failure = row
    return Generation(task_id, digest, json.loads(body), created_at, seconds, failure)
