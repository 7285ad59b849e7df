"""Runs every statement of the ledger on another SQLite, such as an old one for a Python on which our code does not run.

A statement that nothing here makes the ledger run is an error, so that none is forgotten.

    python -m tests.support.old_sqlite list > statements.json            (with a Python that this server runs on)
    python3.8 tests/support/old_sqlite.py run statements.json pysqlite3.dbapi2

Of the wheels of `pysqlite3-binary` for Python 3.8, 0.4.5 brings SQLite 3.34.0, 0.4.6 3.36.0 and 0.4.6.post2 3.37.0.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from typing import Any, Dict, List, Tuple  # noqa: UP035 - Python 3.8 has no other names for these

Statement = Dict[str, Any]  # noqa: UP006 - as above
Result = Tuple[str, int]  # noqa: UP006 - as above


def run(sqlite: Any, listed: List[Statement]) -> List[Result]:  # noqa: UP006 - as above
    """Run statements on a new file, one after the other; give how many rows each gave or changed."""
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite.connect(os.path.join(folder, "tasks.sqlite3"), isolation_level=None)
        db.create_function(
            "casefold", 1, lambda stored: stored.decode("utf-8", "replace").casefold(), deterministic=True
        )
        try:
            return [(statement["sql"], rows_of(db, statement)) for statement in listed]
        finally:
            db.close()


def folded(stored: bytes) -> str:
    """Stand in for the SQL function that the ledger registers."""
    return stored.decode("utf-8", "replace").casefold()


def rows_of(db: Any, statement: Statement) -> int:
    """Run one statement, and end what it may have begun; count rows."""
    if statement["sql"].endswith(" job"):
        db.execute("BEGIN")
        db.execute("SAVEPOINT job")
    try:
        cursor = getattr(db, statement["way"])(statement["sql"], *statement["values"])
    except Exception as error:
        raise SystemExit("SQLite refused: {}\n{}".format(error, statement["sql"])) from error
    found = len(cursor.fetchall())
    if db.in_transaction:
        db.execute("COMMIT")
    return found or (0 if statement["sql"].startswith("PRAGMA") else cursor.rowcount)


def main(arguments: List[str]) -> None:  # noqa: UP006 - as above
    if arguments[:1] == ["list"]:
        from tests.support.ledger_statements import recorded  # noqa: PLC0415 - needs what an old Python has not

        print(json.dumps(recorded(), indent=1))
        return
    with open(arguments[1], encoding="utf-8") as file:
        listed = json.load(file)
    sqlite = importlib.import_module(arguments[2] if arguments[2:] else "sqlite3")
    results = run(sqlite, listed)
    expected = [(statement["sql"], statement["rows"]) for statement in listed]
    different = [found for found in results if found not in expected]
    print(f"SQLite {sqlite.sqlite_version}: {len(results)} statements ran, {different} answered otherwise")
    sys.exit(bool(different))


if __name__ == "__main__":
    main(sys.argv[1:])
