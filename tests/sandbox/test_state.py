"""What the sandbox remembers, and what becomes of a task by the clock alone."""

from contextlib import closing
from pathlib import Path

import pytest
from runapi.luma import LumaClient

from luma_mcp.core.models import UPLOAD_LIFETIME_SECONDS
from luma_mcp.sandbox import state as state_module
from luma_mcp.sandbox.application import STORAGE_URL, Sandbox
from luma_mcp.sandbox.state import Generation, SandboxState
from tests.support.http_server import SandboxClock
from tests.support.rig import API_URL, EPOCH
from tests.support.sandbox_clients import ASK


def test_a_task_goes_from_pending_to_processing_to_completed_on_the_clock(
    luma: LumaClient, served: tuple[Sandbox, str], clock: SandboxClock
) -> None:
    made = served[0].state.create_or_replay(None, ASK, 60, "")[0]
    seen: list[str] = []
    for seconds in (0, 14, 16, 59, 60):
        clock.passed = seconds
        seen.append(luma.modify_video.get(made.id).status)
    assert seen == ["pending", "pending", "processing", "processing", "completed"]


def test_the_sandbox_remembers_across_processes(home: Path, clock: SandboxClock) -> None:
    def accept() -> tuple[Generation, bool]:
        state = Sandbox(home / "kept", clock, api_url=API_URL, storage_url=STORAGE_URL).state
        with closing(state):
            return state.create_or_replay("k", ASK, 8, "")

    made, _ = accept()
    assert accept() == (made, True)


def test_running_tasks_are_paid_for_beforehand_and_failed_ones_never(home: Path, clock: SandboxClock) -> None:
    with closing(SandboxState(home / "s", clock, credit_cents=120)) as state:
        state.create_or_replay(None, ASK, 60, "")
        assert (state.can_afford_task(), state.balance_cents()) == (True, 120)
        state.create_or_replay(None, ASK, 60, "no motion in the clip")
        assert not state.can_afford_task(), "who knows how the second one ends"
        clock.passed += 60
        assert (state.can_afford_task(), state.balance_cents()) == (True, 70)


def test_what_was_spent_since_a_moment_counts_from_when_a_task_ended(home: Path, clock: SandboxClock) -> None:
    with closing(SandboxState(home / "s", clock, credit_cents=1000)) as state:
        state.create_or_replay(None, ASK, 60, "")
        clock.passed += 100
        assert [state.charged_cents(EPOCH + passed) for passed in (0, 60, 61)] == [50, 50, 0]


def test_room_is_made_of_expired_files_and_of_what_tasks_made_of_them(
    home: Path, clock: SandboxClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "MAX_STORED_BYTES", 100)
    with closing(SandboxState(home / "s", clock, credit_cents=0)) as state:
        stored = state.path(state.store("clip.mp4", b"x" * 40))
        stored.with_name(f"{stored.name}-task").write_bytes(b"y" * 50)
        assert (state.make_room(10), state.make_room(20)) == (True, False)
        clock.passed += UPLOAD_LIFETIME_SECONDS
        assert (state.make_room(20), list(stored.parent.iterdir())) == (True, [])
