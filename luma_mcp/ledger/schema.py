"""What the ledger's file looks like: schema and migrations, what a found file must be like, and transactions."""

import re
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from luma_mcp.core import failpoints
from luma_mcp.ledger.errors import NEWER_HINT, OLD_SQLITE_HINT, UNKNOWN_SCHEMA_HINT, FileRefused
from luma_mcp.ledger.files import create_atomically

OLDEST_SQLITE = (3, 34)  # every statement is tried on it: tests/support/old_sqlite.py
LOCK_SECONDS = 2.0
SYNCHRONOUS = "PRAGMA synchronous = EXTRA"
MAX_VALUE_BYTES = 1 << 20
# CHECK stands for STRICT, which SQLite has since 3.37 only. `revision` and `listed` count what callers can see to
# change, so that each process finds what another has changed: the first of the whole task, the second of what the
# list of tasks with an id says about it; `forgotten` has each caller's last deletion. `folded_prompt` is the prompt
# for comparing words in any case. `tasks_that_count` is the rule that money depends on: a take of a request has one
# task, unless what it had has failed and cost nothing. A task is leased to its `lease_owner` as long as that one says
# in `servers` that it lives, which costs the same for any number of tasks; one that nobody has is put aside until
# `aside_until`. A ticket lets one clip be sent; what has arrived is known by its content for as long as tasks are.
MIGRATIONS = (
    """
    CREATE TABLE tasks (
        key TEXT PRIMARY KEY NOT NULL CHECK (typeof(key) = 'text'),
        caller TEXT NOT NULL CHECK (typeof(caller) = 'text'),
        name TEXT NOT NULL CHECK (typeof(name) = 'text'),
        take INTEGER NOT NULL CHECK (typeof(take) = 'integer' AND take BETWEEN 1 AND 100),
        prompt TEXT NOT NULL CHECK (typeof(prompt) = 'text'),
        folded_prompt TEXT NOT NULL DEFAULT '' CHECK (typeof(folded_prompt) = 'text'),
        source TEXT NOT NULL CHECK (typeof(source) = 'text'),
        model TEXT NOT NULL CHECK (typeof(model) = 'text'),
        watermark INTEGER NOT NULL CHECK (typeof(watermark) = 'integer' AND watermark IN (0, 1)),
        callback_url TEXT NOT NULL CHECK (typeof(callback_url) = 'text'),
        origin TEXT NOT NULL CHECK (typeof(origin) = 'text'),
        key_id TEXT NOT NULL CHECK (typeof(key_id) = 'text'),
        callback TEXT NOT NULL CHECK (typeof(callback) = 'text'),
        wants_file INTEGER NOT NULL CHECK (typeof(wants_file) = 'integer' AND wants_file IN (0, 1)),
        source_url TEXT NOT NULL CHECK (typeof(source_url) = 'text'),
        source_digest TEXT NOT NULL CHECK (typeof(source_digest) = 'text'),
        source_bytes INTEGER CHECK (source_bytes IS NULL OR typeof(source_bytes) = 'integer'),
        source_seconds REAL CHECK (source_seconds IS NULL OR typeof(source_seconds) = 'real'),
        sent_at REAL CHECK (sent_at IS NULL OR typeof(sent_at) = 'real'),
        file_name TEXT NOT NULL CHECK (typeof(file_name) = 'text'),
        task_id TEXT NOT NULL CHECK (typeof(task_id) = 'text'),
        status TEXT NOT NULL
            CHECK (status IN ('submitting', 'pending', 'processing', 'completed', 'failed', 'unconfirmed')),
        attempts INTEGER NOT NULL CHECK (typeof(attempts) = 'integer' AND attempts >= 0),
        failures INTEGER NOT NULL CHECK (typeof(failures) = 'integer' AND failures >= 0),
        given_up INTEGER NOT NULL CHECK (typeof(given_up) = 'integer' AND given_up IN (0, 1)),
        charged TEXT NOT NULL CHECK (charged IN ('no', 'yes', 'unknown')),
        video_urls TEXT NOT NULL CHECK (typeof(video_urls) = 'text'),
        video_path TEXT NOT NULL CHECK (typeof(video_path) = 'text'),
        cost_usd REAL CHECK (cost_usd IS NULL OR typeof(cost_usd) = 'real'),
        error TEXT CHECK (error IS NULL OR typeof(error) = 'text'),
        created_at REAL NOT NULL CHECK (typeof(created_at) = 'real'),
        updated_at REAL NOT NULL CHECK (typeof(updated_at) = 'real'),
        wanted_at REAL NOT NULL CHECK (typeof(wanted_at) = 'real'),
        finished_at REAL CHECK (finished_at IS NULL OR typeof(finished_at) = 'real'),
        lease_owner TEXT NOT NULL DEFAULT '' CHECK (typeof(lease_owner) = 'text'),
        aside_until REAL NOT NULL DEFAULT 0 CHECK (typeof(aside_until) = 'real'),
        revision INTEGER NOT NULL DEFAULT 0 CHECK (typeof(revision) = 'integer'),
        listed INTEGER NOT NULL DEFAULT 0 CHECK (typeof(listed) = 'integer')
    );
    CREATE UNIQUE INDEX tasks_by_id ON tasks (task_id) WHERE task_id <> '';
    CREATE INDEX tasks_by_age ON tasks (caller, created_at DESC, key DESC);
    CREATE INDEX tasks_by_request ON tasks (caller, name, take);
    CREATE UNIQUE INDEX tasks_that_count ON tasks (caller, name, take)
        WHERE NOT (status = 'failed' AND charged = 'no');
    CREATE INDEX tasks_by_status ON tasks (caller, status, created_at DESC, key DESC);
    CREATE INDEX tasks_by_end ON tasks (model, status, finished_at) WHERE finished_at IS NOT NULL;
    CREATE INDEX tasks_by_revision ON tasks (revision);
    CREATE INDEX tasks_unended ON tasks (caller, wanted_at, status, sent_at, key)
        WHERE status NOT IN ('completed', 'failed');
    CREATE INDEX tasks_free ON tasks (wanted_at) WHERE lease_owner = '' AND status NOT IN ('completed', 'failed');
    CREATE INDEX tasks_unsaved ON tasks (finished_at)
        WHERE lease_owner = '' AND status = 'completed' AND wants_file AND video_path = '';
    CREATE INDEX tasks_by_path ON tasks (video_path) WHERE video_path <> '';
    CREATE INDEX tasks_leased ON tasks (lease_owner) WHERE lease_owner <> '';
    CREATE TABLE servers (
        owner TEXT PRIMARY KEY NOT NULL CHECK (typeof(owner) = 'text'),
        alive_until REAL NOT NULL CHECK (typeof(alive_until) = 'real')
    );
    CREATE TABLE revisions (
        ledger TEXT NOT NULL CHECK (typeof(ledger) = 'text'),
        last INTEGER NOT NULL CHECK (typeof(last) = 'integer')
    );
    INSERT INTO revisions VALUES (lower(hex(randomblob(16))), 0);
    CREATE TABLE forgotten (
        caller TEXT PRIMARY KEY NOT NULL CHECK (typeof(caller) = 'text'),
        revision INTEGER NOT NULL CHECK (typeof(revision) = 'integer')
    );
    CREATE TRIGGER task_added AFTER INSERT ON tasks BEGIN
        UPDATE revisions SET last = last + 1;
        UPDATE tasks SET revision = (SELECT last FROM revisions) WHERE key = NEW.key;
    END;
    CREATE TRIGGER task_changed AFTER UPDATE OF
        task_id, status, charged, video_urls, video_path, cost_usd, error, updated_at, finished_at ON tasks
    WHEN (NEW.task_id, NEW.status, NEW.charged, NEW.video_urls, NEW.video_path)
            IS NOT (OLD.task_id, OLD.status, OLD.charged, OLD.video_urls, OLD.video_path)
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
    CREATE TABLE uploads (
        origin TEXT NOT NULL CHECK (typeof(origin) = 'text'),
        key_id TEXT NOT NULL CHECK (typeof(key_id) = 'text'),
        digest TEXT NOT NULL CHECK (typeof(digest) = 'text'),
        url TEXT NOT NULL CHECK (typeof(url) = 'text'),
        expires_at REAL NOT NULL CHECK (typeof(expires_at) = 'real'),
        PRIMARY KEY (origin, key_id, digest)
    );
    CREATE TABLE tickets (
        id TEXT PRIMARY KEY NOT NULL CHECK (typeof(id) = 'text'),
        caller TEXT NOT NULL CHECK (typeof(caller) = 'text'),
        state TEXT NOT NULL CHECK (state IN ('open', 'arriving', 'arrived')),
        expires_at REAL NOT NULL CHECK (typeof(expires_at) = 'real'),
        digest TEXT NOT NULL CHECK (typeof(digest) = 'text'),
        seconds REAL CHECK (seconds IS NULL OR typeof(seconds) = 'real')
    );
    CREATE TABLE secrets (
        name TEXT PRIMARY KEY NOT NULL CHECK (typeof(name) = 'text'),
        value TEXT NOT NULL CHECK (typeof(value) = 'text')
    );
    """,
)

# Conditions of statements, word for word as the partial indexes have them: otherwise SQLite does not use those.
UNENDED = "status NOT IN ('completed', 'failed')"
UNSAVED = "status = 'completed' AND wants_file AND video_path = ''"
BLOCKS_REPEAT = "NOT (status = 'failed' AND charged = 'no')"  # as `Task.blocks_repeat` has it
COUNT_TASKS = f"""
    SELECT count(*) AS tasks, count(*) FILTER (WHERE {UNENDED}) AS unfinished,
        count(*) FILTER (WHERE {UNSAVED}) AS unsaved
    FROM tasks"""  # noqa: S608 - conditions of ours

Objects = dict[tuple[str, str], tuple[str, str]]
"""What a schema has: by type and name, which table it belongs to and its text."""


def create_database(path: Path) -> None:
    """Make a new file that is this user's alone, and give it its name when it is complete; another may be faster."""
    with create_atomically(path) as new:
        open_database(new).close()


def open_database(path: Path) -> sqlite3.Connection:
    """Open a file and bring it up to date; one that this server did not make is refused before anything is changed.

    All that was written lies in this one file. A log beside it, as SQLite keeps in WAL mode, can be removed while
    processes use it: each then goes on by itself, and what some of them wrote is lost.
    """
    db = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    with ExitStack() as unless_ready:
        unless_ready.callback(db.close)
        configure_connection(db)
        refuse_unknown_schema(db)
        if schema_version(db) == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute(SYNCHRONOUS)
        migrate(db)
        unless_ready.pop_all()
    return db


def configure_connection(db: sqlite3.Connection) -> None:
    """Let a connection give rows by name, and damaged text as far as it can be decoded.

    A file may have been made to harm: nothing in its schema may call functions, and no value may be larger than ours.
    """
    refuse_old_sqlite()
    db.row_factory = sqlite3.Row
    db.text_factory = decode_text
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)


def refuse_old_sqlite() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise FileRefused(f"SQLite {sqlite3.sqlite_version} is too old, it takes {oldest} or newer", OLD_SQLITE_HINT)


def decode_text(stored: bytes) -> str:
    """Decode text, and what a broken disk made of it as far as that goes."""
    return stored.decode(errors="replace")


def migrate(db: sqlite3.Connection) -> None:
    if schema_version(db) == len(MIGRATIONS):
        return
    with transaction(db):
        refuse_newer(db)
        run(db, MIGRATIONS[schema_version(db) :])
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def run(db: sqlite3.Connection, scripts: Sequence[str]) -> None:
    for script in scripts:
        for statement in statements(script):
            db.execute(statement)


def statements(script: str) -> Iterator[str]:
    """Split a script; a trigger is one statement, with others in it."""
    begun = ""
    for part in filter(str.strip, script.split(";")):
        begun += f"{part};"
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""


def refuse_newer(db: sqlite3.Connection) -> None:
    """Refuse a file that a newer version has written, before anything about it is changed."""
    if (version := schema_version(db)) > len(MIGRATIONS):
        raise FileRefused(f"it was written by a newer version of this server (schema {version})", NEWER_HINT)


def refuse_unknown_schema(db: sqlite3.Connection) -> None:
    """Refuse a newer file, and one with other tables, indexes, triggers or views than its version has."""
    refuse_newer(db)
    found, ours = read_schema(db), build_schema(MIGRATIONS[: max(0, schema_version(db))])
    if strange := sorted(name for name in found.keys() | ours.keys() if found.get(name) != ours.get(name)):
        raise schema_mismatch(strange)


def refuse_unknown_objects(db: sqlite3.Connection) -> None:
    """Refuse a damaged file with anything in it that no version of this server has made; what lacks may be damaged."""
    ours = build_schema(MIGRATIONS)
    if strange := sorted(name for name, made in read_schema(db).items() if ours.get(name) != made):
        raise schema_mismatch(strange)


def schema_mismatch(strange: list[tuple[str, str]]) -> FileRefused:
    kind, name = strange[0]
    return FileRefused(f"it is not as this server makes it: {kind} {name[:80]!r} differs", UNKNOWN_SCHEMA_HINT)


def build_schema(scripts: Sequence[str]) -> Objects:
    with closing(sqlite3.connect(":memory:")) as db:
        run(db, scripts)
        return read_schema(db)


def read_schema(db: sqlite3.Connection) -> Objects:
    """Read a schema, blanks collapsed; indexes that SQLite makes by itself have no text."""
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {(str(kind), str(name)): (str(table), collapse_blanks(text)) for kind, name, table, text in rows}


def collapse_blanks(text: object) -> str:
    return re.sub(r"[ \t\n\f\r]+", " ", str(text)).strip()


def schema_version(db: sqlite3.Connection) -> int:
    """Read how many migrations the file has seen."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def schema_cookie(db: sqlite3.Connection) -> int:
    """Read the number that SQLite changes whenever anybody changes the schema."""
    cookie: int = db.execute("PRAGMA schema_version").fetchone()[0]
    return cookie


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[sqlite3.Connection]:
    """Write all or nothing, alone among all processes."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        yield db
        failpoints.reach("ledger.written")
    failpoints.reach("ledger.committed")


@contextmanager
def read_transaction(db: sqlite3.Connection) -> Generator[None]:
    """Lock the file once for all that is read inside."""
    with db:
        db.execute("BEGIN")
        yield
