"""Somebody who tries the sandbox in a new home folder, so that pictures show nothing of the machine behind them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luma_mcp.sandbox.requests import bundled_clip

if sys.platform != "win32":
    import pty
    import termios

PROGRAM = (sys.executable, "-P", "-m", "luma_mcp")
CLIP = "clip.mp4"
PROMPT = "a foggy autumn morning"
COMMANDS = (("modify", CLIP, PROMPT, "--sandbox"), ("tasks", "--sandbox"))
ROWS, COLUMNS = 24, 80


@dataclass(frozen=True, slots=True)
class SandboxUser:
    """A home folder, and what is typed there."""

    home: Path

    @property
    def videos(self) -> Path:
        """The folder of the clip, where commands are typed."""
        return self.home / "Videos"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the commands: their program is found by its name, and no browser opens."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.defpath))
        same_anywhere = {"LANG": "C.UTF-8", "TERM": "xterm", "TZ": "UTC", "BROWSER": "true"}
        return {"HOME": str(self.home), "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2]), **same_anywhere}

    def add_clip(self) -> None:
        """Put the clip that comes with the package where commands find it."""
        self.videos.mkdir()
        shutil.copyfile(bundled_clip(), self.videos / CLIP)

    def run(self, *words: str) -> str:
        """Run a command to its end, and give its stdout."""
        done = subprocess.run(  # noqa: S603 - our own program
            [*PROGRAM, *words], cwd=self.videos, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command whose stderr is read while it runs."""
        command = [*PROGRAM, *words]
        return subprocess.Popen(  # noqa: S603 - our own program
            command, cwd=self.videos, env=self.environment, stderr=subprocess.PIPE, text=True
        )

    def type(self, *words: str) -> str:
        """Run a command on a terminal, and give all that it writes there, with `~` for the home folder."""
        if sys.platform != "win32":
            watching, terminal = pty.openpty()
            termios.tcsetwinsize(terminal, (ROWS, COLUMNS))
            command, environment = [*PROGRAM, *words], self.environment
            with subprocess.Popen(  # noqa: S603 - our own program
                command, cwd=self.videos, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
            ):
                os.close(terminal)
                written = b"".join(pieces_written(watching)).decode()
            return written.replace(str(self.home), "~")
        raise NotImplementedError

    def type_commands(self) -> str:
        """Type the commands of the picture, and give what the terminal is sent, with what was typed."""
        return "\r\n".join(f"$ {command_line(words)}\r\n{self.type(*words)}" for words in COMMANDS)


def pieces_written(terminal: int) -> Iterator[bytes]:
    """Read what is written to a terminal until nobody has it open any more."""
    try:
        while piece := os.read(terminal, 65536):
            yield piece
    except OSError:  # how Linux says so
        pass
    finally:
        os.close(terminal)


def command_line(words: Sequence[str]) -> str:
    return " ".join(("luma-mcp", *(f'"{word}"' if " " in word else word for word in words)))
