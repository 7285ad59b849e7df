"""Which store a test's servers keep their tasks in: a file, or the database whose address lies in the test's home."""

from pathlib import Path

DATABASE_FILE = "database-url"


def use_database(home: Path, url: str) -> None:
    """Let the servers of a home keep their tasks in a database."""
    (home / DATABASE_FILE).write_text(url, encoding="utf-8")


def database_of(home: Path) -> str | None:
    """Give the address of the database that the servers of a home use; None if they use a file."""
    file = home / DATABASE_FILE
    return file.read_text(encoding="utf-8") if file.exists() else None
