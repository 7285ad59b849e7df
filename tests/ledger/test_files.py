"""Whose the ledger's files may be, how they are made, and which disk they are on."""

import os
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from luma_mcp.cli.doctor import storage
from luma_mcp.cli.doctor.storage import check_ledger as examined
from luma_mcp.core.errors import LedgerDamaged
from luma_mcp.ledger import files
from luma_mcp.ledger.errors import LOCAL_HINT
from luma_mcp.ledger.files import disk_kind, network_disk, sidecar_path
from luma_mcp.ledger.ledger import Ledger
from tests.support.ledgers import add, damage_index, listed, refusal, use
from tests.support.privileges import NOBODY
from tests.support.rig import settings_for
from tests.support.tasks import task

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
BESIDE = ("", "-wal", "-shm", "-journal", "-lock", ".rescued")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_pipe(path: Path) -> None:
    if sys.platform != "win32":
        os.mkfifo(path)


@posix
async def test_the_files_are_this_users_alone_in_a_folder_that_everybody_reads(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        with closing(Ledger.in_file(path)) as ledger:
            await add(ledger, task())
            assert {mode_of(file) for file in path.parent.iterdir()} == {0o600}
            for file in path.parent.iterdir():
                file.unlink()
            await add(ledger, task(1))
            assert mode_of(path) == 0o600, "put back"
        damage_index(path)
        with closing(Ledger.in_file(path)) as ledger:
            with pytest.raises(LedgerDamaged):
                await listed(ledger)
            await listed(ledger)
            assert mode_of(path) == 0o600, "rescued"
    finally:
        os.umask(before)


@posix
@pytest.mark.parametrize("named", [False, True])
async def test_what_lets_others_write_is_taken_away(found: Path, named: bool) -> None:
    found.chmod(0o666)
    found.parent.chmod(0o777)
    await use(found, named=named)
    assert (mode_of(found), mode_of(found.parent)) == (0o644, 0o755)


@posix
async def test_a_journal_that_is_gone_by_the_time_it_is_looked_at_holds_nobody_up(
    found: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there_a_moment_ago(path: Path) -> list[Path]:
        return [path, sidecar_path(path, "-journal")]

    monkeypatch.setattr(files, "list_ledger_files", there_a_moment_ago)
    monkeypatch.setattr(storage, "list_ledger_files", there_a_moment_ago)
    assert len(await use(found)) == 1
    assert examined(settings_for(found.parents[1]))[-1].state == "ok"


def unchangeable(*_: object, **__: object) -> None:
    """Be a disk without permissions of its own."""


@posix
async def test_a_folder_that_stays_open_is_refused_unless_somebody_named_it(
    found: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found.parent.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", unchangeable)
    refused = await refusal(found)
    assert "can be written by other users" in refused.message
    assert "chmod" in refused.hint
    with closing(Ledger.in_file(found, named=True)) as ledger:
        for number in range(3):
            await add(ledger, task(number))
            ledger.close()
    assert caplog.text.count("may be changed by others") == 1


@posix
async def test_a_folder_that_is_shared_on_purpose_keeps_its_permissions_and_is_warned_of(
    found: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for mode in (0o1777, 0o2775):
        found.parent.chmod(mode)
        await use(found, named=True) if mode == 0o1777 else None
        with closing(Ledger.in_file(found, named=True)) as ledger:
            await listed(ledger)
        assert mode_of(found.parent) == mode
    assert "may be changed by others" in caplog.text


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("suffix", BESIDE)
@pytest.mark.parametrize("named", [False, True])
async def test_a_file_of_another_user_is_refused(found: Path, suffix: str, named: bool) -> None:
    beside = found.with_name(found.name + suffix)
    beside.touch()
    shutil.chown(beside, NOBODY, NOBODY)
    assert "another user" in (await refusal(found, named=named)).message


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root gives folders away")
async def test_a_folder_of_another_user_is_refused_unless_somebody_named_it(found: Path) -> None:
    shutil.chown(found.parent, NOBODY, NOBODY)
    assert "another user" in (await refusal(found)).message
    await use(found, named=True)


@posix
@pytest.mark.parametrize("suffix", BESIDE)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
async def test_nothing_but_a_file_is_opened_in_place_of_a_file(home: Path, found: Path, suffix: str, kind: str) -> None:
    beside, elsewhere = found.with_name(found.name + suffix), home / "elsewhere.sqlite3"
    shutil.copy(found, elsewhere)
    beside.unlink(missing_ok=True)
    make: dict[str, Callable[[], None]] = {
        "link": lambda: beside.symlink_to(elsewhere),
        "pipe": lambda: make_pipe(beside),
        "folder": beside.mkdir,
    }
    make[kind]()
    before = elsewhere.read_bytes()
    for named in (False, True):
        assert "no regular file" in (await refusal(found, named=named)).message
    assert elsewhere.read_bytes() == before


async def test_a_file_of_the_first_version_is_left_alone(home: Path, path: Path) -> None:
    path.parent.mkdir()
    old = path.with_name("ledger.sqlite3")
    old.write_bytes(b"of 0.1.0")
    assert len(await use(path)) == 1
    assert old.read_bytes() == b"of 0.1.0"


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /home rw - nfs4 server:/home rw,vers=4.2
31 30 254:1 / /home/me/local\\040disk rw - ext4 /dev/vdb rw
32 22 0:27 / /mnt/c rw - 9p C: rw
33 22 0:28 / /mnt/cloud rw - fuse.rclone cloud: rw
34 22 0:29 / /mnt/usb rw - fuseblk /dev/sdb1 rw
35 22 0:30 / /mnt/over rw - ext4 /dev/vdc rw
36 35 0:31 / /mnt/over rw - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/luma", ""),
        ("/home/me/.local/share/luma-mcp", "nfs4"),
        ("/homes", ""),
        ("/home/me/local disk/luma", ""),
        ("/mnt/c/Users/me", "9p"),
        ("/mnt/cloud", "fuse.rclone"),
        ("/mnt/usb/luma", ""),
        ("/mnt/over/x", "cifs"),
    ],
)
def test_a_network_disk_is_told_from_a_local_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, folder: str, kind: str
) -> None:
    (home / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(files, "MOUNTS", home / "mounts")
    assert network_disk(Path(folder)) == kind
    monkeypatch.setattr(files, "MOUNTS", home / "none")
    assert network_disk(Path(folder)) == ""


def test_a_list_of_mounts_that_makes_no_sense_tells_nothing() -> None:
    assert disk_kind(Path("/home"), "x\n - \n1 2 3 4 / - \n\n") == ""


def test_the_doctor_tells_of_a_network_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "mounts").write_text("30 22 0:26 / / rw - nfs4 server:/ rw")
    monkeypatch.setattr(files, "MOUNTS", home / "mounts")
    found = [each for each in examined(settings_for(home)) if each.state == "note"]
    assert ["network disk" in each.message for each in found] == [True]
    assert found[0].fix == LOCAL_HINT


@posix
def test_the_doctor_tells_who_else_can_write_and_changes_nothing(home: Path, found: Path) -> None:
    found.parent.chmod(0o777)
    notes = [each for each in examined(settings_for(home)) if each.state == "note"]
    assert ["can be written by other users" in each.message for each in notes] == [True]
    assert mode_of(found.parent) == 0o777


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    return monkeypatch


@pytest.mark.parametrize("how", ["rename", "replace", "touch"])
async def test_a_kill_while_the_ledger_is_made_or_put_back_leaves_nothing_that_looks_damaged(
    ledger: Ledger, path: Path, no_links: pytest.MonkeyPatch, how: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    with no_links.context() as patched:
        patched.setattr(Path, how, die)
        with suppress(Killed):
            await add(ledger, task())
    assert not path.exists() or path.stat().st_size
    with ledger.report_damage_once():
        added, _ = await add(ledger, task(1))
    if sys.platform != "win32":
        with no_links.context() as patched:
            path.unlink()
            patched.setattr(Path, how, die)
            with suppress(Killed):
                await listed(ledger)
        assert not path.exists() or path.stat().st_size
    assert added in await listed(ledger)
