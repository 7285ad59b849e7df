"""The scripts for shells, as real shells run them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luma_mcp.__main__ import main
from luma_mcp.cli.completion import completed_commands
from luma_mcp.cli.main import COMMANDS, SHELLS

CASES = [
    (["luma-mcp", "co"], {"completion", "config"}),
    (["luma-mcp", "--sandbox", "sav"], {"save"}),
    (["runapi-luma-mcp", "ac"], {"account"}),
    (["luma-mcp", "config", "claude-d"], {"claude-desktop"}),
    (["luma-mcp", "tasks", "--stat"], {"--status"}),
    (["luma-mcp", "tasks", "--status", "p"], {"pending", "processing"}),
    (["luma-mcp", "--transport", "s"], {"stdio", "sse", "streamable-http"}),
    (["luma-mcp", "completion", ""], {"bash", "fish", "zsh"}),
    (["luma-mcp", "save", ""], set()),
    (["luma-mcp", "modify", "my"], {"my clip.mp4"}),
    (["luma-mcp", "modify", "my clip.mp4", "--output-dir", "fold"], {"folder"}),
]


@pytest.fixture
def folder(home: Path) -> Path:
    """Give a folder with the program, the scripts, and something to complete."""
    program = home / "bin" / "luma-mcp"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m luma_mcp "$@"\n')
    program.chmod(0o755)
    place = home / "place"
    (place / "folder").mkdir(parents=True)
    (place / "my clip.mp4").touch()
    return place


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def ask(shell: str, program: str, folder: Path) -> list[str]:
    """Run a program in a shell without anybody's configuration, and give what it prints."""
    bare = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    environment = {**os.environ, "PATH": f"{folder.parent / 'bin'}:{os.environ['PATH']}"}
    command = [shutil.which(shell) or shell, *bare, "-c", program]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    return ended.stdout.splitlines()


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")


@pytest.mark.parametrize(("words", "offered"), CASES, ids=lambda case: " ".join(case) if isinstance(case, list) else "")
def test_bash_offers_what_fits(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], offered: set[str]
) -> None:
    need("bash")
    typed = " ".join(f"'{word}'" for word in words)
    program = f"{script('bash', capsys)}\nCOMP_WORDS=({typed}) COMP_CWORD={len(words) - 1}\n_luma_mcp\n"
    assert set(ask("bash", program + 'printf "%s\\n" "${COMPREPLY[@]}"', folder)) - {""} == offered


@pytest.mark.parametrize(("words", "offered"), CASES, ids=lambda case: " ".join(case) if isinstance(case, list) else "")
def test_fish_offers_what_fits(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], offered: set[str]
) -> None:
    need("fish")
    typed = " ".join(word.replace(" ", "\\\\ ") for word in words)
    lines = ask("fish", f'{script("fish", capsys)}\ncomplete -C "{typed}"', folder)
    found = {line.partition("\t")[0].rstrip("/").replace("\\ ", " ") for line in lines}
    assert found == (offered if offered else {name for name in found if name.startswith(("my", "folder"))})


def test_zsh_completes_a_whole_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("zsh")
    (folder / "script").write_text(script("zsh", capsys))
    program = """
zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell 'PS1= ; autoload -Uz compinit; compinit -D -u; source ./script; luma-mcp() { print -r -- "typed:$*:end" }'
zpty -w shell $'luma-mcp conf\\tclaude-d\\t--wri\\t--log\\t--transp\\tht\\t'
until [[ $out == *typed:*:end* ]]; do zpty -r shell line || break; out+=$line; done
print -r -- "$out"
"""
    assert any("typed:config claude-desktop --write" in line for line in ask("zsh", program, folder))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_every_command_and_every_flag(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    assert len(list(completed_commands())) == 1 + len(COMMANDS)
    for command in completed_commands():
        assert command.name in text
        for flag in (flag for one in command.flags for flag in one.flags):
            assert (flag.lstrip("-") if shell == "fish" else flag) in text
