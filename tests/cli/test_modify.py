"""Modifying a clip from the command line, as a person and a script see it."""

import errno
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli import modify
from luma_mcp.cli.console import EXIT_CODES
from luma_mcp.cli.explanations import WrongArguments
from luma_mcp.cli.modify import read_arguments
from luma_mcp.media import downloads
from luma_mcp.sandbox.requests import bundled_clip, foggy_clip
from tests.support.rig import KEY, SOURCE
from tests.support.sandbox_process import SERVER
from tests.support.terminals import Terminal, pieces_of


def test_a_clip_is_modified_and_its_path_is_all_that_stdout_says(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = home / "anywhere" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(bundled_clip().read_bytes())
    assert main(["modify", "anywhere/clip.mp4", "fog"]) == 0
    output = capsys.readouterr()
    assert Path(output.out.strip()).read_bytes() == foggy_clip().read_bytes()
    told = dict(line.split(None, 1) for line in output.err.splitlines())
    assert told["Saved"].startswith(output.out.strip())
    assert told["Cost"] == "0.50 USD"
    assert main(["tasks"]) == 0
    assert "completed" in capsys.readouterr().out


def test_a_failed_generation_is_explained_on_stderr(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    httpx.post(f"{configured}/sandbox/faults", json={"kind": "fail", "text": "no motion"})
    assert main(["modify", SOURCE, "rain"]) == EXIT_CODES["generation_failed"]
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines()[:2] == ['the generation failed: RunAPI says: "no motion"', "  Nothing was charged."]


def test_without_a_key_the_way_to_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modify", SOURCE, "fog"]) == 2
    said = capsys.readouterr().err
    assert all(words in said for words in ("luma-mcp login", "https://runapi.ai", "--sandbox"))
    assert "environment" not in said


def test_a_result_that_nobody_has_read_is_there_for_who_asks_again(home: Path, configured: str) -> None:
    command = [*SERVER, "modify", SOURCE, "unread"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr
        assert "Traceback" not in process.stderr.read()
    again = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert json.loads(again.stdout)["joined"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_ended_in_the_middle_of_a_submission_keeps_its_answer(
    home: Path, url: str, configured: str, number: signal.Signals
) -> None:
    httpx.post(f"{url}/sandbox/faults", json={"kind": "slow", "seconds": 0.9})
    command = [*SERVER, "modify", SOURCE, f"ended by {number}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not sent(home):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait() == 130
        assert process.stderr
        assert "the same command goes on with it: nothing is paid twice" in process.stderr.read()
    assert [len(task_id) for task_id in sent(home)] == [36]


def sent(home: Path) -> list[str]:
    """Give the ids of the tasks that were sent to RunAPI, empty while it has not answered."""
    found = list(home.rglob("tasks.sqlite3"))
    if not found:
        return []
    with closing(sqlite3.connect(found[0])) as db:
        return [task_id for (task_id,) in db.execute("SELECT task_id FROM tasks WHERE attempts > 0")]


def test_a_refusal_is_json_too_where_that_is_asked_for(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modify", SOURCE, " ", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["charged"] == "no"


def test_a_prompt_is_taken_as_it_was_typed_in_a_locale_without_names_for_it(home: Path, url: str) -> None:
    surroundings = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    environment = {"HOME": str(home), "RUNAPI_API_KEY": KEY, "RUNAPI_BASE_URL": url, **surroundings}
    command = [*SERVER, "modify", SOURCE, "霧の秋の朝", "--json"]
    ended = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert json.loads(ended.stdout.decode())["prompt"] == "霧の秋の朝"


def test_a_person_sees_upload_generation_and_saving_in_one_display(home: Path, url: str) -> None:
    clip = home / "clip.mp4"
    clip.write_bytes(bundled_clip().read_bytes() + b"\0" * 10_000_000)
    watching, terminal = pytest.importorskip("pty").openpty()
    environment = {"HOME": str(home), "RUNAPI_API_KEY": KEY, "RUNAPI_BASE_URL": url, "COLUMNS": "100"}
    command = [*SERVER, "modify", "clip.mp4", "fog"]
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=terminal) as process:
        os.close(terminal)
        shown = b"".join(pieces_of(watching)).decode()
        saved = Path((process.stdout or io.BytesIO()).read().decode().strip())
    assert process.returncode == 0
    assert saved.stat().st_size
    lines = [line.rstrip() for line in shown.split("\r") if line.startswith("[")]
    stages = [line.split(" %  ")[1].split()[0] for line in lines]
    assert [stage for stage in dict.fromkeys(stages) if stage != "Sending"] == [
        *("Uploading", "Generating", "Saving", "Finished")
    ]
    shares = [int(line.split("] ")[1].split(" %")[0]) for line in lines]
    assert shares == sorted(shares)
    assert shares[-1] == 100


def test_a_finished_request_is_shown_at_once_and_said_to_cost_nothing(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["modify", SOURCE, "asked twice"]
    assert main(command) == 0
    first = capsys.readouterr()
    assert main(command) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err.startswith("Already asked for on ")
    assert "nothing now; 0.50 USD when it was made" in again.err
    assert "--take 2  (0.50 USD)" in again.err


@pytest.mark.parametrize("clip", ["a.avi", "b.mkv", "-odd name.webm"])
def test_a_clip_of_another_kind_comes_with_the_command_that_converts_it(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str], clip: str
) -> None:
    (home / clip).write_bytes(b"RIFF    AVI LIST" * 1000)
    assert main(["modify", f"./{clip}", "fog"]) == EXIT_CODES["source_not_found"]
    said = capsys.readouterr().err
    assert f"{Path(clip).stem}-converted.mp4" in said
    assert "ffmpeg -i " in said
    assert "source_video_url" not in said


def test_a_mistyped_name_is_answered_with_the_one_that_may_be_meant(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "holiday.mp4").write_bytes(b"")
    assert main(["modify", "holyday.mp4", "fog"]) == EXIT_CODES["source_not_found"]
    assert capsys.readouterr().err.splitlines() == [
        "error: There is no file holyday.mp4.",
        f"  Did you mean {home}/holiday.mp4?",
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["clip.mp4", "a", "foggy", "morning"], "luma-mcp modify clip.mp4 'a foggy morning'"),
        (["one.mp4", "two.mov", "foggy", "day"], "luma-mcp modify one.mp4 two.mov 'foggy day'"),
        (["a foggy morning", "clip.mp4"], "luma-mcp modify clip.mp4 'a foggy morning'"),
        (["clip.mp4"], "luma-mcp modify clip.mp4 'a foggy autumn morning'"),
        (["one.mp4", "two.mp4"], "luma-mcp modify one.mp4 two.mp4 'a foggy autumn morning'"),
        (["fog"], "luma-mcp modify fog 'a foggy autumn morning'"),
        (["walk.mp4 in thick fog"], "luma-mcp modify walk.mp4 'in thick fog'"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_to_type(typed: list[str], meant: str) -> None:
    with pytest.raises(WrongArguments) as refused:
        read_arguments(typed, [])
    assert refused.value.hint.endswith(meant)
    with pytest.raises(WrongArguments) as refused:
        read_arguments(typed, [], ["--sandbox"])
    assert refused.value.hint.endswith(f"{meant} --sandbox"), "what was free stays free when it is pasted"


def test_the_last_argument_is_the_prompt_unless_prompts_are_given() -> None:
    assert read_arguments(["a.mp4", "b.mp4", "snow in the alps"], []) == (["a.mp4", "b.mp4"], ["snow in the alps"])
    assert read_arguments(["a.mp4", "b.mp4"], ["fog", "rain"]) == (["a.mp4", "b.mp4"], ["fog", "rain"])
    assert read_arguments([SOURCE, "make it like https://example.com"], [])[1] == ["make it like https://example.com"]


def test_every_source_gets_every_prompt_once_the_total_price_is_agreed_to(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["modify", SOURCE, SOURCE + "?2", "--prompt", "dawn", "--prompt", "dusk"]
    assert main(command) == EXIT_CODES["invalid_request"]
    refused = capsys.readouterr()
    assert refused.out == ""
    assert "4 videos at 0.50 USD: 2.00 USD at most" in refused.err
    assert "--yes" in refused.err
    assert main([*command, "--yes"]) == 0
    made = capsys.readouterr()
    assert len(set(made.out.splitlines())) == 4
    assert sum(line.startswith("-- ") for line in made.err.splitlines()) == 4
    assert main([*command, "--yes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(task["source_video_url"], task["prompt"], task["joined"]) for task in listed] == [
        (source, prompt, True) for source in (SOURCE, SOURCE + "?2") for prompt in ("dawn", "dusk")
    ]


@pytest.mark.parametrize(("answer", "made"), [("y\n", 2), ("\n", 0), ("no\n", 0), ("", 0)])
def test_at_a_terminal_a_person_is_asked_for_the_total_price(
    configured: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, made: int
) -> None:
    typed = Terminal(answer)
    monkeypatch.setattr(modify, "is_interactive", lambda: True)
    monkeypatch.setattr(modify, "forget_typed", lambda: None)
    monkeypatch.setattr(sys, "stdin", typed)
    main(["modify", SOURCE, "--prompt", f"spring {answer}", "--prompt", f"autumn {answer}"])
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == made
    assert "1.00 USD at most. Continue? [y/N]" in told.err


def test_one_of_several_that_fails_does_not_stop_the_others(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "bad.mp4").write_bytes(b"no film")
    code = main(["modify", "bad.mp4", SOURCE, "several", "--yes", "--json"])
    assert code == EXIT_CODES["source_not_found"]
    bad, good = json.loads(capsys.readouterr().out)
    assert (bad["error"]["code"], good["status"]) == ("source_not_found", "completed")


@pytest.mark.parametrize("output", ["made.mp4", "made", "new/made.mp4", "there/", "there", "~/made.mp4"])
def test_the_video_is_saved_where_it_was_asked_to(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    (home / "there").mkdir()
    assert main(["modify", SOURCE, f"into {output}", "--output", output]) == 0
    path = Path(capsys.readouterr().out.strip())
    folder = output.rstrip("/") == "there"
    assert path.parent == home / ("there" if folder else "new" if output.startswith("new") else "")
    assert folder or path.name == "made.mp4"
    assert len(list(path.parent.glob("*.mp4"))) == 1


def test_no_file_is_written_over(home: Path, configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "mine.mp4").write_bytes(b"mine")
    assert main(["modify", SOURCE, "not over it", "--output", "mine.mp4"]) == 0
    assert Path(capsys.readouterr().out.strip()).name != "mine.mp4"
    assert (home / "mine.mp4").read_bytes() == b"mine"


def test_several_videos_do_not_go_into_one_file(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["modify", SOURCE, "--prompt", "a", "--prompt", "b", "--yes", "--output", "one.mp4"]
    assert main(command) == EXIT_CODES["invalid_request"]
    assert "Name a folder" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["/dev/null", "/proc/x.mp4", "there.mp4/", "there.mp4/x.mp4"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_paid(
    home: Path, configured: str, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    (home / "there.mp4").write_bytes(b"mine")
    assert main(["modify", SOURCE, "nowhere", "--output", output]) == EXIT_CODES["invalid_request"]
    assert capsys.readouterr().err.startswith("error: --output: ")
    assert main(["tasks", "nowhere"]) == 0
    assert "No matching tasks" in capsys.readouterr().err


def test_a_copy_that_cannot_be_made_does_not_hide_the_video(
    home: Path, configured: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "copy_saved_video", refuse)
    assert main(["modify", SOURCE, "no room", "--output", "copy.mp4"]) == EXIT_CODES["download_failed"]
    told = capsys.readouterr()
    assert Path(told.out.strip()).is_file()
    assert "could not be copied" in told.err
