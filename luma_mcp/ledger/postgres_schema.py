"""What the ledger's tables are like in PostgreSQL: schema and migrations, and how our statements are put for it."""

import re
from functools import cache

import psycopg
from psycopg.rows import DictRow

from luma_mcp.ledger.errors import NEWER_HINT, StoreRefused

# A row has the columns that it has in SQLite, and the indexes are the same; how changes are told differs: whoever
# listens to the channel, named as the schema is, hears of each when it is committed. A migration only adds what the
# version before can live with, because replicas of both work together while an update rolls through them.
MIGRATIONS = (
    """
    CREATE TABLE tasks (
        key TEXT COLLATE "C" PRIMARY KEY,
        caller TEXT COLLATE "C" NOT NULL CHECK (octet_length(caller) <= 2000),
        name TEXT COLLATE "C" NOT NULL,
        take BIGINT NOT NULL CHECK (take BETWEEN 1 AND 100),
        prompt TEXT COLLATE "C" NOT NULL,
        folded_prompt TEXT COLLATE "C" NOT NULL DEFAULT '',
        source TEXT COLLATE "C" NOT NULL,
        model TEXT COLLATE "C" NOT NULL,
        watermark BOOLEAN NOT NULL,
        callback_url TEXT COLLATE "C" NOT NULL,
        origin TEXT COLLATE "C" NOT NULL,
        key_id TEXT COLLATE "C" NOT NULL,
        callback TEXT COLLATE "C" NOT NULL,
        wants_file BOOLEAN NOT NULL,
        source_url TEXT COLLATE "C" NOT NULL,
        source_digest TEXT COLLATE "C" NOT NULL,
        source_bytes BIGINT,
        source_seconds DOUBLE PRECISION,
        sent_at DOUBLE PRECISION,
        file_name TEXT COLLATE "C" NOT NULL,
        task_id TEXT COLLATE "C" NOT NULL CHECK (octet_length(task_id) <= 2000),
        status TEXT COLLATE "C" NOT NULL
            CHECK (status IN ('submitting', 'pending', 'processing', 'completed', 'failed', 'unconfirmed')),
        attempts BIGINT NOT NULL CHECK (attempts >= 0),
        failures BIGINT NOT NULL CHECK (failures >= 0),
        given_up BOOLEAN NOT NULL,
        charged TEXT COLLATE "C" NOT NULL CHECK (charged IN ('no', 'yes', 'unknown')),
        video_urls TEXT COLLATE "C" NOT NULL,
        video_path TEXT COLLATE "C" NOT NULL,
        cost_usd DOUBLE PRECISION,
        error TEXT COLLATE "C",
        created_at DOUBLE PRECISION NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL,
        wanted_at DOUBLE PRECISION NOT NULL,
        finished_at DOUBLE PRECISION,
        lease_owner TEXT COLLATE "C" NOT NULL DEFAULT '',
        aside_until DOUBLE PRECISION NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX tasks_by_id ON tasks (task_id) WHERE task_id <> '';
    CREATE INDEX tasks_by_age ON tasks (caller, created_at DESC, key DESC);
    CREATE INDEX tasks_by_request ON tasks (caller, name, take);
    CREATE UNIQUE INDEX tasks_that_count ON tasks (caller, name, take)
        WHERE NOT (status = 'failed' AND charged = 'no');
    CREATE INDEX tasks_by_status ON tasks (caller, status, created_at DESC, key DESC);
    CREATE INDEX tasks_by_end ON tasks (model, status, finished_at) WHERE finished_at IS NOT NULL;
    CREATE INDEX tasks_unended ON tasks (caller, wanted_at, status, sent_at, key)
        WHERE status NOT IN ('completed', 'failed');
    CREATE INDEX tasks_free ON tasks (wanted_at) WHERE lease_owner = '' AND status NOT IN ('completed', 'failed');
    CREATE INDEX tasks_unsaved ON tasks (finished_at)
        WHERE lease_owner = '' AND status = 'completed' AND wants_file AND video_path = '';
    CREATE INDEX tasks_by_path ON tasks (video_path) WHERE video_path <> '';
    CREATE INDEX tasks_leased ON tasks (lease_owner) WHERE lease_owner <> '';
    CREATE TABLE servers (
        owner TEXT COLLATE "C" PRIMARY KEY,
        alive_until DOUBLE PRECISION NOT NULL
    );
    CREATE TABLE uploads (
        origin TEXT COLLATE "C" NOT NULL,
        key_id TEXT COLLATE "C" NOT NULL,
        digest TEXT COLLATE "C" NOT NULL,
        url TEXT COLLATE "C" NOT NULL,
        expires_at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (origin, key_id, digest)
    );
    CREATE TABLE tickets (
        id TEXT COLLATE "C" PRIMARY KEY,
        caller TEXT COLLATE "C" NOT NULL,
        state TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'arriving', 'arrived')),
        expires_at DOUBLE PRECISION NOT NULL,
        digest TEXT COLLATE "C" NOT NULL,
        seconds DOUBLE PRECISION
    );
    CREATE TABLE secrets (
        name TEXT COLLATE "C" PRIMARY KEY,
        value TEXT COLLATE "C" NOT NULL
    );
    CREATE FUNCTION instr(words TEXT, word TEXT) RETURNS INTEGER LANGUAGE sql IMMUTABLE PARALLEL SAFE
        AS 'SELECT strpos(words, word)';
    CREATE FUNCTION tell_added() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify(TG_TABLE_SCHEMA, json_build_object(
            'caller', NEW.caller, 'task_id', NEW.task_id, 'key', NEW.key, 'listed', false)::TEXT);
        RETURN NULL;
    END $$;
    CREATE FUNCTION tell_changed() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify(TG_TABLE_SCHEMA, json_build_object(
            'caller', NEW.caller, 'task_id', NEW.task_id, 'key', NEW.key, 'listed',
            NEW.task_id <> '' AND (NEW.task_id, NEW.status) IS DISTINCT FROM (OLD.task_id, OLD.status))::TEXT);
        RETURN NULL;
    END $$;
    CREATE FUNCTION tell_forgotten() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify(TG_TABLE_SCHEMA, json_build_object(
            'caller', OLD.caller, 'task_id', NULL, 'key', NULL, 'listed', true)::TEXT);
        RETURN NULL;
    END $$;
    CREATE TRIGGER task_added AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION tell_added();
    CREATE TRIGGER task_changed AFTER UPDATE OF
        task_id, status, charged, video_urls, video_path, cost_usd, error, updated_at, finished_at ON tasks
    FOR EACH ROW WHEN (
        (NEW.task_id, NEW.status, NEW.charged, NEW.video_urls, NEW.video_path)
            IS DISTINCT FROM (OLD.task_id, OLD.status, OLD.charged, OLD.video_urls, OLD.video_path)
        OR (NEW.cost_usd, NEW.error, NEW.updated_at, NEW.finished_at)
            IS DISTINCT FROM (OLD.cost_usd, OLD.error, OLD.updated_at, OLD.finished_at))
    EXECUTE FUNCTION tell_changed();
    CREATE TRIGGER task_forgotten AFTER DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION tell_forgotten();
    """,
)
COMMENT = re.compile(r"--[^\n]*")
NAMED_INDEX = re.compile(r"INDEXED BY \w+")
LIST = re.compile(r"json_each\(:(\w+)\)")
NAME = re.compile(r":(\w+)")


@cache
def translate(sql: str) -> bytes:
    """Put a statement for PostgreSQL: it chooses indexes by itself, and has other words for lists and values."""
    plain = NAMED_INDEX.sub("", COMMENT.sub("", sql)).replace("%", "%%").replace("group_concat(", "string_agg(")
    listed = LIST.sub(r"json_array_elements_text(CAST(:\1 AS JSON)) AS listed (value)", plain)
    return NAME.sub(r"%(\1)s", listed).replace("?", "%s").encode()


def migrate(db: psycopg.Connection[DictRow], schema: str, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Make the schema if there is none, and bring it up to date, one server at a time; raise `StoreRefused`."""
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{schema}.migrations",))
        if db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone() is None:
            db.execute(f"CREATE SCHEMA {schema}".encode())
        db.execute(f"SET LOCAL search_path = {schema}".encode())
        if db.execute("SELECT 1 FROM pg_tables WHERE schemaname = %s LIMIT 1", (schema,)).fetchone() is None:
            db.execute("CREATE TABLE schema_version (version BIGINT NOT NULL)")
        version = refuse_newer(db, len(migrations))
        for script in migrations[version:]:
            db.execute(script.encode())
        if version < len(migrations):
            db.execute("DELETE FROM schema_version")
            db.execute("INSERT INTO schema_version VALUES (%s)", (len(migrations),))


def refuse_newer(db: psycopg.Connection[DictRow], known: int = len(MIGRATIONS)) -> int:
    """Give the version of the schema; raise `StoreRefused` if it is newer by more than one than what is known here."""
    found = db.execute("SELECT version FROM schema_version").fetchone()
    version = int(found["version"]) if found else 0
    if version > known + 1:
        raise StoreRefused(f"it was written by a much newer version of this server (schema {version})", NEWER_HINT)
    return version
