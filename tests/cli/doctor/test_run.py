"""The doctor: finds each thing that is wrong, says how to mend it, and changes nothing."""

import json
import os
import sqlite3
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from typing import Any, ClassVar

import pytest
import trustme

from luma_mcp.__main__ import main
from luma_mcp.cli.console import EXIT_CODES
from luma_mcp.cli.doctor import installation, run, storage
from luma_mcp.cli.doctor.network import certificate_advice, proxy_for
from luma_mcp.cli.doctor.report import BAD_SETTING
from luma_mcp.core.settings import Settings, load_settings
from luma_mcp.core.text import Json
from luma_mcp.ledger.schema import MIGRATIONS
from luma_mcp.runapi import client
from tests.support.rig import KEY, SOURCE
from tests.support.served import sandbox_process


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with sandbox_process(tmp_path_factory.mktemp("sandbox"), seconds=0) as url:
        yield url


@pytest.fixture
def configured(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("Videos/luma", "Downloads", "Desktop"):
        (home / name).mkdir(parents=True)
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    return url


Doctor = Callable[..., tuple[int, dict[str, Json]]]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Give a function that asks the doctor, and gives its exit code and what it found by subject."""

    def ask(*flags: str) -> tuple[int, dict[str, Json]]:
        capsys.readouterr()
        code = main(["doctor", "--json", *flags])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert KEY not in told.out + told.err
        answer = json.loads(told.out)
        wrong = [finding for finding in answer["findings"] if finding["state"] == "problem"]
        assert answer["ok"] == (code == 0) == (not wrong)
        assert all(finding["code"] in {*EXIT_CODES, BAD_SETTING} for finding in wrong)
        assert all(finding.get("fix") for finding in answer["findings"] if finding["state"] != "ok")
        return code, {finding["check"]: finding for finding in answer["findings"]}

    return ask


def test_all_is_well(configured: str, home: Path, doctor: Doctor) -> None:
    main(["config", "cursor", "--write"])
    cursor = home / ".cursor" / "mcp.json"
    cursor.write_text(cursor.read_text().replace("your key", KEY))
    before = state_of(home)
    code, found = doctor()
    assert code == 0
    assert {finding["state"] for finding in found.values()} == {"ok"}
    subjects = ["versions", "command", "settings", "key", "RunAPI", "account"]
    assert list(found) == [*subjects, "data folder", "ledger", "output folder", "source folder", "Cursor"]
    assert "Python 3." in found["versions"]["message"]
    assert "MCP SDK 2." in found["versions"]["message"]
    assert found["key"]["message"] == "comes from the environment variable RUNAPI_API_KEY"
    assert "USD are left" in found["account"]["message"]
    assert "after 60 s" in found["Cursor"]["message"]
    assert state_of(home) == before, "nothing was written or left"


def state_of(home: Path) -> dict[Path, int]:
    """Tell what there is, and when each file was written."""
    return {path: path.stat().st_mtime_ns if path.is_file() else 0 for path in home.rglob("*")}


def test_people_read_each_finding_with_its_fix_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--base-url", "https://name.invalid"]) == EXIT_CODES["missing_api_key"]
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("problem  key: "))
    assert lines[place + 1].startswith("         fix: Get a key at")
    assert lines[-1] == "To mend: key, RunAPI."


def test_the_sandbox_needs_no_key_and_no_network(doctor: Doctor) -> None:
    code, found = doctor("--sandbox")
    assert code == 0
    assert "sandbox" in found["key"]["message"]
    assert "was not tried" in found["RunAPI"]["message"]


def test_a_key_that_only_a_host_has_is_no_problem(
    url: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    assert doctor()[0] == EXIT_CODES["missing_api_key"]
    assert main(["config", "cursor", "--write", "--sandbox"]) == 0
    code, found = doctor()
    assert (code, found["key"]["state"], found["account"]["state"]) == (0, "note", "note")
    assert "Cursor" in found["key"]["message"]
    assert "plays the sandbox" in found["Cursor"]["message"]


def test_each_source_of_a_key_is_named_and_those_that_do_not_count(
    configured: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"apiKey": KEY}))
    file = home / "my.env"
    file.write_text(f"RUNAPI_API_KEY={KEY}\n")
    assert f"not used: the one in the file {file} and {own})" in doctor("--env-file", "my.env")[1]["key"]["message"]
    monkeypatch.setenv("LUMA_MCP_ENV_FILE", str(file))
    monkeypatch.setenv("RUNAPI_API_KEY", "${RUNAPI_API_KEY}")
    _, found = doctor()
    assert found["key"]["message"].startswith(f"comes from the file {file}")
    assert found["settings"]["message"].startswith("RUNAPI_API_KEY is set to a placeholder")
    monkeypatch.delenv("LUMA_MCP_ENV_FILE")
    (home / ".env").write_text("RUNAPI_API_KEY=theirs\n")
    assert doctor()[1]["key"]["message"] == f"comes from {own}"
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    own.chmod(0o666)
    assert "other users may write it" in doctor()[1]["RunAPI's own file"]["message"]


def test_misspelt_variables_are_noticed(configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_OUTPUTDIR", "/x")
    finding = doctor()[1]["settings"]
    assert finding["state"] == "note"
    assert finding["fix"] == "Did you mean LUMA_MCP_OUTPUT_DIR?"


def test_a_bad_setting_is_a_finding_like_others(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_MCP_WAIT_SECONDS", "soon")
    code, found = doctor()
    assert code == 2
    assert "LUMA_MCP_WAIT_SECONDS" in found["settings"]["message"]
    assert found["versions"]["state"] == "ok"


class Answers(BaseHTTPRequestHandler):
    """Answers everything in one way, and what was set by path."""

    status = 407
    known: ClassVar[dict[str, tuple[int, Json]]] = {}

    def do_GET(self) -> None:
        """Answer."""
        status, body = self.known.get(self.path.partition("?")[0], (self.status, {}))
        content = json.dumps(body).encode()
        self.send_response(status, f"says {KEY}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_CONNECT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


PRICES = (200, {"price_schedules": [{"unit_price_cents": 50, "currency": "USD"}]})
ACCOUNTS: dict[str, tuple[tuple[int, Json], int, str]] = {
    "a refused key": ((401, {}), 2, "invalid_api_key"),
    "too little money": ((200, {"balance_cents": 49}), 3, "insufficient_credits"),
    "no answer of an API": ((200, {}), 6, "bad_answer"),
}


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that break off."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


@contextmanager
def answering(context: ssl.SSLContext | None = None) -> Generator[int]:
    """Serve on a free port, with TLS or without."""
    with Quiet(("127.0.0.1", 0), Answers) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(("answer", "code", "error"), ACCOUNTS.values(), ids=ACCOUNTS.keys())
def test_an_account_that_pays_for_nothing_is_told(
    configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, Json], code: int, error: str
) -> None:
    monkeypatch.setattr(Answers, "known", {"/api/v1/price_schedules": PRICES, "/api/v1/me/balance": answer})
    with answering() as port:
        ended, found = doctor("--base-url", f"http://127.0.0.1:{port}")
    assert found["RunAPI"]["message"].endswith("a task costs 0.50 USD")
    assert (ended, found["account"]["code"]) == (code, error)


def test_what_answers_but_is_not_runapi_is_told(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "status", 200)
    with answering() as port:
        assert doctor("--base-url", f"http://127.0.0.1:{port}")[1]["RunAPI"]["code"] == "bad_answer"


def test_a_name_that_cannot_be_resolved_is_blamed_on_dns(doctor: Doctor) -> None:
    _, found = doctor("--base-url", "https://name.invalid")
    assert found["RunAPI"]["fix"].startswith("DNS: the name of name.invalid")
    assert found["RunAPI"]["code"] == "network"


def test_a_closed_port_is_told(doctor: Doctor) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert doctor("--base-url", f"http://127.0.0.1:{port}")[1]["RunAPI"]["fix"].startswith("Nothing listens at")


def test_a_certificate_that_is_not_trusted_is_blamed_on_whoever_replaces_certificates(doctor: Doctor) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate: Any = trustme.CA().issue_cert("localhost")
    certificate.configure_cert(context)
    with answering(context) as port:
        fix = doctor("--base-url", f"https://localhost:{port}")[1]["RunAPI"]["fix"]
    assert fix.startswith("TLS: ")
    assert "root certificate" in fix


def test_an_address_that_speaks_no_tls_is_told(doctor: Doctor) -> None:
    with answering() as port:
        fix = doctor("--base-url", f"https://localhost:{port}")[1]["RunAPI"]["fix"]
    assert fix.startswith("TLS: what answers at localhost does not speak TLS")


def test_a_proxy_that_refuses_is_blamed_and_its_password_is_not_shown(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering() as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{KEY}@127.0.0.1:{port}")
        fix = doctor("--base-url", "https://runapi.example")[1]["RunAPI"]["fix"]
    assert fix.startswith(f"Proxy: the proxy 127.0.0.1:{port} refused")


def test_a_proxy_that_is_not_there_is_blamed(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    fix = doctor("--base-url", "https://runapi.example")[1]["RunAPI"]["fix"]
    assert fix.startswith("DNS: the name of the proxy proxy.invalid:3128")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    assert "SOCKS" in doctor("--base-url", "https://runapi.example")[1]["RunAPI"]["fix"]


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:port", "http://u:p@[::1", "http://127.0.0.1:99999", "http://u:s/1@p:3"]
)
def test_proxies_that_are_no_addresses_are_told_without_their_words(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    finding = doctor("--base-url", "https://runapi.example")[1]["RunAPI"]
    assert "HTTPS_PROXY" in finding["fix"]
    assert proxy.partition("://")[2] not in str(finding)


def test_the_proxy_of_an_address_is_named_as_httpx_chooses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://a:b@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    assert proxy_for("https://runapi.ai") == "proxy.example:3128"
    assert proxy_for("https://inside.example") == ""


def test_a_server_that_does_not_answer_is_told(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REACH_SECONDS", 0.05)
    with create_server(("127.0.0.1", 0)) as silent:
        finding = doctor("--base-url", f"http://127.0.0.1:{silent.getsockname()[1]}")[1]["RunAPI"]
    assert "did not finish its answer" in finding["message"]


@pytest.mark.parametrize(
    ("message", "word"),
    [("certificate has expired", "clock"), ("certificate is not yet valid", "clock"), ("Hostname mismatch", "login")],
)
def test_certificates_are_mistrusted_for_different_reasons(message: str, word: str) -> None:
    assert word in certificate_advice(message, "runapi.ai")


def ledger_of(home: Path) -> Path:
    """Name the ledger's file."""
    return home / ".local" / "share" / "luma-mcp" / "tasks.sqlite3"


def test_a_sound_ledger_is_counted(configured: str, home: Path, doctor: Doctor) -> None:
    assert main(["modify", SOURCE, "fog"]) == 0
    assert "1 tasks, 0 of them unfinished, 0 finished but not saved" in doctor()[1]["ledger"]["message"]


@pytest.mark.parametrize("harm", ["damaged", "newer", "no database"])
def test_a_ledger_that_cannot_be_used_is_told_and_left_as_it_is(
    configured: str, home: Path, doctor: Doctor, harm: str
) -> None:
    assert main(["modify", SOURCE, "fog"]) == 0
    path = ledger_of(home)
    if harm == "newer":
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    else:
        start = 4096 if harm == "damaged" else 0
        with path.open("r+b") as file:
            file.seek(start)
            file.write(b"x" * 4096)
    before = path.read_bytes()
    code, found = doctor()
    assert (code, found["ledger"]["state"]) == (4, "problem")
    assert path.read_bytes() == before


def test_an_earlier_damaged_ledger_is_mentioned(configured: str, home: Path, doctor: Doctor) -> None:
    assert main(["modify", SOURCE, "fog"]) == 0
    kept = ledger_of(home).with_name("tasks.sqlite3.damaged-20260101-000000")
    kept.touch()
    assert str(kept) in doctor()[1]["ledger"]["message"]


def test_folders_that_cannot_be_written_or_read_are_told(configured: str, home: Path, doctor: Doctor) -> None:
    (home / "file").touch()
    code, found = doctor("--output-dir", str(home / "file" / "below"), "--media-roots", str(home / "file"))
    assert code == 4
    assert found["output folder"]["fix"].endswith("LUMA_MCP_OUTPUT_DIR.")
    assert found["source folder"]["code"] == "source_not_allowed"


def test_a_full_disk_is_told(configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SPARE_BYTES", 1 << 62)
    assert "left" in doctor()[1]["data folder"]["message"]


def test_a_folder_that_hangs_does_not_hold_up_the_rest(
    configured: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(_: Settings) -> list[object]:
        released.wait()
        return []

    monkeypatch.setattr(run, "BOUND_SECONDS", 0.05)
    monkeypatch.setattr(run, "output_folder", hang)
    code, found = doctor()
    released.set()
    assert (code, found["output folder"]["message"]) == (4, "did not answer in 0 seconds.")
    assert "hosts" in found


def test_a_part_that_cannot_be_looked_at_is_a_problem_and_not_silence(
    configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor("--data-dir", f"/{'a' * 300}")[1]["data folder"]["state"] == "problem"

    def fail(_: Settings) -> list[object]:
        raise ValueError("unheard of")

    monkeypatch.setattr(run, "ledger", fail)
    code, found = doctor()
    assert (code, found["ledger"]["state"]) == (4, "problem")


def test_an_odd_file_of_one_host_hides_nothing_of_the_others(configured: str, home: Path, doctor: Doctor) -> None:
    (home / ".hermes").mkdir()
    (home / ".hermes" / "config.yaml").write_text("mcp_servers:\n  other:\n    command: x\n    env:\n      8080: a\n")
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text("{broken")
    found = doctor()[1]
    assert (found["Hermes Agent"]["state"], found["Cursor"]["state"]) == ("note", "problem")
    (home / ".hermes" / "config.yaml").write_text("a: !!bool x\n")
    assert doctor()[1]["Hermes Agent"]["state"] == "problem"


def test_a_ledger_that_cannot_be_written_is_told(
    configured: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["modify", SOURCE, "fog"]) == 0
    beside = sorted(ledger_of(home).parent.iterdir())

    def refused(path: Path, mode: int) -> bool:
        return mode != os.W_OK

    monkeypatch.setattr(os, "access", refused)
    assert "cannot be written" in doctor()[1]["ledger"]["message"]
    assert sorted(ledger_of(home).parent.iterdir()) == beside


def test_a_broken_file_of_runapi_is_told_where_no_other_key_counts(
    configured: str, home: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home / ".config" / "runapi" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"api_key": "k",}')
    assert doctor()[1]["key"]["state"] == "ok"
    monkeypatch.delenv("RUNAPI_API_KEY")
    assert "is not JSON" in doctor()[1]["key"]["message"]
    own.unlink()
    own.mkdir()
    assert "no regular file" in doctor()[1]["key"]["message"]


def test_an_sdk_that_does_not_fit_is_told(configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, state in (("2.4rc1", "ok"), ("3.0.1", "problem"), ("2.2", "problem")):

        def installed(_: str, version: str = version) -> str:
            return version

        monkeypatch.setattr(installation, "version", installed)
        assert doctor()[1]["versions"]["state"] == state


def test_a_shell_without_the_key_is_told_for_hosts_that_take_it_from_there(
    url: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNAPI_BASE_URL", url)
    assert main(["config", "codex", "--write"]) == 0
    assert "which is not set in this one" in doctor()[1]["Codex"]["message"]
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    assert doctor()[1]["Codex"]["state"] == "ok"


def entry(command: str, **env: str) -> str:
    """Write a host's file with an entry."""
    return json.dumps({"mcpServers": {"luma": {"command": command, "args": ["-m", "luma_mcp"], "env": env}}})


@pytest.mark.parametrize(
    ("content", "state", "word"),
    [
        ("{broken", "problem", "cannot be read"),
        ('{"mcpServers": {}}', "note", "does not know this server"),
        (entry("/gone/luma-mcp", RUNAPI_API_KEY="k"), "problem", "not there"),
        (entry("sh", RUNAPI_API_KEY="k"), "note", "by name"),
        (entry("/bin/sh", RUNAPI_API_KEY="your key"), "problem", "no RunAPI key"),
        (entry("/bin/sh"), "problem", "no RunAPI key"),
        (entry("/bin/sh", RUNAPI_API_KEY=""), "problem", "no RunAPI key"),
        (entry("/bin/sh", RUNAPI_API_KEY="<your key>"), "problem", "no RunAPI key"),
        (entry("/bin/sh", RUNAPI_API_KEY="${RUNAPI_API_KEY}"), "problem", "no RunAPI key"),
        (entry("/bin/sh", RUNAPI_API_KEY="${env:MY_KEY}"), "ok", "knows this server"),
        (entry("/bin/sh", LUMA_MCP_SANDBOX="true"), "ok", "gives a call up after 60 s"),
        (entry("/bin/sh", RUNAPI_API_KEY="k", LUMA_MCP_WAIT_SECONDS="60"), "problem", "waits 60"),
        (entry("/bin/sh", RUNAPI_API_KEY="k").replace("luma_mcp", "luma_mcp --wait-seconds 90"), "problem", "waits 90"),
        ('{"mcpServers": {"luma": {"url": "https://x.example"}}}', "ok", "connects to an address"),
    ],
)
def test_what_a_host_makes_of_this_server_is_told(
    configured: str, home: Path, capsys: pytest.CaptureFixture[str], content: str, state: str, word: str
) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text(content)
    main(["doctor", "--json"])
    findings = [one for one in json.loads(capsys.readouterr().out)["findings"] if one["check"] == "Cursor"]
    assert any((one["state"], word in one["message"]) == (state, True) for one in findings), findings


def test_a_host_whose_entry_sets_its_own_limit_is_taken_at_its_word(
    configured: str, home: Path, doctor: Doctor
) -> None:
    (home / ".config/zed").mkdir(parents=True)
    servers = {"luma": {"command": "/bin/sh", "env": {"RUNAPI_API_KEY": "rk"}, "timeout": 30}}
    (home / ".config/zed/settings.json").write_text(json.dumps({"context_servers": servers}))
    assert "after 30 s," in doctor()[1]["Zed"]["message"]


def test_help_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    assert "costs nothing" in " ".join(capsys.readouterr().out.split())


def test_a_door_that_is_open_by_mistake_is_told(
    configured: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMA_MCP_TRANSPORT", "http")
    monkeypatch.setenv("LUMA_MCP_ALLOWED_HOSTS", "luma.example.com")
    monkeypatch.setenv("LUMA_MCP_AUTH_TOKENS", "none")
    code, found = doctor()
    assert (code, found["token"]["state"]) == (2, "problem")
    assert "must not be none" in found["token"]["message"]
    monkeypatch.delenv("LUMA_MCP_AUTH_TOKENS")
    assert "token" not in doctor()[1]
    assert main(["token"]) == 0
    (load_settings().data_dir / "http-token").chmod(0o666)
    assert "other users may open it" in doctor()[1]["token"]["message"]
