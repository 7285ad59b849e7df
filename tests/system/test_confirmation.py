"""A person's yes, asked for by real servers over stdio, which are killed and replaced meanwhile: charges are exact."""

import json
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.persons import CAN_ASK, NO, YES, answered, modern_call
from tests.support.rig import SOURCE
from tests.support.sandbox_process import count_charges, sandbox_process, server_environment
from tests.system.crashing import Crashing, server


@dataclass(frozen=True)
class Place:
    """Where one test happens: a home of its own, and the RunAPI that all tests share."""

    home: Path
    url: str
    runapi: Path

    @property
    def ask(self) -> dict[str, Any]:
        return {"prompt": self.home.name, "source_video_url": SOURCE, "wait_seconds": 60}

    @contextmanager
    def server(self, die_at: str = "", *, handshake: bool = True, **settings: str) -> Generator[Crashing]:
        environment = server_environment(self.home, self.url, **{"LUMA_MCP_CONFIRM": "ask", **settings})
        with server(environment, self.home / "log", die_at, shakes_hands=handshake, capabilities=CAN_ASK) as wire:
            yield wire

    def modern(self, die_at: str = "") -> AbstractContextManager[Crashing]:
        return self.server(die_at, handshake=False)

    def charges(self) -> int:
        """Count the tasks that RunAPI made for this test."""
        return count_charges(self.runapi, self.home.name)


@pytest.fixture(scope="module")
def runapi(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("runapi")
    with sandbox_process(folder, seconds=1) as url:
        yield url, folder / "served" / "sandbox"


@pytest.fixture
def place(home: Path, runapi: tuple[str, Path]) -> Place:
    return Place(home, *runapi)


def begin(wire: Crashing, place: Place) -> tuple[int, dict[str, Any]]:
    """Call as a client before 2026-07-28; give the call's id, and the server's question."""
    asked = wire.send("tools/call", {"name": "modify_video", "arguments": place.ask})
    while (message := json.loads(wire.stdout.readline())).get("method") != "elicitation/create":
        assert message.get("id") != asked
    return asked, message


def answer(wire: Crashing, question: dict[str, Any], result: object) -> None:
    wire.stdin.write(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": result}) + "\n")
    wire.stdin.flush()


def told(wire: Crashing, asked: int) -> dict[str, Any]:
    found: dict[str, Any] = wire.receive(asked)[-1]["result"]["structuredContent"]
    return found


def call(wire: Crashing, place: Place, **more: Any) -> dict[str, Any]:
    """Call as a client of 2026-07-28."""
    found: dict[str, Any] = wire.receive(wire.send("tools/call", modern_call(place.ask, **more)))[-1]["result"]
    return found


def test_a_yes_in_the_handshake_era_is_paid_for_once(place: Place) -> None:
    with place.server() as wire:
        asked, question = begin(wire, place)
        assert place.home.name in question["params"]["message"]
        assert place.charges() == 0
        answer(wire, question, YES)
        assert told(wire, asked)["status"] == "completed"
        answer(wire, question, YES)
        again = wire.call("modify_video", place.ask)["structuredContent"]
        assert (again["joined"], place.charges()) == (True, 1)


@pytest.mark.parametrize("junk", [NO, {}, [], "yes", 1, None, {"action": "accept"}, {"action": "accept", "content": 1}])
def test_no_answer_but_a_yes_is_paid_for(place: Place, junk: object) -> None:
    with place.server() as wire:
        asked, question = begin(wire, place)
        answer(wire, question, junk)
        if isinstance(junk, dict):
            assert told(wire, asked)["error"]["code"] == "confirmation_declined"
        assert wire.call("list_tasks", {})["structuredContent"]["tasks"] == []
        assert place.charges() == 0


def test_a_server_that_is_killed_while_its_question_is_open_pays_nothing(place: Place) -> None:
    with place.server() as wire:
        begin(wire, place)
        wire.kill()
        assert wire.killed
    with place.server() as wire:
        assert wire.call("list_tasks", {})["structuredContent"]["tasks"] == []
        asked, question = begin(wire, place)
        answer(wire, question, YES)
        assert told(wire, asked)["joined"] is False
    assert place.charges() == 1


@pytest.mark.parametrize("point", ["submission.intended", "submission.answered"])
def test_a_server_that_is_killed_after_the_yes_asks_for_none_again_and_pays_once(place: Place, point: str) -> None:
    with place.server(point) as wire:
        asked, question = begin(wire, place)
        answer(wire, question, YES)
        assert wire.killed
        del asked
    with place.server() as wire:
        again = wire.call("modify_video", place.ask)["structuredContent"]
        assert (again["joined"], again["status"]) == (True, "completed")
    assert place.charges() == 1


def test_a_question_between_calls_outlives_the_server_that_asked_it(place: Place) -> None:
    with place.modern() as one:
        asked = call(one, place)
        assert asked["resultType"] == "input_required"
        one.kill()
    with place.modern() as two, place.modern() as three:
        made = [call(wire, place, **answered(asked, YES))["structuredContent"] for wire in (two, three, two)]
        assert [task["joined"] for task in made] == [False, True, True]
        assert len({task["task_id"] for task in made}) == 1
    assert place.charges() == 1


@pytest.mark.parametrize("point", ["submission.sending"])
def test_a_yes_that_is_sent_again_after_a_crash_is_paid_for_once(place: Place, point: str) -> None:
    with place.modern(point) as wire:
        yes = answered(call(wire, place), YES)
        wire.send("tools/call", modern_call(place.ask, **yes))
        assert wire.killed
    with place.modern() as wire:
        assert call(wire, place, **yes)["structuredContent"]["status"] == "completed"
    assert place.charges() == 1


def test_a_declined_question_may_be_asked_anew(place: Place) -> None:
    with place.modern() as wire:
        declined = call(wire, place, **answered(call(wire, place), NO))
        assert declined["structuredContent"]["error"]["code"] == "confirmation_declined"
        assert place.charges() == 0
        assert call(wire, place, **answered(call(wire, place), YES))["structuredContent"]["done"]
    assert place.charges() == 1


def test_a_server_that_never_pays_sends_nothing_that_a_killed_one_has_left(place: Place) -> None:
    with place.server("submission.intended") as wire:
        asked, question = begin(wire, place)
        answer(wire, question, YES)
        assert wire.killed
        del asked
    with place.server(LUMA_MCP_DAILY_LIMIT="0") as looker:
        (left,) = looker.call("list_tasks", {})["structuredContent"]["tasks"]
        assert left["status"] == "submitting"
        told_so = looker.call("modify_video", place.ask | {"wait_seconds": 8})["structuredContent"]
        assert (told_so["status"], "never pays" in told_so["next_step"]) == ("submitting", True)
        assert place.charges() == 0
        with place.server() as payer:
            assert payer.call("modify_video", place.ask)["structuredContent"]["status"] == "completed"
    assert place.charges() == 1


def test_a_budget_counts_the_tasks_of_all_servers(place: Place) -> None:
    def spending() -> AbstractContextManager[Crashing]:
        return place.server(LUMA_MCP_CONFIRM="never", LUMA_MCP_DAILY_BUDGET="1.00")

    with spending() as one, spending() as two:
        for wire, take in ((one, 1), (two, 2)):
            assert "error" not in wire.call("modify_video", place.ask | {"take": take})["structuredContent"]
        for wire in (one, two):
            refused = wire.call("modify_video", place.ask | {"take": 3})["structuredContent"]["error"]
            assert (refused["code"], refused["charged"]) == ("limit_reached", "no")
            assert "0.00 USD are left" in refused["message"]
    assert place.charges() == 2
