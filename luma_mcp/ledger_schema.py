"""What the ledger's file looks like: schema and migrations, transactions, and how a task is laid out in it."""

import json
import sqlite3
import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luma_mcp import crash_points
from luma_mcp.errors import Failure
from luma_mcp.models import Status, Task, VideoRequest
from luma_mcp.renaming import rename_without_replacing

LOCK_SECONDS = 2.0
WAL_BYTES = 1 << 20
MIGRATIONS = (
    """
    CREATE TABLE tasks (
        key TEXT PRIMARY KEY,
        caller TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        prompt TEXT NOT NULL,
        source TEXT NOT NULL,
        model TEXT NOT NULL,
        watermark INTEGER NOT NULL,
        callback_url TEXT NOT NULL,
        origin TEXT NOT NULL,
        key_id TEXT NOT NULL,
        wants_file INTEGER NOT NULL,
        source_url TEXT NOT NULL,
        task_id TEXT NOT NULL,
        status TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        video_urls TEXT NOT NULL,
        video_path TEXT NOT NULL,
        cost_usd REAL,
        error TEXT,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        finished_at REAL,
        delivered INTEGER NOT NULL,
        lease_owner TEXT NOT NULL DEFAULT '',
        lease_until REAL NOT NULL DEFAULT 0
    ) STRICT;
    CREATE UNIQUE INDEX tasks_by_id ON tasks (task_id) WHERE task_id <> '';
    CREATE INDEX tasks_by_request ON tasks (fingerprint, created_at);
    CREATE INDEX tasks_by_age ON tasks (caller, created_at DESC, key DESC);
    CREATE INDEX tasks_by_status ON tasks (status, finished_at);
    """,
    """
    DROP INDEX tasks_by_request;
    DROP INDEX tasks_by_status;
    CREATE INDEX tasks_by_request ON tasks (caller, fingerprint, created_at);
    CREATE INDEX tasks_by_status ON tasks (caller, status, created_at DESC, key DESC);
    CREATE INDEX tasks_by_start ON tasks (created_at);
    CREATE INDEX tasks_by_end ON tasks (model, finished_at) WHERE status = 'completed';
    CREATE INDEX tasks_unended ON tasks (created_at) WHERE status NOT IN ('completed', 'failed');
    CREATE INDEX tasks_unsaved ON tasks (finished_at) WHERE status = 'completed' AND wants_file AND video_path = '';
    CREATE INDEX tasks_leased ON tasks (lease_owner) WHERE lease_owner <> '';
    """,
    # Counts what callers can see to change, so that each process finds what another has changed: `revision` is of the
    # whole task, `listed` of what the list of tasks with an id says about it; `forgotten` has each caller's last
    # deletion.
    """
    CREATE TABLE revisions (ledger TEXT NOT NULL, last INTEGER NOT NULL) STRICT;
    INSERT INTO revisions VALUES (lower(hex(randomblob(16))), 0);
    CREATE TABLE forgotten (caller TEXT PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
    ALTER TABLE tasks ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE tasks ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX tasks_by_revision ON tasks (revision);
    CREATE TRIGGER task_added AFTER INSERT ON tasks BEGIN
        UPDATE revisions SET last = last + 1;
        UPDATE tasks SET revision = (SELECT last FROM revisions) WHERE key = NEW.key;
    END;
    CREATE TRIGGER task_changed AFTER UPDATE OF
        task_id, status, video_urls, video_path, cost_usd, error, updated_at, finished_at ON tasks
    WHEN (NEW.task_id, NEW.status, NEW.video_urls, NEW.video_path)
            IS NOT (OLD.task_id, OLD.status, OLD.video_urls, OLD.video_path)
        OR (NEW.cost_usd, NEW.error, NEW.updated_at, NEW.finished_at)
            IS NOT (OLD.cost_usd, OLD.error, OLD.updated_at, OLD.finished_at)
    BEGIN
        UPDATE revisions SET last = last + 1;
        UPDATE tasks SET revision = (SELECT last FROM revisions) WHERE key = NEW.key;
        UPDATE tasks SET listed = revision
        WHERE key = NEW.key AND task_id <> '' AND (NEW.task_id, NEW.status) IS NOT (OLD.task_id, OLD.status);
    END;
    CREATE TRIGGER task_forgotten AFTER DELETE ON tasks BEGIN
        UPDATE revisions SET last = last + 1;
        INSERT OR REPLACE INTO forgotten SELECT OLD.caller, last FROM revisions;
    END;
    """,
    "ALTER TABLE tasks ADD COLUMN callback TEXT NOT NULL DEFAULT '';",
    # What is known of local sources, and where they were uploaded to; the name that a caller wants for a saved video.
    """
    ALTER TABLE tasks ADD COLUMN source_digest TEXT NOT NULL DEFAULT '';
    ALTER TABLE tasks ADD COLUMN source_bytes INTEGER;
    ALTER TABLE tasks ADD COLUMN source_seconds REAL;
    ALTER TABLE tasks ADD COLUMN sent_at REAL;
    ALTER TABLE tasks ADD COLUMN file_name TEXT NOT NULL DEFAULT '';
    CREATE TABLE uploads (
        origin TEXT NOT NULL, key_id TEXT NOT NULL, digest TEXT NOT NULL, url TEXT NOT NULL, expires_at REAL NOT NULL,
        PRIMARY KEY (origin, key_id, digest)
    ) STRICT;
    """,
)
WORDS = (
    *("key", "caller", "prompt", "source", "model", "callback_url"),
    *("origin", "key_id", "callback", "source_url", "source_digest", "task_id", "video_path", "file_name"),
)
FLAGS = ("watermark", "wants_file", "delivered")
NUMBERS = (
    *("attempts", "cost_usd", "created_at", "updated_at", "finished_at"),
    *("source_bytes", "source_seconds", "sent_at"),
)
COLUMNS = (*WORDS, *FLAGS, *NUMBERS, "status", "video_urls", "error")
REQUEST_FIELDS = ("prompt", "source", "model", "watermark", "callback_url")
FIXED = frozenset(
    {"key", "caller", "created_at", "origin", "callback", "wants_file", "file_name", "delivered", *REQUEST_FIELDS}
)

Row = dict[str, Any]


def create_database(path: Path) -> None:
    """Make a new file and give it its name when it is complete, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        open_database(new).close()
        rename_without_replacing(new, path)
    except FileExistsError:
        pass
    finally:
        new.unlink(missing_ok=True)


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file and bring its schema up to date."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    with ExitStack() as unless_ready:
        unless_ready.callback(db.close)
        prepare(db)
        refuse_newer(db)
        if schema_version(db) == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        migrate(db)
        unless_ready.pop_all()
    return db


def prepare(db: sqlite3.Connection) -> None:
    """Let a connection give rows by name and damaged text as far as it goes, and compare words in any case."""
    db.row_factory = sqlite3.Row
    db.text_factory = legible
    db.create_function("casefold", 1, str.casefold, deterministic=True)


def legible(stored: bytes) -> str:
    """Read text as it was written, and text that a broken disk made of it as far as it goes."""
    return stored.decode(errors="replace")


def migrate(db: sqlite3.Connection) -> None:
    """Apply the migrations that the file has not seen."""
    if schema_version(db) == len(MIGRATIONS):
        return
    with transaction(db):
        refuse_newer(db)
        for script in MIGRATIONS[schema_version(db) :]:
            for statement in statements(script):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def statements(script: str) -> Iterator[str]:
    """Take a script apart; a trigger is one statement, with others in it."""
    begun = ""
    for part in filter(str.strip, script.split(";")):
        begun += f"{part};"
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""


def refuse_newer(db: sqlite3.Connection) -> None:
    """Refuse a file that a newer version has written, before anything about it is changed."""
    if (version := schema_version(db)) > len(MIGRATIONS):
        raise sqlite3.DatabaseError(f"it was written by a newer version of this server (schema {version})")


def schema_version(db: sqlite3.Connection) -> int:
    """Read how many migrations the file has seen."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[sqlite3.Connection]:
    """Write all or nothing, alone among all processes."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        yield db
        crash_points.reach("ledger.written")
    crash_points.reach("ledger.committed")


def row_of(task: Task) -> Row:
    """Lay a task out as columns."""
    request = asdict(task.request)
    plain = {name: request[name] if name in request else getattr(task, name) for name in (*WORDS, *FLAGS, *NUMBERS)}
    return plain | {
        "status": task.status.value,
        "video_urls": json.dumps(task.video_urls),
        "error": json.dumps(asdict(task.error)) if task.error else None,
    }


def task_of(row: sqlite3.Row) -> Task:
    """Read a task back from its columns; files of earlier versions lack some."""
    values: Row = {name: row[name] for name in COLUMNS if name in row.keys()}  # noqa: SIM118 - a row is no mapping
    values |= {name: bool(row[name]) for name in FLAGS}
    request = VideoRequest(**{name: values.pop(name) for name in REQUEST_FIELDS})
    values["status"] = Status(values["status"])
    values["video_urls"] = tuple(json.loads(values["video_urls"]))
    values["error"] = Failure(**json.loads(values["error"])) if values["error"] else None
    return Task(request=request, **values)


def is_task(row: sqlite3.Row) -> bool:
    """Tell whether a row makes sense."""
    try:
        task_of(row)
    except (ValueError, TypeError, LookupError):
        return False
    return True
