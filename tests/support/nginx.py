"""nginx with the configuration of the release, before replicas of a test's own."""

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trustme

from tests.support.postgres import free_port
from tests.support.replicas import Replica

CONFIGURATION = Path(__file__).parents[2] / "luma_mcp" / "release" / "nginx.conf"
MISSING = "nginx is not installed (Debian's `nginx`)"
START_SECONDS = 30.0


class Proxy(NamedTuple):
    """Where nginx serves, and whom its clients trust."""

    url: str
    trusted: ssl.SSLContext


@contextmanager
def nginx_before(replicas: Sequence[Replica], folder: Path) -> Generator[Proxy]:
    """Run nginx before two replicas, with its files in a folder; raise `LookupError` if it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        raise LookupError(MISSING)
    port, authority = free_port(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    certificate.private_key_pem.write_to_path(folder / "certificate.key")
    places = {f"luma-{number}:8000": f"127.0.0.1:{replica.port}" for number, replica in enumerate(replicas, 1)}
    places |= {"listen 8443": f"listen 127.0.0.1:{port}", "/tmp/nginx": f"{folder}/nginx"}  # noqa: S108 - is replaced
    places |= {"/run/secrets/certificate-key;": f"{folder}/certificate.key;"}
    places |= {"/run/secrets/certificate;": f"{folder}/certificate.pem;"}
    (folder / "nginx.conf").write_text(with_places(CONFIGURATION.read_text(encoding="utf-8"), places), encoding="utf-8")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    command = [program, "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            await_port(port, process, folder / "nginx.log")
            yield Proxy(f"https://127.0.0.1:{port}", trusted)
        finally:
            process.terminate()


def with_places(configuration: str, places: Mapping[str, str]) -> str:
    """Give a configuration with other addresses and paths, each of which must occur in it."""
    for place, other in places.items():
        assert place in configuration, place
        configuration = configuration.replace(place, other)
    return configuration


def await_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS).close()
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text(encoding="utf-8")
        else:
            return
